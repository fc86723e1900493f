"""Real sockets: what is listened on, what is left alone, and a WebSocket through all of it."""

import fcntl
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from autobahn.twisted.websocket import (
    WebSocketClientFactory,
    WebSocketClientProtocol,
    WebSocketServerFactory,
    WebSocketServerProtocol,
)
from twisted.internet import reactor as global_reactor
from twisted.internet import unix
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXClientEndpoint
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol

from overseer import listeners
from overseer.core.access import AccessRules
from overseer.core.listen import Address, TcpAddress, UnixAddress, parse_listen
from overseer.listeners import ListenError, listen_all, stop_listening, websocket_url
from overseer.web.root import Root, make_site

reactor: Any = global_reactor
Listen = Callable[..., Awaitable[list[IListeningPort]]]


def bounded(awaitable: Any) -> Deferred[Any]:
    """Give up after five seconds, so that one hanging Deferred ends one test only."""
    return Deferred.fromCoroutine(awaitable).addTimeout(5, reactor)


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Listen on strings with a factory, and close the ports after the test."""
    opened: list[IListeningPort] = []

    async def listen(*texts: str, factory: Any = None, **options: Any) -> list[IListeningPort]:
        addresses = [parse_listen(text) for text in texts]
        factory = factory or Factory.forProtocol(Protocol)
        ports = await bounded(listen_all(reactor, addresses, factory, **options))
        opened.extend(ports)
        return ports

    yield listen
    pytest_twisted.blockon(bounded(stop_listening(opened)))


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def make_stale(path: Path) -> None:
    """Leave the file of a socket that nobody holds any more."""
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))


@pytest_twisted.ensureDeferred
async def test_port_zero_is_resolved(listen: Listen) -> None:
    """The printed address is one that a client can use."""
    (port,) = await listen("127.0.0.1:0")
    number = port.getHost().port
    assert number > 0
    url = websocket_url(TcpAddress("127.0.0.1", 0), port)
    assert url == f"ws://127.0.0.1:{number}/ws"
    socket.create_connection(("127.0.0.1", number), timeout=5).close()


@pytest_twisted.ensureDeferred
async def test_without_a_host_both_families_are_served(listen: Listen) -> None:
    """``:0`` is one dual-stack socket where there is IPv6."""
    (port,) = await listen(":0")
    number = port.getHost().port
    socket.create_connection(("127.0.0.1", number), timeout=5).close()
    if socket.has_dualstack_ipv6():
        socket.create_connection(("::1", number), timeout=5).close()
    assert websocket_url(TcpAddress(None, 0), port) == f"ws://127.0.0.1:{number}/ws"


@pytest_twisted.ensureDeferred
async def test_without_ipv6_the_ipv4_wildcard_is_used(
    listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel without IPv6 still serves ``:8080``."""
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    (port,) = await listen(":0")
    assert port.getHost().host == "0.0.0.0"


@pytest_twisted.ensureDeferred
async def test_names_and_endpoints(listen: Listen) -> None:
    """A name is looked up, IPv4 first; a Twisted endpoint passes through."""
    named, endpoint = await listen("localhost:0", "tcp:0:interface=127.0.0.1")
    assert named.getHost().host == "127.0.0.1"
    assert endpoint.getHost().host == "127.0.0.1"
    if socket.has_dualstack_ipv6():
        (port,) = await listen("[::1]:0")
        assert websocket_url(TcpAddress("::1", 0), port) == f"ws://[::1]:{port.getHost().port}/ws"


@pytest_twisted.ensureDeferred
async def test_one_failure_closes_all(listen: Listen, tmp_path: Path) -> None:
    """The error names the string and the reason; nothing stays open."""
    path = tmp_path / "x.sock"
    (taken,) = await listen("127.0.0.1:0")
    text = f"127.0.0.1:{taken.getHost().port}"
    with pytest.raises(ListenError) as problem:
        await listen(f"unix:{path}", text)
    assert str(problem.value) == f'listen "{text}": Address already in use'
    assert not path.exists()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nosuchtype:1:x=y", "Unknown endpoint type: 'nosuchtype'"),
        ("unix:/nonexistent/x.sock", "No such file or directory"),
        (f"unix:/tmp/{'x' * 200}", "AF_UNIX path too long"),
        ("192.0.2.1:0", "Cannot assign requested address"),
        ("no-such-host.invalid:0", ""),
        ("systemd:domain=INET:index=7", "no such socket was passed to this process"),
        ("systemd:domain=INET:name=x", "no such socket was passed to this process"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_reasons(listen: Listen, text: str, reason: str) -> None:
    """Each failure is told in the system's or Twisted's words."""
    with pytest.raises(ListenError) as problem:
        await listen(text)
    assert str(problem.value).startswith(f'listen "{text}": {reason}')


@pytest_twisted.ensureDeferred
async def test_permission_denied(listen: Listen, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commonest failure reads as it should (tests may run as root, hence the fake)."""

    def refuse(*_args: Any, **_options: Any) -> socket.socket:
        raise PermissionError(13, "whatever (while attempting to bind on address)")

    monkeypatch.setattr(socket, "create_server", refuse)
    with pytest.raises(ListenError, match=r'^listen ":80": Permission denied$'):
        await listen("80")


@pytest_twisted.ensureDeferred
async def test_unix_socket_comes_private_and_goes(listen: Listen, tmp_path: Path) -> None:
    """Mode 0600 unless told otherwise; no file is left behind, the lock's neither."""
    path, other, third = tmp_path / "a.sock", tmp_path / "b.sock", tmp_path / "c.sock"
    (port,) = await listen(f"unix:{path}")
    assert mode_of(path) == 0o600
    assert websocket_url(UnixAddress(str(path)), port) == f"ws+unix://{path}"
    ports = [port, *await listen(f"unix:{other}", f"unix:{third}:mode=666", unix_mode=0o660)]
    assert (mode_of(other), mode_of(third)) == (0o660, 0o666)
    await bounded(stop_listening(ports))
    assert list(tmp_path.iterdir()) == []


@pytest_twisted.ensureDeferred
async def test_nobody_gets_in_before_the_mode_is_set(
    listen: Listen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The socket has its mode when it begins to listen."""
    path = tmp_path / "x.sock"
    change = os.chmod

    def check_then_change(name: bytes, mode: int) -> None:
        with socket.socket(socket.AF_UNIX) as early, pytest.raises(ConnectionRefusedError):
            early.connect(name)
        change(name, mode)
        seen.append(mode)

    seen: list[int] = []
    monkeypatch.setattr(unix.os, "chmod", check_then_change)
    await listen(f"unix:{path}")
    assert seen == [0o600]


@pytest_twisted.ensureDeferred
async def test_stale_socket_is_replaced(listen: Listen, tmp_path: Path) -> None:
    """A daemon that was killed does not keep the next one from starting."""
    path = tmp_path / "x.sock"
    make_stale(path)
    await listen(f"unix:{path}")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


@pytest.mark.parametrize("waiting", [0, 5])
@pytest_twisted.ensureDeferred
async def test_live_socket_is_never_stolen(listen: Listen, tmp_path: Path, waiting: int) -> None:
    """Even one that is too busy to answer."""
    path = tmp_path / "x.sock"
    clients = [socket.socket(socket.AF_UNIX) for _ in range(waiting)]
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(str(path))
        live.listen(0)
        before = path.stat().st_ino
        for client in clients:
            client.setblocking(False)
            client.connect_ex(str(path))
        with pytest.raises(ListenError) as problem:
            await listen(f"unix:{path}")
        who = "" if waiting else f": process {os.getpid()}"
        assert str(problem.value) == f'listen "unix:{path}": another process listens there{who}'
        assert path.stat().st_ino == before
        for client in clients:
            client.close()


@pytest.mark.parametrize("kind", ["file", "folder", "link", "dangling"])
@pytest_twisted.ensureDeferred
async def test_what_is_no_socket_is_left_alone(listen: Listen, tmp_path: Path, kind: str) -> None:
    """A typo in the configuration deletes nothing."""
    path, target = tmp_path / "x", tmp_path / "target"
    if kind == "file":
        path.write_text("precious")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(target)
        if kind == "link":
            make_stale(target)
    before = path.lstat().st_ino
    with pytest.raises(ListenError, match="the path exists and is not a socket"):
        await listen(f"unix:{path}")
    assert path.lstat().st_ino == before


@pytest_twisted.ensureDeferred
async def test_datagram_socket_is_left_alone(listen: Listen, tmp_path: Path) -> None:
    """It belongs to somebody, though it takes no connection."""
    path = tmp_path / "x.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as live:
        live.bind(str(path))
        with pytest.raises(ListenError, match="wrong type for socket"):
            await listen(f"unix:{path}")
    assert path.exists()


@pytest_twisted.ensureDeferred
async def test_only_our_own_file_is_removed(listen: Listen, tmp_path: Path) -> None:
    """Whoever took the path meanwhile keeps it, and a missing file is no error."""
    path, other = tmp_path / "a.sock", tmp_path / "b.sock"
    ports = await listen(f"unix:{path}", f"unix:{other}")
    path.unlink()
    other.unlink()
    make_stale(path)
    await bounded(stop_listening(ports))
    assert path.exists()


@pytest_twisted.ensureDeferred
async def test_two_that_start_at_once(
    listen: Listen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second waits until the first has made its socket, and then finds it alive."""
    path = tmp_path / "x.sock"
    make_stale(path)
    folder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    starting = [Deferred.fromCoroutine(_attempt(listen, path)) for _ in range(2)]
    assert not any(one.called for one in starting)
    os.close(folder)
    results = [await one.addTimeout(5, reactor) for one in starting]
    assert sorted(results) == [
        f"another process listens there: process {os.getpid()}",
        "listening",
    ]

    folder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    monkeypatch.setattr(listeners, "LOCK_ATTEMPTS", 2)
    assert await _attempt(listen, path) == "another program keeps its folder locked"
    os.close(folder)


async def _attempt(listen: Listen, path: Path) -> str:
    try:
        await listen(f"unix:{path}")
    except ListenError as problem:
        return problem.reason
    return "listening"


class Echo(WebSocketServerProtocol):
    """Answers each message and remembers what it runs on."""

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.factory.seen.append(self)
        self.sendMessage(payload, isBinary)


class Client(WebSocketClientProtocol):
    """Sends one message and hands over the answer and its own end."""

    def onOpen(self) -> None:
        self.sendMessage(b"hello")

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.factory.answer.callback(payload)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.factory.closed.callback(self.wasNotCleanReason or reason)


@pytest.mark.parametrize("kind", [":0", "127.0.0.1:0", "unix"])
@pytest_twisted.ensureDeferred
async def test_websocket_end_to_end(listen: Listen, tmp_path: Path, kind: str) -> None:
    """A client talks over every kind of listener, and the server can drop it."""
    text = str(tmp_path / "x.sock") if kind == "unix" else kind
    server = WebSocketServerFactory()
    server.protocol = Echo
    server.seen = []
    root = Root(server, {}, admit=AccessRules().admit)
    connections = make_site(root, connections=4, reactor=reactor)
    (port,) = await listen(text, factory=connections)

    client = WebSocketClientFactory("ws://localhost/ws")
    client.protocol = Client
    client.answer, client.closed = Deferred(), Deferred()
    endpoint = (
        UNIXClientEndpoint(reactor, text)
        if kind == "unix"
        else TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
    )
    await endpoint.connect(client).addTimeout(5, reactor)
    assert await client.answer.addTimeout(5, reactor) == b"hello"
    assert connections.admitted == 1

    (protocol,) = server.seen
    peer = protocol.transport.getPeer()
    if kind == "unix":
        assert peer == UNIXAddress(None)
    else:
        # Python up to 3.12 and getnameinfo write a mapped address alike.
        assert peer.host in {"127.0.0.1", "::ffff:127.0.0.1"}
        assert protocol.transport.getTcpNoDelay()
    protocol.transport.unregisterProducer()  # until here the HTTP channel held it
    protocol.transport.registerProducer(_Producer(), True)
    protocol.transport.abortConnection()
    assert await client.closed.addTimeout(5, reactor)


class _Producer:
    def pauseProducing(self) -> None:
        pass

    def resumeProducing(self) -> None:
        pass

    def stopProducing(self) -> None:
        pass


def test_error_carries_its_address() -> None:
    """A caller may look at the parts."""
    address: Address = TcpAddress(None, 80)
    problem = ListenError(address, "Permission denied")
    assert (problem.address, problem.reason) == (address, "Permission denied")
