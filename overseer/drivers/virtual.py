"""Workers that are code of ours: a coroutine on the reactor, or a function in a thread of its own.

They get what processes get, and live as they do. A stop cancels them: a coroutine gets a CancelledError where
it waits, a thread where it sends or sleeps next. A coroutine that goes on after its grace is closed; a thread
cannot be ended, so one that goes on is given up in the end, as a process that SIGKILL does not end.

Lines are collected and told once a turn of the reactor, up to one read's worth of them. Whoever sends more
waits: for the next turn, or while every subscriber is behind.
"""

import inspect
import signal
import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any, cast, overload

from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from overseer.core.process import Outcome, Stream
from overseer.core.worker import Uninteractive, Worker, WorkerEvents
from overseer.drivers.interfaces import WorkerCallbacks

PID = 0
"""What stands for the process id of a run that is no process (protocol.md section 5)."""
SEND_SIZE = 64 * 1024
"""Characters that are collected before whoever sends them waits: as much as one read of a pipe."""
_EXIT_CODES = range(-(2**31), 2**31)
"""What databases and clients of any language take; a greater number could be told to nobody."""
_TERMINATED = Outcome.from_signal(signal.SIGTERM)
_KILLED = Outcome.from_signal(signal.SIGKILL)
_OURS = {
    defer.__name__,
    Failure.__module__,
    __name__,
    "overseer.drivers.functions",
    "overseer.services",
}


class _Ready:
    """What there is nothing to wait for."""

    _nothing: Iterator[None] = iter(())

    def __await__(self) -> Any:
        return self._nothing


_READY = _Ready()


class _ErrorLine(str):
    """A line of stderr among those of stdout."""

    __slots__ = ()


class _Buffer:
    """Lines that were sent and not told yet, in their order.

    Whoever sends puts a line into ``lines``, takes its characters off ``room``, and then looks whether there is
    room and a turn of the reactor is due that will tell the line. No lock is needed for that, which would cost
    more than all the rest: of two threads each sees what the other has done before. ``room`` may be inexact.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.room = SEND_SIZE
        self.turn_is_due = False
        self._mixed = False

    def error_line(self, stream: str, line: str) -> str:
        """Return what stands in ``lines`` for a line that is not of stdout.

        :raises ValueError: when there is no such stream.
        """
        if stream != "stderr":
            raise ValueError(f'expected the stream "stdout" or "stderr", got {stream!r}')
        self._mixed = True
        return _ErrorLine(line)

    def refuse(self) -> None:
        """Take the last line back, and let the next one be looked at, too."""
        del self.lines[-1:]
        self.turn_is_due = False

    def take(self) -> list[tuple[Stream, bytes]]:
        """Return the lines, and keep none of them."""
        lines = self.lines[:]
        del self.lines[: len(lines)]  # what has come since stays
        self.room = SEND_SIZE
        if not lines:
            return []
        if not self._mixed:
            return [("stdout", _encoded(lines))]
        return [
            ("stderr" if of is _ErrorLine else "stdout", _encoded(list(some)))
            for of, some in groupby(lines, type)
        ]


def _encoded(lines: list[str]) -> bytes:
    try:
        text = "\n".join(lines)
    except TypeError:
        text = "\n".join(map(str, lines))  # something is no text: shown as print() would
    # A lone surrogate becomes U+FFFD where the bytes are decoded.
    return (text + "\n").encode("utf-8", "surrogatepass")


class _VirtualWorker(Uninteractive, ABC):
    """What both kinds of virtual workers do, in the reactor."""

    _log = Logger()

    def __init__(self, task_id: str, callbacks: WorkerCallbacks) -> None:
        self.task_id = task_id
        self.reactor = callbacks.services.reactor
        self.buffer = _Buffer()
        self._events: WorkerEvents | None = callbacks.events
        self._receipt = callbacks.receipt
        self._deadline: IDelayedCall | None = None
        self._running = False
        self._cancelled = False
        self._paused = False

    def start(self) -> None:
        """Begin in the next turn of the reactor."""
        self.reactor.callLater(0, self._begin)

    def terminate(self, grace: float) -> None:
        """Cancel what runs, and what does not end within ``grace`` seconds by force."""
        if self._running and not self._cancelled:
            self._cancelled = True
            self._deadline = self.reactor.callLater(grace, self.kill)
            self.reactor.callLater(0, self._cancel)

    def kill(self) -> None:
        """End by force what can be ended so."""
        if self._running:
            self._cancelled = True
            self.reactor.callLater(0, self._force)

    def pause_output(self) -> None:
        """Tell nothing until :meth:`resume_output`."""
        self._paused = self._running

    def resume_output(self) -> None:
        """Tell again."""
        if self._paused:
            self._paused = False
            self.reactor.callLater(0, self._turn)

    def close_output(self) -> None:
        """Do nothing: all output is told before the exit."""

    def _begin(self) -> None:
        assert self._events is not None
        self._running = True
        self._events.spawned(PID)
        if self._cancelled:
            self._end(_TERMINATED)
            return
        if self._receipt is not None:
            Path(self._receipt).touch()
        self._run()

    def _tell(self) -> None:
        for stream, data in self.buffer.take():
            if self._events is not None:
                self._events.output(stream, data)

    def _end(self, outcome: Outcome, error: str = "") -> None:
        events = self._events
        if events is None:
            return
        self._tell()
        self._events, self._running, self._paused = None, False, False
        self.buffer.turn_is_due = False  # who sends next is to look
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        if error:
            events.output("stderr", error.encode("utf-8", "surrogatepass"))
        events.exited(outcome)
        events.drained()
        events.gone()

    def _outcome(self, result: object) -> tuple[Outcome, str]:
        if result is None:
            return Outcome(0), ""
        if isinstance(result, int) and result in _EXIT_CODES:
            return Outcome(int(result)), ""
        return Outcome(1), f"expected an exit code, an integer of 32 bits, got {_shown(result)}\n"

    def _failure(self, error: BaseException | None) -> tuple[Outcome, str]:
        if self._cancelled and isinstance(error, CancelledError):
            return _TERMINATED, ""
        frames = _without_ours(error.__traceback__ if error is not None else None)
        return Outcome(1), "".join(traceback.format_exception(None, error, frames))

    @abstractmethod
    def _run(self) -> None:
        """Call the function."""

    @abstractmethod
    def _cancel(self) -> None:
        """Ask it to end, if it has not."""

    @abstractmethod
    def _force(self) -> None:
        """End it, if it has not, or say that it cannot be ended."""

    @abstractmethod
    def _turn(self) -> None:
        """Tell what was sent, and let go on who waits for that."""


class _CoroutineWorker(_VirtualWorker):
    """Runs a coroutine on the reactor."""

    def __init__(
        self, task_id: str, function: "CoroutineFunction", callbacks: WorkerCallbacks
    ) -> None:
        super().__init__(task_id, callbacks)
        self._function = function
        self._callbacks = callbacks
        self._coroutine: Coroutine[Any, Any, int | None] | None = None
        self._result: Deferred[int | None] | None = None
        self._waiting: list[Deferred[None]] = []

    def attend(self) -> Awaitable[None]:
        """See to a line that is not to be told yet, or has filled the buffer: return what its sender waits for.

        :raises CancelledError: when the run has ended.
        """
        if self._events is None:
            self.buffer.refuse()
            raise CancelledError("the run has ended")
        if not self.buffer.turn_is_due:
            self._call_turn()
        if self.buffer.room > 0:
            return _READY
        if self._waiting or not self._paused:
            self._tell()  # two that wait: the first was not waited for
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def _call_turn(self) -> None:
        self.buffer.turn_is_due = True
        self.reactor.callLater(0, self._turn)

    def _run(self) -> None:
        self._coroutine = self._call()
        self._result = Deferred.fromCoroutine(self._coroutine)
        self._result.addCallbacks(self._returned, self._raised)

    async def _call(self) -> int | None:
        return await self._function(CoroutineRun(self.task_id, self._callbacks, self))

    def _returned(self, result: int | None) -> None:
        self._end(*self._outcome(result))

    def _raised(self, failure: Failure) -> None:
        self._end(*self._failure(failure.value))

    def _cancel(self) -> None:
        if self._result is not None:
            self._result.cancel()

    def _force(self) -> None:
        if not self._running:
            return
        self._end(_KILLED)
        if self._coroutine is not None:
            try:
                self._coroutine.close()
            except Exception:
                self._log.failure("task {task_id}: its coroutine goes on", task_id=self.task_id)

    def _turn(self) -> None:
        if self._paused:
            return
        self.buffer.turn_is_due = False
        self._tell()
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)


class _ThreadWorker(_VirtualWorker):
    """Runs a function in a thread; ``changed`` tells it that there is room again, or that it is cancelled."""

    def __init__(
        self, task_id: str, function: "ThreadFunction", callbacks: WorkerCallbacks
    ) -> None:
        super().__init__(task_id, callbacks)
        self._function = function
        self._callbacks = callbacks
        self.changed = threading.Condition()
        self.cancelled = False

    def attend(self) -> None:
        """See to a line that is not to be told yet, or has filled the buffer; called by the thread.

        :raises CancelledError: when the run has ended, or was asked to.
        """
        buffer = self.buffer
        with self.changed:
            if self.cancelled:
                buffer.refuse()
            self.refuse_cancelled()
            if not buffer.turn_is_due:
                buffer.turn_is_due = True
                self.reactor.callFromThread(self._turn)
            while buffer.room <= 0 and not self.cancelled:
                self.changed.wait()
            self.refuse_cancelled()

    def refuse_cancelled(self) -> None:
        """Go on unless the run has ended, or was asked to.

        :raises CancelledError: when it has, or was.
        """
        if self.cancelled:
            raise CancelledError("the run has ended, or was asked to")

    def _run(self) -> None:
        # Not one of the reactor's pool, which waits for all of them in the end.
        name = f"overseer-task-{self.task_id}"
        threading.Thread(target=self._call, name=name, daemon=True).start()

    def _call(self) -> None:
        try:
            ended = self._outcome(self._function(ThreadRun(self.task_id, self._callbacks, self)))
        except BaseException as error:
            ended = self._failure(error)
        self.reactor.callFromThread(self._end, *ended)

    def _end(self, outcome: Outcome, error: str = "") -> None:
        super()._end(outcome, error)
        self._cancel()  # threads that the function has begun may use the run still

    def _cancel(self) -> None:
        with self.changed:
            self.cancelled = True
            self.buffer.turn_is_due = False  # who sends next is to look
            self.changed.notify_all()

    def _force(self) -> None:
        if not self._running:
            return
        self._cancel()
        self._log.warn(
            "task {task_id}: its thread goes on though it was told to end, and nothing can end it",
            task_id=self.task_id,
        )

    def _turn(self) -> None:
        if self._paused:
            return
        # In this order: who sends a line after that sees that no turn is due.
        self.buffer.turn_is_due = False
        self._tell()
        with self.changed:
            self.changed.notify_all()


class CoroutineRun:
    """What a coroutine is given: the run that it is."""

    def __init__(self, task_id: str, callbacks: WorkerCallbacks, worker: _CoroutineWorker) -> None:
        self.task_id = task_id
        self.action = callbacks.action
        self.attempt = callbacks.attempt
        self._worker = worker
        self._buffer = worker.buffer

    def send(self, stream: Stream, line: str) -> Awaitable[None]:
        """Tell a line. To be awaited: that takes as long as there is no room for more.

        :raises ValueError: when there is no such stream.
        """
        buffer = self._buffer
        buffer.lines.append(line if stream == "stdout" else buffer.error_line(stream, line))
        buffer.room -= len(line) + 1
        if buffer.turn_is_due and buffer.room > 0:
            return _READY
        return self._worker.attend()

    async def sleep(self, seconds: float) -> None:
        """Wait for so many seconds."""
        await deferLater(self._worker.reactor, seconds)


class ThreadRun:
    """What a function in a thread is given: the run that it is. Any thread may use it."""

    def __init__(self, task_id: str, callbacks: WorkerCallbacks, worker: _ThreadWorker) -> None:
        self.task_id = task_id
        self.action = callbacks.action
        self.attempt = callbacks.attempt
        self._worker = worker
        self._buffer = worker.buffer

    @property
    def cancelled(self) -> bool:
        """Whether the run has ended, or was asked to."""
        return self._worker.cancelled

    def send(self, stream: Stream, line: str) -> None:
        """Tell a line; returns as soon as there is room for more.

        :raises twisted.internet.defer.CancelledError: when the run has ended, or was asked to.
        :raises ValueError: when there is no such stream.
        """
        buffer = self._buffer
        buffer.lines.append(line if stream == "stdout" else buffer.error_line(stream, line))
        buffer.room -= len(line) + 1
        if not buffer.turn_is_due or buffer.room <= 0:
            self._worker.attend()

    def sleep(self, seconds: float) -> None:
        """Wait for so many seconds.

        :raises twisted.internet.defer.CancelledError: as soon as the run was asked to end.
        """
        with self._worker.changed:
            self._worker.changed.wait_for(lambda: self._worker.cancelled, seconds)
            self._worker.refuse_cancelled()


CoroutineFunction = Callable[[CoroutineRun], Coroutine[Any, Any, int | None]]
ThreadFunction = Callable[[ThreadRun], int | None]


@overload
def start_virtual_worker(
    task_id: str, function: CoroutineFunction, callbacks: WorkerCallbacks
) -> Worker: ...


@overload
def start_virtual_worker(
    task_id: str, function: ThreadFunction, callbacks: WorkerCallbacks
) -> Worker: ...


def start_virtual_worker(
    task_id: str, function: CoroutineFunction | ThreadFunction, callbacks: WorkerCallbacks
) -> Worker:
    """Run an ``async def`` on the reactor, or any other function in a thread of its own.

    The function is given its run, to send lines by. What it returns is the exit code, None for 0; an exception
    is the exit code 1, with the traceback on stderr. A stop cancels it.
    """
    worker: _VirtualWorker
    if inspect.iscoroutinefunction(function):
        worker = _CoroutineWorker(task_id, cast("CoroutineFunction", function), callbacks)
    else:
        worker = _ThreadWorker(task_id, cast("ThreadFunction", function), callbacks)
    worker.start()
    callbacks.begun.append(worker)
    return worker


def _shown(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # of a driver's class, or too long a number
        return f"an object of type {type(value).__name__}"


def _without_ours(frames: TracebackType | None) -> TracebackType | None:
    """Return the part of a traceback that begins in the function."""
    while frames is not None and frames.tb_frame.f_globals.get("__name__") in _OURS:
        frames = frames.tb_next
    return frames
