"""The client on stdin and stdout: one JSON object a line, both ways.

Whoever started the daemon holds the other ends, so that this client is an admin (protocol.md section 1).
At the end of its input it has nothing more to ask, but is still told what it is owed.
"""

# mypy: allow-untyped-calls

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.stdio import StandardIO
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from overseer.lifecycle.supervisor import Supervisor
from overseer.producer import OutboxProducer
from overseer.protocol.codec import encode_message
from overseer.protocol.frames import text_frame, to_lines
from overseer.protocol.messages import Error
from overseer.protocol.outbox import Outbox, SendBudget
from overseer.session import Session

_LAST_STANDARD = 2  # stderr
CLOSE_TIMEOUT = 3
"""Seconds that a client has to take what it is owed at the end."""


@implementer(IHalfCloseableProtocol)
class StdioClient(Protocol):
    """One client, to be connected to a ``StandardIO``.

    :param manifest: gives the manifest as JSON.
    :param message_size: bytes of the longest line that it may send.
    :param send_buffer: bytes of output that may wait for it.
    :param budget: what may wait for all clients together.
    """

    _log = Logger()
    transport: Any

    def __init__(
        self,
        reactor: Any,
        supervisor: Supervisor,
        manifest: Callable[[], bytes],
        *,
        message_size: int,
        send_buffer: int,
        budget: SendBudget,
    ) -> None:
        self._reactor = reactor
        self._message_size = message_size
        self._outbox = Outbox(self._write, self._overflowed, send_buffer, budget)
        self._session = Session(
            supervisor, self._outbox, reactor, manifest, self._read_requests, role="admin"
        )
        self._descriptors: tuple[int, ...] = ()
        self._unfinished = b""
        self._closing = False
        self._timeout: IDelayedCall | None = None
        self._all_asked: Deferred[None] = Deferred()
        self._gone: Deferred[None] = Deferred()

    def open(self, stdin: int, stdout: int) -> None:
        """Read and write these descriptors; in the end they are closed, unless they are the process's own."""
        self._descriptors = (stdin, stdout)
        StandardIO(  # type: ignore[call-arg]  # mypy takes the one of Windows
            self, stdin=stdin, stdout=stdout, reactor=self._reactor
        )

    def when_all_asked(self) -> Deferred[None]:
        """Fires once all requests are worked off and no more will come; to be asked for once."""
        return self._all_asked

    def close_when_told(self) -> Deferred[None]:
        """Close once the client has taken what it is owed; fires when it is gone, or is too slow."""
        if not self._closing and not self._gone.called:
            self._closing = True
            self._timeout = self._reactor.callLater(CLOSE_TIMEOUT, self._cut_off)
            self._taken()
        return self.when_gone()

    def when_gone(self) -> Deferred[None]:
        """Fires when the client is gone."""
        gone: Deferred[None] = Deferred()
        self._gone.addCallback(lambda _: gone.callback(None))
        return gone

    # ------------------------------------------------------------------------------ from the transport

    def connectionMade(self) -> None:
        """See Twisted."""
        self.transport.registerProducer(OutboxProducer(self._outbox, self._taken), True)

    def dataReceived(self, data: bytes) -> None:
        """Take requests, one a line."""
        *lines, self._unfinished = (self._unfinished + data).split(b"\n")
        for line in lines:
            self._receive(line)
        if len(self._unfinished) > self._message_size:
            self._refuse()

    def readConnectionLost(self) -> None:
        """No more requests come; the last one needs no newline."""
        self._receive(self._unfinished)
        self._unfinished = b""
        self._session.finish(self._asked)

    def writeConnectionLost(self) -> None:
        """Nobody reads what the client is told: it is gone."""
        self._cut_off()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget the client."""
        self._session.close()
        if self._timeout is not None and self._timeout.active():
            self._timeout.cancel()
        self._asked()
        if self._gone.called:
            return
        for descriptor in self._descriptors:  # which Twisted leaves open
            if descriptor > _LAST_STANDARD:
                os.close(descriptor)
        self._gone.callback(None)

    # ----------------------------------------------------------------------------------------- helpers

    def _receive(self, line: bytes) -> None:
        if self._closing or not line.strip():
            return
        if len(line) > self._message_size:
            self._refuse()
        else:
            self._session.receive(line)

    def _refuse(self) -> None:
        if self._closing:
            return
        reason = f"message too large: expected at most {self._message_size} bytes"
        self._outbox.send(text_frame(encode_message(Error("", reason))))
        self._unfinished = b""
        self.close_when_told()

    def _taken(self) -> None:
        if not self._closing:
            self._session.outbox_changed()
        elif self._outbox.empty and self.transport is not None:
            # While a producer is registered, Twisted may resume it instead of closing.
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def _asked(self) -> None:
        if not self._all_asked.called:
            self._all_asked.callback(None)

    def _read_requests(self, wanted: bool) -> None:
        if wanted:
            self.transport.resumeProducing()
        else:
            self.transport.pauseProducing()

    def _write(self, frames: bytes) -> None:
        self.transport.write(to_lines(frames))

    def _overflowed(self) -> None:
        self._log.warn("the client on stdio is too slow for what it must be told")
        self._reactor.callLater(0, self._cut_off)  # not while it is being written to

    def _cut_off(self) -> None:
        if not self._gone.called:
            self.transport.connectionLost(Failure(connectionDone.value))
