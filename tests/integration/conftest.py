"""A real daemon, in a process of its own, and clients that nobody here wrote."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.sync.client import ClientConnection, connect, unix_connect

DEADLINE = 20.0
"""Seconds after which something that should happen counts as not happening."""

Message = dict[str, Any]

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A shell has its background jobs ignore Ctrl-C, and so would all programs that are started here.
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Client:
    """One WebSocket client. Every wait has a deadline and keeps what it passed over in ``seen``."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.seen: list[Message] = []
        self._numbers = iter(range(1, 10**9))

    def send(self, **fields: Any) -> str:
        """Send a request and return its id, made up unless given."""
        fields.setdefault("id", f"request-{next(self._numbers)}")
        self.connection.send(json.dumps(fields))
        return str(fields["id"])

    def receive(self, timeout: float = DEADLINE) -> Message:
        """Return the next message."""
        message: Message = json.loads(self.connection.recv(timeout=timeout))
        self.seen.append(message)
        return message

    def until(
        self, wanted: str | Callable[[Message], bool], timeout: float = DEADLINE
    ) -> list[Message]:
        """Return all messages up to the first of that type, or that fits."""
        fits = (lambda message: message["type"] == wanted) if isinstance(wanted, str) else wanted
        messages = [self.receive(timeout)]
        while not fits(messages[-1]):
            assert messages[-1]["type"] != "error" or wanted == "error", messages[-1]
            messages.append(self.receive(timeout))
        return messages

    def ask(self, **fields: Any) -> Message:
        """Send a request and return its answer, found by its id."""
        number = self.send(**fields)
        return self.until(lambda message: message.get("id") == number)[-1]

    def start(self, action: str = "sh", **fields: Any) -> Message:
        """Start a task and return its ``started``."""
        return self.ask(type="start", action=action, **fields)

    def run(self, script: str, **fields: Any) -> list[Message]:
        """Run a shell script to its end and return all messages."""
        self.send(type="start", action="sh", params={"script": script}, **fields)
        return self.until("exited")

    def all_runs(self) -> list[Message]:
        """Page through the whole history."""
        found: list[Message] = []
        answer: Message = {"next": ""}
        while "next" in answer:
            answer = self.ask(type="history", limit=1000, before=answer["next"])
            found += answer["runs"]
        return found


class RawClient:
    """A client on a bare socket: it reads only while asked to, and faster than a library.

    ``close_code`` is that of the daemon's Close frame, once it was read.
    """

    def __init__(self, port: int, receive_buffer: int | None = None) -> None:
        self.close_code: int | None = None
        self._frames = self._read_frames()
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(DEADLINE)
        self.socket.connect(("127.0.0.1", port))
        self.socket.sendall(
            b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        head = b""
        while b"\r\n\r\n" not in head:
            head += self.socket.recv(1)  # nothing of what follows
        assert head.startswith(b"HTTP/1.1 101 "), head

    @staticmethod
    def frame(payload: bytes, opcode: int = 1) -> bytes:
        """Return one frame, masked with zeros (RFC 6455 section 5.2)."""
        size = len(payload)
        if size < 126:
            head = bytes([0x80 | opcode, 0x80 | size])
        elif size < 65536:
            head = bytes([0x80 | opcode, 0x80 | 126]) + size.to_bytes(2)
        else:
            head = bytes([0x80 | opcode, 0x80 | 127]) + size.to_bytes(8)
        return head + bytes(4) + payload

    def send(self, **fields: Any) -> None:
        """Send a request."""
        fields.setdefault("id", "raw")
        self.socket.sendall(self.frame(json.dumps(fields).encode()))

    def messages(self) -> Iterator[Message]:
        """Read messages until the connection ends; fails when none comes for :data:`DEADLINE`."""
        decode = msgspec.json.Decoder().decode
        for opcode, payload in self._frames:
            if opcode == 1:
                yield decode(payload)
            elif opcode == 8:
                self.close_code = int.from_bytes(payload[:2])
                with contextlib.suppress(OSError):  # the daemon need not wait for it
                    self.socket.sendall(self.frame(payload[:2], 8))
                return
            elif opcode == 9:
                self.socket.sendall(self.frame(payload, 10))

    def until(self, fits: Callable[[Message], object]) -> list[Message]:
        """Return all messages up to the first that fits."""
        messages = []
        for message in self.messages():
            messages.append(message)
            if fits(message):
                return messages
        raise AssertionError(f"closed with {self.close_code} after {messages[-3:]}")

    def close(self) -> None:
        """Go without a word."""
        self.socket.close()

    def _read_frames(self) -> Iterator[tuple[int, bytes]]:
        data, position = b"", 0
        while True:
            while len(data) - position >= 2:
                size, start = data[position + 1], position + 2
                if size > 125:
                    width = 2 if size == 126 else 8
                    start += width
                    if start > len(data):
                        break
                    size = int.from_bytes(data[start - width : start])
                end = start + size
                if end > len(data):
                    break
                opcode, payload = data[position] & 15, data[start:end]
                position = end
                yield opcode, payload
            more = self.socket.recv(1 << 20)
            if not more:
                return
            data, position = data[position:] + more, 0


class Daemon:
    """A running daemon. ``log`` grows as it writes."""

    def __init__(
        self, command: list[str], folder: Path, environment: dict[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.log = ""
        self._grown = threading.Condition()
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._grown:
                self.log += line
                self._grown.notify_all()
        with self._grown:
            self._grown.notify_all()

    def wait_for_log(self, pattern: str, timeout: float = DEADLINE) -> "re.Match[str]":
        """Wait until the log matches, and return the match."""
        with self._grown:
            found = self._grown.wait_for(
                lambda: re.search(pattern, self.log) or not self._reader.is_alive(), timeout
            )
        match = re.search(pattern, self.log)
        assert found, f"{pattern!r} never came up:\n{self.log}"
        assert match, f"the daemon ended without {pattern!r}:\n{self.log}"
        return match

    def wait_until_ready(self) -> "Daemon":
        """Wait until all listeners are open."""
        self.wait_for_log(r"\d+ actions?; at most")
        return self

    @property
    def url(self) -> str:
        """The first TCP listener."""
        return self.wait_for_log(r"listening on (ws://\S+)")[1]

    @property
    def port(self) -> int:
        """The TCP port."""
        return int(self.url.split(":")[-1].removesuffix("/ws"))

    @contextlib.contextmanager
    def client(self, **options: Any) -> Iterator[Client]:
        """Connect a client over TCP."""
        defaults = {"max_size": None, "max_queue": None, "compression": None}
        options = {**defaults, "open_timeout": DEADLINE, **options}
        with connect(self.url, **options) as connection:
            yield Client(connection)

    @contextlib.contextmanager
    def unix_client(self, path: Path) -> Iterator[Client]:
        """Connect a client over a Unix socket."""
        with unix_connect(str(path), "ws://localhost/ws", max_size=None) as connection:
            yield Client(connection)

    def http(self, request: str) -> str:
        """Send raw HTTP and return everything that is answered."""
        with socket.create_connection(("127.0.0.1", self.port), DEADLINE) as connection:
            connection.sendall(request.encode())
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()

    @contextlib.contextmanager
    def raw_client(self, receive_buffer: int | None = None) -> Iterator[RawClient]:
        """Connect a client that reads only while asked to."""
        client = RawClient(self.port, receive_buffer)
        try:
            yield client
        finally:
            client.close()

    def memory(self) -> int:
        """Resident memory now, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        match = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert match
        return int(match[1]) * 1024

    def descendants(self) -> set[int]:
        """Every process below the daemon, zombies too."""
        return descendants(self.process.pid)

    def stop(self, number: int = signal.SIGTERM, timeout: float = DEADLINE) -> int:
        """Send a signal and return the exit status, once the log is read to its end."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(timeout)
        self._reader.join(timeout)
        return status


def descendants(root: int) -> set[int]:
    """Return the processes below ``root``, zombies too."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)] = int(fields[1])
    found: set[int] = set()
    frontier = {root}
    while frontier:
        frontier = {pid for pid, parent in parents.items() if parent in frontier} - found
        found |= frontier
    return found


def is_alive(pid: int) -> bool:
    """Return whether there is such a process, a zombie not counted."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def eventually(condition: Callable[[], object], timeout: float = DEADLINE) -> None:
    """Wait for something that no message tells of."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


SHELL = """
listen: "127.0.0.1:0"
actions:
  sh:
    type: exec
    config:
      entrypoint: sh
      command: ["-c", "[[.script]]"]
      parameters: {script: {}}
  echo:
    type: exec
    config:
      entrypoint: echo
      command: ["[[.message]]"]
      parameters: {message: {default: hello}}
"""
"""A configuration that can run anything."""


@contextlib.contextmanager
def launching(folder: Path) -> Iterator[Callable[..., Daemon]]:
    """Start daemons; each is stopped at the end, and none may have logged a traceback."""
    daemons: list[Daemon] = []

    def launch(
        config: str = SHELL,
        *arguments: str,
        command: tuple[str, ...] = (sys.executable, "-m", "overseer"),
        environment: dict[str, str] | None = None,
        ready: bool = True,
    ) -> Daemon:
        path = folder / f"config-{len(daemons)}.yaml"
        path.write_text(config)
        daemon = Daemon([*command, "--config", str(path), *arguments], folder, environment)
        daemons.append(daemon)
        return daemon.wait_until_ready() if ready else daemon

    yield launch
    for daemon in daemons:
        below = daemon.descendants()
        try:
            daemon.stop()
        finally:
            daemon.process.kill()
            for pid in below:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        assert "Traceback" not in daemon.log, daemon.log


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Start daemons for one test."""
    with launching(tmp_path) as launch:
        yield launch


@pytest.fixture(scope="module")
def launch_shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Daemon]]:
    """Start daemons that the tests of a module share."""
    with launching(tmp_path_factory.mktemp("shared")) as launch:
        yield launch


@pytest.fixture
def daemon(launch: Callable[..., Daemon]) -> Daemon:
    """A daemon that runs shell scripts."""
    return launch()
