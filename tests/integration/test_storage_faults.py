"""Disks that are full, slow, read-only or locked by somebody else: tasks and clients never notice.

The history and the event log are on such a disk together. Whatever happens to it, no line is lost to a
subscriber, there is one warning each, and what could not be written is written afterwards.
"""

import json
import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path

import pytest
from conftest import Client, Daemon

CONFIG = """
db: disk/history.db
log_file: disk/events.jsonl
listen: "127.0.0.1:0"
actions:
  sh:
    type: exec
    config:
      entrypoint: sh
      command: ["-c", "[[.script]]"]
      parameters: {script: {}}
"""
COUNT = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.005; done"
DURATIONS = pytest.mark.parametrize("seconds", [1, pytest.param(30, marks=pytest.mark.slow)])


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own, or only a folder for who may not mount one."""
    path = tmp_path / "disk"
    path.mkdir()
    yield path
    subprocess.run(["umount", "-l", str(path)], check=False, capture_output=True)


def mount(disk: Path, options: str) -> bool:
    """Mount a disk; return whether this user may."""
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


@contextmanager
def full(disk: Path, daemon: Daemon) -> Iterator[None]:
    """Leave no room on a disk, or forbid the daemon that its files grow."""
    if disk.is_mount():
        filler = disk / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(4096)):
                pass
        yield
        filler.unlink()
    else:
        limits = resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (4096, limits[1]))
        yield
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, limits)


@contextmanager
def locked(disk: Path, _daemon: Daemon) -> Iterator[None]:
    """Hold the write lock of the database, as another process would."""
    with closing(sqlite3.connect(disk / "history.db")) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


class Load:
    """Lines that are streamed all the while, and runs that begin and end."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._numbers = count(1)
        self.codes: dict[str, int] = {}
        client.start(task_id="stream", params={"script": COUNT})

    def go_on(self, seconds: float) -> None:
        """Run one thing after the other for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            name = f"task-{next(self._numbers)}"
            code = len(self.codes) % 3
            self._client.send(
                type="start", action="sh", task_id=name, params={"script": f"echo x; exit {code}"}
            )
            self._client.until(
                lambda message, name=name: (message["type"], message["task_id"]) == ("exited", name)
            )
            self.codes[name] = code

    def finish(self) -> int:
        """End the stream; return how many lines it had. None of them was lost."""
        self._client.send(type="stop", task_id="stream")
        self._client.until(
            lambda message: (message["type"], message["task_id"]) == ("exited", "stream")
        )
        lines = [
            (message["seq"], message["data"])
            for message in self._client.seen
            if message["type"] == "output" and message["task_id"] == "stream"
        ]
        assert lines == [(number, str(number)) for number in range(1, len(lines) + 1)]
        return len(lines)


def check_history(client: Client, load: Load) -> None:
    """Every run is there, with its code."""
    shown = {run["task_id"]: run["exit_code"] for run in client.all_runs()}
    assert shown.pop("stream") == -1
    assert shown == load.codes


def check_event_log(disk: Path, load: Load, lines: int) -> None:
    """Every event is there, once and in order."""
    events = [json.loads(line) for line in (disk / "events.jsonl").open()]
    exits = {one["task_id"]: one["exit_code"] for one in events if one["type"] == "exited"}
    assert exits == {**load.codes, "stream": -1}
    numbers = [
        one["seq"] for one in events if one["type"] == "output" and one["task_id"] == "stream"
    ]
    assert numbers == list(range(1, lines + 1))


@DURATIONS
def test_a_full_disk(launch: Callable[..., Daemon], disk: Path, seconds: float) -> None:
    """Nothing is lost, and nothing left out: there was room in memory."""
    mount(disk, "size=64m")
    daemon = launch(CONFIG)
    with daemon.client() as client:
        load = Load(client)
        load.go_on(0.3)
        with full(disk, daemon):
            load.go_on(seconds)
            daemon.wait_for_log("cannot write the history disk/history.db: .*full")
            daemon.wait_for_log("cannot write the event log disk/events.jsonl: ")
        daemon.wait_for_log("the history disk/history.db can be written again; 0 changes")
        load.go_on(0.3)
        lines = load.finish()
        check_history(client, load)
    assert daemon.stop() == 0
    check_event_log(disk, load, lines)
    assert daemon.log.count("cannot write the history") == 1
    assert daemon.log.count("cannot write the event log") == 1


@pytest.mark.parametrize("seconds", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_a_locked_database(launch: Callable[..., Daemon], disk: Path, seconds: float) -> None:
    """The event log is not concerned."""
    daemon = launch(CONFIG)
    with daemon.client() as client:
        load = Load(client)
        load.go_on(0.3)
        with locked(disk, daemon):
            load.go_on(seconds)
            daemon.wait_for_log("cannot write the history disk/history.db: database is locked")
        daemon.wait_for_log("the history disk/history.db can be written again; 0 changes")
        lines = load.finish()
        check_history(client, load)
    assert daemon.stop() == 0
    check_event_log(disk, load, lines)
    assert daemon.log.count("cannot write the history") == 1


def test_a_disk_that_becomes_writable_late(launch: Callable[..., Daemon], disk: Path) -> None:
    """What happened before is written then; tasks are started all the same."""
    if not mount(disk, "ro,size=64m"):
        return  # nothing is read-only for a root that may not mount
    daemon = launch(CONFIG)
    daemon.wait_for_log("cannot write the history disk/history.db: Read-only file system")
    with daemon.client() as client:
        load = Load(client)
        load.go_on(0.5)
        daemon.wait_for_log("cannot write the event log disk/events.jsonl: Read-only file system")
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        daemon.wait_for_log("the history disk/history.db can be written again; 0 changes")
        lines = load.finish()
        check_history(client, load)
    assert daemon.stop() == 0
    check_event_log(disk, load, lines)


SLOW = """
import time
from overseer.cli import main
from overseer.history import store
from overseer.log_file import LogFile

def slowly(function):
    def wait_and_do(*arguments):
        time.sleep(0.5)
        return function(*arguments)
    return wait_and_do

store.write = slowly(store.write)
LogFile.write = slowly(LogFile.write)
main()
"""


def test_a_slow_disk(launch: Callable[..., Daemon], disk: Path) -> None:
    """Each write takes half a second: nobody else waits for it."""
    daemon = launch(CONFIG, command=(sys.executable, "-c", SLOW))
    with daemon.client() as client:
        load = Load(client)
        load.go_on(1.5)
        assert len(load.codes) > 3
        lines = load.finish()
        check_history(client, load)
    assert daemon.stop() == 0
    check_event_log(disk, load, lines)
