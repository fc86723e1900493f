"""Every path's answer, the refusals in front of them, deadlines and the connection limit."""

import json
from collections.abc import Mapping
from typing import Any

import attrs
import pytest
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.logger import capturedLogs, formatEvent

from overseer.core.access import AccessRules
from overseer.core.lines import Block
from overseer.core.tokens import Identity, Token, digest_of
from overseer.protocol.batch import OutputEncoder
from overseer.web.connection import CLOSE_DEADLINE, OVERFLOW, REQUEST_DEADLINE, Connection
from overseer.web.root import IDLE_TIMEOUT, Question, Root, make_site
from overseer.web.root import Answer as RootAnswer
from overseer.web.routes import (
    ASYNCAPI,
    HEALTH,
    HISTORY,
    MANIFEST,
    METRICS,
    OPENAPI_2,
    OPENAPI_3_1,
    READY,
    ROUTES,
)

NAMED = (MANIFEST, OPENAPI_2, OPENAPI_3_1, ASYNCAPI, HEALTH, READY)
LOCAL = IPv4Address("TCP", "127.0.0.1", 50000)
TRUSTED = IPv4Address("TCP", "10.1.2.3", 50000)
UNTRUSTED = IPv4Address("TCP", "192.0.2.1", 50000)
UNIX = UNIXAddress(None)
UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


class Transport(StringTransportWithDisconnection):
    """One end of a connection, which remembers whether it was aborted."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True
        self.loseConnection()


class Echo(WebSocketServerProtocol):
    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.sendMessage(payload, isBinary)


@attrs.frozen
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.body)


class Server:
    """A site with a clock in place of the reactor."""

    def __init__(self, *, connections: int = 4, **rules: Any) -> None:
        self.clock = Clock()
        self.queries: list[Mapping[str, str]] = []
        self.websockets = WebSocketServerFactory(reactor=self.clock)
        self.websockets.protocol = Echo
        self.websockets.setProtocolOptions(openHandshakeTimeout=0, webStatus=False)
        self.factory = make_site(
            Root(
                self.websockets,
                {
                    **{route: lambda _: RootAnswer(200, b'{"name":"x"}') for route in NAMED},
                    METRICS: lambda asked: RootAnswer(200, asked.accept.encode(), "text/plain"),
                    HISTORY: self.look_up,
                },
                admit=AccessRules(**rules).admit,
            ),
            connections=connections,
            reactor=self.clock,
        )

    def look_up(self, question: Question) -> "Deferred[RootAnswer]":
        self.queries.append(question.query)
        self.answer_to_query: Deferred[RootAnswer] = Deferred()
        return self.answer_to_query

    def connect(self, peer: IAddress = LOCAL) -> tuple[Connection, Transport]:
        transport = Transport(peerAddress=peer)
        connection = self.factory.buildProtocol(peer)
        assert connection is not None
        transport.protocol = connection
        connection.makeConnection(transport)
        return connection, transport

    def ask(self, data: bytes, peer: IAddress = LOCAL) -> tuple[Answer, Transport]:
        connection, transport = self.connect(peer)
        connection.dataReceived(data)
        return parse(transport.value()), transport

    def get(self, path: str, peer: IAddress = LOCAL, **other: Any) -> Answer:
        return self.ask(request(path, **other), peer)[0]


def test_metrics_are_told_in_the_format_that_is_accepted() -> None:
    """The header arrives whole, however many there are of it; without one any will do."""
    server = Server()
    answer = server.get("/metrics", headers={"Accept": "text/plain, */*;q=0.1"})
    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain")
    assert answer.body == b"text/plain, */*;q=0.1"
    assert server.get("/metrics").body == b""


def request(
    path: str,
    headers: dict[str, str] | None = None,
    *,
    method: str = "GET",
    version: str = "HTTP/1.1",
    body: str = "",
) -> bytes:
    fields = {"Host": "localhost:8080"} | (headers or {})
    lines = [f"{method} {path} {version}", *(f"{key}: {value}" for key, value in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def parse(data: bytes) -> Answer:
    head, _, body = data.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {key.lower(): value for key, value in (line.split(": ", 1) for line in lines)}
    return Answer(int(status.split()[1]), headers, body)


def missing(path: str) -> dict[str, Any]:
    """What is said of an unknown path: which ones there are."""
    return {"error": "not found", "path": path, "paths": sorted(route.path for route in ROUTES)}


PATHS = [
    ("/healthz", 200, {"name": "x"}),
    ("/healthz?x=1", 200, {"name": "x"}),
    ("/readyz", 200, {"name": "x"}),
    ("/ws/manifest", 200, {"name": "x"}),
    ("/openapi.json", 200, {"name": "x"}),
    ("/openapi-3.1.json", 200, {"name": "x"}),
    ("/asyncapi.json", 200, {"name": "x"}),
    ("/ws", 400, {"error": "Bad Request: /ws speaks WebSocket only"}),
    ("/healthz/", 404, missing("/healthz/")),
    ("//healthz", 404, missing("//healthz")),
    ("/ws/", 404, missing("/ws/")),
    ("/", 404, missing("/")),
    ("/%2e%2e/x", 404, missing("/%2e%2e/x")),
    ("http://localhost:8080/healthz", 404, None),
    ("*", 404, missing("*")),
]


@pytest.mark.parametrize(("path", "status", "body"), PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_paths(method: str, path: str, status: int, body: object) -> None:
    """The exact path decides; every answer is JSON, uncached, without versions and CORS headers."""
    answer = Server().get(path, method=method)
    assert answer.status == status
    if method == "HEAD":
        assert answer.body == b""
        assert int(answer.headers["content-length"]) > 0
    elif body is not None:
        assert answer.json == body
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["server"] == "overseer"
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/ws", "/healthz", "/ws/manifest"])
@pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS", "BREW"])
def test_wrong_method(path: str, method: str) -> None:
    """A known path says what it takes."""
    answer = Server().get(path, method=method, headers={"Content-Length": "3"}, body="abc")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
    assert answer.json == {"error": "method not allowed"}


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/ws/manifest", "/ws", "/nowhere", "*"])
@pytest.mark.parametrize(
    ("headers", "status", "word"),
    [
        ({"Origin": "http://evil.example"} | UPGRADE, 403, "allowed_origins"),
        ({"Origin": "null"}, 403, "allowed_origins"),
        ({"Origin": "http://evil.example", "Host": "evil.example"}, 403, "allowed_hosts"),
        ({"Sec-Fetch-Site": "none", "Host": "evil.example"}, 403, "allowed_hosts"),
        ({"Host": "localhost\r\nHost: evil.example"}, 400, "more than one Host"),
        ({"Origin": "http://a\r\nOrigin: http://b"}, 400, "more than one Origin"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_refusals_come_first(
    path: str, method: str, headers: dict[str, str], status: int, word: str
) -> None:
    """No path answers before the rules have let the request in, and the connection is given up."""
    answer, transport = Server().ask(request(path, headers, method=method))
    assert answer.status == status
    assert word in answer.json["error"]
    assert answer.headers["connection"] == "close"
    assert not transport.connected


@pytest.mark.parametrize(
    ("peer", "status"),
    [
        (LOCAL, 200),
        (IPv6Address("TCP", "::1", 1), 200),
        (IPv6Address("TCP", "::ffff:127.0.0.1", 1), 200),
        (UNIXAddress(None), 200),
        (UNIXAddress("/run/client.sock"), 200),
        (UNTRUSTED, 403),
        (IPv6Address("TCP", "::ffff:192.0.2.1", 1), 403),
        (object(), 403),
    ],
)
def test_peers(peer: Any, status: int) -> None:
    """Whoever is not surely of this machine stays out."""
    assert Server().get("/healthz", peer).status == status


ADMIN_TOKEN, VIEWER_TOKEN = "admin-0123456789abcdef", "viewer-0123456789abcdef"
TOKENS = (
    Token(Identity("ops", "admin"), digest_of(ADMIN_TOKEN)),
    Token(Identity("wall", "viewer"), digest_of(VIEWER_TOKEN)),
)
OPEN: dict[str, Any] = {"trusted_cidrs": ["127.0.0.0/8", "10.0.0.0/8"]}
GUARDED = OPEN | {"tokens": TOKENS, "allowed_origins": ["https://dash.example"]}
NETWORK_ONLY: dict[str, Any] = {"trusted_cidrs": ["10.0.0.0/8"]}

BEARER = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
SUBPROTOCOLS = {"Sec-WebSocket-Protocol": f"overseer.v1, bearer.{VIEWER_TOKEN}"}
EVIL_PAGE = {"Origin": "http://evil.example"}  # cross-site WebSocket hijacking
REBOUND_PAGE = {"Origin": "http://evil.example:8080", "Host": "evil.example:8080"}  # DNS rebinding
REBOUND_GET = {"Sec-Fetch-Site": "same-origin", "Host": "evil.example:8080"}
OWN_PAGE = {"Origin": "http://localhost:8080"}
NAMED_PAGE = {"Origin": "http://box.example:8080", "Host": "box.example:8080"}
LISTED_PAGE = {"Origin": "https://dash.example", "Host": "box.example"}

ACCESS = [
    # rules, peer, headers; what the WebSocket, the manifest and the health check answer
    (OPEN, LOCAL, {}, (101, 200, 200)),
    (OPEN, TRUSTED, {}, (101, 200, 200)),
    (OPEN, UNTRUSTED, {}, (403, 403, 403)),
    (OPEN, UNTRUSTED, BEARER, (403, 403, 403)),
    (OPEN, UNIX, EVIL_PAGE, (101, 200, 200)),
    (OPEN, LOCAL, OWN_PAGE, (101, 200, 200)),
    (OPEN, TRUSTED, {"Origin": "http://10.9.9.9", "Host": "10.9.9.9"}, (101, 200, 200)),
    (OPEN, LOCAL, EVIL_PAGE, (403, 403, 403)),
    (OPEN, TRUSTED, EVIL_PAGE, (403, 403, 403)),
    (OPEN, LOCAL, {"Origin": "null"}, (403, 403, 403)),
    (OPEN, LOCAL, REBOUND_PAGE, (403, 403, 403)),
    (OPEN, LOCAL, REBOUND_GET, (403, 403, 403)),
    (OPEN, TRUSTED, {"Host": "docker.example"}, (101, 200, 200)),
    (NETWORK_ONLY, LOCAL, {}, (403, 200, 200)),
    (NETWORK_ONLY, LOCAL, EVIL_PAGE, (403, 403, 403)),
    (NETWORK_ONLY, TRUSTED, {}, (101, 200, 200)),
    (NETWORK_ONLY, UNIX, {}, (101, 200, 200)),
    (GUARDED, LOCAL, {}, (401, 401, 200)),
    (GUARDED, LOCAL, BEARER, (101, 200, 200)),
    (GUARDED, TRUSTED, BEARER, (101, 200, 200)),
    (GUARDED, UNTRUSTED, BEARER, (403, 403, 403)),
    (GUARDED, UNIX, {}, (101, 200, 200)),
    (GUARDED, UNIX, {"Authorization": "Bearer wrong"}, (101, 200, 200)),
    (GUARDED, LOCAL, {"Authorization": "Bearer wrong"}, (401, 401, 200)),
    (GUARDED, LOCAL, OWN_PAGE, (401, 401, 200)),
    (GUARDED, LOCAL, OWN_PAGE | SUBPROTOCOLS, (101, 200, 200)),
    (GUARDED, LOCAL, NAMED_PAGE | SUBPROTOCOLS, (101, 200, 200)),
    (GUARDED, LOCAL, LISTED_PAGE | SUBPROTOCOLS, (101, 200, 200)),
    (GUARDED, LOCAL, EVIL_PAGE | SUBPROTOCOLS, (403, 403, 403)),
    (GUARDED, LOCAL, EVIL_PAGE | BEARER, (403, 403, 403)),
    (GUARDED, LOCAL, REBOUND_PAGE, (401, 401, 200)),
    (GUARDED, LOCAL, REBOUND_GET, (401, 401, 200)),
]


@pytest.mark.parametrize(("rules", "peer", "headers", "expected"), ACCESS)
def test_who_may_connect(
    rules: dict[str, Any], peer: IAddress, headers: dict[str, str], expected: tuple[int, ...]
) -> None:
    """The table of protocol.md section 1; a refusal for want of a token says how to send one."""
    asked = (("/ws", headers | UPGRADE), ("/ws/manifest", headers), ("/healthz", headers))
    for (path, fields), status in zip(asked, expected, strict=True):
        server = Server(**rules)
        server.websockets.setProtocolOptions(allowedOrigins=["*"])  # as ours does
        answer = server.get(path, peer, headers=fields)
        assert answer.status == status, path
        assert answer.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)


@pytest.mark.parametrize(
    ("peer", "headers", "role"),
    [
        (LOCAL, BEARER, "admin"),
        (LOCAL, SUBPROTOCOLS, "viewer"),
        (UNIX, SUBPROTOCOLS, "admin"),
        (UNIX, {}, "admin"),
    ],
)
def test_the_role_goes_with_the_connection(
    peer: IAddress, headers: dict[str, str], role: str
) -> None:
    """What speaks WebSocket on it asks for it there."""
    connection, _ = Server(**GUARDED).connect(peer)
    assert connection.role == "viewer"
    connection.dataReceived(request("/ws", headers | UPGRADE))
    assert connection.role == role


def test_tokens_are_neither_told_nor_logged() -> None:
    """Right or wrong, in a header or, where none belongs, in the address."""
    server = Server(**GUARDED)
    wrong = "wrong-0123456789abcdef"
    twice = {"Sec-WebSocket-Protocol": f"bearer.{wrong}, overseer.v1, bearer.{wrong}"}
    with capturedLogs() as logged:
        answers = [
            server.ask(request("/ws", SUBPROTOCOLS | UPGRADE)),
            server.ask(request("/ws", {"Authorization": f"Bearer {wrong}"})),
            server.ask(request("/ws", {"Sec-WebSocket-Protocol": f"overseer.v1, bearer.{wrong}"})),
            server.ask(request(f"/ws?token={ADMIN_TOKEN}")),
            server.ask(request("/ws", BEARER | twice | UPGRADE)),
        ]
    assert [answer.status for answer, _ in answers] == [101, 401, 401, 401, 400]
    shown = "".join(str((event, formatEvent(event))) for event in logged)
    shown += "".join(transport.value().decode() for _, transport in answers)
    assert "wall (viewer) connects from 127.0.0.1" in shown
    for token in (ADMIN_TOKEN, VIEWER_TOKEN, wrong):
        assert token not in shown


def test_host_is_needed_from_http_1_1_on() -> None:
    """Old health checks speak HTTP/1.0 without one."""
    assert Server().ask(b"GET /healthz HTTP/1.1\r\n\r\n")[0].status == 400
    assert Server().ask(b"GET /healthz HTTP/1.0\r\n\r\n")[0].status == 200


def test_own_origin_and_listed_origin() -> None:
    """The rules come from the configuration."""
    server = Server(allowed_origins=["https://dash.example"], allowed_hosts=["box.example"])
    assert server.get("/healthz", headers={"Origin": "http://localhost:8080"}).status == 200
    listed = {"Origin": "https://dash.example", "Host": "box.example:8080"}
    assert server.get("/healthz", headers=listed).status == 200


def test_upgrade() -> None:
    """The WebSocket takes the connection over: no deadline and no idle timeout are left."""
    server = Server()
    connection, transport = server.connect()
    connection.dataReceived(request("/ws", UPGRADE))
    assert transport.value().startswith(b"HTTP/1.1 101 ")
    assert isinstance(connection.wrappedProtocol, Echo)
    assert server.clock.getDelayedCalls() == []
    transport.clear()
    connection.dataReceived(b"\x81\x82\0\0\0\0hi")
    assert transport.value() == b"\x81\x02hi"
    server.clock.advance(10 * IDLE_TIMEOUT)
    assert transport.connected
    assert server.factory.admitted == 1
    transport.loseConnection()
    assert server.factory.admitted == 0


@pytest.mark.parametrize(
    ("path", "options", "status"),
    [
        ("/", {}, 404),
        ("/ws/manifest", {}, 200),
        ("/ws", {"method": "HEAD"}, 400),
        ("/ws", {"method": "POST"}, 405),
        ("/ws", {"version": "HTTP/1.0"}, 400),
    ],
)
def test_upgrades_that_are_none(path: str, options: dict[str, Any], status: int) -> None:
    """Only ``GET /ws`` of HTTP/1.1 becomes a WebSocket (RFC 6455 section 4.2.1)."""
    assert Server().get(path, headers=UPGRADE, **options).status == status


def test_factory_that_takes_no_client() -> None:
    """The WebSocket's factory may refuse, while shutting down for one."""
    server = Server()
    server.websockets.buildProtocol = lambda address: None
    answer, transport = server.ask(request("/ws", UPGRADE))
    assert (answer.status, answer.json) == (503, {"error": "no new clients are taken"})
    assert not transport.connected


def test_error_while_answering(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug of ours is told without a traceback."""
    server = Server()

    def fail(_question: Question) -> RootAnswer:
        raise RuntimeError("secret")

    site = make_site(
        Root(server.websockets, {READY: fail}, admit=AccessRules().admit),
        connections=4,
        reactor=server.clock,
    )
    server.factory = site
    answer = server.get("/readyz")
    assert (answer.status, answer.json) == (500, {"error": "internal error"})


def test_an_answer_that_takes_a_while() -> None:
    """It is found out by the query of the URL; who has gone meanwhile is not answered."""
    server = Server()
    connection, transport = server.connect()
    connection.dataReceived(request("/history?action=a%20b&limit=3"))
    assert (server.queries, transport.value()) == ([{"action": "a b", "limit": "3"}], b"")
    server.answer_to_query.callback(RootAnswer(200, b"{}"))
    assert parse(transport.value()).status == 200
    connection, transport = server.connect()
    connection.dataReceived(request("/history"))
    transport.loseConnection()
    server.answer_to_query.callback(RootAnswer(200, b"{}"))
    assert transport.value() == b""


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("actoin=x", "actoin: is not known"),
        ("action=x&action=y", "action: is there more than once"),
    ],
)
def test_a_query_that_is_wrong(query: str, error: str) -> None:
    """A name that nobody reads would be answered with everything there is."""
    server = Server()
    answer = server.get(f"/history?{query}")
    assert (answer.status, answer.json, server.queries) == (400, {"error": error}, [])


def test_bodies_are_dropped() -> None:
    """No path takes one, so none is kept in memory or on disk."""
    server = Server()
    connection, transport = server.connect()
    connection.dataReceived(request("/healthz", {"Content-Length": "1000000"}))
    for _ in range(100):
        connection.dataReceived(b"x" * 10000)
    assert parse(transport.value()).status == 200


def test_trickled_headers_meet_an_absolute_deadline() -> None:
    """A byte a second keeps no connection open."""
    server = Server()
    connection, transport = server.connect()
    for byte in request("/healthz", {"X": "y" * 100})[: int(REQUEST_DEADLINE)]:
        assert transport.connected
        connection.dataReceived(bytes([byte]))
        server.clock.advance(1)
    assert transport.aborted
    assert server.clock.getDelayedCalls() == []


def test_trickled_body_meets_the_same_deadline() -> None:
    """So does a request that never ends."""
    server = Server()
    connection, transport = server.connect()
    connection.dataReceived(request("/healthz", {"Content-Length": "100"}))
    server.clock.advance(REQUEST_DEADLINE)
    assert transport.aborted


def test_who_wants_tls_is_told_at_once() -> None:
    server = Server()
    connection, transport = server.connect()
    connection.dataReceived(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    assert not transport.connected
    assert parse(transport.value()).status == 400


def test_kept_alive_connection() -> None:
    """Each request has its own deadline; in between only the idle timeout counts."""
    server = Server()
    connection, transport = server.connect()
    for _ in range(3):
        transport.clear()
        connection.dataReceived(request("/healthz"))
        assert parse(transport.value()).status == 200
        server.clock.advance(REQUEST_DEADLINE + 1)
        assert transport.connected
    connection.dataReceived(b"GET /")
    server.clock.advance(REQUEST_DEADLINE)
    assert transport.aborted

    connection, transport = server.connect()
    connection.dataReceived(request("/healthz"))
    server.clock.advance(IDLE_TIMEOUT)
    assert not transport.connected
    assert server.clock.getDelayedCalls() == []


def test_answer_that_is_not_taken() -> None:
    """A peer that does not read the end of an answer is cut off."""
    server = Server()
    connection, transport = server.connect()
    transport.loseConnection = lambda: None  # type: ignore[method-assign]  # its buffer is full
    connection.dataReceived(request("/healthz", {"Connection": "close"}))
    server.clock.advance(CLOSE_DEADLINE - 1)
    assert not transport.aborted
    server.clock.advance(1)
    assert transport.aborted


def test_connection_limit() -> None:
    """What is beyond the limit is told so and closed; what ends makes room."""
    server = Server(connections=2)
    held = [server.connect()[1] for _ in range(2)]
    answer, transport = server.ask(request("/healthz"))
    assert (answer.status, answer.json) == (503, {"error": "too many connections"})
    assert not transport.connected
    assert server.ask(request("/ws", UPGRADE))[0].status == 503
    held[0].loseConnection()
    assert server.get("/healthz").status == 200


def test_connections_beyond_the_limit_are_few() -> None:
    """Those that wait for their refusal can't pile up either, and take nobody's place."""
    server = Server(connections=1)
    _, admitted = server.connect()
    surplus = [server.connect()[1] for _ in range(OVERFLOW)]
    assert server.factory.buildProtocol(LOCAL) is None
    admitted.loseConnection()
    assert server.get("/healthz").status == 200
    server.clock.advance(REQUEST_DEADLINE)
    assert all(transport.aborted for transport in surplus)


def test_http_2_is_not_negotiated() -> None:
    """It would leave the WebSocket no transport to take over."""
    assert not hasattr(Server().factory, "acceptableProtocols")


def test_a_websocket_is_handed_all_of_a_read_at_once() -> None:
    """Else each of a thousand subscribers would hold the rest of it, and take a turn more of the reactor."""
    server = Server()
    connection, transport = server.connect()
    connection.leave_http("admin")
    lines = Block(b"\n".join([b"x" * 60] * (64 * 1024 // 61)))
    batch = OutputEncoder("task", 1, "stdout", 64 * 1024).encode(lines, 1_000_000, 0)
    assert len(batch.frames) < transport.SEND_LIMIT  # type: ignore[attr-defined]
