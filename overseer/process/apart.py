"""Threads that work for the reactor, each with a table of file descriptors of its own.

A child begins with a copy of the table of the thread that starts it, and its exec closes the copies one by one:
beside 5,000 tasks that takes longer than all the rest of the start. Linux lets a thread have a table of its
own, nearly empty: close_range(2), ``CLOSE_RANGE_UNSHARE``. What the work needs comes to the thread by a socket:
unix(7), ``SCM_RIGHTS``. The socket is the queue, too, and brings the reactor the news of a result: the less
often a thread asks for Python's lock, the less it holds up all others.

What such a thread opens and closes are not the descriptors that others know by the same numbers. So it runs
nothing but what it is given. Only a garbage collection may come to pass in it, as in any thread: a file that
nobody has closed, and that is part of a cycle, stays open then for good.
"""

import ctypes
import os
import queue
import signal
import socket
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from typing import Generic, TypeVar

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

Result = TypeVar("Result")
Work = Callable[[Sequence[int]], Result]
Done = Callable[[Result], None]

_UNSHARE = 0x2
"""From <linux/close_range.h>."""
_FIRST, _LAST = 3, 0xFFFF_FFFF
_CONTROL_SIZE = socket.CMSG_SPACE(8 * array("i").itemsize)
"""Room for more descriptors than any work needs."""
_NUMBER_SIZE = 8
_END, _NEWS = b"", b"\0"
_CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


@implementer(IReadDescriptor)
class Threads(Generic[Result]):
    """I do work in ``number`` threads, and tell in the reactor what came of it.

    ``apart`` gives each a table of descriptors of its own, where the system can: since Linux 5.9, glibc 2.34.
    No signal reaches such a thread: Python's handler writes to a descriptor that is not there.

    :raises OSError: when there are no more descriptors.
    :raises RuntimeError: when there can be no more threads.
    """

    _log = Logger()

    def __init__(self, reactor: IReactorFDSet, number: int, name: str, *, apart: bool) -> None:
        self.under_way = 0
        self._reactor = reactor
        self._apart = apart
        self._closed = False
        self._numbers = count(1)
        self._work: dict[int, tuple[Work[Result], Sequence[int], Done[Result]]] = {}
        self._results: deque[tuple[Done[Result], Result]] = deque()
        self._threads: list[threading.Thread] = []
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ours.setblocking(False)
        reactor.addReader(self)
        try:
            with theirs:
                for index in range(number):
                    self._start_thread(f"{name}-{index}", theirs.dup())
        except (OSError, RuntimeError):
            self.close(0.0)
            raise

    def do(self, work: Work[Result], descriptors: Sequence[int], done: Done[Result]) -> None:
        """Let a thread do ``work``, which must not raise; ``done`` gets what it returns, in the reactor.

        ``work`` gets the descriptors by the numbers that they have in its thread. They must stay open until
        then, and the thread's own are closed afterwards.

        :raises OSError: when they can't be sent; also for too much at once: a socket holds eleven datagrams.
        """
        number = next(self._numbers)
        self._work[number] = (work, descriptors, done)
        try:
            message = number.to_bytes(_NUMBER_SIZE, "big")
            socket.send_fds(self._ours, [message], descriptors if self._apart else ())
        except OSError:
            del self._work[number]
            raise
        self.under_way += 1

    def close(self, timeout: float) -> None:
        """End the threads. Wait so many seconds for work under way; its results are told later."""
        self._closed = True
        for _ in self._threads:
            self._ours.send(_END)
        end = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(end - time.monotonic(), 0.0))
        if not self.under_way:
            self._finish()

    def fileno(self) -> int:
        """Return the descriptor that is readable when there are results."""
        return self._ours.fileno()

    def doRead(self) -> None:
        """Tell the results that there are."""
        self._ours.recv(1)
        while self._results:
            done, result = self._results.popleft()
            self.under_way -= 1
            try:
                done(result)
            except Exception:
                self._log.failure("the result of a thread was not taken")
        if self._closed and not self.under_way:
            self._finish()

    def connectionLost(self, reason: Failure) -> None:
        """Nothing: both ends are in this process."""

    def logPrefix(self) -> str:
        """Return the name that the reactor logs."""
        return "threads"

    def _finish(self) -> None:
        self._reactor.removeReader(self)
        self._ours.close()

    def _start_thread(self, name: str, theirs: socket.socket) -> None:
        ready: queue.SimpleQueue[bool] = queue.SimpleQueue()
        thread = threading.Thread(target=self._run, args=(theirs, ready), name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            theirs.close()
            raise
        self._threads.append(thread)
        self._apart = ready.get()
        if self._apart:
            os.close(theirs.fileno())  # the thread has its own

    # What follows runs in the threads.

    def _run(self, theirs: socket.socket, ready: "queue.SimpleQueue[bool]") -> None:
        # A child inherits the mask of the thread that starts it, unless that sees to it.
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals() if self._apart else ())
        ready.put(self._apart and _own_descriptors(theirs.fileno()))
        with theirs:
            while self._serve(theirs):
                pass

    def _serve(self, theirs: socket.socket) -> bool:
        # Not socket.recv_fds: it takes flags, and does nothing with them (Python 3.11 to 3.13).
        message, control, _, _ = theirs.recvmsg(_NUMBER_SIZE, _CONTROL_SIZE, _CLOSE_ON_EXEC)
        if message == _END:
            return False
        received = [number for *_, data in control for number in array("i", data)]
        work, descriptors, done = self._work.pop(int.from_bytes(message, "big"))
        result = work(received if self._apart else descriptors)
        for descriptor in received:
            os.close(descriptor)
        self._results.append((done, result))
        theirs.send(_NEWS)
        return True


def _own_descriptors(kept: int) -> bool:
    """Give this thread a table with the standard streams and ``kept``, if that can be, and return whether."""
    library = ctypes.CDLL(None)
    try:
        close_range = library.close_range
    except AttributeError:
        return False
    close_range.argtypes = (ctypes.c_uint, ctypes.c_uint, ctypes.c_int)
    if close_range(kept + 1, _LAST, _UNSHARE):
        return False
    return kept == _FIRST or not close_range(_FIRST, kept - 1, 0)
