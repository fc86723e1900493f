"""A restart that a client asks for: every one is answered, and the counters add up all the while."""

from typing import Any

import pytest
from lifecycle_fakes import Message, Reader, World, error, queued, started

from overseer.core.pool import PoolSettings
from overseer.core.process import Outcome
from overseer.core.retry import PartialRetryPolicy

CRASH = Outcome(1)
TERMINATED = Outcome(-1, "SIGTERM")


@pytest.fixture
def world() -> Any:
    """A supervisor in which nothing is left unfinished at the end."""
    world = World()
    yield world
    world.settle()
    assert world.unfinished() == 0


def answers(reader: Reader) -> list[Message]:
    """What carries the id of a restart."""
    return [message for message in reader.messages if message.get("id", "").startswith("restart")]


def test_a_restart_is_counted_as_an_end_and_a_start(world: World) -> None:
    """The run before is done, the new one is a start: no counter is left open."""
    first = world.run("a", 7)
    world.restart("a")
    first.end(TERMINATED)
    world.clock.advance(0.0)
    world.worker.spawn(8)
    metrics = world.metrics
    assert (metrics.tasks_started, metrics.tasks_completed, metrics.tasks_restarted) == (2, 1, 0)


def test_a_restart_before_the_one_before_has_begun(world: World) -> None:
    """The later one takes its place; both are answered, and one run has been between them."""
    reader = world.reader("a")
    world.run("a", 7)
    world.restart("a", reader, request_id="restart 1")
    world.worker.end(TERMINATED)
    world.restart("a", reader, request_id="restart 2")
    world.clock.advance(0.0)
    world.worker.spawn(8)
    assert answers(reader) == [
        error("restart 1", "replaced by a later restart"),
        started("a", 8, request_id="restart 2"),
    ]
    assert world.unfinished() == 1


def test_a_stop_before_a_restart_has_begun(world: World) -> None:
    """The restart is refused, and no run is counted that never was."""
    reader = Reader()
    world.run("a", 7)
    world.restart("a", reader)
    world.worker.end(TERMINATED)
    world.supervisor.stop("a")
    assert answers(reader) == [error("restart", "stopped before it could begin")]
    assert (world.states(), world.unfinished()) == ({"a": "stopped"}, 0)


@pytest.fixture
def small() -> Any:
    """A supervisor with one slot, which a task that waits to restart gives back."""
    world = World(pool=PoolSettings.from_keys({"size": 1, "queue_size": 5}))
    world.settings.retry = PartialRetryPolicy(restart_delay=1.0, release_slot=True)
    yield world
    world.settle()
    assert world.unfinished() == 0


def test_a_restart_without_a_slot_is_told_that_it_waits(small: World) -> None:
    """By the id of its request, like a start."""
    reader = small.client()
    small.run("a", 7).end(CRASH)
    small.run("b", 8)
    small.restart("a", reader)
    small.clock.advance(0.0)
    assert answers(reader) == [queued("a", 1, request_id="restart")]


def test_a_restart_that_fails_and_has_not_waited_leaves_no_queue(small: World) -> None:
    """Its starter is told; a ``dequeued`` without a ``queued`` would puzzle all the others."""
    reader = small.client()
    small.run("a", 7).end(CRASH)
    small.restart("a", reader)
    small.clock.advance(0.0)
    small.worker.fail("no such file")
    assert reader.messages == [error("restart", "no such file")]


def test_a_restart_that_is_to_wait_after_all_can_be_stopped() -> None:
    """While leftovers of the run before end, a surplus sends it to the queue; then it is stopped."""
    world = World(pool=PoolSettings.from_keys({"size": 2, "excess": {"action": "requeue"}}))
    client = world.client()
    first = world.run("a", 7)
    world.run("b", 8)
    world.restart("a", client)
    first.exit(TERMINATED)
    first.drain()
    world.supervisor.set_pool("sleep", PoolSettings(size=1))
    world.supervisor.stop("a")
    first.vanish()
    assert client.messages == [error("restart", "stopped before it could begin")]
    assert (world.states(), world.unfinished()) == ({"a": "stopped", "b": "active"}, 1)
    world.settle()
    assert world.unfinished() == 0
