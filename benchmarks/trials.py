"""Trials: promises that a contender keeps or breaks, each figure with its bound."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from time import perf_counter

from benchmarks.clients import ClientError, Connection, count_until_exited, verify
from benchmarks.command import overseer_run
from benchmarks.contenders import DRIVERS, FILTERS, LINE, Contender
from benchmarks.figures import Figure, Outcome, percentile
from benchmarks.loads import answers, burst, firehoses, new_task, spawn, ticks, wait_for
from benchmarks.races import firehose

BURST_STARTS = 1_000
SLEEPERS = 5_000
FINISHED = 100_000
KIB = 1024
MB = 1e6


# --- Subscribers that do not read --------------------------------------------------------------


def stalled(contenders, effort):
    """Measure a healthy reader alone and beside one that does not read, in turn."""
    (contender,) = contenders.values()
    ratios = []
    growth = 0
    firehose(contender, effort.lines)  # what the first run allocates is no growth
    for _ in range(min(effort.pairs, 5)):
        alone = firehose(contender, effort.lines)
        before = contender.memory()
        contender.reset_peak_memory()
        beside = beside_a_stalled_reader(contender, effort.lines)
        growth = max(growth, contender.memory("VmHWM") - before)
        ratios.append(alone / beside)
    title = "healthy reader beside a stalled one, of its rate alone"
    return Outcome(
        [
            Figure.of(title, ratios, "x", at_least=0.9),
            Figure("growth of memory, highest peak", growth / MB, "MB", at_most=30),
        ]
    )


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


def stalled_hundred(contenders, effort):
    """Stream to 900 readers, without and beside 100 that do not read, in turn."""
    (contender,) = contenders.values()
    lines = max(1_000, effort.lines // 100)
    firehose(contender, lines, 900)
    ratios = []
    contender.reset_peak_memory()
    for _ in range(min(effort.pairs, 5)):
        alone = firehose(contender, lines, 900)
        with ExitStack() as stack:
            stuck = [stack.enter_context(Connection(contender.address)) for _ in range(100)]
            for connection in stuck:
                connection.send({"type": "subscribe", "id": "all", "task_id": "*"})
                wait_for(connection, "subscribed")
            ratios.append(alone / firehose(contender, lines, 900))
    peak = contender.memory("VmHWM") / MB
    return Outcome(
        [
            Figure.of("900 readers beside 100 stalled ones", ratios, "x", at_least=0.9),
            Figure("memory, highest peak", peak, "MB", at_most=250),
        ]
    )


def lone(contenders, effort):
    """Check every line that one reader, slower than the child, gets of a firehose."""
    (contender,) = contenders.values()
    lines = effort.lines
    task_id = new_task("numbers")
    with Connection(contender.address) as connection:
        begin = perf_counter()
        connection.start("numbers", task_id, count=str(lines))
        verify(connection, lines)
        seconds = perf_counter() - begin
    return Outcome(
        [
            Figure("lines verified, in order, none lost", lines, "lines", at_least=lines),
            Figure("the verifying reader's own rate", lines / seconds, "lines/s"),
        ]
    )


def filters(contenders, effort):
    """Stream the same lines with a condition and without, in turn; a rate counts the lines printed."""
    (contender,) = contenders.values()
    lines = max(1_000, effort.lines // 10)
    ratios = {name: [] for name in FILTERS}
    for _ in range(min(effort.pairs, 5)):
        for name, (_, line, kept) in FILTERS.items():
            plain = stream(contender, "firehose", line, lines, kept=True)
            ratios[name].append(plain / stream(contender, f"firehose {name}", line, lines, kept))
    return Outcome(
        [
            Figure.of(
                f"`{condition}`, {'all' if kept else 'none'} kept", ratios[name], "x", at_least=0.7
            )
            for name, (condition, _, kept) in FILTERS.items()
        ]
    )


def virtual_workers(contenders, effort):
    """Stream the same lines from drivers in Python and from a process, in turn."""
    (contender,) = contenders.values()
    lines = max(1_000, effort.lines // 10)
    ratios = {name: [] for name in DRIVERS}
    for _ in range(min(effort.pairs, 5)):
        process = stream(contender, "firehose", LINE, lines, kept=True)
        for name in DRIVERS:
            ratios[name].append(process / stream(contender, name, LINE, lines, kept=True))
    return Outcome(
        [Figure.of(f"a {name}", ratios[name], "x", at_least=0.5) for name in DRIVERS],
    )


def stream(contender, action, line, lines, kept):
    """Return the seconds for so many lines of one text, all of which must arrive, or none."""
    with Connection(contender.address) as connection:
        begin = perf_counter()
        connection.start(action, new_task("filter"), count=str(lines), line=line)
        (tally,) = count_until_exited([connection])
        seconds = perf_counter() - begin
    if tally.lines != kept * lines:
        raise ClientError(f"{action}: {tally.lines:,} of {lines:,} lines arrived")
    return seconds


# --- How long something takes ------------------------------------------------------------------


def latency(contenders, effort):
    """Measure in turn how long a line takes from the print to the client."""
    number = max(20, round(effort.seconds / 0.005))
    delays = {name: [] for name in contenders}
    for _ in range(effort.pairs):
        for name, contender in contenders.items():
            delays[name].append(ticks(contender, number))
    figures = []
    mine, theirs = delays.values()
    for percent, bound in ((50, 1.2), (99, 1.5)):
        ratios = [
            percentile(mine_now, percent) / percentile(theirs_now, percent)
            for mine_now, theirs_now in zip(mine, theirs, strict=True)
        ]
        figures.append(Figure.of(f"p{percent}, by the yardstick's", ratios, "x", at_most=bound))
    return Outcome(figures + [line for name in delays for line in _delays(name, delays[name])])


def latency_beside_firehoses(contenders, effort):
    """Measure how long lines and answers take beside three firehoses."""
    (contender,) = contenders.values()
    number = round(effort.pairs * effort.seconds / 0.005)
    with firehoses(contender, 3):
        lines = ticks(contender, number)
        asked = answers(contender, max(20, number // 10))
    return Outcome(
        [
            Figure("line, p50", percentile(lines, 50) * 1000, "ms"),
            Figure("line, p99", percentile(lines, 99) * 1000, "ms", at_most=25),
            Figure("line, p99.9", percentile(lines, 99.9) * 1000, "ms"),
            Figure("answer to a request, p99", percentile(asked, 99) * 1000, "ms"),
        ]
    )


def _delays(name, runs):
    everything = [delay for run in runs for delay in run]
    return [
        Figure(f"{name}, p{percent}", percentile(everything, percent) * 1000, "ms")
        for percent in (50, 99, 99.9)
    ]


def start_latency(contenders, effort):
    """Measure in turn how long a start takes until `started`, one at a time."""
    delays = {name: [] for name in contenders}
    for _ in range(effort.pairs):
        for name, contender in contenders.items():
            delays[name].append(start_one_by_one(contender, max(5, round(20 * effort.seconds))))
    mine, theirs = ([median(run) for run in runs] for runs in delays.values())
    ratios = [mine_now / theirs_now for mine_now, theirs_now in zip(mine, theirs, strict=True)]
    figures = [Figure.of("median, by the yardstick's", ratios, "x")]
    return Outcome(figures + [line for name in delays for line in _delays(name, delays[name])])


def start_one_by_one(contender, number):
    """Start `true` so often, each after the one before has exited; return the seconds until `started`."""
    delays = []
    with Connection(contender.address) as connection:
        for _ in range(number):
            begin = perf_counter()
            connection.start("true", new_task("true"))
            delays.append(perf_counter() - begin)
            wait_for(connection, "exited")
    return delays


def burst_of_starts(contenders, effort):
    """Start many tasks at once; watch how late another task's lines and another client's answers come."""
    (contender,) = contenders.values()
    clock = new_task("clock")
    bursts = []
    with ExitStack() as stack:
        starter, watcher, asker = (
            stack.enter_context(Connection(contender.address)) for _ in range(3)
        )
        watcher.start("clock", clock)
        for _ in range(min(effort.pairs, 5)):
            bursts.append(burst(starter, watcher, asker, new_task("echo"), BURST_STARTS))
        watcher.send({"type": "stop", "id": "stop", "task_id": clock})
    delays = [one.delay * 1000 for one in bursts]
    gaps = [one.gap * 1000 for one in bursts]
    waits = [one.answer * 1000 for one in bursts]
    return Outcome(
        [
            Figure("starts answered by started, output, exited", BURST_STARTS, "tasks"),
            Figure.of(
                "rate of these starts", [BURST_STARTS / one.seconds for one in bursts], "tasks/s"
            ),
            Figure("latest line of another task", max(delays), "ms", at_most=100),
            Figure("latest answer to another client", max(waits), "ms", at_most=100),
            Figure("longest gap between lines 5 ms apart", max(gaps), "ms"),
        ]
    )


def start_up(contenders, effort):
    """Start the daemon again and again, and look at one that does nothing."""
    (contender,) = contenders.values()
    ready = []
    for _ in range(effort.pairs):
        with Contender(contender.name, contender.command) as another:
            ready.append(another.start_up)
    memory = contender.memory() / MB
    seconds = max(2.0, effort.pairs * effort.seconds)
    before = contender.processor_time()
    time.sleep(seconds)
    busy = (contender.processor_time() - before) / seconds * 100
    return Outcome(
        [
            Figure.of("from exec to accepting connections", ready, "s", at_most=0.8),
            Figure("memory of the idle daemon", memory, "MB", at_most=75),
            Figure("processor time of the idle daemon", busy, "%", at_most=0.1),
        ]
    )


# --- Many of something -------------------------------------------------------------------------


def sleepers(contenders, effort):
    """Let 5,000 tasks run, and look at what they cost."""
    (contender,) = contenders.values()
    with Connection(contender.address) as connection:
        spawn(connection, 1_000)  # what these allocate is no growth
        idle_rates = [spawn_rate(connection, effort) for _ in range(3)]
        before = contender.memory()
        spawn(connection, SLEEPERS, "sleep", until="started")
        each = (contender.memory() - before) / SLEEPERS / KIB
        rates = [spawn_rate(connection, effort) for _ in range(3)]
        lists = list_times(connection, 10, SLEEPERS)
    starts = start_one_by_one(contender, 50)
    seconds = max(2.0, effort.seconds * 5)
    before = contender.processor_time()
    time.sleep(seconds)
    busy = (contender.processor_time() - before) / seconds * 100
    return Outcome(
        [
            Figure("memory of the daemon for each", each, "KiB", at_most=12),
            Figure.of("`list` of all", lists, "ms", at_most=150),
            Figure("start of one more, median", median(starts) * 1000, "ms", at_most=10),
            Figure(
                "start and exit of `true` beside them, of the rate before",
                median(rates) / median(idle_rates),
                "x",
                at_least=0.35,
            ),
            Figure(
                "the same of a bare loop, beside as many descriptors",
                bare_starts(3 * SLEEPERS) / bare_starts(0),
                "x",
            ),
            Figure("processor time when nothing happens", busy, "%"),
        ]
    )


def bare_starts(descriptors):
    """Return how many `true` a second a loop starts in a process that has so many descriptors open."""
    code = (
        "import os, resource, subprocess, sys, time\n"
        "limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))\n"
        "pipes = [os.pipe() for _ in range(int(sys.argv[1]) // 2)]\n"
        "begin = time.perf_counter()\n"
        "for _ in range(200):\n"
        "    subprocess.run(['true'], close_fds=False)\n"
        "print(200 / (time.perf_counter() - begin))"
    )
    command = [sys.executable, "-c", code, str(descriptors)]
    runs = [subprocess.run(command, check=True, capture_output=True) for _ in range(3)]
    return max(float(run.stdout) for run in runs)


def spawn_rate(connection, effort):
    """Return how many `true` a second start and exit."""
    starts = max(50, round(300 * effort.seconds))
    begin = perf_counter()
    spawn(connection, starts)
    return starts / (perf_counter() - begin)


def list_times(connection, times, at_least):
    """Ask for all tasks so often; return the milliseconds until each answer has come in."""
    found = []
    for _ in range(times):
        begin = perf_counter()
        connection.send({"type": "list", "id": "all"})
        payload = connection.next_payload()
        found.append((perf_counter() - begin) * 1000)
        answer = json.loads(payload)
        if len(answer["tasks"]) < at_least:
            raise ClientError(f"{len(answer['tasks']):,} tasks are listed")
    return found


def long_list(contenders, effort):
    """List 10,000 finished tasks."""
    (contender,) = contenders.values()
    with Connection(contender.address) as connection:
        spawn(connection, 10_000)
        lists = list_times(connection, 10, 10_000)
        begin = perf_counter()
        connection.ask("tasks", type="list", id="newest", limit=10)
        newest = (perf_counter() - begin) * 1000
    return Outcome(
        [
            Figure.of("`list` of all", lists, "ms", at_most=300),
            Figure("`list` of the newest 10", newest, "ms"),
        ]
    )


def memory(contenders, effort):
    """Measure what a subscriber and a finished task cost, and that tasks which come and go cost nothing."""
    (contender,) = contenders.values()
    idle = contender.memory()
    with ExitStack() as stack:
        for _ in range(1_000):
            stack.enter_context(Connection(contender.address)).subscribe("nothing")
        subscriber = (contender.memory() - idle) / 1_000 / KIB
    with Connection(contender.address) as connection:
        before = contender.memory()
        spawn(connection, 1_000, "echo")
        finished = (contender.memory() - before) / 1_000 / KIB
        rest = max(1_000, min(FINISHED, effort.lines // 50) - 1_000)
        spawn(connection, rest // 10)
        before = contender.memory()
        spawn(connection, rest - rest // 10)
        growth = (contender.memory() - before) / MB
    return Outcome(
        [
            Figure("a connection that is subscribed", subscriber, "KiB"),
            Figure("a finished task with its last lines", finished, "KiB"),
            Figure(f"growth over {rest:,} tasks that come and go", growth, "MB", at_most=3),
        ]
    )


@dataclass(frozen=True)
class Trial:
    """A promise; ``run`` takes the contenders by name and the effort, and returns an Outcome."""

    title: str
    run: Callable
    contenders: tuple[str, ...] = ("overseer",)


TRIALS = {
    "filters": Trial("filtered streams, of the rate without a filter", filters),
    "virtual": Trial(
        "streams of drivers in Python, of the rate of a process", virtual_workers, ("with drivers",)
    ),
    "stalled": Trial("a stalled subscriber beside a healthy one", stalled),
    "stalled100": Trial("fan-out to 1,000, of whom 100 do not read", stalled_hundred),
    "lone": Trial("a lone reader of a firehose", lone),
    "run": Trial("`overseer run` into a file", overseer_run),
    "latency": Trial("from the print of a line to its arrival", latency, ("overseer", "yardstick")),
    "beside": Trial("beside three firehoses", latency_beside_firehoses),
    "started": Trial("from `start` to `started`", start_latency, ("overseer", "yardstick")),
    "burst": Trial(f"{BURST_STARTS:,} starts sent without waiting", burst_of_starts),
    "sleepers": Trial(f"{SLEEPERS:,} tasks that run", sleepers),
    "list": Trial("`list` with 10,000 finished tasks", long_list, ("that keeps 20,000",)),
    "memory": Trial("memory", memory),
    "startup": Trial("the idle daemon", start_up),
}
