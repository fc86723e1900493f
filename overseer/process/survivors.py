"""What an overseer that was killed has left running: found by the mark in its environment, and ended.

Every child carries ``OVERSEER_INSTANCE`` (environ in proc(5) shows what a process was started with), and so do
its descendants, and every task has a session of its own. So whatever carries our mark, or is in the session of
such a process, is ours: a process id that was given to somebody else meanwhile is not.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

INSTANCE_VARIABLE = "OVERSEER_INSTANCE"
GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL."""
DEADLINE = 5.0
"""Seconds after which what does not end is left alone."""
INTERVAL = 0.05
"""Seconds between two looks at what is left."""
_PROC = Path("/proc")
_log = Logger()


@attrs.frozen
class Survivor:
    """A process, told by its id and when it was started (clock ticks since boot): proc(5), stat."""

    pid: int
    started: int
    session: int


def find_survivors(instance: str) -> list[Survivor]:
    """Return the live processes that carry the mark of ``instance``, and all of their sessions.

    Where there is no /proc nothing is found. Not found either: this process, its own session and other
    namespaces (pid_namespaces(7)), whose daemon may be alive.
    """
    mine, space = os.getsid(0), _namespace(os.getpid())
    mark = f"\0{INSTANCE_VARIABLE}={instance}\0".encode()
    found = [one for one in _processes() if one.session != mine and _namespace(one.pid) == space]
    sessions = {one.session for one in found if mark in _environment(one.pid)}
    return [one for one in found if one.session in sessions]


async def end_survivors(clock: IReactorTime, instance: str) -> int:
    """End all of them, by SIGTERM and then by SIGKILL; return how many there were."""
    begin = clock.seconds()
    known: set[Survivor] = set()
    while survivors := find_survivors(instance):
        waited = clock.seconds() - begin
        if waited >= DEADLINE:
            _log.error(
                "{count} processes of an earlier overseer do not end: {pids}",
                count=len(survivors),
                pids=", ".join(str(one.pid) for one in survivors),
            )
            break
        for one in survivors:
            if waited >= GRACE:
                _signal(one, signal.SIGKILL)
            elif one not in known:
                _signal(one, signal.SIGTERM)
        known.update(survivors)
        pause: Deferred[None] = Deferred()
        clock.callLater(INTERVAL, pause.callback, None)
        await pause
    return len(known)


def _processes() -> Iterator[Survivor]:
    with suppress(OSError):
        for entry in os.scandir(_PROC):
            if entry.name.isdecimal():
                one = _look_at(int(entry.name))
                if one is not None:
                    yield one


def _look_at(pid: int) -> Survivor | None:
    """Return what there is under a process id, None for nothing or a zombie."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text("latin-1").rpartition(")")[2].split()
    except OSError:
        return None
    # Numbered from 3 in proc(5): the state, and 6 is the session, 22 the start.
    return None if fields[0] in "ZX" else Survivor(pid, int(fields[19]), int(fields[3]))


def _environment(pid: int) -> bytes:
    try:
        return b"\0" + (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return b""  # gone, or another user's


def _namespace(pid: int) -> int | None:
    try:
        return os.stat(_PROC / str(pid) / "ns" / "pid").st_ino
    except OSError:
        return None


def _signal(one: Survivor, number: int) -> None:
    with suppress(OSError):
        descriptor = os.pidfd_open(one.pid)
        try:
            if _look_at(one.pid) == one:  # else the number has another owner by now
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)
