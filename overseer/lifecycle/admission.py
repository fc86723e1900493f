"""Who holds a slot and who waits: carries out what the pools decide, and watches how long tasks wait.

Which task that is, ``core/pool`` decides; what it leads to for the task, the supervisor.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from overseer.core.pool import (
    Admitted,
    Change,
    Pools,
    PoolSettings,
    Queued,
    Rejected,
    Requeued,
    Surplus,
    Ticket,
)


class AdmissionOwner(Protocol):
    """Who keeps the tasks that hold slots."""

    def begin(self, task_id: str) -> None:
        """A task that waited has its slots."""

    def expired(self, ticket: Ticket) -> None:
        """A task has waited too long, and waits no more."""

    def end_surplus(self, surplus: Iterable[Surplus]) -> None:
        """Tasks that run are too many."""


class Admission:
    """The tickets of all tasks that hold a slot or wait for one.

    :ivar pools: what decides; asked directly only for how things stand.
    """

    def __init__(self, pools: Pools, clock: IReactorTime, owner: AdmissionOwner) -> None:
        self.pools = pools
        self._clock = clock
        self._owner = owner
        self._tickets: dict[str, Ticket] = {}
        self._unslotted: set[str] = set()
        """Tasks that wait to restart and have given back their slot."""
        self._admitted: deque[Ticket] = deque()
        """Tasks that have their slots and are about to begin."""
        self._admitting = False
        self._expiry_timer: IDelayedCall | None = None
        self._closed = False

    def is_without_slot(self, task_id: str) -> bool:
        """Return whether a task waits to restart and has given back its slot."""
        return task_id in self._unslotted

    def ask(self, ticket: Ticket) -> Admitted | Queued | Rejected:
        """Ask for the slots of a start; whoever asks lets the task begin, or wait and expire."""
        # With a ticket its last run's leftovers are still ending.
        held = self._tickets.pop(ticket.task_id, None)
        admit = self.pools.admit if held is None else self.pools.admit_again
        answer = admit(ticket, self._clock.seconds())
        if not isinstance(answer, Rejected):
            self._tickets[ticket.task_id] = ticket
        return answer

    def return_to_queue(self, ticket: Ticket) -> Requeued:
        """Let a task wait at the head of its queue; those that this admits are for :meth:`admit`."""
        self._unslotted.discard(ticket.task_id)
        self._tickets[ticket.task_id] = ticket
        return self.pools.requeue(ticket, self._clock.seconds())

    def leaving(self, task_id: str) -> None:
        """Count a task as one that will give its slot back."""
        if task_id in self._tickets:
            self.pools.leaving(task_id)

    def give_back_slot(self, task_id: str) -> None:
        """Let a task wait to restart without its slot, which others may have meanwhile."""
        if task_id in self._tickets:
            self._unslotted.add(task_id)
            self._free(task_id)

    def release(self, task_id: str) -> None:
        """Let a task that is gone hold nothing, and others run in its place."""
        self._unslotted.discard(task_id)
        self._free(task_id)

    def leftovers_gone(self, task_id: str) -> None:
        """Let others run in the slot that a task's leftovers held besides its own."""
        self.admit(self.pools.leftovers_gone(task_id))

    def withdraw(self, task_id: str) -> Ticket:
        """Let a task wait no more.

        :raises KeyError: when it does not wait.
        """
        ticket = self.pools.withdraw(task_id)
        del self._tickets[task_id]
        return ticket

    def forget(self, ticket: Ticket) -> None:
        """Let go of a ticket that the pools know no more."""
        del self._tickets[ticket.task_id]

    def purge(self, action: str | None) -> tuple[Ticket, ...]:
        """Let none of an action's tasks wait any more, or none at all."""
        tickets = self.pools.purge(action)
        for ticket in tickets:
            self.forget(ticket)
        return tickets

    def set_limits(self, action: str | None, settings: PoolSettings) -> None:
        """Change the limits of a pool, of the global one for None."""
        self._carry_out(self.pools.set_limits(action, settings))

    def reconfigure(self, general: PoolSettings, actions: Mapping[str, PoolSettings]) -> None:
        """Take over what a reloaded configuration says of the pools."""
        self._carry_out(self.pools.reconfigure(general, actions))

    def admit(self, tickets: Iterable[Ticket]) -> None:
        """Let tasks begin that have their slots."""
        # One after the other, not one within the other: of a long queue each may fail at once, and thereby
        # give its slot to the next.
        self._admitted.extend(tickets)
        if self._admitting:
            return
        self._admitting = True
        try:
            while self._admitted:
                self._owner.begin(self._admitted.popleft().task_id)
        finally:
            self._admitting = False

    def watch_expiry(self) -> None:
        """See to it that whoever waits too long is told of."""
        expiry = self.pools.next_expiry()
        self._cancel_timer()
        if expiry is not None and not self._closed:
            delay = max(expiry - self._clock.seconds(), 0.0)
            self._expiry_timer = self._clock.callLater(delay, self._expire)

    def close(self) -> None:
        """Let nobody expire any more."""
        self._closed = True
        self._cancel_timer()

    def _free(self, task_id: str) -> None:
        if self._tickets.pop(task_id, None) is not None:
            self.admit(self.pools.release(task_id))

    def _carry_out(self, change: Change) -> None:
        self._owner.end_surplus(change.surplus)
        self.admit(change.admitted)
        self.watch_expiry()

    def _expire(self) -> None:
        for ticket in self.pools.expire(self._clock.seconds()):
            self.forget(ticket)
            self._owner.expired(ticket)
        self.watch_expiry()

    def _cancel_timer(self) -> None:
        timer, self._expiry_timer = self._expiry_timer, None
        if timer is not None and timer.active():
            timer.cancel()
