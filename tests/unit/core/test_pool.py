"""Which task runs, which waits, which is turned away."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from overseer.core.pool import (
    Admitted,
    Change,
    ExcessPolicy,
    PoolInfo,
    PoolLimits,
    Pools,
    PoolSettings,
    Queued,
    QueueItem,
    Rejected,
    Requeued,
    Surplus,
    Ticket,
)

keys = PoolSettings.from_keys


def ticket(name: str, *, forced: bool = False) -> Ticket:
    """The ticket of the task ``name``, whose action is its first letter."""
    return Ticket(name, name[0], queued_at=0, forced=forced)


class Daemon:
    """Pools in the words of a configuration, tasks by their names; a force is written ``a1!``."""

    def __init__(
        self, general: Mapping[str, Any] | None = None, **actions: Mapping[str, Any]
    ) -> None:
        pools = {action: keys(actions.get(action, {})) for action in "ab"}
        self.pools = Pools(keys(general or {}), pools)
        self.now = 0.0

    def start(self, *names: str) -> None:
        """Start tasks, whatever becomes of them."""
        for name in names:
            self.admit(name)

    def admit(self, name: str) -> object:
        """Start one task; what became of it."""
        wanted = ticket(name.removesuffix("!"), forced=name.endswith("!"))
        return self.pools.admit(wanted, self.now)

    def admit_again(self, name: str, action: str | None = None) -> object:
        """Start one task while its leftovers hold its slot; what became of it."""
        wanted = ticket(name.removesuffix("!"), forced=name.endswith("!"))
        if action is not None:
            wanted = attrs.evolve(wanted, action=action)
        return self.pools.admit_again(wanted, self.now)

    def leftovers_gone(self, name: str) -> list[str]:
        """Let what is left of a task end; who runs in its place."""
        return names(self.pools.leftovers_gone(name))

    def requeue(self, name: str) -> tuple[int, list[str]]:
        """Requeue a task: its position, and who runs now."""
        answer = self.pools.requeue(
            ticket(name.removesuffix("!"), forced=name.endswith("!")), self.now
        )
        return answer.position, names(answer.admitted)

    def release(self, name: str) -> list[str]:
        """Let a task end; who runs in its place."""
        return names(self.pools.release(name))

    def set_pool(self, action: str | None = None, /, **values: Any) -> tuple[list[str], list[str]]:
        """Set limits: who runs now, who must end."""
        return outcome(self.pools.set_limits(action, keys(values)))

    def reload(
        self, general: Mapping[str, Any] | None = None, **actions: Mapping[str, Any]
    ) -> tuple[list[str], list[str]]:
        """Reload: who runs now, who must end."""
        written = {action: keys(values) for action, values in actions.items()}
        return outcome(self.pools.reconfigure(keys(general or {}), written))

    def waiting(self, action: str | None = None) -> list[str]:
        """Who waits, as they would go."""
        return [item.ticket.task_id for item in self.pools.info(action).queue_items]

    def running(self, action: str | None = None) -> int:
        """How many run."""
        return self.pools.info(action).running


def names(tickets: tuple[Ticket, ...]) -> list[str]:
    return [each.task_id for each in tickets]


def outcome(change: Change) -> tuple[list[str], list[str]]:
    return names(change.admitted), [each.task_id for each in change.surplus]


# ------------------------------------------------------------------------------------ settings


@pytest.mark.parametrize(
    ("general", "action", "expected"),
    [
        ({}, {}, PoolLimits()),
        ({}, {"size": 3}, PoolLimits(size=3)),
        ({}, {"limit": 3}, PoolLimits(size=3)),
        # An action's size is its own, the rest is inherited key by key.
        ({"size": 3}, {}, PoolLimits()),
        ({"queue_size": 9}, {}, PoolLimits(queue_size=9)),
        ({"queue_size": 9}, {"queue_size": 0}, PoolLimits(queue_size=0)),
        ({"queue_size": 9}, {"queue": {"enabled": False}}, PoolLimits(queue_size=0)),
        ({"queue_size": 9}, {"queue": {"size": 4}}, PoolLimits(queue_size=4)),
        ({"queue_size": 0}, {"queue": {"enabled": True}}, PoolLimits(queue_size=None)),
        # A nested size of 0 is no bound; without `enabled` there is no queue in v2.
        ({}, {"queue": {"enabled": True}}, PoolLimits(queue_size=None)),
        ({}, {"queue": {"enabled": True, "size": 0}}, PoolLimits(queue_size=None)),
        ({"queue": {"enabled": True, "size": 0}}, {"queue_size": 5}, PoolLimits(queue_size=5)),
        ({}, {"queue": {"enabled": True, "size": 7}}, PoolLimits(queue_size=7)),
        ({}, {"queue": {"size": 7}}, PoolLimits(queue_size=0)),
        ({"queue_timeout": 5.0}, {}, PoolLimits(queue_timeout=5.0)),
        ({"queue_timeout": 5.0}, {"queue": {"max_age": 0}}, PoolLimits(queue_timeout=0)),
        (
            {"queue": {"order": "last", "displace": "true"}},
            {"queue": {"displace": "prohibit"}},
            PoolLimits(order="last", displace="prohibit"),
        ),
        (
            {"excess": {"action": "stop", "grace": 3}},
            {"excess": {"action": "requeue", "order": "last"}},
            PoolLimits(excess=ExcessPolicy(action="requeue", order="last", grace=3)),
        ),
    ],
)
def test_what_holds_for_an_action(
    general: Mapping[str, Any], action: Mapping[str, Any], expected: PoolLimits
) -> None:
    """Both spellings, and the global keys where the action has none."""
    assert Daemon(general, a=action).pools.limits("a") == expected


def test_the_global_limits() -> None:
    """The global pool has a size of its own, and shows what it hands down."""
    pools = Daemon({"size": 8, "queue_size": 100}).pools
    assert pools.limits() == PoolLimits(size=8, queue_size=100)


def test_what_is_set_at_run_time() -> None:
    """What is not given keeps its value; global keys reach the actions that have none."""
    daemon = Daemon({"queue_size": 9}, b={"queue_size": 1, "size": 2})
    daemon.set_pool("a", size=3)
    daemon.set_pool("a", excess={"action": "stop"})
    daemon.set_pool(queue_size=4)
    daemon.set_pool("b", limit=0)
    stop = ExcessPolicy(action="stop")
    assert daemon.pools.limits("a") == PoolLimits(size=3, queue_size=4, excess=stop)
    assert daemon.pools.limits("b") == PoolLimits(size=0, queue_size=1)


# -------------------------------------------------------------------------------- who may run


def test_zero_is_unlimited() -> None:
    """Without a size everything runs at once."""
    daemon = Daemon()
    assert {daemon.admit(f"a{number}") == Admitted() for number in range(100)} == {True}
    assert daemon.running() == daemon.running("a") == 100


def test_a_task_needs_both_slots() -> None:
    """A full pool of the action and a full global pool both hold it back."""
    daemon = Daemon({"size": 3, "queue_size": 9}, a={"size": 1})
    daemon.start("a1", "b1")
    assert daemon.admit("a2") == Queued(1)
    assert daemon.admit("b2") == Admitted()
    assert daemon.admit("b3") == Queued(1)
    assert daemon.release("b1") == ["b3"]
    assert daemon.release("b2") == []
    assert daemon.release("a1") == ["a2"]


@pytest.mark.parametrize(
    ("general", "action", "reason"),
    [
        (
            {"size": 9},
            {"size": 1},
            'the pool of "a" is full (1 of 1 running) and there is no queue',
        ),
        ({"size": 1}, {}, "the global pool is full (1 of 1 running) and there is no queue"),
        (
            {"queue_size": 2},
            {"size": 1},
            'the pool of "a" is full (1 of 1 running) and so is the queue (2 waiting)',
        ),
    ],
)
def test_neither_slot_nor_place(
    general: Mapping[str, Any], action: Mapping[str, Any], reason: str
) -> None:
    """The start is rejected, with a reason, and leaves nothing behind."""
    daemon = Daemon(general, a=action)
    queue_size = daemon.pools.limits("a").queue_size or 0
    daemon.start("a1", *(f"a{number}" for number in range(2, 2 + queue_size)))
    before = daemon.pools.info()
    assert daemon.admit("a9") == Rejected(reason)
    assert daemon.pools.info() == before


def test_a_task_is_known_once() -> None:
    """No task holds two slots, waits twice, or leaves what it is not in."""
    daemon = Daemon(a={"size": 1, "queue_size": 2})
    daemon.start("a1", "a2")
    for name in ("a1", "a2", "a1!", "a2!"):
        with pytest.raises(ValueError, match=f"'{name[:2]}' has a slot or waits already"):
            daemon.admit(name)
    with pytest.raises(ValueError, match="waits already"):
        daemon.requeue("a2")
    for method, name in (("release", "a2"), ("withdraw", "a1"), ("leaving", "a2")):
        with pytest.raises(KeyError):
            getattr(daemon.pools, method)(name)
    assert (daemon.running(), daemon.waiting()) == (1, ["a2"])


# --------------------------------------------------------------------------------- who is next


@pytest.mark.parametrize(
    ("order", "positions", "gone"),
    [("first", [1, 2, 3], ["a2", "a3", "a4"]), ("last", [1, 1, 1], ["a4", "a3", "a2"])],
)
def test_order_within_an_action(order: str, positions: list[int], gone: list[str]) -> None:
    """`first` is FIFO, `last` is LIFO; the position says how many slots away it is."""
    daemon = Daemon(a={"size": 1, "queue": {"enabled": True, "order": order}})
    daemon.start("a1")
    assert [daemon.admit(name) for name in ("a2", "a3", "a4")] == [Queued(p) for p in positions]
    assert daemon.waiting("a") == daemon.waiting() == gone
    for ended, following in pairwise(["a1", *gone]):
        assert daemon.release(ended) == [following]
    assert daemon.release(gone[-1]) == []
    assert daemon.running() == 0


def test_oldest_first_among_actions() -> None:
    """Whoever of the next ones of each action came first; one whose own pool is full lets others by."""
    queue = {"enabled": True}
    daemon = Daemon(
        {"size": 3}, a={"size": 1, "queue": queue}, b={"queue": {**queue, "order": "last"}}
    )
    daemon.start("b1", "b2", "a1", "a2", "b3", "a3", "b4")
    assert daemon.waiting() == ["a2", "a3", "b4", "b3"]
    assert [item.position for item in daemon.pools.info().queue_items] == [0, 1, 2, 3]
    assert daemon.release("b1") == ["b4"]
    assert daemon.release("a1") == ["a2"]
    assert daemon.release("b2") == ["b3"]


def test_a_withdrawn_task_never_runs() -> None:
    """Stop of a waiting task takes it out wherever it stands."""
    daemon = Daemon(a={"size": 1, "queue_size": 9})
    daemon.start("a1", "a2", "a3", "a4")
    assert daemon.pools.withdraw("a3") == ticket("a3")
    assert daemon.release("a1") == ["a2"]
    assert daemon.release("a2") == ["a4"]


def test_purge() -> None:
    """Of one action, or of all, in the order in which they would have gone."""
    daemon = Daemon({"size": 1, "queue_size": 9})
    daemon.start("a1", "b1", "a2", "b2", "a3")
    assert names(daemon.pools.purge("a")) == ["a2", "a3"]
    daemon.start("a4")
    assert names(daemon.pools.purge()) == ["b1", "b2", "a4"]
    assert names(daemon.pools.purge()) == []
    assert daemon.release("a1") == []


def test_ten_thousand_wait() -> None:
    """A long queue is no slower a head than a short one: this takes no noticeable time."""
    daemon = Daemon(a={"size": 1, "queue": {"enabled": True}})
    tasks = [f"a{number}" for number in range(10_000)]
    daemon.start(*tasks)
    for task, following in pairwise(tasks):
        assert daemon.release(task) == [following]


def test_the_pool_as_it_is_told() -> None:
    """Running, and who waits since when, with positions from 0."""
    pools = Pools(keys({}), {"a": keys({"size": 1, "queue_size": 9})})
    first, second = Ticket("a1", "a", 1_000), Ticket("a2", "a", 2_000)
    pools.admit(first, 0)
    pools.admit(second, 0)
    info = pools.info("a")
    assert info == PoolInfo(limit=1, running=1, queue_items=(QueueItem(second, 0),))
    assert info.queue_depth == 1
    assert pools.info() == attrs.evolve(info, limit=0)


# -------------------------------------------------------------------- displacement and expiry


@pytest.mark.parametrize(
    ("queue", "expected"),
    [
        ({"displace": "true"}, Queued(2, ticket("a2"))),
        ({"displace": "true", "order": "last"}, Queued(1, ticket("a2"))),
        ({"displace": "false"}, None),
        ({"displace": "prohibit"}, None),
        ({}, None),
        ({"displace": "true", "enabled": False, "size": 0}, None),
    ],
)
def test_a_full_queue(queue: Mapping[str, Any], expected: object) -> None:
    """With `displace: true` the oldest makes place; without a queue there is nobody to displace."""
    daemon = Daemon(a={"size": 1, "queue": {"enabled": True, "size": 2, **queue}})
    daemon.start("a1", "a2", "a3")
    answer = daemon.admit("a4")
    assert answer == expected or (expected is None and isinstance(answer, Rejected))
    if expected:
        assert sorted(daemon.waiting()) == ["a3", "a4"]


def test_a_forced_one_is_never_displaced() -> None:
    """Nor does it go before its turn once it waits; where all are forced, the new one is rejected."""
    daemon = Daemon(a={"size": 1, "queue": {"enabled": True, "size": 2, "displace": "true"}})
    daemon.start("a1", "a2!")
    daemon.requeue("a2!")
    daemon.start("a3")
    assert daemon.admit("a4") == Queued(2, ticket("a3"))
    daemon.pools.withdraw("a4")
    daemon.start("a5!")
    daemon.requeue("a5!")
    assert isinstance(daemon.admit("a6"), Rejected)
    assert daemon.waiting() == ["a2", "a5"]
    forced = [item.ticket.forced for item in daemon.pools.info("a").queue_items]
    assert forced == [True, True]


def test_expiry() -> None:
    """Exactly after the timeout of its action; nothing else waits shorter or longer for that."""
    daemon = Daemon({"size": 1, "queue_size": 9, "queue_timeout": 10.0}, b={"queue_timeout": 4.0})
    pools = daemon.pools
    assert pools.next_expiry() is None
    daemon.start("a1")
    assert pools.next_expiry() is None
    daemon.start("a2")
    daemon.now = 5.0
    daemon.start("b1")
    assert pools.next_expiry() == 9.0
    daemon.now = 6.0
    daemon.start("a3")
    assert names(pools.expire(8.999)) == []
    assert names(pools.expire(9.0)) == ["b1"]
    assert pools.next_expiry() == 10.0
    daemon.start("b2")
    assert names(pools.expire(11.0)) == ["a2", "b2"]
    assert pools.next_expiry() == 16.0
    daemon.reload({"size": 1, "queue_size": 9}, a={}, b={})
    assert pools.next_expiry() is None
    assert names(pools.expire(1e9)) == []


@pytest.mark.parametrize("order", ["first", "last"])
def test_the_oldest_expires_first(order: str) -> None:
    """Whatever the order of the queue, and whatever its action."""
    daemon = Daemon({"size": 1, "queue": {"enabled": True, "max_age": 10, "order": order}})
    daemon.start("a1")
    for daemon.now, name in enumerate(("b1", "a2", "b2", "a3")):
        daemon.start(name)
    assert daemon.pools.next_expiry() == 10
    assert names(daemon.pools.expire(12)) == ["b1", "a2", "b2"]


# ------------------------------------------------------------------------------ restart, reset


def test_a_task_that_waits_to_restart_keeps_its_slot() -> None:
    """Nobody runs in its place until it is released."""
    daemon = Daemon(a={"size": 1, "queue_size": 9})
    daemon.start("a1", "a2")
    assert daemon.waiting() == ["a2"]
    assert daemon.release("a1") == ["a2"]


def test_a_restart_without_a_slot_goes_ahead_of_the_queue() -> None:
    """It gave its slot back; when it is due it runs at once or is the next, after those before it."""
    daemon = Daemon({"size": 2, "queue_size": 2})
    daemon.start("a1", "a2", "b1", "a3", "b2")
    assert daemon.release("a1") == ["b1"]
    assert daemon.release("a2") == ["a3"]
    assert daemon.requeue("a2") == (1, [])
    assert daemon.requeue("b9") == (1, [])
    assert daemon.requeue("a1") == (2, [])
    assert daemon.waiting() == ["a2", "b9", "a1", "b2"]
    running = ["b1", "a3", "a2", "b9", "a1", "b2"]
    assert [daemon.release(name) for name in running[:4]] == [[name] for name in running[2:]]


@pytest.mark.parametrize("name", ["a1", "a1!"])
def test_a_start_during_leftovers_goes_on_in_their_slot(name: str) -> None:
    """Ahead of those who wait, and it holds one slot, which the last one to end gives back."""
    daemon = Daemon(a={"size": 1, "queue_size": 9})
    daemon.start("a1", "a2")
    daemon.pools.leaving("a1")
    assert daemon.admit_again(name) == Admitted()
    assert daemon.leftovers_gone("a1") == []
    assert (daemon.running(), daemon.waiting()) == (1, ["a2"])
    assert daemon.release("a1") == ["a2"]


def test_over_a_lowered_limit_it_waits_and_its_leftovers_keep_the_slot() -> None:
    """Nobody runs in their place until they are gone, neither here nor in another pool."""
    daemon = Daemon({"size": 3, "queue_size": 9}, a={"size": 2})
    daemon.start("a1", "a2", "b1", "b2")
    daemon.set_pool("a", size=1)
    assert daemon.admit_again("a1") == Queued(1)
    assert (daemon.running("a"), daemon.running()) == (2, 3)
    assert daemon.leftovers_gone("a1") == ["b2"]
    assert (daemon.running("a"), daemon.running()) == (1, 3)
    assert daemon.leftovers_gone("a1") == []


def test_over_a_lowered_limit_without_a_queue_it_is_rejected() -> None:
    """As any start would be, and its leftovers still hold the slot."""
    daemon = Daemon(a={"size": 2})
    daemon.start("a1", "a2")
    daemon.set_pool("a", size=1)
    assert isinstance(daemon.admit_again("a1"), Rejected)
    assert daemon.running("a") == 2
    daemon.leftovers_gone("a1")
    assert daemon.running("a") == 1


def test_leftovers_in_the_pool_of_another_action() -> None:
    """They keep that slot; nobody is ended for a surplus which is theirs."""
    stop = {"excess": {"action": "stop"}}
    daemon = Daemon({"size": 2, **stop}, a={"size": 1, "queue_size": 9})
    daemon.start("a1", "a2", "b1")
    assert daemon.admit_again("a1!", action="b") == Admitted()
    assert (daemon.running("a"), daemon.running("b"), daemon.running()) == (1, 2, 3)
    assert daemon.leftovers_gone("a1") == []
    assert daemon.release("b1") == ["a2"]


def test_it_runs_at_once_where_there_is_room() -> None:
    """Requeueing into a free pool is a start."""
    daemon = Daemon(a={"size": 1})
    assert daemon.requeue("a1") == (1, ["a1"])
    assert daemon.running() == 1


def test_requeue_goes_ahead_in_a_lifo_queue_too() -> None:
    """The newest start comes right after those that were running before."""
    daemon = Daemon(a={"size": 1, "queue": {"enabled": True, "order": "last"}})
    daemon.start("a1", "a2", "a3")
    assert daemon.requeue("a4") == (1, [])
    assert daemon.requeue("a5") == (2, [])
    assert daemon.admit("a6") == Queued(3)
    assert daemon.waiting() == ["a4", "a5", "a6", "a3", "a2"]


def test_requeue_is_not_bound_by_the_size_of_the_queue() -> None:
    """It waits even where nothing may, and counts: the next start finds the queue fuller than full."""
    no_queue = {"enabled": False, "displace": "true"}
    daemon = Daemon({"queue_size": 1}, a={"size": 1}, b={"size": 1, "queue": no_queue})
    daemon.start("a1", "a2", "b1")
    assert daemon.requeue("a3") == (1, [])
    assert daemon.requeue("b2") == (1, [])
    assert isinstance(daemon.admit("a4"), Rejected)
    assert isinstance(daemon.admit("b3"), Rejected)
    assert daemon.pools.info().queue_depth == 3


def test_a_storm_of_restarts_goes_round() -> None:
    """Tasks that exit at once and are due at once, without a slot meanwhile, take turns."""
    daemon = Daemon({"size": 2})
    running, turns = [], []
    for number in range(6):
        running += daemon.requeue(f"a{number}")[1]
    for _ in range(12):
        turns.append(running.pop(0))
        running += daemon.release(turns[-1])
        assert daemon.requeue(turns[-1]) == (4, [])
        assert daemon.running() == 2
    assert turns == [f"a{number}" for number in range(6)] * 2


# ------------------------------------------------------------------------------------- limits


def test_a_raised_size_admits_at_once() -> None:
    """In queue order, as many as fit into both pools; unlimited admits all."""
    daemon = Daemon({"size": 4, "queue_size": 9}, a={"size": 1})
    daemon.start(*(f"a{number}" for number in range(1, 8)))
    assert daemon.set_pool("a", size=3) == (["a2", "a3"], [])
    assert daemon.set_pool("a", size=0) == (["a4"], [])
    assert daemon.set_pool(size=5) == (["a5"], [])
    assert daemon.set_pool(size=0) == (["a6", "a7"], [])


def test_a_lowered_size_admits_nothing_until_the_surplus_has_run_out() -> None:
    """Without `excess` nobody is ended."""
    daemon = Daemon(a={"size": 3, "queue_size": 9})
    daemon.start("a1", "a2", "a3", "a4")
    assert daemon.set_pool("a", size=1) == ([], [])
    assert daemon.release("a1") == []
    assert daemon.release("a2") == []
    assert daemon.admit("a5") == Queued(2)
    assert daemon.release("a3") == ["a4"]


def test_a_smaller_queue_keeps_who_waits() -> None:
    """They still get their turn, but nobody new."""
    daemon = Daemon(a={"size": 1, "queue_size": 9})
    daemon.start("a1", "a2", "a3")
    assert daemon.set_pool("a", queue_size=0) == ([], [])
    assert isinstance(daemon.admit("a4"), Rejected)
    assert daemon.release("a1") == ["a2"]


def test_force() -> None:
    """Over both limits at once, counted in `running`; the others wait until it has gone."""
    daemon = Daemon({"size": 1, "queue_size": 9}, a={"size": 1})
    daemon.start("a1", "a2")
    assert daemon.admit("a3!") == Admitted()
    assert (daemon.running("a"), daemon.running()) == (2, 2)
    assert daemon.release("a1") == []
    assert daemon.release("a3") == ["a2"]


@pytest.mark.parametrize(
    ("order", "ended"), [("first", ["a1", "a3", "a4"]), ("last", ["a5", "a4", "a3"])]
)
def test_a_lowered_size_ends_the_surplus(order: str, ended: list[str]) -> None:
    """As many unforced tasks as it is over, in kill order; none twice."""
    policy = {"action": "stop", "order": order, "grace": 3}
    daemon = Daemon(a={"size": 9, "queue_size": 9})
    daemon.start("a1", "a2!", "a3", "a4", "a5")
    change = daemon.pools.set_limits("a", keys({"size": 2, "excess": policy}))
    excess = ExcessPolicy(action="stop", order=order, grace=3)  # type: ignore[arg-type]
    assert change == Change((), tuple(Surplus(task_id, excess) for task_id in ended))
    assert daemon.set_pool("a", size=2) == ([], [])
    daemon.start("a6")
    assert [daemon.release(name) for name in ended] == [[], [], []]
    # The last unforced one goes too, and then there is nobody left that could.
    assert len(daemon.set_pool("a", size=1)[1]) == 1
    assert daemon.set_pool("a", size=1) == ([], [])


def test_a_force_ends_another() -> None:
    """Each pool over its limit by its own policy; what the action's ends is not missing globally."""
    daemon = Daemon(
        {"size": 3, "excess": {"action": "stop"}}, a={"size": 1, "excess": {"action": "requeue"}}
    )
    daemon.start("b1", "b2", "a1")
    assert daemon.admit("a2!") == Admitted((Surplus("a1", ExcessPolicy(action="requeue")),))
    assert daemon.admit("b3!") == Admitted((Surplus("b1", ExcessPolicy(action="stop")),))
    assert daemon.admit("b4!") == Admitted((Surplus("b2", ExcessPolicy(action="stop")),))
    assert daemon.admit("b5!") == Admitted()


def test_a_force_within_the_limit_ends_nobody() -> None:
    """There is no surplus."""
    daemon = Daemon(a={"size": 2, "excess": {"action": "stop"}})
    daemon.start("a1")
    assert daemon.admit("a2!") == Admitted()


def test_a_surplus_in_both_pools_is_ended_once() -> None:
    """What an action's own policy ends is not missing globally, whatever order the two are told in."""
    stop = {"action": "stop", "order": "last"}
    daemon = Daemon()
    daemon.start("b1", "a1", "a2", "b2")
    change = daemon.reload(
        {"size": 2, "excess": {"action": "stop"}}, a={"size": 1, "excess": stop}, b={}
    )
    assert change == ([], ["a2", "b1"])


@pytest.mark.parametrize("order", ["first", "last"])
def test_who_has_gone_is_not_ended_again(order: str) -> None:
    """Nor is one that gave its slot back to restart later."""
    daemon = Daemon(a={"excess": {"action": "stop", "order": order}})
    daemon.start("a1", "a2", "a3", "a4", "a5")
    daemon.release("a1")
    daemon.release("a5")
    assert daemon.set_pool("a", size=1) == ([], ["a2", "a3"] if order == "first" else ["a4", "a3"])


def test_requeue_of_the_surplus() -> None:
    """It comes back to the head when it has gone, and nobody takes a slot meanwhile."""
    daemon = Daemon(a={"size": 2, "queue_size": 1})
    daemon.start("a1", "a2", "a3")
    assert daemon.set_pool("a", size=1, excess={"action": "requeue"}) == ([], ["a1"])
    assert daemon.requeue("a1") == (1, [])
    assert daemon.waiting() == ["a1", "a3"]
    assert daemon.release("a2") == ["a1"]


def test_a_requeued_one_whose_pool_has_grown_meanwhile_runs_again() -> None:
    """Its own slot is free by then, and it is the first in line for it."""
    daemon = Daemon(a={"size": 1, "queue_size": 9, "excess": {"action": "requeue"}})
    daemon.start("a1", "a2!", "a3")
    assert daemon.set_pool("a", size=2) == ([], [])
    assert daemon.requeue("a1") == (1, ["a1"])


def test_who_is_leaving_anyway_counts() -> None:
    """A task that was asked to stop makes room; nobody is ended in its place, nor it again."""
    daemon = Daemon(a={"size": 3, "excess": {"action": "stop"}})
    daemon.start("a1", "a2", "a3")
    daemon.pools.leaving("a2")
    daemon.pools.leaving("a2")
    assert daemon.set_pool("a", size=2) == ([], [])
    assert daemon.set_pool("a", size=1) == ([], ["a1"])


def test_an_excess_policy_of_its_own_applies_at_once() -> None:
    """A surplus from before has to go when a policy is set; `none` ends nobody."""
    daemon = Daemon(a={"size": 2})
    daemon.start("a1", "a2")
    assert daemon.set_pool("a", size=1, excess={"action": "none"}) == ([], [])
    assert daemon.set_pool("a", excess={"action": "stop"}) == ([], ["a1"])


# ------------------------------------------------------------------------------------- reload


def test_a_reload_keeps_what_was_set_unless_its_own_key_changed() -> None:
    """Key by key."""
    daemon = Daemon({"size": 8}, a={"size": 2, "queue_size": 5}, b={"size": 2})
    daemon.set_pool("a", size=3, queue_size=6)
    daemon.set_pool("b", size=3)
    daemon.set_pool(size=9)
    daemon.reload({"size": 8}, a={"size": 2, "queue_size": 7}, b={"size": 4})
    pools = daemon.pools
    assert pools.limits("a") == PoolLimits(size=3, queue_size=7)
    assert pools.limits("b") == PoolLimits(size=4)
    assert pools.limits().size == 9
    daemon.reload({}, a={"size": 2, "queue_size": 7}, b={"size": 4})
    assert pools.limits().size == 0


def test_a_reload_admits_and_ends() -> None:
    """As `set_pool` does."""
    daemon = Daemon(a={"size": 1, "queue_size": 9}, b={"size": 2})
    daemon.start("a1", "a2", "b1", "b2")
    change = daemon.reload(
        a={"size": 2, "queue_size": 9}, b={"size": 1, "excess": {"action": "stop"}}
    )
    assert change == (["a2"], ["b1"])


def test_an_action_that_is_gone_keeps_its_pool_while_it_has_tasks() -> None:
    """A task keeps its action through queue and restarts."""
    daemon = Daemon(a={"size": 1, "queue_size": 9})
    daemon.start("a1", "a2")
    daemon.reload()
    assert daemon.pools.limits("a").size == 1
    with pytest.raises(KeyError):
        daemon.pools.limits("b")
    assert daemon.release("a1") == ["a2"]
    daemon.reload()
    assert daemon.pools.limits("a").size == 1
    assert daemon.release("a2") == []
    daemon.reload()
    with pytest.raises(KeyError):
        daemon.pools.info("a")
    # A restart without a slot that comes late is bound by the global pool alone.
    assert daemon.requeue("a3") == (1, ["a3"])


def test_an_action_that_is_gone_keeps_who_only_waits() -> None:
    """The queue of its tasks stays, too, and is still theirs."""
    daemon = Daemon({"size": 1, "queue_size": 9})
    daemon.start("b1", "a1")
    daemon.reload({"size": 1}, b={})
    assert daemon.waiting("a") == ["a1"]
    assert daemon.release("b1") == ["a1"]


# --------------------------------------------------------------------------------- the model


@attrs.define
class Known:
    """A task of the model."""

    ticket: Ticket
    number: int = 0
    since: float = 0.0
    returned: bool = False
    leaving: bool = False


ACTIONS = ("a", "b", "c")
EXCESSES = [
    {"action": action, "order": order}
    for action in ("stop", "requeue", "none")
    for order in ("first", "last")
]
some = st.sampled_from
queue_keys = st.builds(
    lambda **values: {name: value for name, value in values.items() if value is not None},
    order=some([None, "first", "last"]),
    displace=some([None, "true", "false"]),
)
pool_keys = st.builds(
    lambda **values: {name: value for name, value in values.items() if value is not None},
    size=some([None, 0, 1, 2, 3]),
    queue_size=some([None, 0, 1, 3, 5]),
    queue_timeout=some([None, 0.0, 5.0]),
    queue=queue_keys,
    excess=some([None, None, *EXCESSES]),
)
# Most daemons are small, or nobody would ever wait.
general_keys = st.builds(
    lambda values, size: {"queue_size": 3, "size": size, **values}, pool_keys, some([2, 3, 4])
)


class PoolsAgainstModel(RuleBasedStateMachine):
    """Two lists, sorted anew each time, that everything the pools answer must agree with."""

    @initialize(general=general_keys, actions=st.tuples(pool_keys, pool_keys, pool_keys))
    def configure(self, general: dict[str, Any], actions: tuple[dict[str, Any], ...]) -> None:
        written = {action: keys(values) for action, values in zip(ACTIONS, actions, strict=True)}
        self.pools = Pools(keys(general), written)
        self.running: list[Known] = []
        self.waiting: list[Known] = []
        self.away: list[Ticket] = []
        self.fates: dict[str, str] = {}
        self.number = 0
        self.now = 0.0

    # The obvious rules, with all the scans that the real thing does without.

    def limits(self, action: str | None) -> PoolLimits:
        return self.pools.limits(action)

    def of(self, tasks: list[Known], action: str | None) -> list[Known]:
        return [task for task in tasks if action in (None, task.ticket.action)]

    def has_room(self, action: str | None) -> bool:
        size = self.limits(action).size
        return size == 0 or len(self.of(self.running, action)) < size

    def fits(self, action: str) -> bool:
        return self.has_room(action) and self.has_room(None)

    def in_order(self, action: str) -> list[Known]:
        newest_first = self.limits(action).order == "last"
        return sorted(
            self.of(self.waiting, action),
            key=lambda task: (
                not task.returned,
                -task.number if newest_first and not task.returned else task.number,
            ),
        )

    def fill(self) -> tuple[Ticket, ...]:
        admitted: list[Ticket] = []
        while True:
            heads = [
                self.in_order(action)[0] for action in ACTIONS if self.of(self.waiting, action)
            ]
            heads = [task for task in heads if self.fits(task.ticket.action)]
            if not heads:
                return tuple(admitted)
            task = min(heads, key=lambda task: (not task.returned, task.number))
            self.waiting.remove(task)
            self.running.append(Known(task.ticket))
            admitted.append(task.ticket)

    def enter(self, wanted: Ticket, *, returned: bool) -> int:
        self.number += 1
        task = Known(wanted, self.number, self.now, returned)
        self.waiting.append(task)
        return self.in_order(wanted.action).index(task) + 1

    def end_surplus(self, actions: tuple[str, ...]) -> tuple[Surplus, ...]:
        surplus = []
        for action in (*actions, None):
            limits = self.limits(action)
            if not limits.size or limits.excess.action == "none":
                continue
            staying = [task for task in self.of(self.running, action) if not task.leaving]
            candidates = [task for task in staying if not task.ticket.forced]
            if limits.excess.order == "last":
                candidates.reverse()
            for task in candidates[: max(0, len(staying) - limits.size)]:
                task.leaving = True
                surplus.append(Surplus(task.ticket.task_id, limits.excess))
        return tuple(surplus)

    def end(self, task: Known, fate: str) -> None:
        self.fates[task.ticket.task_id] = fate

    # What may happen.

    @rule(actions=st.lists(some(ACTIONS), min_size=1, max_size=5))
    def start(self, actions: list[str]) -> None:
        for action in actions:
            self.start_one(action, forced=False)

    @rule(action=some(ACTIONS))
    def force(self, action: str) -> None:
        self.start_one(action, forced=True)

    def start_one(self, action: str, *, forced: bool) -> None:
        wanted = Ticket(f"{action}{len(self.fates)}", action, 0, forced)
        self.fates[wanted.task_id] = "alive"
        answer = self.pools.admit(wanted, self.now)
        queue_size = self.limits(action).queue_size
        queue = self.of(self.waiting, action)
        if forced or self.fits(action):
            self.running.append(Known(wanted))
            assert answer == Admitted(self.end_surplus((action,)) if forced else ())
        elif queue_size is None or len(queue) < queue_size:
            assert answer == Queued(self.enter(wanted, returned=False))
        else:
            droppable = [task for task in queue if not task.ticket.forced]
            if queue_size and self.limits(action).displace == "true" and droppable:
                self.waiting.remove(droppable[0])
                self.end(droppable[0], "displaced")
                position = self.enter(wanted, returned=False)
                assert answer == Queued(position, droppable[0].ticket)
            else:
                assert isinstance(answer, Rejected)
                self.fates[wanted.task_id] = "rejected"

    @precondition(lambda self: self.running)
    @rule(data=st.data(), again=some(["no", "no", "requeue", "later"]))
    def exit(self, data: st.DataObject, again: str) -> None:
        task = data.draw(some(self.running))
        self.running.remove(task)
        if again == "requeue":
            answer = self.pools.requeue(task.ticket, self.now)
            position = self.enter(task.ticket, returned=True)
            assert answer == Requeued(position, self.fill())
            return
        assert self.pools.release(task.ticket.task_id) == self.fill()
        if again == "later":
            self.away.append(task.ticket)
        else:
            self.end(task, "released")

    @precondition(lambda self: self.away)
    @rule()
    def restart_is_due(self) -> None:
        wanted = self.away.pop(0)
        answer = self.pools.requeue(wanted, self.now)
        position = self.enter(wanted, returned=True)
        assert answer == Requeued(position, self.fill())

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def stop_running(self, data: st.DataObject) -> None:
        task = data.draw(some(self.running))
        self.pools.leaving(task.ticket.task_id)
        task.leaving = True

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def stop_waiting(self, data: st.DataObject) -> None:
        task = data.draw(some(self.waiting))
        assert self.pools.withdraw(task.ticket.task_id) == task.ticket
        self.waiting.remove(task)
        self.end(task, "withdrawn")

    @precondition(lambda self: self.waiting)
    @rule(action=some([None, *ACTIONS]))
    def purge(self, action: str | None) -> None:
        gone = self.of(self.waiting, action)
        tickets = self.pools.purge(action)
        assert sorted(names(tickets)) == sorted(task.ticket.task_id for task in gone)
        if action is not None:
            assert list(tickets) == [task.ticket for task in self.in_order(action)]
        for task in gone:
            self.waiting.remove(task)
            self.end(task, "purged")

    @rule(seconds=some([1.0, 4.0, 6.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        gone = []
        for task in self.waiting:
            timeout = self.limits(task.ticket.action).queue_timeout
            if timeout and task.since + timeout <= self.now:
                gone.append(task)
        assert self.pools.expire(self.now) == tuple(task.ticket for task in gone)
        for task in gone:
            self.waiting.remove(task)
            self.end(task, "expired")

    @rule(action=some([None, *ACTIONS]), values=pool_keys)
    def set_pool(self, action: str | None, values: dict[str, Any]) -> None:
        change = self.pools.set_limits(action, keys(values))
        assert change == Change(self.fill(), self.end_surplus(ACTIONS))

    @rule(general=general_keys, actions=st.tuples(pool_keys, pool_keys, pool_keys))
    def reload(self, general: dict[str, Any], actions: tuple[dict[str, Any], ...]) -> None:
        written = {action: keys(values) for action, values in zip(ACTIONS, actions, strict=True)}
        change = self.pools.reconfigure(keys(general), written)
        assert change == Change(self.fill(), self.end_surplus(ACTIONS))

    # What always holds.

    @invariant()
    def nothing_waits_that_could_run(self) -> None:
        for task in self.waiting:
            assert not self.fits(task.ticket.action)

    @invariant()
    def every_ticket_is_in_one_place(self) -> None:
        alive = [task.ticket for task in (*self.running, *self.waiting)] + self.away
        expected = sorted(task_id for task_id, fate in self.fates.items() if fate == "alive")
        assert sorted(each.task_id for each in alive) == expected

    @invariant()
    def the_pools_tell_what_is(self) -> None:
        waiting = 0
        for action in ACTIONS:
            info = self.pools.info(action)
            assert info.running == len(self.of(self.running, action))
            assert [item.ticket for item in info.queue_items] == [
                task.ticket for task in self.in_order(action)
            ]
            waiting += info.queue_depth
        info = self.pools.info()
        assert (info.running, info.queue_depth) == (len(self.running), waiting)
        expiries = [
            task.since + timeout
            for task in self.waiting
            if (timeout := self.limits(task.ticket.action).queue_timeout)
        ]
        assert self.pools.next_expiry() == min(expiries, default=None)


TestPoolsAgainstModel = PoolsAgainstModel.TestCase
TestPoolsAgainstModel.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)
