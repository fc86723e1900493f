"""What the pools answer: what the caller must now do, and how things stand."""

import attrs

from overseer.core.pool.limits import ExcessPolicy
from overseer.core.pool.queue import Ticket


@attrs.frozen
class Surplus:
    """A running task that must end: stop it, and ``release`` or ``requeue`` it when it is gone."""

    task_id: str
    excess: ExcessPolicy


@attrs.frozen
class Admitted:
    """The task has its slots: start it; and end the ``surplus`` if it was forced in."""

    surplus: tuple[Surplus, ...] = ()


@attrs.frozen
class Queued:
    """The task waits at ``position`` of its action's queue, 1 = next; ``displaced`` waits no more."""

    position: int
    displaced: Ticket | None = None


@attrs.frozen
class Rejected:
    """The task may neither run nor wait."""

    reason: str


@attrs.frozen
class Requeued:
    """The task waits at ``position``, 1 = next, unless it is among the ``admitted`` already."""

    position: int
    admitted: tuple[Ticket, ...]


@attrs.frozen
class Change:
    """What new limits lead to: tasks to start, in this order, and running ones to end."""

    admitted: tuple[Ticket, ...]
    surplus: tuple[Surplus, ...]


@attrs.frozen
class QueueItem:
    """A task that waits; ``position`` counts from 0."""

    ticket: Ticket
    position: int


@attrs.frozen
class PoolLoad:
    """How many tasks of a pool run and how many wait."""

    running: int
    waiting: int


@attrs.frozen
class PoolInfo:
    """A pool as it is now; ``limit`` is its size, 0 = unlimited."""

    limit: int
    running: int
    queue_items: tuple[QueueItem, ...]

    @property
    def queue_depth(self) -> int:
        """How many tasks wait."""
        return len(self.queue_items)
