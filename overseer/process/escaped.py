"""What a run has outside of its process group: found without a walk through all processes, and signalled.

A program leaves its group by setsid(2) or setpgid(2), its parent by forking twice. While its parents live it is
found below the main process of the run. When they end it is adopted by the nearest subreaper, which is us
(:mod:`overseer.process.subreaper`), and told by its mark, ``OVERSEER_INSTANCE`` and ``OVERSEER_RUN`` in its
environment, or by a session that others with the mark are in. So one short list, of what was adopted, is all
that the end of a run has to look at; for most it is empty.

Not found is what was adopted by somebody else, in an application that embeds overseer, unless a stop has seen
it before; and what has left its group, its parents and its environment: for that there are control groups.
"""

from collections.abc import Callable, Iterator, Mapping
from signal import SIGKILL
from typing import Any, Final

import attrs

from overseer.process.cgroup import ControlGroup
from overseer.process.mark import Mark, mark_in, mark_of
from overseer.process.proc import (
    ChildrenOfMainThread,
    Process,
    descendants_of,
    environment_of,
    look_at,
    send_signal,
)

SETTLED_AFTER = 3
"""Looks at a process without any environment after which it has none: in the midst of an exec it shows none."""


@attrs.define
class _Orphan:
    process: Process
    mark: Mark | None
    looks: int = 0
    """How often it had no environment."""


class Orphans:
    """What this process has adopted, and whose mark it bears, which is read only once.

    ``ended`` counts what had escaped from its run, adopted or not yet, and was signalled to end with it.
    """

    def __init__(self) -> None:
        self.ended = 0
        self._children = ChildrenOfMainThread()
        self._known: dict[int, _Orphan] = {}

    def close(self) -> None:
        """Keep nothing open."""
        self._children.close()

    @property
    def unsettled(self) -> bool:
        """Whether of some it cannot be told yet whose they are."""
        return any(0 < orphan.looks < SETTLED_AFTER for orphan in self._known.values())

    def of(self, mark: Mark | None, sessions: set[int]) -> set[Process]:
        """Return the live ones that bear a mark, or are in one of the sessions or that of one with the mark."""
        self._refresh()
        marked = set(self._alive(lambda orphan: orphan.mark == mark is not None))
        sessions = sessions.union(one.session for one in marked)
        return marked.union(self._alive(lambda orphan: orphan.process.session in sessions))

    def _alive(self, wanted: Callable[[_Orphan], bool]) -> Iterator[Process]:
        for pid, orphan in list(self._known.items()):
            if wanted(orphan):
                now = look_at(pid)
                if now == orphan.process:
                    yield now  # with the group and the session that it has by now
                else:
                    del self._known[pid]  # a zombie, or the next one with its number

    def _refresh(self) -> None:
        # Orphans become children of the main thread, and only what it has started itself is there beside
        # them: the children of tasks belong to the threads that start them.
        known, self._known = self._known, {}
        for pid in self._children.now():
            orphan = known.get(pid)
            if orphan is None and (one := look_at(pid)) is not None:
                orphan = _Orphan(one, None, 1)
            if orphan is not None:
                self._known[pid] = orphan
                if 0 < orphan.looks < SETTLED_AFTER:
                    _read_mark(orphan)


def _read_mark(orphan: _Orphan) -> None:
    environment = environment_of(orphan.process.pid)
    if environment.strip(b"\0"):
        orphan.mark, orphan.looks = mark_in(environment), 0
    else:
        orphan.looks += 1


_NOTHING: Final[frozenset[Any]] = frozenset()


class Escaped:
    """What one run has outside of the group of its main process ``leader``.

    :param environment: what the run was started with.
    :param control_group: what it was started in.
    """

    def __init__(
        self,
        orphans: Orphans,
        leader: int,
        environment: Mapping[str, str],
        control_group: ControlGroup | None = None,
    ) -> None:
        self._orphans = orphans
        self._leader = leader
        self._mark = mark_of(environment)
        self._control_group = control_group
        # Most runs have nothing there, and an empty set takes 216 bytes.
        self._known: frozenset[Process] = _NOTHING
        self._more_sessions: frozenset[int] = _NOTHING
        self._signalled: frozenset[tuple[Process, int]] = _NOTHING

    @property
    def any(self) -> bool:
        """Whether the last look has found anything, or may have."""
        return bool(self._known) or self._orphans.unsettled

    def look(self) -> None:
        """Find what there is now."""
        roots = self._orphans.of(self._mark, {self._leader, *self._more_sessions})
        roots |= {now for one in self._known if (now := look_at(one.pid)) == one}
        self._keep(roots)

    def look_below_leader(self) -> None:
        """Find what there is while the main process is not reaped yet."""
        roots = self._orphans.of(self._mark, {self._leader, *self._more_sessions})
        leader = look_at(self._leader)
        self._keep(roots if leader is None else roots | {leader})

    def signal(self, number: int) -> None:
        """Send a signal to what was found, to each of them once."""
        if self._control_group is not None and number == SIGKILL:
            self._control_group.kill()
        before = {one for one, _ in self._signalled}
        self._orphans.ended += len(self._known - before)
        for one in self._known:
            if (one, number) not in self._signalled:
                self._signalled |= {(one, number)}
                send_signal(one, number)

    def close(self) -> None:
        """Leave nothing behind, now that the run is over."""
        if self._control_group is not None:
            self._control_group.remove()

    def _keep(self, roots: set[Process]) -> None:
        if self._control_group is not None:
            roots = roots.union(filter(None, map(look_at, self._control_group.members())))
        self._known = frozenset(one for one in descendants_of(roots) if one.group != self._leader)
        self._more_sessions |= {one.session for one in self._known}
