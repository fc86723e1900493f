"""Which task may run, which waits, which is turned away (protocol.md section 5, "Pools").

After every call: nothing has been let in over a limit except by force; nothing waits that could run; and a
task either holds a slot, or waits, or is unknown here. Nothing is ever called back: each method returns
what the caller must now do.
"""

from collections.abc import Iterable, Iterator, Mapping
from heapq import heapify, heappop, heappush, merge
from itertools import count

import attrs

from overseer.core.pool.answers import (
    Admitted,
    Change,
    PoolInfo,
    PoolLoad,
    Queued,
    QueueItem,
    Rejected,
    Requeued,
    Surplus,
)
from overseer.core.pool.limits import PoolLimits, PoolSettings
from overseer.core.pool.queue import Queue, Ticket, Waiting
from overseer.core.pool.slots import Slots


@attrs.define
class _Pool:
    """One pool: what the configuration says, what ``set_pool`` put over it, who is in it."""

    written: PoolSettings = attrs.field(factory=PoolSettings)
    override: PoolSettings = attrs.field(factory=PoolSettings)
    limits: PoolLimits = attrs.field(factory=PoolLimits)
    slots: Slots = attrs.field(factory=Slots)
    queue: Queue = attrs.field(factory=Queue)

    @property
    def settings(self) -> PoolSettings:
        return self.override.over(self.written)

    @property
    def has_room(self) -> bool:
        return self.slots.has_room(self.limits.size)

    @property
    def within_limit(self) -> bool:
        return not self.limits.size or self.slots.taken <= self.limits.size

    @property
    def may_admit(self) -> bool:
        return bool(self.queue) and self.has_room

    @property
    def next(self) -> Waiting:
        return self.queue.next(self.limits.order)

    @property
    def next_expiry(self) -> float | None:
        # All of a queue may wait equally long, so the oldest expires first.
        if not self.queue or not self.limits.queue_timeout:
            return None
        return self.queue.oldest().since + self.limits.queue_timeout

    def write(self, settings: PoolSettings) -> None:
        """Take new settings of the configuration; what it did not change stays as it was set."""
        self.override = self.override.where_unchanged(self.written, settings)
        self.written = settings


class Pools:
    """All pools of the daemon: the global one, and one for each action.

    A task that waits to restart keeps its slot, or gives it back by ``release`` and comes in again by
    ``requeue``. Task ids are unique among all that run and wait.
    """

    def __init__(
        self, general: PoolSettings | None = None, actions: Mapping[str, PoolSettings] | None = None
    ) -> None:
        self._global = _Pool()
        self._actions: dict[str, _Pool] = {}
        self._running: dict[str, Ticket] = {}
        self._waiting: dict[str, Ticket] = {}
        self._left_behind: dict[str, Ticket] = {}
        """Of leftovers that hold a slot of their own: their task has come in anew."""
        self._numbers = count()
        self.reconfigure(general or PoolSettings(), actions or {})

    # ----------------------------------------------------------------------------------- tasks

    def admit(self, ticket: Ticket, now: float) -> Admitted | Queued | Rejected:
        """Let a task run if there is room or it is forced, else let it wait if it may.

        ``now`` is in monotonic seconds, here and below.
        """
        self._refuse_known(ticket)
        pool = self._pool(ticket.action)
        if ticket.forced:
            self._take(pool, ticket)
            return Admitted(self._end_surplus([pool, self._global]))
        if pool.has_room and self._global.has_room:
            self._take(pool, ticket)
            return Admitted()
        queue_size = pool.limits.queue_size
        displaced = None
        if queue_size is not None and len(pool.queue) >= queue_size:
            if queue_size and pool.limits.displace == "true":
                displaced = pool.queue.oldest_unforced()
            if displaced is None:
                return Rejected(self._why_rejected(ticket.action, pool))
            self._leave(displaced.ticket)
        position = self._enter(pool, ticket, now, returned=False)
        return Queued(position, None if displaced is None else displaced.ticket)

    def admit_again(self, ticket: Ticket, now: float) -> Admitted | Queued | Rejected:
        """Let a task run that has finished, but whose leftovers still hold its slot.

        It runs in that slot if it may. Otherwise it comes in like any other, and the leftovers keep the slot
        until ``leftovers_gone``.
        """
        held = self._running[ticket.task_id]
        pool = self._actions[held.action]
        if held.action == ticket.action and (
            ticket.forced or (pool.within_limit and self._global.within_limit)
        ):
            # Not simply kept: a slot that was leaving its pool would stay so for the new run.
            self._give_back(ticket.task_id)
            self._take(pool, ticket)
            return Admitted(self._end_surplus([pool, self._global]) if ticket.forced else ())
        self._left_behind[ticket.task_id] = self._running.pop(ticket.task_id)
        for slots in (pool.slots, self._global.slots):
            slots.leave_behind(ticket.task_id)
        return self.admit(ticket, now)

    def leftovers_gone(self, task_id: str) -> tuple[Ticket, ...]:
        """Take the slot, if any, that a task's leftovers held, and return those that run now in its place."""
        ticket = self._left_behind.pop(task_id, None)
        if ticket is None:
            return ()
        for slots in (self._actions[ticket.action].slots, self._global.slots):
            slots.give_back_left_behind()
        return self._fill()

    def requeue(self, ticket: Ticket, now: float) -> Requeued:
        """Let a task wait ahead of its queue, whatever the queue's size, and give its slot back if it has one.

        For a task ended for a surplus, once it is gone, and for one whose restart without a slot is due.
        If it was forced once, it waits like the others now, but is not displaced nor ended for a surplus.
        """
        if ticket.task_id in self._running:
            self._give_back(ticket.task_id)
        self._refuse_known(ticket)
        position = self._enter(self._pool(ticket.action), ticket, now, returned=True)
        return Requeued(position, self._fill())

    def release(self, task_id: str) -> tuple[Ticket, ...]:
        """Take a task's slot from it and return those that run now in its place."""
        self._give_back(task_id)
        return self._fill()

    def leaving(self, task_id: str) -> None:
        """Count a running task as one that will give its slot back, because it was asked to stop.

        Nobody else is then ended in its place, and it is not asked to end for a surplus any more.
        """
        ticket = self._running[task_id]
        for slots in (self._actions[ticket.action].slots, self._global.slots):
            slots.leaving(task_id)

    def withdraw(self, task_id: str) -> Ticket:
        """Let a task wait no more.

        :raises KeyError: when it does not wait.
        """
        ticket = self._waiting[task_id]
        self._leave(ticket)
        return ticket

    def purge(self, action: str | None = None) -> tuple[Ticket, ...]:
        """Let none of the action's tasks, or none at all, wait any more; returned as they would have gone."""
        tickets = tuple(waiting.ticket for waiting in self._in_order(action))
        for ticket in tickets:
            self._leave(ticket)
        return tickets

    def expire(self, now: float) -> tuple[Ticket, ...]:
        """Let those wait no more who have waited too long; returned oldest first."""
        expired = []
        for pool in self._actions.values():
            while (expiry := pool.next_expiry) is not None and expiry <= now:
                waiting = pool.queue.oldest()
                self._leave(waiting.ticket)
                expired.append(waiting)
        expired.sort(key=lambda waiting: waiting.number)
        return tuple(waiting.ticket for waiting in expired)

    def next_expiry(self) -> float | None:
        """Return the time at which ``expire`` next finds one, None if it never does."""
        expiries = (pool.next_expiry for pool in self._actions.values())
        return min((expiry for expiry in expiries if expiry is not None), default=None)

    # ---------------------------------------------------------------------------------- limits

    def set_limits(self, action: str | None, settings: PoolSettings) -> Change:
        """Change the written keys of a pool at run time, of the global one for None."""
        pool = self._chosen(action)
        pool.override = settings.over(pool.override)
        return self._apply_limits()

    def reconfigure(self, general: PoolSettings, actions: Mapping[str, PoolSettings]) -> Change:
        """Take over what a reloaded configuration says.

        A key set at run time keeps that value unless the configuration's own changed. The pool of an
        action that is gone stays as it is while it has tasks, and beyond until the next reload.
        """
        self._global.write(general)
        for action, pool in list(self._actions.items()):
            if action not in actions and not pool.slots.taken and not pool.queue:
                del self._actions[action]
        for action, settings in actions.items():
            self._pool(action).write(settings)
        return self._apply_limits()

    def limits(self, action: str | None = None) -> PoolLimits:
        """Return what holds for an action's pool, or for the global one."""
        return self._chosen(action).limits

    def info(self, action: str | None = None) -> PoolInfo:
        """Return an action's pool, or the global one with everything that waits, as it is now."""
        pool = self._chosen(action)
        items = enumerate(self._in_order(action))
        return PoolInfo(
            limit=pool.limits.size,
            running=pool.slots.taken,
            queue_items=tuple(QueueItem(waiting.ticket, position) for position, waiting in items),
        )

    def load(self, action: str | None = None) -> PoolLoad:
        """Return how full an action's pool is, or the global one, without looking at who is in it."""
        waiting = self._waiting if action is None else self._actions[action].queue
        return PoolLoad(self._chosen(action).slots.taken, len(waiting))

    # --------------------------------------------------------------------------------- private

    def _chosen(self, action: str | None) -> _Pool:
        return self._global if action is None else self._actions[action]

    def _pool(self, action: str) -> _Pool:
        pool = self._actions.get(action)
        if pool is None:
            # Of an action that a reload took away while this task waited to restart.
            pool = self._actions[action] = _Pool()
            pool.limits = self._action_limits(pool)
        return pool

    def _action_limits(self, pool: _Pool) -> PoolLimits:
        return pool.settings.over(self._global.settings.for_actions()).limits()

    def _apply_limits(self) -> Change:
        self._global.limits = self._global.settings.limits()
        for pool in self._actions.values():
            pool.limits = self._action_limits(pool)
        admitted = self._fill()
        return Change(admitted, self._end_surplus([*self._actions.values(), self._global]))

    def _end_surplus(self, pools: Iterable[_Pool]) -> tuple[Surplus, ...]:
        """Choose who must end; the global pool comes last, as what an action ends is gone there too."""
        surplus = []
        for pool in pools:
            for task_id in pool.slots.surplus(pool.limits):
                self.leaving(task_id)
                surplus.append(Surplus(task_id, pool.limits.excess))
        return tuple(surplus)

    def _fill(self) -> tuple[Ticket, ...]:
        """Admit all that wait and now have room: per action in its order, among actions the oldest first."""
        if not self._waiting or not self._global.has_room:
            return ()
        admitted = []
        ready = [(pool.next.rank, pool) for pool in self._actions.values() if pool.may_admit]
        heapify(ready)
        while ready and self._global.has_room:
            _, pool = heappop(ready)
            ticket = pool.next.ticket
            self._leave(ticket)
            self._take(pool, ticket)
            admitted.append(ticket)
            if pool.may_admit:
                heappush(ready, (pool.next.rank, pool))
        return tuple(admitted)

    def _take(self, pool: _Pool, ticket: Ticket) -> None:
        self._running[ticket.task_id] = ticket
        for slots in (pool.slots, self._global.slots):
            slots.take(ticket.task_id, forced=ticket.forced)

    def _give_back(self, task_id: str) -> None:
        ticket = self._running.pop(task_id)
        for slots in (self._actions[ticket.action].slots, self._global.slots):
            slots.give_back(task_id)

    def _enter(self, pool: _Pool, ticket: Ticket, now: float, *, returned: bool) -> int:
        self._waiting[ticket.task_id] = ticket
        waiting = Waiting(ticket, next(self._numbers), now, returned)
        return pool.queue.add(waiting, pool.limits.order)

    def _leave(self, ticket: Ticket) -> None:
        del self._waiting[ticket.task_id]
        self._actions[ticket.action].queue.remove(ticket.task_id)

    def _in_order(self, action: str | None) -> Iterator[Waiting]:
        pools = self._actions.values() if action is None else [self._actions[action]]
        queues = [pool.queue.in_order(pool.limits.order) for pool in pools]
        return merge(*queues, key=lambda waiting: waiting.rank)

    def _refuse_known(self, ticket: Ticket) -> None:
        if ticket.task_id in self._running or ticket.task_id in self._waiting:
            raise ValueError(f"task {ticket.task_id!r} has a slot or waits already")

    def _why_rejected(self, action: str, pool: _Pool) -> str:
        name, full = (
            ("the global pool", self._global)
            if pool.has_room
            else (f'the pool of "{action}"', pool)
        )
        reason = f"{name} is full ({full.slots.taken} of {full.limits.size} running)"
        if not pool.limits.queue_size:
            return f"{reason} and there is no queue"
        return f"{reason} and so is the queue ({len(pool.queue)} waiting)"
