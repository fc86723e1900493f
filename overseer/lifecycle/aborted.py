"""What becomes of a run whose driver has started a worker and then failed: it is ended, and never was.

Nobody is told that it began, nor what it prints. Its task learns that it could not begin once nothing of it is
alive, so that the next run meets no leftovers of it, and a shutdown waits for it.
"""

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from overseer.core.lines import Block
from overseer.core.process import Outcome
from overseer.lifecycle.machine import UNKILLABLE_AFTER
from overseer.lifecycle.run import Run
from overseer.lifecycle.subscriptions import Subscriber
from overseer.protocol.batch import OutputEncoder


class Starting(Protocol):
    """The task whose run it is, and which still believes that it is being started."""

    @property
    def stop_grace(self) -> float:
        """Seconds between SIGTERM and SIGKILL."""

    def terminate(self, grace: float) -> None:
        """Ask the worker to end."""

    def run_failed(self, run: Run, reason: str) -> None:
        """The run could not begin."""


class AbortedRun:
    """The :class:`~overseer.lifecycle.run.RunOwner` of such a run, in place of its task.

    :param reason: what the task is told, once.
    """

    def __init__(self, task: Starting, clock: IReactorTime, reason: str) -> None:
        self._task = task
        self._clock = clock
        self._reason = reason
        self._give_up: IDelayedCall | None = None
        self._told = False

    def run_spawned(self, run: Run, pid: int) -> None:
        """End what could not be ended before it ran."""
        grace = self._task.stop_grace
        self._give_up = self._clock.callLater(grace + UNKILLABLE_AFTER, self._tell, run)
        self._task.terminate(grace)

    def run_failed(self, run: Run, reason: str) -> None:
        """Tell of the first failure, not of the one that came of it."""
        self._tell(run)

    def run_exited(self, run: Run, outcome: Outcome) -> None:
        """Wait for no output."""
        run.close_output()

    def run_drained(self, run: Run) -> None:
        """Wait for the rest of its processes."""

    def run_gone(self, run: Run) -> None:
        """Tell that the run could not begin."""
        self._tell(run)

    def run_ready(self, run: Run, ready: bool, reason: str) -> None:
        """Nobody looks whether it is ready."""

    def run_timed_out(self, run: Run) -> None:
        """It is being ended anyway."""

    def tell_output(self, encoder: OutputEncoder, block: Block) -> tuple[Subscriber, ...]:
        """Tell nobody what it prints."""
        return ()

    def _tell(self, run: Run) -> None:
        if self._give_up is not None and self._give_up.active():
            self._give_up.cancel()
        if not self._told:
            self._told = True
            self._task.run_failed(run, self._reason)
