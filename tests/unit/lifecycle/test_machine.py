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

DELAY = 4.0

SPAWN = ("spawn",)
TELL_STARTED = ("tell_started", 7)
TERMINATE = ("terminate", GRACE)
CLOSE_OUTPUT = ("close_output",)
TELL_EXITED = ("tell_exited", OUTCOME)
JUDGE_EXIT = ("judge", OUTCOME, "")
JUDGE_FAILURE = ("judge", None, "no such file")
JUDGE_STOP = ("judge", None, "")
TAKE_SLOT_AGAIN = ("take_slot_again",)
TELL_UNKILLABLE = ("tell_unkillable",)

STATES: dict[str, dict[str, tuple[list[tuple[Any, ...]], str]]] = {
    # state: input: effects, next state; whatever is not named here has neither effect nor consequence
    "idle": {"admit": ([SPAWN], "starting"), "requeue": ([], "queued")},
    "queued": {"admit": ([SPAWN], "starting"), "leave": ([], "idle")},
    "starting": {
        "spawned": ([TELL_STARTED], "running"),
        "spawn_failed": ([JUDGE_FAILURE], "judging"),
        "stop": ([], "aborting"),
    },
    "aborting": {
        "spawned": ([TELL_STARTED, TERMINATE], "stopping"),
        "spawn_failed": ([JUDGE_FAILURE], "judging"),
    },
    "running": {"stop": ([TERMINATE], "stopping"), "exited": ([], "draining")},
    "stopping": {"exited": ([], "draining"), "give_up_due": ([TELL_UNKILLABLE], "failed")},
    "draining": {
        "drained": ([TELL_EXITED, JUDGE_EXIT], "judging"),
        "drain_due": ([CLOSE_OUTPUT], "draining"),
    },
    "judging": {
        "complete": ([], "idle"),
        "give_up": ([], "failed"),
        "requeue": ([], "queued"),
        "retry_after": ([], "waiting"),
    },
    "waiting": {
        "retry_due": ([TAKE_SLOT_AGAIN], "waiting"),
        "admit": ([SPAWN], "starting"),
        "requeue": ([], "queued"),
        "stop": ([JUDGE_STOP], "judging"),
    },
    "failed": {
        "admit": ([SPAWN], "starting"),
        "requeue": ([], "queued"),
        "stop": ([], "idle"),
    },
}

INPUTS: dict[str, Callable[[Inputs], None]] = {
    "admit": lambda inputs: inputs.admit(),
    "requeue": lambda inputs: inputs.requeue(),
    "leave": lambda inputs: inputs.leave(),
    "spawned": lambda inputs: inputs.spawned(7),
    "spawn_failed": lambda inputs: inputs.spawn_failed("no such file"),
    "stop": lambda inputs: inputs.stop(GRACE),
    "exited": lambda inputs: inputs.exited(OUTCOME),
    "drained": lambda inputs: inputs.drained(),
    "drain_due": lambda inputs: inputs.drain_due(),
    "give_up_due": lambda inputs: inputs.give_up_due(),
    "retry_after": lambda inputs: inputs.retry_after(DELAY),
    "retry_due": lambda inputs: inputs.retry_due(),
    "complete": lambda inputs: inputs.complete(),
    "give_up": lambda inputs: inputs.give_up(),
}
ROWS = [
    (state, name, *cells.get(name, ([], state)))
    for state, cells in STATES.items()
    for name in INPUTS
]
DUE = {
    # Where these have an effect, they come from the clock, as in life.
    ("draining", "drain_due"): DRAIN_DEADLINE,
    ("stopping", "give_up_due"): GRACE + UNKILLABLE_AFTER,
    ("waiting", "retry_due"): DELAY,
}
PATHS = {
    "idle": (),
    "queued": ("requeue",),
    "starting": ("admit",),
    "aborting": ("admit", "stop"),
    "running": ("admit", "spawned"),
    "stopping": ("admit", "spawned", "stop"),
    "draining": ("admit", "spawned", "exited"),
    "judging": ("admit", "spawn_failed"),
    "waiting": ("admit", "spawn_failed", "retry_after"),
    "failed": ("admit", "spawned", "stop", "give_up_due"),
}
# What a machine does when it then is stopped with a grace of 3, told of a spawn with pid 42, of an exit with
# code 9, of the end of output and that it is done, and admitted. Idle, queued and failed differ in the record
# only, and judging is left before anything else happens.
BEHAVIOUR: dict[str, list[tuple[Any, ...]]] = {
    "idle": [SPAWN],
    "queued": [SPAWN],
    "starting": [
        ("tell_started", 42),
        ("terminate", 3.0),
        ("tell_exited", Outcome(9)),
        ("judge", Outcome(9), ""),
        SPAWN,
    ],
    "aborting": [
        ("tell_started", 42),
        TERMINATE,
        ("tell_exited", Outcome(9)),
        ("judge", Outcome(9), ""),
        SPAWN,
    ],
    "running": [
        ("terminate", 3.0),
        ("tell_exited", Outcome(9)),
        ("judge", Outcome(9), ""),
        SPAWN,
    ],
    "stopping": [("tell_exited", Outcome(9)), ("judge", Outcome(9), ""), SPAWN],
    "draining": [TELL_EXITED, JUDGE_EXIT, SPAWN],
    "judging": [SPAWN],
    "waiting": [JUDGE_STOP, SPAWN],
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

    def terminate(self, grace: float) -> None:
        self.calls.append(("terminate", grace))

    def close_output(self) -> None:
        self.calls.append(("close_output",))

    def tell_exited(self, outcome: Outcome) -> None:
        self.calls.append(("tell_exited", outcome))

    def judge(self, outcome: Outcome | None, reason: str) -> None:
        self.calls.append(("judge", outcome, reason))

    def take_slot_again(self) -> None:
        self.calls.append(("take_slot_again",))

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
        self.inputs.complete()
        self.inputs.admit()
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
        ("judging", []),
        ("waiting", [DELAY]),
        ("queued", []),
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
    assert bench.effects.take() == [TELL_EXITED, JUDGE_EXIT]
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


def test_a_restart_is_due_once_when_its_time_has_come() -> None:
    """Not before, and not again when no slot was free at that moment."""
    bench = Bench("waiting")
    bench.clock.advance(DELAY - 0.01)
    assert bench.effects.take() == []
    bench.clock.advance(0.01)
    assert bench.effects.take() == [TAKE_SLOT_AGAIN]
    bench.clock.advance(60.0)
    assert bench.effects.take() == []


@pytest.mark.parametrize("due", [False, True])
def test_a_stop_ends_the_wait_for_a_restart(due: bool) -> None:
    """Whether the restart was still to come or only waited for its slot, no timer stays."""
    bench = Bench("waiting")
    if due:
        bench.clock.advance(DELAY)
        bench.effects.take()
    bench.inputs.stop(GRACE)
    assert (bench.effects.take(), bench.timers) == ([JUDGE_STOP], [])


class Answering(RecordedEffects):
    """Judges, and finds slots, from within the call, as tasks do."""

    inputs: Inputs

    def __init__(self, verdict: str) -> None:
        super().__init__()
        self.verdict = verdict

    def judge(self, outcome: Outcome | None, reason: str) -> None:
        super().judge(outcome, reason)
        INPUTS[self.verdict](self.inputs)

    def take_slot_again(self) -> None:
        super().take_slot_again()
        self.inputs.admit()


class FailingAtOnce(Answering):
    """A spawn that reports its failure from within the call."""

    def spawn(self) -> None:
        super().spawn()
        self.inputs.spawn_failed("no such file")


@pytest.mark.parametrize("verdict", ["complete", "give_up", "requeue"])
def test_a_spawn_may_fail_from_within_the_call(verdict: str) -> None:
    """A start that is refused on the spot ends where one refused later ends, and can be repeated."""
    clock, effects = Clock(), FailingAtOnce(verdict)
    effects.inputs = new_machine(Core(clock, effects))
    effects.inputs.admit()
    effects.inputs.admit()
    assert effects.take() == [SPAWN, JUDGE_FAILURE] * 2
    assert clock.getDelayedCalls() == []


def test_a_run_that_ends_is_followed_by_another_as_long_as_that_is_the_verdict() -> None:
    """Exit, wait, start: round and round, with one timer at most, until a stop comes."""
    clock, effects = Clock(), Answering("retry_after")
    inputs = effects.inputs = new_machine(Core(clock, effects))
    inputs.admit()
    for _ in range(3):
        effects.take()
        inputs.spawned(7)
        inputs.exited(OUTCOME)
        inputs.drained()
        assert [call.getTime() for call in clock.getDelayedCalls()] == [clock.seconds() + DELAY]
        clock.advance(DELAY)
        assert effects.take() == [
            TELL_STARTED,
            TELL_EXITED,
            JUDGE_EXIT,
            TAKE_SLOT_AGAIN,
            SPAWN,
        ]
        assert clock.getDelayedCalls() == []
