"""Starts that wait until the actions they depend on have come far enough."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from overseer.core.dependencies import Dependency, Progress
from overseer.core.pool import Ticket
from overseer.lifecycle.task import Task


@attrs.frozen
class Waits:
    """A start has to wait for these first, and only then for a slot."""

    dependencies: tuple[Dependency, ...]


class DependentsOwner(Protocol):
    """Who keeps the tasks that wait."""

    def dependencies_hold(self, ticket: Ticket) -> None:
        """Whatever a start has waited for has come."""


class Dependents:
    """The tasks that wait for other actions, in the order in which they began to."""

    def __init__(self, clock: IReactorTime, owner: DependentsOwner) -> None:
        self._clock = clock
        self._owner = owner
        self._progress = Progress()
        self._waiting: dict[str, tuple[Task, Ticket]] = {}
        self._timer: IDelayedCall | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._waiting

    def unmet(self, dependencies: Sequence[Dependency]) -> tuple[Dependency, ...]:
        """Return those that do not hold now."""
        return self._progress.unmet(dependencies) if dependencies else ()

    def add(self, task: Task, ticket: Ticket, dependencies: Iterable[Dependency]) -> None:
        """Let a task wait."""
        self._waiting[ticket.task_id] = (task, ticket)
        task.record.waiting_for = tuple(map(str, dependencies))

    def remove(self, task_id: str) -> Ticket | None:
        """Let a task wait no more; return None when it does not."""
        if task_id not in self._waiting:
            return None
        task, ticket = self._waiting.pop(task_id)
        task.record.waiting_for = ()
        return ticket

    def purge(self, action: str | None) -> tuple[Ticket, ...]:
        """Let none of an action's tasks wait any more, or none at all."""
        tickets = [ticket for _, ticket in self._waiting.values()]
        purged = tuple(ticket for ticket in tickets if action is None or ticket.action == action)
        for ticket in purged:
            self.remove(ticket.task_id)
        return purged

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def task_started(self, task: Task) -> None:
        """A task runs."""
        self._note(lambda: self._progress.started(task.record.action, task.record.task_id))

    def readiness_changed(self, task: Task) -> None:
        """A task has become ready, or is it no more."""
        record = task.record
        self._note(lambda: self._progress.ready(record.action, record.task_id, ready=record.ready))

    def task_ended(self, task: Task) -> None:
        """A task has come to its end and is not restarted."""
        record = task.record
        succeeded = record.state == "stopped" and record.last_exit_code == 0
        self._note(lambda: self._progress.ended(record.action, record.task_id, succeeded=succeeded))

    def _note(self, note: Callable[[], None]) -> None:
        note()
        # In a turn of its own: whoever tells this is in the middle of something.
        if self._waiting and (self._timer is None or not self._timer.active()):
            self._timer = self._clock.callLater(0, self._look)

    def _look(self) -> None:
        for task, ticket in list(self._waiting.values()):
            assert task.assignment is not None
            unmet = self._progress.unmet(task.assignment.action.settings.depends_on)
            if not unmet:
                self.remove(ticket.task_id)
                self._owner.dependencies_hold(ticket)
            elif ticket.task_id in self:
                task.record.waiting_for = tuple(map(str, unmet))
