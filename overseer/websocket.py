"""WebSocket clients: Autobahn protocol factories around sessions.

All options are set here, because Autobahn's defaults accept every size and never ping. Frames come ready made
from the outbox and go to the transport as they are.
"""

# mypy: allow-untyped-calls

import fcntl
import struct
import termios
from collections import Counter
from collections.abc import Callable
from typing import Any, Literal

import txaio
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.util import encode_truncate
from autobahn.websocket.types import ConnectionRequest
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from overseer.core.config import Limits
from overseer.core.subprotocols import SUBPROTOCOL
from overseer.lifecycle.supervisor import Supervisor
from overseer.producer import OutboxProducer
from overseer.prompt_transport import PromptTransport, Turns
from overseer.protocol.outbox import Outbox, SendBudget
from overseer.session import Session

HANDSHAKE_TIMEOUT = 10
PING_INTERVAL = 30
PING_TIMEOUT = 20
CLOSE_TIMEOUT = 3
"""Seconds, all of them (protocol.md section 1, limits)."""
CLOSE_REASON_SIZE = 123
"""Bytes, so that a Close frame stays a control frame (RFC 6455 section 5.5)."""
READ_PIECE = 8 * 1024
"""Bytes of a client that are parsed in one turn of the reactor: some 80 requests, a few milliseconds."""
GOING_AWAY = 1001
TRY_AGAIN_LATER = 1013

DisconnectReason = Literal["closed", "lost", "no_pong", "slow", "shutdown"]
"""By a closing handshake, without one, for want of a pong, for what it did not take, or by our own end."""


class ClientProtocol(WebSocketServerProtocol):
    """One WebSocket connection."""

    factory: "ClientFactory"
    transport: Any
    _session: Session | None = None
    _outbox: Outbox | None = None
    _last_words: tuple[int, str] | None = None
    _unparsed: bytes = b""
    _parse_call: IDelayedCall | None = None
    _wants_requests = True
    _fault: DisconnectReason | None = None

    def onConnect(self, request: ConnectionRequest) -> str | None:
        """Select our subprotocol when the client offers it; without one any client is welcome."""
        return SUBPROTOCOL if SUBPROTOCOL in request.protocols else None

    def onOpen(self) -> None:
        """The handshake is done: from here on the client is a session."""
        factory = self.factory
        self.transport = PromptTransport(self.transport, factory.turns)
        self._outbox = Outbox(
            self._write,
            self._overflowed,
            factory.limits.send_buffer,
            factory.budget,
            self._bytes_in_flight,
        )
        self._session = Session(
            factory.supervisor,
            self._outbox,
            factory.reactor,
            factory.manifest,
            self._read_requests,
            role=self.transport.role,
        )
        # Behind a Site the HTTP channel is still registered with the transport.
        self.transport.unregisterProducer()
        self.transport.registerProducer(OutboxProducer(self._outbox, self._taken), True)
        factory.clients.add(self)

    def dataReceived(self, data: bytes) -> None:
        """Parse what the client sent, a piece a turn, so that a burst of one client delays nobody else."""
        if not self._unparsed and len(data) <= READ_PIECE:
            super().dataReceived(data)
            return
        self._unparsed += data
        if self._parse_call is None:
            self._parse_call = self.factory.reactor.callLater(0, self._parse_on)
            self._regulate_reading()

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Take one request; a binary message that holds JSON is read like a text message."""
        if self._session is not None and self._last_words is None:
            self._session.receive(payload)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """Forget the client."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See Twisted; also reached when the handshake was never done."""
        super().connectionLost(reason)
        self._unparsed = b""
        if self._parse_call is not None:
            self._parse_call.cancel()
            self._parse_call = None
        if self._session is not None:
            self._session.close()
            self._session = None
        self.factory.client_lost(self)

    @property
    def waiting_size(self) -> int:
        """Bytes that wait for the client."""
        return 0 if self._outbox is None else self._outbox.size

    def onAutoPingTimeout(self) -> None:
        """The client did not answer a ping; Autobahn cuts it off."""
        self._fault = "no_pong"
        super().onAutoPingTimeout()

    @property
    def end(self) -> DisconnectReason:
        """Why the client is gone."""
        if self._last_words is not None:
            return "shutdown"
        return self._fault or ("closed" if self.wasClean else "lost")

    def close_when_told(self, code: int, reason: str) -> None:
        """Close once the client has taken all that it is owed; nothing more is read from it."""
        self._last_words = (code, reason)
        self._taken()

    def _taken(self) -> None:
        if self.state != self.STATE_OPEN:
            # While a producer is registered, Twisted resumes it instead of closing the connection.
            self.transport.unregisterProducer()
            return
        outbox = self._outbox
        if self._last_words is not None:
            if outbox is None or outbox.empty:
                self._close(*self._last_words)
        elif self._session is not None:
            self._session.outbox_changed()

    def _write(self, frames: bytes) -> None:
        # Autobahn's own ways write behind a Close frame, too, which RFC 6455 section 5.5.1 forbids, and each
        # write of theirs puts together a line for the log of debugging.
        if self.state == self.STATE_OPEN:
            self.transport.write(frames)

    def _overflowed(self) -> None:
        self._fault = "slow"
        self._session, session = None, self._session
        if session is not None:
            session.close()
        self._close(TRY_AGAIN_LATER, "too slow for what it must be told")

    def _close(self, code: int, reason: str) -> None:
        # sendClose would refuse these codes: it takes only those of applications (RFC 6455 section 7.4).
        self.sendCloseFrame(code, encode_truncate(reason, CLOSE_REASON_SIZE))

    def _parse_on(self) -> None:
        self._parse_call = None
        piece, self._unparsed = self._unparsed[:READ_PIECE], self._unparsed[READ_PIECE:]
        super().dataReceived(piece)
        if self._unparsed:
            self._parse_call = self.factory.reactor.callLater(0, self._parse_on)
        else:
            self._regulate_reading()

    def _read_requests(self, wanted: bool) -> None:
        self._wants_requests = wanted
        self._regulate_reading()

    def _regulate_reading(self) -> None:
        if self._wants_requests and self._parse_call is None:
            self.transport.resumeProducing()
        else:
            self.transport.pauseProducing()

    def _bytes_in_flight(self) -> int:
        """Bytes that the kernel holds for this client, see tcp(7) and unix(7), SIOCOUTQ."""
        handle = getattr(self.transport, "getHandle", lambda: None)()
        if handle is None:
            return 0
        try:
            answer = fcntl.ioctl(handle.fileno(), termios.TIOCOUTQ, struct.pack("i", 0))
        except (OSError, ValueError):
            return 0
        size: int = struct.unpack("i", answer)[0]
        return size


class ClientFactory(WebSocketServerFactory):
    """Makes the protocols of all WebSocket clients of one daemon.

    :param manifest: gives the manifest as JSON.
    """

    protocol: Any = ClientProtocol
    noisy = False

    def __init__(
        self,
        reactor: IReactorTime,
        supervisor: Supervisor,
        manifest: Callable[[], bytes],
        limits: Limits,
    ) -> None:
        # Autobahn's timers run on this, not on the factory's reactor.
        txaio.use_twisted()
        txaio.config.loop = reactor  # type: ignore[attr-defined]  # exists once Twisted was chosen
        super().__init__(protocols=[SUBPROTOCOL], reactor=reactor, server="overseer")
        self.supervisor = supervisor
        self.manifest = manifest
        self.limits = limits
        self.turns = Turns(reactor)
        self.budget = SendBudget(limits.total_send_buffer)
        self.clients: set[ClientProtocol] = set()
        self.disconnects: Counter[DisconnectReason] = Counter()
        self._all_gone: Deferred[None] | None = None
        self.setProtocolOptions(
            versions=[13],
            webStatus=False,
            utf8validateIncoming=True,
            requireMaskedClientFrames=True,
            maxFramePayloadSize=limits.message_size,
            maxMessagePayloadSize=limits.message_size,
            failByDrop=False,
            echoCloseCodeReason=False,
            openHandshakeTimeout=HANDSHAKE_TIMEOUT,
            closeHandshakeTimeout=CLOSE_TIMEOUT,
            tcpNoDelay=True,
            perMessageCompressionAccept=lambda offers: None,
            autoPingInterval=PING_INTERVAL,
            autoPingTimeout=PING_TIMEOUT,
            autoPingSize=12,
            # Who may connect is decided for every path alike, before a request comes here.
            allowedOrigins=["*"],
            allowNullOrigin=True,
            serveFlashSocketPolicy=False,
            maxConnections=0,
            trustXForwardedFor=0,
        )

    def client_lost(self, client: ClientProtocol) -> None:
        """A connection is gone."""
        if client in self.clients:
            self.clients.discard(client)
            self.disconnects[client.end] += 1
        if self._all_gone is not None and not self.clients and not self._all_gone.called:
            self._all_gone.callback(None)

    def close_all(self, reason: str) -> Deferred[None]:
        """Close all clients with 1001 once they have what they are owed; fires when they are gone.

        Whoever takes longer than :data:`CLOSE_TIMEOUT` is cut off.
        """
        self._all_gone = Deferred()
        if not self.clients:
            self._all_gone.callback(None)
            return self._all_gone
        for client in list(self.clients):
            client.close_when_told(GOING_AWAY, reason)
        timeout = self.reactor.callLater(CLOSE_TIMEOUT, self._cut_off)

        def finished(result: None) -> None:
            if timeout.active():
                timeout.cancel()

        return self._all_gone.addCallback(finished)

    def _cut_off(self) -> None:
        for client in list(self.clients):
            client.transport.abortConnection()
