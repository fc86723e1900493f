"""The database by itself: what was written is read again, page by page, and old tables are upgraded."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from overseer.core.history import (
    AHEAD,
    Changes,
    EventRecord,
    Keep,
    RestorableTask,
    RunQuery,
    RunRecord,
)
from overseer.core.retry import PartialRetryPolicy
from overseer.history import store


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """New tables."""
    with closing(sqlite3.connect(tmp_path / "h.db")) as connection:
        store.configure(connection)
        assert store.upgrade(connection, str(tmp_path / "h.db")) == 0
        yield connection


@st.composite
def records(draw: st.DrawFn) -> list[RunRecord]:
    moments = st.none() | st.integers(0, 2**50)
    found = []
    for key in range(1, draw(st.integers(0, 12)) + 1):
        found.append(
            RunRecord(
                key=key,
                task_id=draw(st.sampled_from("xyz")),
                run=draw(st.integers(0, 9)),
                action=draw(st.sampled_from(["a", "b", "ü"])),
                params=draw(st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2)),
                state=draw(st.sampled_from(["running", "exited", "lost", "failed", "cancelled"])),
                at=draw(st.integers(0, 5)),
                pid=draw(st.none() | st.integers(0, 2**22)),
                started_at=draw(moments),
                exited_at=draw(moments),
                exit_code=draw(st.none() | st.integers(-1, 255)),
                signal=draw(st.sampled_from([None, "SIGTERM"])),
                intentional=draw(st.booleans()),
                output_lines=draw(st.integers(0, 2**40)),
                output_bytes=draw(st.integers(0, 2**50)),
                error_message=draw(st.sampled_from(["", "no such file"])),
            )
        )
    return found


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    records(),
    st.builds(
        RunQuery,
        task_id=st.none() | st.sampled_from("xyz"),
        action=st.none() | st.sampled_from(["a", "b"]),
        since=st.none() | st.integers(0, 5),
        until=st.none() | st.integers(0, 5),
        limit=st.integers(1, 4),
    ),
)
def test_pages_are_what_was_written(
    database: sqlite3.Connection, runs: list[RunRecord], query: RunQuery
) -> None:
    """Whatever the filters: all pages together are all that fits, newest first, nothing twice."""
    database.execute("DELETE FROM overseer_runs")
    store.write(database, Changes(tuple(runs)), 100)
    database.commit()
    expected = [
        run
        for run in sorted(runs, key=lambda run: (run.at, run.key), reverse=True)
        if query.task_id in (None, run.task_id)
        and query.action in (None, run.action)
        and (query.since is None or run.at >= query.since)
        and (query.until is None or run.at < query.until)
    ]
    for run in runs:
        run.key += 100
    found: list[RunRecord] = []
    position = None
    while True:
        page = store.read_page(database, attrs.evolve(query, before=position), statistics=True)
        assert len(page.runs) <= query.limit
        found += page.runs
        position = page.next
        if position is None:
            break
    assert found == expected
    assert page.statistics is not None
    assert {one.action: one.runs for one in page.statistics} == {
        name: sum(run.action == name for run in expected)
        for name in {run.action for run in expected}
    }


def test_an_upgrade_keeps_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: sqlite3.Connection
) -> None:
    """The tables are changed in place, all or nothing, and the file as it was lies beside it."""
    path = str(tmp_path / "h.db")
    run = RunRecord(key=1, task_id="t", run=1, action="a", params={}, state="exited", at=1)
    store.write(database, Changes((run,)), 0)
    database.commit()
    scripts = store.schema_scripts()
    later = "ALTER TABLE overseer_runs ADD COLUMN note TEXT;"
    monkeypatch.setattr(store, "schema_scripts", lambda: [*scripts, later, "NONSENSE;"])
    with pytest.raises(sqlite3.OperationalError):
        store.upgrade(database, path)
    database.rollback()
    monkeypatch.setattr(store, "schema_scripts", lambda: [*scripts, later, "SELECT 1;"])
    newest = len(scripts)
    assert store.upgrade(database, path) == newest + 1
    assert database.execute("SELECT task_id, note FROM overseer_runs").fetchall() == [("t", None)]
    with closing(sqlite3.connect(f"{path}.v{newest}")) as copy:
        assert copy.execute("SELECT task_id FROM overseer_runs").fetchall() == [("t",)]
        assert "note" not in str(copy.execute("SELECT sql FROM sqlite_master").fetchall())
    assert (tmp_path / f"h.db.v{newest}").stat().st_mode & 0o777 == 0o600


def test_tables_of_the_first_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They get what has come since, and lose nothing."""
    path = str(tmp_path / "old.db")
    scripts = store.schema_scripts()
    run = RunRecord(key=1, task_id="t", run=1, action="a", params={}, state="exited", at=1)
    with closing(sqlite3.connect(path)) as connection:
        store.configure(connection)
        with monkeypatch.context() as patch:
            patch.setattr(store, "schema_scripts", lambda: scripts[:1])
            assert store.upgrade(connection, path) == 0
        store.write(connection, Changes((run,)), 0)
        connection.commit()
        assert store.upgrade(connection, path) == 1
        assert store.take_tasks(connection) == ()
        assert store.read_page(connection, RunQuery(limit=5), statistics=False).runs == (run,)
    with closing(sqlite3.connect(f"{path}.v1")) as copy:
        tables = copy.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        assert ("overseer_tasks",) not in tables
        assert copy.execute("SELECT task_id FROM overseer_runs").fetchall() == [("t",)]


def test_tasks_to_start_again(database: sqlite3.Connection) -> None:
    """In the order of their starts, with the number of the last run that is known, until they are forgotten."""
    policy = PartialRetryPolicy(restart_delay=1.5, success_exit_codes=(0, 3))
    first = RestorableTask(
        task_id="b", epoch="e", created_at=1, at=2, action="a", params={"x": "é"}, policy=policy
    )
    second = attrs.evolve(first, task_id="a", at=3, policy=None, last_seq=7)
    runs = tuple(
        RunRecord(key=key, task_id="a", run=key, action="a", params={}, state="lost", at=key // 2)
        for key in (1, 2, 3)
    )
    store.write(database, Changes(runs, tasks={"a": second, "b": first}), 0)
    assert store.take_tasks(database) == (first, attrs.evolve(second, run=3))
    moved = attrs.evolve(second, last_seq=9)
    store.write(database, Changes(tasks={"a": moved, "b": None, "unknown": None}), 0)
    assert store.take_tasks(database) == (attrs.evolve(moved, run=3),)


def test_numbers_are_reserved_before_a_task_goes_on(database: sqlite3.Connection) -> None:
    """Who is killed before it could write anything has told none that the next one tells."""
    task = RestorableTask(
        task_id="a", epoch="e", created_at=1, at=2, action="a", params={}, last_seq=7
    )
    store.write(database, Changes(tasks={"a": task}), 0)
    assert store.take_tasks(database) == (task,)
    assert store.take_tasks(database) == (attrs.evolve(task, last_seq=7 + AHEAD),)


def test_pruning_goes_in_steps(database: sqlite3.Connection) -> None:
    """Oldest first, events with their runs, and what runs stays."""
    second = 1_000_000
    runs = [
        RunRecord(
            key=key,
            task_id="t",
            run=key,
            action="a",
            params={},
            state="running" if key == 1 else "exited",
            at=key * second,
        )
        for key in range(1, 1301)
    ]
    events = tuple(EventRecord(run.at, "t", run.key, b'{"type":"started","pid":1}') for run in runs)
    store.write(database, Changes(tuple(runs), events), 0)
    database.commit()

    def kept() -> list[int]:
        return [row[0] for row in database.execute("SELECT id FROM overseer_runs ORDER BY id")]

    assert store.prune(database, Keep(max_rows=1200), 2000 * second) == 100
    assert kept() == [1, *range(102, 1301)]
    steps = 0
    while store.prune(database, Keep(age=100.0), 1300 * second):
        steps += 1
    assert kept() == [1, *range(1200, 1301)]
    assert steps == 3
    database.execute("UPDATE overseer_runs SET state = 'exited'")
    while store.prune(database, Keep(age=100.0), 1300 * second):
        pass
    (oldest,) = database.execute("SELECT min(at) FROM overseer_events").fetchone()
    assert oldest == 1200 * second


def test_set_aside_overwrites_nothing(tmp_path: Path) -> None:
    """Two in one second get two names."""
    names = []
    for content in ("one", "two"):
        path = tmp_path / "h.db"
        path.write_text(content)
        names.append(store.set_aside(str(path), "20261123T090000Z"))
    assert [Path(name).read_text() for name in names] == ["one", "two"]
