"""What the history costs, in figures: with a million runs in it, and while ten thousand are added."""

import json
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from conftest import SHELL, Client, Daemon

from overseer.core.history import Changes, EventRecord, RunRecord
from overseer.history import store

pytestmark = pytest.mark.slow
HISTORY = f"db: history.db\n{SHELL}"
MILLION = 1_000_000
BEGIN = 1_700_000_000_000_000
"""When the first run was, one a second from then on; microseconds since the epoch."""


def runs(first: int, count: int) -> Iterator[RunRecord]:
    """Runs as a busy daemon has them: a few actions, many tasks, some of them restarted."""
    for number in range(first, first + count):
        at = BEGIN + number * 1_000_000
        code = 1 if number % 20 == 0 else 0
        yield RunRecord(
            key=number,
            task_id=f"{number % 300_000:08x}-0000-4000-8000-000000000000",
            run=number // 300_000 + 1,
            action=f"action-{number % 7}",
            params={"source": f"camera-{number % 40}", "seconds": str(number % 60)},
            state="exited",
            at=at,
            pid=number % 32768 + 300,
            started_at=at,
            exited_at=at + number % 977 * 1000,
            exit_code=code,
            output_lines=number % 200,
            output_bytes=number % 200 * 60,
        )


def events(run: RunRecord) -> Iterator[EventRecord]:
    """The two that every run has."""
    about = {"task_id": run.task_id, "pid": run.pid}
    started = {"type": "started", "id": "", **about, "ts": ""}
    exited = {"type": "exited", **about, "exit_code": run.exit_code, "intentional": False, "ts": ""}
    for at, message in ((run.at, started), (run.exited_at or run.at, exited)):
        yield EventRecord(at, run.task_id, run.key, json.dumps(message).encode())


def fill(path: Path, count: int) -> None:
    store.create_file(str(path))
    with closing(sqlite3.connect(path)) as connection:
        store.configure(connection)
        store.upgrade(connection, str(path))
        for first in range(1, count + 1, 10_000):
            some = tuple(runs(first, min(10_000, count + 1 - first)))
            store.write(connection, Changes(some, tuple(e for run in some for e in events(run))), 0)
            connection.commit()


def ready_after(launch: Callable[..., Daemon], config: str) -> tuple[float, Daemon]:
    begin = time.monotonic()
    daemon = launch(config)
    return time.monotonic() - begin, daemon


def page_time(client: Client, **query: object) -> float:
    """Seconds for a page of a hundred runs, the least of five."""
    times = []
    for _ in range(5):
        begin = time.monotonic()
        answer = client.ask(type="history", limit=100, **query)
        times.append(time.monotonic() - begin)
        assert len(answer["runs"]) > 0
    return min(times)


def test_a_million_runs(launch: Callable[..., Daemon], tmp_path: Path) -> None:
    """Any page within 20 ms, at most 600 MB, and a daemon that is ready in another second at most."""
    without, daemon = ready_after(launch, SHELL)
    assert daemon.stop() == 0
    path = tmp_path / "history.db"
    fill(path, MILLION)
    size = sum(file.stat().st_size for file in tmp_path.glob("history.db*"))
    ready, daemon = ready_after(launch, HISTORY)
    middle = BEGIN + MILLION // 2 * 1_000_000
    queries: dict[str, dict[str, object]] = {
        "newest": {},
        "oldest": {"before": f"{BEGIN + 102 * 1_000_000}-102"},
        "middle": {"before": f"{middle}-{MILLION // 2}"},
        "of an action": {"action": "action-3"},
        "of an action, oldest": {
            "action": "action-3",
            "before": f"{BEGIN + 1000 * 1_000_000}-1000",
        },
        "of a task": {"task_id": "00000007-0000-4000-8000-000000000000"},
        "of a task and an action": {
            "task_id": "00000007-0000-4000-8000-000000000000",
            "action": "action-0",
        },
        "since": {"since": "2023-11-20T00:00:00Z", "until": "2023-11-20T00:30:00Z"},
    }
    with daemon.client() as client:
        times = {name: page_time(client, **query) for name, query in queries.items()}
        begin = time.monotonic()
        client.ask(type="history", limit=1, statistics=True)
        with_statistics = time.monotonic() - begin
    print(f"{size / 1e6:.0f} MB; ready after {ready:.2f} s, without history {without:.2f} s")
    print({name: f"{1000 * seconds:.1f} ms" for name, seconds in times.items()})
    print(f"statistics of all actions: {1000 * with_statistics:.0f} ms")
    assert size < 600e6
    assert ready - without < 1.0
    assert max(times.values()) < 0.02


RATES = """
listen: "127.0.0.1:0"
task_pool: {size: 8, queue_size: 20000}
actions:
  "true": {type: exec, config: {entrypoint: "true"}}
"""
AT_ONCE = 8


def run_many(client: Client, count: int, *, kept: bool = False) -> float:
    """Run ``true`` so often, some at a time; return the seconds."""
    begin = time.monotonic()
    started = ended = 0
    while ended < count:
        while started < count and started - ended < AT_ONCE:
            client.send(type="start", action="true")
            started += 1
        if client.receive()["type"] == "exited":
            ended += 1
    if kept:
        client.ask(type="history", limit=1)
    client.seen.clear()
    return time.monotonic() - begin


def test_ten_thousand_runs(launch: Callable[..., Daemon]) -> None:
    """Each is in it, and four fifths of the rate are left.

    The two daemons take turns of a fraction of a second, so that a busy machine disturbs both alike; a turn
    ends when its runs are written.
    """
    plain, kept = launch(RATES), launch(f"db: history.db\n{RATES}")
    with plain.client() as one, kept.client() as other:
        ratios = [run_many(one, 500) / run_many(other, 500, kept=True) for _ in range(20)]
    ratio = statistics.median(ratios)
    print(f"with history {ratio:.2f} of the rate without, {min(ratios):.2f} to {max(ratios):.2f}")
    assert kept.stop() == 0
    with closing(sqlite3.connect(kept.folder / "history.db")) as connection:
        shown = connection.execute(
            "SELECT state, exit_code, count(*) FROM overseer_runs GROUP BY state, exit_code"
        ).fetchall()
    assert shown == [("exited", 0, 10_000)]
    assert ratio >= 0.8
