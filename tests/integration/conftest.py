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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect, unix_connect

DEADLINE = 20.0
"""Seconds after which something that should happen counts as not happening."""

Message = dict[str, Any]


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
        self.wait_for_log(r"\d+ actions; at most")
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
        options = {"max_size": None, "open_timeout": DEADLINE, "compression": None, **options}
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


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Start daemons; each is stopped at the end, and none may have logged a traceback."""
    daemons: list[Daemon] = []

    def launch(
        config: str = SHELL,
        *arguments: str,
        command: tuple[str, ...] = (sys.executable, "-m", "overseer"),
        environment: dict[str, str] | None = None,
        ready: bool = True,
    ) -> Daemon:
        path = tmp_path / f"config-{len(daemons)}.yaml"
        path.write_text(config)
        daemon = Daemon([*command, "--config", str(path), *arguments], tmp_path, environment)
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
def daemon(launch: Callable[..., Daemon]) -> Daemon:
    """A daemon that runs shell scripts."""
    return launch()
