"""When a run is looked at to see whether it is ready; what the looks come to decides ``core/readiness.py``."""

from collections.abc import Callable, Mapping

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from overseer.core.readiness import (
    Check,
    LogLineCheck,
    ProbeError,
    ReadinessProbe,
    ReadinessState,
    rendered,
)
from overseer.drivers.interfaces import Action


@attrs.frozen(kw_only=True)
class Look:
    """One look at a run: what is checked, of which task, for how many seconds at most."""

    check: Check
    action: Action
    task_id: str
    params: Mapping[str, str]
    timeout: float


Prober = Callable[[Look], Deferred[None]]
"""Fires when the check has succeeded, fails within the timeout when it has not, and can be cancelled."""


class Readiness:
    """Whether one run is ready: ``changed`` is told with the reason, empty where there is none.

    Looks at the run one after the other, ``period`` after the end of the last look.
    """

    def __init__(
        self,
        clock: IReactorTime,
        probe: ReadinessProbe,
        look: Look,
        prober: Prober,
        changed: Callable[[bool, str], object],
    ) -> None:
        self._clock = clock
        self._probe = probe
        self._look = look
        self._prober = prober
        self._changed = changed
        self._state = ReadinessState(probe)
        self._awaited = b""
        """What a line of output has to contain; nothing once it did."""
        self._timer: IDelayedCall | None = None
        self._under_way: Deferred[None] | None = None
        self._ended = False

    def begin(self) -> None:
        """The run has begun."""
        try:
            check = rendered(self._probe.check, self._look.params)
        except ProbeError as error:
            self._changed(False, str(error))
            return
        if isinstance(check, LogLineCheck):
            self._awaited = check.text.encode()
            return
        self._look = attrs.evolve(self._look, check=check)
        self._look_in(self._probe.initial_delay)

    def see(self, output: bytes) -> None:
        """Take whole lines of output."""
        if self._awaited and self._awaited in output:
            self._awaited = b""
            self._changed(True, "")

    def end(self) -> None:
        """Look no more: the run comes to its end."""
        self._ended = True
        self._awaited = b""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._under_way is not None:
            self._under_way.cancel()

    def _look_in(self, seconds: float) -> None:
        self._timer = self._clock.callLater(seconds, self._look_now)

    def _look_now(self) -> None:
        self._under_way = self._prober(self._look)
        self._under_way.addCallbacks(lambda _: self._take(""), self._failed)

    def _failed(self, failure: Failure) -> None:
        self._take(str(failure.value) or type(failure.value).__name__)

    def _take(self, reason: str) -> None:
        self._under_way = None
        if self._ended:
            return
        if self._state.take(not reason):
            self._changed(self._state.ready, reason)
        self._look_in(self._probe.period)
