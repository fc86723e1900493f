"""The state machine of a task: what each thing that can happen leads to.

Only lifecycle comes here; output never does. Every state x input cell is written out below, those without
effect too, and ``tests/unit/lifecycle/test_machine.py`` has a row for each.

=========  ==================================================================================
state      meaning
=========  ==================================================================================
idle       nothing runs: before the first run, or after a run that ended (``stopped``)
queued     the task waits for a slot of its pools
starting   the worker is being started
aborting   a stop came while the worker was being started
running    the worker runs
stopping   the worker was asked to end; holds the timer after which it counts as unkillable
draining   the worker has ended and its last output is read; holds the drain deadline
judging    the run is over and it is decided what follows; left before anything else happens
waiting    the task is started again when the time comes; holds the timer
failed     the task ended in error (``errored``)
=========  ==================================================================================

Timers are the data of a state, so every transition out of such a state cancels them.
"""

from functools import cache
from typing import Protocol

import attrs
from automat import TypeMachineBuilder
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from overseer.core.process import Outcome

DRAIN_DEADLINE = 1.0
"""Seconds after the exit at which output that is still held open is closed (protocol.md section 5)."""
UNKILLABLE_AFTER = 10.0
"""Seconds after the SIGKILL at which a process that still has not ended is given up."""


class Effects(Protocol):
    """What the machine has done; implemented by the task."""

    def spawn(self) -> None:
        """Start the worker; ``spawned`` or ``spawn_failed`` comes later."""

    def tell_started(self, pid: int) -> None:
        """The run has begun."""

    def terminate(self, grace: float) -> None:
        """Ask the worker to end, by force after ``grace`` seconds."""

    def close_output(self) -> None:
        """Wait no longer for the worker's output; ``drained`` follows."""

    def tell_exited(self, outcome: Outcome) -> None:
        """The run has ended and all its output has been told."""

    def judge(self, outcome: Outcome | None, reason: str) -> None:
        """Decide what follows, by one of ``complete``, ``give_up``, ``retry_after`` and ``requeue``.

        Without an ``outcome`` the run could not begin, for this ``reason``; with neither, a stop ended
        the wait for the next run.
        """

    def take_slot_again(self) -> None:
        """The next run is due: answer with ``admit``, or with ``requeue`` if it has to wait for a slot."""

    def tell_unkillable(self) -> None:
        """The worker does not end whatever is done."""


class Inputs(Protocol):
    """What can happen to a task."""

    def admit(self) -> None:
        """A run may begin: the task has its slots."""

    def requeue(self) -> None:
        """The task has to wait for a slot."""

    def leave(self) -> None:
        """The task waits for a slot no longer."""

    def spawned(self, pid: int) -> None:
        """The worker runs."""

    def spawn_failed(self, reason: str) -> None:
        """The worker could not be started."""

    def stop(self, grace: float) -> None:
        """The run shall end, by force after ``grace`` seconds, and none shall follow."""

    def exited(self, outcome: Outcome) -> None:
        """The worker has ended."""

    def drained(self) -> None:
        """All output of the worker has been read."""

    def drain_due(self) -> None:
        """The drain deadline has come."""

    def give_up_due(self) -> None:
        """The worker should have been dead for long."""

    def retry_after(self, delay: float) -> None:
        """Verdict: another run follows in ``delay`` seconds."""

    def retry_due(self) -> None:
        """The time of the next run has come."""

    def complete(self) -> None:
        """Verdict: the task is done."""

    def give_up(self) -> None:
        """Verdict: the task has failed for good."""


@attrs.define
class Core:
    """What the machine works with."""

    clock: IReactorTime
    effects: Effects


@attrs.frozen
class _Aborting:
    grace: float


@attrs.frozen
class _Stopping:
    give_up: IDelayedCall


@attrs.frozen
class _Draining:
    deadline: IDelayedCall
    outcome: Outcome


@attrs.frozen
class _Waiting:
    retry: IDelayedCall

    def cancel(self) -> None:
        """Do without the timer, which may be what has led here."""
        if self.retry.active():
            self.retry.cancel()


def _remember_grace(_inputs: Inputs, _core: Core, grace: float) -> _Aborting:
    return _Aborting(grace)


def _await_death(inputs: Inputs, core: Core, grace: float) -> _Stopping:
    return _Stopping(core.clock.callLater(grace + UNKILLABLE_AFTER, inputs.give_up_due))


def _await_output(inputs: Inputs, core: Core, outcome: Outcome) -> _Draining:
    return _Draining(core.clock.callLater(DRAIN_DEADLINE, inputs.drain_due), outcome)


def _await_retry(inputs: Inputs, core: Core, delay: float) -> _Waiting:
    return _Waiting(core.clock.callLater(delay, inputs.retry_due))


_builder = TypeMachineBuilder(Inputs, Core)
_idle = _builder.state("idle")
_queued = _builder.state("queued")
_starting = _builder.state("starting")
_aborting = _builder.state("aborting", _remember_grace)
_running = _builder.state("running")
_stopping = _builder.state("stopping", _await_death)
_draining = _builder.state("draining", _await_output)
_judging = _builder.state("judging")
_waiting = _builder.state("waiting", _await_retry)
_failed = _builder.state("failed")


@_idle.upon(Inputs.admit).to(_starting)
def _begin(_inputs: Inputs, core: Core) -> None:
    core.effects.spawn()


@_failed.upon(Inputs.admit).to(_starting)
def _begin_again(_inputs: Inputs, core: Core) -> None:
    core.effects.spawn()


@_queued.upon(Inputs.admit).to(_starting)
def _admitted(_inputs: Inputs, core: Core) -> None:
    core.effects.spawn()


_idle.upon(Inputs.requeue).to(_queued).returns(None)
_failed.upon(Inputs.requeue).to(_queued).returns(None)
_queued.upon(Inputs.leave).to(_idle).returns(None)
_failed.upon(Inputs.stop).to(_idle).returns(None)


@_starting.upon(Inputs.spawned).to(_running)
def _spawned(_inputs: Inputs, core: Core, pid: int) -> None:
    core.effects.tell_started(pid)


@_starting.upon(Inputs.spawn_failed).to(_judging)
def _spawn_failed(_inputs: Inputs, core: Core, reason: str) -> None:
    core.effects.judge(None, reason)


# A worker can only be ended once it runs, so a stop waits for that.
_starting.upon(Inputs.stop).to(_aborting).returns(None)


@_aborting.upon(Inputs.spawned).to(_running)
def _spawned_to_stop(inputs: Inputs, core: Core, aborting: _Aborting, pid: int) -> None:
    core.effects.tell_started(pid)
    inputs.stop(aborting.grace)


@_aborting.upon(Inputs.spawn_failed).to(_judging)
def _failed_to_stop(_inputs: Inputs, core: Core, _aborted: _Aborting, reason: str) -> None:
    core.effects.judge(None, reason)


@_running.upon(Inputs.stop).to(_stopping)
def _stop(_inputs: Inputs, core: Core, grace: float) -> None:
    core.effects.terminate(grace)


_running.upon(Inputs.exited).to(_draining).returns(None)


@_stopping.upon(Inputs.exited).to(_draining)
def _exited_in_stop(_inputs: Inputs, _core: Core, stopping: _Stopping, outcome: Outcome) -> None:
    stopping.give_up.cancel()


@_stopping.upon(Inputs.give_up_due).to(_failed)
def _give_up(_inputs: Inputs, core: Core, stopping: _Stopping) -> None:
    core.effects.tell_unkillable()


@_draining.upon(Inputs.drain_due).loop()
def _drain_due(_inputs: Inputs, core: Core, draining: _Draining) -> None:
    core.effects.close_output()


@_draining.upon(Inputs.drained).to(_judging)
def _drained(_inputs: Inputs, core: Core, draining: _Draining) -> None:
    if draining.deadline.active():
        draining.deadline.cancel()
    core.effects.tell_exited(draining.outcome)
    core.effects.judge(draining.outcome, "")


_judging.upon(Inputs.complete).to(_idle).returns(None)
_judging.upon(Inputs.give_up).to(_failed).returns(None)
_judging.upon(Inputs.requeue).to(_queued).returns(None)
_judging.upon(Inputs.retry_after).to(_waiting).returns(None)


@_waiting.upon(Inputs.retry_due).loop()
def _retry_due(_inputs: Inputs, core: Core, waiting: _Waiting) -> None:
    core.effects.take_slot_again()


@_waiting.upon(Inputs.admit).to(_starting)
def _retry(_inputs: Inputs, core: Core, waiting: _Waiting) -> None:
    waiting.cancel()
    core.effects.spawn()


@_waiting.upon(Inputs.requeue).to(_queued)
def _retry_later(_inputs: Inputs, _core: Core, waiting: _Waiting) -> None:
    """Wait for a slot: the one before was given back meanwhile."""
    waiting.cancel()


@_waiting.upon(Inputs.stop).to(_judging)
def _stop_waiting(_inputs: Inputs, core: Core, waiting: _Waiting, grace: float) -> None:
    waiting.cancel()
    core.effects.judge(None, "")


# What changes nothing. A repeated stop, above all; the rest is late news of a worker that was given up,
# or cannot happen and must still do no harm.
_ALL = (
    Inputs.admit,
    Inputs.requeue,
    Inputs.leave,
    Inputs.spawned,
    Inputs.spawn_failed,
    Inputs.stop,
    Inputs.exited,
    Inputs.drained,
    Inputs.drain_due,
    Inputs.give_up_due,
    Inputs.retry_after,
    Inputs.retry_due,
    Inputs.complete,
    Inputs.give_up,
)
_WITH_EFFECT = (
    (_idle, {Inputs.admit, Inputs.requeue}),
    (_queued, {Inputs.admit, Inputs.leave}),
    (_starting, {Inputs.spawned, Inputs.spawn_failed, Inputs.stop}),
    (_aborting, {Inputs.spawned, Inputs.spawn_failed}),
    (_running, {Inputs.stop, Inputs.exited}),
    (_stopping, {Inputs.exited, Inputs.give_up_due}),
    (_draining, {Inputs.drain_due, Inputs.drained}),
    (_judging, {Inputs.complete, Inputs.give_up, Inputs.requeue, Inputs.retry_after}),
    (_waiting, {Inputs.retry_due, Inputs.admit, Inputs.requeue, Inputs.stop}),
    (_failed, {Inputs.admit, Inputs.requeue, Inputs.stop}),
)
for _state, _effective in _WITH_EFFECT:
    for _input in _ALL:
        if _input not in _effective:
            _state.upon(_input).loop().returns(None)

new_machine = _builder.build()
"""Called with a :class:`Core`, returns the :class:`Inputs` of one task's machine."""

# Automat compares an input with one transition after the other until it finds the right one, of 140 here: a
# seventh of what Python did for a task went into that.
_automaton = new_machine.__automat_automaton__
_automaton.outputForInput = cache(_automaton.outputForInput)  # type: ignore[method-assign]
