"""Which answer each HTTP path gets, after the access rules have let the request in.

The one port for WebSocket and plain HTTP (protocol.md section 1, row "same port, plain HTTP").
Every request comes through :meth:`Root.render`, whatever its path, so there is one place where the
rules are asked, and everything that is refused is answered in JSON.
"""

# mypy: allow-untyped-calls

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import attrs
from autobahn.twisted.resource import WebSocketResource
from autobahn.twisted.websocket import WebSocketServerFactory
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from overseer.core.access import Refusal, RequestHead
from overseer.core.tokens import Identity
from overseer.web.connection import Connection, Connections
from overseer.web.routes import WEBSOCKET, Route

IDLE_TIMEOUT = 60
"""Seconds for which an idle connection is kept open between two requests."""
UNAUTHORIZED = 401
"""The status of a request that needs a token, which names how to send one (RFC 6750 section 3)."""

Admit: TypeAlias = Callable[[RequestHead], Identity | Refusal]
"""Says who sent a request, or why it may not come in."""

_log = Logger()


@attrs.frozen
class Answer:
    """A whole HTTP answer."""

    status: int
    body: bytes
    content_type: str = "application/json"


def json_answer(status: int, value: Mapping[str, object]) -> Answer:
    """Return an answer whose body is ``value``."""
    return Answer(status, json.dumps(value).encode())


@attrs.frozen
class Question:
    """What a request says besides its path: the ``query`` that its route knows, and what it will ``accept``."""

    query: Mapping[str, str]
    accept: str


Page: TypeAlias = Callable[[Question], Answer | Deferred[Answer]]
"""Answers GET and HEAD of one path, at once or later; a Deferred of it never fails."""


class Root(Resource):
    """Asks the access rules, then answers by the request's exact path.

    ``admit`` is asked for every request, so that the rules may change.
    """

    isLeaf = True

    def __init__(
        self,
        websocket_factory: WebSocketServerFactory,
        pages: Mapping[Route, Page],
        *,
        admit: Admit,
    ) -> None:
        super().__init__()
        self._websocket = WebSocketResource(websocket_factory)
        self._pages = {route.path: (route, page) for route, page in pages.items()}
        self._paths = sorted({WEBSOCKET.path, *self._pages})
        self._ask_rules = admit

    def render(self, request: "SiteRequest") -> int:
        """Answer the request, or hand its connection to the WebSocket."""
        admission = self._admit(request)
        if isinstance(admission, Refusal):
            _log.info(  # what the client chose is shown escaped: no control characters in logs
                "refused {method} {path} from {peer}: {status} {reason!r}",
                method=request.method,
                path=request.path,
                peer=_peer(request) or "a Unix socket",
                status=admission.status,
                reason=admission.reason,
            )
            if admission.status == UNAUTHORIZED:
                request.setHeader("WWW-Authenticate", "Bearer")
            answer = json_answer(admission.status, {"error": admission.reason})
            request.answer(answer, close=True)
            return NOT_DONE_YET
        path = request.path.decode("latin-1")
        if path not in self._paths:
            missing = {"error": "not found", "path": path, "paths": self._paths}
            request.answer(json_answer(404, missing))
        elif request.method not in {b"GET", b"HEAD"}:
            request.setHeader("Allow", "GET, HEAD")
            request.answer(json_answer(405, {"error": "method not allowed"}))
        elif path == WEBSOCKET.path:
            self._upgrade(request, admission)
        else:
            self._ask_page(request, *self._pages[path])
        return NOT_DONE_YET

    def _admit(self, request: "SiteRequest") -> Identity | Refusal:
        admission = self._ask_rules(_head(request))
        if isinstance(admission, Identity) and request.connection.surplus:
            return Refusal(503, "too many connections")
        return admission

    def _ask_page(self, request: "SiteRequest", route: Route, page: Page) -> None:
        query: dict[str, str] = {}
        for name, values in request.args.items() if route.query else ():
            text = name.decode("utf-8", "replace")
            if text not in route.query or len(values) > 1:
                what = "is not known" if text not in route.query else "is there more than once"
                request.answer(json_answer(400, {"error": f"{text[:100]}: {what}"}))
                return
            query[text] = values[0].decode("utf-8", "replace")
        answer = page(Question(query, ",".join(_header(request, "Accept"))))
        if isinstance(answer, Answer):
            request.answer(answer)
            return
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)
        answer.addCallback(lambda answer: None if gone else request.answer(answer))

    def _upgrade(self, request: "SiteRequest", client: Identity) -> None:
        upgrade = ",".join(_header(request, "Upgrade")).lower()
        asks = "websocket" in (token.strip() for token in upgrade.split(","))
        if not (asks and request.method == b"GET" and request.clientproto == b"HTTP/1.1"):
            # Health checks in the field look for these words.
            request.answer(json_answer(400, {"error": "Bad Request: /ws speaks WebSocket only"}))
            return
        if client.name:
            _log.info(
                "{name} ({role}) connects from {peer}",
                name=client.name,
                role=client.role,
                peer=_peer(request),
            )
        request.connection.leave_http(client.role)
        if self._websocket.render(request) is not NOT_DONE_YET:
            # The factory built no protocol.
            request.answer(json_answer(503, {"error": "no new clients are taken"}), close=True)


class SiteRequest(Request):
    """A request as :class:`Root` wants it: without a body, and with its connection at hand."""

    def gotLength(self, length: int | None) -> None:
        """Make room for nothing: Twisted would keep a body of any size in a temporary file."""
        super().gotLength(0)

    def handleContentChunk(self, data: bytes) -> None:
        """Drop a piece of the body; no path takes one."""

    def process(self) -> None:
        """Hand the whole request to the root, also ``OPTIONS *``, which Twisted would answer."""
        self.connection.request_received()
        self.site = self.connection.factory.site
        try:
            self.site.resource.render(self)
        except Exception:
            _log.failure("no answer for {path}", path=self.path)
            self.answer(json_answer(500, {"error": "internal error"}), close=True)

    @property
    def connection(self) -> Connection:
        """What the request came over."""
        connection = self.channel.transport
        assert isinstance(
            connection, Connection
        )  # the site is only listened with inside Connections
        return connection

    def answer(self, answer: Answer, *, close: bool = False) -> None:
        """Send a whole answer; ``close`` gives the connection up after it."""
        send_answer(self, answer, close=close)


def send_answer(request: Request, answer: Answer, *, close: bool) -> None:
    """Send a whole answer; ``close`` gives the connection up after it."""
    request.setResponseCode(answer.status)
    request.setHeader("Server", "overseer")  # no version
    request.setHeader("Content-Type", answer.content_type)
    request.setHeader("Content-Length", str(len(answer.body)))
    request.setHeader("X-Content-Type-Options", "nosniff")
    request.setHeader("Cache-Control", "no-store")
    if close:
        request.setHeader("Connection", "close")
        request.channel.persistent = False
    request.write(answer.body)  # which leaves out the body for HEAD
    request.finish()


class QuietSite(Site):
    """A site without Twisted's access log, which would wake up every second to format the time."""

    noisy = False

    def startFactory(self) -> None:
        """Open no log."""

    def stopFactory(self) -> None:
        """Close no log."""

    def log(self, request: Any) -> None:
        """Write no line."""


def make_site(root: Root, *, connections: int, reactor: IReactorTime) -> Connections:
    """Return the factory to listen with, for ``connections`` at a time."""
    site = QuietSite(root, requestFactory=SiteRequest, timeout=IDLE_TIMEOUT, reactor=reactor)
    return Connections(site, limit=connections, reactor=reactor)


def _head(request: Request) -> RequestHead:
    names = (name.lower() for name, _ in request.requestHeaders.getAllRawHeaders())
    return RequestHead(
        path=request.path.decode("latin-1"),
        peer=_peer(request),
        hosts=_header(request, "Host"),
        origins=_header(request, "Origin"),
        authorizations=_header(request, "Authorization"),
        subprotocols=_header(request, "Sec-WebSocket-Protocol"),
        fetch_metadata=any(name.startswith(b"sec-fetch-") for name in names),
        needs_host=request.clientproto == b"HTTP/1.1",
        tls=request.isSecure(),
    )


def _header(request: Request, name: str) -> list[str]:
    values = request.requestHeaders.getRawHeaders(name.encode(), [])
    return [value.decode("latin-1") for value in values]


def _peer(request: Request) -> str | None:
    """Return the IP address, None for a Unix socket; what is neither is no address to the rules."""
    address = request.getClientAddress()
    if isinstance(address, UNIXAddress):
        return None
    return address.host if isinstance(address, IPv4Address | IPv6Address) else "unknown"
