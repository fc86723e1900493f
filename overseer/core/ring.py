"""What of a task can be replayed: its last events, bounded by number and by bytes.

Batches go in whole and are cut on the way out, so that a busy task pays nothing per line. Memory never
exceeds the byte bound; what the event bound hides is let go by the next batch or by :meth:`compact`.
"""

from collections import deque
from typing import Generic, Protocol, Self, TypeVar


class Batch(Protocol):
    """What the ring needs to know of a batch: lines ``first_seq`` to ``last_seq``, or one event."""

    @property
    def frames(self) -> bytes:
        """The events as they go out."""

    @property
    def first_seq(self) -> int:
        """Number of the first line; for an event that is no line, the number after ``last_seq``."""

    @property
    def last_seq(self) -> int:
        """Number of the last line that was told up to here."""

    @property
    def events(self) -> int:
        """How many events the batch holds, at least one."""

    def tail(self, count: int) -> Self:
        """The last ``count`` events, in memory of their own."""


BatchType = TypeVar("BatchType", bound=Batch)


class RingBuffer(Generic[BatchType]):
    """The last ``max_events`` events of one task, in at most ``max_bytes`` bytes.

    ``last_seq`` is the number of the last line that there was before.
    """

    def __init__(self, max_events: int, max_bytes: int, last_seq: int = 0) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        # Made with the first one: an empty deque is 760 bytes, and many a task never tells anything.
        self._batches: deque[BatchType] | None = None
        self._events = 0
        self._bytes = 0
        self._last_seq = last_seq

    @property
    def last_seq(self) -> int:
        """Number of the newest line that the ring has seen, 0 before the first."""
        return self._last_seq

    @property
    def first_seq(self) -> int:
        """Number of the oldest line that can still be replayed; ``last_seq + 1`` when there is none."""
        for batch in self.snapshot():
            if batch.first_seq <= batch.last_seq:
                return batch.first_seq
        return self._last_seq + 1

    @property
    def size(self) -> int:
        """Bytes held."""
        return self._bytes

    def append(self, batch: BatchType) -> None:
        """Add the newest batch and let go of what no longer fits."""
        self._last_seq = batch.last_seq
        if not self._max_events:
            return
        if len(batch.frames) > self._max_bytes:
            self._clear()
            fitting = _fit(batch, self._max_events, self._max_bytes)
            if fitting is None:
                return
            batch = fitting
        batches = self._batches
        if batches is None:
            batches = self._batches = deque()
        batches.append(batch)
        self._events += batch.events
        self._bytes += len(batch.frames)
        while self._bytes > self._max_bytes or (
            self._events - batches[0].events >= self._max_events
        ):
            oldest = batches.popleft()
            self._events -= oldest.events
            self._bytes -= len(oldest.frames)

    def compact(self) -> None:
        """Let go of the memory behind events that are not replayable any more."""
        kept = self.snapshot()
        self._batches = deque(kept) if kept else None
        self._events = sum(batch.events for batch in kept)
        self._bytes = sum(len(batch.frames) for batch in kept)

    def snapshot(self) -> list[BatchType]:
        """Return the replayable batches, oldest first, at most ``max_events`` events in all."""
        batches = list(self._batches or ())
        surplus = self._events - self._max_events
        if surplus > 0:
            batches[0] = batches[0].tail(batches[0].events - surplus)
        return batches

    def after(self, seq: int) -> list[BatchType]:
        """Return the lines numbered above ``seq`` and the events told after line ``seq``."""
        found = []
        for batch in self.snapshot():
            if batch.last_seq < seq or batch.first_seq <= batch.last_seq == seq:
                continue
            missing = batch.last_seq - seq
            found.append(batch.tail(missing) if 0 < missing < batch.events else batch)
        return found

    def _clear(self) -> None:
        self._batches = None
        self._events = 0
        self._bytes = 0


def _fit(batch: BatchType, max_events: int, max_bytes: int) -> BatchType | None:
    """Return the longest tail of ``batch`` within both bounds, None when not even one event fits."""
    count = min(batch.events, max_events)
    tail = batch.tail(count)
    while len(tail.frames) > max_bytes:
        # Lines differ in length, so this shrinks by the average and looks again.
        count = min(count - 1, count * max_bytes // len(tail.frames))
        if count <= 0:
            return None
        tail = tail.tail(count)
    return tail
