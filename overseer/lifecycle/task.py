"""One task: its record, its state machine, the ring of its last events and its current run."""

import weakref
from typing import Protocol

from twisted.logger import Logger

from overseer.core.lines import Block
from overseer.core.process import Outcome
from overseer.core.retry import GiveUp, RetryAfter, RetryPolicy, RetryState
from overseer.core.ring import RingBuffer
from overseer.core.task import TaskRecord
from overseer.core.worker import Worker
from overseer.drivers.interfaces import HIDDEN, ValidationError
from overseer.lifecycle.aborted import AbortedRun
from overseer.lifecycle.events import TaskEvents
from overseer.lifecycle.machine import Core, new_machine
from overseer.lifecycle.readiness import Look
from overseer.lifecycle.requests import Assignment, Starter
from overseer.lifecycle.run import Run
from overseer.lifecycle.subscriptions import Subscriber
from overseer.lifecycle.surroundings import Surroundings
from overseer.protocol.batch import Batch, OutputEncoder


class Owner(Protocol):
    """Who keeps the task and its slots."""

    def task_started(self, task: "Task") -> None:
        """A run has begun."""

    def task_ended(self, task: "Task") -> None:
        """The task has finished, ``stopped`` or ``errored``; a process of it may still be alive."""

    def tell_waits_no_more(self, task: "Task", reason: str) -> None:
        """The run that the task was told to wait for is not to come; nothing is told where it was not."""

    def task_failed_to_start(self, task: "Task") -> None:
        """The first run could not begin."""

    def leftovers_gone(self, task: "Task") -> None:
        """Nothing of the last run is alive; another one may have been started meanwhile."""

    def task_gone(self, task: "Task") -> None:
        """Nothing of any run of the task is alive."""

    def take_slot_again(self, task: "Task") -> None:
        """The next run of the task is due."""

    def printed(self, task: "Task") -> None:
        """The task has told lines of output."""

    def readiness_changed(self, task: "Task") -> None:
        """The task has become ready, or is it no more."""


class Task:
    """A task over all its runs. Implements the effects of its state machine."""

    _log = Logger()

    def __init__(
        self, record: TaskRecord, ring: RingBuffer[Batch], surroundings: Surroundings, owner: Owner
    ) -> None:
        self.record = record
        self.ring = ring
        self.assignment: Assignment | None = None
        self.starter = Starter()
        # Weakly, or a task that is forgotten would be there until the next collection of garbage.
        self.inputs = new_machine(Core(surroundings.clock, weakref.proxy(self)))
        self._surroundings = surroundings
        self._events = TaskEvents(record, ring, surroundings)
        self._owner = owner
        self._retry = RetryState(None)
        self._run: Run | None = None
        self._waiting_for_group = False
        self._requeue = False
        self._restart: Starter | None = None
        self._attached: list[Starter] = []
        self._kill_at_once = False
        self._state_before = record.state
        self.told_queued = False
        """Whether clients were told that it waits, and nothing since: they believe so still."""
        self.gives_back_slot = False
        """Whether the slot is free once nothing of the task is alive, though another run follows."""
        self.given_up = False
        """Whether a process of it is alive that nothing can end."""
        self.dequeued = False
        """Whether it was dequeued: it is forgotten once nothing of it is alive."""

    @property
    def alive(self) -> bool:
        """Whether a process of the task may be alive."""
        return self._run is not None and self._run.alive

    @property
    def worker(self) -> Worker | None:
        """What runs for the task now, from its ``started`` to its ``exited``."""
        return None if self._run is None or self.record.pid is None else self._run.worker

    @property
    def policy(self) -> RetryPolicy | None:
        """What holds for restarts of the task."""
        return None if self.assignment is None else self.assignment.policy

    @property
    def shown_params(self) -> dict[str, str]:
        """The parameters as anybody may see them."""
        secrets = () if self.assignment is None else self.assignment.action.handler.secrets
        params = self.record.params
        return {name: HIDDEN if name in secrets else value for name, value in params.items()}

    @property
    def stop_grace(self) -> float:
        """Seconds between SIGTERM and SIGKILL when a stop does not say."""
        return 0.0 if self.assignment is None else self.assignment.action.settings.stop_grace

    # --------------------------------------------------------------------------------- what is asked

    def assign(self, assignment: Assignment, starter: Starter) -> None:
        """Take on a new assignment; the task must be finished. ``admit`` or ``requeue`` follows."""
        self.record.restart_count = 0
        self.renew(assignment, starter)

    def renew(self, assignment: Assignment, starter: Starter) -> None:
        """Take on the assignment as it is now: what a reset does."""
        self.assignment = assignment
        self._retry = RetryState(assignment.policy)
        self.record.action = assignment.action.name
        self.record.params = assignment.params
        self.prepare(starter)

    def prepare(self, starter: Starter) -> None:
        """Make ready for another first run of the same assignment."""
        self._state_before = self.record.state
        self.starter = starter
        self._retry.reset()
        self._requeue = False
        self._kill_at_once = False
        self.gives_back_slot = self.dequeued = False
        self.record.first_run = True
        self.record.intentional = False
        self.record.error_message = ""

    def admit(self) -> None:
        """Begin a run: the task has its slots."""
        self.record.state = "active"
        self.record.waited_since, self.record.queued_at = self.record.queued_at, None
        # A run that was ended for a surplus was; the one that now begins was not.
        self.record.intentional = self._requeue = False
        self.inputs.admit()

    def enqueue(self) -> None:
        """Wait for a slot."""
        self.record.state = "queued"
        self.record.queued_at = self._surroundings.now()
        self.inputs.requeue()

    def leave_queue(self, reason: str) -> None:
        """Wait for a slot no longer; the task is finished."""
        self.record.state = "stopped"
        self.record.waited_since, self.record.queued_at = self.record.queued_at, None
        self._events.cancelled(reason, self.shown_params)
        if not self.record.first_run:  # it had run before and would have run on
            self._events.ended()
        starter, self.starter = self.starter, Starter()
        self._requeue = False
        self.inputs.leave()
        starter.left(reason)
        self._refuse_attached("the task waits no more")

    def wait_no_more(self) -> None:
        """End instead of waiting for a slot again, which was to begin once nothing of the last run is alive."""
        self._requeue = False
        self.inputs.leave()
        if self.record.first_run:
            self._fail_to_start("stopped before it could begin")
        else:
            self._complete()

    def stop(self, grace: float | None, *, requeue: bool = False) -> None:
        """End the current run, by force after ``grace`` seconds (None: what the action says).

        No other run follows; with ``requeue`` the task waits for a slot again once the run has ended.
        """
        record = self.record
        if record.state == "errored":
            record.state = "stopped"
        elif not record.finished:
            record.intentional = True
            self._requeue = requeue
            self._refuse_restart("stopped before it could begin")
        self.inputs.stop(self.stop_grace if grace is None else grace)

    def restart(self, grace: float | None, starter: Starter) -> None:
        """End the current run and begin another one with the same assignment, in the same slot."""
        self._refuse_restart("replaced by a later restart")
        self.record.intentional = True
        self._requeue = False
        self._restart = starter
        self.inputs.stop(self.stop_grace if grace is None else grace)

    def attach(self, starter: Starter) -> None:
        """Answer a starter with the run there is, or with the next one once it has begun."""
        if self.record.pid is None or starter.subscriber is None:
            self._attached.append(starter)
        else:
            self._events.attached(starter)

    def kill(self) -> None:
        """End the current run by force, now; one that is still being started ends once it runs."""
        self._kill_at_once = True
        if self._run is not None:
            self._run.kill()

    def release(self) -> None:
        """Read output again if it was held: the audience has changed."""
        if self._run is not None:
            self._run.release()

    # ------------------------------------------------------------------------- effects of the machine

    def spawn(self) -> None:
        """Start a worker, as soon as nothing of the run before is alive."""
        if self.alive:
            self._waiting_for_group = True
            return
        self._waiting_for_group = False
        record, assignment = self.record, self.assignment
        assert assignment is not None
        record.run += 1
        record.seq_before_run = record.last_seq
        record.output_bytes = 0
        run = Run(
            self,
            assignment.action,
            task_id=record.task_id,
            clock=self._surroundings.clock,
            line_size=self._surroundings.line_size,
            json_lines=self._surroundings.json_lines,
        )
        begun: list[Worker] = []
        try:
            worker = assignment.action.start(
                record.task_id,
                assignment.params,
                run,
                attempt=record.restart_count + (not record.first_run),
                receipt=self.starter.receipt,
                begun=begun,
            )
        except ValidationError as error:
            self._abort(run, begun, f"validation error: {error}")
        except Exception:
            self._log.failure("the driver of {action} failed", action=record.action)
            self._abort(run, begun, "the driver failed: see the log of the daemon")
        else:
            self._run = run
            run.begin(worker)

    def tell_started(self, pid: int) -> None:
        """Tell everyone that the run has begun; the starter gets the id of its request."""
        record = self.record
        restart_of = None
        if not record.first_run:
            record.restart_count += 1
            restart_of = record.last_pid
        record.first_run = self.told_queued = False
        record.pid = record.last_pid = pid
        record.last_started_at = self._surroundings.now()
        starter, self.starter = self.starter, Starter()
        attached, self._attached = self._attached, []
        self._events.started([starter, *attached], self.shown_params, restart_of=restart_of)
        self._owner.task_started(self)
        self._watch_readiness()

    def terminate(self, grace: float) -> None:
        """Ask the worker to end."""
        assert self._run is not None
        self._end_readiness()
        self._run.terminate(0.0 if self._kill_at_once else grace)

    def close_output(self) -> None:
        """Wait no longer for the rest of the output."""
        assert self._run is not None
        self._run.close_output()

    def tell_exited(self, outcome: Outcome) -> None:
        """Tell everyone that the run has ended."""
        run, record = self._run, self.record
        assert run is not None
        now = self._surroundings.now()
        pid, record.pid = record.pid or 0, None
        record.last_exited_at = now
        record.last_exit_code = outcome.exit_code
        record.last_signal = outcome.signal
        record.run_time += now - (record.last_started_at or now)
        self._events.exited(pid, outcome, intentional=run.intentional, timed_out=run.timed_out)

    def judge(self, outcome: Outcome | None, reason: str) -> None:
        """Decide what follows a run that has ended, could not begin, or was not to come."""
        record = self.record
        if reason:
            record.error_message = reason
        if reason and record.first_run:
            self._fail_to_start(reason)
        elif self._restart is not None:
            self._begin_anew(self._restart)
        elif self._requeue and not self._ended_by_itself(outcome):
            self._wait_for_slot()
        elif record.intentional and not self._requeue and record.first_run:
            self._fail_to_start("stopped before it could begin")
        elif record.intentional and not self._requeue:
            self._complete()
        else:
            self._follow_policy(outcome)

    def take_slot_again(self) -> None:
        """The next run is due: the owner knows whether the task still has its slots."""
        self._owner.take_slot_again(self)

    def tell_unkillable(self) -> None:
        """Tell everyone that the run does not end; the task is errored."""
        record = self.record
        self.given_up = True
        self._requeue = False
        self._fail()
        what = f"process {record.pid}" if record.pid else "the code of the driver"
        record.error_message = f"{what} does not end, not even by SIGKILL"
        self._events.unkillable()
        self._end()
        self._refuse_attached(record.error_message)
        self._refuse_restart(record.error_message)

    # ------------------------------------------------------------------------------------ from runs

    def run_spawned(self, run: Run, pid: int) -> None:
        """See :class:`~overseer.lifecycle.run.RunOwner`."""
        self.inputs.spawned(pid)

    def run_failed(self, run: Run, reason: str) -> None:
        """See :class:`~overseer.lifecycle.run.RunOwner`."""
        self._run = None
        self._tell_failed(reason)

    def run_ready(self, run: Run, ready: bool, reason: str) -> None:
        """See :class:`~overseer.lifecycle.run.RunOwner`."""
        self.record.ready = ready
        self._events.ready(reason)
        self._owner.readiness_changed(self)

    def run_exited(self, run: Run, outcome: Outcome) -> None:
        """See :class:`~overseer.lifecycle.run.RunOwner`."""
        self._end_readiness()
        # A stop from now on, while output is still read, did not cause the exit.
        run.intentional = self.record.intentional and not run.timed_out
        self.inputs.exited(outcome)

    def run_drained(self, run: Run) -> None:
        """See :class:`~overseer.lifecycle.run.RunOwner`."""
        self.inputs.drained()

    def run_timed_out(self, run: Run) -> None:
        """See :class:`~overseer.lifecycle.run.RunOwner`."""
        self.inputs.stop(self.stop_grace)

    def run_gone(self, run: Run) -> None:
        """See :class:`~overseer.lifecycle.run.RunOwner`; a run that waited for this may begin."""
        if run is not self._run:
            return
        self._run = None
        self.given_up = False
        self.record.pid = None  # still there after a run that was given up
        self._owner.leftovers_gone(self)
        if self._waiting_for_group:
            self._waiting_for_group = False
            if self.record.intentional:
                told = self.record.first_run and not self._requeue
                self.inputs.spawn_failed("stopped before it could begin" if told else "")
            else:
                self.spawn()
        elif self._requeue:
            self._owner.take_slot_again(self)
        else:
            self._owner.task_gone(self)

    def tell_output(self, encoder: OutputEncoder, block: Block) -> tuple[Subscriber, ...]:
        """Number and tell one block of output; return who received it."""
        record, surroundings = self.record, self._surroundings
        batch = encoder.encode(block, record.last_seq + 1, surroundings.now())
        record.last_seq = batch.last_seq
        size = len(block.data) + (not block.unfinished)
        record.output_bytes += size
        self.ring.append(batch.to_keep())
        counters = surroundings.counters.of(record.action).output[encoder.stream]
        counters.lines += batch.lines
        counters.bytes += size
        self._owner.printed(self)
        return surroundings.subscriptions.publish(batch)

    # -------------------------------------------------------------------------------------- private

    def _watch_readiness(self) -> None:
        assert self.assignment is not None
        assert self._run is not None
        action, prober = self.assignment.action, self._surroundings.prober
        probe = action.settings.readiness
        if probe is not None and prober is not None:
            look = Look(
                check=probe.check,
                action=action,
                task_id=self.record.task_id,
                params=self.assignment.params,
                timeout=probe.timeout,
            )
            self._run.watch_readiness(look, prober)

    def _end_readiness(self) -> None:
        """Let the run be ready no more: its end says so to clients."""
        if self.record.ready:
            self.record.ready = False
            self._owner.readiness_changed(self)

    def _tell_failed(self, reason: str) -> None:
        """The run that was to come could not begin."""
        self._events.failed(reason, self.shown_params)
        self.inputs.spawn_failed(reason)

    def _abort(self, run: Run, begun: list[Worker], reason: str) -> None:
        """End what a driver had started before it failed; then, or at once, the run could not begin."""
        if begun:
            run.hand_over(AbortedRun(self, self._surroundings.clock, reason))
            self._run = run
            run.begin(begun.pop())
        else:
            self._tell_failed(reason)

    def _fail_to_start(self, reason: str) -> None:
        self.record.state = self._state_before
        starter, self.starter = self.starter, Starter()
        if self._state_before == "errored":
            self.inputs.give_up()
        else:
            self.record.state = "stopped"
            self.inputs.complete()
        self._owner.task_failed_to_start(self)
        starter.fail(reason)
        self._refuse_attached(reason)
        self._refuse_restart(reason)

    def _begin_anew(self, starter: Starter) -> None:
        """Follow a restart that was asked for: a first run again, in the slot that the task still has."""
        self._restart = None
        if self.record.first_run:
            self.starter.fail("replaced by a later restart")
        else:
            self._events.ended()
        self.record.restart_count = 0
        self.prepare(starter)
        self.inputs.retry_after(0.0)

    def _refuse_restart(self, reason: str) -> None:
        starter, self._restart = self._restart, None
        if starter is not None:
            starter.fail(reason)

    def _refuse_attached(self, reason: str) -> None:
        attached, self._attached = self._attached, []
        for starter in attached:
            starter.fail(reason)

    def _ended_by_itself(self, outcome: Outcome | None) -> bool:
        """Whether a surplus came too late to end the run: what had run to its end is not run again for it."""
        return outcome is not None and self._run is not None and not self._run.intentional

    def _wait_for_slot(self) -> None:
        # The place in the queue is taken once nothing of the run is alive: see run_gone.
        self.record.state = "queued"
        self.inputs.requeue()
        if not self.alive:
            self._owner.take_slot_again(self)

    def _complete(self) -> None:
        self._owner.tell_waits_no_more(self, "stopped")
        self.record.state = "stopped"
        self.inputs.complete()
        self._end()
        self._refuse_attached("the task has ended before another run could begin")

    def _follow_policy(self, outcome: Outcome | None) -> None:
        if outcome is None:
            self._owner.tell_waits_no_more(self, "failed")
        record = self.record
        timed_out = self._run is not None and self._run.timed_out
        now = self._surroundings.clock.seconds()
        ran_for = ((record.last_exited_at or 0) - (record.last_started_at or 0)) / 1_000_000
        verdict = self._retry.verdict(
            None if timed_out else outcome,
            started_at=now - max(ran_for, 0.0) if outcome is not None else now,
            now=now,
            random=self._surroundings.random(),
        )
        requeue, self._requeue = self._requeue, False
        if isinstance(verdict, RetryAfter) and requeue:
            self._requeue = True
            self._wait_for_slot()
        elif isinstance(verdict, RetryAfter):
            self._events.restarting(verdict)
            self.inputs.retry_after(verdict.delay)
            self.gives_back_slot = self.policy is not None and self.policy.release_slot
            if not self.alive:
                self._owner.task_gone(self)
        elif isinstance(verdict, GiveUp):
            self._fail()
            self._events.errored(verdict.exit_count)
            self.inputs.give_up()
            self._end()
            self._refuse_attached("the task has failed before another run could begin")
        else:
            self._complete()

    def _fail(self) -> None:
        self.record.state = "errored"
        self.record.errored_at = self._surroundings.now()

    def _end(self) -> None:
        self._events.ended()
        self._owner.task_ended(self)
