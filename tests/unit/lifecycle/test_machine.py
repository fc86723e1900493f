"""The state machine of a task: every state x input cell, and its timers."""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from twisted.internet.task import Clock

from overseer.core.process import Outcome
from overseer.lifecycle.machine import (
    DRAIN_DEADLINE,
    UNKILLABLE_AFTER,
    Core,
    Inputs,
    new_machine,
)

GRACE = 2.0
OUTCOME = Outcome(3)

SPAWN = ("spawn",)
TELL_STARTED = ("tell_started", 7)
TELL_START_FAILED = ("tell_start_failed", "no such file")
TERMINATE = ("terminate", GRACE)
CLOSE_OUTPUT = ("close_output",)
TELL_EXITED = ("tell_exited", OUTCOME)
TELL_UNKILLABLE = ("tell_unkillable",)

ROWS: list[tuple[str, str, list[tuple[Any, ...]], str]] = [
    # state, input, effects, next state
    ("idle", "begin", [SPAWN], "starting"),
    ("idle", "spawned", [], "idle"),
    ("idle", "spawn_failed", [], "idle"),
    ("idle", "stop", [], "idle"),
    ("idle", "exited", [], "idle"),
    ("idle", "drained", [], "idle"),
    ("idle", "drain_due", [], "idle"),
    ("idle", "give_up_due", [], "idle"),
    ("starting", "begin", [], "starting"),
    ("starting", "spawned", [TELL_STARTED], "running"),
    ("starting", "spawn_failed", [TELL_START_FAILED], "idle"),
    ("starting", "stop", [], "aborting"),
    ("starting", "exited", [], "starting"),
    ("starting", "drained", [], "starting"),
    ("starting", "drain_due", [], "starting"),
    ("starting", "give_up_due", [], "starting"),
    ("aborting", "begin", [], "aborting"),
    ("aborting", "spawned", [TELL_STARTED, TERMINATE], "stopping"),
    ("aborting", "spawn_failed", [TELL_START_FAILED], "idle"),
    ("aborting", "stop", [], "aborting"),
    ("aborting", "exited", [], "aborting"),
    ("aborting", "drained", [], "aborting"),
    ("aborting", "drain_due", [], "aborting"),
    ("aborting", "give_up_due", [], "aborting"),
    ("running", "begin", [], "running"),
    ("running", "spawned", [], "running"),
    ("running", "spawn_failed", [], "running"),
    ("running", "stop", [TERMINATE], "stopping"),
    ("running", "exited", [], "draining"),
    ("running", "drained", [], "running"),
    ("running", "drain_due", [], "running"),
    ("running", "give_up_due", [], "running"),
    ("stopping", "begin", [], "stopping"),
    ("stopping", "spawned", [], "stopping"),
    ("stopping", "spawn_failed", [], "stopping"),
    ("stopping", "stop", [], "stopping"),
    ("stopping", "exited", [], "draining"),
    ("stopping", "drained", [], "stopping"),
    ("stopping", "drain_due", [], "stopping"),
    ("stopping", "give_up_due", [TELL_UNKILLABLE], "failed"),
    ("draining", "begin", [], "draining"),
    ("draining", "spawned", [], "draining"),
    ("draining", "spawn_failed", [], "draining"),
    ("draining", "stop", [], "draining"),
    ("draining", "exited", [], "draining"),
    ("draining", "drained", [TELL_EXITED], "idle"),
    ("draining", "drain_due", [CLOSE_OUTPUT], "draining"),
    ("draining", "give_up_due", [], "draining"),
    ("failed", "begin", [SPAWN], "starting"),
    ("failed", "spawned", [], "failed"),
    ("failed", "spawn_failed", [], "failed"),
    ("failed", "stop", [], "idle"),
    ("failed", "exited", [], "failed"),
    ("failed", "drained", [], "failed"),
    ("failed", "drain_due", [], "failed"),
    ("failed", "give_up_due", [], "failed"),
]

INPUTS: dict[str, Callable[[Inputs], None]] = {
    "begin": lambda inputs: inputs.begin(),
    "spawned": lambda inputs: inputs.spawned(7),
    "spawn_failed": lambda inputs: inputs.spawn_failed("no such file"),
    "stop": lambda inputs: inputs.stop(GRACE),
    "exited": lambda inputs: inputs.exited(OUTCOME),
    "drained": lambda inputs: inputs.drained(),
    "drain_due": lambda inputs: inputs.drain_due(),
    "give_up_due": lambda inputs: inputs.give_up_due(),
}
DUE = {
    # Where these two have an effect, they come from the clock, as in life.
    ("draining", "drain_due"): DRAIN_DEADLINE,
    ("stopping", "give_up_due"): GRACE + UNKILLABLE_AFTER,
}
PATHS = {
    "idle": (),
    "starting": ("begin",),
    "aborting": ("begin", "stop"),
    "running": ("begin", "spawned"),
    "stopping": ("begin", "spawned", "stop"),
    "draining": ("begin", "spawned", "exited"),
    "failed": ("begin", "spawned", "stop", "give_up_due"),
}
# What a machine does when it then is stopped with a grace of 3, told of a spawn with pid 42, of an exit
# with code 9 and of the end of output, and begun. Idle and failed differ in the record only.
BEHAVIOUR: dict[str, list[tuple[Any, ...]]] = {
    "idle": [SPAWN],
    "starting": [("tell_started", 42), ("terminate", 3.0), ("tell_exited", Outcome(9)), SPAWN],
    "aborting": [("tell_started", 42), TERMINATE, ("tell_exited", Outcome(9)), SPAWN],
    "running": [("terminate", 3.0), ("tell_exited", Outcome(9)), SPAWN],
    "stopping": [("tell_exited", Outcome(9)), SPAWN],
    "draining": [TELL_EXITED, SPAWN],
    "failed": [SPAWN],
}


class RecordedEffects:
    """Remembers what the machine does."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def spawn(self) -> None:
        self.calls.append(("spawn",))

    def tell_started(self, pid: int) -> None:
        self.calls.append(("tell_started", pid))

    def tell_start_failed(self, reason: str) -> None:
        self.calls.append(("tell_start_failed", reason))

    def terminate(self, grace: float) -> None:
        self.calls.append(("terminate", grace))

    def close_output(self) -> None:
        self.calls.append(("close_output",))

    def tell_exited(self, outcome: Outcome) -> None:
        self.calls.append(("tell_exited", outcome))

    def tell_unkillable(self) -> None:
        self.calls.append(("tell_unkillable",))

    def take(self) -> list[tuple[Any, ...]]:
        """Return what was done since the last call."""
        calls, self.calls = self.calls, []
        return calls


class Bench:
    """A machine that has come into a state."""

    def __init__(self, state: str) -> None:
        self.clock = Clock()
        self.effects = RecordedEffects()
        self.inputs = new_machine(Core(self.clock, self.effects))
        reached = "idle"
        for name in PATHS[state]:
            self.apply(reached, name)
            reached = next(row[3] for row in ROWS if row[:2] == (reached, name))
        assert reached == state
        self.effects.take()

    def apply(self, state: str, name: str) -> None:
        """Let ``name`` happen in ``state``."""
        if (state, name) in DUE:
            self.clock.advance(DUE[state, name])
        else:
            INPUTS[name](self.inputs)

    def behaviour(self) -> list[tuple[Any, ...]]:
        """Return what the machine does from here; this alone tells its state (see BEHAVIOUR)."""
        self.inputs.stop(3.0)
        self.inputs.spawned(42)
        self.inputs.exited(Outcome(9))
        self.inputs.drained()
        self.inputs.begin()
        return self.effects.take()

    @property
    def timers(self) -> list[float]:
        """When the delayed calls are due."""
        return [call.getTime() for call in self.clock.getDelayedCalls()]


def test_every_state_and_input_has_a_row() -> None:
    """Whoever adds a state or an input has to say here what each of them does."""
    states = {state.name for state in new_machine.__automat_automaton__.states()}
    inputs = {name for name in vars(Inputs) if not name.startswith("_")}
    cells = [(state, name) for state, name, _, _ in ROWS]
    assert len(cells) == len(set(cells))
    assert set(cells) == set(product(states, inputs))


def test_the_diagram_shows_what_the_rows_say() -> None:
    """The state diagram in the documents is drawn from these transitions."""
    transitions = new_machine.__automat_automaton__.allTransitions()
    drawn = {(old.name, name, new.name) for old, name, new, _ in transitions}
    told = {(state, name, following) for state, name, _, following in ROWS}
    # An aborted start is stopped by the machine itself, by way of running.
    assert drawn - told == {("aborting", "spawned", "running")}
    assert told - drawn == {("aborting", "spawned", "stopping")}


@pytest.mark.parametrize("state", PATHS)
def test_each_state_is_told_by_its_behaviour(state: str) -> None:
    """The table below can only be believed when the states can be told apart."""
    assert Bench(state).behaviour() == BEHAVIOUR[state]


@pytest.mark.parametrize(("state", "name", "effects", "following"), ROWS)
def test_cell(state: str, name: str, effects: list[tuple[Any, ...]], following: str) -> None:
    """Whatever happens in whatever state does this, leads there, and leaves no timer behind."""
    bench = Bench(state)
    bench.apply(state, name)
    assert bench.effects.take() == effects
    assert bench.behaviour() == BEHAVIOUR[following]
    assert bench.timers == []


@pytest.mark.parametrize(
    ("state", "timers"),
    [
        ("idle", []),
        ("starting", []),
        ("aborting", []),
        ("running", []),
        ("stopping", [GRACE + UNKILLABLE_AFTER]),
        ("draining", [DRAIN_DEADLINE]),
        ("failed", []),
    ],
)
def test_only_states_that_wait_for_something_hold_a_timer(state: str, timers: list[float]) -> None:
    """A task that merely runs, or is over, costs no timer."""
    assert Bench(state).timers == timers


def test_a_second_stop_does_not_put_off_the_end() -> None:
    """Whoever stops twice, even with a longer grace, waits no longer for that."""
    bench = Bench("stopping")
    bench.clock.advance(GRACE)
    bench.inputs.stop(100.0)
    assert bench.timers == [GRACE + UNKILLABLE_AFTER]
    bench.clock.advance(UNKILLABLE_AFTER)
    assert bench.effects.take() == [TELL_UNKILLABLE]


def test_a_process_that_does_not_end_is_given_up_in_time_and_not_before() -> None:
    """After the SIGKILL the process gets ten seconds to vanish."""
    bench = Bench("stopping")
    bench.clock.advance(GRACE + UNKILLABLE_AFTER - 0.01)
    assert bench.effects.take() == []
    bench.clock.advance(0.01)
    assert bench.effects.take() == [TELL_UNKILLABLE]
    assert bench.timers == []


def test_output_that_is_held_open_is_closed_at_the_deadline_once() -> None:
    """A grandchild that keeps the pipe delays the end by a second at most."""
    bench = Bench("draining")
    bench.clock.advance(DRAIN_DEADLINE - 0.01)
    assert bench.effects.take() == []
    bench.clock.advance(0.01)
    assert bench.effects.take() == [CLOSE_OUTPUT]
    bench.clock.advance(60.0)
    assert bench.effects.take() == []
    bench.inputs.drained()
    assert bench.effects.take() == [TELL_EXITED]
    assert bench.timers == []


def test_a_stop_while_output_is_read_does_not_put_off_the_deadline() -> None:
    """The run has ended already, and no repeated request prolongs that."""
    bench = Bench("draining")
    bench.clock.advance(DRAIN_DEADLINE / 2)
    bench.inputs.stop(GRACE)
    assert bench.timers == [DRAIN_DEADLINE]


def test_the_first_of_several_stops_during_the_start_decides_the_grace() -> None:
    """A second stop changes nothing, also when the process is not there yet."""
    bench = Bench("aborting")
    bench.inputs.stop(100.0)
    bench.inputs.spawned(7)
    assert bench.effects.take() == [TELL_STARTED, TERMINATE]
    assert bench.timers == [GRACE + UNKILLABLE_AFTER]


class FailingAtOnce(RecordedEffects):
    """A spawn that reports its failure from within the call."""

    inputs: Inputs

    def spawn(self) -> None:
        super().spawn()
        self.inputs.spawn_failed("no such file")


def test_a_spawn_may_fail_from_within_the_call() -> None:
    """A start that is refused on the spot ends where one refused later ends, and can be repeated."""
    clock, effects = Clock(), FailingAtOnce()
    effects.inputs = new_machine(Core(clock, effects))
    effects.inputs.begin()
    effects.inputs.begin()
    assert effects.take() == [SPAWN, TELL_START_FAILED] * 2
    assert clock.getDelayedCalls() == []
