"""The event log: what is in it, and what a bad disk costs."""

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from overseer.core.lines import Block
from overseer.core.rotation import Rotation
from overseer.eventlog import CLOSE_TIMEOUT, EventLog, LogFileError
from overseer.log_file import LogFile
from overseer.protocol.batch import Batch, OutputEncoder, lifecycle_batch
from overseer.protocol.frames import to_lines
from overseer.protocol.messages import Lagged

DEADLINE = 20.0
LARGE = Rotation(max_size=1 << 30, backups=3)


def eventually(condition: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.001)


class FakeReactor(Clock):
    """Time stands still; what the thread says waits until the test listens."""

    def __init__(self) -> None:
        super().__init__()
        self.said: SimpleQueue[tuple[Callable[..., object], tuple[Any, ...]]] = SimpleQueue()

    def callFromThread(self, function: Callable[..., object], *arguments: Any) -> None:
        self.said.put((function, arguments))

    def listen(self) -> None:
        """Wait for the thread to say something."""
        function, arguments = self.said.get(timeout=DEADLINE)
        function(*arguments)


class BadFile(LogFile):
    """A file on a disk that a test can fill and stop."""

    full = False

    def __init__(self, path: str) -> None:
        super().__init__(path, LARGE)
        self.running = threading.Event()
        self.running.set()

    def write(self, lines: bytes, start: int) -> int:
        self.running.wait(DEADLINE)
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(lines, start)


@pytest.fixture
def reactor() -> FakeReactor:
    return FakeReactor()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


@pytest.fixture
def file(path: Path) -> Iterator[BadFile]:
    file = BadFile(str(path))
    yield file
    file.running.set()


def started(reactor: FakeReactor, file: LogFile, **options: int) -> EventLog:
    log = EventLog(reactor, file, **options)
    log.open()
    log.start()
    return log


def finish(reactor: FakeReactor, log: EventLog) -> None:
    closed = log.close()
    while not closed.called:
        reactor.listen()


def output(first: int = 1, count: int = 3) -> Batch:
    lines = "\n".join(f"línea {number}" for number in range(first, first + count))
    encoder = OutputEncoder("task", 7, "stdout", 1 << 20, json_lines=True)
    return encoder.encode(Block(lines.encode(), False), first, 0)


def event(number: int) -> Batch:
    return lifecycle_batch("task", Lagged("task", number, number, 1), 0, number)


# ------------------------------------------------------------------------------------------ the queue


def test_every_event_is_one_line_with_the_bytes_of_the_wire(
    reactor: FakeReactor, path: Path
) -> None:
    """Output and the rest, in the order in which it happened, all of it once the log is closed."""
    log = started(reactor, LogFile(str(path), LARGE))
    batches = [event(1), output(1), output(4, 5000), event(2)]
    for batch in batches:
        log.append(batch)
    finish(reactor, log)
    assert path.read_bytes() == b"".join(to_lines(batch.frames) for batch in batches)
    assert log.dropped == 0


def test_a_log_that_is_there_grows(reactor: FakeReactor, path: Path) -> None:
    """A restart of the daemon overwrites nothing."""
    path.write_bytes(b"before\n")
    log = started(reactor, LogFile(str(path), LARGE))
    log.append(event(1))
    finish(reactor, log)
    assert path.read_bytes() == b"before\n" + to_lines(event(1).frames)


def test_a_short_outage_costs_nothing(reactor: FakeReactor, path: Path, file: BadFile) -> None:
    """While the disk is full events wait; one warning tells of it, and one message of its end."""
    file.full = True
    log = started(reactor, file)
    with capturedLogs() as said:
        log.append(event(1))
        reactor.listen()
        log.append(event(2))
        log.reopen()  # tried at once, and fails again
        eventually(lambda: not log._reopening)
        file.full = False
        log.reopen()
        reactor.listen()
    finish(reactor, log)
    assert path.read_bytes() == to_lines(event(1).frames) + to_lines(event(2).frames)
    assert log.dropped == 0
    assert [line["log_format"].partition("{")[0] for line in said] == [
        "cannot write the event log ",
        "the event log ",
    ]


def test_what_is_too_much_for_the_disk_is_left_out_and_counted(
    reactor: FakeReactor, path: Path, file: BadFile
) -> None:
    """Memory is bounded; one gap is told once at its beginning and once at its end."""
    file.running.clear()
    size = len(event(1).frames)
    log = started(reactor, file, queue_size=4 * size)
    with capturedLogs() as said:
        for number in range(1, 10):
            log.append(event(number))
        assert log.dropped == 5
        file.running.set()
        eventually(lambda: log._waiting_size == 0)
        log.append(event(1))
    finish(reactor, log)
    assert path.read_bytes() == b"".join(to_lines(event(n).frames) for n in (1, 2, 3, 4, 1))
    assert [line.get("lost") for line in said] == [None, 5]


def test_a_batch_larger_than_the_queue_is_written(reactor: FakeReactor, path: Path) -> None:
    """One that finds nothing before it is taken whatever its size."""
    log = started(reactor, LogFile(str(path), LARGE), queue_size=1)
    log.append(output())
    finish(reactor, log)
    assert path.read_bytes() == to_lines(output().frames)


def test_events_that_never_reach_a_full_disk_are_counted(reactor: FakeReactor) -> None:
    """The daemon ends in time, and says how much is missing."""
    log = started(reactor, LogFile("/dev/full", LARGE))
    with capturedLogs() as said:
        log.append(output(1, 5))
        reactor.listen()
        log.append(event(6))
        finish(reactor, log)
    assert log.dropped == 6
    assert said[-1]["lost"] == 6


def test_the_end_does_not_wait_for_a_dead_disk(reactor: FakeReactor, file: BadFile) -> None:
    """After a few seconds the daemon goes without it."""
    file.running.clear()
    log = started(reactor, file)
    log.append(event(1))
    closed = log.close()
    reactor.advance(CLOSE_TIMEOUT - 0.1)
    assert not closed.called
    reactor.advance(0.1)
    assert closed.called


def test_a_log_that_was_never_started_closes_at_once(reactor: FakeReactor, path: Path) -> None:
    """A daemon whose address is taken leaves nothing open."""
    log = EventLog(reactor, LogFile(str(path), LARGE))
    log.open()
    assert log.close().called
    assert not reactor.getDelayedCalls()


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/nowhere/events.jsonl", "No such file or directory"), ("/", "Is a directory")],
)
def test_a_path_that_cannot_be_is_an_error_at_start_up(
    reactor: FakeReactor, path: str, reason: str
) -> None:
    """A mistake in the configuration shows at once."""
    with pytest.raises(LogFileError, match=f'^log_file "{path}": {reason}$'):
        EventLog(reactor, LogFile(path, LARGE)).open()


def test_a_pipe_without_a_reader_does_not_stop_the_daemon(reactor: FakeReactor, path: Path) -> None:
    """It is an error at start-up instead."""
    os.mkfifo(path)
    with pytest.raises(LogFileError, match="No such device"):
        EventLog(reactor, LogFile(str(path), LARGE)).open()
