"""What is kept of tasks to start them again, and how they go on when they are."""

from typing import Any

import pytest
from lifecycle_fakes import EPOCH, World

from overseer.core.history import AHEAD, RestorableTask
from overseer.core.pool import PoolSettings
from overseer.core.process import Outcome
from overseer.core.retry import PartialRetryPolicy
from overseer.lifecycle.machine import UNKILLABLE_AFTER
from overseer.lifecycle.restore import restore
from overseer.lifecycle.views import task_metrics

RETRY = PartialRetryPolicy(restart_delay=1.0, error_threshold=3)


class Kept(dict[str, RestorableTask]):
    """What an archive holds."""

    def keep_task(self, task: RestorableTask) -> None:
        self[task.task_id] = task

    def forget_task(self, task_id: str) -> None:
        del self[task_id]


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def world(kept: Kept) -> Any:
    """One task of ``sleep`` at a time, all of them restored; those of ``other`` are not."""
    world = World(pool=PoolSettings(size=1, queue_enabled=True, queue_bound=5), archive=kept)
    world.settings.restore = True
    yield world
    world.settle()


def test_a_task_is_kept_until_it_ends(world: World, kept: Kept) -> None:
    """Running, waiting for its turn or to restart; with what its start gave, not what that came to."""
    world.start("a", params={"x": "1"}, policy=RETRY)
    world.start("b")
    world.start("c", action="other")
    assert set(kept) == {"a", "b"}
    assert kept["a"] == RestorableTask(
        task_id="a",
        epoch="id-1",
        created_at=EPOCH,
        at=EPOCH,
        action="sleep",
        params={"x": "1"},
        policy=RETRY,
        last_seq=AHEAD,
    )
    assert kept["b"].policy is None
    for _ in range(3):
        assert set(kept) == {"a", "b"}
        world.worker.spawn(7)
        world.worker.end(Outcome(1))
        world.clock.advance(1.0)
    assert world.states()["a"] == "errored"
    assert set(kept) == {"b"}
    world.worker.spawn(8)
    world.worker.end(Outcome(0))
    assert not kept


@pytest.mark.parametrize("state", ["running", "queued", "waiting"])
def test_who_is_asked_to_end_is_not_started_again(world: World, kept: Kept, state: str) -> None:
    """From the request on: a crash before the end changes nothing of it."""
    world.start("a", policy=RETRY)
    world.worker.spawn(7)
    world.start("b")
    if state == "waiting":
        world.worker.end(Outcome(1))
    world.supervisor.stop("b" if state == "queued" else "a")
    assert set(kept) == {"a" if state == "queued" else "b"}


def test_a_restart_keeps_it_all_the_same(world: World, kept: Kept) -> None:
    """Whatever was asked before."""
    world.run("a")
    world.supervisor.stop("a")
    assert not kept
    world.restart("a")
    assert set(kept) == {"a"}


def test_who_cannot_begin_is_not_kept(world: World, kept: Kept) -> None:
    """The start was answered with an error, or will be."""
    world.start("a")
    world.worker.fail("no such program")
    world.start("b", params={"seconds": "unrenderable"})
    assert not kept


def test_another_action_under_the_same_id(world: World, kept: Kept) -> None:
    """What holds is the action of the last start."""
    world.run("a").end(Outcome(0))
    world.start("a", action="other")
    assert not kept


def test_numbers_are_reserved_before_lines_come_to_them(world: World, kept: Kept) -> None:
    """Rarely, and in time."""
    worker = world.run("a")
    record = world.supervisor.task("a").record
    record.last_seq = AHEAD // 2 - 1
    worker.write(b"x\n")
    assert kept["a"].last_seq == AHEAD
    worker.write(b"y\n")
    assert kept["a"].last_seq == record.last_seq + AHEAD


def test_a_shutdown_keeps_what_it_ends(world: World, kept: Kept) -> None:
    """With exact numbers, once the last line is told."""
    worker = world.run("a")
    world.start("b")
    worker.write(b"1\n2\n")
    world.supervisor.shut_down()
    assert kept["a"].last_seq == AHEAD
    worker.write(b"3\n")
    worker.end(Outcome(-1, "SIGTERM"))
    assert (kept["a"].last_seq, kept["b"].last_seq) == (3, 0)


def test_of_a_task_that_does_not_end_the_reserved_numbers_stay(world: World, kept: Kept) -> None:
    """It may print until the very end."""
    worker = world.run("a")
    world.supervisor.shut_down()
    world.clock.advance(5.0 + UNKILLABLE_AFTER)
    worker.write(b"still here\n")
    assert kept["a"].last_seq == AHEAD


def left(task_id: str, **fields: Any) -> RestorableTask:
    return RestorableTask(
        task_id=task_id,
        epoch=f"epoch of {task_id}",
        created_at=5,
        at=6,
        action=fields.pop("action", "sleep"),
        params=fields.pop("params", {}),
        **fields,
    )


def test_tasks_go_on_where_they_were(world: World, kept: Kept) -> None:
    """Id, epoch, numbers, parameters, policy, and the number of the run; whoever finds no slot waits."""
    restore(
        world.supervisor,
        [left("a", params={"x": "1"}, policy=RETRY, last_seq=41, run=3), left("b")],
        kept,
    )
    reader = world.reader("a")
    world.worker.spawn(7)
    world.worker.write(b"line\n")
    assert [message.get("seq") for message in reader.messages] == [None, 42]
    task = world.supervisor.task("a")
    assert (task.record.epoch, task.record.run, task.record.created_at) == ("epoch of a", 4, 5)
    assert (task.record.params, task.policy) == ({"x": "1", "seconds": "1"}, RETRY.complete())
    assert (task.ring.first_seq, task.ring.last_seq) == (42, 42)
    assert world.states() == {"a": "active", "b": "queued"}
    assert kept["a"].last_seq == 41 + AHEAD
    assert kept["b"].epoch == "epoch of b"


def test_before_its_first_line_the_numbers_are_those_of_before(world: World, kept: Kept) -> None:
    """Who asks since one of them gets no line twice."""
    restore(world.supervisor, [left("a", last_seq=41)], kept)
    ring = world.supervisor.task("a").ring
    assert (ring.first_seq, ring.last_seq) == (42, 41)


def test_only_lines_of_this_overseer_are_counted(world: World, kept: Kept) -> None:
    """The numbers before may have been reserved only."""
    restore(world.supervisor, [left("a", last_seq=41)], kept)
    world.worker.spawn(7)
    world.worker.write(b"line\n")
    metrics = task_metrics(world.supervisor.task("a"), world.now())
    assert (metrics.output_lines, metrics.last_seq) == (1, 42)
    world.start("b", action="other")
    assert task_metrics(world.supervisor.task("b"), world.now()).last_seq is None


def test_what_cannot_be_started_again_is_kept_no_longer(world: World, kept: Kept) -> None:
    """An action that is gone or has changed, parameters that do not fit, a pool without room."""
    tasks = [
        left("gone", action="gone"),
        left("changed", action="other"),
        left("unfit", params={"wrong": "1"}),
        *(left(f"task-{number}") for number in range(7)),
    ]
    kept.update({task.task_id: task for task in tasks})
    restore(world.supervisor, tasks, kept)
    assert sorted(kept) == sorted(world.states()) == [f"task-{number}" for number in range(6)]


def test_a_task_that_was_started_meanwhile(world: World, kept: Kept) -> None:
    """The database was not there at first: what runs by now stays as it is."""
    world.run("a")
    now = kept["a"]
    restore(world.supervisor, [left("a")], kept)
    assert kept["a"] == now
