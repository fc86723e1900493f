"""What is counted in memory: starts, ends, restarts, lines and what happens in queues.

Read by the request ``metrics`` and by ``GET /metrics``. Nothing is counted for each line: output is counted for
each read of a child, everything else for each run.
"""

from bisect import bisect_left
from collections import Counter
from typing import Literal

import attrs

from overseer.core.process import Outcome, Stream

RunResult = Literal["ok", "failed", "signal", "timeout", "stopped", "spawn_error"]
"""With exit code 0, with another one, by a signal, by a time limit, after a stop; or the run never began."""
RUN_SECONDS = (0.1, 1.0, 10.0, 60.0, 300.0, 1800.0, 3600.0, 6 * 3600.0, 24 * 3600.0)
WAIT_SECONDS = (0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 3600.0)
"""Bounds of the histograms, in seconds."""
_SECOND = 1_000_000
"""In microseconds. A clock that was set back makes no time negative."""


def run_result(outcome: Outcome, *, intentional: bool, timed_out: bool) -> RunResult:
    """Return as what a run counts that had begun: why it was to end goes before how it did."""
    if timed_out:
        return "timeout"
    if intentional:
        return "stopped"
    if outcome.signal is not None:
        return "signal"
    return "failed" if outcome.exit_code else "ok"


@attrs.define
class Histogram:
    """How many values fell between which ``bounds``; ``counts`` has one more, of what lies above the last."""

    bounds: tuple[float, ...]
    counts: list[int] = attrs.field(init=False)
    sum: float = 0.0

    def __attrs_post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Count a value; a bound itself belongs below."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


@attrs.define
class OutputCounters:
    """What was told of one stream: lines, and their bytes with a line end for each."""

    lines: int = 0
    bytes: int = 0


@attrs.define
class ActionCounters:
    """Counters of one action since the daemon started.

    ``left_queue`` counts by reason who waited and never ran, ``rejected`` who might not even wait. Of the runs
    that are over ``exits`` has the results, and ``killed`` those that SIGKILL had to end.
    """

    tasks_started: int = 0
    tasks_completed: int = 0
    tasks_errored: int = 0
    tasks_restarted: int = 0
    killed: int = 0
    enqueued: int = 0
    rejected: int = 0
    exits: Counter[RunResult] = attrs.field(factory=Counter)
    left_queue: Counter[str] = attrs.field(factory=Counter)
    output: dict[Stream, OutputCounters] = attrs.field(
        factory=lambda: {"stdout": OutputCounters(), "stderr": OutputCounters()}
    )
    run_seconds: Histogram = attrs.field(factory=lambda: Histogram(RUN_SECONDS))
    wait_seconds: Histogram = attrs.field(factory=lambda: Histogram(WAIT_SECONDS))

    @property
    def total_output_lines(self) -> int:
        """Lines of both streams."""
        return sum(stream.lines for stream in self.output.values())

    @property
    def dequeued(self) -> int:
        """Tasks that left a queue without running."""
        return self.left_queue.total()

    @property
    def displaced(self) -> int:
        """Those of them that had to make room for others."""
        return self.left_queue["displaced"]

    @property
    def expired(self) -> int:
        """Those of them that had waited too long."""
        return self.left_queue["expired"]

    def run_ended(self, result: RunResult, *, run_time: int, killed: bool) -> None:
        """A run that had begun is over, after so many microseconds."""
        self.exits[result] += 1
        self.run_seconds.observe(max(run_time, 0) / _SECOND)
        self.killed += killed

    def waited(self, microseconds: int) -> None:
        """A run has begun whose task had to wait for it."""
        self.wait_seconds.observe(max(microseconds, 0) / _SECOND)


@attrs.define
class Counters:
    """Counters of each action, of which those of the daemon are the sums; and of requests."""

    requests: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    """By type and result: ``ok`` or ``error``; of what was no request the type is empty."""
    actions: dict[str, ActionCounters] = attrs.field(factory=dict)

    def of(self, action: str) -> ActionCounters:
        """Return the counters of one action."""
        counters = self.actions.get(action)
        if counters is None:
            counters = self.actions[action] = ActionCounters()
        return counters
