"""What can be replayed."""

import attrs
from hypothesis import given
from hypothesis import strategies as st

from overseer.core.ring import RingBuffer


@attrs.frozen
class Letters:
    """A batch whose every event is one byte per unit of ``width``."""

    first_seq: int
    last_seq: int
    width: int = 10
    time: int = 0
    lifecycle: bool = False

    @property
    def frames(self) -> bytes:
        return b"x" * (self.width * self.events)

    @property
    def events(self) -> int:
        return self.last_seq - self.first_seq + 1 or 1

    def tail(self, count: int) -> "Letters":
        return attrs.evolve(self, first_seq=self.last_seq - count + 1)


def seqs(batches: list[Letters]) -> list[object]:
    return [
        seq if not batch.lifecycle else "event"
        for batch in batches
        for seq in (range(batch.first_seq, batch.last_seq + 1) if not batch.lifecycle else [0])
    ]


def fill(ring: RingBuffer[Letters], sizes: list[int], width: int = 10) -> None:
    """Append batches of these sizes; 0 stands for a lifecycle event."""
    seq = ring.last_seq
    for size in sizes:
        ring.append(Letters(seq + 1, seq + size, width, lifecycle=not size))
        seq += size


@given(st.lists(st.integers(0, 30), max_size=30), st.integers(0, 20), st.integers(0, 300))
def test_it_holds_the_last_events_within_both_bounds(
    sizes: list[int], max_events: int, max_bytes: int
) -> None:
    """Never more than either bound, always the newest, always without a hole."""
    ring: RingBuffer[Letters] = RingBuffer(max_events, max_bytes)
    everything: list[object] = []
    for size in sizes:
        first = ring.last_seq + 1
        fill(ring, [size])
        everything += range(first, first + size) if size else ["event"]
        held = seqs(ring.snapshot())
        assert held == everything[len(everything) - len(held) :]
        assert len(held) <= max_events
        assert ring.size <= max_bytes
        numbers = [seq for seq in held if isinstance(seq, int)]
        assert ring.first_seq == (numbers[0] if numbers else ring.last_seq + 1)
        before = held
        ring.compact()
        assert seqs(ring.snapshot()) == before
        assert ring.size == 10 * len(before)


def test_it_holds_as_many_events_as_it_may() -> None:
    """The event bound cuts through a batch, not around it."""
    ring: RingBuffer[Letters] = RingBuffer(5, 1000)
    fill(ring, [4, 4])
    assert seqs(ring.snapshot()) == [4, 5, 6, 7, 8]


def test_after_a_number_come_only_later_lines() -> None:
    """A reader that has seen line 6 gets 7 and 8, and the event told after 8."""
    ring: RingBuffer[Letters] = RingBuffer(100, 1000)
    fill(ring, [4, 4, 0])
    assert seqs(ring.after(6)) == [7, 8, "event"]
    assert seqs(ring.after(8)) == ["event"]
    assert seqs(ring.after(4)) == [5, 6, 7, 8, "event"]
    assert seqs(ring.after(0)) == [1, 2, 3, 4, 5, 6, 7, 8, "event"]


def test_a_line_larger_than_the_byte_bound_is_not_held() -> None:
    """The bound is a promise; the number of the line is known all the same."""
    ring: RingBuffer[Letters] = RingBuffer(100, 50)
    fill(ring, [2])
    fill(ring, [1], width=51)
    assert ring.snapshot() == []
    assert (ring.first_seq, ring.last_seq) == (4, 3)
