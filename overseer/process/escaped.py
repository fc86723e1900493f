"""What a run has outside of its process group: found without a walk through all processes, and signalled.

A program leaves its group by setsid(2) or setpgid(2), its parent by forking twice. While its parents live it is
found below the main process of the run. When they end it is adopted by the nearest subreaper, which is us
(:mod:`overseer.process.subreaper`), and told by its mark, ``OVERSEER_INSTANCE`` and ``OVERSEER_RUN`` in its
environment, or by a session that others with the mark are in. So one short list, of what was adopted, is all
that the end of a run has to look at; for most it is empty.

Not found is what was adopted by somebody else, in an application that embeds overseer, unless a stop has seen
it before; and what has left its group, its parents and its environment: for that there are control groups.
"""

import os
from collections.abc import Mapping
from signal import SIGKILL

from overseer.process.cgroup import ControlGroup
from overseer.process.mark import Mark, mark_in, mark_of
from overseer.process.proc import (
    Process,
    children_of_thread,
    descendants_of,
    environment_of,
    look_at,
    send_signal,
)


class Orphans:
    """What this process has adopted, and whose mark it bears; each is looked at once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Process, Mark | None]] = {}

    def of(self, mark: Mark | None, sessions: set[int]) -> set[Process]:
        """Return the live ones that bear a mark, or are in one of the sessions or that of one with the mark."""
        self._refresh()
        if not self._known:
            return set()
        marked = {one for one, bears in self._known.values() if bears == mark is not None}
        sessions = sessions.union(one.session for one in marked)
        found = marked.union(one for one, _ in self._known.values() if one.session in sessions)
        for one in found:
            if look_at(one.pid) != one:  # a zombie, or the next one with its number
                del self._known[one.pid]
        return {one for one in found if one.pid in self._known}

    def _refresh(self) -> None:
        # Orphans become children of the main thread, and only what it has started itself is there beside
        # them: the children of tasks belong to the threads that start them.
        main = os.getpid()
        adopted = children_of_thread(main, main)
        if not adopted and not self._known:
            return
        known, self._known = self._known, {}
        for pid in adopted:
            entry = known.get(pid)
            if entry is None and (one := look_at(pid)) is not None:
                entry = one, mark_in(environment_of(pid))
            if entry is not None:
                self._known[pid] = entry


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
        self._known: set[Process] = set()
        self._sessions = {leader}
        self._signalled: set[tuple[Process, int]] = set()

    @property
    def any(self) -> bool:
        """Whether the last look has found anything."""
        return bool(self._known)

    def look(self) -> None:
        """Find what there is now."""
        roots = self._orphans.of(self._mark, self._sessions)
        roots.update(one for one in self._known if look_at(one.pid) == one)
        self._keep(roots)

    def look_below_leader(self) -> None:
        """Find what there is while the main process is not reaped yet."""
        roots = self._orphans.of(self._mark, self._sessions)
        leader = look_at(self._leader)
        self._keep(roots if leader is None else roots | {leader})

    def signal(self, number: int) -> None:
        """Send a signal to what was found, to each of them once."""
        if self._control_group is not None and number == SIGKILL:
            self._control_group.kill()
        for one in self._known:
            if (one, number) not in self._signalled:
                self._signalled.add((one, number))
                send_signal(one, number)

    def close(self) -> None:
        """Leave nothing behind, now that the run is over."""
        if self._control_group is not None:
            self._control_group.remove()

    def _keep(self, roots: set[Process]) -> None:
        if self._control_group is not None:
            roots = roots.union(filter(None, map(look_at, self._control_group.members())))
        self._known = {one for one in descendants_of(roots) if one.group != self._leader}
        self._sessions.update(one.session for one in self._known)
