"""What a client is owed: everything it was sent and has not taken yet (protocol.md section 4).

While the transport takes data, an outbox writes through. After :meth:`Outbox.pause` it queues references to
shared frames. Output beyond the limits is left out and told by one ``lagged`` a task, ahead of whatever that
task tells next; lifecycle events and answers are never left out. A client that cannot take even the events
has to go: ``overflowed`` is called once. Of answers no more is asked for while much waits.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, Literal

import attrs

from overseer.protocol.batch import Batch
from overseer.protocol.codec import encode_message
from overseer.protocol.frames import text_frame
from overseer.protocol.messages import Lagged

BEHIND_SIZE = 1024 * 1024
"""Bytes queued above which a subscriber counts as behind (protocol.md section 4)."""


_Kind = Literal["output", "owed", "paced"]
_OUTPUT: Final = "output"
_OWED: Final = "owed"
_PACED: Final = "paced"


@attrs.define
class SendBudget:
    """Bytes that all outboxes of one daemon together may hold in output.

    Frames that wait for several clients are there once and count once: or a few stalled subscribers of a busy
    task would use up what its healthy ones need now and then. ``dropped_lines`` counts what did not fit, into
    it or into one of them: once for each client.
    """

    limit: int
    used: int = 0
    dropped_lines: int = 0
    _holders: dict[int, int] = attrs.field(factory=dict, init=False)

    def has_room(self, frames: bytes) -> bool:
        """Return whether one more outbox may hold ``frames``."""
        return self.used + len(frames) <= self.limit or id(frames) in self._holders

    def hold(self, frames: bytes) -> None:
        """Count ``frames`` that wait from now on."""
        holders = self._holders.get(id(frames), 0)
        self._holders[id(frames)] = holders + 1
        if not holders:
            self.used += len(frames)

    def release(self, frames: bytes) -> None:
        """Count no more what :meth:`hold` counted."""
        holders = self._holders.pop(id(frames)) - 1
        if holders:
            self._holders[id(frames)] = holders
        else:
            self.used -= len(frames)


class Outbox:
    """The queue between the events of the daemon and the transport of one client.

    :param write: takes frames; may call :meth:`pause` from within.
    :param overflowed: called when lifecycle events and late answers alone exceed ``limit``.
    :param limit: bytes of output that may wait for this client, and of all else.
    :param budget: what may wait for all clients together.
    :param in_flight: bytes that the operating system holds for this client; only its changes matter.
    """

    def __init__(
        self,
        write: Callable[[bytes], object],
        overflowed: Callable[[], object],
        limit: int,
        budget: SendBudget,
        in_flight: Callable[[], int] = lambda: 0,
    ) -> None:
        self._write = write
        self._overflowed = overflowed
        self._limit = limit
        self._budget = budget
        self._in_flight = in_flight
        self._paused = False
        self._closed = False
        self._behind_size = min(BEHIND_SIZE, limit // 2)
        self._queue: deque[tuple[bytes, _Kind]] = deque()
        self._output_size = 0
        self._owed_size = 0
        self._paced_size = 0
        self._gaps: dict[str, tuple[int, int]] = {}
        self._when_caught_up: set[Callable[[], object]] = set()
        self._taken = 0
        self.stalled = False
        """Set by flow control when the client made no progress; cleared by progress."""

    @property
    def size(self) -> int:
        """Bytes waiting."""
        return self._output_size + self._owed_size + self._paced_size

    @property
    def progress(self) -> tuple[int, int]:
        """A value that changes whenever the client has taken something."""
        return self._taken, self._in_flight()

    @property
    def owed(self) -> int:
        """Bytes waiting that must not be left out."""
        return self._owed_size + self._paced_size

    @property
    def owes_much(self) -> bool:
        """Whether so much waits that must not be left out that nothing more should be asked for."""
        return self._owed_size + self._paced_size > self._behind_size

    @property
    def behind(self) -> bool:
        """Whether more than :data:`BEHIND_SIZE` bytes wait, or half of the limit where that is less."""
        return self._output_size + self._owed_size + self._paced_size > self._behind_size

    @property
    def empty(self) -> bool:
        """Whether the transport has taken everything."""
        return not self._queue

    def when_caught_up(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` once the client is not behind any more, or the outbox is closed."""
        self._when_caught_up.add(callback)

    def forget(self, callback: Callable[[], object]) -> None:
        """Take back :meth:`when_caught_up`."""
        self._when_caught_up.discard(callback)

    def send(self, frames: bytes) -> None:
        """Send what must arrive, whenever it comes up."""
        self._send(frames, _OWED)

    def send_paced(self, frames: bytes) -> None:
        """Send what the client asked for, of any size: who calls this waits while ``owes_much``."""
        self._send(frames, _PACED)

    def send_batch(self, batch: Batch) -> None:
        """Send a batch of events; output may be left out when the client is too slow for it."""
        if not self._paused and not self._queue:
            if not self._closed:
                self._taken += len(batch.frames)
                self._write(batch.frames)
        elif not self._closed:
            self._queue_batch(batch)

    def tell_gap(self, task_id: str) -> None:
        """Tell now what of a task was left out so far, ahead of all that is sent next."""
        if task_id in self._gaps:
            first, last = self._gaps.pop(task_id)
            message = Lagged(task_id, from_seq=first, to_seq=last, dropped=last - first + 1)
            self._send(text_frame(encode_message(message)), _OWED)

    def pause(self) -> None:
        """The transport takes nothing more for now."""
        self._paused = True

    def resume(self) -> None:
        """The transport takes data again."""
        self._paused = False
        self.stalled = False
        self._flush()

    def close(self) -> None:
        """Drop everything: the client is gone."""
        self._closed = True
        for frames, kind in self._queue:
            if kind == _OUTPUT:
                self._budget.release(frames)
        self._output_size = self._owed_size = self._paced_size = 0
        self._queue.clear()
        self._gaps.clear()
        self._tell_caught_up()

    def _queue_batch(self, batch: Batch) -> None:
        task_id = batch.task_id
        if not batch.droppable:
            self.tell_gap(task_id)
            self._send(batch.frames, _OWED)
            return
        gap = self._gaps.get(task_id)
        size = len(batch.frames)
        # One that is not behind takes any batch, however large: only then its task is held.
        full = (
            self.behind and self._output_size + size > self._limit
        ) or not self._budget.has_room(batch.frames)
        if gap is None and not full:
            self._send(batch.frames, _OUTPUT)
        else:
            self._gaps[task_id] = (gap[0] if gap else batch.first_seq, batch.last_seq)
            self._budget.dropped_lines += batch.lines

    def _send(self, frames: bytes, kind: _Kind) -> None:
        if self._closed:  # by the overflow of what went before
            return
        if not self._paused and not self._queue:
            self._taken += len(frames)
            self._write(frames)
            return
        self._queue.append((frames, kind))
        if kind == _OUTPUT:
            self._output_size += len(frames)
            self._budget.hold(frames)
            return
        if kind == _PACED:
            self._paced_size += len(frames)
            return
        self._owed_size += len(frames)
        if self._owed_size > self._limit:
            self.close()
            self._overflowed()

    def _flush(self) -> None:
        queue = self._queue
        while queue and not self._paused:
            frames, kind = queue.popleft()
            if kind == _OUTPUT:
                self._output_size -= len(frames)
                self._budget.release(frames)
            elif kind == _PACED:
                self._paced_size -= len(frames)
            else:
                self._owed_size -= len(frames)
            self._taken += len(frames)
            self._write(frames)
        if self._gaps and self._output_size <= self._limit // 2:
            while self._gaps:  # an overflow by what is told ends this, too
                self.tell_gap(next(iter(self._gaps)))
        if self._when_caught_up and not self.behind:
            self._tell_caught_up()

    def _tell_caught_up(self) -> None:
        callbacks = list(self._when_caught_up)
        self._when_caught_up.clear()
        for callback in callbacks:
            callback()
