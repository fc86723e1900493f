"""Which tasks hold the slots of one pool, and which of them must end when it has too many."""

from collections import OrderedDict
from itertools import islice

import attrs

from overseer.core.pool.limits import PoolLimits


@attrs.define
class Slots:
    """The slots of one pool that are taken."""

    taken: int = 0
    # Held by what is left of runs whose tasks have come in anew.
    _left_behind: int = 0
    # Held by tasks that are on their way out: nobody needs to be ended in their place.
    _leaving: set[str] = attrs.field(factory=set)
    # Those that may be ended for a surplus, longest running first.
    _unforced: OrderedDict[str, None] = attrs.field(factory=OrderedDict)

    def has_room(self, size: int) -> bool:
        """Whether one more fits into ``size``, where 0 is unlimited."""
        return not size or self.taken < size

    def take(self, task_id: str, *, forced: bool) -> None:
        """Give a task a slot, whether or not there is room."""
        self.taken += 1
        if not forced:
            self._unforced[task_id] = None

    def leaving(self, task_id: str) -> None:
        """Count a task as one that will give its slot back."""
        self._leaving.add(task_id)
        self._unforced.pop(task_id, None)

    def give_back(self, task_id: str) -> None:
        """Take a task's slot from it."""
        self.taken -= 1
        self._leaving.discard(task_id)
        self._unforced.pop(task_id, None)

    def leave_behind(self, task_id: str) -> None:
        """Let what is left of a task's last run keep its slot, as the task itself comes in anew."""
        self._left_behind += 1
        self._leaving.discard(task_id)
        self._unforced.pop(task_id, None)

    def give_back_left_behind(self) -> None:
        """Take one slot that was left behind."""
        self.taken -= 1
        self._left_behind -= 1

    def surplus(self, limits: PoolLimits) -> list[str]:
        """Return the ids of the tasks that ``limits`` ask to end, in kill order."""
        if not limits.size or limits.excess.action == "none":
            return []
        count = max(0, self.taken - self._left_behind - len(self._leaving) - limits.size)
        longest_first = limits.excess.order == "first"
        ids = iter(self._unforced) if longest_first else reversed(self._unforced)
        return list(islice(ids, count))
