"""What a child reads, and the terminal that it may have: bytes, backpressure, size, signals, ends."""

import getpass
import os
import signal

import pytest
import pytest_twisted
from process_support import Runs, open_descriptors, zombies
from twisted.internet import reactor

from overseer.core.process import Outcome
from overseer.core.worker import WorkerError
from overseer.process import ProcessSpawner
from overseer.process.input import BUFFER_SIZE

ensure_deferred = pytest_twisted.ensureDeferred


@pytest_twisted.async_yield_fixture
async def runs():
    calls, descriptors = reactor.getDelayedCalls(), open_descriptors()
    selectables = [*reactor.getReaders(), *reactor.getWriters()]
    runs = Runs(ProcessSpawner(reactor))
    yield runs
    await runs.end()
    assert [call for call in reactor.getDelayedCalls() if call not in calls] == []
    left = [one for one in (*reactor.getReaders(), *reactor.getWriters()) if one not in selectables]
    assert left == []
    assert open_descriptors() == descriptors
    assert zombies() == []


class Receipts:
    """What became of each write, in order."""

    def __init__(self, worker):
        self.worker = worker
        self.told = []

    def write(self, data, name="taken"):
        self.worker.write_input(data, lambda: self.told.append(name), self.told.append)


# Pipes


@ensure_deferred
async def test_what_is_written_is_read_to_its_end(runs):
    worker, recorder = runs.start("/bin/cat", stdin="pipe")
    await recorder.seen("spawned")
    receipts = Receipts(worker)
    receipts.write(b"one\n", "first")
    receipts.write(b"two\0\xff\n", "second")
    worker.end_input()
    assert receipts.told == ["first", "second"]
    await recorder.seen("gone")
    assert recorder.data() == b"one\ntwo\0\xff\n"
    assert recorder.outcome == Outcome(0)


@ensure_deferred
async def test_taken_is_told_once_the_pipe_has_it_and_not_before(runs):
    worker, recorder = runs.shell("read line; cat | wc -c", stdin="pipe")
    await recorder.seen("spawned")
    receipts = Receipts(worker)
    receipts.write(b"x" * 300_000)  # more than a pipe holds, and no line
    assert receipts.told == []
    receipts.write(b"\n1234", "second")
    worker.end_input()
    await recorder.seen("gone")
    assert receipts.told == ["taken", "second"]
    assert recorder.data().split() == [b"4"]


@ensure_deferred
async def test_no_more_waits_than_the_limit(runs):
    worker, recorder = runs.shell("read line; cat | wc -c", stdin="pipe")
    await recorder.seen("spawned")
    worker.signal(signal.SIGSTOP)
    receipts = Receipts(worker)
    receipts.write(b"\n" + b"x" * (BUFFER_SIZE - 1), "all that fits")
    with pytest.raises(
        WorkerError, match="input: the process reads too slowly: at most 1MiB may wait"
    ):
        receipts.write(b"x" * BUFFER_SIZE, "too much")
    worker.signal(signal.SIGCONT)
    worker.end_input()
    await recorder.seen("gone")
    assert receipts.told == ["all that fits"]
    assert int(recorder.data()) <= BUFFER_SIZE - 1


@ensure_deferred
async def test_what_the_process_does_not_read_is_told_as_lost(runs):
    worker, recorder = runs.start("/bin/sleep", "1000", stdin="pipe")
    await recorder.seen("spawned")
    receipts = Receipts(worker)
    receipts.write(b"x" * 200_000)
    worker.kill()
    await recorder.seen("gone")
    assert receipts.told == ["input: the process reads its stdin no more"]
    with pytest.raises(WorkerError):
        receipts.write(b"late")


@ensure_deferred
async def test_a_closed_stdin_is_told(runs):
    worker, recorder = runs.shell("exec <&-; echo closed; sleep 1000", stdin="pipe")
    await recorder.printed(b"closed")
    receipts = Receipts(worker)
    receipts.write(b"nobody reads")
    assert receipts.told == ["input: the process reads its stdin no more"]
    with pytest.raises(WorkerError, match="reads its stdin no more"):
        receipts.write(b"nobody")


@ensure_deferred
async def test_nothing_follows_the_end(runs):
    worker, recorder = runs.shell("cat; echo over; sleep 1000", stdin="pipe")
    await recorder.seen("spawned")
    worker.end_input()
    with pytest.raises(WorkerError, match="its end was told before"):
        worker.write_input(b"x", lambda: None, lambda reason: None)
    await recorder.printed(b"over")


@ensure_deferred
async def test_without_a_pipe_there_is_nothing_to_write_to(runs):
    worker, recorder = runs.start("/bin/cat")
    with pytest.raises(WorkerError, match="`stdin: pipe`"):
        worker.write_input(b"x", lambda: None, lambda reason: None)
    await recorder.seen("gone")
    assert recorder.data() == b""


# Signals


@ensure_deferred
async def test_a_signal_reaches_the_whole_group(runs):
    child = "trap 'echo child; exit' HUP; echo up; while :; do sleep 0.02; done"
    script = f"trap 'echo parent' HUP; ({child}) & wait; wait"
    worker, recorder = runs.shell(script)
    await recorder.printed(b"up")
    worker.signal(signal.SIGHUP)
    await recorder.seen("gone")
    assert sorted(recorder.data().split()) == [b"child", b"parent", b"up"]
    with pytest.raises(WorkerError, match="has ended"):
        worker.signal(signal.SIGHUP)


# Terminals


@ensure_deferred
async def test_the_child_has_a_terminal_of_its_own(runs):
    _, recorder = runs.shell(
        "tty; stty size; ps -o tty= -p $$; echo err >&2; : </dev/tty", pty=True
    )
    await recorder.seen("gone")
    tty, size, controlling, err = recorder.data().replace(b"\r\n", b"\n").splitlines()
    assert tty.startswith(b"/dev/")
    assert size == b"24 80"
    assert tty.endswith(controlling)
    assert err == b"err"
    assert {event[1] for event in recorder.events if event[0] == "output"} == {"stdout"}
    assert recorder.outcome == Outcome(0)


@ensure_deferred
async def test_a_terminal_changes_its_size(runs):
    script = "trap 'stty size; exit' WINCH; echo up; while :; do sleep 0.02; done"
    worker, recorder = runs.shell(script, pty=True)
    await recorder.printed(b"up")
    worker.resize(50, 132)
    await recorder.seen("gone")
    assert recorder.data() == b"up\r\n50 132\r\n"


@ensure_deferred
async def test_only_a_terminal_has_a_size(runs):
    worker, recorder = runs.start("/bin/cat", stdin="pipe")
    await recorder.seen("spawned")
    with pytest.raises(WorkerError, match="`pty: true`"):
        worker.resize(50, 132)
    worker.end_input()


@pytest.mark.parametrize("typed", [b"one\n", b"one"])
@ensure_deferred
async def test_the_end_of_input_is_typed(runs, typed):
    worker, recorder = runs.shell("stty -echo; echo up; cat; echo over", pty=True)
    await recorder.printed(b"up")
    worker.write_input(typed, lambda: None, lambda reason: None)
    worker.end_input()
    await recorder.seen("gone")
    output = recorder.data().replace(b"\r\n", b"\n")
    assert output == b"up\n" + typed + b"over\n"


@ensure_deferred
async def test_keys_send_signals(runs):
    worker, recorder = runs.shell(
        "trap 'echo interrupted; exit 3' INT; echo up; read line", pty=True
    )
    await recorder.printed(b"up")
    worker.write_input(b"\x03", lambda: None, lambda reason: None)
    await recorder.seen("gone")
    assert b"interrupted\r\n" in recorder.data()
    assert recorder.outcome == Outcome(3)


@ensure_deferred
async def test_the_last_lines_before_an_exit_arrive(runs):
    many = [runs.start("/usr/bin/seq", "3000", pty=True)[1] for _ in range(20)]
    for recorder in many:
        await recorder.seen("gone")
        assert recorder.data().split() == [b"%d" % number for number in range(1, 3001)]


@ensure_deferred
async def test_a_program_that_cannot_be_executed_leaves_nothing(runs):
    assert await runs.failure_of("/nonexistent", pty=True, stdin="pipe") == (
        'cannot execute "/nonexistent": No such file or directory'
    )


@ensure_deferred
async def test_a_terminal_belongs_to_the_user_of_its_child(runs):
    user = "nobody" if os.geteuid() == 0 else getpass.getuser()
    _, recorder = runs.shell('echo typed >"$(tty)"', pty=True, user=user)
    await recorder.seen("gone")
    assert recorder.data() == b"typed\r\n"


@ensure_deferred
async def test_stopping_works_in_a_terminal(runs):
    worker, recorder = runs.start("/bin/cat", pty=True)
    await recorder.seen("spawned")
    worker.terminate(5.0)
    await recorder.seen("gone")
    assert recorder.outcome == Outcome.from_signal(signal.SIGTERM)
