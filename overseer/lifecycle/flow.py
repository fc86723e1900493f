"""When a child is read and when it has to wait (protocol.md section 4).

While *every* subscriber of a task is behind, its output is not read, so that a lone healthy reader loses
nothing to a firehose. This ends when one of them catches up, or after a second in which none made any
progress: a stalled reader delays nobody. One that stalled does not count again until it takes something.
"""

from collections.abc import Sequence
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from overseer.lifecycle.subscriptions import Subscriber

PATIENCE = 1.0
"""Seconds without any progress after which waiting ends."""


class Source(Protocol):
    """What can be held: a worker."""

    def pause_output(self) -> None:
        """Read nothing more."""

    def resume_output(self) -> None:
        """Read again."""


class FlowControl:
    """Holds one source while all of its audience is behind."""

    def __init__(self, clock: IReactorTime, source: Source) -> None:
        self._clock = clock
        self._source = source
        self._held: tuple[Subscriber, ...] = ()
        self._progress: list[object] = []
        self._timer: IDelayedCall | None = None

    @property
    def holding(self) -> bool:
        """Whether the source is held."""
        return self._timer is not None

    def check(self, audience: Sequence[Subscriber]) -> None:
        """Hold the source if everyone in ``audience`` is behind; called after each batch."""
        for subscriber in audience:
            if not subscriber.behind:
                return
        if self._timer is not None or all(subscriber.stalled for subscriber in audience):
            return
        self._source.pause_output()
        self._held = tuple(audience)
        for subscriber in self._held:
            subscriber.when_caught_up(self.release)
        self._wait()

    def release(self) -> None:
        """Read the source again."""
        if self._timer is None:
            return
        if self._timer.active():
            self._timer.cancel()
        self._timer = None
        for subscriber in self._held:
            subscriber.forget(self.release)
        self._held = ()
        self._source.resume_output()

    def _wait(self) -> None:
        self._progress = [subscriber.progress for subscriber in self._held]
        self._timer = self._clock.callLater(PATIENCE, self._look)

    def _look(self) -> None:
        if self._progress != [subscriber.progress for subscriber in self._held]:
            self._wait()
            return
        for subscriber in self._held:
            subscriber.stalled = True
        self.release()
