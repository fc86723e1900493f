"""A configuration that is read again: what differs, and what a supervisor makes of it."""

from collections.abc import Callable, Mapping
from itertools import count

import attrs
import pytest
from twisted.internet.task import Clock

from overseer.core.config import Changes, Config, keep_until_restart, load_config
from overseer.core.pool import PoolSettings
from overseer.core.process import Outcome
from overseer.core.retry import Layer, PartialRetryPolicy
from overseer.core.worker import WorkerEvents
from overseer.drivers.interfaces import (
    Action,
    ActionHandler,
    DriverServices,
    ValidationError,
    WorkerCallbacks,
)
from overseer.lifecycle.requests import RequestError, Starter
from overseer.lifecycle.retention import Retention
from overseer.lifecycle.subscriptions import Subscriptions
from overseer.lifecycle.supervisor import Defaults, Supervisor
from overseer.lifecycle.surroundings import Surroundings
from overseer.lifecycle.task import Task

# --------------------------------------------------------------------------------- what differs

FILE = """
listen: ":8080"
actions:
  one: {type: exec, config: {entrypoint: "true"}}
  two: {type: exec, config: {entrypoint: "true", command: ["[[.x]]"]}}
"""


def config(text: str) -> Config:
    return load_config(text, "c.yaml")


def changes(text: str) -> Changes:
    return Changes.between(config(FILE), config(text))


@pytest.mark.parametrize(
    "text",
    [FILE, f"# more lines\n\n{FILE}", FILE.replace('":8080"', '[":8080"]')],
)
def test_the_same_said_elsewhere_is_no_change(text: str) -> None:
    """Lines and spellings make no difference."""
    assert str(changes(text)) == "nothing changed"


def test_actions_that_differ_are_named() -> None:
    """New, changed deep inside, and removed."""
    text = FILE.replace("[[.x]]", "[[.y]]").replace("  one:", "  three:")
    assert str(changes(text)) == ("new actions: three; changed actions: two; removed actions: one")


def test_keys_that_differ_are_named() -> None:
    """By their names in the file, and no value: it may be a secret."""
    secret = "0123456789abcdef0123"
    found = changes(f"{FILE}\nname: x\nauth: {{tokens: [{{token: {secret}}}]}}")
    assert str(found) == "changed keys: name, auth.tokens"
    assert secret not in repr(found)


def test_some_keys_wait_for_a_restart() -> None:
    """They are told each time until then, as what runs has not changed."""
    text = FILE.replace(":8080", ":9") + "limits: {connections: 2}\nretain: {count: 3}"
    before = config(FILE)
    for _ in range(2):
        found = Changes.between(before, config(text))
        assert found.waiting == ("listen", "limits")
        before = keep_until_restart(before, config(text))
        assert before.listen == (":8080",)
        assert before.limits == config(FILE).limits
        assert before.retain.count == 3


# ------------------------------------------------------------------------------- the supervisor


class Worker:
    """A run that ends when a test says so."""

    def __init__(self, events: WorkerEvents) -> None:
        self.events = events
        self.asked: list[str] = []

    def terminate(self, grace: float) -> None:
        self.asked.append("terminate")

    def kill(self) -> None:
        self.asked.append("kill")

    def pause_output(self) -> None:
        self.asked.append("pause")

    def resume_output(self) -> None:
        self.asked.append("resume")

    def close_output(self) -> None:
        self.asked.append("close")

    def end(self, status: int = 0) -> None:
        self.events.exited(Outcome(status))
        self.events.closed("stdout")
        self.events.closed("stderr")
        self.events.drained()
        self.events.gone()


@attrs.define(kw_only=True, eq=False)
class Handler(ActionHandler):
    """A handler that takes the parameters that a test names, and the settings of its action in one."""

    name = "a"
    takes: tuple[str, ...] = ()
    default: str = "old"
    task_pool: PoolSettings = attrs.field(factory=PoolSettings)
    retry: Layer = attrs.field(factory=PartialRetryPolicy)
    dedupe_key: tuple[str, ...] = ()
    autostart: bool = False
    depends_on: tuple[object, ...] = ()
    readiness: object = None
    restore: bool = False
    cgroup: bool = False
    stop_grace: float = 5.0
    backpressure: str = "hold"
    replay_buffer: int | None = None
    timeout: float = 0.0
    idle_timeout: float = 0.0
    workers: list[Worker] = attrs.field(factory=list)

    def validate(self, params: Mapping[str, str]) -> Mapping[str, str]:
        for name in params:
            if name not in self.takes:
                raise ValidationError(f'parameter "{name}" is unknown')
        return {"default": self.default, **params}

    def start(self, task_id: str, params: Mapping[str, str], callbacks: WorkerCallbacks) -> Worker:
        worker = Worker(callbacks.events)
        callbacks.services.reactor.callLater(0, worker.events.spawned, 7)
        self.workers.append(worker)
        return worker


class World:
    """A supervisor on a clock that stands still."""

    def __init__(self, **actions: Handler) -> None:
        self.clock = Clock()
        numbers = count()
        self.supervisor = Supervisor(
            self.actions(**actions),
            Surroundings(
                clock=self.clock,
                now=lambda: int(self.clock.seconds() * 1_000_000),
                random=lambda: 0.0,
                subscriptions=Subscriptions(),
                line_size=1024,
            ),
            Retention(),
            lambda: f"id-{next(numbers)}",
        )

    def actions(self, **handlers: Handler) -> Mapping[str, Action]:
        services = DriverServices(start_process=None, reactor=self.clock, environment={})
        return {
            name: Action(settings=handler, handler=handler, services=services)
            for name, handler in handlers.items()
        }

    def reload(self, defaults: Defaults | None = None, **actions: Handler) -> None:
        self.supervisor.reconfigure(self.actions(**actions), defaults or Defaults(), Retention())
        self.clock.advance(0)

    def start(self, task_id: str, policy: PartialRetryPolicy | None = None, **params: str) -> Task:
        self.supervisor.start("a", task_id, params, Starter(), policy=policy)
        self.clock.advance(0)
        return self.supervisor.task(task_id)


def refusal(ask: Callable[[], object]) -> str:
    with pytest.raises(RequestError) as refused:
        ask()
    return refused.value.message


GIVE_UP = PartialRetryPolicy(error_threshold=1)
AGAIN = PartialRetryPolicy(restart_delay=1.0)


@pytest.fixture
def old() -> Handler:
    return Handler(takes=("x",))


@pytest.fixture
def world(old: Handler) -> World:
    """A supervisor with the action ``a``."""
    return World(a=old)


def test_a_start_uses_the_present_action(world: World, old: Handler) -> None:
    """And one that is gone is refused."""
    new = Handler()
    world.reload(a=new)
    world.start("t")
    assert (len(old.workers), len(new.workers)) == (0, 1)
    world.reload()
    assert refusal(lambda: world.start("u")) == 'unknown action: "a"'
    assert refusal(lambda: world.supervisor.set_pool("a", PoolSettings(size=1))) == (
        'unknown action: "a"'
    )


def test_a_task_keeps_its_action_over_restarts(world: World, old: Handler) -> None:
    """Even one that is gone."""
    task = world.start("t", AGAIN)
    world.reload()
    old.workers[0].end(1)
    world.clock.advance(1.0)
    assert len(old.workers) == 2
    assert task.record.state == "active"


def test_a_task_without_slot_keeps_a_removed_action(world: World, old: Handler) -> None:
    """Its pool is made anew when it comes back."""
    world.start("t", attrs.evolve(AGAIN, release_slot=True))
    old.workers[0].end(1)
    world.reload()
    world.reload()
    world.clock.advance(1.0)
    assert len(old.workers) == 2


def test_a_waiting_task_keeps_its_action() -> None:
    """It was accepted as it was; what its pool is now lets it in."""
    old, new = Handler(task_pool=PoolSettings(size=1, queue_enabled=True)), Handler()
    world = World(a=old)
    first, second = world.start("t"), world.start("u")
    assert (first.record.state, second.record.state) == ("active", "queued")
    world.reload(a=new)
    assert second.record.state == "active"
    assert (len(old.workers), len(new.workers)) == (2, 0)


def test_a_lowered_size_ends_the_surplus(world: World, old: Handler) -> None:
    """By the new settings."""
    world.start("t")
    world.start("u")
    pool = PoolSettings(size=1, excess_action="stop")
    world.reload(a=attrs.evolve(old, task_pool=pool, workers=[]))
    assert [worker.asked for worker in old.workers] == [["terminate"], []]


def test_what_was_set_survives_what_did_not_change(world: World, old: Handler) -> None:
    """Key by key."""
    world.supervisor.set_pool("a", PoolSettings(size=3, queue_enabled=True, queue_bound=5))
    world.reload(a=old, b=Handler())
    assert world.supervisor.pools.limits("a").size == 3
    world.reload(a=attrs.evolve(old, task_pool=PoolSettings(size=9)))
    limits = world.supervisor.pools.limits("a")
    assert (limits.size, limits.queue_size) == (9, 5)


def test_global_defaults_hold_for_later_starts(world: World, old: Handler) -> None:
    """A task keeps the policy that it was started with."""
    before = world.start("t")
    world.reload(Defaults(retry=AGAIN, pool=PoolSettings(size=2)), a=old)
    after = world.start("u")
    assert before.policy is None
    assert after.policy == AGAIN.complete()
    assert refusal(lambda: world.start("v")).startswith("pool rejected task")


def test_a_reset_uses_the_present_action(world: World, old: Handler) -> None:
    """With what the start itself gave, and the rest as it is now."""
    task = world.start("t", GIVE_UP, x="1")
    old.workers[0].end(1)
    assert task.record.state == "errored"
    new = Handler(takes=("x",), default="new", retry=AGAIN)
    world.reload(a=new)
    world.supervisor.reset("t", Starter())
    assert len(new.workers) == 1
    assert task.record.params == {"default": "new", "x": "1"}
    assert task.policy == GIVE_UP.over(AGAIN).complete()


def test_a_restart_of_a_finished_task_uses_the_present_action(world: World, old: Handler) -> None:
    """It is a start like any other; the restart of a running task is not."""
    world.start("t")
    new = Handler()
    world.reload(a=new)
    world.supervisor.restart("t", None, Starter())
    old.workers[0].end()
    world.clock.advance(0.0)
    assert (len(old.workers), len(new.workers)) == (2, 0)
    old.workers[1].end()
    world.supervisor.restart("t", None, Starter())
    assert (len(old.workers), len(new.workers)) == (2, 1)


@pytest.mark.parametrize(
    ("actions", "reason"),
    [
        ({}, 'unknown action: "a"'),
        ({"a": Handler()}, 'validation error: parameter "x" is unknown'),
    ],
)
def test_a_reset_that_does_not_fit_any_more(
    world: World, old: Handler, actions: dict[str, Handler], reason: str
) -> None:
    """The task stays errored, and nothing is lost."""
    task = world.start("t", GIVE_UP, x="1")
    old.workers[0].end(1)
    world.reload(**actions)
    assert refusal(lambda: world.supervisor.reset("t", Starter())) == reason
    assert task.record.state == "errored"
    world.reload(a=old)
    world.supervisor.reset("t", Starter())
    assert task.record.state == "active"


def test_equal_values_of_another_key_are_no_duplicate() -> None:
    """The task that runs is known by the parameters that counted when it was started."""
    world = World(a=Handler(takes=("x", "y"), dedupe_key=("x",)))
    world.start("t", x="1", y="2")
    world.reload(a=Handler(takes=("x", "y"), dedupe_key=("y",)))
    world.start("u", x="2", y="1")
    assert refusal(lambda: world.start("v", x="3", y="1")).startswith("duplicate task")


def test_nothing_is_taken_over_in_a_shutdown(world: World, old: Handler) -> None:
    """What waits for the end is not disturbed."""
    world.start("t")
    ended = world.supervisor.shut_down()
    world.reload()
    assert world.supervisor.action("a").handler is old
    old.workers[0].end()
    assert ended.called
