"""Who receives the events of which task.

A subscription is to a task id, whether or not there is such a task yet, or to ``*``: every task, present and
future. The two are independent, and a subscriber with both still gets each event once.
"""

from collections.abc import Callable, Iterable
from typing import Protocol, TypeAlias

from twisted.logger import Logger

from overseer.protocol.batch import Batch

EVERY_TASK = "*"


class Subscriber(Protocol):
    """What receives batches; an outbox, for one."""

    stalled: bool

    @property
    def behind(self) -> bool:
        """Whether it has more waiting than a healthy reader would."""

    @property
    def progress(self) -> object:
        """A value that changes whenever it has taken something."""

    def send_batch(self, batch: Batch) -> None:
        """Take one batch, at once or later; never blocks."""

    def when_caught_up(self, callback: "Callback") -> None:
        """Call ``callback`` once it is not behind any more."""

    def forget(self, callback: "Callback") -> None:
        """Take back :meth:`when_caught_up`."""


class Callback(Protocol):
    """A function without arguments."""

    def __call__(self) -> object:
        """Call it."""


Sink: TypeAlias = Callable[[Batch], object]
"""Takes every batch of every task, once; never blocks. Nobody waits for it: it is no part of any audience."""


class Subscriptions:
    """All subscriptions of one daemon, and its sinks."""

    _log = Logger()

    def __init__(self, sinks: Iterable[Sink] = ()) -> None:
        self._sinks = tuple(sinks)
        self._by_task: dict[str, dict[Subscriber, None]] = {}
        self._to_every_task: dict[Subscriber, None] = {}
        self._of_subscriber: dict[Subscriber, set[str]] = {}
        self._audiences: dict[str, tuple[Subscriber, ...]] = {}

    def subscribe(self, subscriber: Subscriber, task_id: str) -> bool:
        """Add a subscription; return whether it is new."""
        own = self._of_subscriber.setdefault(subscriber, set())
        if task_id in own:
            return False
        own.add(task_id)
        if task_id == EVERY_TASK:
            self._to_every_task[subscriber] = None
            self._audiences.clear()
        else:
            self._by_task.setdefault(task_id, {})[subscriber] = None
            self._audiences.pop(task_id, None)
        return True

    def unsubscribe(self, subscriber: Subscriber, task_id: str) -> None:
        """End a subscription, if there is one."""
        own = self._of_subscriber.get(subscriber)
        if own is None or task_id not in own:
            return
        own.discard(task_id)
        if not own:
            del self._of_subscriber[subscriber]
        self._end(subscriber, task_id)

    def remove(self, subscriber: Subscriber) -> tuple[str, ...]:
        """End all subscriptions of one subscriber and return to which tasks they were."""
        own = self._of_subscriber.pop(subscriber, set())
        for task_id in own:
            self._end(subscriber, task_id)
        return tuple(own)

    def audience(self, task_id: str) -> tuple[Subscriber, ...]:
        """Return everyone who receives the events of a task, each once."""
        audience = self._audiences.get(task_id)
        if audience is None:
            audience = tuple(self._by_task.get(task_id, {}) | self._to_every_task)
            self._audiences[task_id] = audience
        return audience

    def release(self, task_id: str) -> None:
        """Let go of what was remembered for a task that is no more; subscriptions to its id stay."""
        self._audiences.pop(task_id, None)

    def publish(self, batch: Batch, *, besides: Subscriber | None = None) -> tuple[Subscriber, ...]:
        """Send a batch to the audience of its task, ``besides`` left out; return the audience."""
        audience = self.audience(batch.task_id)
        for subscriber in audience:
            if subscriber is not besides:
                self.send(subscriber, batch)
        self.record(batch)
        return audience

    def send(self, subscriber: Subscriber, batch: Batch) -> None:
        """Send a batch to one subscriber; should it fail, this is logged and goes no further."""
        try:
            subscriber.send_batch(batch)
        except Exception:
            self._log.failure("a subscriber of {task_id} failed", task_id=batch.task_id)

    def record(self, batch: Batch) -> None:
        """Give a batch to the sinks alone."""
        for sink in self._sinks:
            try:
                sink(batch)
            except Exception:
                self._log.failure("a sink of {task_id} failed", task_id=batch.task_id)

    def _end(self, subscriber: Subscriber, task_id: str) -> None:
        if task_id == EVERY_TASK:
            del self._to_every_task[subscriber]
            self._audiences.clear()
            return
        subscribers = self._by_task[task_id]
        del subscribers[subscriber]
        if not subscribers:
            del self._by_task[task_id]
        self._audiences.pop(task_id, None)
