"""Holding a child while everyone who reads it is behind."""

from collections.abc import Iterator

import pytest
from lifecycle_fakes import Reader
from twisted.internet.task import Clock

from overseer.lifecycle.flow import PATIENCE, FlowControl


class FakeSource:
    """Remembers when it was held and read again."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pause_output(self) -> None:
        self.calls.append("pause")

    def resume_output(self) -> None:
        self.calls.append("resume")


class Bench:
    """A source under flow control, and three readers."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.source = FakeSource()
        self.flow = FlowControl(self.clock, self.source)
        self.first, self.second, self.third = self.readers = Reader(), Reader(), Reader()

    def hold(self) -> None:
        """Let all readers fall behind."""
        for reader in self.readers:
            reader.behind = True
        self.flow.check(self.readers)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.flow.release()
    assert bench.clock.getDelayedCalls() == []
    assert [reader.waiting for reader in bench.readers] == [[], [], []]


def test_one_reader_that_keeps_up_is_enough_to_go_on(bench: Bench) -> None:
    """A slow subscriber delays no other."""
    bench.first.behind = bench.third.behind = True
    bench.flow.check(bench.readers)
    assert (bench.source.calls, bench.flow.holding) == ([], False)


def test_the_child_waits_while_every_reader_is_behind(bench: Bench) -> None:
    """Nothing is lost to a firehose: its child is not read."""
    bench.hold()
    assert (bench.source.calls, bench.flow.holding) == (["pause"], True)


def test_output_that_nobody_reads_is_not_held(bench: Bench) -> None:
    """A task without subscribers runs freely."""
    bench.flow.check(())
    assert (bench.source.calls, bench.flow.holding) == ([], False)


def test_the_child_goes_on_as_soon_as_one_reader_has_caught_up(bench: Bench) -> None:
    """The fastest reader sets the pace, and nobody is left waiting for the child."""
    bench.hold()
    bench.second.catch_up()
    assert (bench.source.calls, bench.flow.holding) == (["pause", "resume"], False)
    assert bench.clock.getDelayedCalls() == []
    bench.first.catch_up()
    assert bench.source.calls == ["pause", "resume"]


def test_a_held_child_is_not_held_twice(bench: Bench) -> None:
    """What the child wrote before the hold may still arrive; this changes nothing."""
    bench.hold()
    bench.clock.advance(PATIENCE / 2)
    bench.hold()
    assert bench.source.calls == ["pause"]
    assert [call.getTime() for call in bench.clock.getDelayedCalls()] == [PATIENCE]


def test_readers_that_take_nothing_for_a_second_delay_nobody(bench: Bench) -> None:
    """A stalled client cannot stop a child."""
    bench.hold()
    bench.clock.advance(PATIENCE - 0.01)
    assert bench.source.calls == ["pause"]
    bench.clock.advance(0.01)
    assert bench.source.calls == ["pause", "resume"]
    assert [reader.stalled for reader in bench.readers] == [True, True, True]


def test_the_child_waits_as_long_as_one_reader_makes_progress(bench: Bench) -> None:
    """A slow but steady reader gets everything."""
    bench.hold()
    for _ in range(3):
        bench.second.progress += 1
        bench.clock.advance(PATIENCE)
    assert bench.source.calls == ["pause"]
    assert [reader.stalled for reader in bench.readers] == [False, False, False]
    bench.clock.advance(PATIENCE)
    assert bench.source.calls == ["pause", "resume"]


def test_stalled_readers_do_not_hold_the_child_again(bench: Bench) -> None:
    """Whoever stalled once does not delay the child a second at each batch."""
    bench.hold()
    bench.clock.advance(PATIENCE)
    bench.flow.check(bench.readers)
    assert (bench.source.calls, bench.flow.holding) == (["pause", "resume"], False)


def test_a_reader_that_stalled_counts_again_once_it_has_taken_something(bench: Bench) -> None:
    """A client that was suspended for a while is as good as any other afterwards."""
    bench.hold()
    bench.clock.advance(PATIENCE)
    bench.first.catch_up()
    bench.hold()
    assert bench.source.calls == ["pause", "resume", "pause"]


def test_a_stalled_reader_does_not_take_the_wait_from_a_healthy_one(bench: Bench) -> None:
    """A lone healthy reader loses nothing, also beside a stalled one."""
    bench.first.stalled = bench.second.stalled = True
    bench.hold()
    assert bench.source.calls == ["pause"]
    bench.third.catch_up()
    assert bench.source.calls == ["pause", "resume"]


def test_a_release_without_a_hold_does_nothing(bench: Bench) -> None:
    """The audience of a task may change at any time."""
    bench.flow.release()
    bench.hold()
    bench.flow.release()
    bench.flow.release()
    assert (bench.source.calls, bench.flow.holding) == (["pause", "resume"], False)
