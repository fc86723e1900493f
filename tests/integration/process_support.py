"""What the tests of the process layer share: a recorder of events, and conditions to wait for."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from overseer.core.process import Outcome, ProcessSpec, Stream
from overseer.process import ProcessSpawner, ProcessWorker

PATH = "/usr/local/bin:/usr/bin:/bin"

#: Seconds after which a condition that does not come true fails its test.
PATIENCE = 20


class Recorder:
    """I am the events of a worker, in order, and fire a Deferred when a condition on them holds."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self._awaited: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def until(self, condition: Callable[[], bool]) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        done.addTimeout(PATIENCE, reactor)
        self._awaited.append((condition, done))
        self._check()
        return done

    def seen(self, name: str) -> Deferred[None]:
        return self.until(lambda: name in self.names)

    def printed(self, text: bytes) -> Deferred[None]:
        return self.until(lambda: text in self.data("stdout"))

    @property
    def names(self) -> list[str]:
        return [event[0] for event in self.events]

    @property
    def order(self) -> list[str]:
        """The names with runs of ``output`` as one, and without ``closed``."""
        order: list[str] = []
        for name in self.names:
            if name != "closed" and order[-1:] != [name]:
                order.append(name)
        return order

    @property
    def outcome(self) -> Outcome:
        return self._single("exited")

    @property
    def pid(self) -> int:
        return self._single("spawned")

    @property
    def failure(self) -> str:
        return self._single("spawn_failed")

    def data(self, stream: Stream = "stdout") -> bytes:
        return b"".join(event[2] for event in self.events if event[:2] == ("output", stream))

    def _single(self, name: str) -> Any:
        (event,) = [event for event in self.events if event[0] == name]
        return event[1]

    def _record(self, *event: Any) -> None:
        self.events.append(event)
        self._check()

    def _check(self) -> None:
        for awaited in list(self._awaited):
            condition, done = awaited
            if condition():
                self._awaited.remove(awaited)
                if not done.called:
                    # Not from inside the event: what the test does next is a call of its own.
                    reactor.callLater(0, lambda done=done: done.called or done.callback(None))

    def spawned(self, pid: int) -> None:
        self._record("spawned", pid)

    def spawn_failed(self, reason: str) -> None:
        self._record("spawn_failed", reason)

    def output(self, stream: Stream, data: bytes) -> None:
        self._record("output", stream, data)

    def exited(self, outcome: Outcome) -> None:
        self._record("exited", outcome)

    def closed(self, stream: Stream) -> None:
        self._record("closed", stream)

    def drained(self) -> None:
        self._record("drained")

    def gone(self) -> None:
        self._record("gone")


class Runs:
    """I start workers and end those that a failed test leaves behind."""

    def __init__(self, spawner: ProcessSpawner) -> None:
        self.spawner = spawner
        self._started: list[tuple[ProcessWorker, Recorder]] = []

    def worker(self, *argv: str, **fields: Any) -> tuple[ProcessWorker, Recorder]:
        """Return a worker that is not started yet."""
        fields.setdefault("env", {"PATH": PATH})
        recorder = Recorder()
        spec = ProcessSpec(argv=argv, **fields)
        worker = ProcessWorker(self.spawner, spec, recorder, clock=reactor)
        self._started.append((worker, recorder))
        return worker, recorder

    def start(self, *argv: str, **fields: Any) -> tuple[ProcessWorker, Recorder]:
        worker, recorder = self.worker(*argv, **fields)
        worker.start()
        return worker, recorder

    def shell(self, script: str, **fields: Any) -> tuple[ProcessWorker, Recorder]:
        return self.start("/bin/sh", "-c", script, **fields)

    async def output_of(self, *argv: str, **fields: Any) -> bytes:
        """Run a program to its end and return its standard output; standard error must be empty."""
        _, recorder = self.start(*argv, **fields)
        await recorder.until(lambda: recorder.names[-1:] in (["gone"], ["spawn_failed"]))
        assert recorder.names[-1] == "gone", recorder.failure
        assert recorder.data("stderr") == b""
        return recorder.data()

    async def failure_of(self, *argv: str, **fields: Any) -> str:
        _, recorder = self.start(*argv, **fields)
        await recorder.until(lambda: bool(recorder.events))
        assert recorder.names == ["spawn_failed"]
        return recorder.failure

    async def end(self) -> None:
        for worker, recorder in self._started:
            if "spawned" in recorder.names and "gone" not in recorder.names:
                worker.kill()
                worker.close_output()
                await recorder.seen("gone")
        self.spawner.close()


def is_alive(pid: int) -> bool:
    """Return whether ``pid`` exists and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def zombies() -> list[int]:
    """Return our own unreaped children."""
    children = [path.read_text() for path in Path("/proc/self/task").glob("*/children")]
    return [pid for pid in map(int, " ".join(children).split()) if not is_alive(pid)]


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait for something that no event tells of, looking again every 10 ms."""
    deadline = reactor.seconds() + PATIENCE
    while not condition():
        assert reactor.seconds() < deadline, "waited in vain"
        turn: Deferred[None] = Deferred()
        reactor.callLater(0.01, turn.callback, None)
        await turn


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
