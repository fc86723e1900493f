"""What the database keeps: runs, events and tasks to start again, and what of them waits to be written.

protocol.md section 3 has the fields of a run. Instants are microseconds since the epoch.
"""

import re
from collections import deque
from collections.abc import Iterable, Mapping
from itertools import islice

import attrs

from overseer.core.retry import PartialRetryPolicy
from overseer.core.task import RunState

AHEAD = 1_000_000
"""How many numbers are reserved for the lines of a task; the next ones are when half of them are used."""


class HistoryError(Exception):
    """The history cannot be used at all; the text says why."""


_POSITION = re.compile(r"([0-9]{1,18})-([0-9]{1,18})")


@attrs.define(kw_only=True)
class RunRecord:
    """One run of a task. ``key`` numbers the runs of one daemon; ``at`` is when the run was first heard of.

    ``attempt`` counts automatic restarts since the last start. ``params`` hold no secret.
    """

    key: int
    task_id: str
    run: int
    action: str
    params: Mapping[str, str]
    state: RunState
    at: int
    attempt: int = 0
    pid: int | None = None
    queued_at: int | None = None
    started_at: int | None = None
    exited_at: int | None = None
    exit_code: int | None = None
    signal: str | None = None
    intentional: bool = False
    output_lines: int = 0
    output_bytes: int = 0
    error_message: str = ""


@attrs.frozen
class EventRecord:
    """A lifecycle event: the message that clients were told, as JSON. ``key`` is that of its run, if any."""

    at: int
    task_id: str
    key: int | None
    message: bytes


@attrs.frozen(kw_only=True)
class RestorableTask:
    """A task that a later overseer starts again, with what its start gave, and goes on numbering.

    No line of it has a number above ``last_seq``, nor any run one above ``run``. ``at`` is when it was started.
    """

    task_id: str
    epoch: str
    created_at: int
    at: int
    action: str
    params: Mapping[str, str]
    policy: PartialRetryPolicy | None = None
    last_seq: int = 0
    run: int = 0


@attrs.frozen
class Changes:
    """What one transaction writes. Of the tasks, None is one that nobody starts again."""

    runs: tuple[RunRecord, ...] = ()
    events: tuple[EventRecord, ...] = ()
    tasks: Mapping[str, RestorableTask | None] = attrs.field(factory=dict)

    @property
    def rows(self) -> int:
        """How many rows that are."""
        return len(self.runs) + len(self.events) + len(self.tasks)


class Backlog:
    """What waits to be written: of each run and task its newest state, and all events.

    At most ``limit`` runs and twice as many events wait; beyond that the oldest are left out and counted in
    ``dropped``. What was taken is put back when it could not be written. Tasks to start again are no more than
    there are.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._runs: dict[int, RunRecord] = {}
        self._events: deque[EventRecord] = deque()
        self._tasks: dict[str, RestorableTask] = {}
        self._changed_tasks: dict[str, None] = {}
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._runs) + len(self._events) + len(self._changed_tasks)

    def add_run(self, run: RunRecord) -> None:
        """Have a run written as it is now."""
        self._runs[run.key] = attrs.evolve(run)
        if len(self._runs) > self._limit:
            del self._runs[next(iter(self._runs))]
            self.dropped += 1

    def add_event(self, event: EventRecord) -> None:
        """Have an event written."""
        self._events.append(event)
        if len(self._events) > 2 * self._limit:
            self._events.popleft()
            self.dropped += 1

    def keep_task(self, task: RestorableTask) -> None:
        """Have a task kept as it is now."""
        self._tasks[task.task_id] = task
        self._changed_tasks[task.task_id] = None

    def forget_task(self, task_id: str) -> None:
        """Have a task kept no longer."""
        self._tasks.pop(task_id, None)
        self._changed_tasks[task_id] = None

    def write_all_tasks(self) -> None:
        """Have all tasks written again: what had been written is lost."""
        self._changed_tasks = dict.fromkeys(self._tasks)

    def take(self, rows: int) -> Changes:
        """Take out the oldest changes, at most ``rows``; those of tasks go first."""
        tasks = {key: self._tasks.get(key) for key in islice(self._changed_tasks, rows)}
        for key in tasks:
            del self._changed_tasks[key]
        rows -= len(tasks)
        keys = list(islice(self._runs, rows))
        runs = tuple(self._runs.pop(key) for key in keys)
        count = min(rows - len(runs), len(self._events))
        return Changes(runs, tuple(self._events.popleft() for _ in range(count)), tasks)

    def put_back(self, changes: Changes) -> None:
        """Have changes written again; what has changed since is written as it is now."""
        self._changed_tasks = dict.fromkeys(changes.tasks) | self._changed_tasks
        self._runs = {run.key: run for run in changes.runs} | self._runs
        self._events.extendleft(reversed(changes.events))
        surplus = len(self._runs) - self._limit
        for key in list(islice(self._runs, max(surplus, 0))):
            del self._runs[key]
            self.dropped += 1
        while len(self._events) > 2 * self._limit:
            self._events.popleft()
            self.dropped += 1


@attrs.frozen(kw_only=True)
class Keep:
    """How long runs are kept: seconds, 0 = for ever; and how many at most, 0 = no bound."""

    age: float = 0.0
    max_rows: int = 0


@attrs.frozen(kw_only=True)
class RunQuery:
    """Which runs are asked for, newest first. ``before`` is the ``next`` of the page before."""

    task_id: str | None = None
    action: str | None = None
    since: int | None = None
    until: int | None = None
    limit: int
    before: str | None = None

    @property
    def position(self) -> tuple[int, int] | None:
        """Instant and number of the run that ``before`` names.

        :raises ValueError: when it is no such name.
        """
        if self.before is None:
            return None
        found = _POSITION.fullmatch(self.before)
        if found is None:
            raise ValueError("expected the next of an earlier answer")
        return int(found[1]), int(found[2])


@attrs.frozen
class RunStatistics:
    """What a number of runs of one action come to; durations in seconds, None without an ended run."""

    action: str
    runs: int
    failures: int
    mean: float | None
    p95: float | None

    @classmethod
    def of(
        cls, action: str, runs: int, failures: int, durations: Iterable[float]
    ) -> "RunStatistics":
        """Compute the mean and the 95th percentile (nearest rank) of ``durations``."""
        ordered = sorted(durations)
        if not ordered:
            return cls(action, runs, failures, None, None)
        rank = -(-95 * len(ordered) // 100)
        return cls(action, runs, failures, sum(ordered) / len(ordered), ordered[rank - 1])


@attrs.frozen
class RunPage:
    """An answer: runs as rows of the database, newest first. ``next`` is None when there are no more."""

    runs: tuple[RunRecord, ...]
    next: str | None
    statistics: tuple[RunStatistics, ...] | None = None
