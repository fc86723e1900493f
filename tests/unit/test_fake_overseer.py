"""The overseer for tests: everything that clients may ask, and nothing that takes time or a process."""

import pytest
from twisted.logger import capturedLogs

from overseer.client import RequestRefused
from overseer.core.config import ConfigError
from overseer.protocol.messages import (
    Exited,
    Output,
    Restarting,
    RetryPolicy,
    Started,
)
from overseer.testing.daemon import FakeOverseer

CONFIG = {"actions": {"echo": {"type": "exec", "config": {"entrypoint": "echo"}}}}


@pytest.fixture
def overseer() -> FakeOverseer:
    return FakeOverseer(CONFIG)


def test_a_run_as_the_test_says(overseer: FakeOverseer) -> None:
    """From the start to the end, without a process."""
    events = overseer.events(overseer.run("echo"))
    (process,) = overseer.processes
    assert process.spec.argv[0].endswith("echo")
    process.runs()
    process.prints("hello")
    process.exits(3)
    overseer.reactor.advance(0)
    started, line, exited = events
    assert isinstance(started, Started)
    assert isinstance(line, Output)
    assert (line.data, line.seq) == ("hello", 1)
    assert isinstance(exited, Exited)
    assert exited.exit_code == 3
    (task,) = overseer.ask(overseer.list()).tasks
    assert (task.state, task.last_exit_code) == ("stopped", 3)


def test_time_passes_when_the_test_says(overseer: FakeOverseer) -> None:
    """A minute between two runs is no minute here."""
    policy = RetryPolicy(restart_delay="1m")
    events = overseer.events(overseer.run("echo", retry_policy=policy))
    overseer.processes[0].runs()
    overseer.processes[0].exits(1)
    overseer.reactor.advance(59)
    assert isinstance(events[-1], Restarting)
    assert len(overseer.processes) == 1
    overseer.reactor.advance(1)
    assert len(overseer.processes) == 2


def test_questions_and_refusals(overseer: FakeOverseer) -> None:
    """An answer comes at once, a refusal is raised, and what takes longer is said to."""
    assert overseer.ask(overseer.list()).tasks == []
    with pytest.raises(RequestRefused, match="unknown action"):
        overseer.ask(overseer.start("nope"))
    with pytest.raises(AssertionError, match="no answer yet"):
        overseer.ask(overseer.start("echo"))


def test_another_configuration_while_it_runs(overseer: FakeOverseer) -> None:
    """In every form that it may have at first, and where the program listens is no matter of it."""
    with pytest.raises(ConfigError, match=r"configuration:1: actoins: unknown key"):
        overseer.reload({"actoins": {}})
    assert [action.name for action in overseer.ask(overseer.describe()).actions] == ["echo"]
    with capturedLogs() as logged:
        overseer.reload("listen: ':9'\nactions: {say: {type: exec, config: {entrypoint: echo}}}")
    assert [action.name for action in overseer.ask(overseer.describe()).actions] == ["say"]
    assert not any("restart" in event["log_format"] for event in logged)
