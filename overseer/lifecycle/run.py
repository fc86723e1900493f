"""One run of a task: takes what its worker reports, cuts and filters its output, watches its time limits."""

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from overseer.core.expressions import MAX_CONDITION_SIZE
from overseer.core.filtering import OutputFilter
from overseer.core.lines import Block, LineSplitter
from overseer.core.process import Outcome, Stream
from overseer.core.worker import Worker
from overseer.drivers.interfaces import Action
from overseer.lifecycle.flow import FlowControl
from overseer.lifecycle.readiness import Look, Prober, Readiness
from overseer.lifecycle.subscriptions import Subscriber
from overseer.protocol.batch import OutputEncoder

STREAMS: tuple[Stream, ...] = ("stdout", "stderr")


class RunOwner(Protocol):
    """What a run tells its task."""

    def run_spawned(self, run: "Run", pid: int) -> None:
        """The worker runs."""

    def run_failed(self, run: "Run", reason: str) -> None:
        """The worker could not be started."""

    def run_exited(self, run: "Run", outcome: Outcome) -> None:
        """The worker has ended."""

    def run_drained(self, run: "Run") -> None:
        """All output has been told."""

    def run_gone(self, run: "Run") -> None:
        """Nothing of the run is alive."""

    def run_ready(self, run: "Run", ready: bool, reason: str) -> None:
        """The run has become ready, or is it no more, for this reason."""

    def run_timed_out(self, run: "Run") -> None:
        """A time limit of the action has come: the run shall end."""

    def tell_output(self, encoder: OutputEncoder, block: Block) -> tuple[Subscriber, ...]:
        """Number and tell one block of output; return who received it."""


class Run:
    """One run of a task, from before its worker starts until nothing of it is alive."""

    def __init__(
        self,
        owner: RunOwner,
        action: Action,
        *,
        task_id: str,
        clock: IReactorTime,
        line_size: int,
        json_lines: bool,
    ) -> None:
        self._owner = owner
        self._settings = action.settings
        self._task_id = task_id
        self._clock = clock
        self._line_size = line_size
        self._json_lines = json_lines
        self._worker: Worker | None = None
        self._flow: FlowControl | None = None
        self._readiness: Readiness | None = None
        filters = action.handler.filters
        self._filters = {stream: OutputFilter(select) for stream, select in filters.items()}
        self._splitters = {
            # A condition sees a line whole, up to a limit of its own.
            stream: LineSplitter(MAX_CONDITION_SIZE if stream in filters else line_size)
            for stream in STREAMS
        }
        self._encoders: dict[Stream, OutputEncoder] = {}
        self._timeout: IDelayedCall | None = None
        self._idle_timeout: IDelayedCall | None = None
        self._last_output_at = 0.0
        self.alive = True
        self.intentional = False
        """Whether the exit came after a stop."""
        self.timed_out = False
        """Whether a time limit ended it."""

    @property
    def worker(self) -> Worker | None:
        """What runs, or is being started, until nothing of it is alive."""
        return self._worker

    def begin(self, worker: Worker) -> None:
        """Take on the worker, which was started a moment ago and has told nothing yet."""
        self._worker = worker
        if self._settings.backpressure == "hold":
            self._flow = FlowControl(self._clock, self)

    def hand_over(self, owner: RunOwner) -> None:
        """Tell ``owner`` from now on."""
        self._owner = owner

    def watch_readiness(self, look: Look, prober: Prober) -> None:
        """See whether the run, which has begun, is ready, by the probe of its action."""
        probe = self._settings.readiness
        assert probe is not None
        self._readiness = Readiness(
            self._clock,
            probe,
            look,
            prober,
            lambda ready, reason: self._owner.run_ready(self, ready, reason),
        )
        self._readiness.begin()

    def terminate(self, grace: float) -> None:
        """Ask the worker to end; no time limit counts from now on, and no readiness."""
        assert self._worker is not None
        self._end_time_limits()
        self._end_readiness()
        self._worker.terminate(grace)

    def kill(self) -> None:
        """End the worker by force."""
        if self.alive and self._worker is not None:
            self._worker.kill()

    def close_output(self) -> None:
        """Wait no longer for the rest of the output."""
        assert self._worker is not None
        self._worker.close_output()

    def release(self) -> None:
        """Read the worker's output again if it was held."""
        if self._flow is not None:
            self._flow.release()

    # ----------------------------------------------------------------------------- flow control

    def pause_output(self) -> None:
        """See :class:`~overseer.lifecycle.flow.Source`."""
        assert self._worker is not None
        self._worker.pause_output()

    def resume_output(self) -> None:
        """See :class:`~overseer.lifecycle.flow.Source`; the child could not write until now."""
        assert self._worker is not None
        self._last_output_at = self._clock.seconds()
        self._worker.resume_output()

    # ------------------------------------------------------------------------------ worker events

    def spawned(self, pid: int) -> None:
        """See :class:`~overseer.core.worker.WorkerEvents`."""
        for stream in STREAMS:
            self._encoders[stream] = OutputEncoder(
                self._task_id, pid, stream, self._line_size, json_lines=self._json_lines
            )
        if self._settings.timeout:
            self._timeout = self._clock.callLater(self._settings.timeout, self._time_out)
        if self._settings.idle_timeout:
            self._last_output_at = self._clock.seconds()
            self._watch_idleness(self._settings.idle_timeout)
        self._owner.run_spawned(self, pid)

    def spawn_failed(self, reason: str) -> None:
        """See :class:`~overseer.core.worker.WorkerEvents`."""
        self.alive = False
        self._worker = self._flow = None  # which know this run: let all go at once
        self._owner.run_failed(self, reason)

    def output(self, stream: Stream, data: bytes) -> None:
        """See :class:`~overseer.core.worker.WorkerEvents`."""
        if self._idle_timeout is not None:
            self._last_output_at = self._clock.seconds()
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
        self._end_time_limits()
        self._end_readiness()
        self._owner.run_exited(self, outcome)

    def drained(self) -> None:
        """See :class:`~overseer.core.worker.WorkerEvents`."""
        for stream in STREAMS:
            self.closed(stream)
        self._owner.run_drained(self)

    def gone(self) -> None:
        """See :class:`~overseer.core.worker.WorkerEvents`."""
        self.alive = False
        self._worker = None  # which knows this run: let both go at once
        self._owner.run_gone(self)

    # ------------------------------------------------------------------------------------ private

    def _tell(self, stream: Stream, block: Block) -> None:
        if self._readiness is not None:
            self._readiness.see(block.data)
        if stream in self._filters:
            kept = self._filters[stream].apply(block)
            if kept is None:
                return
            block = kept
        audience = self._owner.tell_output(self._encoders[stream], block)
        if self._flow is not None and audience:
            self._flow.check(audience)

    def _watch_idleness(self, seconds: float) -> None:
        self._idle_timeout = self._clock.callLater(seconds, self._look_at_idleness)

    def _look_at_idleness(self) -> None:
        # One timer for all output: it looks again when the limit could have come since the last line.
        limit = self._settings.idle_timeout
        now = self._clock.seconds()
        if self._flow is not None and self._flow.holding:
            self._last_output_at = now  # the child could not write if it wanted to
        left = self._last_output_at + limit - now
        if left > 0:
            self._watch_idleness(left)
        else:
            self._time_out()

    def _end_time_limits(self) -> None:
        for call in (self._timeout, self._idle_timeout):
            if call is not None and call.active():
                call.cancel()
        self._timeout = self._idle_timeout = None

    def _end_readiness(self) -> None:
        readiness, self._readiness = self._readiness, None
        if readiness is not None:
            readiness.end()

    def _time_out(self) -> None:
        self.timed_out = True
        self._owner.run_timed_out(self)
