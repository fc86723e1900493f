"""How long one connection may take to ask, and how many connections there may be.

Both are counted here, below HTTP and WebSocket alike (protocol.md section 1, row "limits"): a
connection is the same one before and after the upgrade. The wrapper is Twisted's own
:mod:`twisted.protocols.policies`, which Autobahn's ``WebSocketResource`` knows how to take over.
"""

# mypy: allow-untyped-calls

from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IReactorTime,
    ISSLTransport,
    ITCPTransport,
    ITransport,
)
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.server import Site
from zope.interface import noLongerProvides

from overseer.core.tokens import Role

REQUEST_DEADLINE = 10.0
"""Seconds for a request from its first byte to its last, TLS handshake included."""
CLOSE_DEADLINE = 10.0
"""Seconds for the peer to take the rest of an answer once the connection is to be closed."""
SEND_SIZE = 1024 * 1024
"""Bytes that are handed to the operating system at a time: it takes a whole read then, and no rest of it is in
memory for each subscriber."""
TLS_HANDSHAKE = b"\x16\x03"
"""What a TLS client begins with (RFC 8446 section 5.1), and no HTTP request does."""
NO_TLS = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\nthis port speaks HTTP without TLS\n"
OVERFLOW = 64
"""Connections beyond the limit that may be open at once, to be told so."""


class Connection(ProtocolWrapper):
    """One open connection, whatever is spoken on it.

    ``surplus`` tells that it is beyond the limit and only here to be told so, ``role`` what the client may do.
    """

    factory: "Connections"
    transport: ITCPTransport  # or a Unix socket, which can be aborted just so
    surplus = False
    role: Role = "viewer"
    _deadline: IDelayedCall | None = None
    _is_http = True
    _has_begun = False

    def makeConnection(self, transport: ITransport) -> None:
        """Begin, with the deadline for the first request."""
        self._set_deadline(REQUEST_DEADLINE)
        super().makeConnection(transport)

    def dataReceived(self, data: bytes) -> None:
        """Hand bytes on; the first ones after an answer set the deadline of the next request.

        A timeout that every byte refreshes would let trickled headers hold the connection for ever. A client
        that wants TLS would wait as long as that.
        """
        if not self._has_begun:
            self._has_begun = True
            if data.startswith(TLS_HANDSHAKE):
                self.transport.write(NO_TLS)
                self.loseConnection()
                return
        if self._is_http and self._deadline is None:
            self._set_deadline(REQUEST_DEADLINE)
        super().dataReceived(data)

    def loseConnection(self) -> None:
        """Close once all is written, or when the peer has not taken it in time."""
        if self._is_http:
            self._set_deadline(CLOSE_DEADLINE)
        super().loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget the deadline and tell the protocol."""
        self._clear_deadline()
        super().connectionLost(reason)

    def request_received(self) -> None:
        """Stop the clock: the whole request is here."""
        self._clear_deadline()

    def leave_http(self, role: Role) -> None:
        """From now on the protocol that takes over keeps its own time, and to ``role``."""
        self.role = role
        # A plain attribute of Twisted's transports.
        self.transport.SEND_LIMIT = SEND_SIZE  # type: ignore[attr-defined]
        self._clear_deadline()
        self._is_http = False
        if ISSLTransport.providedBy(self):
            # Autobahn asks whatever says so for its TLS channel, and knows no other than Twisted's own.
            noLongerProvides(self, ISSLTransport)

    def _set_deadline(self, seconds: float) -> None:
        self._clear_deadline()
        self._deadline = self.factory.reactor.callLater(seconds, self._abort)

    def _clear_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None

    def _abort(self) -> None:
        self.transport.abortConnection()


class Connections(WrappingFactory[Connection]):
    """Every open connection of a site, ``limit`` at most; what comes beyond is marked ``surplus``.

    Listen with this instead of with the :class:`~twisted.web.server.Site`. HTTP/2 is never
    negotiated, as it leaves no transport to take over.
    """

    protocol = Connection
    noisy = False

    def __init__(self, site: Site, *, limit: int, reactor: IReactorTime) -> None:
        super().__init__(site)
        self.site = site
        self.reactor = reactor
        self._limit = limit
        self._admitted: set[Connection] = set()

    @property
    def admitted(self) -> int:
        """How many connections are open within the limit."""
        return len(self._admitted)

    def buildProtocol(self, addr: IAddress | None) -> Connection | None:  # type: ignore[override]
        """Return a new connection, or None to close it at once when even refusals are too many."""
        if len(self.protocols) >= self._limit + OVERFLOW:
            return None
        return super().buildProtocol(addr)

    def registerProtocol(self, p: Connection) -> None:
        """Count a connection that begins."""
        super().registerProtocol(p)
        if len(self._admitted) < self._limit:
            self._admitted.add(p)
        else:
            p.surplus = True

    def unregisterProtocol(self, p: Connection) -> None:
        """Count a connection that ended."""
        super().unregisterProtocol(p)
        self._admitted.discard(p)
