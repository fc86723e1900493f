"""What the one who started the daemon hears from it, on a socket like systemd's."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from overseer.systemd import Notifier, name_sockets


class Listener:
    """Systemd's end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(address)

    def heard(self) -> list[str]:
        """Return the datagrams since the last look."""
        found = []
        while True:
            try:
                found.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return found


@pytest.fixture(params=["path", "abstract"])
def heard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Listener, str]]:
    """A listener, and what NOTIFY_SOCKET says of it."""
    if request.param == "abstract":
        name = f"overseer-test-{os.getpid()}"
        listener, address = Listener(f"\0{name}"), f"@{name}"
    else:
        address = str(tmp_path / "notify")
        listener = Listener(address)
    yield listener, address
    listener.socket.close()


def test_a_life_is_told(heard: tuple[Listener, str]) -> None:
    """Ready, a reload with the time that systemd matches it by, ready again, the end."""
    listener, address = heard
    notifier = Notifier(Clock(), {"NOTIFY_SOCKET": address})
    notifier.ready("2 actions")
    assert listener.heard() == ["READY=1\nSTATUS=2 actions"]
    before = time.monotonic_ns() // 1000
    notifier.reloading()
    (reloading,) = listener.heard()
    first, _, moment = reloading.partition("\nMONOTONIC_USEC=")
    assert first == "RELOADING=1"
    assert before <= int(moment) <= time.monotonic_ns() // 1000
    notifier.ready("3 actions")
    notifier.stopping("1 task to end")
    notifier.stop()
    assert listener.heard() == ["READY=1\nSTATUS=3 actions", "STOPPING=1\nSTATUS=1 task to end"]


@pytest.mark.parametrize("owner", [{}, {"WATCHDOG_PID": str(os.getpid())}])
def test_the_watchdog_is_fed_twice_as_often_as_it_asks(
    heard: tuple[Listener, str], owner: dict[str, str]
) -> None:
    """From the first ready to the very end, by timers of the reactor: one that hangs feeds it no more."""
    listener, address = heard
    clock = Clock()
    notifier = Notifier(clock, {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "10000000", **owner})
    clock.advance(60)
    assert listener.heard() == []
    notifier.ready("")
    notifier.ready("again")
    assert listener.heard() == ["READY=1\nSTATUS=", "WATCHDOG=1", "READY=1\nSTATUS=again"]
    clock.pump([5.0] * 3)
    assert listener.heard() == ["WATCHDOG=1"] * 3
    notifier.stopping("")
    clock.advance(5)
    assert listener.heard()[1:] == ["WATCHDOG=1"]
    notifier.stop()
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WATCHDOG_USEC": "1000000"},
        {"NOTIFY_SOCKET": "/nonexistent", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"},
        {"NOTIFY_SOCKET": "", "WATCHDOG_USEC": "nonsense"},
        {"NOTIFY_SOCKET": "/nonexistent/socket"},
        {"NOTIFY_SOCKET": "x" * 200},
    ],
)
def test_without_systemd_nothing_happens(environment: dict[str, str]) -> None:
    """Neither where nobody wants to be told, nor where nobody is there; no timer wakes anybody."""
    clock = Clock()
    notifier = Notifier(clock, environment)
    notifier.ready("")
    notifier.reloading()
    notifier.stopping("")
    notifier.stop()
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"LISTEN_FDS": "1"}, "socket0"),
        ({"LISTEN_FDS": "2"}, "socket0:socket1"),
        ({"LISTEN_FDS": "2", "LISTEN_FDNAMES": ""}, "socket0:socket1"),
        ({"LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b"}, "a:b"),
        ({"LISTEN_FDS": "nonsense"}, None),
        ({"LISTEN_FDS": "2", "LISTEN_PID": "1"}, None),
        ({}, None),
    ],
)
def test_sockets_without_names_get_some(given: dict[str, str], names: str | None) -> None:
    """Twisted's endpoint sees no others; sockets of another process are left alone."""
    environment = {"LISTEN_PID": str(os.getpid()), **given}
    name_sockets(environment)
    assert environment.get("LISTEN_FDNAMES") == names
