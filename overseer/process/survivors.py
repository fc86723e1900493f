"""What an overseer that was killed has left running: found by the mark in its environment, and ended.

Every child carries ``OVERSEER_INSTANCE``, and so do its descendants, and every task has a session of its own.
So whatever carries it, or is in the session of such a process, is ours: a process id that was given to
somebody else meanwhile is not.
"""

import os
import signal
from collections.abc import Iterable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from overseer.process.cgroup import ControlGroup, ControlGroups
from overseer.process.mark import INSTANCE_VARIABLE
from overseer.process.proc import (
    PROC,
    Process,
    all_processes,
    environment_of,
    look_at,
    send_signal,
)

GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL."""
DEADLINE = 5.0
"""Seconds after which what does not end is left alone."""
INTERVAL = 0.05
"""Seconds between two looks at what is left."""
_log = Logger()


def find_survivors(instance: str) -> set[Process]:
    """Return the live processes that carry the mark of ``instance``, and all of their sessions.

    Where there is no /proc nothing is found. Not found either: this process, its own session and other
    namespaces (pid_namespaces(7)), whose daemon may be alive.
    """
    mine, space = os.getsid(0), _namespace(os.getpid())
    mark = f"\0{INSTANCE_VARIABLE}={instance}\0".encode()
    found = [one for one in all_processes() if one.session != mine and _namespace(one.pid) == space]
    sessions = {one.session for one in found if mark in environment_of(one.pid)}
    return {one for one in found if one.session in sessions}


async def end_survivors(clock: IReactorTime, instance: str, groups: ControlGroups) -> int:
    """End all of them, by SIGTERM and then by SIGKILL; return how many there were.

    So ends what is left in earlier control groups, which are removed.
    """
    earlier = groups.earlier()
    begin = clock.seconds()
    known: set[Process] = set()
    while survivors := find_survivors(instance) | _members_of(earlier):
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
                send_signal(one, signal.SIGKILL)
            elif one not in known:
                send_signal(one, signal.SIGTERM)
        known.update(survivors)
        pause: Deferred[None] = Deferred()
        clock.callLater(INTERVAL, pause.callback, None)
        await pause
    for group in earlier:
        group.remove()
    return len(known)


def _members_of(groups: Iterable[ControlGroup]) -> set[Process]:
    pids = (pid for group in groups for pid in group.members())
    return set(filter(None, map(look_at, pids)))


def _namespace(pid: int) -> int | None:
    try:
        return os.stat(f"{PROC}/{pid}/ns/pid").st_ino
    except OSError:
        return None
