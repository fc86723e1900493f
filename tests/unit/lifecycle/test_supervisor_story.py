"""Anything that clients, processes and time can do to a supervisor, beside a small model of it."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from lifecycle_fakes import (
    FakeWorker,
    Message,
    Reader,
    World,
    error,
    errored,
    exited,
    output,
    refusal,
    started,
)

from overseer.core.process import Outcome
from overseer.lifecycle.machine import DRAIN_DEADLINE, UNKILLABLE_AFTER
from overseer.lifecycle.retention import Retention
from overseer.lifecycle.subscriptions import EVERY_TASK

TASK_IDS = st.sampled_from(["a", "b", "c"])
FINISHED_COUNT = 1


class ModelTask:
    """What the model knows of one task; ``worker`` is there as long as something of it is alive."""

    def __init__(self) -> None:
        self.state = self.state_before = "stopped"
        self.last_seq = 0
        self.ran = False
        self.worker: FakeWorker | None = None
        self.waiting = False
        self.grace: float | None = None
        self.given_up = False


class ModelRun:
    """What the model knows of one worker."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.intentional = False
        self.give_up_at: float | None = None
        self.stop_number = 0
        self.given_up = False
        self.exited_at: float | None = None
        self.outcome = Outcome(0)


class SupervisorStory(RuleBasedStateMachine):
    """Steps in any order, each done to a supervisor and to the model.

    One reader sees every event of every task, and one client asks for all the starts. What the two are
    told has to be, message by message, what the model expects.
    """

    def __init__(self) -> None:
        super().__init__()
        self.world = World(Retention(finished_count=FINISHED_COUNT))
        self.witness = self.world.reader(EVERY_TASK)
        self.client = Reader()
        self.history: list[Message] = []
        self.events: list[Message] = []
        self.answers: list[Message] = []
        self.tasks: dict[str, ModelTask] = {}
        self.finished: list[str] = []
        self.runs: dict[FakeWorker, ModelRun] = {}
        self.stops = 0

    @property
    def now(self) -> float:
        return self.world.clock.seconds()

    def in_phase(self, *phases: str) -> list[FakeWorker]:
        return [worker for worker in self.world.workers if worker.phase in phases]

    # ------------------------------------------------------------------------- what clients can do

    @rule(task_id=TASK_IDS)
    def start(self, task_id: str) -> None:
        task = self.tasks.get(task_id)
        refused = refusal(lambda: self.world.start(task_id, self.client, request_id=task_id))
        if task is not None and task.state == "active":
            assert refused == "task already running or starting"
            return
        if task is not None and task.given_up:
            assert refused == "a process of the task is still alive"
            return
        assert refused == "not refused"
        if task is None:
            task = self.tasks[task_id] = ModelTask()
        if task_id in self.finished:
            self.finished.remove(task_id)
        task.state_before, task.state = task.state, "active"
        task.grace = None
        task.waiting = task.worker is not None
        if not task.waiting:
            task.worker = self.world.worker

    @rule(task_id=TASK_IDS, grace=st.sampled_from([0.0, 2.0]))
    def stop(self, task_id: str, grace: float) -> None:
        task = self.tasks.get(task_id)
        refused = refusal(lambda: self.world.supervisor.stop(task_id, grace))
        if task is None:
            assert refused == "task not found"
        elif task.state == "errored":
            task.state = "stopped"
            self.settle(task_id)
        elif task.state == "active" and task.grace is None:
            task.grace = grace
            self.end_if_stopped(task)

    @rule(task_id=TASK_IDS | st.just(EVERY_TASK))
    def subscribe(self, task_id: str) -> None:
        self.world.supervisor.subscribe(self.client, task_id)

    @rule(task_id=TASK_IDS | st.just(EVERY_TASK))
    def unsubscribe(self, task_id: str) -> None:
        self.world.supervisor.unsubscribe(self.client, task_id)

    @rule()
    def disconnect(self) -> None:
        self.world.supervisor.disconnect(self.client)

    @rule(witness=st.booleans(), client=st.booleans())
    def fall_behind(self, witness: bool, client: bool) -> None:
        for reader, behind in ((self.witness, witness), (self.client, client)):
            if behind:
                reader.behind = True
            else:
                reader.catch_up()

    # ----------------------------------------------------------------------- what processes can do

    @precondition(lambda self: self.in_phase("new"))
    @rule(data=st.data())
    def spawn(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(self.in_phase("new")))
        run = self.runs[worker] = ModelRun(pid=len(self.runs) + 1)
        worker.spawn(run.pid)
        task = self.tasks[worker.task_id]
        task.ran = True
        self.events.append(started(worker.task_id, run.pid, at=self.now))
        self.answers.append(
            started(worker.task_id, run.pid, request_id=worker.task_id, at=self.now)
        )
        self.end_if_stopped(task)

    @precondition(lambda self: self.in_phase("new"))
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(self.in_phase("new")))
        worker.fail("no such file")
        self.fail_start(worker.task_id, "no such file")

    @precondition(lambda self: self.in_phase("running", "exited"))
    @rule(data=st.data(), lines=st.integers(1, 3))
    def write(self, data: st.DataObject, lines: int) -> None:
        worker = data.draw(st.sampled_from(self.in_phase("running", "exited")))
        worker.write(b"line\n" * lines)
        task = self.tasks[worker.task_id]
        for _ in range(lines):
            task.last_seq += 1
            self.events.append(
                output(worker.task_id, self.runs[worker].pid, task.last_seq, "line", at=self.now)
            )

    @precondition(lambda self: self.in_phase("running"))
    @rule(data=st.data(), outcome=st.sampled_from([Outcome(0), Outcome(-1, "SIGTERM")]))
    def exit(self, data: st.DataObject, outcome: Outcome) -> None:
        worker = data.draw(st.sampled_from(self.in_phase("running")))
        worker.exit(outcome)
        run = self.runs[worker]
        run.exited_at = self.now
        run.outcome = outcome
        run.give_up_at = None

    @precondition(lambda self: self.in_phase("exited"))
    @rule(data=st.data())
    def drain(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(self.in_phase("exited")))
        worker.drain()
        run = self.runs[worker]
        if run.given_up:
            return
        self.events.append(
            exited(
                worker.task_id,
                run.pid,
                run.outcome,
                intentional=run.intentional,
                at=self.now,
            )
        )
        self.tasks[worker.task_id].state = "stopped"

    @precondition(lambda self: self.in_phase("drained"))
    @rule(data=st.data())
    def vanish(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(self.in_phase("drained")))
        worker.vanish()
        task = self.tasks[worker.task_id]
        task.worker = None
        task.given_up = False
        if not task.waiting:
            self.settle(worker.task_id)
        elif task.grace is None:
            task.waiting = False
            task.worker = self.world.worker
        else:
            self.fail_start(worker.task_id, "stopped before it could begin")

    @rule(seconds=st.sampled_from([0.5, 1.0, 12.0]))
    def advance(self, seconds: float) -> None:
        waited_for = [item for item in self.runs.items() if item[1].give_up_at is not None]
        self.world.clock.advance(seconds)
        # Of those that are given up at the same instant, the one that was stopped first.
        waited_for.sort(key=lambda item: (item[1].give_up_at or 0.0, item[1].stop_number))
        for worker, run in waited_for:
            if (run.give_up_at or 0.0) > self.now:
                continue
            run.give_up_at = None
            run.given_up = True
            self.tasks[worker.task_id].state = "errored"
            self.tasks[worker.task_id].given_up = True
            self.events.append(errored(worker.task_id, run.pid, at=self.now))

    # ------------------------------------------------------------------------ what the model makes of it

    def end_if_stopped(self, task: ModelTask) -> None:
        """A stop reaches the run once it is there and while it runs."""
        worker = task.worker
        assert worker is not None
        if task.grace is not None and worker.phase == "running" and not task.waiting:
            run = self.runs[worker]
            run.intentional = True
            run.give_up_at = self.now + task.grace + UNKILLABLE_AFTER
            self.stops += 1
            run.stop_number = self.stops

    def fail_start(self, task_id: str, reason: str) -> None:
        """The client is told; a task that never ran is forgotten, another one is what it was."""
        self.answers.append(error(task_id, reason))
        task = self.tasks[task_id]
        task.state = task.state_before
        task.worker = None
        task.waiting = False
        if task.ran:
            self.settle(task_id)
        else:
            del self.tasks[task_id]

    def settle(self, task_id: str) -> None:
        """A stopped task of which nothing is alive is kept until there are too many."""
        task = self.tasks[task_id]
        if task.worker is None and task.state == "stopped":
            self.finished.append(task_id)
            while len(self.finished) > FINISHED_COUNT:
                del self.tasks[self.finished.pop(0)]

    # ------------------------------------------------------------------------- what always holds

    @invariant()
    def everything_is_told_as_the_model_expects(self) -> None:
        events = self.witness.take()
        assert events == self.events
        self.history += events
        self.events = []
        assert [message for message in self.client.take() if message.get("id")] == self.answers
        self.answers = []

    @invariant()
    def states_and_count_of_the_living_are_right(self) -> None:
        assert self.world.states() == {task_id: task.state for task_id, task in self.tasks.items()}
        assert self.world.supervisor.alive == sum(
            (task.worker is not None and not task.given_up) or task.state == "active"
            for task in self.tasks.values()
        )

    @invariant()
    def no_task_has_two_live_runs(self) -> None:
        living = [worker.task_id for worker in self.world.workers if worker.alive]
        assert len(living) == len(set(living))

    @invariant()
    def workers_are_asked_once_and_in_time(self) -> None:
        for worker, run in self.runs.items():
            asked = [call for call in worker.calls if isinstance(call, tuple)]
            assert len(asked) == run.intentional
            late = run.exited_at is not None and self.now >= run.exited_at + DRAIN_DEADLINE
            if worker.phase == "exited" and not run.given_up:
                assert worker.calls.count("close_output") == late
            held = worker.calls.count("pause_output") - worker.calls.count("resume_output")
            assert held in ((0, 1) if worker.phase == "running" else (0,))

    def teardown(self) -> None:
        self.world.settle()
        self.history += self.witness.take()
        for task_id in ("a", "b", "c"):
            check_order([event for event in self.history if event["task_id"] == task_id])


def check_order(events: list[Message]) -> None:
    """Each run of a task ends once, before the next begins; its lines are numbered without holes.

    Only a task that was forgotten meanwhile begins at 1 again.
    """
    running = False
    last_seq = 0
    may_begin_anew = False
    for event in events:
        if event["type"] == "output":
            anew = may_begin_anew and event["seq"] == 1
            assert anew or event["seq"] == last_seq + 1
            last_seq = event["seq"]
            may_begin_anew = False
        else:
            assert (event["type"] == "started") is not running
            running = not running
            may_begin_anew |= running
    assert not running


SupervisorStory.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestSupervisorStory = SupervisorStory.TestCase
