"""Starts that wait for other actions: what they are told, when they go on, and how the wait ends."""

from collections.abc import Iterator

import pytest
from lifecycle_fakes import World, dequeued, error, queued, refusal, started

from overseer.core.dependencies import Condition, Dependency
from overseer.core.pool import PoolSettings
from overseer.core.process import Outcome
from overseer.core.readiness import LogLineCheck, ReadinessProbe
from overseer.core.retry import PartialRetryPolicy


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.settle()


def depend(world: World, condition: Condition = "started") -> None:
    """Let ``sleep`` wait for ``other``."""
    world.settings.depends_on = (Dependency("other", condition),)


def run_other(world: World, pid: int = 3) -> None:
    world.start("o", action="other")
    world.other.workers[-1].spawn(pid)
    world.clock.advance(0.0)


def waiting(world: World) -> list[list[str] | None]:
    return [info.waiting_for for info in world.infos() if info.task_id == "a"]


def test_a_start_waits_and_goes_on(world: World) -> None:
    """It is queued without a place, and says what for; then it starts as any other."""
    depend(world)
    reader = world.client()
    world.start(reader=reader)
    assert reader.messages == [queued("a", 0, request_id="request")]
    assert (world.states()["a"], waiting(world)) == ("queued", [["other: started"]])
    run_other(world)
    assert waiting(world) == [None]
    world.worker.spawn(7)
    assert reader.messages[1:] == [started("a", 7, request_id="request")]
    assert world.metrics.enqueued == 1


def test_what_holds_is_not_waited_for(world: World) -> None:
    depend(world)
    run_other(world)
    world.start()
    assert world.states()["a"] == "active"


@pytest.mark.parametrize(
    ("condition", "code", "goes_on"),
    [
        *(("completed", 0, True), ("completed", 1, True)),
        *(("completed_successfully", 0, True), ("completed_successfully", 1, False)),
    ],
)
def test_the_end_of_another_action(
    world: World, condition: Condition, code: int, goes_on: bool
) -> None:
    depend(world, condition)
    world.start()
    run_other(world)
    assert world.states()["a"] == "queued"
    world.other.workers[-1].end(Outcome(code))
    world.clock.advance(0.0)
    assert world.states()["a"] == ("active" if goes_on else "queued")


def test_the_readiness_of_another_action(world: World) -> None:
    depend(world, "ready")
    other = world.actions["other"].settings
    other.readiness = ReadinessProbe(check=LogLineCheck(text="up"))
    run_other(world)
    world.start()
    assert waiting(world) == [["other: ready"]]
    world.other.workers[-1].write(b"up\n")
    world.clock.advance(0.0)
    assert world.states()["a"] == "active"
    world.other.workers[-1].end(Outcome(0))
    world.start("b")
    assert world.states()["b"] == "queued"


def test_every_dependency_has_to_hold(world: World) -> None:
    world.settings.depends_on = (
        Dependency("other", "started"),
        Dependency("other", "completed"),
    )
    world.start()
    assert waiting(world) == [["other: started", "other: completed"]]
    run_other(world)
    assert waiting(world) == [["other: completed"]]
    world.other.workers[-1].end(Outcome(0))
    world.clock.advance(0.0)
    assert world.states()["a"] == "queued"
    run_other(world)
    assert world.states()["a"] == "active"


def test_force_waits_for_nothing(world: World) -> None:
    depend(world)
    world.start(force=True)
    assert world.states()["a"] == "active"


def test_a_restart_by_the_retry_policy_waits_for_nothing(world: World) -> None:
    depend(world)
    run_other(world)
    world.start(policy=PartialRetryPolicy(restart_delay=1.0))
    world.worker.spawn(7)
    world.other.workers[-1].end(Outcome(0))
    world.worker.end(Outcome(1))
    world.clock.advance(1.0)
    assert len(world.handler.workers) == 2


@pytest.mark.parametrize(
    ("how", "reason"), [("stop", "stopped"), ("purge", "purged"), ("shut_down", "shutdown")]
)
def test_how_the_wait_may_end(world: World, how: str, reason: str) -> None:
    depend(world)
    reader = world.client()
    world.start(reader=reader)
    if how == "stop":
        world.supervisor.stop("a")
    elif how == "purge":
        assert world.supervisor.purge("other") == 0
        assert world.supervisor.purge("sleep") == 1
    else:
        world.supervisor.shut_down()
    assert reader.messages[1:] == [dequeued("a", reason)]
    assert world.states() == {}


def test_the_pool_comes_after_the_dependencies(world: World) -> None:
    """Who waits for other actions holds no slot and no place."""
    world.supervisor.set_pool("sleep", PoolSettings.from_keys({"size": 1, "queue_size": 1}))
    depend(world)
    reader = world.client()
    for task_id in ("a", "b", "c"):
        world.start(task_id, reader)
    assert world.supervisor.pools.info("sleep").queue_depth == 0
    run_other(world)
    assert world.states() == {"a": "active", "b": "queued", "o": "active"}
    assert world.supervisor.pools.info("sleep").queue_depth == 1
    assert reader.messages[3:] == [
        dequeued("c", "failed"),
        error(
            "request",
            'pool rejected task: the pool of "sleep" is full (1 of 1 running) and so is the queue'
            " (1 waiting)",
        ),
    ]
    world.worker.spawn(7)
    world.worker.end(Outcome(0))
    assert world.states()["b"] == "active"


def test_leftovers_of_the_last_run_give_their_slot_back(world: World) -> None:
    world.supervisor.set_pool("sleep", PoolSettings.from_keys({"size": 1}))
    run_other(world)
    worker = world.run()
    worker.exit(Outcome(0))
    worker.drain()
    depend(world, "completed")
    world.start()
    assert world.states()["a"] == "queued"
    worker.vanish()
    assert world.supervisor.pools.info("sleep").running == 0
    world.settings.depends_on = ()
    world.start("b")
    assert world.states()["b"] == "active"


def test_the_same_task_is_refused_while_it_waits(world: World) -> None:
    depend(world)
    world.start()
    assert refusal(world.start) == "task already running or starting"
