"""A daemon as systemd starts it: what it is told from READY to STOPPING, and sockets that are passed on."""

import contextlib
import plistlib
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import DEADLINE, SHELL, Daemon, eventually

PACKAGING = Path(__file__).parents[2] / "packaging"
PASS_SOCKET = (
    "import os, socket, sys\n"
    "listener = socket.create_server(('127.0.0.1', 0))\n"
    "print('passed on:', listener.getsockname()[1], flush=True)\n"
    "os.dup2(listener.fileno(), 3)\n"
    "os.set_inheritable(3, True)\n"
    "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))\n"
    "os.execv(sys.executable, [sys.executable, '-m', 'overseer', *sys.argv[1:]])\n"
)
"""A program that passes one socket on and gives it no name: it becomes the daemon."""


@pytest.fixture
def notifications(tmp_path: Path) -> Iterator[socket.socket]:
    """Systemd's end of NOTIFY_SOCKET."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(DEADLINE)
        listener.bind(str(tmp_path / "notify"))
        yield listener


def test_a_life_under_systemd(
    launch: Callable[..., Daemon], notifications: socket.socket, tmp_path: Path
) -> None:
    """Ready once it listens, fed while it lives, told of reloads good and bad, and of the end."""

    def hear(wanted: str) -> str:
        while True:
            told = notifications.recv(4096).decode()
            if told != "WATCHDOG=1" or wanted == told:
                assert told.startswith(wanted), told
                return told

    daemon = launch(
        environment={"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
    )
    assert hear("READY=1") == f"READY=1\nSTATUS=2 actions, listening on {daemon.url}"
    for _ in range(3):
        hear("WATCHDOG=1")
    daemon.process.send_signal(signal.SIGHUP)
    hear("RELOADING=1\nMONOTONIC_USEC=")
    assert hear("READY=1").startswith("READY=1\nSTATUS=2 actions")
    (tmp_path / "config-0.yaml").write_text("nonsense: true")
    daemon.process.send_signal(signal.SIGHUP)
    hear("RELOADING=1")
    assert hear("READY=1").startswith("READY=1\nSTATUS=the last reload failed")
    daemon.process.send_signal(signal.SIGTERM)
    assert hear("STOPPING=1") == "STOPPING=1\nSTATUS=shutting down: 0 tasks to end"


def test_a_reactor_that_hangs_feeds_no_watchdog(
    launch: Callable[..., Daemon], notifications: socket.socket, tmp_path: Path
) -> None:
    """The pings come from its timers, so that systemd learns of it."""
    daemon = launch(
        environment={"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "100000"}
    )
    while notifications.recv(4096) != b"WATCHDOG=1":
        pass
    daemon.process.send_signal(signal.SIGSTOP)
    state = Path(f"/proc/{daemon.process.pid}/stat")
    eventually(lambda: state.read_text().rpartition(")")[2].split()[0] == "T")
    notifications.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while notifications.recv(4096):
            pass  # what it told before
    notifications.settimeout(0.5)
    with pytest.raises(TimeoutError):
        notifications.recv(4096)
    daemon.process.send_signal(signal.SIGCONT)
    assert notifications.recv(4096) == b"WATCHDOG=1"


def test_a_socket_that_is_passed_on(launch: Callable[..., Daemon]) -> None:
    """It is listened to though nobody gave it a name, and no child hears of it."""
    daemon = launch(
        SHELL.replace("127.0.0.1:0", "systemd:domain=INET:index=0"),
        command=(sys.executable, "-c", PASS_SOCKET),
    )
    assert daemon.port == int(daemon.wait_for_log(r"passed on: (\d+)")[1])
    with daemon.client() as client:
        messages = client.run("env | grep -c ^LISTEN_; ls /proc/$$/fd")
    assert [m["data"] for m in messages if m["type"] == "output"] == ["0", "0", "1", "2"]


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["overseer.service", "overseer.socket"])
def test_systemd_understands_the_units(unit: str, tmp_path: Path) -> None:
    """Not one key is unknown or misspelt; the program itself need not be installed for this."""
    for path in (PACKAGING / "systemd").iterdir():
        text = path.read_text().replace("/usr/local/bin/overseer", "/bin/true")
        (tmp_path / path.name).write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / unit)]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_launchd_understands_its_file() -> None:
    """It is a property list, and starts what is installed."""
    with (PACKAGING / "launchd/overseer.plist").open("rb") as file:
        job = plistlib.load(file)
    assert job["ProgramArguments"][:2] == ["/usr/local/bin/overseer", "--config"]
