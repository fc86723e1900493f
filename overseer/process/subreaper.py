"""Reaping the orphans that tasks leave behind, and nobody else's children.

A program that forks twice leaves its grandchild to init, or to the nearest *subreaper* among its
ancestors: prctl(2), PR_SET_CHILD_SUBREAPER. As one, the daemon keeps those processes below it,
and has to wait for them. The ones in a task's own process group are reaped by
:class:`overseer.process.ProcessGroup`; the rest here.

``waitpid(-1)`` would take the exit codes of everybody's children: ours, Twisted's, those of any
library that uses ``subprocess``. An adopted orphan can't be told from a child of our own by
looking at it, so a zombie is reaped only when all of this holds:

* the spawner doesn't own it, and Twisted has no handler for it;
* its session is not ours. Every task has a session of its own, and so have all its descendants,
  while children that libraries start stay in the daemon's session unless they ask for another
  one;
* it was a zombie a second ago: who waits for a child of his own, with its own session, has done
  so by then.

What is never reaped so is an orphan of the daemon's own session. No task has any.

For the program only (``overseer``, ``twistd``): to change this for a process is not an embedded
library's to do.
"""

import ctypes
import os
import signal
from collections.abc import Iterator
from types import FrameType

from twisted.internet import process
from twisted.internet.interfaces import IDelayedCall, IReactorCore
from twisted.logger import Logger

from overseer.process.proc import all_pids, children_of
from overseer.process.spawn import IProcessReactor, ProcessSpawner

PR_SET_CHILD_SUBREAPER = 36
"""From <linux/prctl.h>."""

SWEEP_INTERVAL = 1.0
"""Seconds between the first sight of a zombie and its reaping, and the least between two sweeps."""

_LOOK_ONLY = os.WEXITED | os.WNOHANG | os.WNOWAIT


class ISubreaperReactor(IProcessReactor, IReactorCore):
    """The abilities of a reactor that the subreaper needs."""


def become_subreaper(wanted: bool = True) -> bool:
    """Adopt all orphans among this process's descendants from now on; ``wanted=False`` ends that.

    Return whether the system can do it: Linux only.
    """
    try:
        prctl = ctypes.CDLL(None).prctl
    except (AttributeError, OSError):
        return False
    return bool(prctl(PR_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0) == 0)


class Subreaper:
    """I make this process a subreaper and reap what it adopts: one sweep a second, none when idle.

    To be started and stopped in the main thread. I put a SIGCHLD handler before the present one,
    which goes on working; the reactor's own is called by way of its wake-up descriptor, which I
    leave alone.
    """

    _log = Logger()

    def __init__(self, reactor: ISubreaperReactor, spawner: ProcessSpawner) -> None:
        self._reactor = reactor
        self._spawner = spawner
        self._running = False
        self._previous_handler: object = None
        self._sweep_call: IDelayedCall | None = None
        self._sweep_wanted = False
        self._seen: set[int] = set()

    def start(self) -> None:
        """Adopt orphans from now on. Where the system can't, do nothing."""
        if self._running or not become_subreaper():
            return
        self._running = True
        # The reactor sets its own handler when it starts to run, and would replace ours.
        self._reactor.callWhenRunning(self._listen)

    def stop(self) -> None:
        """Adopt no more; zombies that are left go to the next reaper when this process ends."""
        if not self._running:
            return
        self._running = False
        become_subreaper(False)
        if signal.getsignal(signal.SIGCHLD) == self._child_ended:
            signal.signal(signal.SIGCHLD, self._previous_handler)  # type: ignore[arg-type]
        if self._sweep_call is not None and self._sweep_call.active():
            self._sweep_call.cancel()

    def _listen(self) -> None:
        if not self._running:
            return
        self._previous_handler = signal.signal(signal.SIGCHLD, self._child_ended)
        signal.siginterrupt(signal.SIGCHLD, False)
        # PID 1 of a container may have some already.
        self._sweep_later()

    def _child_ended(self, number: int, frame: FrameType | None) -> None:
        if callable(self._previous_handler):
            self._previous_handler(number, frame)
        if not self._sweep_wanted:
            self._sweep_wanted = True
            self._reactor.callFromThread(self._sweep_later)

    def _sweep_later(self) -> None:
        if self._running and (self._sweep_call is None or not self._sweep_call.active()):
            self._sweep_call = self._reactor.callLater(SWEEP_INTERVAL, self._sweep)

    def _sweep(self) -> None:
        self._sweep_wanted = False
        strangers = set(_strangers(self._spawner))
        for pid in strangers & self._seen:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue
            self._log.debug("reaped the orphan {pid}", pid=pid)
        self._seen = strangers - self._seen
        if self._seen:
            self._sweep_later()


def _strangers(spawner: ProcessSpawner) -> Iterator[int]:
    """Yield the zombies among our children that, as far as one can tell, nobody else will reap."""
    try:
        if os.waitid(os.P_ALL, 0, _LOOK_ONLY) is None:
            return  # no zombie at all: the usual case
    except ChildProcessError:
        return  # no children
    own_session = os.getsid(0)
    for pid in _children():
        try:
            if (
                os.waitid(os.P_PID, pid, _LOOK_ONLY) is not None
                and os.getsid(pid) != own_session
                and pid not in process.reapProcessHandlers
                # Last: what it does not own now, it did not own when the zombie was seen.
                and not spawner.owns(pid)
            ):
                yield pid
        except (ChildProcessError, ProcessLookupError):
            continue  # reaped meanwhile, or no child of ours


def _children() -> list[int]:
    """Return the pids of our children; of all processes when the kernel lists none: proc(5)."""
    return children_of(os.getpid()) or all_pids()
