"""Where printed bytes wait for a reader who takes a rest, so that the command itself does not.

A write into a pipe or to a terminal lasts until somebody reads: meanwhile no ping would be answered, no Ctrl-C
heard, and the daemon would leave lines out. So a thread writes there; into files it is written at once.
"""

import io
import os
import select
import stat
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import BinaryIO

from twisted.internet.defer import Deferred

MOST_WAITING = 64 * 1024 * 1024
"""Bytes that may wait. With more, nothing is taken of the daemon: it leaves lines out, and says so."""


class Outlet:
    """Writes what one command prints; all to one thread, for at a terminal the order of the streams matters.

    :param call_from_thread: calls a function in the thread that this was made in.
    """

    def __init__(self, call_from_thread: Callable[..., object]) -> None:
        self._call = call_from_thread
        self._queue: SimpleQueue[tuple[int, bytes]] = SimpleQueue()
        self._thread: Thread | None = None
        self._waiting = 0
        self._error: OSError | None = None
        self._changed: Deferred[None] | None = None

    def write(self, file: BinaryIO, data: bytes) -> None:
        """Write ``data``, or let it wait.

        :raises OSError: when something could not be written, now or before.
        """
        if self._error is not None:
            raise self._error
        if not _may_wait(file):
            file.write(data)
            file.flush()
            return
        if self._thread is None:
            self._thread = Thread(target=self._run, name="outlet", daemon=True)
            self._thread.start()
        self._waiting += len(data)
        self._queue.put((file.fileno(), data))

    async def settled(self, most: int = 0) -> None:
        """Return when no more than ``most`` bytes wait.

        :raises OSError: when something could not be written.
        """
        while self._waiting > most and self._error is None:
            self._changed = Deferred()
            await self._changed
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while True:
            descriptor, data = self._queue.get()
            try:
                _write_all(descriptor, data)
            except OSError as error:
                self._call(self._written, 0, error)
                return
            self._call(self._written, len(data), None)

    def _written(self, size: int, error: OSError | None) -> None:
        self._waiting -= size
        self._error = error
        changed, self._changed = self._changed, None
        if changed is not None:
            changed.callback(None)


def _may_wait(file: BinaryIO) -> bool:
    try:
        return not stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    except io.UnsupportedOperation:  # in memory
        return False


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:  # whoever shares it wants it so
            select.select((), (descriptor,), ())
