"""What one look by a program comes to, however that program ends."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from twisted.internet.task import Clock

from overseer.core.process import Outcome
from overseer.core.readiness import ExecCheck, HttpCheck, TcpCheck
from overseer.core.worker import Worker, WorkerEvents
from overseer.drivers.interfaces import ValidationError
from overseer.lifecycle.readiness import Look
from overseer.probes import Probes


class FakeAction:
    """An action whose probes are commands that end when a test says so."""

    def __init__(self) -> None:
        self.started: list[tuple[str, dict[str, str], tuple[str, ...]]] = []
        self.calls: list[str] = []
        self.events: Any = None
        self.refusal = ""

    def start_probe(
        self, task_id: str, params: Mapping[str, str], command: Sequence[str], events: WorkerEvents
    ) -> Worker:
        if self.refusal:
            raise ValidationError(self.refusal)
        self.started.append((task_id, dict(params), tuple(command)))
        self.events = events
        return self  # type: ignore[return-value]

    def kill(self) -> None:
        self.calls.append("kill")

    def close_output(self) -> None:
        self.calls.append("close_output")


class Looking:
    """One look at a task, and what came of it."""

    def __init__(self, check: Any = None, *, refusal: str = "") -> None:
        self.clock = Clock()
        self.action = FakeAction()
        self.action.refusal = refusal
        self.found: list[str] = []
        look = Look(
            check=ExecCheck(command=("test", "-e", "x")) if check is None else check,
            action=self.action,  # type: ignore[arg-type]
            task_id="a",
            params={"p": "v"},
            timeout=2.0,
        )
        self.under_way = Probes(self.clock).look(look)
        self.under_way.addCallbacks(
            lambda _: self.found.append("ready"),
            lambda failure: self.found.append(str(failure.value)),
        )

    def end(self, outcome: Outcome) -> None:
        events = self.action.events
        events.exited(outcome)
        events.drained()
        events.gone()


@pytest.mark.parametrize(
    ("outcome", "found"),
    [
        (Outcome(0), "ready"),
        (Outcome(3), "exit code 3"),
        (Outcome.from_signal(11), "SIGSEGV"),
    ],
)
def test_the_exit_code_decides(outcome: Outcome, found: str) -> None:
    looking = Looking()
    assert looking.action.started == [("a", {"p": "v"}, ("test", "-e", "x"))]
    looking.action.events.spawned(7)
    looking.action.events.output("stdout", b"whatever it says")
    assert looking.found == []
    looking.end(outcome)
    assert looking.found == [found]
    assert looking.clock.getDelayedCalls() == []


def test_what_cannot_be_executed_is_not_ready() -> None:
    looking = Looking()
    looking.action.events.spawn_failed('cannot execute "test"')
    assert looking.found == ['cannot execute "test"']
    assert Looking(refusal="this driver runs no processes").found == [
        "this driver runs no processes"
    ]


@pytest.mark.parametrize("spawned", ["before", "after"])
def test_what_takes_too_long_is_killed(spawned: str) -> None:
    """Also one that was still being started when its time was over."""
    looking = Looking()
    if spawned == "before":
        looking.action.events.spawned(7)
    looking.clock.advance(2.0)
    assert looking.found == ["no answer within 2 s"]
    if spawned == "after":
        looking.action.calls.clear()
        looking.action.events.spawned(7)
    assert looking.action.calls == ["kill"]
    looking.end(Outcome.from_signal(9))
    assert looking.found == ["no answer within 2 s"]


def test_a_look_that_nobody_waits_for_is_ended() -> None:
    looking = Looking()
    looking.action.events.spawned(7)
    looking.under_way.cancel()
    assert looking.action.calls == ["kill"]
    assert looking.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    "check",
    [
        TcpCheck(host="h", port="http"),
        HttpCheck(host="h", scheme="http", path="/", port="http", status_code=200),
    ],
)
def test_a_port_that_is_none_is_told(check: Any) -> None:
    looking = Looking(check)
    assert looking.found == ['readiness_probe: expected a port from 1 to 65535, got "http"']
