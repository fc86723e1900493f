"""Which tasks a later overseer starts again: those of actions with ``restore`` that nobody has ended.

Of each is kept what its start gave, and a number that none of its lines has passed. That number lies ahead of
the lines and is raised long before they come to it. So it holds at any moment, though it is written behind,
and the lines of the next overseer have other numbers than any that were told. After a shutdown in order it is
exact.
"""

from typing import Protocol

import attrs

from overseer.core.history import AHEAD, RestorableTask
from overseer.lifecycle.task import Task


class TaskArchive(Protocol):
    """Where tasks are kept."""

    def keep_task(self, task: RestorableTask) -> None:
        """Keep a task as it is now; never blocks."""

    def forget_task(self, task_id: str) -> None:
        """Keep a task no longer; never blocks."""


class RestorableTasks:
    """The tasks that are kept, as they start, print and end; none where there is no ``archive``."""

    def __init__(self, archive: TaskArchive | None) -> None:
        self._archive = archive
        self._kept: dict[str, RestorableTask] = {}
        self._shutdown = False

    def started(self, task: Task, now: int) -> None:
        """Keep a task that is started, if its action says so; ``now`` is microseconds since the epoch."""
        assignment, record = task.assignment, task.record
        assert assignment is not None
        if not assignment.action.settings.restore:
            self.ended(task)  # it may have been of another action before
            return
        self._keep(
            RestorableTask(
                task_id=record.task_id,
                epoch=record.epoch,
                created_at=record.created_at,
                at=now,
                action=assignment.action.name,
                params=assignment.given_params,
                policy=assignment.given_policy,
                last_seq=record.last_seq + AHEAD,
            )
        )

    def printed(self, task: Task) -> None:
        """Reserve more numbers for a task that has used half of them."""
        kept = self._kept.get(task.record.task_id)
        if kept is not None and task.record.last_seq > kept.last_seq - AHEAD // 2:
            self._keep(attrs.evolve(kept, last_seq=task.record.last_seq + AHEAD))

    def ended(self, task: Task) -> None:
        """Keep a task no longer that has ended, or shall; one that ends in a shutdown is kept as it is."""
        kept = self._kept.get(task.record.task_id)
        if kept is None or self._archive is None:
            return
        if self._shutdown and task.given_up:
            return  # what cannot be ended may print on
        if self._shutdown:
            self._keep(attrs.evolve(kept, last_seq=task.record.last_seq))
        else:
            del self._kept[kept.task_id]
            self._archive.forget_task(kept.task_id)

    def shut_down(self) -> None:
        """Keep what ends from now on."""
        self._shutdown = True

    def _keep(self, task: RestorableTask) -> None:
        if self._archive is not None:
            self._kept[task.task_id] = task
            self._archive.keep_task(task)
