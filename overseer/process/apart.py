"""A thread whose table of file descriptors is its own and nearly empty, to start processes from.

A child begins with a copy of the table of the thread that starts it, and its exec closes the copies one by
one: beside 5,000 tasks that takes longer than all the rest of the start. Linux lets a thread have a table of
its own: close_range(2), ``CLOSE_RANGE_UNSHARE``. What the child is to have reaches that thread by a socket:
unix(7), ``SCM_RIGHTS``.

What this thread opens and closes are not the descriptors that others know by the same numbers. So it runs
nothing but what it is given. Only a garbage collection may come to pass in it, as in any thread: a file that
nobody has closed, and that is part of a cycle, stays open then for good.
"""

import ctypes
import os
import queue
import signal
import socket
import threading
from collections.abc import Callable, Sequence

_UNSHARE = 0x2
"""From <linux/close_range.h>."""
_FIRST, _LAST = 3, 0xFFFF_FFFF
_MOST_SENT = 8

Call = Callable[[Sequence[int]], int]


def thread_apart(name: str) -> "ThreadApart | None":
    """Return a new thread; None where the system has none of that kind: before Linux 5.9 and glibc 2.34."""
    try:
        return ThreadApart(name)
    except OSError:
        return None


class ThreadApart:
    """I make calls in a thread with descriptors of its own, one after the other, for one thread that waits.

    :raises OSError: when the system has none of that kind.
    """

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[int | BaseException] = queue.SimpleQueue()
        self._ours, theirs = socket.socketpair()
        number = theirs.fileno()
        threading.Thread(target=self._run, args=(theirs,), name=name, daemon=True).start()
        try:
            self._result()
        except OSError:
            self._ours.close()
            raise
        finally:
            os.close(number)  # the thread has its own by now, or no use for it

    def call(self, call: Call, descriptors: Sequence[int]) -> int:
        """Return what ``call`` returns or raises; it gets copies of the descriptors, closed after it."""
        socket.send_fds(self._ours, [b"\0"], descriptors)
        self._calls.put(call)
        return self._result()

    def close(self) -> None:
        """Let the thread end."""
        self._calls.put(None)
        self._ours.close()

    def _result(self) -> int:
        result = self._results.get()
        if isinstance(result, BaseException):
            raise result
        return result

    def _run(self, theirs: socket.socket) -> None:
        # Python's handler writes to a descriptor that is not here. Who starts a process sees to its mask.
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
        kept = theirs.fileno()
        try:
            _own_descriptors(kept)
        except OSError as error:
            theirs.detach()
            self._results.put(error)
            return
        self._results.put(0)
        while (call := self._calls.get()) is not None:
            self._results.put(self._serve(call, theirs))
            del call
        theirs.close()

    def _serve(self, call: Call, theirs: socket.socket) -> int | BaseException:
        descriptors = socket.recv_fds(theirs, 1, _MOST_SENT)[1]
        try:
            return call(descriptors)
        except BaseException as error:
            return error
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


def _own_descriptors(kept: int) -> None:
    """Give this thread a table of its own, in which the standard streams and ``kept`` are all."""
    library = ctypes.CDLL(None, use_errno=True)
    try:
        close_range = library.close_range
    except AttributeError:
        raise OSError("no close_range(2)") from None
    close_range.argtypes = (ctypes.c_uint, ctypes.c_uint, ctypes.c_int)
    failed = close_range(kept + 1, _LAST, _UNSHARE)
    if not failed and kept > _FIRST:
        failed = close_range(_FIRST, kept - 1, 0)
    if failed:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
