"""Races: rates that rivals are measured for in turn, A B A B, and the ratio of the first two."""

import shlex
import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from time import perf_counter

from benchmarks.clients import ClientError, Connection, count_bytes_until_closed, count_until_exited
from benchmarks.contenders import LINE
from benchmarks.figures import Figure, Outcome
from benchmarks.loads import new_task, spawn

CHATTY = 200
RUNNING = 1_000


# --- Seconds that a contender takes for an amount of work --------------------------------------


def firehose(contender, lines, subscribers=1, action="firehose"):
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
        starter.start(action, task_id, count=str(lines))
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


def fan_out(subscribers):
    """Return a measure of streaming the lines of one task to so many subscribers."""
    return lambda contender, lines: firehose(contender, lines, subscribers)


def websocketd(contender, lines):
    """Stream ``lines`` lines of a program that the connection itself has started, as they are."""
    begin = perf_counter()
    with Connection(contender.address, f"/?{lines}") as connection:
        received = count_bytes_until_closed(connection)
    frame = 2 + len(LINE)
    if received != lines * frame:
        raise ClientError(f"websocketd sent {received:,} bytes, not {lines:,} times {frame}")
    return perf_counter() - begin


def pipe(_contender, lines):
    """Let cat(1) read the same pipe."""
    begin = perf_counter()
    command = f"yes {shlex.quote(LINE)} | head -n {lines} | cat >/dev/null"
    subprocess.run(["sh", "-c", command], check=True)
    return perf_counter() - begin


def chatty(contender, lines):
    """Run many tasks that print a line now and then; return the server's own processor time."""
    task_ids = [new_task("chatty") for _ in range(CHATTY)]
    with ExitStack() as stack:
        connections = [stack.enter_context(Connection(contender.address)) for _ in task_ids]
        for connection, task_id in zip(connections, task_ids, strict=True):
            connection.start("chatty", task_id, count=str(lines))
        before = contender.processor_time()
        tallies = count_until_exited(connections, witnesses=CHATTY)
        seconds = contender.processor_time() - before
    if any(tally.lines != lines for tally in tallies):
        raise ClientError(f"not all of {lines} lines of each task arrived")
    return seconds


def spawning(contender, starts):
    """Run ``starts`` tasks of ``true``, some of them at a time."""
    with Connection(contender.address) as connection:
        begin = perf_counter()
        spawn(connection, starts)
        return perf_counter() - begin


def run_sleepers(contender):
    """Let many other tasks run."""
    with Connection(contender.address) as connection:
        spawn(connection, RUNNING, "sleep", until="started")


# --- The races ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Race:
    """A rate that every contender is measured for; the first one's is compared with the second's."""

    title: str
    unit: str
    measure: Callable  # (contender, amount of work) -> seconds
    first_amount: int  # of the unmeasured run that finds how much work fills the time
    fixed: bool = False  # it is that amount then, whatever time it takes
    weight: int = 1  # units per amount of work
    contenders: tuple[str, ...] = ("overseer", "yardstick")
    others: Mapping[str, Callable] = field(default_factory=dict)  # measures of those who differ
    at_least: float | None = None  # the ratio
    aim: float | None = None
    prepare: Callable = lambda contender: None

    def run(self, contenders, effort):
        """Measure every contender in turn, ``pairs`` times, for about ``seconds`` each time."""
        measures = {name: self.others.get(name, self.measure) for name in contenders}
        amounts = {}
        for name, contender in contenders.items():
            self.prepare(contender)
            amount = self.first_amount
            for _ in range(2):  # the first run is short and cold, the second tells more
                seconds = measures[name](contender, amount)
                if not self.fixed:
                    amount = max(1, round(amount / seconds * effort.seconds))
            amounts[name] = amount
        rates = {name: [] for name in contenders}
        for _ in range(effort.pairs):
            for name, contender in contenders.items():
                seconds = measures[name](contender, amounts[name])
                rates[name].append(amounts[name] * self.weight / seconds)
        first, second, *_ = self.contenders
        ratios = [mine / theirs for mine, theirs in zip(rates[first], rates[second], strict=True)]
        title = f"{first} by {second}"
        figure = Figure.of(title, ratios, "x", at_least=self.at_least, aim=self.aim)
        return Outcome([figure], self.unit, rates)


def _fan_out(subscribers, first_amount, **bounds):
    return Race(
        f"fan-out, {subscribers:,} subscribers",
        "deliveries/s",
        fan_out(subscribers),
        first_amount,
        weight=subscribers,
        contenders=("overseer", "yardstick", "ceiling"),
        **bounds,
    )


RACES = {
    "stream": Race(
        "stream, 1 subscriber",
        "lines/s",
        firehose,
        20_000,
        contenders=("overseer", "yardstick", "websocketd", "ceiling", "cat"),
        others={"websocketd": websocketd, "cat": pipe},
        at_least=7,
        aim=11,
    ),
    "fanout10": _fan_out(10, 5_000),
    "fanout": _fan_out(100, 1_000, at_least=14, aim=20),
    "fanout1000": _fan_out(1_000, 100),
    "chatty": Race(
        f"{CHATTY} chatty tasks, a subscriber each: lines a second of the server's processor time",
        "lines/s",
        chatty,
        100,
        fixed=True,
        weight=CHATTY,
    ),
    "spawn": Race("start and exit of `true`", "tasks/s", spawning, 100, at_least=1.6, aim=1.8),
    "spawn1000": Race(
        f"start and exit of `true` beside {RUNNING:,} running tasks",
        "tasks/s",
        spawning,
        30,
        at_least=6,
        aim=10,
        prepare=run_sleepers,
    ),
    "eventlog": Race(
        "stream, 1 subscriber, with the event log on",
        "lines/s",
        firehose,
        20_000,
        contenders=("with event log", "overseer"),
        at_least=0.5,
        aim=0.8,
    ),
    "history": Race(
        "start and exit of `true`, with the history on",
        "tasks/s",
        spawning,
        100,
        contenders=("with history", "overseer"),
        at_least=0.8,
    ),
}
