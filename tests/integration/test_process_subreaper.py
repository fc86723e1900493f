"""As a subreaper: orphans are adopted and reaped, and nobody loses a child of his own."""

import os
import signal
import subprocess
from pathlib import Path

import pytest_twisted
from process_support import PATH, Runs, eventually, is_alive, zombies
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.threads import deferToThread

from overseer.core.process import Outcome
from overseer.process import ProcessSpawner, Subreaper

ensure_deferred = pytest_twisted.ensureDeferred


@pytest_twisted.async_yield_fixture(params=["pidfd", "thread"])
async def runs(request):
    calls, handler = reactor.getDelayedCalls(), signal.getsignal(signal.SIGCHLD)
    runs = Runs(ProcessSpawner(reactor, use_pidfd=request.param == "pidfd"))
    subreaper = Subreaper(reactor, runs.spawner)
    subreaper.start()
    subreaper.start()
    yield runs
    await eventually(lambda: zombies() == [])
    await runs.end()
    subreaper.stop()
    subreaper.stop()
    assert signal.getsignal(signal.SIGCHLD) == handler
    await eventually(lambda: all(call in calls for call in reactor.getDelayedCalls()))


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@ensure_deferred
async def test_an_escaped_orphan_is_adopted_and_reaped(runs):
    # Forked twice, in a session of its own and without our mark, it ends long after the task.
    script = "(env -i setsid sh -c 'echo $$; exec >&- 2>&-; exec sleep 1000' &) ; exec sleep 1000"
    worker, recorder = runs.shell(script)
    await recorder.printed(b"\n")
    worker.terminate(10)
    await recorder.seen("gone")
    pid = int(recorder.data())
    assert is_alive(pid)
    assert Path(f"/proc/{parent_of(pid)}").samefile("/proc/self")
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: not Path(f"/proc/{pid}").exists())


@ensure_deferred
async def test_orphans_of_a_running_task_are_reaped(runs):
    worker, recorder = runs.shell("for i in 1 2 3; do (sh -c 'echo $$' &); done; exec sleep 1000")
    await recorder.until(lambda: recorder.data().count(b"\n") == 3)
    pids = recorder.data().split()
    await eventually(lambda: not any(Path(f"/proc/{int(pid)}").exists() for pid in pids))
    worker.terminate(10)
    await recorder.seen("gone")


@ensure_deferred
async def test_leftovers_in_the_group_are_reaped_before_it_is_gone(runs):
    _, recorder = runs.shell("(sleep 1000 & echo $!); exit 0")
    await recorder.seen("gone")
    assert recorder.outcome == Outcome(0)
    assert not Path(f"/proc/{int(recorder.data())}").exists()


class ExitCode(ProcessProtocol):
    def __init__(self) -> None:
        self.ended: Deferred[int] = Deferred()

    def processEnded(self, reason) -> None:
        reason.trap(ProcessDone, ProcessTerminated)
        self.ended.callback(reason.value.exitCode)


def spawn_with_twisted(code: int, **options) -> Deferred[int]:
    protocol = ExitCode()
    reactor.spawnProcess(protocol, "/bin/sh", ["sh", "-c", f"exit {code}"], {}, **options)
    return protocol.ended.addTimeout(20, reactor)


def run_in_thread(code: int, **options) -> Deferred[int]:
    def run() -> int:
        return subprocess.run(["sh", "-c", f"exit {code}"], check=False, **options).returncode

    return deferToThread(run).addTimeout(20, reactor)


@ensure_deferred
async def test_every_child_of_everybody_reports_its_own_exit_code(runs):
    numbers = range(50)
    ours, twisteds, threads = [], [], []
    for number in numbers:
        ours.append(runs.shell(f"(sh -c : &); exit {number}")[1])
        twisteds.append(spawn_with_twisted(number, usePTY=number % 10 == 0))
        threads.append(run_in_thread(number, start_new_session=number % 10 == 0))
    assert await gatherResults(twisteds) == list(numbers)
    assert await gatherResults(threads) == list(numbers)
    for number, recorder in zip(numbers, ours, strict=True):
        await recorder.seen("gone")
        assert recorder.outcome == Outcome(number)


@ensure_deferred
async def test_a_child_that_a_library_waits_for_late_keeps_its_exit_code(runs):
    with subprocess.Popen(["sh", "-c", "exit 5"], env={"PATH": PATH}) as process:
        # Two sweeps and more: an orphan that dies after it is reaped.
        await eventually(lambda: zombies() == [process.pid])
        worker, recorder = runs.shell("setsid sh -c 'echo $$; sleep 0.1' & exec sleep 1000")
        await recorder.printed(b"\n")
        worker.kill()
        await recorder.seen("gone")
        pid = int(recorder.data())
        await eventually(lambda: not Path(f"/proc/{pid}").exists())
        assert process.wait() == 5
