"""Starts that wait until the actions they depend on have come far enough."""

from collections import Counter
from collections.abc import Sequence
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
        self._waiting: dict[str, tuple[Task, Ticket, tuple[Dependency, ...]]] = {}
        self._watched: Counter[str] = Counter()
        """How many of those that wait depend on an action: what happens to any other one is no matter."""
        self._timer: IDelayedCall | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._waiting

    def unmet(self, dependencies: Sequence[Dependency]) -> tuple[Dependency, ...]:
        """Return those that do not hold now."""
        return self._progress.unmet(dependencies) if dependencies else ()

    def add(self, task: Task, ticket: Ticket, unmet: Sequence[Dependency]) -> None:
        """Let a task wait."""
        assert task.assignment is not None
        dependencies = task.assignment.action.settings.depends_on
        self._waiting[ticket.task_id] = (task, ticket, dependencies)
        self._watched.update(one.action for one in dependencies)
        task.record.waiting_for = tuple(map(str, unmet))

    def remove(self, task_id: str) -> Ticket | None:
        """Let a task wait no more; return None when it does not."""
        if task_id not in self._waiting:
            return None
        task, ticket, dependencies = self._waiting.pop(task_id)
        self._watched.subtract(one.action for one in dependencies)
        task.record.waiting_for = ()
        return ticket

    def purge(self, action: str | None) -> tuple[Ticket, ...]:
        """Let none of an action's tasks wait any more, or none at all."""
        tickets = [ticket for _, ticket, _ in self._waiting.values()]
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
        record = task.record
        self._progress.started(record.action, record.task_id)
        self._look_soon(record.action)

    def readiness_changed(self, task: Task) -> None:
        """A task has become ready, or is it no more."""
        record = task.record
        self._progress.ready(record.action, record.task_id, ready=record.ready)
        self._look_soon(record.action)

    def task_ended(self, task: Task) -> None:
        """A task has come to its end and is not restarted."""
        record = task.record
        succeeded = record.state == "stopped" and record.last_exit_code == 0
        self._progress.ended(record.action, record.task_id, succeeded=succeeded)
        self._look_soon(record.action)

    def _look_soon(self, action: str) -> None:
        # In a turn of its own: whoever tells of a change is in the middle of something.
        if self._watched[action] and (self._timer is None or not self._timer.active()):
            self._timer = self._clock.callLater(0, self._look)

    def _look(self) -> None:
        for task, ticket, dependencies in list(self._waiting.values()):
            if ticket.task_id not in self:
                continue  # it went when another one began
            unmet = self._progress.unmet(dependencies)
            if unmet:
                task.record.waiting_for = tuple(map(str, unmet))
            else:
                self.remove(ticket.task_id)
                self._owner.dependencies_hold(ticket)
