"""What waits to be written, and what runs come to."""

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overseer.core.history import (
    Backlog,
    Changes,
    EventRecord,
    RestorableTask,
    RunQuery,
    RunRecord,
    RunStatistics,
)


def run(key: int, lines: int = 0) -> RunRecord:
    return RunRecord(
        key=key,
        task_id=f"t{key}",
        run=1,
        action="a",
        params={},
        state="running",
        at=key,
        output_lines=lines,
    )


def task(name: str, last_seq: int = 0) -> RestorableTask:
    return RestorableTask(
        task_id=name, epoch="e", created_at=1, at=1, action="a", params={}, last_seq=last_seq
    )


def event(number: int) -> EventRecord:
    return EventRecord(number, "t", None, b"{}")


def test_a_task_is_written_as_it_is_by_then() -> None:
    """In its newest state, again when that failed, and all of them when the file was lost."""
    backlog = Backlog(10)
    backlog.keep_task(task("a"))
    backlog.keep_task(task("b"))
    backlog.keep_task(task("a", 5))
    taken = backlog.take(10)
    assert taken.tasks == {"a": task("a", 5), "b": task("b")}
    assert len(backlog) == 0
    backlog.forget_task("b")
    backlog.put_back(taken)
    assert backlog.take(1).tasks == {"a": task("a", 5)}
    assert backlog.take(1).tasks == {"b": None}
    backlog.write_all_tasks()
    assert backlog.take(10).tasks == {"a": task("a", 5)}


def test_a_run_is_written_as_it_was_when_it_was_added() -> None:
    """What happens to it afterwards is another change."""
    backlog = Backlog(10)
    mine = run(1)
    backlog.add_run(mine)
    mine.state = "exited"
    assert backlog.take(10).runs == (run(1),)
    assert len(backlog) == 0


@given(
    st.integers(1, 5),
    st.lists(
        st.one_of(
            st.tuples(st.just("run"), st.integers(1, 8)),
            st.tuples(st.just("event"), st.just(0)),
            st.tuples(st.just("write"), st.integers(1, 6)),
            st.tuples(st.just("fail"), st.integers(1, 6)),
        ),
        max_size=60,
    ),
)
def test_nothing_is_lost_but_what_is_counted(limit: int, steps: list[tuple[str, int]]) -> None:
    """Each run ends up in its newest state, each event once and in order; the rest is in ``dropped``."""
    backlog = Backlog(limit)
    newest: dict[int, RunRecord] = {}
    written: dict[int, RunRecord] = {}
    events: list[EventRecord] = []
    added = 0

    def write(changes: Changes) -> None:
        written.update({one.key: one for one in changes.runs})
        events.extend(changes.events)

    for number, (step, size) in enumerate(steps):
        if step == "run":
            newest[size] = run(size, number)
            backlog.add_run(newest[size])
        elif step == "event":
            added += 1
            backlog.add_event(event(number))
        else:
            changes = backlog.take(size)
            assert changes.rows <= size
            if step == "write":
                write(changes)
            else:
                backlog.put_back(changes)
        assert len(backlog) <= 3 * limit
    while len(backlog):
        write(backlog.take(2))
    assert [one.at for one in events] == sorted({one.at for one in events})
    missing = [key for key, one in newest.items() if written.get(key) != one]
    assert len(missing) + added - len(events) <= backlog.dropped
    if not backlog.dropped:
        assert written == newest
        assert len(events) == added


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200))
def test_statistics(durations: list[float]) -> None:
    """95 of 100 are not above the 95th percentile, and it is one of them."""
    found = RunStatistics.of("a", len(durations), 0, durations)
    assert found.p95 in durations
    assert found.mean == pytest.approx(sum(durations) / len(durations))
    within = sum(duration <= found.p95 for duration in durations)
    assert 100 * within >= 95 * len(durations)
    assert RunStatistics.of("a", 3, 1, []) == RunStatistics("a", 3, 1, None, None)


@pytest.mark.parametrize("before", ["", "1", "-", "1-", "-1", "1-x", "\u0661-2", "1-" + "1" * 30])
def test_a_position_that_is_none(before: str) -> None:
    """A client that makes them up is told so."""
    with pytest.raises(ValueError, match="expected the next of an earlier answer"):
        _ = RunQuery(limit=1, before=before).position


def test_a_position() -> None:
    """It is an instant and a number, so that runs of the same instant are not mixed up."""
    assert RunQuery(limit=1, before="17-4").position == (17, 4)
    assert RunQuery(limit=1).position is None


def test_all_fields_of_a_run_are_plain() -> None:
    """They go to another thread."""
    values: dict[str, Any] = attrs.asdict(run(1))
    assert values["params"] == {}
