"""The group's guard: a number that the system gave to somebody else is never signalled."""

import signal
import subprocess

import pytest
from process_support import is_alive
from twisted.internet.task import Clock

from overseer.process import Escaped, Orphans, ProcessGroup


@pytest.fixture
def stranger():
    """A process that leads a group of its own and has nothing to do with ours."""
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as process:
        yield process
        assert process.poll() is None
        process.kill()


def group_of(stranger, clock, gone):
    escaped = Escaped(Orphans(), stranger.pid, {})
    return ProcessGroup(stranger.pid, signal.SIGTERM, clock, escaped, lambda: gone.append(True))


def test_a_new_process_of_our_number_means_that_the_group_is_gone(stranger):
    clock, gone = Clock(), []
    group = group_of(stranger, clock, gone)
    group.leader_reaped()
    assert gone == [True]
    group.terminate(0)
    group.kill()
    assert clock.getDelayedCalls() == []
    assert is_alive(stranger.pid)
    assert gone == [True]


def test_a_number_that_was_taken_between_two_looks_is_not_killed(stranger, monkeypatch):
    clock, gone = Clock(), []
    group = group_of(stranger, clock, gone)
    # As if a leftover of ours still bore the number when the leader was reaped.
    with monkeypatch.context() as patch:
        patch.setattr("os.kill", lambda pid, number: _no_such_process())
        patch.setattr("os.killpg", lambda pid, number: None)
        group.leader_reaped()
    assert gone == []
    group.kill()
    assert is_alive(stranger.pid)
    clock.advance(0.01)
    assert gone == [True]
    assert clock.getDelayedCalls() == []


def _no_such_process() -> None:
    raise ProcessLookupError
