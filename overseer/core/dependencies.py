"""Which actions wait for which: whether what a start depends on holds, and in what order actions start."""

import graphlib
from collections.abc import Collection, Iterable, Mapping
from typing import Literal

import attrs

Condition = Literal["started", "ready", "completed", "completed_successfully"]

CONDITIONS: Mapping[str, Condition] = {
    "started": "started",
    "ready": "ready",
    "completed": "completed",
    "completed_successfully": "completed_successfully",
    "process_started": "started",
    "process_healthy": "ready",
    "process_log_ready": "ready",
    "process_completed": "completed",
    "process_completed_successfully": "completed_successfully",
}
"""What a condition may be called: in short, and as in process-compose."""


@attrs.frozen
class Dependency:
    """One action has to have come so far."""

    action: str
    condition: Condition

    def __str__(self) -> str:
        return f"{self.action}: {self.condition}"


class CycleError(ValueError):
    """Actions wait for each other; ``actions`` names them, the first one again at the end."""

    def __init__(self, actions: tuple[str, ...]) -> None:
        super().__init__(" → ".join(actions))
        self.actions = actions


def start_order(dependencies: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """Return the actions so that each comes after those it depends on.

    :raises CycleError: when there is no such order.
    """
    try:
        return tuple(graphlib.TopologicalSorter(dependencies).static_order())
    except graphlib.CycleError as error:
        raise CycleError(tuple(reversed(error.args[1]))) from None


class Progress:
    """How far the tasks of each action have come since the daemon started."""

    def __init__(self) -> None:
        self._started: dict[str, set[str]] = {}
        self._ready: dict[str, set[str]] = {}
        self._succeeded: dict[str, bool] = {}
        """By action, whether the task that ended last has ended with exit code 0."""

    def started(self, action: str, task_id: str) -> None:
        """A task runs, or runs again."""
        self._started.setdefault(action, set()).add(task_id)

    def ready(self, action: str, task_id: str, *, ready: bool) -> None:
        """A task has become ready, or is it no more."""
        tasks = self._ready.setdefault(action, set())
        if ready:
            tasks.add(task_id)
        else:
            tasks.discard(task_id)

    def ended(self, action: str, task_id: str, *, succeeded: bool) -> None:
        """A task has come to its end and is not restarted; nothing changes for one that has not started."""
        if task_id in self._started.get(action, ()):
            self._started[action].discard(task_id)
            self._succeeded[action] = succeeded
        self._ready.get(action, set()).discard(task_id)

    def holds(self, dependency: Dependency) -> bool:
        """Return whether an action has come so far."""
        action = dependency.action
        match dependency.condition:
            case "started":
                return bool(self._started.get(action))
            case "ready":
                return bool(self._ready.get(action))
            case "completed":
                return action in self._succeeded
            case "completed_successfully":
                return self._succeeded.get(action, False)

    def unmet(self, dependencies: Iterable[Dependency]) -> tuple[Dependency, ...]:
        """Return those that do not hold."""
        return tuple(one for one in dependencies if not self.holds(one))
