"""Who receives the events of which task.

A subscription is to a task id, whether or not there is such a task yet, or to ``*``: every task, present and
future. The two are independent, and a subscriber with both still gets each event once.
"""

from collections.abc import Callable, Container, Iterable
from typing import Protocol, TypeAlias

import attrs
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

    def when_caught_up(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` once it is not behind any more."""

    def forget(self, callback: Callable[[], object]) -> None:
        """Take back :meth:`when_caught_up`."""


Sink: TypeAlias = Callable[[Batch], object]
"""Takes every batch of every task, once; never blocks. Nobody waits for it: it is no part of any audience."""


@attrs.frozen
class _Audience:
    """Everyone who receives the events of a task, and those of them who want its output, too."""

    everyone: tuple[Subscriber, ...]
    listeners: tuple[Subscriber, ...]


class Subscriptions:
    """All subscriptions of one daemon, and its sinks."""

    _log = Logger()

    def __init__(self, sinks: Iterable[Sink] = ()) -> None:
        self._sinks = tuple(sinks)
        # A subscription's value: whether it wants output.
        self._by_task: dict[str, dict[Subscriber, bool]] = {}
        self._to_every_task: dict[Subscriber, bool] = {}
        self._of_subscriber: dict[Subscriber, set[str]] = {}
        self._starters: dict[str, tuple[Subscriber, ...]] = {}
        """Who is subscribed to a task for having started it, and did not ask to be."""
        self._audiences: dict[str, _Audience] = {}

    def subscribe(
        self, subscriber: Subscriber, task_id: str, *, output: bool = True, by_start: bool = False
    ) -> bool:
        """Add a subscription, or change what it wants; return whether it is new.

        One that nobody asked for, but that came with a start, ends when the task is forgotten.
        """
        own = self._of_subscriber.setdefault(subscriber, set())
        new = task_id not in own
        own.add(task_id)
        if not by_start:
            self._forget_start(subscriber, task_id)
        elif new:
            self._starters[task_id] = (*self._starters.get(task_id, ()), subscriber)
        if task_id == EVERY_TASK:
            self._to_every_task[subscriber] = output
            self._audiences.clear()
        else:
            self._by_task.setdefault(task_id, {})[subscriber] = output
            self._audiences.pop(task_id, None)
        return new

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
        return self._audience(task_id).everyone

    def _audience(self, task_id: str) -> _Audience:
        audience = self._audiences.get(task_id)
        if audience is None:
            explicit = self._by_task.get(task_id, {})
            everyone = explicit | self._to_every_task
            audience = self._audiences[task_id] = _Audience(
                tuple(everyone),
                tuple(
                    subscriber
                    for subscriber in everyone
                    if explicit.get(subscriber) or self._to_every_task.get(subscriber)
                ),
            )
        return audience

    def release(self, task_id: str) -> None:
        """Let go of what was remembered for a task that is no more; subscriptions that were asked for stay."""
        self._audiences.pop(task_id, None)
        for subscriber in self._starters.get(task_id, ()):
            self.unsubscribe(subscriber, task_id)

    def publish(
        self, batch: Batch, *, besides: Container[Subscriber | None] = ()
    ) -> tuple[Subscriber, ...]:
        """Send a batch to those who want it, ``besides`` left out; return who that was."""
        audience = self._audience(batch.task_id)
        receivers = audience.listeners if batch.droppable else audience.everyone
        for subscriber in receivers:
            if subscriber not in besides:
                self.send(subscriber, batch)
        self.record(batch)
        return receivers

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
        self._forget_start(subscriber, task_id)
        subscribers = self._by_task[task_id]
        del subscribers[subscriber]
        if not subscribers:
            del self._by_task[task_id]
        self._audiences.pop(task_id, None)

    def _forget_start(self, subscriber: Subscriber, task_id: str) -> None:
        starters = self._starters.get(task_id)
        if starters is None or subscriber not in starters:
            return
        left = tuple(one for one in starters if one is not subscriber)
        if left:
            self._starters[task_id] = left
        else:
            del self._starters[task_id]
