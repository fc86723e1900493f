"""Which task runs now and which waits: for a slot, or before that for other actions. All clients are told.

Who has a slot is kept in ``admission.py`` and who waits for other actions in ``dependencies.py``; here is what
a task does once they have answered.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import attrs
from twisted.internet.interfaces import IReactorTime

from overseer.core.metrics import Counters
from overseer.core.pool import Admitted, Pools, Queued, Rejected, Surplus, Ticket
from overseer.lifecycle.admission import Admission
from overseer.lifecycle.announcements import Announcements
from overseer.lifecycle.dependencies import Dependents, Waits
from overseer.lifecycle.requests import Assignment, RequestError
from overseer.lifecycle.task import Task


@attrs.frozen
class Place:
    """Where a start comes: into a slot, a queue, or to those that wait for other actions."""

    ticket: Ticket
    answer: Admitted | Queued | Waits


class SchedulerOwner(Protocol):
    """Who keeps the tasks."""

    def task_dequeued(self, task: Task) -> None:
        """A task waits no more and does not run: it is finished."""


class Scheduler:
    """Who of ``tasks`` runs and who waits.

    :ivar admission: who holds a slot; told by the owner when a slot may be free.
    :ivar dependents: who waits for other actions; told by the owner how far these have come.
    """

    def __init__(
        self,
        tasks: Mapping[str, Task],
        pools: Pools,
        announcements: Announcements,
        counters: Counters,
        owner: SchedulerOwner,
        *,
        clock: IReactorTime,
        now: Callable[[], int],
    ) -> None:
        self.admission = Admission(pools, clock, self)
        self.dependents = Dependents(clock, self)
        self._tasks = tasks
        self._announcements = announcements
        self._counters = counters
        self._owner = owner
        self._now = now
        self._closed = False

    def find_place(self, task_id: str, assignment: Assignment, *, forced: bool = False) -> Place:
        """Return where a start comes; it is kept for it until :meth:`put`.

        :raises RequestError: when there is no room.
        """
        ticket = Ticket(task_id, assignment.action.name, self._now(), forced)
        unmet = self.dependents.unmet(assignment.action.settings.depends_on)
        if unmet and not forced:
            return Place(ticket, Waits(unmet))
        return Place(ticket, self._ask(ticket))

    def put(self, task: Task, place: Place) -> None:
        """Let a task begin or wait."""
        if isinstance(place.answer, Admitted):
            self._admit(task, place.answer)
            return
        task.enqueue()
        if isinstance(place.answer, Waits):
            self.dependents.add(task, place.ticket, place.answer.dependencies)
            self._tell_queued(task, 0)
        else:
            self._tell_queued(task, place.answer.position)
            self._make_room(place.answer)

    def take_slot_again(self, task: Task) -> None:
        """Let a task run again whose next run is due, or that was ended for a surplus."""
        task_id = task.record.task_id
        task.gives_back_slot = False
        if task.record.state != "queued" and not self.admission.is_without_slot(task_id):
            task.admit()
            return
        ticket = Ticket(task_id, task.record.action, self._now())
        requeued = self.admission.return_to_queue(ticket)
        task.enqueue()
        # Put back before it began, it never ceased to wait in the eyes of clients.
        if ticket not in requeued.admitted and not task.told_queued:
            self._tell_queued(task, requeued.position)
        self.admission.admit(requeued.admitted)
        self.admission.watch_expiry()

    def leave(self, task: Task, reason: str) -> None:
        """Let a task wait no more."""
        waiting = self.dependents.remove(task.record.task_id)
        if waiting is not None:
            self._dequeue(waiting, reason)
            return
        try:
            ticket = self.admission.withdraw(task.record.task_id)
        except KeyError:
            # It would wait once its last run is gone. Nobody was told that it does: its exit is its end.
            task.wait_no_more()
        else:
            self._dequeue(ticket, reason)

    def purge(self, action: str | None, reason: str) -> int:
        """Let none of an action's tasks wait any more, or none at all; return how many that were."""
        tickets = (*self.dependents.purge(action), *self.admission.purge(action))
        for ticket in tickets:
            self._dequeue(ticket, reason)
        return len(tickets)

    def close(self) -> None:
        """Let nobody wait any more, and none of those that are to run less wait again."""
        self._closed = True
        self.purge(None, "shutdown")
        self.admission.close()
        self.dependents.close()

    def task_gone(self, task: Task) -> None:
        """Let others run: nothing of a task is alive, which may need its slot again all the same."""
        task_id = task.record.task_id
        if task.record.finished or task_id in self.dependents:
            self.admission.release(task_id)
        elif task.gives_back_slot:
            task.gives_back_slot = False
            self.admission.give_back_slot(task_id)

    def tell_waits_no_more(self, task: Task, reason: str) -> None:
        """Tell that a task left its queue, where clients still believe that it waits."""
        if task.told_queued:
            self._tell_dequeued(task, reason)

    # --------------------------------------------------------------- from admission and dependents

    def begin(self, task_id: str) -> None:
        """See :class:`~overseer.lifecycle.admission.AdmissionOwner`."""
        self._tasks[task_id].admit()

    def expired(self, ticket: Ticket) -> None:
        """See :class:`~overseer.lifecycle.admission.AdmissionOwner`."""
        self._dequeue(ticket, "expired")

    def end_surplus(self, surplus: Iterable[Surplus]) -> None:
        """See :class:`~overseer.lifecycle.admission.AdmissionOwner`."""
        for one in surplus:
            requeue = one.excess.action == "requeue" and not self._closed
            task = self._tasks[one.task_id]
            if not task.record.finished:  # else what is left of it is on its way out
                task.stop(one.excess.grace or None, requeue=requeue)

    def dependencies_hold(self, ticket: Ticket) -> None:
        """See :class:`~overseer.lifecycle.dependencies.DependentsOwner`."""
        task = self._tasks[ticket.task_id]
        try:
            answer = self._ask(ticket)
        except RequestError as error:
            starter = task.starter
            self._dequeue(ticket, "failed")
            starter.fail(error.message)
            return
        if isinstance(answer, Admitted):
            self._admit(task, answer)
        else:
            self._make_room(answer)

    # -------------------------------------------------------------------------------------- private

    def _ask(self, ticket: Ticket) -> Admitted | Queued:
        answer = self.admission.ask(ticket)
        if isinstance(answer, Rejected):
            self._counters.of(ticket.action).rejected += 1
            raise RequestError(f"pool rejected task: {answer.reason}")
        return answer

    def _admit(self, task: Task, answer: Admitted) -> None:
        task.admit()
        self.end_surplus(answer.surplus)

    def _make_room(self, answer: Queued) -> None:
        """Let a task go that had to make room in a queue, and watch how long the others wait."""
        if answer.displaced is not None:
            self.admission.forget(answer.displaced)
            self._dequeue(answer.displaced, "displaced")
        self.admission.watch_expiry()

    def _dequeue(self, ticket: Ticket, reason: str) -> None:
        """Let a task leave its queue that neither the pools nor the dependents know any more."""
        task = self._tasks[ticket.task_id]
        task.leave_queue(reason)
        self._tell_dequeued(task, reason)
        self._owner.task_dequeued(task)

    def _tell_queued(self, task: Task, position: int) -> None:
        record, starter = task.record, task.starter
        self._counters.of(record.action).enqueued += 1
        task.told_queued = True
        self._announcements.queued(
            record.task_id, record.action, position, starter.request_id, starter.subscriber
        )

    def _tell_dequeued(self, task: Task, reason: str) -> None:
        self._counters.of(task.record.action).left_queue[reason] += 1
        task.told_queued = False
        self._announcements.dequeued(task.record.task_id, reason)
