"""Who of an action's waiting tasks goes next, who has waited longest, who may be displaced.

Tasks that were running before wait ahead of the others, in the order in which they came back: were the
last one back the first to go, a few that restart all the time would keep the rest out for ever.
"""

from collections import OrderedDict
from collections.abc import Iterator

import attrs

from overseer.core.pool.limits import Order


@attrs.frozen
class Ticket:
    """A task that wants to run. ``queued_at``, microseconds since the epoch, is for display alone."""

    task_id: str
    action: str
    queued_at: int
    forced: bool = False


@attrs.frozen
class Waiting:
    """A ticket in a queue: the ``number`` of its entry and the time of it, monotonic seconds."""

    ticket: Ticket
    number: int
    since: float
    returned: bool

    @property
    def rank(self) -> tuple[bool, int]:
        """Smaller goes first, where queues compete by the ones that are next in each."""
        return not self.returned, self.number


class Queue:
    """The waiting tasks of one action."""

    def __init__(self) -> None:
        # Ordered dicts, not dicts: taking the first of a dict again and again is quadratic.
        self._by_age: OrderedDict[str, Waiting] = OrderedDict()
        self._returned: OrderedDict[str, Waiting] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_age)

    def add(self, waiting: Waiting, order: Order) -> int:
        """Add the youngest entry and return its position, 1 = next."""
        task_id = waiting.ticket.task_id
        self._by_age[task_id] = waiting
        if waiting.returned:
            self._returned[task_id] = waiting
            return len(self._returned)
        return len(self._by_age) if order == "first" else len(self._returned) + 1

    def remove(self, task_id: str) -> Waiting:
        """Take out an entry."""
        self._returned.pop(task_id, None)
        return self._by_age.pop(task_id)

    def next(self, order: Order) -> Waiting:
        """Return the entry that goes next; there must be one."""
        if self._returned:
            return next(iter(self._returned.values()))
        entries = self._by_age.values()
        return next(iter(entries)) if order == "first" else next(reversed(entries))

    def oldest(self) -> Waiting:
        """Return the entry that has waited longest; there must be one."""
        return next(iter(self._by_age.values()))

    def oldest_unforced(self) -> Waiting | None:
        """Return the entry that is displaced first, None if there is none that may be."""
        return next((entry for entry in self._by_age.values() if not entry.ticket.forced), None)

    def in_order(self, order: Order) -> Iterator[Waiting]:
        """All entries, as they would go."""
        yield from self._returned.values()
        entries = self._by_age.values()
        others = iter(entries) if order == "first" else reversed(entries)
        yield from (entry for entry in others if not entry.returned)
