"""The event log: every event of every task as one line of JSON, the same bytes as on the wire.

The lines of output come with its batches; a thread of its own writes them, so that a slow disk never stops
the reactor. What waits for it is bounded: a disk that is full or too slow costs lines of the log, which are
counted, and nothing else.
"""

import errno
import threading
from collections import deque
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from overseer.log_file import LogFile
from overseer.protocol.batch import Batch
from overseer.protocol.frames import to_lines

QUEUE_SIZE = 32 * 1024 * 1024
"""Bytes of events that may wait to be written; what comes then is left out until half of it is written."""
PIECE_SIZE = 1024 * 1024
"""Bytes of events that are written at a time."""
LINGER = 0.02
"""Seconds between two writes, so that a busy log is written in large pieces."""
FIRST_RETRY = 1.0
LAST_RETRY = 60.0
"""Seconds until a file that cannot be written is tried again; doubled each time, from the first to the last."""
CLOSE_TIMEOUT = 3.0
"""Seconds that the end of the daemon waits for the rest to be written."""
_FAULTS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
"""What is wrong with a disk and not with the configuration."""


class LogFileError(Exception):
    """The event log cannot be opened at start-up; the text says why."""


class EventLog:
    """Takes the events of all tasks and has them written to ``file``.

    :param reactor: for timers and to get back from the writing thread.
    :param queue_size: see :data:`QUEUE_SIZE`.
    """

    _log = Logger()

    def __init__(self, reactor: Any, file: LogFile, queue_size: int = QUEUE_SIZE) -> None:
        self._reactor = reactor
        self._file = file
        self._queue_size = queue_size
        self.dropped = 0
        """Events that are not in the log because it was full or failed."""
        self.failing = False
        """Whether the last attempt to write has failed."""
        self._dropped_before = 0
        self._dropping = False
        # What follows is shared with the thread, under this lock.
        self._changed = threading.Condition()
        self._queue: deque[bytes] = deque()
        self._waiting_size = 0
        self._closing = False
        self._reopening = False
        # What follows is the thread's own.
        self._lines = b""
        self._written = 0
        self._taken_size = 0
        self._retry_delay = 0.0
        self._thread = threading.Thread(target=self._work, name="event log", daemon=True)
        self._closed: Deferred[None] = Deferred()

    # -------------------------------------------------------------------------- in the reactor's thread

    def open(self) -> None:
        """Open the file; what comes is kept until :meth:`start`.

        :raises LogFileError: when it cannot be opened, unless the disk is just full or read-only.
        """
        try:
            self._file.open()
        except OSError as error:
            if error.errno not in _FAULTS:
                raise LogFileError(f'log_file "{self._file.path}": {error.strerror}') from None

    def start(self) -> None:
        """Begin to write. Threads do not survive the fork of a daemon going to the background."""
        self._thread.start()

    def append(self, batch: Batch) -> None:
        """Have events written; never blocks."""
        lines = to_lines(batch.frames) if batch.json_lines is None else batch.json_lines
        size = len(lines)
        with self._changed:
            waiting = self._waiting_size
            limit = self._queue_size // 2 if self._dropping else self._queue_size
            fits = not waiting or waiting + size <= limit
            if fits:
                # Otherwise the thread is awake already, or about to wake up.
                if not self._queue or waiting > PIECE_SIZE:
                    self._changed.notify()
                self._queue.append(lines)
                self._waiting_size = waiting + size
        if fits is self._dropping:
            self._tell_dropping(not fits)
        if not fits:
            self.dropped += batch.events

    @property
    def waiting_size(self) -> int:
        """Bytes that are not written yet."""
        return self._waiting_size

    def reopen(self) -> None:
        """Close the file and open what is at its path now; one that failed is tried at once."""
        with self._changed:
            self._reopening = True
            self._changed.notify()

    def close(self) -> Deferred[None]:
        """Write what is left; fires when it is written, or after :data:`CLOSE_TIMEOUT`."""
        if not self._thread.is_alive():
            self._file.close()
            self._finish(None)
            return self._closed
        timeout = self._reactor.callLater(CLOSE_TIMEOUT, self._give_up)
        with self._changed:
            self._closing = True
            self._changed.notify()
        return self._closed.addCallback(lambda _: _cancel(timeout))

    def _tell_dropping(self, dropping: bool) -> None:
        self._dropping = dropping
        if dropping:
            self._dropped_before = self.dropped
            self._log.warn("the event log is too slow or fails: events are left out of it")
        else:
            lost = self.dropped - self._dropped_before
            self._log.warn("the event log goes on; {lost} events are not in it", lost=lost)

    def _tell_failure(self, error: OSError) -> None:
        self.failing = True
        self._log.warn(
            "cannot write the event log {path}: {reason}; trying again",
            path=self._file.path,
            reason=error.strerror,
        )

    def _tell_recovery(self) -> None:
        self.failing = False
        self._log.info("the event log {path} can be written again", path=self._file.path)

    def _give_up(self) -> None:
        self._log.warn("the event log did not end in time")
        self._finish(None)

    def _finish(self, lost: int | None) -> None:
        if lost:
            self.dropped += lost
            self._log.warn("{lost} events are not in the event log", lost=lost)
        if not self._closed.called:
            self._closed.callback(None)

    # ---------------------------------------------------------------------------- in the writing thread

    def _work(self) -> None:
        closing = False
        while not closing:
            closing, reopening = self._wait()
            try:
                if reopening:
                    self._file.open()
                self._write_all()
            except OSError as error:
                self._failed(error)
        lost = self._lines.count(b"\n", self._written)
        lost += sum(lines.count(b"\n") for lines in self._queue)
        self._file.close()
        self._reactor.callFromThread(self._finish, lost)

    def _wait(self) -> tuple[bool, bool]:
        """Wait for something to do, and return whether it is the last, and whether to reopen the file."""
        with self._changed:
            if self._retry_delay:
                self._changed.wait_for(self._is_urgent, self._retry_delay)
            else:
                self._changed.wait_for(self._is_urgent, LINGER)
                self._changed.wait_for(lambda: self._queue or self._is_urgent())
            reopening, self._reopening = self._reopening, False
            return self._closing, reopening

    def _is_urgent(self) -> bool:
        return (
            self._closing
            or self._reopening
            or (not self._retry_delay and self._waiting_size > PIECE_SIZE)
        )

    def _write_all(self) -> None:
        while self._lines or self._take():
            while self._written < len(self._lines):
                self._written = self._file.write(self._lines, self._written)
                if self._retry_delay:
                    self._retry_delay = 0.0
                    self._reactor.callFromThread(self._tell_recovery)
            self._lines, self._written = b"", 0
            with self._changed:
                self._waiting_size -= self._taken_size

    def _take(self) -> bool:
        """Take the next piece of what waits; return whether there is any."""
        taken = []
        size = 0
        with self._changed:
            while self._queue and size < PIECE_SIZE:
                taken.append(self._queue.popleft())
                size += len(taken[-1])
        self._taken_size = size
        self._lines = b"".join(taken)
        return bool(taken)

    def _failed(self, error: OSError) -> None:
        self._file.close()
        if not self._retry_delay:
            self._reactor.callFromThread(self._tell_failure, error)
        self._retry_delay = min(max(self._retry_delay * 2, FIRST_RETRY), LAST_RETRY)


def _cancel(timer: IDelayedCall) -> None:
    if timer.active():
        timer.cancel()
