"""How the end of a child is noticed: by its pidfd in the reactor, or by a thread that waits for it.

Neither touches SIGCHLD nor waits for anybody else's child, so both live beside Twisted's
``spawnProcess``, ``subprocess`` and every other library; and neither costs more with the number
of running children. (Twisted's own way is one ``waitpid`` per running child at every exit.)
"""

import contextlib
import os
import select
import sys
import threading
from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from overseer.process.spawn import IProcessReactor

TRY_AGAIN = 1.0
"""Seconds until there may be another thread."""

Ended = Callable[[], None]


class ExitWatch(Protocol):
    """One child that is being watched; reports its end once."""

    def start(self) -> None:
        """Begin to watch."""


@implementer(IReadDescriptor)
class PidfdWatch:
    """I am readable when the process has ended: pidfd_open(2). I close the descriptor then."""

    def __init__(self, reactor: IReactorFDSet, pidfd: int, ended: Ended) -> None:
        self._reactor = reactor
        self._pidfd = pidfd
        self._ended = ended

    def start(self) -> None:
        """Begin to watch."""
        self._reactor.addReader(self)

    def fileno(self) -> int:
        """Return the pidfd."""
        return self._pidfd

    def doRead(self) -> None:
        """Report: the process is a zombie now."""
        self._reactor.removeReader(self)
        os.close(self._pidfd)
        self._pidfd = -1
        self._ended()

    def connectionLost(self, reason: Failure) -> None:
        """Nothing: a pidfd does not lose its process."""

    def logPrefix(self) -> str:
        """Return the name that the reactor logs."""
        return "pidfd"


class ThreadWatch:
    """I wait in a thread, one for each child: without pidfd_open(2), or a descriptor left for one."""

    def __init__(self, reactor: IProcessReactor, pid: int, ended: Ended) -> None:
        self._reactor = reactor
        self._pid = pid
        self._ended = ended

    def start(self) -> None:
        """Begin to watch."""
        thread = threading.Thread(target=self._wait, name=f"wait-{self._pid}", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # There can be no more threads just now.
            self._reactor.callLater(TRY_AGAIN, self.start)

    def _wait(self) -> None:
        _wait_without_reaping(self._pid)
        self._reactor.callFromThread(self._ended)


def _wait_without_reaping(pid: int) -> None:
    """Block until ``pid`` is a zombie, and leave it one: its pid must stay taken for now."""
    if sys.platform == "linux":
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    else:
        # No os.waitid on macOS before Python 3.13; kqueue(2) reports the exit on all BSDs.
        exit_event = select.kevent(
            pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD | select.KQ_EV_ONESHOT, select.KQ_NOTE_EXIT
        )
        # ESRCH: ended before it was looked at.
        with contextlib.closing(select.kqueue()) as events, contextlib.suppress(ProcessLookupError):
            events.control([exit_event], 1)
