"""Virtual workers: what becomes of a coroutine and of a function in a thread."""

import queue
import sys
import threading
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import capturedLogs

from overseer.core.process import Outcome, Stream
from overseer.core.worker import Worker
from overseer.drivers.interfaces import ActionHandler, ActionHandlerFactory, WorkerCallbacks
from overseer.drivers.virtual import SEND_SIZE, CoroutineRun, ThreadRun, start_virtual_worker
from overseer.testing import FakeRun, make_action

STREAMS: tuple[Stream, ...] = ("stdout", "stderr")
TERMINATED = Outcome(-1, "SIGTERM")


class Handler(ActionHandler):
    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def start(self, task_id: str, params: Mapping[str, str], callbacks: WorkerCallbacks) -> Worker:
        return start_virtual_worker(task_id, self.function, callbacks)


class Factory(ActionHandlerFactory):
    type = "virtual"

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def create(self, *_: object) -> Handler:
        return Handler(self.function)


def start(function: Callable[[Any], Any]) -> FakeRun:
    return make_action(Factory(function)).start({})


# ------------------------------------------------------------------------------------ coroutines


def test_a_coroutine_is_a_run() -> None:
    """It has the pid 0, its lines come at once and in their order, what it returns is its exit code."""

    async def work(run: CoroutineRun) -> int:
        assert (run.task_id, run.action, run.attempt) == ("task", "action", 0)
        await run.send("stdout", "one")
        await run.send("stderr", "two\nthree \ud800")
        await run.sleep(1.0)
        await run.send("stdout", "four")
        return 7

    run = start(work)
    assert (run.pid, run.lines("stdout"), run.ended) == (0, ["one"], False)
    assert run.lines("stderr") == ["two", "three \ufffd\ufffd\ufffd"]
    run.reactor.advance(1.0)
    assert (run.lines("stdout"), run.outcome, run.ended) == (["one", "four"], Outcome(7), True)
    assert run.reactor.getDelayedCalls() == []


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("result", "code", "told"),
    [
        (None, 0, []),
        (True, 1, []),
        (-(2**31), -(2**31), []),
        ("x", 1, ["expected an exit code"]),
        (2**31, 1, ["expected an exit code"]),
        pytest.param(1 << 100_000, 1, ["expected an exit code"], id="a number nobody can write"),
        (Unshowable(), 1, ["expected an exit code"]),
    ],
)
def test_what_a_function_returns(result: object, code: int, told: list[str]) -> None:
    """Nothing is success; what is no integer, or one that nobody could be told, is told so."""

    async def work(_run: CoroutineRun) -> Any:
        return result

    def work_in_thread(_run: ThreadRun) -> Any:
        return result

    for function in (work, work_in_thread):
        run = start(function)
        run.wait()
        assert run.exit_code == code
        assert [line.partition(",")[0] for line in run.lines("stderr")] == told


def test_an_exception_is_told_with_the_place_in_the_function() -> None:
    """And with nothing of what is around it."""

    async def work(_run: CoroutineRun) -> None:
        raise KeyError("lost")

    def work_in_thread(_run: ThreadRun) -> None:
        raise KeyError("lost")

    for function in (work, work_in_thread):
        run = start(function)
        run.wait()
        lines = run.lines("stderr")
        assert (run.exit_code, lines[0], lines[-1]) == (
            1,
            "Traceback (most recent call last):",
            "KeyError: 'lost'",
        )
        assert lines[1].endswith(f"in {function.__name__}")


def test_an_exception_that_was_waited_for_is_told_so_too() -> None:
    """What Twisted does to raise it in the function is nobody's business."""

    async def work(_run: CoroutineRun) -> None:
        await fails

    fails: Deferred[None] = Deferred()
    run = start(work)
    fails.errback(KeyError("lost"))
    lines = run.lines("stderr")
    assert lines[1].endswith("in work")
    assert lines[-1] == "KeyError: 'lost'"


def test_a_stop_cancels_a_coroutine() -> None:
    """Where it waits; what it does then is still told."""

    async def work(run: CoroutineRun) -> None:
        try:
            await Deferred()
        finally:
            await run.send("stdout", "cleaned up")

    run = start(work)
    run.stop()
    assert (run.outcome, run.lines("stdout")) == (TERMINATED, ["cleaned up"])
    assert run.reactor.getDelayedCalls() == []


def test_a_coroutine_may_end_as_it_likes_when_stopped() -> None:
    """Its own exit code counts."""

    async def work(run: CoroutineRun) -> int:
        try:
            await run.sleep(60)
        except CancelledError:
            await run.sleep(1)
        return 3

    run = start(work)
    run.stop()
    assert not run.ended
    run.reactor.advance(1)
    assert run.outcome == Outcome(3)


def test_a_coroutine_that_goes_on_is_closed_after_its_grace() -> None:
    """It cannot delay anybody, and tells nothing any more."""
    told = []

    async def work(run: CoroutineRun) -> None:
        while True:
            try:
                await run.sleep(60)
            except CancelledError:
                await run.send("stdout", "no")
            except GeneratorExit:
                with pytest.raises(CancelledError):
                    run.send("stdout", "after the end")
                told.append("closed")
                raise

    run = start(work)
    run.stop(grace=2.0)
    run.reactor.advance(1.9)
    assert not run.ended
    run.reactor.advance(0.1)
    run.reactor.advance(0)
    assert (run.outcome, told) == (Outcome(-1, "SIGKILL"), ["closed"])
    run.reactor.advance(100)
    assert run.lines("stdout") == ["no"]


def test_a_stop_before_the_first_turn() -> None:
    """The function is never called, if the task is stopped as soon as it runs."""
    called = []

    class Stopped(FakeRun):
        def spawned(self, pid: int) -> None:
            super().spawned(pid)
            self.worker.terminate(1.0)

    async def work(_run: CoroutineRun) -> None:
        called.append(True)

    action = make_action(Factory(work))
    run = Stopped(action.reactor)
    run.worker = action.action.start("task", {}, run, attempt=0)
    run.reactor.advance(0)
    assert (run.outcome, called) == (TERMINATED, [])


LINE = "x" * 99
READ = SEND_SIZE // 100 + 1
"""As many lines as are told at once."""


def test_a_coroutine_that_sends_much_gives_others_their_turn() -> None:
    """After every read's worth of lines."""
    sent: list[int] = []
    seen: list[int] = []

    async def work(run: CoroutineRun) -> None:
        for number in range(3 * READ):
            await run.send("stdout", LINE)
            sent.append(number)

    def look() -> None:
        seen.append(len(sent))
        if len(sent) < 3 * READ:
            reactor.callLater(0, look)

    action = make_action(Factory(work))
    reactor = action.reactor
    reactor.callLater(0, look)
    run = action.start()
    assert len(run.lines("stdout")) == 3 * READ
    assert max(after - before for before, after in pairwise(seen)) <= READ


def test_a_coroutine_waits_while_nobody_takes_its_lines() -> None:
    """One read's worth is kept meanwhile, and nothing is lost."""
    sent: list[int] = []

    async def work(run: CoroutineRun) -> None:
        for number in range(3 * READ):
            await run.send("stdout", f"{number:99}")
            sent.append(number)
        await run.sleep(1)

    action = make_action(Factory(work))

    class Held(FakeRun):
        def spawned(self, pid: int) -> None:
            super().spawned(pid)
            self.worker.pause_output()

    run = Held(action.reactor)
    run.worker = action.action.start("task", {}, run, attempt=0)
    action.reactor.advance(0)
    assert (len(sent), run.lines("stdout")) == (READ - 1, [])
    run.worker.resume_output()
    action.reactor.advance(0)
    assert [int(line) for line in run.lines("stdout")] == list(range(3 * READ))


def test_lines_that_are_not_awaited_are_not_collected_for_ever() -> None:
    """Whoever sends so blocks everybody; but the memory is bounded."""
    sizes = []

    async def work(run: CoroutineRun) -> None:
        for _ in range(5 * READ):
            run.send("stdout", LINE)
            sizes.append(len(run._buffer.lines))

    run = start(work)
    assert max(sizes) <= READ + 1
    assert len(run.lines("stdout")) == 5 * READ


def test_there_are_two_streams() -> None:
    """Another one is the function's mistake."""

    async def work(run: CoroutineRun) -> None:
        await run.send("stdlog", "x")  # type: ignore[arg-type]

    run = start(work)
    assert run.exit_code == 1
    assert "expected the stream" in run.lines("stderr")[-1]


def test_what_is_no_text_is_told_as_it_would_be_printed() -> None:
    """A function that was not checked for types loses no line by it, and no other one."""

    async def work(run: CoroutineRun) -> None:
        await run.send("stdout", "one")
        await run.send("stdout", b"two")  # type: ignore[arg-type]

    assert start(work).lines("stdout") == ["one", "b'two'"]


# --------------------------------------------------------------------------------------- threads


def test_a_thread_is_a_run() -> None:
    """All that it sends comes, in order, before its end."""

    def work(run: ThreadRun) -> int:
        for number in range(3 * READ):
            run.send("stdout" if number % 3 else "stderr", f"{number:99}")
        assert not run.cancelled
        return 4

    run = start(work)
    run.wait()
    assert run.outcome == Outcome(4)
    numbers = [int(line) for line in (*run.lines("stdout"), *run.lines("stderr"))]
    assert sorted(numbers) == list(range(3 * READ))


def test_a_thread_waits_while_nobody_takes_its_lines() -> None:
    """And goes on when somebody does."""
    full = threading.Event()

    def work(run: ThreadRun) -> None:
        for number in range(3 * READ):
            if number == READ - 1:
                full.set()
            run.send("stdout", LINE)

    run = start(work)
    run.worker.pause_output()
    assert full.wait(10)
    assert run.lines("stdout") == []
    run.worker.resume_output()
    run.wait()
    assert len(run.lines("stdout")) == 3 * READ


def test_threads_end_with_the_run_that_they_share() -> None:
    """Where they wait for room that nobody will make any more, and where they send next."""
    paused, filling, ended = threading.Event(), threading.Event(), threading.Event()
    refused = queue.SimpleQueue[str]()

    def wait_for_room(run: ThreadRun) -> None:
        assert paused.wait(10)
        filling.set()
        try:
            while True:
                run.send("stdout", LINE * READ)
        except CancelledError:
            refused.put("waits")

    def send_later(run: ThreadRun) -> None:
        assert ended.wait(10)
        try:
            run.send("stdout", "late")
        except CancelledError:
            refused.put("sends")

    def work(run: ThreadRun) -> None:
        for function in (wait_for_room, send_later):
            threading.Thread(target=function, args=(run,)).start()
        assert filling.wait(10)

    run = start(work)
    run.worker.pause_output()
    paused.set()
    run.wait()
    assert refused.get(timeout=10) == "waits"
    ended.set()
    assert refused.get(timeout=10) == "sends"
    assert "late" not in run.lines("stdout")


def test_threads_that_share_a_run_lose_nothing() -> None:
    """What each of them sends comes once, in its order, on the stream that was meant."""
    numbers = range(3000)

    def send(run: ThreadRun, name: str, stream: Stream) -> None:
        for number in numbers:
            run.send(stream, f"{name} {number}")

    def work(run: ThreadRun) -> None:
        threads = [
            threading.Thread(target=send, args=(run, f"{stream}-{number}", stream))
            for number in range(2)
            for stream in STREAMS
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        run = start(work)
        run.wait()
    finally:
        sys.setswitchinterval(interval)
    assert run.outcome == Outcome(0)
    for stream in STREAMS:
        told = [line.split() for line in run.lines(stream)]
        for name in (f"{stream}-0", f"{stream}-1"):
            assert [int(number) for by, number in told if by == name] == list(numbers)
        assert len(told) == 2 * len(numbers)


def test_a_line_that_is_sent_while_others_are_told_is_not_left_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is told though no other one follows."""
    go_on, sent = threading.Semaphore(0), threading.Semaphore(0)

    def work(run: ThreadRun) -> None:
        for line in ("one", "two"):
            assert go_on.acquire(timeout=10)
            run.send("stdout", line)
            sent.release()
        go_on.acquire()

    run = start(work)
    tell = run.output

    def output(stream: Stream, data: bytes) -> None:
        go_on.release()
        assert sent.acquire(timeout=10)
        tell(stream, data)

    go_on.release()
    assert sent.acquire(timeout=10)
    with monkeypatch.context() as patch:
        patch.setattr(run, "output", output)
        run.reactor.wait_for(lambda: run.lines("stdout"))
    run.reactor.wait_for(lambda: run.lines("stdout") == ["one", "two"])
    go_on.release()
    run.wait()


@pytest.mark.parametrize("way", ["send", "sleep", "room"])
def test_a_stop_cancels_a_thread(way: str) -> None:
    """Where it sends next, sleeps, or waits for room."""
    begun = threading.Event()

    def work(run: ThreadRun) -> None:
        begun.set()
        while way == "sleep":
            run.sleep(60)
        while True:
            run.send("stdout", LINE)

    run = start(work)
    if way == "room":
        run.worker.pause_output()
    assert begun.wait(10)
    run.stop()
    run.wait()
    assert run.outcome == TERMINATED


def test_a_stop_cancels_a_thread_that_has_room_while_nobody_takes_its_lines() -> None:
    """Its next line is refused, and so are all that it sends nevertheless: they are not collected."""
    begun, stopped = threading.Event(), threading.Event()
    refused = []

    def work(run: ThreadRun) -> None:
        run.send("stdout", "first")
        begun.set()
        stopped.wait()
        for _ in range(3):
            try:
                run.send("stderr", "refused")
            except CancelledError:
                refused.append(len(run._buffer.lines))

    run = start(work)
    run.worker.pause_output()
    assert begun.wait(10)
    run.stop()
    run.reactor.advance(0)
    stopped.set()
    run.wait()
    assert refused == [1, 1, 1]
    assert (run.lines("stdout"), run.lines("stderr")) == (["first"], [])


def test_a_thread_that_ignores_its_cancellation_is_waited_for() -> None:
    """Nothing can end it: that is said, and the end is told when it comes."""
    release = threading.Event()

    def work(run: ThreadRun) -> int:
        release.wait()
        return 0 if run.cancelled else 1

    run = start(work)
    with capturedLogs() as logs:
        run.stop(grace=1.0)
        run.reactor.advance(1.0)
        run.reactor.advance(0)
    assert "goes on though it was told to end" in logs[-1]["log_format"]
    assert not run.ended
    release.set()
    run.wait()
    assert run.outcome == Outcome(0)
