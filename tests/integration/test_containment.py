"""What escapes from its task, by a session of its own, by forking twice or both, ends with it."""

import os
import signal
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import SHELL, Client, Daemon, eventually, is_alive

TREE = """
i=0
while [ $i -lt 25 ]; do
    i=$((i+1))
    (setsid sh -c 'trap "" TERM HUP INT; sleep 1000 & exec sleep 1000' &)
done
"""
"""Fifty stubborn processes, each in a session of its own or its child, and none with a parent in the task."""
KEPT = TREE.replace("(setsid", "setsid").replace("&)", "&")
"""The same with their parent alive."""

IMPATIENT = SHELL.replace("type: exec", "type: exec\n    stop_grace: 200ms")


@pytest.fixture
def daemon(launch: Callable[..., Daemon]) -> Daemon:
    """A daemon that is not patient."""
    return launch(IMPATIENT)


def bearing(task_id: str) -> set[int]:
    """Live processes that were started for a task, or are below one that was."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                mark = f"\0OVERSEER_TASK_ID={task_id}\0".encode()
                if mark in b"\0" + (entry / "environ").read_bytes() and is_alive(int(entry.name)):
                    found.add(int(entry.name))
    return found


def start(client: Client, script: str, processes: int) -> str:
    """Start a task, and return its id once it is so many processes."""
    task_id = str(uuid.uuid4())
    client.start(task_id=task_id, params={"script": script})
    eventually(lambda: len(bearing(task_id)) >= processes)
    return task_id


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(f"{TREE} sleep 1000", id="adopted"),
        pytest.param(f"{KEPT} sleep 1000", id="below its parent"),
        pytest.param(f"trap '' TERM; {TREE} {KEPT} while :; do sleep 1000; done", id="stubborn"),
        pytest.param(f"{TREE} env -i setsid sleep 1000 & wait", id="without its environment"),
    ],
)
def test_a_stop_ends_what_has_escaped(daemon: Daemon, script: str) -> None:
    """After the grace at the latest, and nobody else's processes."""
    with daemon.client() as client:
        other = start(client, "(setsid sleep 1000 &) ; exec sleep 1000", 2)
        below = daemon.descendants()
        task_id = start(client, script, 50)
        # Fifty may bear the name before the last one is there.
        eventually(lambda: len(daemon.descendants() - below - bearing(other)) >= 51)
        mine = daemon.descendants() - below - bearing(other)
        client.send(type="stop", task_id=task_id)
        client.until("exited")
        eventually(lambda: not any(map(is_alive, mine)))
        assert len(bearing(other)) == 2


def test_what_has_escaped_ends_after_the_exit_of_its_task(daemon: Daemon) -> None:
    """By SIGTERM at once, or by SIGKILL a second later; the task runs again after that. All are counted."""
    with daemon.client() as client:
        messages = client.run(
            f"{TREE} sleep 0.2; echo $OVERSEER_TASK_ID", task_id=str(uuid.uuid4())
        )
        task_id = messages[-1]["task_id"]
        client.start(task_id=task_id, params={"script": "exec sleep 1000"})
        assert len(bearing(task_id)) == 1
    answer = daemon.http("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert "\noverseer_orphans_killed_total 50.0\n" in answer


@pytest.mark.slow
@pytest.mark.parametrize("end", ["stop", "exit"])
def test_nothing_is_alive_two_seconds_after_the_exit(daemon: Daemon, end: str) -> None:
    """Ten times a hundred stubborn processes, half of them with their parent and half without."""
    with daemon.client() as client:
        for _ in range(10):
            task_id = start(client, f"{TREE} {KEPT} exec sleep 1000", 101)
            pid = client.ask(type="subscribe", task_id=task_id, snapshot=True)["tasks"][0][
                "current_pid"
            ]
            if end == "stop":
                client.send(type="stop", task_id=task_id)
            else:
                os.kill(pid, signal.SIGKILL)
            client.until("exited")
            eventually(lambda task_id=task_id: not bearing(task_id), timeout=2.0)


def test_the_next_run_waits_until_nothing_has_escaped(daemon: Daemon) -> None:
    """A restart never meets processes of the run before."""
    with daemon.client() as client:
        task_id = start(client, f"{TREE} exec sleep 1000", 51)
        client.ask(type="restart", task_id=task_id)
        eventually(lambda: len(bearing(task_id)) == 51)


def test_a_shutdown_ends_what_has_escaped(daemon: Daemon) -> None:
    """It waits for all of it, however stubborn."""
    with daemon.client() as client:
        task_id = start(client, f"{TREE} {KEPT} sleep 1000", 101)
        assert daemon.stop() == 0
    assert not bearing(task_id)


def test_who_leaves_its_group_gets_the_stop_signal(daemon: Daemon, tmp_path: Path) -> None:
    """It can end in its own way."""
    end = tmp_path / "end"
    script = f"setsid sh -c 'trap \"echo ended > {end}; exit\" TERM; echo ready; sleep 1000 & wait'"
    with daemon.client() as client:
        task_id = str(uuid.uuid4())
        client.start(task_id=task_id, params={"script": f"({script} &) ; sleep 1000"})
        client.until("output")
        client.send(type="stop", task_id=task_id, grace="20s")
        client.until("exited")
        eventually(lambda: not bearing(task_id))
    assert end.read_text() == "ended\n"
    assert os.getpid() not in bearing(task_id)


CONTAINED = "db: history.db\n" + IMPATIENT.replace("type: exec", "type: exec\n    cgroup: true")
ESCAPING = """
(env -i setsid sh -c 'trap "" TERM; sleep 1000 & exec sleep 1000' &)
echo
exec sleep 1000
"""
"""Three processes, two of which have left group, parents and environment."""


def control_group(pid: int) -> str:
    """The control group of version 2 that a process is in, nothing without."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return next((line[3:] for line in lines if line.startswith("0::")), "")


def left_groups(name: str) -> list[Path]:
    """Folders of a control group that are still there."""
    return [path for path in Path("/sys/fs/cgroup").rglob("overseer-*") if path.name in name]


@pytest.mark.parametrize("end", ["stop", "exit", "kill"])
def test_nothing_escapes_a_control_group(launch: Callable[..., Daemon], end: str) -> None:
    """Whether the task is stopped, ends or is left by a killed daemon; without such groups that is told."""
    daemon = launch(CONTAINED)
    with daemon.client() as client:
        task_id = client.start(params={"script": ESCAPING})["task_id"]
        pid = client.seen[-1]["pid"]
        client.until("output")
        eventually(lambda: len(daemon.descendants()) >= 3)
        below = daemon.descendants()
        name = control_group(pid)
        if name == control_group(daemon.process.pid):
            daemon.wait_for_log("cgroup has no effect for sh, echo: ")
            return
        assert left_groups(name)
        if end == "stop":
            client.send(type="stop", task_id=task_id)
        elif end == "exit":
            os.kill(pid, signal.SIGKILL)
        else:
            daemon.process.kill()
            daemon.process.wait()
            launch(CONTAINED)
        eventually(lambda: not any(map(is_alive, below)))
        eventually(lambda: not left_groups(name))
    assert "cgroup has no effect" not in daemon.log
