"""The workloads: what is done to a contender, and what the figures must be.

A *race* is a rate that both contenders are measured for. A *trial* is a promise that one contender
keeps or breaks by itself: it needs no rival.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from statistics import median
from time import perf_counter

from benchmarks.clients import (
    ClientError,
    Connection,
    burst,
    count_until_exited,
    spawn,
    verify,
)

FAN_OUT = 100
BURST_STARTS = 2_000
_numbers = count(1)


def new_task(name):
    """Return a task_id that was never used."""
    return f"{name}-{next(_numbers)}"


# --- Races: seconds that a contender takes for an amount of work -------------------------------


def firehose(contender, lines, subscribers=1):
    """Stream ``lines`` lines of one task; return the seconds from its start to the last exit."""
    task_id = new_task("firehose")
    with ExitStack() as stack:
        connections = [
            stack.enter_context(Connection(contender.address)) for _ in range(subscribers)
        ]
        starter, *others = connections
        for connection in others:
            connection.subscribe(task_id)
        begin = perf_counter()
        starter.start("firehose", task_id, count=str(lines))
        # The starter's `started` differs; all others must receive the very same bytes, so that one
        # of them counts lines for all.
        tallies = count_until_exited(connections, witnesses=2)
        seconds = perf_counter() - begin
    for tally in tallies[:2]:
        if tally.lines != lines:
            raise ClientError(f"{tally.lines:,} of {lines:,} lines arrived")
    if len({tally.received for tally in tallies[1:]}) > 1:
        raise ClientError("the subscribers did not all receive the same number of bytes")
    return seconds


def fan_out(contender, lines):
    """Stream ``lines`` lines of one task to many subscribers."""
    return firehose(contender, lines, FAN_OUT)


def spawning(contender, starts):
    """Run ``starts`` tasks of ``true``, some of them at a time."""
    with Connection(contender.address) as connection:
        begin = perf_counter()
        spawn(connection, new_task("true"), starts)
        return perf_counter() - begin


@dataclass(frozen=True)
class Race:
    """A rate that both contenders are measured for."""

    title: str
    unit: str
    measure: Callable  # (contender, amount of work) -> seconds
    first_amount: int  # of the unmeasured run that finds how much work fills the time
    weight: int = 1  # units per amount of work
    minimum_applies: bool = True  # `--minimum` speaks of streaming, not of starting processes


RACES = {
    "stream": Race("stream, 1 subscriber", "lines/s", firehose, 20_000),
    "fanout": Race(
        f"fan-out, {FAN_OUT} subscribers", "deliveries/s", fan_out, 1_000, weight=FAN_OUT
    ),
    "spawn": Race("start and exit of `true`", "tasks/s", spawning, 100, minimum_applies=False),
}


# --- Trials: figures with a bound, for one contender -------------------------------------------


@dataclass(frozen=True)
class Figure:
    """One figure of a trial and what it must be."""

    title: str
    value: float
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None

    @property
    def holds(self):
        """Whether the value keeps its bounds."""
        low_enough = self.at_most is None or self.value <= self.at_most
        return low_enough and (self.at_least is None or self.value >= self.at_least)


def stalled(contender, lines, pairs):
    """Measure a healthy reader alone and beside one that does not read, in turn."""
    ratios = []
    growth = 0
    firehose(contender, lines)  # what the first run allocates is no growth
    for _ in range(pairs):
        alone = firehose(contender, lines)
        before = contender.memory()
        contender.reset_peak_memory()
        beside = beside_a_stalled_reader(contender, lines)
        growth = max(growth, contender.memory("VmHWM") - before)
        ratios.append(alone / beside)
    return [
        Figure("healthy reader beside a stalled one, of its rate alone", median(ratios), "x", 0.9),
        Figure("growth of memory, highest peak", growth / 1e6, "MB", at_most=30),
    ]


def beside_a_stalled_reader(contender, lines):
    """Return the seconds of a healthy reader; then let the stalled one read again.

    The stalled reader must be told what it has missed, and that the task has ended.
    """
    task_id = new_task("stalled")
    with Connection(contender.address) as stuck, Connection(contender.address) as healthy:
        stuck.subscribe(task_id)
        begin = perf_counter()
        healthy.start("firehose", task_id, count=str(lines))
        (tally,) = count_until_exited([healthy])
        seconds = perf_counter() - begin
        if tally.lines != lines:
            raise ClientError(f"the healthy reader got {tally.lines:,} of {lines:,} lines")
        delivered = dropped = 0
        exited = False
        while not exited:
            for message in stuck.receive():
                delivered += message["type"] == "output"
                dropped += message.get("dropped", 0)  # of `lagged`
                exited = message["type"] == "exited"
        if delivered + dropped != lines:
            raise ClientError(
                f"the stalled reader got {delivered:,} lines and was told of {dropped:,} dropped"
                f" ones: not {lines:,}"
            )
    return seconds


def lone(contender, lines, pairs):
    """Check every line that one reader, slower than the child, gets of a firehose."""
    task_id = new_task("numbers")
    with Connection(contender.address) as connection:
        begin = perf_counter()
        connection.start("numbers", task_id, count=str(lines))
        verify(connection, lines)
        seconds = perf_counter() - begin
    return [
        Figure("lines verified, in order, none lost", lines, "lines", at_least=lines),
        Figure("the verifying reader's own rate", lines / seconds, "lines/s"),
    ]


def burst_of_starts(contender, lines, pairs):
    """Start many tasks at once and watch how late another task's lines come."""
    clock = new_task("clock")
    with Connection(contender.address) as starter, Connection(contender.address) as watcher:
        watcher.start("clock", clock)
        result = burst(starter, watcher, new_task("echo"), BURST_STARTS)
        watcher.send({"type": "stop", "id": "stop", "task_id": clock})
    return [
        Figure("starts answered by started, output, exited", BURST_STARTS, "tasks"),
        Figure("rate of these starts", BURST_STARTS / result.seconds, "tasks/s"),
        Figure("latest line of another task", result.delay * 1000, "ms", at_most=100),
        Figure("longest gap between its lines (5 ms apart)", result.gap * 1000, "ms"),
    ]


@dataclass(frozen=True)
class Trial:
    """A promise that a contender keeps or breaks by itself."""

    title: str
    run: Callable  # (contender, lines, pairs) -> list of Figure; what it needs not, it ignores


TRIALS = {
    "stalled": Trial("a stalled subscriber beside a healthy one", stalled),
    "lone": Trial("a lone reader of a firehose", lone),
    "burst": Trial(f"{BURST_STARTS:,} starts sent without waiting", burst_of_starts),
}
