"""Which task already does what a start asks for: same action, same values of its ``dedupe_key``."""

from overseer.lifecycle.requests import Assignment
from overseer.lifecycle.task import Task

_Key = tuple[str, tuple[str, ...]]


class Duplicates:
    """The tasks that are not finished, by what makes another one their duplicate."""

    def __init__(self) -> None:
        self._task_ids: dict[_Key, str] = {}

    def __len__(self) -> int:
        return len(self._task_ids)

    def find(self, assignment: Assignment) -> str | None:
        """Return the id of the task that an assignment would be the duplicate of."""
        if not assignment.action.settings.dedupe_key:
            return None
        return self._task_ids.get(_key(assignment))

    def add(self, task: Task) -> None:
        """Let other tasks be duplicates of this one from now on."""
        if task.assignment is not None and task.assignment.action.settings.dedupe_key:
            self._task_ids[_key(task.assignment)] = task.record.task_id

    def remove(self, task: Task) -> None:
        """Let no task be a duplicate of this one any more."""
        if task.assignment is not None and task.assignment.action.settings.dedupe_key:
            key = _key(task.assignment)
            if self._task_ids.get(key) == task.record.task_id:
                del self._task_ids[key]


def _key(assignment: Assignment) -> _Key:
    # With the names: after a reload the same values may be those of other parameters.
    names = assignment.action.settings.dedupe_key
    values = (assignment.params.get(name, "") for name in names)
    return assignment.action.name, (*names, *values)
