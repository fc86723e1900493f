"""All tasks of the daemon: requests, listing, forgetting, and the end of all."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from lifecycle_fakes import (
    EPOCH,
    Reader,
    World,
    error,
    exited,
    moment,
    output,
    refusal,
    started,
)

from overseer.core.process import Outcome
from overseer.lifecycle.machine import UNKILLABLE_AFTER
from overseer.lifecycle.retention import Retention
from overseer.lifecycle.subscriptions import EVERY_TASK
from overseer.lifecycle.supervisor import MAX_TASK_ID_SIZE
from overseer.protocol.messages import TaskInfo

TERMINATED = Outcome(-1, "SIGTERM")


# --------------------------------------------------------------------------------------- requests


def test_a_task_without_an_id_gets_one(world: World) -> None:
    """A client need not invent names; two starts are two tasks."""
    first, second = world.start(None), world.start(None)
    assert world.states() == {first: "active", second: "active"}
    assert [worker.task_id for worker in world.workers] == [first, second]


def test_a_start_works_with_the_validated_parameters(world: World) -> None:
    """Defaults are there for the worker and in ``list`` alike."""
    world.start("a", params={"color": "red"})
    [info] = world.infos()
    assert world.worker.params == info.params == {"seconds": "1", "color": "red"}


@pytest.mark.parametrize(
    ("ask", "text"),
    [
        (lambda world: world.start(action="nope"), 'unknown action: "nope"'),
        (
            lambda world: world.start(action="x" * 9999),
            f'unknown action: "{"x" * MAX_TASK_ID_SIZE}"',
        ),
        (
            lambda world: world.start(params={"wrong": "1"}),
            "validation error: params.wrong: no such parameter",
        ),
        (lambda world: world.start("*"), 'task_id: "*" stands for every task and names none'),
        (
            lambda world: world.start("x" * (MAX_TASK_ID_SIZE + 1)),
            "task_id: expected at most 512 characters",
        ),
        (
            lambda world: world.supervisor.subscribe(Reader(), "x" * (MAX_TASK_ID_SIZE + 1)),
            "task_id: expected at most 512 characters",
        ),
        (lambda world: world.supervisor.stop("a"), "task not found"),
        (lambda world: world.supervisor.task("a"), "task not found"),
        (lambda world: world.supervisor.action("nope"), 'unknown action: "nope"'),
    ],
)
def test_a_request_that_cannot_be_done_is_refused_and_changes_nothing(
    world: World, ask: Callable[[World], object], text: str
) -> None:
    """The client is told what is wrong; no task comes of it."""
    assert refusal(lambda: ask(world)) == text
    assert (world.states(), world.supervisor.alive, world.workers) == ({}, 0, [])


def test_a_refused_start_subscribes_nobody(world: World) -> None:
    """Who asked in vain hears nothing of the task that another client starts under the same id."""
    reader = Reader()
    refusal(lambda: world.start("a", reader, action="nope"))
    refusal(lambda: world.start("a", reader, params={"wrong": "1"}))
    world.run("a")
    refusal(lambda: world.start("a", reader))
    world.worker.write(b"one\n")
    assert reader.messages == []


@pytest.mark.parametrize("phase", ["starting", "running", "stopping", "draining"])
def test_an_id_that_is_in_use_cannot_be_started(world: World, phase: str) -> None:
    """There is one run of a task at a time, and the one there is stays undisturbed."""
    world.start("a", params={"seconds": "9"})
    if phase != "starting":
        world.worker.spawn(7)
    if phase == "stopping":
        world.supervisor.stop("a")
    if phase == "draining":
        world.worker.exit(Outcome(0))
    calls = list(world.worker.calls)
    refused = refusal(lambda: world.start("a", action="other"))
    assert refused == "task already running or starting"
    [info] = world.infos()
    assert (info.action, info.params, info.state) == ("sleep", {"seconds": "9"}, "active")
    assert (world.worker.calls, world.other.workers) == (calls, [])


def test_find_tells_whether_there_is_a_task(world: World) -> None:
    """A subscription to a task that is still to come is no error."""
    assert world.supervisor.find("a") is None
    world.start("a")
    assert world.supervisor.find("a") is world.supervisor.task("a")


# ------------------------------------------------------------------------------------ subscriptions


def test_a_subscription_begins_and_ends_at_once(world: World) -> None:
    """What happens before and after it is not told."""
    reader = Reader()
    worker = world.run("a")
    world.supervisor.subscribe(reader, "a")
    worker.write(b"one\n")
    world.supervisor.unsubscribe(reader, "a")
    worker.write(b"two\n")
    world.supervisor.subscribe(reader, EVERY_TASK)
    worker.write(b"three\n")
    world.supervisor.disconnect(reader)
    worker.write(b"four\n")
    assert reader.messages == [output("a", 7, 1, "one"), output("a", 7, 3, "three")]


@pytest.mark.parametrize("task_id", ["a", EVERY_TASK])
@pytest.mark.parametrize("change", ["subscribe", "unsubscribe", "disconnect"])
def test_a_held_child_goes_on_when_its_audience_changes(
    world: World, task_id: str, change: str
) -> None:
    """The child waited for readers; with others, or without any, this is to be seen anew."""
    reader, supervisor = world.reader(task_id), world.supervisor
    worker, unconcerned = world.run("a"), world.run("b", 8)
    reader.behind = True
    worker.write(b"one\n")
    assert worker.calls == ["start", "pause_output"]
    supervisor.subscribe(Reader(), "nothing")
    supervisor.unsubscribe(reader, "nothing")
    assert worker.calls == ["start", "pause_output"]
    if change == "subscribe":
        supervisor.subscribe(Reader(), task_id)
    elif change == "unsubscribe":
        supervisor.unsubscribe(reader, task_id)
    else:
        supervisor.disconnect(reader)
    assert worker.calls == ["start", "pause_output", "resume_output"]
    assert unconcerned.calls == ["start"]


def test_a_starter_that_left_meanwhile_is_not_subscribed(world: World) -> None:
    """A connection that closed during the start leaves nothing behind."""
    starter, other = Reader(), world.reader("a")
    world.start("a", starter)
    world.supervisor.disconnect(starter)
    world.worker.spawn(7)
    world.worker.write(b"one\n")
    assert starter.messages == [started("a", 7, request_id="request")]
    assert other.messages == [started("a", 7), output("a", 7, 1, "one")]


# -------------------------------------------------------------------------------------------- list


def test_a_task_is_listed_with_all_that_is_known_of_it(world: World) -> None:
    """At each stage of its life ``list`` shows what is so, and leaves out what is not."""

    def listed() -> TaskInfo:
        [info] = world.infos()
        return info

    def info(**known: Any) -> TaskInfo:
        return TaskInfo(
            task_id="a",
            action="sleep",
            params={"seconds": "1"},
            restart_count=0,
            created_at=moment(0.0),
            **known,
        )

    world.start("a")
    assert listed() == info(state="active")
    world.clock.advance(1.0)
    world.worker.spawn(7)
    running: dict[str, Any] = {
        "current_pid": 7,
        "worker_state": "running",
        "last_started_at": moment(1.0),
    }
    assert listed() == info(state="active", **running)
    world.clock.advance(1.0)
    world.worker.exit(Outcome(3))
    assert listed() == info(state="active", **running)
    world.worker.drain()
    assert listed() == info(
        state="stopped",
        worker_state="exited",
        last_started_at=moment(1.0),
        last_exited_at=moment(2.0),
        last_exit_code=3,
    )


def test_the_signal_that_ended_the_last_run_is_listed(world: World) -> None:
    def listed() -> tuple[int | None, str | None]:
        [info] = world.infos()
        return info.last_exit_code, info.last_signal

    world.run().end(Outcome(-1, "SIGKILL"))
    assert listed() == (-1, "SIGKILL")
    world.run().end(Outcome(0))
    assert listed() == (0, None)


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, ["a", "b", "c", "d"]),
        ({"state": "active"}, ["b", "d"]),
        ({"state": "stopped"}, ["a", "c"]),
        ({"state": "errored"}, []),
        ({"action": "other"}, ["c", "d"]),
        ({"action": "nope"}, []),
        ({"since": EPOCH}, ["a", "b", "c", "d"]),
        ({"since": EPOCH + 10_000_000}, ["a", "c", "d"]),
        ({"since": EPOCH + 10_000_001}, ["c", "d"]),
        ({"since": EPOCH + 99_000_000}, []),
        ({"limit": 0}, []),
        ({"limit": 1}, ["d"]),
        ({"limit": 3}, ["b", "c", "d"]),
        ({"limit": 9}, ["a", "b", "c", "d"]),
        ({"limit": 1, "state": "stopped"}, ["c"]),
        ({"action": "other", "state": "active", "since": EPOCH, "limit": 5}, ["d"]),
    ],
)
def test_list_tells_the_tasks_that_fit(
    world: World, filters: dict[str, Any], found: list[str]
) -> None:
    """By time of the last change, by action, by state, and the newest so many; oldest first."""
    first = world.run("a", 1)
    world.run("b", 2)
    world.clock.advance(10.0)
    first.end(Outcome(0))
    world.clock.advance(10.0)
    world.start("c", action="other")
    world.other.workers[-1].spawn(3)
    world.other.workers[-1].end(Outcome(0))
    world.start("d", action="other")
    tasks = world.supervisor.select(**filters)
    assert [task.record.task_id for task in tasks] == found


# --------------------------------------------------------------------------------------- retention


def finish_all(world: World, *task_ids: str) -> None:
    for task_id in task_ids:
        world.run(task_id).end(Outcome(0))


def test_of_finished_tasks_the_newest_are_kept() -> None:
    """The list does not grow for ever; running tasks do not count."""
    world = World(Retention(finished_count=2))
    running = world.run("running")
    finish_all(world, "a", "b", "c")
    assert list(world.states()) == ["running", "b", "c"]
    running.end(Outcome(0))
    assert list(world.states()) == ["running", "c"]
    world.settle()


def test_a_task_that_is_started_again_is_as_new() -> None:
    """Its place among the finished tasks is that of its last end."""
    world = World(Retention(finished_count=2))
    finish_all(world, "a", "b", "a", "c")
    assert list(world.states()) == ["a", "c"]
    world.settle()


def test_a_forgotten_task_leaves_its_subscriptions_behind() -> None:
    """A new task of that id begins with number 1, in an epoch of its own."""
    world = World(Retention(finished_count=0))
    reader = world.reader("a")
    epochs = []
    for pid in (7, 8):
        worker = world.run("a", pid)
        epochs.append(world.supervisor.task("a").record.epoch)
        worker.write(b"one\n")
        worker.end(Outcome(0))
        assert world.states() == {}
    assert epochs[0] != epochs[1]
    assert reader.messages == [
        started("a", 7),
        output("a", 7, 1, "one"),
        exited("a", 7, Outcome(0)),
        started("a", 8),
        output("a", 8, 1, "one"),
        exited("a", 8, Outcome(0)),
    ]
    world.settle()


def test_a_task_is_not_forgotten_while_something_of_it_is_alive() -> None:
    """Else a new task could take its id, and nobody would wait for what is left of the old one."""
    world = World(Retention(finished_count=0))
    old = world.run("a")
    old.exit(Outcome(0))
    old.drain()
    assert (world.states(), world.supervisor.alive) == ({"a": "stopped"}, 1)
    world.start("a")
    assert world.workers == [old]
    old.vanish()
    world.worker.spawn(8)
    assert (world.states(), world.supervisor.alive) == ({"a": "active"}, 1)
    world.settle()


def test_finished_tasks_are_forgotten_when_they_are_old() -> None:
    """Each after its own time, without anything else having to happen."""
    world = World(Retention(finished_age=100.0))
    finish_all(world, "a")
    world.clock.advance(30.0)
    finish_all(world, "b")
    world.clock.advance(69.0)
    assert list(world.states()) == ["a", "b"]
    world.clock.advance(1.0)
    assert list(world.states()) == ["b"]
    world.clock.advance(29.0)
    assert list(world.states()) == ["b"]
    world.clock.advance(1.0)
    assert world.states() == {}
    assert world.clock.getDelayedCalls() == []
    world.settle()


def test_old_tasks_are_looked_for_once_a_second_at_most() -> None:
    """Thousands of tasks that end at once cost one timer."""
    world = World(Retention(finished_age=0.2))
    finish_all(world, "a")
    world.clock.advance(0.1)
    finish_all(world, "b", "c")
    assert [call.getTime() for call in world.clock.getDelayedCalls()] == [1.0]
    world.clock.advance(0.9)
    assert (world.states(), world.clock.getDelayedCalls()) == ({}, [])
    world.settle()


def test_an_errored_task_is_kept_until_it_is_stopped() -> None:
    """Whoever looks for the cause the next day still finds it."""
    world = World(Retention(finished_count=0))
    worker = world.run("a")
    world.supervisor.stop("a", 0.0)
    world.clock.advance(UNKILLABLE_AFTER)
    worker.end(Outcome(-1, "SIGKILL"))
    assert world.states() == {"a": "errored"}
    world.supervisor.stop("a")
    assert world.states() == {}
    world.settle()


# ---------------------------------------------------------------------------------------- shutdown


def shut_down(world: World) -> list[str]:
    """Begin the shutdown; the list is filled when it has ended."""
    ended: list[str] = []
    world.supervisor.shut_down().addCallback(lambda _: ended.append("ended"))
    return ended


def test_a_daemon_without_tasks_shuts_down_at_once(world: World) -> None:
    """Nothing is waited for where nothing is."""
    finish_all(world, "a")
    assert shut_down(world) == ["ended"]
    assert world.clock.getDelayedCalls() == []


def test_shutdown_stops_everything_and_ends_with_the_last_group(world: World) -> None:
    """No process outlives the daemon, whatever stage of its life it was in."""
    reader = world.reader(EVERY_TASK)
    running, leftover, restarted = world.run("a", 1), world.run("b", 2), world.run("c", 3)
    for worker in (leftover, restarted):
        worker.exit(Outcome(0))
        worker.drain()
    world.start("c", reader)
    world.start("d")
    starting = world.worker
    reader.take()
    ended = shut_down(world)
    assert running.calls == ["start", ("terminate", 5.0)]
    assert leftover.calls == ["start"]
    starting.spawn(4)
    assert starting.calls == ["start", ("terminate", 5.0)]
    for number, worker in enumerate((running, leftover, restarted, starting)):
        assert (ended, world.supervisor.alive) == ([], 4 - number)
        if worker in (running, starting):
            worker.exit(TERMINATED)
            worker.drain()
            assert (ended, world.supervisor.alive) == ([], 4 - number)
        worker.vanish()
    assert ended == ["ended"]
    assert world.workers == [running, leftover, restarted, starting]
    assert reader.messages == [
        started("d", 4),
        exited("a", 1, TERMINATED, intentional=True),
        error("request", "stopped before it could begin"),
        exited("d", 4, TERMINATED, intentional=True),
    ]


def test_nothing_is_started_during_a_shutdown(world: World) -> None:
    """Not even while old tasks are still ending."""
    world.run("a")
    shut_down(world)
    for task_id in ("a", "b"):
        refused = refusal(partial(world.start, task_id))
        assert refused == "shutting down: nothing is started any more"
    world.worker.end(TERMINATED)
    assert len(world.workers) == 1


def test_who_asks_for_the_shutdown_again_waits_for_the_same_end(world: World) -> None:
    """Two signals are one shutdown, and each of them learns of its end."""
    world.run("a")
    first = shut_down(world)
    second = shut_down(world)
    assert world.worker.calls == ["start", ("terminate", 5.0)]
    world.worker.end(TERMINATED)
    assert (first, second, shut_down(world)) == (["ended"], ["ended"], ["ended"])


@pytest.mark.parametrize("given_up", ["before", "during"])
def test_the_shutdown_does_not_wait_for_a_process_that_was_given_up(
    world: World, given_up: str
) -> None:
    """The daemon has done what it could; it would otherwise hang for ever."""
    worker = world.run("a")
    world.supervisor.stop("a", 0.0)
    if given_up == "before":
        world.clock.advance(UNKILLABLE_AFTER)
    ended = shut_down(world)
    if given_up == "during":
        assert (ended, world.supervisor.alive) == ([], 1)
        world.clock.advance(UNKILLABLE_AFTER)
    assert (ended, world.supervisor.alive) == (["ended"], 0)
    worker.end(Outcome(-1, "SIGKILL"))


def test_a_start_that_fails_during_the_shutdown_ends_it(world: World) -> None:
    """The last thing that was waited for may also never have begun."""
    world.start("a")
    ended = shut_down(world)
    world.worker.fail("no such file")
    assert ended == ["ended"]


def test_kill_all_kills_whatever_is_alive(world: World) -> None:
    """A second signal does not wait for any grace; leftovers are killed, what is gone is let alone."""
    running, leftover, gone = world.run("a", 1), world.run("b", 2), world.run("c", 3)
    leftover.exit(Outcome(0))
    leftover.drain()
    gone.end(Outcome(0))
    ended = shut_down(world)
    world.supervisor.kill_all()
    assert running.calls == ["start", ("terminate", 5.0), "kill"]
    assert (leftover.calls, gone.calls) == (["start", "kill"], ["start"])
    leftover.vanish()
    running.end(Outcome(-1, "SIGKILL"))
    assert ended == ["ended"]
