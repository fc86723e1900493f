"""What /proc tells of processes (proc(5)); where there is none, nothing is told.

A process id is given to somebody else once its owner is reaped, so a process is told by its id and its start.
"""

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress

import attrs

PROC = "/proc"
_READ_SIZE = 64 * 1024


@attrs.frozen
class Process:
    """A live process: its id and when it was started (clock ticks since boot), and where it is now."""

    pid: int
    started: int
    session: int = attrs.field(eq=False)
    group: int = attrs.field(eq=False)


def look_at(pid: int) -> Process | None:
    """Return what there is under a process id, None for nothing or a zombie."""
    # pid (name) state ppid pgrp session …, the start is number 22; the name may hold anything.
    fields = _read(f"{PROC}/{pid}/stat").rpartition(b")")[2].split()
    if not fields or fields[0] in (b"Z", b"X"):
        return None
    return Process(pid, int(fields[19]), int(fields[3]), int(fields[2]))


def all_processes() -> Iterator[Process]:
    """Yield every live process."""
    yield from filter(None, map(look_at, all_pids()))


def all_pids() -> list[int]:
    """Return all process ids, of zombies too."""
    try:
        return [int(name) for name in os.listdir(PROC) if name.isdecimal()]
    except OSError:
        return []


def children_of(pid: int) -> list[int]:
    """Return the process ids of somebody's children, zombies too."""
    try:
        threads = os.listdir(f"{PROC}/{pid}/task")
    except OSError:
        return []
    lists = [_read(f"{PROC}/{pid}/task/{thread}/children") for thread in threads]
    return [int(child) for some in lists for child in some.split()]


class ChildrenOfMainThread:
    """The children that the main thread of this process has, which adopts the orphans below it.

    They are asked for at every exit, so the list is kept open, until ``close``.
    """

    def __init__(self) -> None:
        self._descriptor = -1

    def now(self) -> list[int]:
        """Return their process ids, zombies too."""
        if self._descriptor < 0:
            main = os.getpid()
            try:
                self._descriptor = os.open(
                    f"{PROC}/{main}/task/{main}/children", os.O_RDONLY | os.O_CLOEXEC
                )
            except OSError:
                return []
        return [int(child) for child in _read_all(self._descriptor).split()]

    def close(self) -> None:
        """Close the list."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def descendants_of(roots: Iterable[Process]) -> set[Process]:
    """Return processes with everything that is alive below them."""
    found: set[Process] = set()
    waiting = list(roots)
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += filter(None, map(look_at, children_of(one.pid)))
    return found


def environment_of(pid: int) -> bytes:
    """Return what a process was started with, each variable between two NULs; nothing for another user's."""
    return b"\0" + _read(f"{PROC}/{pid}/environ")


def send_signal(one: Process, number: int) -> None:
    """Send a signal to a process, unless it is gone or not ours to signal."""
    with suppress(OSError):
        if not hasattr(os, "pidfd_open"):
            if look_at(one.pid) == one:
                os.kill(one.pid, number)
            return
        descriptor = os.pidfd_open(one.pid)
        try:
            if look_at(one.pid) == one:  # else the number has another owner by now
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


def _read(path: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return _read_all(descriptor)
    finally:
        os.close(descriptor)


def _read_all(descriptor: int) -> bytes:
    """Return the whole of an open file as it is now; a page at a time, as the kernel may write it anew."""
    found = b""
    with suppress(OSError):
        while more := os.pread(descriptor, _READ_SIZE, len(found)):
            found += more
    return found
