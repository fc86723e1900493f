"""``overseer top``: the tasks that run, what they use and how much they print, seen again and again."""

import contextlib
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.task import deferLater

from overseer.cli.conversation import reactor
from overseer.cli.exit_status import CommandError, ExitStatus
from overseer.cli.names import short_ids
from overseer.cli.pools import EVERY_ACTION
from overseer.cli.processes import Usage, usage_of
from overseer.cli.stream import RECONNECT_FOR
from overseer.cli.tables import ago, parameters, print_json, print_table, rich_table
from overseer.cli.terminal import is_terminal
from overseer.client import Client, connect
from overseer.client.address import WebSocketAddress, parse_address
from overseer.protocol.messages import PoolInfo, TaskInfo

MOST_TASKS = 100
"""Tasks that are looked at, the newest: each costs a request a time."""
_HEAD = ("task", "action", "pid", "cpu %", "memory", "lines/s", "started", "parameters")
MIB = 1024 * 1024
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@attrs.frozen
class Look:
    """What was seen at one time, in seconds; ``lines`` are counted since each task began."""

    time: float
    tasks: Sequence[TaskInfo]
    lines: Mapping[str, int]
    total_lines: int
    pools: Mapping[str, PoolInfo]
    usage: Mapping[str, Usage]


@attrs.frozen
class Row:
    """One task, as it is shown. ``cpu`` is in percent of one processor, ``memory`` in bytes."""

    task_id: str
    action: str
    pid: int | None
    cpu: float | None
    memory: int | None
    lines_per_second: float
    started: str | None
    parameters: str


async def top(url: str, token: str | None, *, as_json: bool, interval: float, once: bool) -> int:
    """Show what runs until Ctrl-C, or once."""
    async with await connect(url, token=token) as client:
        await _watch(client, _is_local(url), as_json=as_json, interval=interval, once=once)
    return 0


async def _watch(
    client: Client, local: bool, *, as_json: bool, interval: float, once: bool
) -> None:
    watching = Deferred.fromCoroutine(
        _look_on(client, local, as_json=as_json, interval=interval, once=once)
    )
    for number in (signal.SIGINT, signal.SIGTERM):  # either would leave the terminal as it is now
        signal.signal(number, lambda *_: reactor.callFromThread(watching.cancel))
    with contextlib.suppress(CancelledError):
        await watching


async def _look_on(
    client: Client, local: bool, *, as_json: bool, interval: float, once: bool
) -> None:
    before = await look(client, local)
    screen = None
    if is_terminal() and not once and not as_json:
        from rich.live import Live  # noqa: PLC0415  # only for a terminal that is watched

        screen = Live(screen=True, auto_refresh=False)
        screen.start()
    try:
        while True:
            await deferLater(reactor, max(interval, 0.1))
            now = await _look_soon(client, local)
            if as_json:
                print_json(
                    {
                        "lines_per_second": _rate(before, now),
                        "tasks": list(map(attrs.asdict, rows(before, now))),
                    }
                )
            elif screen is None:
                print_table(_HEAD, _cells(before, now))
            else:
                screen.update(picture(before, now), refresh=True)
            if once or not (as_json or screen):
                return
            before = now
    finally:
        if screen is not None:
            screen.stop()


async def _look_soon(client: Client, local: bool) -> Look:
    """Return what there is.

    :raises CommandError: when it takes so long that what is shown is none of now.
    """
    seen = Deferred.fromCoroutine(look(client, local)).addTimeout(RECONNECT_FOR, reactor)
    try:
        return await seen
    except TimeoutError as error:
        advice = "see what the daemon has logged"
        raise CommandError(ExitStatus.LOST, "the connection is lost", advice) from error


async def look(client: Client, local: bool) -> Look:
    """Ask for everything that is shown."""
    tasks = (await client.list(state="active", limit=MOST_TASKS)).tasks
    counters = [(await client.metrics(task_id=task.task_id)).task for task in tasks]
    totals = (await client.metrics()).global_
    pools = await client.pool_info()
    return Look(
        time=reactor.seconds(),
        tasks=tasks,
        lines={
            task.task_id: counter.output_lines
            for task, counter in zip(tasks, counters, strict=True)
            if counter is not None
        },
        total_lines=0 if totals is None else totals.total_output_lines,
        pools={EVERY_ACTION: pools.pool, **(pools.pools or {})},
        usage=usage_of({t.task_id: t.current_pid for t in tasks if t.current_pid}) if local else {},
    )


def rows(before: Look, now: Look) -> list[Row]:
    """Return the tasks with what they did between two looks, the busiest first."""
    passed = max(now.time - before.time, 0.001)
    found = []
    for task in now.tasks:
        lines = now.lines.get(task.task_id, 0) - before.lines.get(task.task_id, 0)
        usage, earlier = now.usage.get(task.task_id), before.usage.get(task.task_id)
        cpu = None
        if usage is not None and earlier is not None:
            cpu = round(max(usage.seconds - earlier.seconds, 0.0) / passed * 100, 1)
        found.append(
            Row(
                task_id=task.task_id,
                action=task.action,
                pid=task.current_pid,
                cpu=cpu,
                memory=None if usage is None else usage.memory,
                lines_per_second=round(max(lines, 0) / passed, 1),
                started=task.last_started_at,
                parameters=parameters(task.params),
            )
        )
    return sorted(found, key=lambda row: (row.cpu or 0.0, row.lines_per_second), reverse=True)


def _rate(before: Look, now: Look) -> float:
    return round((now.total_lines - before.total_lines) / max(now.time - before.time, 0.001), 1)


def _cells(before: Look, now: Look) -> list[list[str]]:
    ids = short_ids(task.task_id for task in now.tasks) if is_terminal() else {}
    wall = time.time()
    return [
        [
            ids.get(row.task_id, row.task_id),
            row.action,
            str(row.pid or ""),
            "" if row.cpu is None else f"{row.cpu:.1f}",
            "" if row.memory is None else f"{row.memory / MIB:.1f} MiB",
            f"{row.lines_per_second:,.0f}",
            ago(row.started, wall),
            row.parameters,
        ]
        for row in rows(before, now)
    ]


def picture(before: Look, now: Look) -> Any:
    """Return what a terminal shows."""
    from rich.console import Group  # noqa: PLC0415  # only for a terminal

    every = now.pools[EVERY_ACTION]
    title = (
        f"overseer  {every.running} running, {every.queue_depth} waiting,"
        f" {_rate(before, now):,.0f} lines/s\n"
    )
    # An unlimited pool that nobody uses tells nothing.
    pools = [
        [name, str(pool.limit or "unlimited"), str(pool.running), str(pool.queue_depth)]
        for name, pool in now.pools.items()
        if pool.limit or pool.running or pool.queue_depth
    ]
    parts = [title, rich_table(_HEAD, _cells(before, now))]
    if pools:
        parts += ["", rich_table(("pool", "limit", "running", "waiting"), pools)]
    return Group(*parts)


def _is_local(url: str) -> bool:
    """Whether the processes of the daemon are this machine's."""
    address = parse_address(url)
    return not isinstance(address, WebSocketAddress) or address.host in _LOOPBACK
