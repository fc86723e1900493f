"""Turns parsed ``listen`` addresses into listening ports, all of them or none.

Whoever reaches a Unix socket is an admin (protocol.md section 1), so that one is made with care: it
has its mode before anybody can connect, a live socket is never stolen, a foreign file not deleted.
"""

# mypy: allow-untyped-calls

import errno
import fcntl
import os
import socket
import stat
import sys
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

from twisted.internet import tcp, unix
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IReactorCore,
    IReactorSocket,
    IReactorThreads,
    IReactorTime,
)
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from overseer.core.listen import Address, SocketAddress, TcpAddress, UnixAddress

BACKLOG = 1024
"""Clients that may wait to be accepted: all of them come back at once after a restart."""
LOCK_ATTEMPTS = 100
"""Attempts, one every ``LOCK_INTERVAL`` seconds, to be the only overseer that starts in a folder."""
LOCK_INTERVAL = 0.05

_log = Logger()


class IListenReactor(IReactorCore, IReactorSocket, IReactorThreads, IReactorTime):
    """What listening needs of a reactor."""


class ListenError(Exception):
    """One address could not be listened on; the text names it and says why."""

    def __init__(self, address: Address, reason: str) -> None:
        super().__init__(f'listen "{address}": {reason}')
        self.address = address
        self.reason = reason


async def listen_all(
    reactor: IListenReactor,
    addresses: Iterable[SocketAddress],
    factory: IProtocolFactory,
    *,
    unix_mode: int = 0o600,
) -> list[IListeningPort]:
    """Listen on every address, in this order, with the same factory.

    Nothing waits for the reactor unless a host name has to be looked up, so privileged ports may be
    opened before privileges are dropped. ``unix_mode`` is for Unix sockets that name no mode.

    :raises ListenError: for the first address that fails; the ports opened before are closed again.
    """
    ports: list[IListeningPort] = []
    for address in addresses:
        try:
            ports.append(await _listen(reactor, address, factory, unix_mode))
        except Exception as problem:
            await stop_listening(ports)
            raise ListenError(address, _reason(problem)) from problem
    return ports


async def stop_listening(ports: Sequence[IListeningPort]) -> None:
    """Close ports; connections that were accepted live on."""
    for stopped in [maybeDeferred(port.stopListening) for port in ports]:
        await stopped


def websocket_url(address: SocketAddress, port: IListeningPort) -> str:
    """Say what a client of this machine connects to, with the real port in place of 0.

    ``ws://127.0.0.1:8080/ws``, ``wss://…`` or ``ws+unix:///run/overseer.sock``.
    """
    host = port.getHost()
    if isinstance(host, UNIXAddress):
        return "ws+unix://" + quote(host.name or b"")
    assert isinstance(host, IPv4Address | IPv6Address)  # what is left of Twisted's stream ports
    scheme = "wss" if str(address).startswith("ssl:") else "ws"
    name = {"::": "127.0.0.1", "0.0.0.0": "127.0.0.1"}.get(host.host, host.host)
    return f"{scheme}://{f'[{name}]' if ':' in name else name}:{host.port}/ws"


class UnixPort(unix.Port):
    """A listening Unix socket that takes away its file when it closes, but nobody else's.

    Twisted's own port deletes whatever is at the path by then. Its order of work is what makes the
    mode hold from the first moment: bind, chmod, and only then listen; until then nobody gets in.
    """

    def startListening(self) -> None:
        """Bind, set the mode, listen.

        :raises CannotListenError: for any error of the operating system.
        """
        super().startListening()
        self._identity = _identity(self._bindPath)

    def connectionLost(self, reason: Failure) -> None:
        """Remove the file if it is still this socket's, then close."""
        try:
            # The number can't have been given to another file: the open socket holds it.
            if _identity(self._bindPath) == self._identity:
                os.unlink(self._bindPath)
        except FileNotFoundError:
            pass
        except OSError as problem:
            _log.warn("{path!r} stays behind: {problem}", path=self._bindPath, problem=problem)
        # Past unix.Port, which would delete the file in any case.
        tcp.Port.connectionLost(self, reason)


class _PathError(Exception):
    """A path that must be left alone."""


class _NoSuchSocketPassed(Exception):
    """Nobody has passed the socket that an address names."""

    def __init__(self) -> None:
        super().__init__(
            "no such socket was passed to this process: is its overseer.socket started?"
        )


async def _listen(
    reactor: IListenReactor, address: SocketAddress, factory: IProtocolFactory, unix_mode: int
) -> IListeningPort:
    if isinstance(address, TcpAddress):
        # Twisted leaves it to a sysctl whether "::" takes IPv4 too, hence a socket of our own.
        with await _tcp_socket(reactor, address) as listener:
            listener.setblocking(False)
            return reactor.adoptStreamPort(
                listener.fileno(),
                listener.family,
                factory,  # type: ignore[arg-type]  # its documentation asks for no more
            )
    if isinstance(address, UnixAddress):
        mode = unix_mode if address.mode is None else address.mode
        return await _listen_unix(reactor, os.path.abspath(address.path), factory, mode)
    try:
        endpoint = serverFromString(reactor, address.description)
    except LookupError as problem:  # of Twisted's list or dict of the sockets that systemd passes
        raise _NoSuchSocketPassed from problem
    port: IListeningPort = await endpoint.listen(factory)
    return port


async def _tcp_socket(reactor: IListenReactor, address: TcpAddress) -> socket.socket:
    if address.host is not None:
        family, name = await _resolve(reactor, address.host, address.port)
        return socket.create_server(name, family=family, backlog=BACKLOG)
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(
                ("::", address.port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True
            )
        except OSError as problem:
            if problem.errno not in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
                raise  # the kernel knows IPv6 but has none switched on
    return socket.create_server(("0.0.0.0", address.port), backlog=BACKLOG)


async def _resolve(reactor: IListenReactor, host: str, port: int) -> tuple[int, Any]:
    """Return family and socket address; of a name with both kinds, such as localhost, the IPv4."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        pool = reactor.getThreadPool()
        found = await deferToThreadPool(
            reactor, pool, socket.getaddrinfo, host, port, type=socket.SOCK_STREAM
        )
    family, _, _, _, name = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return family, name


async def _listen_unix(
    reactor: IListenReactor, path: str, factory: IProtocolFactory, mode: int
) -> IListeningPort:
    # Of two overseers that find the same stale file, the second would delete the socket that the
    # first has just made. A lock on the folder leaves no lock file behind.
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        await _lock(reactor, folder)
        _remove_stale(path)
        port = UnixPort(os.fsencode(path), factory, BACKLOG, mode, reactor)
        port.startListening()
        return port
    finally:
        os.close(folder)


async def _lock(reactor: IListenReactor, folder: int) -> None:
    for _ in range(LOCK_ATTEMPTS):
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            await deferLater(reactor, LOCK_INTERVAL)
        except OSError:
            return  # NFS locks no folders: two that start at once are then a risk, but a rare one
        else:
            return
    raise _PathError("another program keeps its folder locked")


def _remove_stale(path: str) -> None:
    """Delete a socket file that nobody listens on; leave anything else and raise."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise _PathError("the path exists and is not a socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            # So many wait to be accepted that there is no room: somebody listens.
            raise _PathError("another process listens there") from None
        raise _PathError(f"another process listens there{_who_listens(probe)}")


def _who_listens(probe: socket.socket) -> str:
    option = getattr(socket, "SO_PEERCRED", None)  # Linux: unix(7)
    if option is None:
        return ""
    pid = int.from_bytes(probe.getsockopt(socket.SOL_SOCKET, option, 12)[:4], sys.byteorder)
    return f": process {pid}" if pid else ""  # 0 is one of another namespace


def _identity(path: bytes) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino


def _reason(problem: Exception) -> str:
    if isinstance(problem, CannotListenError) and isinstance(problem.socketError, Exception):
        problem = problem.socketError
    if isinstance(problem, OSError) and problem.errno:
        looked_up = isinstance(problem, socket.gaierror)  # which has numbers of its own
        return str(problem.strerror) if looked_up else os.strerror(problem.errno)
    return str(problem)
