"""Restarts after an exit, their end in an error, resets, and time limits."""

from collections.abc import Callable

import pytest
from lifecycle_fakes import (
    Reader,
    World,
    error,
    errored,
    exited,
    moment,
    output,
    refusal,
    restarting,
    started,
)

from overseer.core.pool import PoolSettings
from overseer.core.process import Outcome
from overseer.core.retry import PartialRetryPolicy
from overseer.lifecycle.flow import PATIENCE
from overseer.lifecycle.machine import UNKILLABLE_AFTER
from overseer.lifecycle.subscriptions import EVERY_TASK
from overseer.lifecycle.supervisor import Defaults
from overseer.lifecycle.views import task_metrics

CRASH = Outcome(1)
TERMINATED = Outcome(-1, "SIGTERM")
AFTER_1S = PartialRetryPolicy(restart_delay=1.0)
THRICE = PartialRetryPolicy(restart_delay=1.0, error_threshold=3)


def crash_until_errored(world: World, reader: Reader | None = None) -> None:
    """Start ``a``, which may exit twice and a third time."""
    world.settings.retry = THRICE
    world.start("a", reader)
    for pid in (1, 2, 3):
        world.worker.spawn(pid)
        world.worker.end(CRASH)
        world.clock.advance(1.0)


def waiting(world: World, delay: float = 1.0) -> None:
    """Bring ``a`` to where it waits to be started again."""
    world.settings.retry = PartialRetryPolicy(restart_delay=delay)
    world.run("a", 7).end(CRASH)


# ----------------------------------------------------------------------------------------- restarts


def test_a_task_is_started_again_after_each_exit(world: World) -> None:
    """The starter sees its request answered once; each restart names the process before it."""
    starter, other = Reader(), world.reader(EVERY_TASK)
    world.settings.retry = PartialRetryPolicy(restart_delay=2.0, restart_jitter=1.0)
    world.random = 0.5
    world.start("a", starter, request_id="mine")
    world.worker.spawn(7)
    world.worker.write(b"one\n")
    world.worker.end(CRASH)
    world.clock.advance(2.4)
    assert (len(world.workers), world.states()) == (1, {"a": "active"})
    world.clock.advance(0.1)
    world.worker.spawn(8)
    world.worker.write(b"two\n")
    world.worker.end(Outcome(0))
    world.clock.advance(2.5)
    world.worker.spawn(9)
    story = [
        output("a", 7, 1, "one"),
        exited("a", 7, CRASH),
        restarting("a", 7, 1, delay="2.5s"),
        started("a", 8, restart_of=7, at=2.5),
        output("a", 8, 2, "two", at=2.5),
        exited("a", 8, Outcome(0), at=2.5),
        restarting("a", 8, 2, delay="2.5s", at=2.5),
        started("a", 9, restart_of=8, at=5.0),
    ]
    assert starter.messages == [started("a", 7, request_id="mine"), *story]
    assert other.messages == [started("a", 7), *story]
    [info] = world.infos()
    assert (info.restart_count, info.current_pid, info.worker_state) == (2, 9, "running")


def test_a_restart_runs_what_was_started(world: World) -> None:
    """Action and parameters stay those of the start."""
    world.start("a", params={"color": "red"}, policy=AFTER_1S)
    world.worker.spawn(7)
    world.worker.end(CRASH)
    world.clock.advance(1.0)
    first, second = world.workers
    assert first.params == second.params == {"seconds": "1", "color": "red"}


def test_a_virtual_worker_is_named_by_its_pid_too(world: World) -> None:
    """``restart_of`` is written also where it is zero."""
    reader = world.reader("a")
    world.start("a", policy=PartialRetryPolicy())
    world.worker.spawn(0)
    world.worker.end(CRASH)
    world.clock.advance(0.0)
    world.worker.spawn(0)
    assert reader.messages[-1] == started("a", 0, restart_of=0)


@pytest.mark.parametrize(
    ("general", "action", "start", "restarts"),
    [
        (PartialRetryPolicy(), PartialRetryPolicy(), None, False),
        (PartialRetryPolicy(), PartialRetryPolicy(), PartialRetryPolicy(), True),
        (AFTER_1S, PartialRetryPolicy(), None, True),
        (PartialRetryPolicy(), AFTER_1S, None, True),
        (AFTER_1S, False, None, False),
        (False, AFTER_1S, None, True),
        (AFTER_1S, False, PartialRetryPolicy(), True),
    ],
)
def test_restarts_are_on_where_somebody_has_asked_for_them(
    general: PartialRetryPolicy | bool,
    action: PartialRetryPolicy | bool,
    start: PartialRetryPolicy | None,
    restarts: bool,
) -> None:
    """A field in the configuration or an object in the start turns them on, ``retry: false`` off."""
    world = World(defaults=Defaults(retry=general))  # type: ignore[arg-type]
    world.settings.retry = action  # type: ignore[assignment]
    world.start("a", policy=start)
    world.worker.spawn(7)
    world.worker.end(CRASH)
    world.clock.advance(10.0)
    assert (len(world.workers) == 2) is restarts
    assert world.states() == {"a": "active" if restarts else "stopped"}
    [info] = world.infos()
    assert (info.retry_policy is not None) is restarts
    assert info.last_exit_code == 1
    world.settle()


def test_a_restart_waits_until_the_group_of_the_run_before_is_gone(world: World) -> None:
    """Leftovers may outlast the delay; two runs of a task never overlap."""
    world.settings.retry = PartialRetryPolicy(restart_delay=0.1)
    old = world.run("a", 7)
    old.exit(CRASH)
    old.drain()
    world.clock.advance(0.5)
    assert world.workers == [old]
    old.vanish()
    assert len(world.workers) == 2


def test_the_end_may_depend_on_the_exit_code(world: World) -> None:
    """With ``restart_on: failure`` a run that went well is the last; a timeout never went well."""
    world.settings.retry = PartialRetryPolicy(restart_on="failure", success_exit_codes=(0, 3))
    world.settings.timeout = 5.0
    world.start("a")
    for pid, seconds in ((7, 0.0), (8, 5.0)):
        world.worker.spawn(pid)
        world.clock.advance(seconds)
        world.worker.end(CRASH if seconds == 0.0 else Outcome(0))
        world.clock.advance(0.0)
    world.worker.spawn(9)
    world.worker.end(Outcome(3))
    assert world.states() == {"a": "stopped"}
    assert len(world.workers) == 3


# --------------------------------------------------------------------------------- errors and resets


def test_too_many_exits_are_an_error(world: World) -> None:
    """The third exit is the last, and its place is not kept."""
    reader = world.reader("a")
    crash_until_errored(world)
    assert reader.messages == [
        started("a", 1),
        exited("a", 1, CRASH),
        restarting("a", 1, 1),
        started("a", 2, restart_of=1, at=1.0),
        exited("a", 2, CRASH, at=1.0),
        restarting("a", 2, 2, at=1.0),
        started("a", 3, restart_of=2, at=2.0),
        exited("a", 3, CRASH, at=2.0),
        errored("a", 3, exits=3, at=2.0),
    ]
    assert (world.states(), world.supervisor.alive) == ({"a": "errored"}, 0)
    assert world.leftovers() == {}
    metrics = world.metrics
    assert (
        metrics.tasks_started,
        metrics.tasks_restarted,
        metrics.tasks_errored,
        metrics.tasks_completed,
    ) == (1, 2, 1, 0)


def test_exits_outside_the_window_do_not_count(world: World) -> None:
    """A crash a day is no error."""
    world.settings.retry = PartialRetryPolicy(
        restart_delay=5.0, error_threshold=2, error_window=4.0
    )
    world.start("a")
    for pid in (1, 2, 3, 4):
        world.worker.spawn(pid)
        world.worker.end(CRASH)
        world.clock.advance(5.0)
    assert world.states() == {"a": "active"}


@pytest.mark.parametrize("subscribed", [False, True])
def test_a_reset_starts_an_errored_task_again_and_tells_its_sender_once(
    world: World, subscribed: bool
) -> None:
    """Its sender finds the id of its request, subscribed or not; others find none. Exits count anew."""
    sender = world.reader("a") if subscribed else Reader()
    other = world.reader("a")
    crash_until_errored(world)
    sender.take(), other.take()
    world.reset("a", sender, request_id="mine")
    assert world.states() == {"a": "active"}
    world.worker.spawn(9)
    assert sender.messages == [started("a", 9, request_id="mine", at=3.0)]
    assert other.messages == [started("a", 9, at=3.0)]
    world.worker.end(CRASH)
    assert other.messages[2:] == [restarting("a", 9, 1, at=3.0)]
    assert len(sender.messages) == (3 if subscribed else 1)


@pytest.mark.parametrize("state", ["starting", "active", "waiting", "stopped", "queued"])
def test_only_an_errored_task_can_be_reset(world: World, state: str) -> None:
    """Everything else is refused, and changes nothing."""
    if state == "waiting":
        waiting(world)
    elif state == "queued":
        world.supervisor.set_pool(None, PoolSettings.from_keys({"size": 1, "queue_size": 5}))
        world.start("b")
        world.start("a")
    else:
        world.start("a")
        if state != "starting":
            world.worker.spawn(7)
        if state == "stopped":
            world.worker.end(CRASH)
    before = world.states()
    assert refusal(world.reset) == "task is not in errored state"
    assert refusal(lambda: world.reset("unknown")) == "task not found"
    assert world.states() == before


def test_a_reset_that_fails_leaves_the_task_errored(world: World) -> None:
    """Its sender learns why, ``list`` too, and it can be reset again."""
    sender, other = Reader(), world.reader("a")
    crash_until_errored(world)
    other.take()
    world.reset("a", sender)
    world.worker.fail("no such file")
    assert (sender.messages, other.messages) == ([error("reset", "no such file")], [])
    [info] = world.infos()
    assert (info.state, info.error_message, world.supervisor.alive) == (
        "errored",
        "no such file",
        0,
    )
    world.reset("a", sender)
    world.worker.spawn(9)
    assert sender.messages[1:] == [started("a", 9, request_id="reset", at=3.0)]
    assert world.metrics.tasks_started == 2


def test_an_errored_task_can_be_started_or_stopped_as_well(world: World) -> None:
    """A start makes it anew, a stop says that somebody has seen it."""
    crash_until_errored(world)
    world.run("a", 9)
    assert [info.restart_count for info in world.infos()] == [0]
    world.worker.end(CRASH)
    world.supervisor.stop("a")
    assert world.states() == {"a": "stopped"}
    assert refusal(world.reset) == "task is not in errored state"


def test_a_shutdown_waits_for_what_is_left_of_an_errored_task(world: World) -> None:
    """The task is errored as soon as its output is read; its leftovers have their second."""
    world.settings.retry = PartialRetryPolicy(error_threshold=1)
    worker = world.run("a", 7)
    worker.exit(CRASH)
    worker.drain()
    assert (world.states(), world.supervisor.alive) == ({"a": "errored"}, 1)
    ended: list[None] = []
    world.supervisor.shut_down().addCallback(ended.append)
    assert ended == []
    world.supervisor.kill_all()
    assert worker.calls == ["start", "kill"]
    worker.vanish()
    assert (ended, world.states()) == ([None], {"a": "errored"})


def test_nothing_is_reset_during_a_shutdown(world: World) -> None:
    """Like a start."""
    crash_until_errored(world)
    world.run("b", 8)
    world.supervisor.shut_down()
    assert refusal(world.reset) == "shutting down: nothing is started any more"


# -------------------------------------------------------------------------------------------- stops


def test_a_stop_ends_the_wait_for_a_restart(world: World) -> None:
    """The task is stopped at once; there is no exit to tell, and no timer is left."""
    reader = world.reader("a")
    waiting(world)
    reader.take()
    world.supervisor.stop("a")
    assert (reader.messages, world.states()) == ([], {"a": "stopped"})
    assert world.leftovers() == {}
    world.clock.advance(10.0)
    assert len(world.workers) == 1
    [info] = world.infos()
    assert info.error_message is None
    assert world.metrics.tasks_completed == 1


def spawn_restart(world: World) -> None:
    waiting(world)
    world.clock.advance(1.0)


STAGES: dict[str, Callable[[World], object]] = {
    "starting": lambda world: world.start("a"),
    "running": lambda world: world.run("a", 7),
    "draining": lambda world: world.run("a", 7).exit(CRASH),
    "waiting": waiting,
    "restarting": spawn_restart,
    "running again": lambda world: (spawn_restart(world), world.worker.spawn(8)),
}


@pytest.mark.parametrize("stage", STAGES)
def test_after_a_stop_no_run_follows(world: World, stage: str) -> None:
    """Whatever the task was doing, and although its exits are followed by restarts otherwise."""
    world.settings.retry = AFTER_1S
    STAGES[stage](world)
    world.supervisor.stop("a")
    count = len(world.workers)
    if stage in ("starting", "restarting"):
        world.worker.spawn(9)
    if world.worker.phase == "running":
        world.worker.exit(TERMINATED)
    if world.worker.phase == "exited":
        world.worker.drain()
        world.worker.vanish()
    world.clock.advance(100.0)
    assert (world.states(), len(world.workers)) == ({"a": "stopped"}, count)
    assert world.leftovers() == {}


def test_a_restart_that_waits_for_leftovers_can_be_stopped(world: World) -> None:
    """It never begins; nobody had asked for it, so nobody is told, and it is no error."""
    world.settings.retry = PartialRetryPolicy()
    reader = world.reader("a")
    old = world.run("a", 7)
    old.exit(CRASH)
    old.drain()
    world.clock.advance(0.0)
    reader.take()
    world.supervisor.stop("a")
    old.vanish()
    assert (world.workers, world.states(), reader.messages) == ([old], {"a": "stopped"}, [])
    assert world.infos()[0].error_message is None


def test_a_shutdown_ends_the_wait_for_a_restart(world: World) -> None:
    """Nothing is waited for, and nothing starts any more."""
    waiting(world, 3600.0)
    ended: list[None] = []
    world.supervisor.shut_down().addCallback(ended.append)
    assert (ended, world.states()) == ([None], {"a": "stopped"})
    assert world.leftovers() == {}


# ---------------------------------------------------------------------------------- failed restarts


@pytest.mark.parametrize("at_once", [False, True])
def test_a_restart_that_cannot_be_spawned_counts_as_an_exit(world: World, at_once: bool) -> None:
    """There is no exit to tell; what follows names the last process there was."""
    reader = world.reader("a")
    world.settings.retry = THRICE
    world.start("a", params={})
    world.worker.spawn(7)
    world.worker.end(CRASH)
    reason = "no such file"
    if at_once:
        reason = "the driver failed: see the log of the daemon"
        world.handler.broken = True
    reader.take()
    for _ in range(2):
        world.clock.advance(1.0)
        if not at_once:
            world.worker.fail(reason)
    assert reader.messages == [
        restarting("a", 7, 2, at=1.0),
        errored("a", 7, exits=3, at=2.0),
    ]
    [info] = world.infos()
    assert (info.state, info.error_message, info.restart_count) == ("errored", reason, 0)
    assert world.leftovers() == {}


def test_a_restart_whose_driver_fails_late_counts_once(world: World) -> None:
    """What it had started ends first, and is no exit of its own."""
    reader = world.reader("a")
    world.settings.retry = PartialRetryPolicy(restart_delay=1.0, error_threshold=2)
    world.run().end(CRASH)
    world.handler.breaks_late = True
    reader.take()
    world.clock.advance(1.0)
    world.worker.spawn(8)
    assert (reader.messages, world.worker.calls[1:]) == ([], [("terminate", 5.0)])
    world.worker.end(CRASH)
    assert reader.messages == [errored("a", 7, exits=2, at=1.0)]
    assert world.leftovers() == {}


def test_a_restart_after_a_failed_one_names_the_last_process(world: World) -> None:
    """``restart_of`` is the process before, however long ago that was."""
    reader = world.reader("a")
    waiting(world)
    world.clock.advance(1.0)
    world.worker.fail("no such file")
    world.clock.advance(1.0)
    world.worker.spawn(8)
    assert reader.messages[3:] == [
        restarting("a", 7, 2, at=1.0),
        started("a", 8, restart_of=7, at=2.0),
    ]


# -------------------------------------------------------------------------------------- time limits


def test_a_run_that_takes_too_long_is_stopped_and_not_intended(world: World) -> None:
    """Subscribers learn the reason; the action's grace holds."""
    reader = world.reader("a")
    world.settings.timeout = 10.0
    world.run("a", 7)
    world.clock.advance(9.9)
    assert world.worker.calls == ["start"]
    world.clock.advance(0.1)
    assert world.worker.calls == ["start", ("terminate", 5.0)]
    world.worker.end(TERMINATED)
    assert reader.messages[1:] == [exited("a", 7, TERMINATED, reason="timeout", at=10.0)]
    assert world.states() == {"a": "stopped"}


def test_a_timeout_is_followed_by_a_restart(world: World) -> None:
    """It counts like any exit that nobody wanted, and each run has its own limit."""
    reader = world.reader("a")
    world.settings.timeout = 10.0
    world.settings.retry = PartialRetryPolicy(restart_delay=1.0, error_threshold=2)
    world.run("a", 7)
    world.clock.advance(10.0)
    world.worker.end(TERMINATED)
    world.clock.advance(1.0)
    world.worker.spawn(8)
    world.clock.advance(10.0)
    world.worker.end(TERMINATED)
    assert reader.messages[1:] == [
        exited("a", 7, TERMINATED, reason="timeout", at=10.0),
        restarting("a", 7, 1, at=10.0),
        started("a", 8, restart_of=7, at=11.0),
        exited("a", 8, TERMINATED, reason="timeout", at=21.0),
        errored("a", 8, exits=2, at=21.0),
    ]


def test_a_run_that_says_nothing_for_too_long_is_stopped(world: World) -> None:
    """Every output, filtered or not, begins the limit anew."""
    reader = world.reader("a")
    world.settings.idle_timeout = 10.0
    worker = world.run("a", 7)
    for _ in range(3):
        world.clock.advance(9.0)
        worker.write(b"still half a l")
    world.clock.advance(9.9)
    assert worker.calls == ["start"]
    world.clock.advance(0.2)
    assert worker.calls == ["start", ("terminate", 5.0)]
    worker.exit(TERMINATED)
    worker.drain()
    assert reader.messages[-1] == exited("a", 7, TERMINATED, reason="timeout", at=37.1)


def test_time_in_which_a_child_is_held_is_not_idle_time(world: World) -> None:
    """It could not write if it wanted to; the limit begins when it can again."""
    world.settings.idle_timeout = 3.0
    reader = world.reader("a")
    worker = world.run("a", 7)
    reader.behind = True
    worker.write(b"one\n")
    for _ in range(8):
        reader.progress += 1
        world.clock.advance(PATIENCE)
    assert worker.calls == ["start", "pause_output"]
    world.clock.advance(PATIENCE)  # the reader has stalled
    assert worker.calls == ["start", "pause_output", "resume_output"]
    world.clock.advance(2.9)
    assert len(worker.calls) == 3
    world.clock.advance(0.1)
    assert worker.calls[3:] == [("terminate", 5.0)]


def test_a_hold_that_ends_before_the_limit_is_not_idle_time_either(world: World) -> None:
    """Where the limit comes just after the hold, the child still has all of it."""
    world.settings.idle_timeout = 3.0
    reader = world.reader("a")
    worker = world.run("a", 7)
    reader.behind = True
    worker.write(b"one\n")
    for _ in range(29):
        reader.progress += 1
        world.clock.advance(0.1)
    reader.catch_up()
    world.clock.advance(2.9)
    assert worker.calls == ["start", "pause_output", "resume_output"]
    world.clock.advance(0.2)
    assert worker.calls[3:] == [("terminate", 5.0)]


@pytest.mark.parametrize("limit", ["timeout", "idle_timeout"])
def test_a_time_limit_in_a_stop_is_none(world: World, limit: str) -> None:
    """What a client has stopped did not take too long, and no restart follows."""
    reader = world.reader("a")
    setattr(world.settings, limit, 3.0)
    world.settings.retry = AFTER_1S
    worker = world.run("a", 7)
    world.clock.advance(2.0)
    world.supervisor.stop("a", 30.0)
    world.clock.advance(20.0)
    worker.end(TERMINATED)
    assert reader.messages[1:] == [exited("a", 7, TERMINATED, intentional=True, at=22.0)]
    assert worker.calls == ["start", ("terminate", 30.0)]
    assert (world.states(), world.leftovers()) == ({"a": "stopped"}, {})


def test_a_stop_after_a_timeout_did_not_cause_the_exit_but_ends_the_task(world: World) -> None:
    """The run ended because of its limit; still, none follows."""
    reader = world.reader("a")
    world.settings.timeout = 3.0
    world.settings.retry = AFTER_1S
    worker = world.run("a", 7)
    world.clock.advance(3.0)
    world.supervisor.stop("a")
    worker.end(TERMINATED)
    assert worker.calls == ["start", ("terminate", 5.0)]
    assert reader.messages[1:] == [exited("a", 7, TERMINATED, reason="timeout", at=3.0)]
    assert (world.states(), world.leftovers()) == ({"a": "stopped"}, {})


def test_both_limits_stop_a_run_once(world: World) -> None:
    """And neither of them outlives it, not even where it does not end."""
    reader = world.reader("a")
    world.settings.timeout, world.settings.idle_timeout = 3.0, 3.0
    worker = world.run("a", 7)
    world.clock.advance(3.0)
    world.clock.advance(5.0 + UNKILLABLE_AFTER)
    assert worker.calls == ["start", ("terminate", 5.0)]
    assert reader.messages[1:] == [errored("a", 7, at=18.0)]
    assert world.clock.getDelayedCalls() == []


def test_a_run_within_its_limits_leaves_no_timer(world: World) -> None:
    """Nothing is stopped after its end."""
    world.settings.timeout, world.settings.idle_timeout = 30.0, 10.0
    world.run("a", 7).end(Outcome(0))
    assert world.leftovers() == {}


# ------------------------------------------------------------------------------------------ metrics


def test_the_run_time_of_all_runs_adds_up(world: World) -> None:
    """Waiting does not count, the current run does."""
    world.settings.retry = AFTER_1S
    world.run("a", 7).write(b"one\ntwo\n")
    world.clock.advance(2.0)
    world.worker.end(CRASH)
    world.clock.advance(1.0)
    world.clock.advance(4.0)
    world.worker.spawn(8)
    world.clock.advance(3.0)
    metrics = task_metrics(world.supervisor.task("a"), world.now())
    assert (metrics.output_lines, metrics.restart_count, metrics.runtime_ms) == (2, 1, 5000)
    assert metrics.last_exit_code == 1
    assert world.metrics.total_output_lines == 2
    [info] = world.infos()
    assert info.last_started_at == moment(7.0)
