"""``overseer top``: what happened between two looks."""

from overseer.cli.processes import Usage, usage_of
from overseer.cli.top import Look, picture, rows
from overseer.protocol.messages import PoolInfo, TaskInfo


def task(task_id: str, pid: int) -> TaskInfo:
    return TaskInfo(
        task_id=task_id,
        action="build",
        params={"target": task_id},
        state="active",
        current_pid=pid,
        restart_count=0,
        created_at="2026-11-22T22:07:47Z",
        last_started_at="2026-11-22T22:07:47Z",
    )


def look(time: float, lines: dict[str, int], usage: dict[str, Usage]) -> Look:
    tasks = [task("idle", 1), task("busy", 2)]
    pools = {"(all)": PoolInfo(0, 2, 1), "build": PoolInfo(2, 2, 1), "other": PoolInfo(0, 0, 0)}
    return Look(time, tasks, lines, sum(lines.values()), pools, usage)


BEFORE = look(10.0, {"idle": 5}, {"busy": Usage(1.0, 100), "idle": Usage(1.0, 100)})
NOW = look(12.0, {"idle": 5, "busy": 300}, {"busy": Usage(2.0, 2**20), "idle": Usage(1.0, 100)})


def test_the_busiest_first() -> None:
    """With processor time and lines as rates, and nothing where nothing is known."""
    busy, idle = rows(BEFORE, NOW)
    assert (busy.task_id, busy.cpu, busy.memory, busy.lines_per_second) == (
        "busy",
        50.0,
        2**20,
        150.0,
    )
    assert (idle.cpu, idle.lines_per_second) == (0.0, 0.0)
    unknown = look(14.0, {"idle": 5}, {})
    assert {(row.cpu, row.memory) for row in rows(NOW, unknown)} == {(None, None)}


def test_a_task_that_began_again_has_no_negative_rate() -> None:
    after = look(14.0, {"busy": 10}, {"busy": Usage(0.1, 1)})
    assert [(row.cpu or 0.0, row.lines_per_second) for row in rows(NOW, after)] == [(0.0, 0.0)] * 2


def test_the_picture(capsys: object) -> None:
    """Totals, tasks, and pools that have something to tell."""
    from rich.console import Console

    console = Console(width=120, record=True, quiet=False)
    with console.capture() as capture:
        console.print(picture(BEFORE, NOW))
    shown = capture.get()
    assert "2 running, 1 waiting, 150 lines/s" in shown
    assert "target=busy" in shown
    assert "build" in shown
    assert "other" not in shown


def test_usage_counts_what_is_below(monkeypatch: object) -> None:
    """Of this very process: something; of one that is not there, nothing."""
    import os

    found = usage_of({"me": os.getpid(), "nobody": 2**22 + 1})
    assert found["me"].memory > 0
    assert "nobody" not in found
