"""All tasks of the daemon: starting, stopping, forgetting, and the end of all.

Decides what a request does to which task. Who runs and who waits is decided in ``scheduler.py``, what happens
to one task in ``machine.py``; what clients are told of all this is put into words in ``views.py``.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import attrs
from twisted.internet.defer import Deferred

from overseer.core.pool import Pools, PoolSettings
from overseer.core.retry import Layer, PartialRetryPolicy, effective_policy
from overseer.core.ring import RingBuffer
from overseer.core.task import State, TaskRecord
from overseer.drivers.interfaces import Action, ValidationError
from overseer.lifecycle.announcements import Announcements
from overseer.lifecycle.duplicates import Duplicates
from overseer.lifecycle.journal import History
from overseer.lifecycle.replacements import Replacements
from overseer.lifecycle.requests import Assignment, RequestError, Starter
from overseer.lifecycle.restorable import RestorableTasks, TaskArchive
from overseer.lifecycle.retention import FinishedTasks, Retention
from overseer.lifecycle.scheduler import Place, Scheduler
from overseer.lifecycle.subscriptions import EVERY_TASK, Subscriber
from overseer.lifecycle.surroundings import Surroundings
from overseer.lifecycle.task import Task
from overseer.protocol.batch import Batch

OnDuplicate = Literal["error", "attach", "replace"]
MAX_TASK_ID_SIZE = 512
"""Characters; an id is repeated in every message of its task."""


@attrs.frozen(kw_only=True)
class Defaults:
    """What holds for all actions where they say nothing of their own."""

    retry: Layer = attrs.field(factory=PartialRetryPolicy)
    pool: PoolSettings = attrs.field(factory=PoolSettings)


class Supervisor:
    """Keeps the tasks. ``new_id`` makes ids for tasks and epochs; ``history`` knows runs of the past.

    ``archive`` keeps what a later overseer starts again.
    """

    def __init__(
        self,
        actions: Mapping[str, Action],
        surroundings: Surroundings,
        retention: Retention,
        new_id: Callable[[], str],
        defaults: Defaults | None = None,
        *,
        history: History | None = None,
        archive: TaskArchive | None = None,
    ) -> None:
        self.actions = actions
        self.history = history
        self.subscriptions = surroundings.subscriptions
        self.announcements = Announcements(surroundings.now, surroundings.subscriptions.record)
        self.counters = surroundings.counters
        self.defaults = defaults or Defaults()
        self.pools = Pools(self.defaults.pool, _pools(actions))
        self._surroundings = surroundings
        self._retention = retention
        self._new_id = new_id
        self._tasks: dict[str, Task] = {}
        self._scheduler = Scheduler(
            self._tasks,
            self.pools,
            self.announcements,
            self.counters,
            self,
            clock=surroundings.clock,
            now=surroundings.now,
        )
        self._alive: dict[str, Task] = {}
        """Tasks that run, wait or have leftovers: what a shutdown waits for."""
        self._finished = FinishedTasks(
            surroundings.clock, surroundings.now, retention, self._forget
        )
        self._duplicates = Duplicates()
        self._restorable = RestorableTasks(archive)
        self._replacements = Replacements()
        self._ended: Deferred[None] | None = None

    # ------------------------------------------------------------------------------------- requests

    def start(
        self,
        action: str,
        task_id: str | None,
        params: Mapping[str, str],
        starter: Starter,
        *,
        policy: PartialRetryPolicy | None = None,
        force: bool = False,
        on_duplicate: OnDuplicate = "error",
        record: TaskRecord | None = None,
    ) -> str | None:
        """Start a task, or let it wait, and return its id; the starter is subscribed before anything happens.

        The id is None while the start waits until the task in its way is gone. ``record`` is what an earlier
        overseer has left of the task.

        :raises RequestError: when it cannot be started; what fails later goes to ``starter.fail``.
        """
        self._refuse_in_shutdown()
        if task_id is not None:
            _check_task_id(task_id)
        assignment = self._assignment(action, params, policy)
        existing = self._duplicate(assignment) or self._tasks.get(task_id or "")
        if existing is not None and not existing.record.finished and on_duplicate != "error":

            def start_then() -> None:
                self.start(action, task_id, params, starter, policy=policy, force=force)

            self._share_or_replace(existing, on_duplicate, starter, start_then)
            return existing.record.task_id if on_duplicate == "attach" else None
        self._refuse_duplicate(assignment)
        task_id = task_id or self._new_id()
        task = self._tasks.get(task_id)
        if task is not None:
            _refuse_active(task)
        place = self._scheduler.find_place(task_id, assignment, forced=force)
        if task is None:
            task = self._new_task(record or self._new_record(task_id), assignment.action)
        task.assign(assignment, self._subscribed(starter, task_id))
        self._enter(task, place)
        return task_id

    def restart(self, task_id: str, grace: float | None, starter: Starter) -> None:
        """Stop a task and start it again in the same slot; start a finished one as it was started last.

        :raises RequestError: when there is no such task, it waits for a slot, or it cannot be started.
        """
        self._refuse_in_shutdown()
        task = self.task(task_id)
        if task.record.state == "queued":
            raise RequestError("task is queued: it has not begun")
        if not task.record.finished:
            task.restart(grace, starter)
            self._restorable.started(task, self._surroundings.now())
            return
        self._start_again(task, task.assign, starter)

    def reset(self, task_id: str, starter: Starter) -> None:
        """Start an errored task again, by its action as it is now.

        :raises RequestError: when there is no such task, it is not errored, or its action is gone or does
            not take its parameters any more.
        """
        self._refuse_in_shutdown()
        task = self.task(task_id)
        if task.record.state != "errored":
            raise RequestError("task is not in errored state")
        self._start_again(task, task.renew, starter)

    def stop(self, task_id: str, grace: float | None = None) -> None:
        """Stop a task; nothing happens to one that has finished.

        :raises RequestError: when there is no such task.
        """
        self._stop(self.task(task_id), grace, "stopped")

    def task(self, task_id: str) -> Task:
        """Return a task.

        :raises RequestError: when there is no such task.
        """
        task = self._tasks.get(task_id)
        if task is None:
            raise RequestError("task not found")
        return task

    def find(self, task_id: str) -> Task | None:
        """Return a task, None when there is no such task."""
        return self._tasks.get(task_id)

    def select(
        self,
        *,
        since: int | None = None,
        action: str | None = None,
        state: State | None = None,
        limit: int | None = None,
    ) -> list[Task]:
        """Return the tasks that fit, in the order of their creation; ``limit`` keeps the newest."""
        tasks = [
            task
            for task in self._tasks.values()
            if (since is None or task.record.last_activity_at >= since)
            and (action is None or task.record.action == action)
            and (state is None or task.record.state == state)
        ]
        return tasks if limit is None else tasks[len(tasks) - min(limit, len(tasks)) :]

    def action(self, name: str) -> Action:
        """Return a configured action.

        :raises RequestError: when there is no such action.
        """
        action = self.actions.get(name)
        if action is None:
            raise RequestError(f'unknown action: "{name[:MAX_TASK_ID_SIZE]}"')
        return action

    def set_pool(self, action: str | None, settings: PoolSettings) -> None:
        """Change the limits of a pool; None is the global one.

        :raises RequestError: when there is no such action.
        """
        if action is not None:
            self.action(action)
        self._scheduler.admission.set_limits(action, settings)

    def reconfigure(
        self, actions: Mapping[str, Action], defaults: Defaults, retention: Retention
    ) -> None:
        """Take over another configuration; a task keeps its action until it is started or reset.

        How much is kept to replay holds for new tasks.
        """
        if self._ended is not None:
            return
        self.actions = actions
        self.defaults = defaults
        self._retention = retention
        self._scheduler.admission.reconfigure(defaults.pool, _pools(actions))
        self._finished.keep(retention)

    def purge(self, action: str | None) -> int:
        """Let none of an action's tasks wait any more, or none at all; return how many that were.

        :raises RequestError: when there is no such action.
        """
        if action is not None:
            self.action(action)
        return self._scheduler.purge(action, "purged")

    def subscribe(self, subscriber: Subscriber, task_id: str, *, output: bool = True) -> None:
        """Subscribe to a task, or to every task with ``*``, whether or not it exists."""
        if task_id != EVERY_TASK:
            _check_task_id(task_id)
        self.subscriptions.subscribe(subscriber, task_id, output=output)
        self._audience_changed(task_id)

    def unsubscribe(self, subscriber: Subscriber, task_id: str) -> None:
        """End a subscription, if there is one."""
        self.subscriptions.unsubscribe(subscriber, task_id)
        self._audience_changed(task_id)

    def disconnect(self, subscriber: Subscriber) -> None:
        """End all subscriptions of one subscriber."""
        self.announcements.leave(subscriber)
        for task_id in self.subscriptions.remove(subscriber):
            self._audience_changed(task_id)

    def now(self) -> int:
        """Return the time, microseconds since the epoch."""
        return self._surroundings.now()

    # ------------------------------------------------------------------------------------- shutdown

    @property
    def alive(self) -> int:
        """How many tasks run, wait, or have leftovers that run."""
        return len(self._alive)

    def shut_down(self) -> Deferred[None]:
        """Refuse new starts and stop everything; fires when nothing of any task is alive.

        A process that cannot be killed is not waited for.
        """
        if self._ended is None:
            self._ended = Deferred()
            self._restorable.shut_down()
            # First, or they get the slots that now become free.
            self._scheduler.close()
            for task in list(self._alive.values()):
                if not task.record.finished:
                    self._stop(task, None, "shutdown")
            self._finished.close()
            self._check_ended()
        ended: Deferred[None] = Deferred()
        self._ended.addBoth(lambda _: ended.callback(None))
        return ended

    def kill_all(self) -> None:
        """End every process at once."""
        for task in list(self._alive.values()):
            task.kill()

    # --------------------------------------------------------------------------------- from the tasks

    def task_started(self, task: Task) -> None:
        """Let those start that waited for this."""
        self._scheduler.dependents.task_started(task)

    def readiness_changed(self, task: Task) -> None:
        """Let those start that waited for this."""
        self._scheduler.dependents.readiness_changed(task)

    def printed(self, task: Task) -> None:
        """Reserve more numbers for its lines, if need be."""
        self._restorable.printed(task)

    def task_ended(self, task: Task) -> None:
        """Count a task out that has finished; its slot is free once nothing of it is alive."""
        self._count_out(task)
        if task.given_up:
            # It would hold up a shutdown for ever.
            self._alive.pop(task.record.task_id, None)
            self._check_ended()
        self.task_gone(task)

    def tell_waits_no_more(self, task: Task, reason: str) -> None:
        """Tell that a task left its queue, where clients still believe that it waits."""
        self._scheduler.tell_waits_no_more(task, reason)

    def task_dequeued(self, task: Task) -> None:
        """Forget a task that waited and did not run, once nothing of an earlier run is alive."""
        self._count_out(task)
        task.dequeued = True
        self.task_gone(task)

    def task_failed_to_start(self, task: Task) -> None:
        """Forget a task that never ran, keep one that did; one that had waited is told to all."""
        task_id = task.record.task_id
        self._count_out(task)
        self.tell_waits_no_more(task, "failed")
        if task.record.last_started_at is None:
            self._alive.pop(task_id, None)
            self._forget(task_id)
        self.task_gone(task)

    def leftovers_gone(self, task: Task) -> None:
        """Let others run instead of what was left of a run, when its task was started again before."""
        self._scheduler.admission.leftovers_gone(task.record.task_id)

    def task_gone(self, task: Task) -> None:
        """Let others run once nothing of a task is alive, and remember it no longer than it has to be.

        Only then may retention forget it, or its id could be taken while its processes run. An errored
        task is kept until it is stopped or started.
        """
        task_id = task.record.task_id
        if task.alive:
            return
        self._scheduler.task_gone(task)
        if not task.record.finished:
            return
        if self._tasks.get(task_id) is task:
            self._alive.pop(task_id, None)
            if task.dequeued:
                self._forget(task_id)
            elif task.record.state == "stopped":
                self._finished.add(task)
        self._replacements.task_gone(task_id)
        self._check_ended()

    def take_slot_again(self, task: Task) -> None:
        """Let a task run again whose next run is due, or that was ended for a surplus."""
        self._scheduler.take_slot_again(task)

    # -------------------------------------------------------------------------------------- private

    def _stop(self, task: Task, grace: float | None, reason: str) -> None:
        state = task.record.state
        if state == "queued":
            self._scheduler.leave(task, reason)
            return
        self._scheduler.admission.leaving(task.record.task_id)
        if self._ended is None:
            self._restorable.ended(task)
        task.stop(grace)
        if state == "errored":
            self.task_gone(task)

    def _count_out(self, task: Task) -> None:
        """Let nothing wait for a task, be its duplicate or restore it: it has come to its end."""
        self._scheduler.dependents.task_ended(task)
        self._duplicates.remove(task)
        self._restorable.ended(task)

    def _refuse_in_shutdown(self) -> None:
        if self._ended is not None:
            raise RequestError("shutting down: nothing is started any more")

    def _assignment(
        self, name: str, params: Mapping[str, str], policy: PartialRetryPolicy | None
    ) -> Assignment:
        """Return what ``params`` and ``policy`` of a start come to, as things are now."""
        action = self.action(name)
        try:
            values = action.validate(params)
        except ValidationError as error:
            raise RequestError(f"validation error: {error}") from None
        return Assignment(
            action=action,
            params=values,
            policy=effective_policy(self.defaults.retry, action.settings.retry, policy),
            given_params=params,
            given_policy=policy,
        )

    def _start_again(
        self, task: Task, take_on: Callable[[Assignment, Starter], None], starter: Starter
    ) -> None:
        """Start a finished task as it was started last, by its action as it is now."""
        last = task.assignment
        assert last is not None
        _refuse_active(task)
        assignment = self._assignment(last.action.name, last.given_params, last.given_policy)
        self._refuse_duplicate(assignment)
        place = self._scheduler.find_place(task.record.task_id, assignment)
        take_on(assignment, starter)
        self._enter(task, place)

    def _duplicate(self, assignment: Assignment) -> Task | None:
        return self._tasks.get(self._duplicates.find(assignment) or "")

    def _refuse_duplicate(self, assignment: Assignment) -> None:
        existing = self._duplicate(assignment)
        if existing is not None:
            task_id = existing.record.task_id
            raise RequestError(f"duplicate task: already running as {task_id}", task_id)

    def _share_or_replace(
        self,
        existing: Task,
        how: OnDuplicate,
        starter: Starter,
        start: Callable[[], object],
    ) -> None:
        """Answer a start with the task that is in its way, or let it wait until that one is gone."""
        if how == "attach":
            if starter.subscriber is not None:
                self.subscribe(starter.subscriber, existing.record.task_id)
            existing.attach(starter)
            return
        self._replacements.add(existing.record.task_id, starter, start)
        self._stop(existing, None, "stopped")

    def _subscribed(self, starter: Starter, task_id: str) -> Starter:
        """Subscribe a starter; it is not subscribed any more after its start has failed."""
        subscriber = starter.subscriber
        if subscriber is None or not self.subscriptions.subscribe(
            subscriber, task_id, by_start=True
        ):
            return starter

        def fail(reason: str) -> None:
            self.subscriptions.unsubscribe(subscriber, task_id)
            starter.fail(reason)

        return attrs.evolve(starter, fail=fail)

    def _enter(self, task: Task, place: Place) -> None:
        self._finished.remove(task.record.task_id)
        self._alive[task.record.task_id] = task
        self._duplicates.add(task)
        self._restorable.started(task, self._surroundings.now())
        self._scheduler.put(task, place)

    def _new_record(self, task_id: str) -> TaskRecord:
        now = self._surroundings.now()
        return TaskRecord(task_id=task_id, epoch=self._new_id(), created_at=now)

    def _new_task(self, record: TaskRecord, action: Action) -> Task:
        events = action.settings.replay_buffer
        ring: RingBuffer[Batch] = RingBuffer(
            self._retention.replay_buffer if events is None else events,
            self._retention.replay_bytes,
            record.last_seq,
        )
        task = self._tasks[record.task_id] = Task(record, ring, self._surroundings, self)
        return task

    def _audience_changed(self, task_id: str) -> None:
        tasks = self._alive.values() if task_id == EVERY_TASK else [self._alive.get(task_id)]
        for task in tasks:
            if task is not None:
                task.release()

    def _forget(self, task_id: str) -> None:
        self._finished.remove(task_id)
        self._tasks.pop(task_id, None)
        self.subscriptions.release(task_id)

    def _check_ended(self) -> None:
        if self._ended is not None and not self._alive and not self._ended.called:
            self._ended.callback(None)


def _pools(actions: Mapping[str, Action]) -> dict[str, PoolSettings]:
    return {name: action.settings.task_pool for name, action in actions.items()}


def _refuse_active(task: Task) -> None:
    if not task.record.finished:
        raise RequestError("task already running or starting")
    if task.given_up:
        raise RequestError("a process of the task is still alive")


def _check_task_id(task_id: str) -> None:
    if task_id == EVERY_TASK:
        raise RequestError('task_id: "*" stands for every task and names none')
    if len(task_id) > MAX_TASK_ID_SIZE:
        raise RequestError(f"task_id: expected at most {MAX_TASK_ID_SIZE} characters")
