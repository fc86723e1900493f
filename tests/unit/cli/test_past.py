"""Tasks that the daemon has forgotten: which one is meant, and what is told of it."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from overseer.cli.exit_status import CommandError, ExitStatus
from overseer.cli.past import find_task_or_run, how_it_ended, status_of
from overseer.client import RequestRefused
from overseer.protocol.messages import HistoryResponse, Run, TaskInfo, Tasks

BEGUN, ENDED = "2026-11-22T22:07:47Z", "2026-11-22T22:08:47Z"


def run_of(task_id: str, number: int = 1, **known: Any) -> Run:
    fields: dict[str, Any] = {"state": "exited", "exit_code": 3, "exited_at": ENDED, **known}
    return Run(
        task_id=task_id,
        run=number,
        action="build",
        intentional=False,
        output_lines=0,
        output_bytes=0,
        **fields,
    )


class FakeClient:
    """Answers ``list`` and ``history``; without runs there is no history."""

    def __init__(self, tasks: list[str], runs: list[Run] | None = None) -> None:
        self._tasks = tasks
        self._runs = runs

    async def list(self) -> Tasks:
        known = {"action": "build", "state": "active", "restart_count": 0, "created_at": BEGUN}
        return Tasks("1", [TaskInfo(task_id=task_id, **known) for task_id in self._tasks])

    async def history(self, *, task_id: str | None = None, limit: int) -> HistoryResponse:
        if self._runs is None:
            raise RequestRefused('there is no history: the configuration has no "db"')
        runs = [run for run in self._runs if task_id in (None, run.task_id)]
        return HistoryResponse("1", runs[:limit])


def found(text: str, tasks: list[str], runs: list[Run] | None = None) -> TaskInfo | Run:
    client: Any = FakeClient(tasks, runs)
    results: list[Any] = []
    Deferred.fromCoroutine(find_task_or_run(client, text)).addBoth(results.append)
    [result] = results
    if isinstance(result, TaskInfo | Run):
        return result
    raise result.value


def test_a_task_that_is_known_needs_no_history() -> None:
    assert isinstance(found("bui", ["build"], [run_of("build")]), TaskInfo)


def test_of_a_forgotten_task_the_newest_run_is_found() -> None:
    """By its id, or by a beginning that no other has."""
    runs = [run_of("build", 2), run_of("builder"), run_of("build", 1), run_of("test")]
    assert found("build", ["other"], runs) is runs[0]
    assert found("te", ["other"], runs) is runs[3]
    with pytest.raises(CommandError, match='2 tasks begin with "bu"'):
        found("bu", ["other"], runs)


@pytest.mark.parametrize("runs", [None, [], [run_of("test")]])
def test_what_nobody_knows_is_no_task(runs: list[Run] | None) -> None:
    with pytest.raises(CommandError, match='no such task "build"') as raised:
        found("build", ["other"], runs)
    assert raised.value.status == ExitStatus.NO_TASK


def test_a_beginning_of_two_known_tasks_is_looked_for_nowhere_else() -> None:
    with pytest.raises(CommandError, match="2 tasks begin"):
        found("b", ["b1", "b2"], [run_of("b")])


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (run_of("a"), f"it ended {ENDED} with exit code 3"),
        (run_of("a", exit_code=-1, signal="SIGKILL"), f"it ended {ENDED} by SIGKILL"),
        (
            run_of("a", state="failed", exit_code=None, error_message="no such file"),
            "it could not begin: no such file",
        ),
        (run_of("a", state="cancelled", exit_code=None), "it left its queue and did not run"),
        (
            run_of("a", state="lost", exit_code=None),
            "how it ended is not known: the overseer ended first",
        ),
    ],
)
def test_how_a_run_ended(run: Run, words: str) -> None:
    assert how_it_ended(run) == words


def test_who_has_waited_ends_as_the_run_did() -> None:
    assert status_of(run_of("a")) == 3
    assert status_of(run_of("a", exit_code=-1, signal="SIGKILL")) == 137


@pytest.mark.parametrize(
    ("state", "status"), [("failed", ExitStatus.REFUSED), ("lost", ExitStatus.LOST)]
)
def test_of_a_run_without_an_exit_code_the_reason_is_told(state: str, status: ExitStatus) -> None:
    with pytest.raises(CommandError, match='task "a"') as raised:
        status_of(run_of("a", state=state, exit_code=None))
    assert raised.value.status == status
