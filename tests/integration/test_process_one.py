"""The daemon as the first process of a container: it has no init, and is one to what its tasks leave behind."""

import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from conftest import DEADLINE, Daemon, eventually

CONTAINER = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child=SIGKILL")
TASKS = 20
ORPHANS = """
(true &)                                  # an orphan that soon is a zombie, unless somebody waits for it
(setsid sh -c 'trap "echo >>ended; exit" TERM; echo >>up; while :; do sleep 0.05; done' &)
(setsid sh -c 'exit 3' &)
echo started
sleep 1000
"""


def zombies(processes: set[int]) -> set[int]:
    found = set()
    for pid in processes:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state == "Z":
            found.add(pid)
    return found


def is_process_one(pid: int) -> bool:
    """Return whether it is the first process of a namespace: NSpid in proc_pid_status(5)."""
    return bool(re.search(r"NSpid:.*\t1\n", Path(f"/proc/{pid}/status").read_text()))


def lines(path: Path) -> int:
    return path.read_text().count("\n") if path.exists() else 0


def test_as_process_one(launch: Callable[..., Daemon], tmp_path: Path) -> None:
    """It reaps what is not its own; SIGTERM ends all in order, what has fled from its task included."""
    daemon = launch(command=(*CONTAINER, sys.executable, "-m", "overseer"))
    (process_one,) = (pid for pid in daemon.descendants() if is_process_one(pid))
    with daemon.client() as client:
        for number in range(TASKS):
            client.start(task_id=f"task-{number}", params={"script": ORPHANS})
        eventually(lambda: lines(tmp_path / "up") == TASKS)
        eventually(lambda: not zombies(daemon.descendants()))
        assert len(daemon.descendants()) >= 1 + 3 * TASKS  # shell, sleep and what has fled, of each
        os.kill(process_one, signal.SIGTERM)
        client.until("exited")
    assert daemon.process.wait(DEADLINE) == 0
    daemon.wait_for_log(r"#info\] stopped\n")
    assert lines(tmp_path / "ended") == TASKS
