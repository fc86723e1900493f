"""What has ended is freed at once: to collect garbage stops the reactor, the longer the more there is."""

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from lifecycle_fakes import FakeWorker, World

from overseer.core.process import Outcome
from overseer.core.retry import PartialRetryPolicy
from overseer.lifecycle.retention import Retention

CRASH = Outcome(1)


@pytest.fixture(autouse=True)
def no_collection() -> Iterator[None]:
    """Objects are freed by their last reference or not at all."""
    gc.disable()
    yield
    gc.enable()


def run_of(worker: FakeWorker) -> Any:
    return weakref.ref(worker._events)


def end(world: World, worker: FakeWorker) -> None:
    """Let a worker end, and let go of it: a real one is held by its run alone."""
    worker.write(b"line\n")
    worker.end(CRASH)
    world.handler.workers.remove(worker)


def test_a_run_is_freed_once_nothing_of_it_is_alive(world: World) -> None:
    """While its task is kept and waits to run again, too."""
    world.settings.retry = PartialRetryPolicy(restart_delay=1.0)
    worker = world.run("a", 7, world.client())
    run = run_of(worker)
    end(world, worker)
    del worker
    assert run() is None
    assert world.states() == {"a": "active"}


def test_a_run_that_could_not_begin_is_freed(world: World) -> None:
    """With everything that had been prepared for it."""
    world.start("a")
    worker = world.handler.workers.pop()
    run = run_of(worker)
    worker.fail("no such file")
    del worker
    assert run() is None


def test_a_task_is_freed_once_it_is_forgotten() -> None:
    """Its state machine, its ring and its record with it."""
    world = World(Retention(finished_count=0))
    worker = world.run("a", 7)
    task = weakref.ref(world.supervisor.task("a"))
    end(world, worker)
    del worker
    assert task() is None
    world.settle()
