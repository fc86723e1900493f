"""All tasks of the daemon: starting, stopping, listing, forgetting, and the end of all.

Decides what a request does to which task; what happens to one task is decided in ``machine.py``.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Literal

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from overseer.core.ring import RingBuffer
from overseer.core.task import State, TaskRecord
from overseer.core.timestamps import format_timestamp
from overseer.drivers.interfaces import IActionHandler, ValidationError
from overseer.lifecycle.subscriptions import EVERY_TASK, Subscriber
from overseer.lifecycle.task import Starter, Surroundings, Task
from overseer.protocol.batch import Batch
from overseer.protocol.messages import ActionInfo, TaskInfo

_MICROSECONDS = 1_000_000
MAX_TASK_ID_SIZE = 512
"""Characters; an id is repeated in every message of its task."""


@attrs.frozen
class RequestError(Exception):
    """A request that cannot be done, with the text for the client."""

    message: str
    existing_task_id: str | None = None


@attrs.frozen(kw_only=True)
class Retention:
    """What is kept: events and bytes a task to replay; finished tasks, by number and age in seconds."""

    replay_buffer: int = 100
    replay_bytes: int = 256 * 1024
    finished_count: int = 1000
    finished_age: float = 24 * 3600.0


class Supervisor:
    """Keeps the tasks. ``new_id`` makes ids for tasks and epochs."""

    def __init__(
        self,
        actions: Mapping[str, IActionHandler],
        surroundings: Surroundings,
        retention: Retention,
        new_id: Callable[[], str],
    ) -> None:
        self.actions = actions
        self.subscriptions = surroundings.subscriptions
        self._surroundings = surroundings
        self._retention = retention
        self._new_id = new_id
        self._tasks: dict[str, Task] = {}
        self._alive: dict[str, Task] = {}
        self._finished: dict[str, Task] = {}
        self._prune_timer: IDelayedCall | None = None
        self._ended: Deferred[None] | None = None

    # ------------------------------------------------------------------------------------- requests

    def start(
        self, action: str, task_id: str | None, params: Mapping[str, str], starter: Starter
    ) -> str:
        """Start a task and return its id; the starter is subscribed before anything happens.

        :raises RequestError: when it cannot be started; what fails later goes to ``starter.fail``.
        """
        if self._ended is not None:
            raise RequestError("shutting down: nothing is started any more")
        handler = self._handler(action)
        if task_id is not None:
            _check_task_id(task_id)
        try:
            values = handler.validate(params)
        except ValidationError as error:
            raise RequestError(f"validation error: {error}") from None
        if task_id is None:
            task_id = self._new_id()
        task = self._tasks.get(task_id)
        if task is None:
            task = self._new_task(task_id, handler)
        elif not task.record.finished:
            raise RequestError("task already running or starting")
        elif task.record.state == "errored" and task.alive:
            raise RequestError("a process of the task is still alive")
        self._finished.pop(task_id, None)
        self._alive[task_id] = task
        task.begin(action, handler, values, self._subscribed(starter, task_id))
        return task_id

    def stop(self, task_id: str, grace: float | None = None) -> None:
        """Stop a task; nothing happens to one that has finished.

        :raises RequestError: when there is no such task.
        """
        task = self.task(task_id)
        was_errored = task.record.state == "errored"
        task.stop(grace)
        if was_errored:
            self.task_finished(task)

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

    def list_tasks(
        self,
        *,
        since: int | None = None,
        action: str | None = None,
        state: State | None = None,
        limit: int | None = None,
    ) -> list[TaskInfo]:
        """Return the tasks that fit, in the order of their creation; ``limit`` keeps the newest."""
        tasks = [
            task
            for task in self._tasks.values()
            if (since is None or task.record.last_activity_at >= since)
            and (action is None or task.record.action == action)
            and (state is None or task.record.state == state)
        ]
        if limit is not None:
            tasks = tasks[len(tasks) - min(limit, len(tasks)) :]
        return [_info(task) for task in tasks]

    def describe(self, action: str | None = None) -> list[ActionInfo]:
        """Return what is known of all actions, or of one.

        :raises RequestError: when there is no such action.
        """
        if action is not None:
            return [self._handler(action).describe()]
        return [handler.describe() for handler in self.actions.values()]

    def subscribe(self, subscriber: Subscriber, task_id: str) -> None:
        """Subscribe to a task, or to every task with ``*``, whether or not it exists."""
        if task_id != EVERY_TASK:
            _check_task_id(task_id)
        self.subscriptions.subscribe(subscriber, task_id)
        self._audience_changed(task_id)

    def unsubscribe(self, subscriber: Subscriber, task_id: str) -> None:
        """End a subscription, if there is one."""
        self.subscriptions.unsubscribe(subscriber, task_id)
        self._audience_changed(task_id)

    def disconnect(self, subscriber: Subscriber) -> None:
        """End all subscriptions of one subscriber."""
        for task_id in self.subscriptions.remove(subscriber):
            self._audience_changed(task_id)

    # ------------------------------------------------------------------------------------- shutdown

    @property
    def alive(self) -> int:
        """How many tasks run, or have leftovers that do."""
        return len(self._alive)

    def shut_down(self) -> Deferred[None]:
        """Refuse new starts and stop everything; fires when nothing of any task is alive."""
        if self._ended is None:
            self._ended = Deferred()
            if self._prune_timer is not None and self._prune_timer.active():
                self._prune_timer.cancel()
            for task in list(self._alive.values()):
                task.stop(None)
            self._check_ended()
        ended: Deferred[None] = Deferred()
        self._ended.addBoth(lambda _: ended.callback(None))
        return ended

    def kill_all(self) -> None:
        """End every process at once."""
        for task in list(self._alive.values()):
            task.kill()

    # --------------------------------------------------------------------------------- from the tasks

    def task_finished(self, task: Task) -> None:
        """Count a task out, unless something of it is alive: ``group_gone`` then comes later."""
        self.group_gone(task)

    def task_failed_to_start(self, task: Task) -> None:
        """Forget a task that never ran, keep one that did."""
        if task.record.last_started_at is not None:
            self.task_finished(task)
            return
        self._alive.pop(task.record.task_id, None)
        self._forget(task.record.task_id)
        self._check_ended()

    def group_gone(self, task: Task) -> None:
        """Count a task out once it has finished and nothing of it is alive.

        Only then may retention forget it, or its id could be taken while its processes run. An errored
        task is kept until it is stopped or started.
        """
        task_id = task.record.task_id
        if self._tasks.get(task_id) is not task or not task.record.finished or task.alive:
            return
        self._alive.pop(task_id, None)
        if task.record.state == "stopped":
            self._finished[task_id] = task
            self._prune()
        self._check_ended()

    # -------------------------------------------------------------------------------------- private

    def _handler(self, action: str) -> IActionHandler:
        handler = self.actions.get(action)
        if handler is None:
            raise RequestError(f'unknown action: "{action[:MAX_TASK_ID_SIZE]}"')
        return handler

    def _subscribed(self, starter: Starter, task_id: str) -> Starter:
        """Subscribe a starter; it is not subscribed any more after its start has failed."""
        subscriber = starter.subscriber
        if subscriber is None or not self.subscriptions.subscribe(subscriber, task_id):
            return starter

        def fail(reason: str) -> None:
            self.subscriptions.unsubscribe(subscriber, task_id)
            starter.fail(reason)

        return attrs.evolve(starter, fail=fail)

    def _new_task(self, task_id: str, handler: IActionHandler) -> Task:
        record = TaskRecord(
            task_id=task_id, epoch=self._new_id(), created_at=self._surroundings.now()
        )
        events = handler.replay_buffer
        ring: RingBuffer[Batch] = RingBuffer(
            self._retention.replay_buffer if events is None else events,
            self._retention.replay_bytes,
        )
        task = self._tasks[task_id] = Task(record, ring, self._surroundings, self)
        return task

    def _audience_changed(self, task_id: str) -> None:
        tasks = self._alive.values() if task_id == EVERY_TASK else [self._alive.get(task_id)]
        for task in tasks:
            if task is not None:
                task.release()

    def _prune(self) -> None:
        """Forget the finished tasks that are too many or too old, oldest first."""
        finished = self._finished
        while len(finished) > self._retention.finished_count:
            self._forget(next(iter(finished)))
        age = int(self._retention.finished_age * _MICROSECONDS)
        now = self._surroundings.now()
        while finished:
            task_id, task = next(iter(finished.items()))
            left = task.record.last_activity_at + age - now
            if left > 0:
                self._prune_in(left / _MICROSECONDS)
                break
            self._forget(task_id)

    def _prune_in(self, seconds: float) -> None:
        if self._ended is None and self._prune_timer is None:
            # Not for each task at its instant: once a second is exact enough.
            self._prune_timer = self._surroundings.clock.callLater(
                max(seconds, 1.0), self._prune_again
            )

    def _prune_again(self) -> None:
        self._prune_timer = None
        self._prune()

    def _forget(self, task_id: str) -> None:
        self._finished.pop(task_id, None)
        self._tasks.pop(task_id, None)
        self.subscriptions.release(task_id)

    def _check_ended(self) -> None:
        if self._ended is not None and not self._alive and not self._ended.called:
            self._ended.callback(None)


def _check_task_id(task_id: str) -> None:
    if task_id == EVERY_TASK:
        raise RequestError('task_id: "*" stands for every task and names none')
    if len(task_id) > MAX_TASK_ID_SIZE:
        raise RequestError(f"task_id: expected at most {MAX_TASK_ID_SIZE} characters")


def _info(task: Task) -> TaskInfo:
    record = task.record
    return TaskInfo(
        task_id=record.task_id,
        action=record.action,
        params=_shown(record.params, task.handler.secrets if task.handler else ()) or None,
        state=record.state,
        current_pid=record.pid,
        worker_state=_worker_state(record),
        restart_count=record.restart_count,
        created_at=format_timestamp(record.created_at),
        last_started_at=_moment(record.last_started_at),
        last_exited_at=_moment(record.last_exited_at),
        last_exit_code=record.last_exit_code,
        error_message=record.error_message or None,
    )


def _worker_state(record: TaskRecord) -> Literal["running", "exited"] | None:
    if record.pid is not None:
        return "running"
    return "exited" if record.last_exited_at is not None else None


def _moment(microseconds: int | None) -> str | None:
    return None if microseconds is None else format_timestamp(microseconds)


def _shown(params: Mapping[str, str], secrets: Collection[str]) -> dict[str, str]:
    return {name: "***" if name in secrets else value for name, value in params.items()}
