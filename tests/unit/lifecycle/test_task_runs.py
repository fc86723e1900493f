"""The runs of a task: what its subscribers are told, and what its worker is asked."""

from lifecycle_fakes import (
    LINE_SIZE,
    BrokenReader,
    Reader,
    World,
    decode_frames,
    error,
    errored,
    exited,
    moment,
    output,
    refusal,
    started,
)

from overseer.core.process import Outcome
from overseer.lifecycle.flow import PATIENCE
from overseer.lifecycle.machine import DRAIN_DEADLINE, UNKILLABLE_AFTER
from overseer.lifecycle.subscriptions import EVERY_TASK
from overseer.protocol.outbox import BEHIND_SIZE, Outbox, SendBudget

KILLED = Outcome(-1, "SIGKILL")
TERMINATED = Outcome(-1, "SIGTERM")
UNRENDERABLE = "validation error: params.seconds: cannot be rendered"

# ------------------------------------------------------------------------------------ what is told


def test_a_run_is_told_from_its_start_to_its_end(world: World) -> None:
    """Starter and other subscribers see the same story; only the starter finds its request in it."""
    starter, other = Reader(), world.reader("a")
    everyone, stranger = world.reader(EVERY_TASK), world.reader("b")
    world.start("a", starter, request_id="mine")
    world.clock.advance(1.0)
    world.worker.spawn(7)
    world.clock.advance(1.0)
    world.worker.write(b"one\ntwo\r\nthr")
    world.worker.write(b"problem\n", "stderr")
    world.clock.advance(1.0)
    world.worker.exit(Outcome(3))
    world.worker.write(b"ee\nfour")
    world.worker.drain()
    world.worker.vanish()
    story = [
        output("a", 7, 1, "one", at=2.0),
        output("a", 7, 2, "two", at=2.0),
        output("a", 7, 3, "problem", stream="stderr", at=2.0),
        output("a", 7, 4, "three", at=3.0),
        output("a", 7, 5, "four", at=3.0),
        exited("a", 7, Outcome(3), at=3.0),
    ]
    assert starter.messages == [started("a", 7, request_id="mine", at=1.0), *story]
    assert other.messages == everyone.messages == [started("a", 7, at=1.0), *story]
    assert stranger.messages == []
    assert world.worker.calls == ["start"]


def test_a_task_that_ends_at_once_still_tells_everything_to_its_starter(world: World) -> None:
    """However short a run is, its starter sees all of it, in order."""
    starter = Reader()
    world.run("a", 7, starter).write(b"done")
    world.worker.end(Outcome(0))
    assert starter.messages == [
        started("a", 7, request_id="request"),
        output("a", 7, 1, "done"),
        exited("a", 7, Outcome(0)),
    ]


def test_nothing_is_told_before_the_worker_runs(world: World) -> None:
    """A start is only answered once its outcome is known."""
    starter = Reader()
    world.start("a", starter)
    assert starter.messages == []
    assert world.states() == {"a": "active"}


def test_a_signal_that_ended_the_run_is_named(world: World) -> None:
    """Exit code -1 alone would not tell a crash from a kill."""
    reader = world.reader("a")
    world.run().end(Outcome(-1, "SIGSEGV"))
    assert reader.messages[1:] == [exited("a", 7, Outcome(-1, "SIGSEGV"))]


def test_a_line_beyond_the_limit_comes_in_pieces(world: World) -> None:
    """Memory stays bounded, and whoever joins the pieces has the line."""
    reader = world.reader("a")
    line = "x" * (2 * LINE_SIZE)
    world.run().write(line.encode() + b"\n")
    pieces = reader.messages[1:]
    assert len(pieces) > 2
    assert "".join(piece["data"] for piece in pieces) == line
    assert [piece["seq"] for piece in pieces] == list(range(1, len(pieces) + 1))
    assert [piece.get("partial", False) for piece in pieces] == [True] * (len(pieces) - 1) + [False]


def test_a_start_that_nobody_waits_for_runs_all_the_same(world: World) -> None:
    """The starter may be the daemon itself."""
    reader = world.reader("a")
    world.run("a", 7).end(Outcome(0))
    world.start("a")
    world.worker.fail("no such file")
    assert reader.messages == [started("a", 7), exited("a", 7, Outcome(0))]


def test_a_broken_starter_costs_the_others_nothing(world: World) -> None:
    """Everybody else learns of the run, and a stop that came early is carried out."""
    reader, broken = world.reader("a"), BrokenReader()
    world.start("a", broken)
    world.supervisor.stop("a")
    world.worker.spawn(7)
    world.worker.end(TERMINATED)
    assert reader.messages == [started("a", 7), exited("a", 7, TERMINATED, intentional=True)]
    assert world.worker.calls == ["start", ("terminate", 5.0)]


def test_output_and_ends_can_be_replayed(world: World) -> None:
    """Who comes later finds the last events in the ring, but no ``started``."""
    reader = world.reader("a")
    world.run().write(b"one\ntwo\n")
    world.worker.end(Outcome(0))
    ring = world.supervisor.task("a").ring
    replayed = [message for batch in ring.snapshot() for message in decode_frames(batch.frames)]
    assert replayed == reader.messages[1:]
    assert (ring.first_seq, ring.last_seq) == (1, 2)


def test_an_action_says_how_much_of_a_task_can_be_replayed(world: World) -> None:
    """A chatty action may keep less than the daemon's default, or nothing."""
    world.settings.replay_buffer = 1
    world.run().write(b"one\ntwo\n")
    [batch] = world.supervisor.task("a").ring.snapshot()
    assert decode_frames(batch.frames) == [output("a", 7, 2, "two")]


# -------------------------------------------------------------------------------- starts that fail


def test_a_program_that_cannot_be_started_leaves_no_task_behind(world: World) -> None:
    """The caller gets the reason, nobody else hears of it, and the id is free again."""
    starter, other = Reader(), world.reader("a")
    world.start("a", starter)
    world.worker.fail("sleep: no such file or directory")
    assert starter.messages == [error("request", "sleep: no such file or directory")]
    assert other.messages == []
    assert (world.states(), world.supervisor.alive) == ({}, 0)
    world.run("a", 8, other).end(Outcome(0))
    assert starter.messages[1:] == []
    assert other.messages == [
        started("a", 8, request_id="request"),
        exited("a", 8, Outcome(0)),
    ]


def test_parameters_that_cannot_be_rendered_are_an_error_too(world: World) -> None:
    """What turns out wrong only when the worker is made reaches the caller the same way."""
    starter = Reader()
    world.start("a", starter, params={"seconds": "unrenderable"})
    assert starter.messages == [error("request", UNRENDERABLE)]
    assert (world.states(), world.supervisor.alive, world.workers) == ({}, 0, [])


DRIVER_FAILED = "the driver failed: see the log of the daemon"


def test_what_a_driver_has_started_before_it_failed_is_ended(world: World) -> None:
    """Nobody hears of it, and its start fails once nothing of it is alive."""
    world.handler.breaks_late = True
    starter = world.reader("a")
    world.start("a", starter)
    worker = world.worker
    worker.spawn(7)
    assert worker.calls == ["start", ("terminate", 5.0)]
    worker.write(b"line\n")
    worker.exit(TERMINATED)
    assert worker.calls[2:] == ["close_output"]
    worker.drain()
    assert (starter.messages, world.supervisor.alive) == ([], 1)
    worker.vanish()
    assert starter.messages == [error("request", DRIVER_FAILED)]
    assert (world.states(), world.supervisor.alive) == ({}, 0)


def test_a_worker_that_could_not_begin_either_is_no_other_failure(world: World) -> None:
    """The client hears of the first one."""
    world.handler.breaks_late = True
    starter = Reader()
    world.start("a", starter)
    world.worker.fail("no such file")
    assert starter.messages == [error("request", DRIVER_FAILED)]
    assert world.supervisor.alive == 0


def test_a_worker_of_a_failed_driver_that_cannot_be_killed_is_given_up(world: World) -> None:
    world.handler.breaks_late = True
    starter = Reader()
    world.start("a", starter)
    world.worker.spawn(7)
    world.clock.advance(5.0 + UNKILLABLE_AFTER)
    assert starter.messages == [error("request", DRIVER_FAILED)]
    world.worker.end(TERMINATED)
    assert starter.messages[1:] == []


def test_a_subscription_from_before_outlives_a_failed_start(world: World) -> None:
    """Only the automatic subscription is taken back."""
    starter = world.reader("a")
    world.start("a", starter)
    world.worker.fail("no such file")
    starter.take()
    world.run("a", 7)
    assert starter.messages == [started("a", 7)]


def test_a_task_that_ran_before_is_kept_when_it_cannot_be_started_again(world: World) -> None:
    """Its output can still be replayed, and ``list`` says what went wrong."""
    starter = Reader()
    world.run().end(Outcome(4))
    world.start("a", starter)
    world.worker.fail("no such file")
    assert starter.messages == [error("request", "no such file")]
    [info] = world.infos()
    assert (info.state, info.error_message, info.last_exit_code, info.worker_state) == (
        "stopped",
        "no such file",
        4,
        "exited",
    )
    assert world.supervisor.alive == 0
    world.run("a", 8, starter)
    assert starter.messages[1:] == [started("a", 8, request_id="request")]
    [info] = world.infos()
    assert info.error_message is None


# -------------------------------------------------------------------------------- one run after another


def test_a_finished_task_goes_on_where_it_was_when_started_again(world: World) -> None:
    """Numbers, ring, epoch and subscriptions belong to the task; action and parameters to the run."""
    starter, second_starter, other = Reader(), Reader(), world.reader("a")
    world.start("a", starter, params={"seconds": "2", "color": "red"})
    world.worker.spawn(7)
    world.worker.write(b"one\ntwo\n")
    world.worker.end(Outcome(0))
    task = world.supervisor.task("a")
    epoch, created = task.record.epoch, task.record.created_at
    task.record.restart_count = 3  # as after automatic restarts
    world.clock.advance(1.0)
    assert world.start("a", second_starter, action="other", params={"seconds": "3"}) == "a"
    [worker] = world.other.workers
    worker.spawn(8)
    worker.write(b"three\n")
    second_run = [output("a", 8, 3, "three", at=1.0)]
    assert starter.messages[-2:] == [started("a", 8, at=1.0), *second_run]
    assert other.messages == [
        started("a", 7),
        output("a", 7, 1, "one"),
        output("a", 7, 2, "two"),
        exited("a", 7, Outcome(0)),
        started("a", 8, at=1.0),
        *second_run,
    ]
    assert second_starter.messages == [
        started("a", 8, request_id="request", at=1.0),
        *second_run,
    ]
    assert world.supervisor.task("a") is task
    assert (task.record.epoch, task.record.created_at) == (epoch, created)
    assert (task.record.run, task.record.restart_count) == (2, 0)
    assert (task.record.action, task.record.params) == ("other", {"seconds": "3"})
    assert worker.params == {"seconds": "3"}
    assert (task.ring.first_seq, task.ring.last_seq) == (1, 3)


def test_a_new_run_waits_until_the_group_of_the_run_before_is_gone(world: World) -> None:
    """Leftovers of the old run cannot disturb the new one."""
    starter = Reader()
    old = world.run()
    old.exit(Outcome(0))
    old.drain()
    world.start("a", starter)
    assert world.workers == [old]
    assert (world.states(), world.supervisor.alive) == ({"a": "active"}, 1)
    assert refusal(world.start) == "task already running or starting"
    old.vanish()
    assert [worker.calls for worker in world.workers] == [["start"], ["start"]]
    world.worker.spawn(8)
    assert starter.messages == [started("a", 8, request_id="request")]


def test_a_run_that_waits_for_the_group_before_it_can_be_stopped(world: World) -> None:
    """It never begins; its starter is told and not subscribed any more."""
    starter = Reader()
    old = world.run()
    old.exit(Outcome(0))
    old.drain()
    world.start("a", starter)
    world.supervisor.stop("a")
    assert (starter.messages, world.states()) == ([], {"a": "active"})
    old.vanish()
    assert starter.messages == [error("request", "stopped before it could begin")]
    assert (world.workers, world.states(), world.supervisor.alive) == ([old], {"a": "stopped"}, 0)
    world.run("a", 8).end(Outcome(0))
    assert starter.messages[1:] == []


def test_a_waiting_run_whose_parameters_cannot_be_rendered_fails_when_its_turn_comes(
    world: World,
) -> None:
    """The late failure reaches the caller like an early one, and the task is over."""
    starter = Reader()
    old = world.run()
    old.exit(Outcome(0))
    old.drain()
    world.start("a", starter, params={"seconds": "unrenderable"})
    old.vanish()
    assert starter.messages == [error("request", UNRENDERABLE)]
    assert (world.states(), world.supervisor.alive) == ({"a": "stopped"}, 0)


# ------------------------------------------------------------------------------------------- stops


def test_a_stop_ends_the_run_and_the_exit_counts_as_intended(world: World) -> None:
    """What the client asked for is not reported as a crash."""
    reader = world.reader("a")
    worker = world.run()
    world.supervisor.stop("a")
    world.clock.advance(1.0)
    worker.write(b"bye\n")
    worker.end(TERMINATED)
    assert worker.calls == ["start", ("terminate", 5.0)]
    assert reader.messages == [
        started("a", 7),
        output("a", 7, 1, "bye", at=1.0),
        exited("a", 7, TERMINATED, intentional=True, at=1.0),
    ]
    assert (world.states(), world.supervisor.alive) == ({"a": "stopped"}, 0)


def test_a_stop_may_bring_its_own_grace(world: World) -> None:
    """The request goes before the action, also when it says: none."""
    world.run()
    world.supervisor.stop("a", 0.0)
    assert world.worker.calls == ["start", ("terminate", 0.0)]


def test_the_intention_of_a_stop_ends_with_its_run(world: World) -> None:
    """A crash of the next run is a crash."""
    world.run()
    world.supervisor.stop("a")
    world.worker.end(TERMINATED)
    reader = world.reader("a")
    world.run("a", 8).end(Outcome(1))
    assert reader.messages == [started("a", 8), exited("a", 8, Outcome(1))]


def test_a_second_stop_changes_nothing(world: World) -> None:
    """Neither the grace nor the number of signals."""
    reader = world.reader("a")
    world.run()
    world.supervisor.stop("a", 1.0)
    world.supervisor.stop("a", 9.0)
    world.worker.end(TERMINATED)
    world.supervisor.stop("a")
    assert world.worker.calls == ["start", ("terminate", 1.0)]
    assert reader.messages[1:] == [exited("a", 7, TERMINATED, intentional=True)]


def test_a_stop_during_the_start_is_carried_out_once_the_worker_runs(world: World) -> None:
    """The run is told in full, and the first grace counts."""
    starter = Reader()
    world.start("a", starter)
    world.supervisor.stop("a", 1.0)
    world.supervisor.stop("a", 9.0)
    assert world.worker.calls == ["start"]
    world.worker.spawn(7)
    assert world.worker.calls == ["start", ("terminate", 1.0)]
    world.worker.end(TERMINATED)
    assert starter.messages == [
        started("a", 7, request_id="request"),
        exited("a", 7, TERMINATED, intentional=True),
    ]


def test_a_stop_during_a_start_that_fails_is_over_with_it(world: World) -> None:
    """There is nothing to end, and the caller still learns why."""
    starter = Reader()
    world.start("a", starter)
    world.supervisor.stop("a")
    world.worker.fail("no such file")
    assert starter.messages == [error("request", "no such file")]
    assert (world.states(), world.supervisor.alive) == ({}, 0)


def test_a_stop_after_the_exit_did_not_cause_it(world: World) -> None:
    """A crash whose output is still held open stays a crash, and nothing is signalled."""
    reader = world.reader("a")
    worker = world.run()
    worker.exit(Outcome(1))
    world.supervisor.stop("a")
    worker.drain()
    assert reader.messages[1:] == [exited("a", 7, Outcome(1))]
    assert worker.calls == ["start"]


def test_a_stop_of_a_finished_task_does_nothing(world: World) -> None:
    """Not even where leftovers of it are alive: those have their second to end."""
    reader = world.reader("a")
    worker = world.run()
    worker.exit(Outcome(1))
    worker.drain()
    story = reader.take()
    world.supervisor.stop("a")
    worker.vanish()
    world.supervisor.stop("a")
    assert story == [started("a", 7), exited("a", 7, Outcome(1))]
    assert (reader.messages, worker.calls) == ([], ["start"])
    assert world.states() == {"a": "stopped"}


def test_output_that_a_leftover_holds_open_is_closed_a_second_after_the_exit(
    world: World,
) -> None:
    """A grandchild can delay the end of a run by a second only; its last words are told."""
    reader = world.reader("a")
    worker = world.run()
    worker.write(b"half a l")
    worker.exit(Outcome(0))
    world.clock.advance(DRAIN_DEADLINE)
    assert worker.calls == ["start", "close_output"]
    worker.write(b"ine")
    worker.drain()
    assert reader.messages == [
        started("a", 7),
        output("a", 7, 1, "half a line", at=1.0),
        exited("a", 7, Outcome(0), at=1.0),
    ]


def test_a_kill_ends_what_is_alive_and_nothing_else(world: World) -> None:
    """It is no stop: the end counts as unintended. A task that is over has nothing to kill."""
    reader = world.reader("a")
    worker = world.run()
    task = world.supervisor.task("a")
    task.kill()
    worker.end(KILLED)
    task.kill()
    assert worker.calls == ["start", "kill"]
    assert reader.messages[1:] == [exited("a", 7, KILLED)]


# -------------------------------------------------------------------------------------- unkillable


def give_up(world: World) -> None:
    """Stop task ``a`` and let the time pass in which its process should have ended."""
    world.supervisor.stop("a", 2.0)
    world.clock.advance(2.0 + UNKILLABLE_AFTER)


def test_a_process_that_does_not_end_makes_its_task_errored(world: World) -> None:
    """Subscribers learn that the stop has failed; a shutdown need not wait for what nothing can end."""
    reader = world.reader("a")
    world.run()
    give_up(world)
    assert reader.messages == [started("a", 7), errored("a", 7, at=12.0)]
    [info] = world.infos()
    assert (info.state, info.current_pid, info.worker_state, info.error_message) == (
        "errored",
        7,
        "running",
        "process 7 does not end, not even by SIGKILL",
    )
    assert world.supervisor.alive == 0


def test_a_stop_makes_an_errored_task_stopped(world: World) -> None:
    """The operator has seen it; nobody is told anything new."""
    reader = world.reader("a")
    world.run()
    give_up(world)
    reader.take()
    world.supervisor.stop("a")
    assert (world.states(), world.supervisor.alive) == ({"a": "stopped"}, 0)
    assert reader.messages == []


def test_a_task_cannot_be_started_or_reset_while_its_process_does_not_end(world: World) -> None:
    """Two processes of one task never run at a time, and a new run might wait for ever."""
    world.run()
    give_up(world)
    for ask in (world.start, world.reset):
        assert refusal(ask) == "a process of the task is still alive"
    assert world.states() == {"a": "errored"}
    world.supervisor.stop("a")
    assert refusal(world.start) == "a process of the task is still alive"
    assert world.states() == {"a": "stopped"}


def test_a_process_that_ends_after_all_is_not_shown_as_running_any_more(world: World) -> None:
    """The task stays errored, no second end is told, and it can be started again."""
    reader = world.reader("a")
    worker = world.run()
    give_up(world)
    worker.end(KILLED)
    assert reader.messages[1:] == [errored("a", 7, at=12.0)]
    [info] = world.infos()
    assert (info.state, info.current_pid, info.worker_state) == ("errored", None, None)
    assert world.supervisor.alive == 0
    world.run("a", 8)
    assert reader.messages[2:] == [started("a", 8, at=12.0)]
    [info] = world.infos()
    assert (info.state, info.error_message) == ("active", None)


def test_a_task_that_was_given_up_can_be_started_again_after_its_late_end(world: World) -> None:
    """The late end of the old process is not that of the new run."""
    reader = world.reader("a")
    old = world.run()
    give_up(world)
    world.supervisor.stop("a")
    old.write(b"late\n")
    old.end(KILLED)
    world.run("a", 8)
    assert [worker.calls for worker in world.workers] == [["start", ("terminate", 2.0)], ["start"]]
    assert reader.messages == [
        started("a", 7),
        errored("a", 7, at=12.0),
        output("a", 7, 1, "late", at=12.0),
        started("a", 8, at=12.0),
    ]


# ------------------------------------------------------------------------------------ flow control


def test_a_child_is_held_until_one_of_its_readers_has_caught_up(world: World) -> None:
    """A firehose waits for the fastest of its readers."""
    first, second = world.reader("a"), world.reader("a")
    worker = world.run()
    first.behind = True
    worker.write(b"one\n")
    assert worker.calls == ["start"]
    second.behind = True
    worker.write(b"two\n")
    assert worker.calls == ["start", "pause_output"]
    second.catch_up()
    assert worker.calls == ["start", "pause_output", "resume_output"]


def test_readers_that_stall_hold_a_child_for_a_second_only(world: World) -> None:
    """And not again, until they have taken something."""
    reader = world.reader("a")
    worker = world.run()
    reader.behind = True
    worker.write(b"one\n")
    world.clock.advance(PATIENCE)
    worker.write(b"two\n")
    assert worker.calls == ["start", "pause_output", "resume_output"]
    reader.catch_up()
    reader.behind = True
    worker.write(b"three\n")
    assert worker.calls[3:] == ["pause_output"]


def test_an_exit_ends_the_hold(world: World) -> None:
    """What the child left in its pipes is read at once, and nothing holds it again."""
    reader = world.reader("a")
    worker = world.run()
    reader.behind = True
    worker.write(b"one\n")
    worker.exit(Outcome(0))
    worker.write(b"two\n")
    assert worker.calls == ["start", "pause_output", "resume_output"]
    worker.drain()
    assert reader.messages[1:] == [
        output("a", 7, 1, "one"),
        output("a", 7, 2, "two"),
        exited("a", 7, Outcome(0)),
    ]
    assert reader.waiting == []


def test_an_action_may_have_its_children_never_held(world: World) -> None:
    """With ``backpressure: drop`` the child runs on, whatever its readers do."""
    world.settings.backpressure = "drop"
    reader = world.reader("a")
    worker = world.run()
    reader.behind = True
    worker.write(b"one\n")
    world.supervisor.unsubscribe(reader, "a")
    assert worker.calls == ["start"]


def test_a_child_without_readers_is_never_held(world: World) -> None:
    """Output that nobody wants goes into the ring and is forgotten there."""
    worker = world.run()
    worker.write(b"one\n" * 1000)
    assert worker.calls == ["start"]


def test_a_real_outbox_holds_and_releases(world: World) -> None:
    """What the fake readers promise, the queue of a real client does."""
    written: list[bytes] = []
    outbox = Outbox(written.append, lambda: None, 8 * BEHIND_SIZE, SendBudget(64 * BEHIND_SIZE))
    world.supervisor.subscribe(outbox, "a")
    worker = world.run()
    outbox.pause()
    reads = 0
    while not outbox.behind:
        worker.write(b"x\n" * 1000)
        reads += 1
        assert worker.calls[1:] == (["pause_output"] if outbox.behind else [])
    outbox.resume()
    assert worker.calls == ["start", "pause_output", "resume_output"]
    assert len(decode_frames(b"".join(written))) == 1 + 1000 * reads


def test_the_times_of_a_task_are_told_by_list(world: World) -> None:
    """Creation, start and exit each have their own instant."""
    world.clock.advance(1.0)
    world.start()
    world.clock.advance(1.0)
    world.worker.spawn(7)
    world.clock.advance(1.0)
    world.worker.exit(Outcome(0))
    world.clock.advance(1.0)
    world.worker.drain()
    [info] = world.infos()
    assert (info.created_at, info.last_started_at, info.last_exited_at) == (
        moment(1.0),
        moment(2.0),
        moment(4.0),
    )
