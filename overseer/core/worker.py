"""The border between the life of a task and whatever runs for it.

A *worker* is one run of a task: an operating system process, or code that behaves like one. It reports
through :class:`WorkerEvents` and obeys through :class:`Worker`. The order of events of one run is::

    spawned -> output* -> exited -> output* -> drained -> gone     (``closed`` a stream: before drained)
    spawn_failed                                  (and nothing else)

Exactly one of ``spawned`` and ``spawn_failed`` comes. No event arrives from inside the call that starts a
worker, or any call of one, nor from another thread.
"""

from collections.abc import Callable
from typing import Protocol

from overseer.core.process import Outcome, Stream


class WorkerError(Exception):
    """A worker cannot do what it is asked; the text says why, to the client that asked."""


class WorkerEvents(Protocol):
    """What a worker reports; implemented by the run that owns it."""

    def spawned(self, pid: int) -> None:
        """The worker runs now."""

    def spawn_failed(self, reason: str) -> None:
        """The worker could not be started; ``reason`` names the program and the system's error."""

    def output(self, stream: Stream, data: bytes) -> None:
        """One read of at least one byte. The splitting into lines is the receiver's."""

    def exited(self, outcome: Outcome) -> None:
        """The main process has ended; output may still follow."""

    def closed(self, stream: Stream) -> None:
        """No more output will come from this stream; before ``drained``, once each."""

    def drained(self) -> None:
        """No more output will come at all."""

    def gone(self) -> None:
        """Nothing of the worker is alive any more, its leftovers included. The last event."""


class Worker(Protocol):
    """What can be asked of a worker."""

    def terminate(self, grace: float) -> None:
        """Ask the whole group to end; what is left of it after ``grace`` seconds is killed.

        The grace covers the leftovers of a main process that ends earlier. Only the first call counts.
        """

    def kill(self) -> None:
        """End the whole group by force, now."""

    def pause_output(self) -> None:
        """Read nothing more until :meth:`resume_output`. Has no effect once the main process ended."""

    def resume_output(self) -> None:
        """Read again."""

    def close_output(self) -> None:
        """Stop waiting for whoever still holds the pipes: read what is there, then ``drained``."""

    def write_input(
        self, data: bytes, taken: Callable[[], object], lost: Callable[[str], object]
    ) -> None:
        """Give the worker something to read, after what it was given before.

        One call follows, perhaps at once: ``taken`` when it has taken all of ``data`` (its pipe, if it is a
        process), or ``lost`` with the reason for which it never will.

        :raises WorkerError: when it reads nothing, or has too much to read already.
        """

    def end_input(self) -> None:
        """Tell the worker that nothing follows what it was given to read."""

    def signal(self, number: int) -> None:
        """Send a signal to the whole group.

        :raises WorkerError: when it knows no signals, or has ended.
        """

    def resize(self, rows: int, columns: int) -> None:
        """Change the size of the worker's terminal.

        :raises WorkerError: when it has none.
        """


class Uninteractive:
    """The part of a :class:`Worker` that reads nothing, has no terminal and knows no signals."""

    def write_input(
        self, data: bytes, taken: Callable[[], object], lost: Callable[[str], object]
    ) -> None:
        """See :class:`Worker`."""
        raise WorkerError("input: the task takes none")

    def end_input(self) -> None:
        """See :class:`Worker`."""

    def signal(self, number: int) -> None:
        """See :class:`Worker`."""
        raise WorkerError("signal: the task is no process")

    def resize(self, rows: int, columns: int) -> None:
        """See :class:`Worker`."""
        raise WorkerError("resize: the task has no terminal")
