"""The database: opened, upgraded, written and read by one thread at a time; no Twisted here.

Everything is a function of a connection of :mod:`sqlite3` (https://sqlite.org/wal.html for what may happen
to it). Whoever calls decides in which thread.
"""

import os
import sqlite3
from collections.abc import Sequence
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import Any

import attrs
import msgspec

from overseer.core.history import (
    AHEAD,
    Changes,
    Keep,
    RestorableTask,
    RunPage,
    RunQuery,
    RunRecord,
    RunStatistics,
)
from overseer.core.retry import PartialRetryPolicy

BUSY_TIMEOUT = 1.0
"""Seconds that a statement waits for another process's lock."""
SAMPLE = 10_000
"""Runs of each action, the newest, that statistics are made of."""
PRUNE_STEP = 500
"""Rows that are deleted in one transaction."""
AT_ONCE = 50
"""Rows that are written by one statement."""
_MICROSECONDS = 1_000_000
_FIELDS = tuple(field.name for field in attrs.fields(RunRecord))
_COLUMNS = ", ".join("id" if name == "key" else name for name in _FIELDS)
_PUT_RUN = f"REPLACE INTO overseer_runs ({_COLUMNS})"
_PUT_TASK = (
    "REPLACE INTO overseer_tasks (task_id, epoch, created_at, at, action, params, policy, last_seq)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
# With the number of the last run that is known: newest first, as by its index.
_TASKS = (
    "SELECT task_id, epoch, created_at, at, action, params, policy, last_seq, coalesce((SELECT run"
    " FROM overseer_runs AS runs WHERE runs.task_id = tasks.task_id ORDER BY runs.at DESC, id DESC"
    " LIMIT 1), 0) FROM overseer_tasks AS tasks ORDER BY at, task_id"
)
_PUT_EVENT = "INSERT INTO overseer_events (at, type, run, task_id, detail)"
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_decode_policy = msgspec.json.Decoder(PartialRetryPolicy).decode


class SchemaError(Exception):
    """The tables in the file are of a newer version than this program knows."""


def is_damaged(error: BaseException) -> bool:
    """Return whether an error says that the file is no database any more."""
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, sqlite3.Error) and code is not None and code & 0xFF in _DAMAGED


def create_file(path: str) -> None:
    """Create the file if there is none, for this user alone; SQLite gives its companions the same mode.

    :raises OSError: when that is not possible.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def configure(connection: sqlite3.Connection) -> None:
    """Set up a new connection: writers and readers do not wait for each other."""
    connection.execute("PRAGMA journal_mode = WAL")
    # What was committed survives the end of this process, though not that of the machine: see wal.html.
    connection.execute("PRAGMA synchronous = NORMAL")


def schema_scripts() -> list[str]:
    """Return what makes each version of the tables out of the one before."""
    folder = resources.files("overseer.history") / "schema"
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".sql"))
    return [(folder / name).read_text(encoding="utf-8") for name in names]


def latest_schema() -> int:
    """Return the version of the tables that this program writes."""
    return len(schema_scripts())


def upgrade(connection: sqlite3.Connection, path: str) -> int:
    """Bring the tables up to date, with a copy of the file first; return the version they had, 0 if new.

    :raises SchemaError: when they are newer than this program.
    """
    version = _schema_version(connection)
    newest = latest_schema()
    if version > newest:
        raise SchemaError(
            f"its tables have version {version}, this overseer knows up to {newest}:"
            " use a newer overseer or another file"
        )
    if version == newest:
        return version
    if version:
        _back_up(connection, f"{path}.v{version}")
    for number, script in enumerate(schema_scripts()[version:], version + 1):
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{script}\n"
            "CREATE TABLE IF NOT EXISTS overseer_schema (version INTEGER NOT NULL);\n"
            "DELETE FROM overseer_schema;\n"
            f"INSERT INTO overseer_schema VALUES ({number});\nCOMMIT;"
        )
    return version


def newest_id(connection: sqlite3.Connection) -> int:
    """Return the highest number of a run, 0 without any."""
    (number,) = connection.execute("SELECT coalesce(max(id), 0) FROM overseer_runs").fetchone()
    assert isinstance(number, int)
    return number


def close_lost_runs(connection: sqlite3.Connection) -> int:
    """Let every run that is shown running be ``lost``; return how many there were."""
    return connection.execute(
        "UPDATE overseer_runs SET state = 'lost' WHERE state = 'running'"
    ).rowcount


def write(connection: sqlite3.Connection, changes: Changes, offset: int) -> None:
    """Write changes; a run's number is its key plus ``offset``. Whoever calls commits."""
    _put(connection, _PUT_RUN, [_row(run, run.key + offset) for run in changes.runs])
    _put(
        connection,
        _PUT_EVENT,
        [
            _event_row(event.message, event.at, event.task_id, event.key, offset)
            for event in changes.events
        ],
    )
    for task_id, task in changes.tasks.items():
        if task is None:
            connection.execute("DELETE FROM overseer_tasks WHERE task_id = ?", (task_id,))
        else:
            connection.execute(_PUT_TASK, _task_row(task))


def _put(
    connection: sqlite3.Connection, statement: str, rows: Sequence[tuple[object, ...]]
) -> None:
    """Put rows in the table that ``statement`` names, by as few statements as can be.

    After each one the threads of this process may change places, which costs more than a row does.
    """
    for first in range(0, len(rows), AT_ONCE):
        some = rows[first : first + AT_ONCE]
        places = f"({', '.join('?' * len(some[0]))})"
        connection.execute(
            f"{statement} VALUES {', '.join([places] * len(some))}", [*chain.from_iterable(some)]
        )


def take_tasks(connection: sqlite3.Connection) -> tuple[RestorableTask, ...]:
    """Return the tasks that are to be started again, in the order in which they were started.

    The numbers of their lines are reserved before the first of them is told. Whoever calls commits.
    """
    tasks = tuple(map(_task, connection.execute(_TASKS)))
    connection.execute("UPDATE overseer_tasks SET last_seq = last_seq + ?", (AHEAD,))
    return tasks


def prune(connection: sqlite3.Connection, keep: Keep, now: int) -> int:
    """Delete a step of what is too old or too much; return how many rows. Whoever calls commits."""
    deleted = 0
    if keep.max_rows:
        (count,) = connection.execute("SELECT count(*) FROM overseer_runs").fetchone()
        deleted += _delete_oldest(connection, min(count - keep.max_rows, PRUNE_STEP), now)
    if keep.age:
        deleted += _delete_oldest(
            connection, PRUNE_STEP - deleted, now - int(keep.age * _MICROSECONDS)
        )
    if keep.age or keep.max_rows:
        cutoff = "SELECT min(at) FROM overseer_runs"
        # Events are numbered in the order of time.
        deleted += connection.execute(
            "DELETE FROM overseer_events WHERE id IN (SELECT id FROM overseer_events ORDER BY id LIMIT ?)"
            f" AND at < coalesce(({cutoff}), ?)",
            (2 * PRUNE_STEP, now - int(keep.age * _MICROSECONDS)),
        ).rowcount
    return deleted


def read_page(connection: sqlite3.Connection, query: RunQuery, *, statistics: bool) -> RunPage:
    """Return one page of runs.

    :raises ValueError: when ``query.before`` is not the ``next`` of a page.
    """
    where, values = _conditions(query)
    position = query.position
    if position is not None:
        where = [*where, "(at, id) < (?, ?)"]
        values = [*values, *position]
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM overseer_runs {_where(where)} ORDER BY at DESC, id DESC LIMIT ?",
        (*values, query.limit + 1),
    ).fetchall()
    runs = tuple(map(_run, rows[: query.limit]))
    more = len(rows) > query.limit and runs
    return RunPage(
        runs,
        f"{runs[-1].at}-{runs[-1].key}" if more else None,
        _statistics(connection, query) if statistics else None,
    )


def _schema_version(connection: sqlite3.Connection) -> int:
    known = connection.execute(
        "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'overseer_schema'"
    ).fetchone()
    if not known[0]:
        return 0
    (version,) = connection.execute("SELECT max(version) FROM overseer_schema").fetchone()
    return int(version or 0)


def _back_up(connection: sqlite3.Connection, path: str) -> None:
    create_file(path)
    copy = sqlite3.connect(path)
    try:
        connection.backup(copy)
    finally:
        copy.close()


def set_aside(path: str, date: str) -> str:
    """Rename a damaged file and its companions; return its new name, which no file had before.

    :raises OSError: when that is not possible.
    """
    target = base = f"{path}.damaged-{date}"
    number = 1
    while Path(target).exists():
        number += 1
        target = f"{base}-{number}"
    for suffix in ("-wal", "-shm"):
        if Path(path + suffix).exists():
            Path(path + suffix).rename(target + suffix)
    Path(path).rename(target)
    return target


def _row(run: RunRecord, number: int) -> tuple[object, ...]:
    values = {name: getattr(run, name) for name in _FIELDS}
    values["key"] = number
    values["params"] = _encode(run.params).decode() if run.params else None
    values["error_message"] = run.error_message or None
    return tuple(values.values())


def _task_row(task: RestorableTask) -> tuple[object, ...]:
    policy = None if task.policy is None else _encode(task.policy).decode()
    params = _encode(task.params).decode()
    numbers = task.created_at, task.at
    return (task.task_id, task.epoch, *numbers, task.action, params, policy, task.last_seq)


def _task(row: Sequence[Any]) -> RestorableTask:
    task_id, epoch, created_at, at, action, params, policy, last_seq, run = row
    return RestorableTask(
        task_id=task_id,
        epoch=epoch,
        created_at=created_at,
        at=at,
        action=action,
        params=_decode(params),
        policy=None if policy is None else _decode_policy(policy),
        last_seq=last_seq,
        run=run,
    )


def _event_row(
    message: bytes, at: int, task_id: str, key: int | None, offset: int
) -> tuple[object, ...]:
    # What the columns and the row of the run tell is not written twice: it would be half of the file.
    fields = _decode(message)
    kind = fields.pop("type")
    for name in ("task_id", "ts", "id"):
        fields.pop(name, None)
    detail = _encode(fields).decode() if fields else None
    return (
        at,
        kind,
        None if key is None else key + offset,
        task_id if key is None and task_id else None,
        detail,
    )


def _run(row: Sequence[Any]) -> RunRecord:
    values = dict(zip(_FIELDS, row, strict=True))
    values["params"] = _decode(values["params"]) if values["params"] else {}
    values["intentional"] = bool(values["intentional"])
    values["error_message"] = values["error_message"] or ""
    return RunRecord(**values)


def _conditions(query: RunQuery) -> tuple[list[str], list[object]]:
    asked = {
        "task_id = ?": query.task_id,
        # With the plus no index is looked for: of a task there are fewer runs than of an action.
        "action = ?" if query.task_id is None else "+action = ?": query.action,
        "at >= ?": query.since,
        "at < ?": query.until,
    }
    given = {condition: value for condition, value in asked.items() if value is not None}
    return list(given), list(given.values())


def _where(conditions: list[str]) -> str:
    return f"WHERE {' AND '.join(conditions)}" if conditions else ""


def _statistics(connection: sqlite3.Connection, query: RunQuery) -> tuple[RunStatistics, ...]:
    found = []
    for action in _actions(connection) if query.action is None else [query.action]:
        where, values = _conditions(
            RunQuery(
                task_id=query.task_id,
                action=action,
                since=query.since,
                until=query.until,
                limit=SAMPLE,
            )
        )
        rows = connection.execute(
            "SELECT state, exit_code, intentional, started_at, exited_at FROM overseer_runs"
            f" {_where(where)} ORDER BY at DESC, id DESC LIMIT {SAMPLE}",
            values,
        ).fetchall()
        if rows:
            failures = sum(_failed(state, code, asked) for state, code, asked, *_ in rows)
            durations = [
                (exited - started) / _MICROSECONDS
                for *_, started, exited in rows
                if started is not None and exited is not None
            ]
            found.append(RunStatistics.of(action, len(rows), failures, durations))
    return tuple(found)


def _failed(state: str, exit_code: int | None, intentional: int) -> bool:
    return state in ("lost", "failed") or bool(state == "exited" and exit_code and not intentional)


def _actions(connection: sqlite3.Connection) -> list[str]:
    # A jump from name to name: looking at every run of a million would take a while.
    names = []
    row = connection.execute("SELECT min(action) FROM overseer_runs").fetchone()
    while row[0] is not None:
        names.append(row[0])
        row = connection.execute(
            "SELECT min(action) FROM overseer_runs WHERE action > ?", row
        ).fetchone()
    return names


def _delete_oldest(connection: sqlite3.Connection, count: int, before: int) -> int:
    if count <= 0:
        return 0
    return connection.execute(
        "DELETE FROM overseer_runs WHERE id IN (SELECT id FROM overseer_runs"
        " WHERE at < ? AND state != 'running' ORDER BY at LIMIT ?)",
        (before, count),
    ).rowcount
