"""Which tasks a later overseer starts again: those of actions with ``restore`` that nobody has ended.

Of each is kept what its start gave. Of those that end in a shutdown it is kept, too, where their numbers ended,
and the next overseer goes on there. After a crash nobody knows: it begins anew, with another epoch.
"""

from typing import Protocol

import attrs

from overseer.core.history import RestorableTask
from overseer.lifecycle.task import Task


class TaskArchive(Protocol):
    """Where tasks are kept."""

    def keep_task(self, task: RestorableTask) -> None:
        """Keep a task as it is now; never blocks."""

    def forget_task(self, task_id: str) -> None:
        """Keep a task no longer; never blocks."""


class RestorableTasks:
    """The tasks that are kept, as they start and end; none where there is no ``archive``."""

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
                created_at=record.created_at,
                at=now,
                action=assignment.action.name,
                params=assignment.given_params,
                policy=assignment.given_policy,
            )
        )

    def ended(self, task: Task) -> None:
        """Keep a task no longer that has ended, or shall; one that ends in a shutdown is kept as it is."""
        kept = self._kept.get(task.record.task_id)
        if kept is None or self._archive is None:
            return
        if self._shutdown:
            if not task.given_up:  # that one may still print
                record = task.record
                self._keep(attrs.evolve(kept, epoch=record.epoch, last_seq=record.last_seq))
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
