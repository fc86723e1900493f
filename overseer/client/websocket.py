"""The connection over a WebSocket: TCP, TLS or a Unix socket."""

# mypy: allow-untyped-calls

import contextlib
import errno
import os
import socket
from typing import Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ClientFactory, Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from overseer.client.address import UnixSocketAddress, WebSocketAddress
from overseer.client.errors import ConnectionRefused
from overseer.client.frames import (
    CLOSE,
    PING,
    PONG,
    FrameError,
    FrameReader,
    close_reason,
    masked_frame,
)
from overseer.client.handshake import (
    HEAD_LIMIT,
    Answer,
    check_accepted,
    opening_request,
    parse_answer,
    refusal,
)
from overseer.client.link import Receiver
from overseer.client.waiting import running_loop

CONNECT_TIMEOUT = 10.0
"""Seconds for the connection, and for the handshake after it."""
READ_SIZE = 256 * 1024
"""Bytes that one read may give; with Twisted's 64 KiB a turn of the reactor takes as long as reading them."""
SILENCE = 60.0
"""Seconds without a sign of the server after which it is gone; it pings every 30 s."""
MESSAGE_LIMIT = 256 * 1024 * 1024
"""Bytes of the largest answer that is believed: a list of very many tasks."""
_HEAD_END = b"\r\n\r\n"
_NORMAL = 1000
_HINTS: dict[int | None, str] = {
    errno.ECONNREFUSED: "nobody listens there: is the overseer running?",
    errno.ENOENT: "there is no such socket: is the overseer running?",
    errno.EACCES: "this user may not open the socket",
}


class WebSocketLink(Protocol):
    """One WebSocket, from its handshake to its end. ``opened`` fires when messages can be sent."""

    transport: Any

    def __init__(self, reactor: Any, receiver: Receiver, request: dict[str, Any]) -> None:
        self.opened: Deferred[WebSocketLink] = Deferred(lambda _: self._abort())
        self._reactor = reactor
        self._receiver = receiver
        self._key = os.urandom(16)
        self._request = opening_request(key=self._key, **request)
        self._token_given = request["token"] is not None
        self._head = b""
        self._answer: Answer | None = None
        self._frames: FrameReader | None = None
        self._timeout: IDelayedCall | None = None
        self._heard = False
        self._paused = False
        self._ending: str | None = None

    # ------------------------------------------------------------------------------------- from the client

    def send(self, payload: bytes) -> None:
        """See :class:`~overseer.client.link.Link`."""
        if self._ending is None:
            self.transport.write(masked_frame(payload, os.urandom(4)))

    def pause(self) -> None:
        """See :class:`~overseer.client.link.Link`."""
        self._paused = True
        self.transport.pauseProducing()

    def resume(self) -> None:
        """See :class:`~overseer.client.link.Link`."""
        self._paused = False
        self._heard = True
        self.transport.resumeProducing()

    def close(self) -> None:
        """See :class:`~overseer.client.link.Link`."""
        self._end("the client closed the connection", _NORMAL.to_bytes(2))

    # ---------------------------------------------------------------------------------- from the transport

    def connectionMade(self) -> None:
        """Ask for the WebSocket."""
        self.transport.bufferSize = READ_SIZE
        # Having freed a block as large, glibc keeps the memory of a read for the next one (mallopt(3),
        # M_MMAP_THRESHOLD): a quarter of the time would go into page faults otherwise.
        bytes(4 * READ_SIZE)
        set_no_delay = getattr(self.transport, "setTcpNoDelay", None)
        if set_no_delay is not None:
            set_no_delay(True)
        self._timeout = self._reactor.callLater(CONNECT_TIMEOUT, self._too_late)
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        """Take what the server sent."""
        if self._frames is None:
            data = self._handshake(data)
        if self._frames is not None and data:
            self._read(self._frames, data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        self._stop_timer()
        if not self.opened.called:
            self._refuse(self._refusal(_unanswered(reason)))
        elif self._frames is not None:
            self._frames = None
            self._receiver.lost(self._ending or _words(reason))

    # --------------------------------------------------------------------------------------------- helpers

    def _handshake(self, data: bytes) -> bytes:
        self._head += data
        if self._answer is None:
            head, end, body = self._head.partition(_HEAD_END)
            if not end:
                if len(self._head) > HEAD_LIMIT:
                    self._refuse(ConnectionRefused("the answer has no end", permanent=True))
                return b""
            self._head = body
            try:
                self._answer = parse_answer(head)
            except ConnectionRefused as error:
                self._refuse(error)
                return b""
        if self._answer.status != 101:
            expected = self._answer.headers.get("content-length", "")
            if len(self._head) >= min(
                int(expected) if expected.isdecimal() else HEAD_LIMIT, HEAD_LIMIT
            ):
                self._refuse(self._refusal(""))
            return b""
        try:
            check_accepted(self._answer, self._key)
        except ConnectionRefused as error:
            self._refuse(error)
            return b""
        self._frames = FrameReader(MESSAGE_LIMIT)
        rest, self._head = self._head, b""
        self._stop_timer()
        self._timeout = self._reactor.callLater(SILENCE, self._check_alive)
        self.opened.callback(self)
        return rest

    def _refusal(self, otherwise: str) -> ConnectionRefused:
        if self._answer is not None:
            error = refusal(self._answer, self._head, token_given=self._token_given)
            if error is not None:
                return error
        return ConnectionRefused(otherwise)

    def _refuse(self, error: ConnectionRefused) -> None:
        self._stop_timer()
        if not self.opened.called:
            self.opened.errback(error)
        self._abort()

    def _read(self, frames: FrameReader, data: bytes) -> None:
        self._heard = True
        try:
            payloads, controls = frames.receive(data)
        except FrameError as error:
            self._ending = f"the server was not understood: {error}"
            self._abort()
            return
        if payloads and self._ending is None:
            self._receiver.received(payloads)
        for opcode, payload in controls:
            if opcode == PING:
                self.transport.write(masked_frame(payload, os.urandom(4), PONG))
            elif opcode == CLOSE:
                code, reason = close_reason(payload)
                self._end(
                    f"the server closed the connection: {code} {reason}".rstrip(), payload[:2]
                )

    def _end(self, reason: str, code: bytes) -> None:
        if self._ending is None:
            self._ending = reason
            self.transport.write(masked_frame(code, os.urandom(4), CLOSE))
            self.transport.loseConnection()

    def _check_alive(self) -> None:
        if not self._heard and not self._paused:
            self._ending = f"nothing was heard of the server for {SILENCE:.0f} seconds"
            self._abort()
            return
        self._heard = False
        self._timeout = self._reactor.callLater(SILENCE, self._check_alive)

    def _too_late(self) -> None:
        self._refuse(ConnectionRefused(f"no answer within {CONNECT_TIMEOUT:.0f} seconds"))

    def _abort(self) -> None:
        if self.transport is not None:
            self.transport.abortConnection()

    def _stop_timer(self) -> None:
        if self._timeout is not None and self._timeout.active():
            self._timeout.cancel()


async def dial_websocket(
    reactor: Any,
    address: WebSocketAddress | UnixSocketAddress,
    receiver: Receiver,
    *,
    token: str | None,
    tls: Any = None,
) -> WebSocketLink:
    """Connect and shake hands.

    :param tls: what wraps the connection of ``wss://``, see ``twisted.internet.ssl``; None = the certificates
        that the system trusts.
    :raises ConnectionRefused: with a hint what to do about it.
    """
    link = WebSocketLink(
        reactor,
        receiver,
        {"path": address.path, "authority": address.authority, "token": token},
    )
    try:
        await _connect(reactor, address, link, tls)
    except Exception as error:
        raise ConnectionRefused(f"{address}: {_hint(error)}") from error
    try:
        return await link.opened
    except ConnectionRefused as error:
        error.args = (f"{address}: {error}",)
        raise


class _Attempt(ClientFactory):
    """One attempt to connect a link. Twisted's endpoints do the same, but take longest of all to import."""

    noisy = False

    def __init__(self, link: WebSocketLink) -> None:
        self.made: Deferred[None] = Deferred()
        self._link = link

    def buildProtocol(self, addr: Any) -> WebSocketLink:
        self.made.callback(None)
        return self._link

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        self.made.errback(reason)


async def _connect(
    reactor: Any, address: WebSocketAddress | UnixSocketAddress, link: WebSocketLink, tls: Any
) -> None:
    """Connect to the first of the address's hosts that takes the connection."""
    if isinstance(address, UnixSocketAddress):
        attempt = _Attempt(link)
        reactor.connectUNIX(address.socket, attempt, timeout=CONNECT_TIMEOUT)
        await attempt.made
        return
    *others, last = await _hosts(reactor, address)
    for host in others:
        with contextlib.suppress(ConnectError):
            await _connect_to(reactor, host, address, link, tls)
            return
    await _connect_to(reactor, last, address, link, tls)


async def _connect_to(
    reactor: Any, host: str, address: WebSocketAddress, link: WebSocketLink, tls: Any
) -> None:
    literal = isIPAddress(host) or isIPv6Address(host)
    if literal and not address.tls:
        attempt = _Attempt(link)
        reactor.connectTCP(host, address.port, attempt, timeout=CONNECT_TIMEOUT)
        await attempt.made
        return
    from twisted.internet import endpoints  # noqa: PLC0415  # only for names and TLS

    kind: Any = endpoints.HostnameEndpoint
    if literal:  # needs no thread that looks it up
        kind = endpoints.TCP4ClientEndpoint if isIPAddress(host) else endpoints.TCP6ClientEndpoint
    endpoint = kind(reactor, host, address.port, CONNECT_TIMEOUT)
    if address.tls:
        if tls is None:
            from twisted.internet.ssl import optionsForClientTLS  # noqa: PLC0415  # only for wss://

            tls = optionsForClientTLS(address.host)
        endpoint = endpoints.wrapClientTLS(tls, endpoint)
    await endpoint.connect(Factory.forProtocol(lambda: link))


async def _hosts(reactor: Any, address: WebSocketAddress) -> list[str]:
    """Return the host, or its addresses where the reactor cannot look them up.

    In ``asyncio.run()`` nobody has started the reactor, and so none of its threads.
    """
    loop = running_loop()
    if loop is None or reactor.running:
        return [address.host]
    import asyncio  # noqa: PLC0415  # which the program has done, too

    found = await Deferred.fromFuture(
        asyncio.ensure_future(loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM))
    )
    return [str(where[0]) for *_, where in found]


def _hint(error: Exception) -> str:
    number = getattr(error, "osError", None)
    if number in _HINTS:
        return _HINTS[number]
    return str(error).rstrip(".") or type(error).__name__


def _unanswered(reason: Failure) -> str:
    """Return why there was no handshake at all."""
    match getattr(reason.value, "args", ()):
        case ([(_, _, "wrong version number"), *_],):
            return "it speaks no TLS: ws:// and not wss://?"
        case ([(_, _, str(problem)), *_],):  # OpenSSL's list of what went wrong
            return f"TLS: {problem}"
    return (
        "it ended the connection without an answer: is it an overseer, and ws:// or wss:// right?"
    )


def _words(reason: Failure) -> str:
    return str(reason.value) or "the connection was lost"
