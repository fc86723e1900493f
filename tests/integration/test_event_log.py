"""The event log of a real daemon: complete, the same as on the wire, rotated, and never in the way."""

import json
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import DEADLINE, SHELL, Daemon, Message, eventually

Launch = Callable[..., Daemon]
OVERSEER = [sys.executable, "-m", "overseer"]
TWISTD = [str(Path(sys.executable).with_name("twistd")), "-n", "--pidfile=", "overseer"]


def logged(*paths: Path) -> list[Message]:
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def test_every_event_is_in_the_log_as_on_the_wire(launch: Launch, tmp_path: Path) -> None:
    """In order, byte by byte, though nobody subscribed; the file is private."""
    path = tmp_path / "events.jsonl"
    daemon = launch(SHELL, environment={"OVERSEER_LOG_FILE": str(path)})
    wire: list[str] = []
    with daemon.client() as client:
        client.send(type="subscribe", task_id="*")
        client.until("subscribed")
        with daemon.client() as starter:
            script = "seq 2000; printf 'ü\"\\377\\n' >&2; exit 3"
            starter.send(type="start", action="sh", task_id="a", params={"script": script})
            starter.until("exited")
        while not wire or '"exited"' not in wire[-1]:
            wire.append(str(client.connection.recv()))
    assert daemon.stop() == 0
    lines = path.read_text().split("\n")
    assert lines == [*wire, ""]
    assert len(lines) == 2004
    assert path.stat().st_mode & 0o777 == 0o600


def test_rotation_under_a_firehose_loses_nothing(launch: Launch, tmp_path: Path) -> None:
    """Every line is in exactly one file, in order; no file is too large and none too many."""
    path = tmp_path / "events.jsonl"
    count = 200_000
    daemon = launch(f"log_file: {path}\nlog_rotate: {{max_size: 4MiB, backups: 30}}\n{SHELL}")
    with daemon.client() as client:
        client.ask(type="start", action="sh", task_id="a", params={"script": f"seq {count}"})
        client.ask(type="unsubscribe", task_id="a")
        eventually(lambda: client.ask(type="list", state="stopped")["tasks"], 60)
    assert daemon.stop() == 0
    backups = sorted(tmp_path.glob("events.jsonl.*"), key=lambda p: -int(p.suffix[1:]))
    assert len(backups) > 3
    assert all(file.stat().st_size <= 4 * 1024 * 1024 for file in [*backups, path])
    numbers = [
        int(number)
        for file in [*backups, path]
        for number in re.findall(r'"seq":(\d+)}\n', file.read_text())
    ]
    assert numbers == list(range(1, count + 1))
    assert "left out" not in daemon.log


def test_only_so_many_backups_are_kept(launch: Launch, tmp_path: Path) -> None:
    """The newest ones."""
    path = tmp_path / "events.jsonl"
    daemon = launch(f"log_file: {path}\nlog_rotate: {{max_size: 64KiB, backups: 2}}\n{SHELL}")
    with daemon.client() as client:
        client.run("seq 5000")
    assert daemon.stop() == 0
    assert sorted(p.name for p in tmp_path.glob("events*")) == [
        "events.jsonl",
        "events.jsonl.1",
        "events.jsonl.2",
    ]
    assert logged(path)[-1]["type"] == "exited"


def test_a_log_that_was_moved_away_is_opened_anew(launch: Launch, tmp_path: Path) -> None:
    """As logrotate does it: rename, SIGHUP; each event is in one of the two files."""
    path, moved = tmp_path / "events.jsonl", tmp_path / "moved"
    daemon = launch(f"log_file: {path}\n{SHELL}")
    with daemon.client() as client:
        client.run("echo one")
        eventually(lambda: len(logged(path)) == 3)
        path.rename(moved)
        daemon.process.send_signal(signal.SIGHUP)
        eventually(path.exists)
        client.run("echo two")
    assert daemon.stop() == 0
    assert [line.get("data") for line in logged(moved)] == [None, "one", None]
    assert [line.get("data") for line in logged(path)] == [None, "two", None]


def run_beside_a_full_disk(daemon: Daemon) -> None:
    with daemon.client() as client:
        messages = client.run("seq 5000")
        assert [m["seq"] for m in messages if m["type"] == "output"] == list(range(1, 5001))
        assert messages[-1]["exit_code"] == 0
        daemon.wait_for_log("cannot write the event log .*: No space left on device; trying again")
        assert client.run("echo on")[-1]["exit_code"] == 0


def test_a_full_disk_costs_lines_of_the_log_and_no_task(launch: Launch) -> None:
    """One warning, and at the end the number of events that are missing."""
    daemon = launch(f"log_file: /dev/full\n{SHELL}")
    run_beside_a_full_disk(daemon)
    assert daemon.stop() == 0
    assert daemon.log.count("cannot write the event log") == 1
    assert "5005 events are not in the event log" in daemon.log


def limit_files(daemon: Daemon, size: int) -> None:
    """Let no file that the daemon writes grow beyond ``size`` bytes: a full disk, made by an ordinary user."""
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def test_a_disk_with_room_again_is_written_again(launch: Launch, tmp_path: Path) -> None:
    """A short outage loses nothing: what waited is written, and no line is torn."""
    path = tmp_path / "events.jsonl"
    daemon = launch(f"log_file: {path}\n{SHELL}")
    limit_files(daemon, 4096)
    with daemon.client() as client:
        client.run("seq 100")
        daemon.wait_for_log("cannot write the event log .*: File too large; trying again")
        assert path.stat().st_size == 4096
        assert client.run("echo on")[-1]["exit_code"] == 0
        limit_files(daemon, resource.RLIM_INFINITY)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for_log("can be written again")
    assert daemon.stop() == 0
    data = [line.get("data") for line in logged(path)]
    assert data == [None, *map(str, range(1, 101)), None, None, "on", None]


@pytest.mark.parametrize("command", [OVERSEER, TWISTD], ids=["overseer", "twistd"])
def test_a_log_in_no_folder_is_an_error_at_start_up(tmp_path: Path, command: list[str]) -> None:
    """It names the key, the path and the reason."""
    config = tmp_path / "c.yaml"
    config.write_text('listen: "127.0.0.1:0"\nlog_file: /nowhere/events.jsonl\n')
    done = subprocess.run(
        [*command, "--config", str(config)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 1
    told = done.stdout + done.stderr
    assert 'log_file "/nowhere/events.jsonl": No such file or directory' in told
    assert "Traceback" not in told
