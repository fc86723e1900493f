"""The process group of one run: who in it gets which signal, and when nothing of it is alive.

The group outlives its leader, the main process. What the leader leaves behind gets SIGTERM at its
exit and SIGKILL 1 s later; in a stop the whole group has the rest of the grace instead
(protocol.md section 5). What has escaped from the group is treated as if it had not
(:mod:`overseer.process.escaped`).

A group is known by a number only, so every signal asks: is the number still ours? While the
leader is not reaped, it is. Afterwards it is as long as a member is left, zombies included: the
kernel gives a number to no new process while a group bears it. So a *process* of that number is a
stranger's, and our group is gone.
"""

import contextlib
import os
import signal
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from overseer.process.escaped import Escaped
from overseer.process.proc import PROC, Process, all_processes, look_at

LEFTOVER_GRACE = 1.0
"""Between SIGTERM and SIGKILL for what a main process leaves behind, in seconds."""

FIRST_LOOK, SLOWEST_LOOK, SLOWEST_LOOK_AFTER_KILL = 0.01, 0.1, 1.0
"""Seconds between two looks at a group that has lost its leader: doubled each time, up to the
second number; up to the third once SIGKILL was sent, when only sleepers in the kernel can be left."""

ZOMBIE_LOOK = 0.08
"""From this interval on a look asks whether only zombies are left: those that init is slow to reap, or
never reaps, as in a container whose first process is no init. It costs a walk through all of /proc."""


class ProcessGroup:
    """I am the process group that process ``number`` leads; I call ``gone`` once, when nothing is left.

    ``gone`` is never called from inside :meth:`terminate` or :meth:`kill`.
    """

    def __init__(
        self,
        number: int,
        stop_signal: int,
        clock: IReactorTime,
        escaped: Escaped,
        gone: Callable[[], None],
    ) -> None:
        self._number = number
        self._escaped = escaped
        self._stop_signal = stop_signal
        self._clock = clock
        self._report_gone = gone
        self._led = True
        self._gone = False
        self._signalled: tuple[int, ...] = ()
        self._terminated = False
        self._living: tuple[Process, ...] = ()
        self._look_interval = FIRST_LOOK
        self._kill_call: IDelayedCall | None = None
        self._look_call: IDelayedCall | None = None

    def terminate(self, grace: float) -> None:
        """Send the stop signal to all, and SIGKILL after ``grace`` seconds to those left.

        Only the first call counts. Leftovers have had their SIGTERM: the grace can only shorten
        their time.
        """
        if self._gone or self._terminated:
            return
        self._terminated = True
        if self._led:
            self._escaped.look_below_leader()  # first: it may be gone at once
            self._signal(self._stop_signal)
            self._escaped.signal(self._stop_signal)
        self._kill_within(grace)

    def signal(self, number: int) -> None:
        """Send any signal to all, while the leader has not been reaped."""
        if self._led:
            self._signal(number)

    def kill(self) -> None:
        """Send SIGKILL to all that is left."""
        if self._gone:
            return
        if self._kill_call is not None and self._kill_call.active():
            self._kill_call.cancel()
        if self._led:
            self._escaped.look_below_leader()
        self._signal(signal.SIGKILL)
        self._escaped.signal(signal.SIGKILL)
        if not self._led:
            self._look_soon()

    def leader_exited(self) -> None:
        """Signal the leftovers. To be called while the leader is a zombie, before it is reaped."""
        if self._killed:
            # Again, for what the leader may have forked meanwhile.
            self._signal(signal.SIGKILL)
        elif signal.SIGTERM not in self._signalled:
            # In a stop by SIGTERM they have it already, and many programs take a second one for
            # "at once".
            self._signal(signal.SIGTERM)
        self._end_escaped()

    def leader_reaped(self) -> None:
        """See whether anything is left, and look again until nothing is."""
        self._led = False
        if not self._is_alive() and not self._escaped.any:
            self._finish()
            return
        if not self._terminated and not self._killed:
            self._kill_within(LEFTOVER_GRACE)
        self._look_soon()

    def _kill_within(self, seconds: float) -> None:
        call = self._kill_call
        if call is None:
            self._kill_call = self._clock.callLater(seconds, self.kill)
        elif call.active() and call.getTime() > self._clock.seconds() + seconds:
            call.reset(seconds)

    def _end_escaped(self) -> bool:
        """Signal what has escaped, by now too; return whether there is anything."""
        self._escaped.look()
        self._escaped.signal(signal.SIGKILL if self._killed else signal.SIGTERM)
        return self._escaped.any

    @property
    def _killed(self) -> bool:
        return signal.SIGKILL in self._signalled

    def _signal(self, number: int) -> None:
        self._signalled += (number,)
        if self._led or not self._is_taken():
            # Empty, or all run as another user (set-user-ID programs): waited for all the same.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._number, number)

    def _look_soon(self) -> None:
        self._look_interval = FIRST_LOOK
        self._look_later()

    def _look_later(self) -> None:
        if self._look_call is not None and self._look_call.active():
            self._look_call.reset(self._look_interval)
        else:
            self._look_call = self._clock.callLater(self._look_interval, self._look)

    def _look(self) -> None:
        escaped = self._end_escaped()
        if not escaped and (
            not self._is_alive()
            or (self._look_interval >= ZOMBIE_LOOK and self._has_only_zombies())
        ):
            self._finish()
            return
        slowest = SLOWEST_LOOK_AFTER_KILL if self._killed else SLOWEST_LOOK
        self._look_interval = min(2 * self._look_interval, slowest)
        self._look_later()

    def _finish(self) -> None:
        self._gone = True
        self._escaped.close()
        for call in (self._kill_call, self._look_call):
            if call is not None and call.active():
                call.cancel()
        self._report_gone()

    def _is_alive(self) -> bool:
        """Return whether a member is left, a zombie perhaps. Asked when the leader is reaped."""
        if not self._has_members() or self._is_taken():
            return False
        # As a subreaper or PID 1, we are the parent of the orphans. No other child of ours can be
        # in there.
        return not (self._reap_adopted() and not self._has_members())

    def _has_members(self) -> bool:
        return _reaches(os.killpg, self._number)

    def _is_taken(self) -> bool:
        """Return whether the number of the reaped leader belongs to a new process."""
        return _reaches(os.kill, self._number)

    def _reap_adopted(self) -> bool:
        reaped = False
        try:
            while os.waitpid(-self._number, os.WNOHANG)[0] != 0:
                reaped = True
        except ChildProcessError:
            pass
        return reaped

    def _has_only_zombies(self) -> bool:
        if not os.path.isdir(PROC):
            return self._killed  # macOS: nothing can tell, and nothing survives SIGKILL for long
        # Those that were alive at the last look first: the walk is for when they have ended.
        self._living = tuple(one for one in self._living if self._is_member(look_at(one.pid)))
        if not self._living:
            self._living = tuple(one for one in all_processes() if self._is_member(one))
        return not self._living

    def _is_member(self, one: Process | None) -> bool:
        return one is not None and one.group == self._number


def _reaches(send: Callable[[int, int], None], number: int) -> bool:
    """Return whether a signal, by kill(2) or killpg(3), would find anybody."""
    try:
        send(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # of another user
    return True
