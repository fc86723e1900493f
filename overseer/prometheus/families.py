"""What ``GET /metrics`` tells: every family with its name, its labels and where its numbers come from.

The numbers are read when somebody asks, from what counts and keeps them anyway. Labels name actions and never
tasks: those would grow for ever.
"""

import math
import platform
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import attrs

from overseer._version import __version__
from overseer.core.metrics import ActionCounters, Histogram, OutputCounters, RunResult
from overseer.core.task import State
from overseer.lifecycle.supervisor import Supervisor
from overseer.websocket import ClientFactory, DisconnectReason

if TYPE_CHECKING:
    from overseer.eventlog import EventLog
    from overseer.history.recorder import HistoryRecorder

Value: TypeAlias = float | Histogram
Sample: TypeAlias = tuple[tuple[str, ...], Value]
"""What the labels say, and the number."""


@attrs.frozen(kw_only=True)
class Sources:
    """What the numbers are read from. What there is not has none."""

    supervisor: Supervisor
    clients: ClientFactory
    history: "HistoryRecorder | None"
    event_log: "EventLog | None"
    orphans_ended: Callable[[], int]
    reactor_lag: Histogram


class Scrape:
    """One look at everything: the tasks are walked through once."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self.pools = sources.supervisor.pools
        self.counters = sources.supervisor.counters
        self.startable = tuple(sources.supervisor.actions)
        """The actions that may be started now."""
        self.actions = tuple(dict.fromkeys([*self.startable, *self.counters.actions]))
        """Those, and all that were there before a reload."""
        self.tasks: Counter[tuple[str, State]] = Counter()
        for task in sources.supervisor.select():
            self.tasks[task.record.action, task.record.state] += 1
        self.send_buffers = [client.waiting_size for client in sources.clients.clients]


@attrs.frozen
class Family:
    """One name, and how its numbers are read. A counter is told with ``_total`` behind its name."""

    kind: Literal["gauge", "counter", "histogram"]
    name: str
    help: str
    read: Callable[[Scrape], Iterable[Sample]]
    labels: tuple[str, ...] = ()

    @property
    def told_name(self) -> str:
        """The name in queries; a histogram's has ``_bucket``, ``_sum`` and ``_count`` behind it."""
        return f"{self.name}_total" if self.kind == "counter" else self.name


def _one(read: Callable[[Scrape], Value]) -> Callable[[Scrape], Iterable[Sample]]:
    return lambda scrape: [((), read(scrape))]


def _each_action(read: Callable[[ActionCounters], Value]) -> Callable[[Scrape], Iterable[Sample]]:
    return lambda scrape: [
        ((action,), read(scrape.counters.of(action))) for action in scrape.actions
    ]


def _each_pool(read: Callable[[Scrape, str], float]) -> Callable[[Scrape], Iterable[Sample]]:
    return lambda scrape: [((action,), read(scrape, action)) for action in scrape.startable]


def _history(read: "Callable[[HistoryRecorder], float]") -> Callable[[Scrape], Iterable[Sample]]:
    def read_if_any(scrape: Scrape) -> Iterable[Sample]:
        history = scrape.sources.history
        return [] if history is None else [((), read(history))]

    return read_if_any


def _event_log(read: "Callable[[EventLog], float]") -> Callable[[Scrape], Iterable[Sample]]:
    def read_if_any(scrape: Scrape) -> Iterable[Sample]:
        event_log = scrape.sources.event_log
        return [] if event_log is None else [((), read(event_log))]

    return read_if_any


def _build(scrape: Scrape) -> Iterable[Sample]:
    return [((__version__, platform.python_version()), 1)]


def _tasks(scrape: Scrape) -> Iterator[Sample]:
    for action in scrape.actions:
        for state in get_args(State):
            yield (action, state), scrape.tasks[action, state]


def _exits(scrape: Scrape) -> Iterator[Sample]:
    for action in scrape.actions:
        for result in get_args(RunResult):
            yield (action, result), scrape.counters.of(action).exits[result]


def _dropped(scrape: Scrape) -> Iterator[Sample]:
    for action in scrape.actions:
        counters = scrape.counters.of(action)
        yield (action, "full"), counters.rejected
        for reason, count in counters.left_queue.items():
            yield (action, reason), count


def _each_stream(read: Callable[[OutputCounters], Value]) -> Callable[[Scrape], Iterable[Sample]]:
    return lambda scrape: [
        ((action, stream), read(counters))
        for action in scrape.actions
        for stream, counters in scrape.counters.of(action).output.items()
    ]


def _disconnects(scrape: Scrape) -> Iterator[Sample]:
    for reason in get_args(DisconnectReason):
        yield (reason,), scrape.sources.clients.disconnects[reason]


def _size(limit: int) -> float:
    # Without a limit the pool is never full: the taken part of it is 0, and no alert about it fires.
    return limit or math.inf


def _queue_limit(scrape: Scrape, action: str) -> float:
    limit = scrape.pools.limits(action).queue_size
    return math.inf if limit is None else limit


FAMILIES = (
    Family(
        "gauge",
        "overseer_build_info",
        "Always 1; the labels tell what runs.",
        _build,
        ("version", "python"),
    ),
    Family(
        "gauge",
        "overseer_tasks",
        "Tasks by state, with the finished ones that are not forgotten.",
        _tasks,
        ("action", "state"),
    ),
    Family(
        "counter",
        "overseer_task_starts",
        "Runs that a start, a reset or a restart on request led to.",
        _each_action(lambda counters: counters.tasks_started),
        ("action",),
    ),
    Family(
        "counter",
        "overseer_task_restarts",
        "Runs that began by themselves.",
        _each_action(lambda counters: counters.tasks_restarted),
        ("action",),
    ),
    Family(
        "counter",
        "overseer_task_exits",
        "Runs that are over: ok (exit code 0), failed (another one), signal, timeout, stopped (asked"
        " to end), spawn_error (never begun).",
        _exits,
        ("action", "result"),
    ),
    Family(
        "histogram",
        "overseer_task_duration_seconds",
        "How long runs took.",
        _each_action(lambda counters: counters.run_seconds),
        ("action",),
    ),
    Family(
        "counter",
        "overseer_kill_escalations",
        "Runs that were to end, and did so by SIGKILL.",
        _each_action(lambda counters: counters.killed),
        ("action",),
    ),
    Family(
        "counter",
        "overseer_orphans_killed",
        "Processes that had left the group of their task, and were ended with it.",
        _one(lambda scrape: scrape.sources.orphans_ended()),
    ),
    Family(
        "counter",
        "overseer_output_lines",
        "Lines of output that were told.",
        _each_stream(lambda counters: counters.lines),
        ("action", "stream"),
    ),
    Family(
        "counter",
        "overseer_output_bytes",
        "Bytes of these lines, each with a line end.",
        _each_stream(lambda counters: counters.bytes),
        ("action", "stream"),
    ),
    Family(
        "counter",
        "overseer_output_dropped_lines",
        "Lines that were left out for clients too slow, counted for each of them.",
        _one(lambda scrape: scrape.sources.clients.budget.dropped_lines),
    ),
    Family(
        "gauge",
        "overseer_pool_size",
        "Tasks of the action that may run at once; +Inf without a limit.",
        _each_pool(lambda scrape, action: _size(scrape.pools.limits(action).size)),
        ("action",),
    ),
    Family(
        "gauge",
        "overseer_pool_running",
        "Slots of the action's pool that are taken.",
        _each_pool(lambda scrape, action: scrape.pools.load(action).running),
        ("action",),
    ),
    Family(
        "gauge",
        "overseer_global_pool_size",
        "Tasks of all actions that may run at once; +Inf without a limit.",
        _one(lambda scrape: _size(scrape.pools.limits().size)),
    ),
    Family(
        "gauge",
        "overseer_global_pool_running",
        "Slots of the global pool that are taken.",
        _one(lambda scrape: scrape.pools.load().running),
    ),
    Family(
        "gauge",
        "overseer_queue_length",
        "Tasks of the action that wait for a slot.",
        _each_pool(lambda scrape, action: scrape.pools.load(action).waiting),
        ("action",),
    ),
    Family(
        "gauge",
        "overseer_queue_limit",
        "Tasks of the action that may wait; +Inf without a limit.",
        _each_pool(_queue_limit),
        ("action",),
    ),
    Family(
        "histogram",
        "overseer_queue_wait_seconds",
        "How long tasks waited that then ran.",
        _each_action(lambda counters: counters.wait_seconds),
        ("action",),
    ),
    Family(
        "counter",
        "overseer_queue_dropped",
        "Tasks that waited and did not run, by the reason told with dequeued; full: those that could"
        " not even wait.",
        _dropped,
        ("action", "reason"),
    ),
    Family(
        "gauge",
        "overseer_clients",
        "WebSocket clients.",
        _one(lambda scrape: len(scrape.send_buffers)),
    ),
    Family(
        "gauge",
        "overseer_client_send_buffer_bytes",
        "Bytes that wait for all clients together.",
        _one(lambda scrape: sum(scrape.send_buffers)),
    ),
    Family(
        "gauge",
        "overseer_client_send_buffer_max_bytes",
        "Bytes that wait for the client that is furthest behind.",
        _one(lambda scrape: max(scrape.send_buffers, default=0)),
    ),
    Family(
        "counter",
        "overseer_client_disconnects",
        "WebSocket clients that are gone: closed (by a closing handshake), lost (without one), no_pong"
        " (a ping was not answered), slow (too far behind), shutdown.",
        _disconnects,
        ("reason",),
    ),
    Family(
        "counter",
        "overseer_messages",
        "Requests of clients, ok or error; what was no request has no type.",
        lambda scrape: scrape.counters.requests.items(),
        ("type", "result"),
    ),
    Family(
        "counter",
        "overseer_db_errors",
        "Attempts to use the database of the history that failed.",
        _history(lambda history: history.errors),
    ),
    Family(
        "gauge",
        "overseer_db_waiting",
        "Changes that are not in the history yet.",
        _history(lambda history: history.waiting),
    ),
    Family(
        "counter",
        "overseer_db_dropped",
        "Changes that were left out of the history.",
        _history(lambda history: history.dropped),
    ),
    Family(
        "gauge",
        "overseer_event_log_waiting_bytes",
        "Bytes that are not in the event log yet.",
        _event_log(lambda log: log.waiting_size),
    ),
    Family(
        "counter",
        "overseer_event_log_dropped",
        "Events that were left out of the event log.",
        _event_log(lambda log: log.dropped),
    ),
    Family(
        "histogram",
        "overseer_reactor_lag_seconds",
        "How late a timer comes that is due twice a second; measured from the first scrape on.",
        _one(lambda scrape: scrape.sources.reactor_lag),
    ),
)
