"""Which finished tasks are remembered: so many and so old at most, the oldest forgotten first."""

from collections.abc import Callable

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from overseer.lifecycle.task import Task

_MICROSECONDS = 1_000_000


@attrs.frozen(kw_only=True)
class Retention:
    """What is kept: events and bytes a task to replay; finished tasks, by number and age in seconds."""

    replay_buffer: int = 100
    replay_bytes: int = 256 * 1024
    finished_count: int = 1000
    finished_age: float = 24 * 3600.0


class FinishedTasks:
    """The finished tasks in the order in which they ended; ``forget`` is called for each that is too much."""

    def __init__(
        self,
        clock: IReactorTime,
        now: Callable[[], int],
        retention: Retention,
        forget: Callable[[str], object],
    ) -> None:
        self._clock = clock
        self._now = now
        self._retention = retention
        self._forget = forget
        self._tasks: dict[str, Task] = {}
        self._timer: IDelayedCall | None = None
        self._closed = False

    def add(self, task: Task) -> None:
        """Remember a task that has just finished."""
        self._tasks[task.record.task_id] = task
        self._prune()

    def remove(self, task_id: str) -> None:
        """Count a task no longer: it was started again, or is forgotten for another reason."""
        self._tasks.pop(task_id, None)

    def keep(self, retention: Retention) -> None:
        """Keep more or less from now on."""
        self._retention = retention
        self._prune()

    def close(self) -> None:
        """Forget nothing more for its age."""
        self._closed = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _prune(self) -> None:
        tasks = self._tasks
        while len(tasks) > self._retention.finished_count:
            self._forget_oldest()
        age = int(self._retention.finished_age * _MICROSECONDS)
        now = self._now()
        while tasks:
            oldest = next(iter(tasks.values()))
            left = oldest.record.last_activity_at + age - now
            if left > 0:
                self._prune_in(left / _MICROSECONDS)
                break
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        task_id = next(iter(self._tasks))
        del self._tasks[task_id]
        self._forget(task_id)

    def _prune_in(self, seconds: float) -> None:
        if not self._closed and self._timer is None:
            # Not for each task at its instant: once a second is exact enough.
            self._timer = self._clock.callLater(max(seconds, 1.0), self._prune_again)

    def _prune_again(self) -> None:
        self._timer = None
        self._prune()
