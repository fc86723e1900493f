"""Tasks that wait for a slot: who is told what, who goes next, who is ended for whom, and duplicates."""

from collections.abc import Callable
from typing import Any

import pytest
from lifecycle_fakes import (
    BrokenReader,
    Reader,
    World,
    dequeued,
    error,
    exited,
    queued,
    refusal,
    restarting,
    started,
)

from overseer.core.pool import PoolSettings
from overseer.core.process import Outcome
from overseer.core.retry import PartialRetryPolicy
from overseer.lifecycle.requests import RequestError
from overseer.lifecycle.subscriptions import EVERY_TASK
from overseer.lifecycle.supervisor import Defaults

CRASH = Outcome(1)
TERMINATED = Outcome(-1, "SIGTERM")


def keys(**written: Any) -> PoolSettings:
    return PoolSettings.from_keys(written)


def pool(size: int = 1, queue: int = 9, **queue_keys: Any) -> PoolSettings:
    return keys(size=size, queue={"enabled": queue > 0, "size": queue, **queue_keys})


@pytest.fixture
def world() -> Any:
    """A supervisor whose ``sleep`` runs one task at a time and lets nine wait."""
    world = World(pool=pool())
    yield world
    world.settle()


def waiting(world: World, action: str | None = None) -> list[str]:
    """Who waits, the next first."""
    return [item.ticket.task_id for item in world.supervisor.pools.info(action).queue_items]


def running(world: World, action: str | None = None) -> int:
    return world.supervisor.pools.info(action).running


def exits(world: World, task_id: str, outcome: Outcome = TERMINATED) -> None:
    """Let the newest worker of a task end, from wherever it is."""
    worker = [worker for worker in world.workers if worker.task_id == task_id][-1]
    if worker.phase == "new":
        worker.spawn(99)
    worker.end(outcome)


# ------------------------------------------------------------------------------------ waiting, told


def test_a_task_waits_for_a_slot_and_is_then_started_with_the_id_of_its_request(
    world: World,
) -> None:
    """Everyone hears that it waits, its starter with the id; both hear of the start once."""
    starter, other = world.client(), world.client()
    everyone = world.reader(EVERY_TASK)
    world.run("a", 7)
    everyone.take()
    world.start("b", starter, request_id="mine")
    assert starter.take() == [queued("b", 1, request_id="mine")]
    assert other.take() == [queued("b", 1)]
    assert everyone.take() == []
    [_, info] = world.infos()
    assert (info.state, info.queued_at, info.current_pid) == ("queued", info.created_at, None)
    exits(world, "a")
    assert world.states() == {"a": "stopped", "b": "active"}
    assert world.infos()[1].queued_at is None
    world.worker.spawn(8)
    assert starter.take() == [started("b", 8, request_id="mine")]
    assert (other.take(), everyone.take()[1:]) == ([], [started("b", 8)])


def test_whoever_starts_a_task_need_not_be_a_client(world: World) -> None:
    """The daemon itself may ask; everyone is told all the same."""
    client = world.client()
    world.run("a", 7)
    world.start("b", None)
    assert client.messages == [queued("b", 1)]


@pytest.mark.parametrize(
    ("order", "positions", "runs"),
    [("first", [1, 2, 3], ["b", "c", "d"]), ("last", [1, 1, 1], ["d", "c", "b"])],
)
def test_waiting_tasks_go_in_the_order_of_their_queue(
    order: str, positions: list[int], runs: list[str]
) -> None:
    """Oldest or newest first; each is told the place it got."""
    world = World(pool=pool(order=order))
    client = world.client()
    world.run("a", 7)
    for task_id in "bcd":
        world.start(task_id)
    assert [message["position"] for message in client.messages] == positions
    assert waiting(world, "sleep") == runs
    for task_id in ["a", *runs]:
        exits(world, task_id)
    assert [worker.task_id for worker in world.workers] == ["a", *runs]
    world.settle()


def test_a_global_limit_holds_for_all_actions() -> None:
    """Whoever came first goes first, of whatever action."""
    world = World(defaults=Defaults(pool=pool()))
    world.run("a", 7)
    world.start("b", action="other")
    world.start("c")
    assert waiting(world) == ["b", "c"]
    exits(world, "a")
    assert [worker.task_id for worker in world.other.workers] == ["b"]
    assert world.states() == {"a": "stopped", "b": "active", "c": "queued"}
    world.settle()


def test_a_task_that_finds_neither_slot_nor_place_is_refused() -> None:
    """Nobody is told but its starter, and no task comes of it."""
    world = World(pool=pool(queue=1))
    client = world.client()
    world.run("a", 7)
    world.start("b")
    client.take()
    text = refusal(lambda: world.start("c", client))
    assert text.startswith("pool rejected task: ")
    assert (client.messages, world.states()) == ([], {"a": "active", "b": "queued"})
    world.settle()


def test_an_id_that_waits_cannot_be_started(world: World) -> None:
    """It is in use like one that runs."""
    world.run("a", 7)
    world.start("b")
    assert refusal(lambda: world.start("b")) == "task already running or starting"
    assert waiting(world) == ["b"]


# ------------------------------------------------------------------------------------------- slots


@pytest.mark.parametrize("stage", ["exited", "drained"])
def test_a_slot_is_kept_until_the_whole_group_is_gone(world: World, stage: str) -> None:
    """Leftovers use memory too."""
    worker = world.run("a", 7)
    world.start("b")
    worker.exit(CRASH)
    if stage == "drained":
        worker.drain()
    assert (world.states()["b"], running(world, "sleep")) == ("queued", 1)
    worker.finish()
    assert (world.states()["b"], running(world, "sleep")) == ("active", 1)


def test_a_finished_task_is_started_again_while_its_leftovers_end(world: World) -> None:
    """It goes on in the slot that they hold, ahead of those who wait."""
    starter = Reader()
    old = world.run("a", 7)
    world.start("b")
    old.exit(CRASH)
    old.drain()
    world.start("a", starter)
    assert (world.states(), world.workers) == ({"a": "active", "b": "queued"}, [old])
    old.vanish()
    world.worker.spawn(8)
    assert starter.messages == [started("a", 8, request_id="request")]
    assert (running(world), waiting(world)) == (1, ["b"])


def test_a_task_that_was_started_again_can_be_ended_for_a_surplus(world: World) -> None:
    """That its run before was on its way out does not protect the new one."""
    world.supervisor.set_pool("sleep", keys(size=2, excess={"action": "stop"}))
    world.run("b", 6)
    old = world.run("a", 7)
    world.supervisor.stop("a")
    old.exit(TERMINATED)
    old.drain()
    world.start("a")
    old.vanish()
    world.worker.spawn(8)
    world.supervisor.stop("b")
    exits(world, "b")
    world.run("c", 9)
    world.supervisor.set_pool("sleep", keys(size=1))
    stopped = [worker.task_id for worker in world.workers if ("terminate", 5.0) in worker.calls]
    assert stopped == ["b", "a", "a"]


def test_leftovers_keep_their_slot_when_their_task_has_to_wait(world: World) -> None:
    """Over a lowered limit it is started again and waits: nobody else runs in the place of its leftovers."""
    world.supervisor.set_pool(None, keys(size=3))
    world.supervisor.set_pool("sleep", keys(size=2))
    old = world.run("a", 7)
    world.run("b", 8)
    world.start("x", action="other")
    world.supervisor.set_pool("sleep", keys(size=1))
    world.supervisor.set_pool("other", pool(size=0))
    world.start("y", action="other")
    old.exit(CRASH)
    old.drain()
    world.start("a")
    assert world.states() == {"a": "queued", "b": "active", "x": "active", "y": "queued"}
    assert (running(world), running(world, "sleep")) == (3, 2)
    old.vanish()
    assert world.states() == {"a": "queued", "b": "active", "x": "active", "y": "active"}
    assert (running(world), running(world, "sleep")) == (3, 1)
    exits(world, "b")
    exits(world, "x")
    assert (world.states()["a"], running(world, "sleep")) == ("active", 1)


@pytest.mark.parametrize("force", [False, True])
def test_leftovers_keep_their_slot_when_their_task_changes_its_action(
    world: World, force: bool
) -> None:
    """Until they are gone, nobody else runs in their place, nor is anybody ended because of them."""
    world.supervisor.set_pool("other", keys(size=1, excess={"action": "stop"}))
    old = world.run("a", 7)
    world.start("b")
    old.exit(CRASH)
    old.drain()
    world.start("a", action="other", force=force)
    assert (world.states(), running(world)) == ({"a": "active", "b": "queued"}, 2)
    assert (running(world, "sleep"), world.other.workers) == (1, [])
    old.vanish()
    assert (world.states(), running(world)) == ({"a": "active", "b": "active"}, 2)
    world.other.workers[-1].spawn(8)


def test_a_task_that_is_started_by_force_goes_on_in_the_slot_of_its_leftovers(world: World) -> None:
    """It holds one slot, not two, though it asks for no leave."""
    old = world.run("a", 7)
    world.start("b")
    old.exit(CRASH)
    old.drain()
    world.start("a", force=True)
    old.vanish()
    world.worker.spawn(8)
    assert (world.states(), running(world)) == ({"a": "active", "b": "queued"}, 1)


def test_a_start_that_is_rejected_leaves_leftovers_their_slot(world: World) -> None:
    """And once they are gone the slot is free."""
    world.supervisor.set_pool("sleep", keys(size=2, queue_size=0))
    old = world.run("a", 7)
    world.run("b", 8)
    world.supervisor.set_pool("sleep", keys(size=1))
    old.exit(CRASH)
    old.drain()
    assert refusal(lambda: world.start("a")).startswith("pool rejected task: ")
    assert (world.states()["a"], running(world)) == ("stopped", 2)
    old.vanish()
    assert running(world) == 1


def test_a_finished_task_may_change_its_action_while_its_leftovers_end(world: World) -> None:
    """It waits in the queue of the new one; a stop then leaves nothing behind, not even a process."""
    world.supervisor.set_pool("other", pool())
    world.start("o", action="other")
    client = world.client()
    old = world.run("a", 7)
    old.exit(CRASH)
    old.drain()
    world.start("a", action="other")
    world.supervisor.stop("a")
    assert client.messages == [queued("a", 1, action="other"), dequeued("a", "stopped")]
    assert world.supervisor.alive == 2
    old.vanish()
    assert (world.states(), world.supervisor.alive) == ({"o": "active"}, 1)


def test_a_task_keeps_its_slot_while_it_waits_to_restart(world: World) -> None:
    """Whoever waits goes on waiting."""
    world.settings.retry = PartialRetryPolicy(restart_delay=5.0)
    world.run("a", 7)
    world.start("b")
    exits(world, "a", CRASH)
    assert world.states() == {"a": "active", "b": "queued"}
    world.clock.advance(5.0)
    assert [worker.task_id for worker in world.workers] == ["a", "a"]


def test_a_task_may_give_back_its_slot_while_it_waits_to_restart(world: World) -> None:
    """It comes back ahead of those who wait, and everyone is told that it waits now."""
    world.settings.retry = PartialRetryPolicy(restart_delay=5.0, release_slot=True)
    client, reader = world.client(), world.reader("a")
    world.run("a", 7)
    world.start("b")
    world.start("c")
    client.take()
    exits(world, "a", CRASH)
    assert world.states() == {"a": "active", "b": "active", "c": "queued"}
    world.clock.advance(5.0)
    assert client.take() == [queued("a", 1, at=5.0)]
    assert (world.states()["a"], waiting(world)) == ("queued", ["a", "c"])
    world.supervisor.stop("b")
    exits(world, "b")
    world.worker.spawn(8)
    assert reader.messages == [
        started("a", 7),
        exited("a", 7, CRASH),
        restarting("a", 7, 1, delay="5s"),
        started("a", 8, restart_of=7, at=5.0),
    ]
    assert client.messages == []


def test_a_slot_that_is_given_back_is_free_only_when_the_leftovers_are_gone(world: World) -> None:
    """And not at all when the restart is due before that."""
    world.settings.retry = PartialRetryPolicy(restart_delay=0.5, release_slot=True)
    old = world.run("a", 7)
    world.start("b")
    old.exit(CRASH)
    old.drain()
    assert world.states()["b"] == "queued"
    world.clock.advance(0.5)
    old.vanish()
    assert [worker.task_id for worker in world.workers] == ["a", "a"]
    assert (running(world), waiting(world)) == (1, ["b"])
    world.worker.spawn(8)
    exits(world, "a", CRASH)
    assert world.states() == {"a": "active", "b": "active"}


@pytest.mark.parametrize("when", ["waiting to restart", "waiting for a slot"])
def test_a_task_without_slot_can_be_stopped(world: World, when: str) -> None:
    """Its wait ends; the one that has the slot is not disturbed."""
    world.settings.retry = PartialRetryPolicy(restart_delay=5.0, release_slot=True)
    client = world.client()
    world.run("a", 7)
    world.start("b")
    exits(world, "a", CRASH)
    client.take()
    if when == "waiting for a slot":
        world.clock.advance(5.0)
        client.take()
    world.supervisor.stop("a")
    told = when == "waiting for a slot"
    assert client.messages == ([dequeued("a", "stopped", at=5.0)] if told else [])
    assert world.states() == ({"b": "active"} if told else {"a": "stopped", "b": "active"})
    assert (running(world), world.unfinished()) == (1, 0)


# ------------------------------------------------------------------------------- leaving the queue


def stop_it(world: World) -> None:
    world.supervisor.stop("b")


def purge(world: World) -> None:
    assert world.supervisor.purge("other") == 0
    assert world.supervisor.purge("sleep") == 1


def purge_all(world: World) -> None:
    assert world.supervisor.purge(None) == 1


def displace(world: World) -> None:
    world.start("c")


def expire(world: World) -> None:
    world.clock.advance(59.9)
    assert world.states()["b"] == "queued"
    world.clock.advance(0.2)


def shut_down(world: World) -> None:
    world.supervisor.shut_down()


@pytest.mark.parametrize(
    ("leave", "reason", "counted"),
    [
        (stop_it, "stopped", (1, 0, 0)),
        (purge, "purged", (1, 0, 0)),
        (purge_all, "purged", (1, 0, 0)),
        (displace, "displaced", (1, 1, 0)),
        (expire, "expired", (1, 0, 1)),
        (shut_down, "shutdown", (1, 0, 0)),
    ],
)
@pytest.mark.parametrize("ran_before", [False, True])
def test_a_task_that_is_dequeued_is_gone_and_everyone_hears_why_once(
    leave: Callable[[World], None], reason: str, counted: tuple[int, int, int], ran_before: bool
) -> None:
    """It leaves ``list``, also where it had run before; its starter gets no start and no error."""
    world = World(pool=pool(queue=1, displace="true", max_age=60.0))
    starter, other = world.client(), world.client()
    subscriber = world.reader("b")
    if ran_before:
        world.run("b", 6).end(CRASH)
    world.run("a", 7)
    world.start("b", starter)
    starter.take(), other.take(), subscriber.take()
    leave(world)
    for reader in (starter, other):
        left = [message for message in reader.messages if message["type"] == "dequeued"]
        assert [(one["task_id"], one["reason"]) for one in left] == [("b", reason)]
        assert [message for message in reader.messages if message["type"] != "dequeued"] == (
            [queued("c", 1)] if leave is displace else []
        )
    assert subscriber.messages == []
    assert "b" not in world.states()
    metrics = world.metrics
    assert (metrics.dequeued, metrics.displaced, metrics.expired) == counted
    exits(world, "a")
    assert [worker.task_id for worker in world.workers].count("b") == ran_before
    assert world.unfinished() == 0
    world.settle()


def test_each_waits_no_longer_than_it_may() -> None:
    """Every task has a time of its own, however the others left."""
    world = World(pool=pool(max_age=60.0))
    client = world.client()
    world.run("a", 7)
    world.start("b")
    world.clock.advance(20.0)
    world.start("c")
    world.clock.advance(20.0)
    world.start("d")
    world.supervisor.stop("b")
    client.take()
    world.clock.advance(39.0)
    assert client.messages == []
    world.clock.advance(1.0)
    world.clock.advance(20.0)
    assert client.messages == [
        dequeued("c", "expired", at=80.0),
        dequeued("d", "expired", at=100.0),
    ]
    exits(world, "a")
    assert world.leftovers() == {}
    world.settle()


def test_a_start_that_fails_when_its_turn_comes_is_told_to_all_and_to_its_starter(
    world: World,
) -> None:
    """Its starter gets the reason, and the next in the queue gets the slot."""
    starter, other = world.client(), world.client()
    world.run("a", 7)
    world.start("b", starter, request_id="mine")
    world.start("c")
    starter.take(), other.take()
    exits(world, "a")
    world.worker.fail("no such file")
    assert starter.messages == [dequeued("b", "failed"), error("mine", "no such file")]
    assert other.messages == [dequeued("b", "failed")]
    assert world.states() == {"a": "stopped", "c": "active"}
    world.worker.fail("no such file")
    assert other.messages[1:] == [dequeued("c", "failed")]
    assert world.leftovers() == {}


def test_a_long_queue_may_fail_at_once() -> None:
    """However many cannot be started, each is told and the next gets its turn."""
    world = World(pool=pool(queue=1000))
    client = world.client()
    world.run("a", 7)
    for number in range(500):
        world.start(f"b{number}", client, params={"seconds": "unrenderable"})
    world.start("c", client)
    client.take()
    exits(world, "a")
    assert world.states() == {"a": "stopped", "c": "active"}
    assert len(client.messages) == 2 * 500
    world.settle()


# ------------------------------------------------------------------------- force, limits and excess


def test_a_forced_start_runs_at_once_beyond_the_limit(world: World) -> None:
    """It counts as running; whoever waits goes on only when there is room for it."""
    world.run("a", 7)
    world.start("b")
    world.start("c", force=True)
    assert (world.states(), running(world, "sleep")) == (
        {"a": "active", "b": "queued", "c": "active"},
        2,
    )
    exits(world, "a")
    assert world.states()["b"] == "queued"
    exits(world, "c")
    assert world.states()["b"] == "active"


def test_a_forced_start_ends_another_where_the_pool_says_so() -> None:
    """The longest running is stopped, with the grace of the policy."""
    world = World(
        pool=keys(size=1, queue={"enabled": True}, excess={"action": "stop", "grace": 2.0})
    )
    reader = world.reader("a")
    world.run("a", 7)
    world.start("b", force=True)
    assert world.workers[0].calls == ["start", ("terminate", 2.0)]
    exits(world, "a")
    assert reader.messages[1:] == [exited("a", 7, TERMINATED, intentional=True)]
    assert world.states() == {"a": "stopped", "b": "active"}
    world.settle()


@pytest.mark.parametrize("action", [None, "sleep"])
def test_a_raised_limit_lets_waiting_tasks_run_at_once(action: str | None) -> None:
    """As many as there is room for now; no limit at all lets in everyone."""
    world = World(defaults=Defaults(pool=pool())) if action is None else World(pool=pool())
    for task_id in "abcd":
        world.start(task_id)
    world.supervisor.set_pool(action, keys(size=3))
    assert list(world.states().values()) == ["active", "active", "active", "queued"]
    world.supervisor.set_pool(action, keys(size=0))
    assert list(world.states().values()) == ["active"] * 4
    assert refusal(lambda: world.supervisor.set_pool("nope", keys(size=1))).startswith("unknown")
    assert refusal(lambda: world.supervisor.purge("nope")).startswith("unknown")
    world.settle()


def test_after_a_lowered_limit_the_surplus_runs_out(world: World) -> None:
    """Without a policy nobody is ended, and nobody is let in either."""
    world.supervisor.set_pool("sleep", keys(size=3))
    for number, task_id in enumerate("abc"):
        world.run(task_id, number)
    world.start("d")
    world.supervisor.set_pool("sleep", keys(size=1))
    assert [worker.calls for worker in world.workers] == [["start"]] * 3
    exits(world, "a")
    exits(world, "b")
    assert world.states()["d"] == "queued"
    exits(world, "c")
    assert world.states()["d"] == "active"


STAGES = ["starting", "running", "draining", "waiting to restart", "ending"]


def bring_to(world: World, stage: str) -> None:
    """Bring ``a``, which runs longest, to a stage of its life."""
    world.start("a")
    if stage != "starting":
        world.worker.spawn(7)
    if stage == "draining":
        world.worker.exit(CRASH)
    if stage == "waiting to restart":
        world.worker.end(CRASH)
    if stage == "ending":
        world.supervisor.stop("a")


@pytest.mark.parametrize("stage", STAGES)
def test_a_lowered_limit_stops_the_surplus(stage: str) -> None:
    """Whatever the task was doing, it ends and is not restarted; one that was ending counts."""
    world = World(pool=keys(size=2, queue={"enabled": True}, excess={"action": "stop"}))
    world.settings.retry = PartialRetryPolicy(restart_delay=60.0)
    bring_to(world, stage)
    world.start("b")
    world.worker.spawn(8)
    world.supervisor.set_pool("sleep", keys(size=1))
    [first, second] = world.workers
    if stage == "starting":
        first.spawn(7)
    if stage not in ("draining", "waiting to restart"):
        assert first.calls == ["start", ("terminate", 5.0)]
    first.finish()
    world.clock.advance(100.0)
    assert (world.states(), running(world)) == ({"a": "stopped", "b": "active"}, 1)
    assert second.calls == ["start"]
    world.settle()


@pytest.mark.parametrize("stage", STAGES[:-1])
def test_a_lowered_limit_may_let_the_surplus_wait(stage: str) -> None:
    """It is ended, waits at the head of the queue, and runs again as if nothing had been."""
    world = World(
        pool=keys(size=2, queue={"enabled": True, "size": 1}, excess={"action": "requeue"})
    )
    world.settings.retry = PartialRetryPolicy(restart_delay=60.0)
    client, reader = world.client(), world.reader("a")
    bring_to(world, stage)
    world.start("b")
    world.worker.spawn(8)
    world.start("c")
    client.take()
    world.supervisor.set_pool("sleep", keys(size=1))
    first = world.workers[0]
    if stage == "starting":
        first.spawn(7)
    first.finish()
    assert client.messages == [queued("a", 1)]
    assert (world.states(), waiting(world), running(world)) == (
        {"a": "queued", "b": "active", "c": "queued"},
        ["a", "c"],
        1,
    )
    told = [message for message in reader.messages if message["type"] == "exited"]
    assert [message["intentional"] for message in told] == [stage in ("starting", "running")]
    reader.take()
    world.supervisor.stop("b")
    exits(world, "b")
    world.worker.spawn(9)
    world.worker.end(CRASH)
    exits_before = int(stage in ("draining", "waiting to restart"))
    assert reader.messages == [
        started("a", 9, restart_of=7),
        exited("a", 9, CRASH),
        restarting("a", 9, exits_before + 1, delay="1m0s"),
    ]
    assert world.states()["a"] == "active"
    world.settle()


def test_a_surplus_that_had_run_to_its_end_is_not_run_again() -> None:
    """Its exit was its own, although its output was still read; there is no restart to wait for."""
    world = World(pool=keys(size=2, excess={"action": "requeue"}))
    reader = world.reader("a")
    bring_to(world, "draining")
    world.run("b", 8)
    world.supervisor.set_pool("sleep", keys(size=1))
    world.workers[0].finish()
    assert reader.messages[1:] == [exited("a", 7, CRASH)]
    assert world.states() == {"a": "stopped", "b": "active"}
    world.settle()


def test_a_requeued_task_without_restarts_ends_with_its_second_run() -> None:
    """Being ended for another is no reason to run for ever, and its own end is its own."""
    world = World(pool=keys(size=2, excess={"action": "requeue"}))
    reader = world.reader("a")
    world.run("a", 7)
    world.run("b", 8)
    world.supervisor.set_pool("sleep", keys(size=1))
    world.workers[0].end(TERMINATED)
    exits(world, "b")
    world.worker.spawn(9)
    world.worker.end(CRASH)
    assert reader.messages == [
        started("a", 7),
        exited("a", 7, TERMINATED, intentional=True),
        started("a", 9, restart_of=7),
        exited("a", 9, CRASH),
    ]
    assert (world.states(), world.leftovers()) == ({"a": "stopped", "b": "stopped"}, {})
    world.settle()


@pytest.mark.parametrize("stage", ["ending", "leftovers", "queued"])
def test_a_task_that_is_to_wait_again_can_be_stopped(stage: str) -> None:
    """It ends with its run, and is counted as done; it leaves the queue if it was told to be in there."""
    world = World(pool=keys(size=2, excess={"action": "requeue"}))
    client = world.client()
    first = world.run("a", 7)
    world.run("b", 8)
    world.supervisor.set_pool("sleep", keys(size=1))
    if stage != "ending":
        first.exit(TERMINATED)
        first.drain()
    if stage == "queued":
        first.vanish()
    world.supervisor.stop("a")
    first.finish()
    if stage == "queued":
        assert client.messages == [queued("a", 1), dequeued("a", "stopped")]
        assert world.states() == {"b": "active"}
    else:
        assert client.messages == []
        assert world.states() == {"a": "stopped", "b": "active"}
    assert (running(world), waiting(world), world.unfinished()) == (1, [], 1)
    assert world.metrics.tasks_completed == 1
    world.settle()


def test_an_errored_task_stays_errored_when_a_limit_is_lowered() -> None:
    """Its leftovers still hold a slot, but there is nothing to stop any more."""
    world = World(pool=keys(size=2, excess={"action": "stop"}))
    world.settings.retry = PartialRetryPolicy(error_threshold=1)
    worker = world.run("a", 7)
    worker.exit(CRASH)
    worker.drain()
    world.run("b", 8)
    world.supervisor.set_pool("sleep", keys(size=1))
    worker.vanish()
    assert world.states() == {"a": "errored", "b": "active"}
    world.settle()


def test_a_reset_waits_for_a_slot_like_a_start(world: World) -> None:
    """Its sender is told that it waits, and of the start, each with the id of its request."""
    world.settings.retry = PartialRetryPolicy(error_threshold=1)
    sender = world.client()
    world.run("a", 7).end(CRASH)
    world.run("b", 8)
    world.reset("a", sender, request_id="mine")
    assert world.states() == {"a": "queued", "b": "active"}
    exits(world, "b")
    world.worker.spawn(9)
    assert sender.messages == [
        queued("a", 1, request_id="mine"),
        started("a", 9, request_id="mine"),
    ]


def test_a_reset_that_finds_no_place_is_refused() -> None:
    """The task stays errored."""
    world = World(pool=pool(queue=0))
    world.settings.retry = PartialRetryPolicy(error_threshold=1)
    world.run("a", 7).end(CRASH)
    world.run("b", 8)
    assert refusal(lambda: world.reset("a")).startswith("pool rejected task: ")
    assert world.states() == {"a": "errored", "b": "active"}
    world.settle()


# ---------------------------------------------------------------------------------------- shutdown


def test_a_shutdown_starts_none_of_those_who_wait(world: World) -> None:
    """Although slots become free; everyone is told of each who waited."""
    world.settings.retry = PartialRetryPolicy(restart_delay=60.0)
    client = world.client()
    world.run("a", 7).end(CRASH)
    world.start("b")
    world.start("c")
    client.take()
    ended: list[None] = []
    world.supervisor.shut_down().addCallback(ended.append)
    assert client.messages == [dequeued("b", "shutdown"), dequeued("c", "shutdown")]
    assert (ended, world.states(), len(world.workers)) == ([None], {"a": "stopped"}, 1)


def test_in_a_shutdown_nobody_waits_again() -> None:
    """Who was to be requeued is just stopped."""
    world = World(pool=keys(size=2, excess={"action": "requeue"}))
    first, second = world.run("a", 7), world.run("b", 8)
    world.supervisor.set_pool("sleep", keys(size=1))
    ended: list[None] = []
    world.supervisor.shut_down().addCallback(ended.append)
    first.end(TERMINATED)
    second.end(TERMINATED)
    assert (ended, world.states()) == ([None], {"a": "stopped", "b": "stopped"})
    assert world.leftovers() == {}


def test_what_is_being_started_when_all_is_killed_is_killed_once_it_runs(world: World) -> None:
    """A second signal leaves nobody the grace of the first."""
    world.start("a")
    world.supervisor.shut_down()
    world.supervisor.kill_all()
    world.worker.spawn(7)
    assert world.worker.calls[-1] == ("terminate", 0.0)


# -------------------------------------------------------------------------------------- duplicates


@pytest.fixture
def deduped(world: World) -> World:
    """``sleep`` runs once for each color."""
    world.settings.dedupe_key = ("color",)
    world.supervisor.set_pool("sleep", keys(size=2))
    return world


def duplicate_of(world: World, color: str = "red", task_id: str = "new") -> str | None:
    """Try a start and return the id of the task that it would repeat."""
    try:
        world.start(task_id, params={"color": color})
    except RequestError as error:
        refused = error
    else:
        return None
    assert refused.message == f"duplicate task: already running as {refused.existing_task_id}"
    return refused.existing_task_id


@pytest.mark.parametrize(
    "stage", ["starting", "running", "stopping", "draining", "waiting", "queued"]
)
def test_an_equal_task_is_refused_in_every_stage(deduped: World, stage: str) -> None:
    """Whatever the first one does; also under the same id, where both reasons would do."""
    world = deduped
    world.settings.retry = PartialRetryPolicy(restart_delay=60.0)
    if stage == "queued":
        world.supervisor.set_pool("sleep", keys(size=1))
        world.start("z")
    world.start("a", params={"color": "red"})
    if stage not in ("starting", "queued"):
        world.worker.spawn(7)
    if stage == "stopping":
        world.supervisor.stop("a")
    if stage == "draining":
        world.worker.exit(CRASH)
    if stage == "waiting":
        world.worker.end(CRASH)
    before = world.states()
    assert duplicate_of(world) == "a"
    assert duplicate_of(world, task_id="a") == "a"
    assert world.states() == before
    assert duplicate_of(world, "blue") is None


def test_parameters_are_compared_with_their_defaults(deduped: World) -> None:
    """What a start leaves out is what it would be; other parameters and actions do not count."""
    world = deduped
    world.settings.dedupe_key = ("seconds",)
    world.start("a", params={"color": "red"})
    refused = refusal(lambda: world.start("b", params={"seconds": "1", "color": "blue"}))
    assert refused == "duplicate task: already running as a"
    world.start("c", params={"seconds": "2"})
    world.start("d", action="other")


def end(world: World) -> None:
    exits(world, "a")


def fail(world: World) -> None:
    world.worker.fail("no such file")


def give_up(world: World) -> None:
    world.worker.spawn(7)
    world.supervisor.stop("a", 0.0)
    world.clock.advance(10.0)


@pytest.mark.parametrize("way", [end, fail, give_up])
def test_an_equal_task_may_run_after_the_end_of_the_first(
    deduped: World, way: Callable[[World], None]
) -> None:
    """However it came."""
    deduped.start("a", params={"color": "red"})
    way(deduped)
    assert duplicate_of(deduped) is None


def test_an_equal_task_may_run_when_the_first_was_dequeued(deduped: World) -> None:
    """It never ran, so there is nothing to repeat."""
    deduped.supervisor.set_pool("sleep", keys(size=1))
    deduped.start("z")
    deduped.start("a", params={"color": "red"})
    deduped.supervisor.purge(None)
    assert duplicate_of(deduped) is None


def test_a_reset_is_a_duplicate_like_a_start(deduped: World) -> None:
    """What runs meanwhile is not repeated, and the reset task is not either."""
    world = deduped
    world.settings.retry = PartialRetryPolicy(error_threshold=1)
    world.start("a", params={"color": "red"})
    exits(world, "a", CRASH)
    assert duplicate_of(world) is None
    assert refusal(lambda: world.reset("a")) == "duplicate task: already running as new"
    assert world.states() == {"a": "errored", "new": "active"}
    world.supervisor.stop("new")
    exits(world, "new")
    world.reset("a")
    assert duplicate_of(world) == "a"


def test_a_rejected_start_is_no_duplicate() -> None:
    """What is refused leaves nothing behind."""
    world = World(pool=pool(queue=0))
    world.settings.dedupe_key = ("color",)
    world.start("z")
    refusal(lambda: world.start("a", params={"color": "red"}))
    exits(world, "z")
    assert duplicate_of(world) is None
    world.settle()


# ------------------------------------------------------------------------------------------ counters


def test_all_that_was_started_has_ended_or_is_still_there(world: World) -> None:
    """The counters add up, for the daemon and for each action; restarts are no starts."""
    world.settings.retry = PartialRetryPolicy(restart_delay=1.0, error_threshold=2)
    world.run("a", 7).end(CRASH)
    world.start("b")
    world.start("c", action="other")
    world.other.workers[-1].spawn(8)
    world.clock.advance(1.0)
    exits(world, "a", CRASH)
    world.worker.spawn(9)
    metrics = world.metrics
    assert (
        metrics.tasks_started,
        metrics.tasks_restarted,
        metrics.tasks_errored,
        metrics.tasks_completed,
        metrics.enqueued,
        metrics.dequeued,
    ) == (3, 1, 1, 0, 1, 0)
    assert world.unfinished() == 2
    sleep, other = world.supervisor.counters.of("sleep"), world.supervisor.counters.of("other")
    assert (sleep.tasks_started, other.tasks_started) == (2, 1)
    assert (sleep.tasks_errored, other.tasks_errored) == (1, 0)


def test_a_broken_client_costs_the_others_nothing(world: World) -> None:
    """Everybody else is told, and the task goes on."""
    world.supervisor.announcements.join(BrokenReader())
    client, left = world.client(), world.client()
    world.supervisor.disconnect(left)
    world.run("a", 7)
    world.start("b", BrokenReader())
    assert (client.messages, left.messages) == ([queued("b", 1)], [])
