"""What output costs, counted: calls of Python functions are the same on every machine, busy or not.

Nothing is done per line that can be done per read, and per subscriber one thing: to hand over ready bytes.
"""

import gc
import sys
import tracemalloc
from collections.abc import Callable
from types import FrameType

import pytest
from lifecycle_fakes import World

from overseer.core.expressions import compile_condition
from overseer.protocol.outbox import Outbox, SendBudget

LINE = b"a line of some length, as programs print it\n"
A_READ = 64 * 1024
"""Bytes of a read."""


def calls(work: Callable[[], object]) -> int:
    """Return how many Python functions ``work`` calls."""
    count = 0

    def count_call(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    gc.disable()  # or what other tests have left might be finalized, and counted
    sys.setprofile(count_call)
    try:
        work()
    finally:
        sys.setprofile(before)
        gc.enable()
    return count


def subscribed(world: World, count: int) -> list[int]:
    """Subscribe so many outboxes to ``a``; return a list of the sizes that they have sent."""
    sizes: list[int] = []
    budget = SendBudget(1 << 30)
    for _ in range(count):
        outbox = Outbox(lambda frames: sizes.append(len(frames)), lambda: None, 1 << 20, budget)
        world.supervisor.subscribe(outbox, "a")
    return sizes


def calls_of_a_read(lines: int, subscribers: int) -> int:
    """Return the calls for one read of so many lines; the first such read has made what is made once."""
    world = World()
    sizes = subscribed(world, subscribers)
    worker = world.run("a")
    worker.write(LINE * lines)
    sizes.clear()
    count = calls(lambda: worker.write(LINE * lines))
    assert len(sizes) == subscribers
    world.settle()
    return count


@pytest.mark.parametrize("lines", [100, A_READ // len(LINE)])
def test_a_line_costs_no_call(lines: int) -> None:
    """A read with many lines takes as many calls as one with a few, but for each thousand of its numbers."""
    assert calls_of_a_read(lines, 1) - calls_of_a_read(10, 1) <= 2 * (1 + lines // 1000)


def test_a_read_costs_few_calls() -> None:
    """From the splitter to the outbox; 30 when this was written."""
    assert calls_of_a_read(1000, 1) < 40


def test_a_subscriber_costs_few_calls() -> None:
    """To be sent the batch and to hand its bytes to the transport: 3 when this was written."""
    per_subscriber = (calls_of_a_read(100, 300) - calls_of_a_read(100, 100)) / 200
    assert per_subscriber <= 4


def test_a_read_is_in_memory_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many receive it: all are handed the same bytes."""
    peaks = []
    for subscribers in (1, 200):
        world = World()
        subscribed(world, subscribers)
        worker = world.run("a")
        data = LINE * (A_READ // len(LINE))
        worker.write(data)
        tracemalloc.start()
        worker.write(data)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        world.settle()
    assert peaks[1] - peaks[0] < A_READ


# ------------------------------------------------------------------------------------ beside others


def calls_of_a_life(others: int) -> int:
    """Return the calls for a start, an exit and what follows, beside so many tasks that run and have ended."""
    world = World()
    for number in range(others):
        world.run(f"running {number}")
        finish(world, f"ended {number}")
    finish(world, "first")  # which makes what is made once
    count = calls(lambda: finish(world, "a"))
    world.settle()
    return count


def finish(world: World, task_id: str) -> None:
    """Start a task, and let it end by itself after a line."""
    worker = world.run(task_id)
    worker.write(LINE)
    worker.finish()


def test_a_start_costs_the_same_beside_a_thousand_tasks() -> None:
    """Nothing is looked for by going through all of them; 346 when this was written."""
    assert calls_of_a_life(1000) < calls_of_a_life(10) + 50 < 550


@pytest.mark.parametrize(
    ("condition", "line"),
    [
        ('output.data.contains("fox")', b"the quick brown fox"),
        ('output.data.contains("fox")', b"the lazy dog"),
        ("has(output.json.event)", b'{"event":"progress"}'),
        ("has(output.json.event)", b'{"text":"fox"}'),
        ("has(output.json.event)", b"the quick brown fox"),
    ],
)
def test_the_commonest_filters_cost_no_call_a_line(condition: str, line: bytes) -> None:
    """A block is judged as a whole."""
    select = compile_condition(condition, "stdout").select
    few, many = (b"\n".join([line] * lines) for lines in (2, 1000))
    assert calls(lambda: select(many)) == calls(lambda: select(few)) < 10
