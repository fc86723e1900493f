"""One task: its record, its state machine, the ring of its last events and its current run."""

from collections.abc import Callable, Mapping
from typing import Protocol

import attrs
from twisted.internet.interfaces import IReactorTime

from overseer.core.expressions import MAX_CONDITION_SIZE
from overseer.core.filtering import OutputFilter
from overseer.core.lines import Block, LineSplitter
from overseer.core.process import Outcome, Stream
from overseer.core.ring import RingBuffer
from overseer.core.task import TaskRecord
from overseer.core.timestamps import format_timestamp
from overseer.core.worker import Worker
from overseer.drivers.interfaces import IActionHandler, ValidationError
from overseer.lifecycle.flow import FlowControl
from overseer.lifecycle.machine import Core, new_machine
from overseer.lifecycle.subscriptions import Subscriber, Subscriptions
from overseer.protocol.batch import Batch, OutputEncoder, lifecycle_batch
from overseer.protocol.messages import Errored, Exited, Message, Started

STREAMS: tuple[Stream, ...] = ("stdout", "stderr")


class Owner(Protocol):
    """Who keeps the task."""

    def task_finished(self, task: "Task") -> None:
        """The task has ended; it may be started again."""

    def task_failed_to_start(self, task: "Task") -> None:
        """A run could not begin; a task that never ran is to be forgotten."""

    def group_gone(self, task: "Task") -> None:
        """Nothing of any run of the task is alive."""


@attrs.frozen(kw_only=True)
class Starter:
    """Who asked for a run, and how to answer."""

    request_id: str = ""
    subscriber: Subscriber | None = None
    fail: Callable[[str], object] = lambda reason: None


@attrs.frozen(kw_only=True)
class Surroundings:
    """What tasks share: ``now`` gives microseconds since the epoch, ``line_size`` is in bytes."""

    clock: IReactorTime
    now: Callable[[], int]
    subscriptions: Subscriptions
    line_size: int


class Run:
    """One run of a task: takes what its worker reports, and numbers and tells its output."""

    def __init__(self, task: "Task", hold: bool) -> None:
        self._task = task
        self._hold = hold
        self._worker: Worker | None = None
        self._flow: FlowControl | None = None
        filters = task.handler.filters if task.handler is not None else {}
        self._filters = {stream: OutputFilter(select) for stream, select in filters.items()}
        self._splitters = {
            # A condition sees a line whole, up to a limit of its own.
            stream: LineSplitter(MAX_CONDITION_SIZE if stream in filters else task.line_size)
            for stream in STREAMS
        }
        self._encoders: dict[Stream, OutputEncoder] = {}
        self.alive = True
        self.intentional = False
        """Whether the exit came after a stop."""

    def start(self, worker: Worker, clock: IReactorTime) -> None:
        """Start the worker."""
        self._worker = worker
        if self._hold:
            self._flow = FlowControl(clock, worker)
        worker.start()

    @property
    def worker(self) -> Worker:
        """What runs."""
        assert self._worker is not None
        return self._worker

    def release(self) -> None:
        """Read the worker's output again if it was held."""
        if self._flow is not None:
            self._flow.release()

    # ------------------------------------------------------------------------------ worker events

    def spawned(self, pid: int) -> None:
        """See :class:`~overseer.core.worker.WorkerEvents`."""
        task = self._task
        for stream in STREAMS:
            self._encoders[stream] = OutputEncoder(task.record.task_id, pid, stream, task.line_size)
        task.inputs.spawned(pid)

    def spawn_failed(self, reason: str) -> None:
        """See :class:`~overseer.core.worker.WorkerEvents`."""
        self.alive = False
        self._task.inputs.spawn_failed(reason)
        self._task.run_gone(self)

    def output(self, stream: Stream, data: bytes) -> None:
        """See :class:`~overseer.core.worker.WorkerEvents`."""
        for block in self._splitters[stream].feed(data):
            self._tell(stream, block)

    def closed(self, stream: Stream) -> None:
        """See :class:`~overseer.core.worker.WorkerEvents`."""
        for block in self._splitters[stream].finish():
            self._tell(stream, block)

    def exited(self, outcome: Outcome) -> None:
        """See :class:`~overseer.core.worker.WorkerEvents`."""
        self.release()
        self._flow = None
        # A stop from now on, while output is still read, did not cause the exit.
        self.intentional = self._task.record.intentional
        self._task.inputs.exited(outcome)

    def drained(self) -> None:
        """See :class:`~overseer.core.worker.WorkerEvents`."""
        for stream in STREAMS:
            self.closed(stream)
        self._task.inputs.drained()

    def gone(self) -> None:
        """See :class:`~overseer.core.worker.WorkerEvents`."""
        self.alive = False
        self._task.run_gone(self)

    def _tell(self, stream: Stream, block: Block) -> None:
        if stream in self._filters:
            kept = self._filters[stream].apply(block)
            if kept is None:
                return
            block = kept
        audience = self._task.tell_output(self._encoders[stream], block)
        if self._flow is not None and audience:
            self._flow.check(audience)


class Task:
    """A task over all its runs. Implements the effects of its state machine."""

    def __init__(
        self, record: TaskRecord, ring: RingBuffer[Batch], surroundings: Surroundings, owner: Owner
    ) -> None:
        self.record = record
        self.ring = ring
        self.handler: IActionHandler | None = None
        self.inputs = new_machine(Core(surroundings.clock, self))
        self._surroundings = surroundings
        self._owner = owner
        self._starter = Starter()
        self._run: Run | None = None
        self._waiting_for_group = False

    @property
    def line_size(self) -> int:
        """Most bytes of one output message."""
        return self._surroundings.line_size

    @property
    def alive(self) -> bool:
        """Whether a process of the task may be alive."""
        return self._run is not None and self._run.alive

    # --------------------------------------------------------------------------------- what is asked

    def begin(
        self, action: str, handler: IActionHandler, params: Mapping[str, str], starter: Starter
    ) -> None:
        """Begin a new run; the task must be finished."""
        record = self.record
        self.handler = handler
        self._starter = starter
        record.action = action
        record.params = params
        record.state = "active"
        record.restart_count = 0
        record.error_message = ""
        record.intentional = False
        self.inputs.begin()

    def stop(self, grace: float | None) -> None:
        """End the current run, by force after ``grace`` seconds (None: what the action says)."""
        record = self.record
        if record.state == "errored":
            record.state = "stopped"
        elif not record.finished:
            record.intentional = True
        assert self.handler is not None
        self.inputs.stop(self.handler.stop_grace if grace is None else grace)

    def kill(self) -> None:
        """End the current run by force, now."""
        if self._run is not None and self._run.alive:
            self._run.worker.kill()

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
        record = self.record
        record.run += 1
        handler = self.handler
        assert handler is not None
        run = Run(self, handler.hold)
        try:
            worker = handler.create_worker(record.task_id, record.params, run)
        except ValidationError as error:
            self.inputs.spawn_failed(f"validation error: {error}")
            return
        self._run = run
        run.start(worker, self._surroundings.clock)

    def tell_started(self, pid: int) -> None:
        """Tell everyone that the run has begun; the starter gets the id of its request."""
        record = self.record
        now = self._surroundings.now()
        record.pid = pid
        record.last_started_at = now
        subscriptions = self._surroundings.subscriptions
        starter, self._starter = self._starter, Starter()
        plain = Started(id="", task_id=record.task_id, pid=pid, ts=format_timestamp(now))
        if starter.subscriber is not None:
            named = Started(
                id=starter.request_id, task_id=record.task_id, pid=pid, ts=format_timestamp(now)
            )
            subscriptions.send(starter.subscriber, self._event(named, now))
        subscriptions.publish(self._event(plain, now), besides=starter.subscriber)

    def tell_start_failed(self, reason: str) -> None:
        """Answer the starter with the reason; a run before this one stays what it was."""
        self.record.state = "stopped"
        self.record.error_message = reason
        starter, self._starter = self._starter, Starter()
        starter.fail(reason)
        self._owner.task_failed_to_start(self)

    def terminate(self, grace: float) -> None:
        """Ask the worker to end."""
        assert self._run is not None
        self._run.worker.terminate(grace)

    def close_output(self) -> None:
        """Wait no longer for the rest of the output."""
        assert self._run is not None
        self._run.worker.close_output()

    def tell_exited(self, outcome: Outcome) -> None:
        """Tell everyone that the run has ended."""
        assert self._run is not None
        record = self.record
        now = self._surroundings.now()
        message = Exited(
            record.task_id,
            record.pid or 0,
            outcome.exit_code,
            self._run.intentional,
            format_timestamp(now),
            outcome.signal,
        )
        record.pid = None
        record.state = "stopped"
        record.last_exited_at = now
        record.last_exit_code = outcome.exit_code
        batch = self._event(message, now)
        self.ring.append(batch)
        self.ring.compact()
        self._surroundings.subscriptions.publish(batch)
        self._owner.task_finished(self)

    def tell_unkillable(self) -> None:
        """Tell everyone that the run does not end; the task is errored."""
        record = self.record
        now = self._surroundings.now()
        record.state = "errored"
        record.error_message = f"process {record.pid} does not end, not even by SIGKILL"
        self._surroundings.subscriptions.publish(
            self._event(
                Errored(record.task_id, record.pid or 0, 1, format_timestamp(now), "unkillable"),
                now,
            )
        )
        self._owner.task_finished(self)

    # ------------------------------------------------------------------------------------ from runs

    def tell_output(self, encoder: OutputEncoder, block: Block) -> tuple[Subscriber, ...]:
        """Number and tell one block of output; return who received it."""
        record = self.record
        batch = encoder.encode(block, record.last_seq + 1, self._surroundings.now())
        record.last_seq = batch.last_seq
        self.ring.append(batch)
        return self._surroundings.subscriptions.publish(batch)

    def run_gone(self, run: Run) -> None:
        """Nothing of ``run`` is alive any more; a run that waited for this may begin."""
        if run is not self._run:
            return
        self._run = None
        self.record.pid = None  # still there after a run that was given up
        if self._waiting_for_group and self.record.intentional:
            self._waiting_for_group = False
            self.inputs.spawn_failed("stopped before it could begin")
        elif self._waiting_for_group:
            self.spawn()
        else:
            self._owner.group_gone(self)

    def _event(self, message: Message, now: int) -> Batch:
        return lifecycle_batch(self.record.task_id, message, now, self.record.last_seq)
