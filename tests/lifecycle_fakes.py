"""What the lifecycle layer works with, as tests want it: workers that do as they are told, readers
that remember everything, and a whole supervisor on a clock that stands still."""

import json
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from overseer.core.dependencies import Dependency
from overseer.core.pool import PoolSettings
from overseer.core.process import Outcome, Stream
from overseer.core.readiness import ProbeError, ReadinessProbe
from overseer.core.retry import Layer, PartialRetryPolicy
from overseer.core.timestamps import format_timestamp
from overseer.core.worker import WorkerError, WorkerEvents
from overseer.drivers.interfaces import (
    Action,
    ActionHandler,
    ValidationError,
    WorkerCallbacks,
)
from overseer.lifecycle.readiness import Look
from overseer.lifecycle.requests import RequestError, Starter
from overseer.lifecycle.restorable import TaskArchive
from overseer.lifecycle.subscriptions import Subscriptions
from overseer.lifecycle.supervisor import Defaults, OnDuplicate, Retention, Supervisor
from overseer.lifecycle.surroundings import Surroundings
from overseer.lifecycle.views import global_metrics, task_info
from overseer.protocol.batch import Batch
from overseer.protocol.messages import GlobalMetrics, TaskInfo

EPOCH = 1_700_000_000_000_000
LINE_SIZE = 1024

Message = dict[str, Any]


def decode_frames(frames: bytes) -> list[Message]:
    """Take frames apart by the rules of RFC 6455 section 5.2, independently of overseer's own code."""
    messages = []
    while frames:
        size, start = frames[1], 2
        if size == 126:
            size, start = int.from_bytes(frames[2:4], "big"), 4
        elif size == 127:
            size, start = int.from_bytes(frames[2:10], "big"), 10
        messages.append(json.loads(frames[start : start + size]))
        frames = frames[start + size :]
    return messages


# ------------------------------------------------------------------------------- expected messages


def moment(seconds: float) -> str:
    """What ``ts`` says ``seconds`` after the beginning of a test."""
    return format_timestamp(EPOCH + int(seconds * 1_000_000))


def started(
    task_id: str,
    pid: int,
    *,
    request_id: str = "",
    restart_of: int | None = None,
    at: float = 0.0,
) -> Message:
    message = {
        "type": "started",
        "id": request_id,
        "task_id": task_id,
        "pid": pid,
        "ts": moment(at),
    }
    if restart_of is not None:
        message["restart_of"] = restart_of
    return message


def output(
    task_id: str, pid: int, seq: int, data: str, *, stream: Stream = "stdout", at: float = 0.0
) -> Message:
    return {
        "type": "output",
        "task_id": task_id,
        "pid": pid,
        "stream": stream,
        "data": data,
        "ts": moment(at),
        "seq": seq,
    }


def exited(
    task_id: str,
    pid: int,
    outcome: Outcome,
    *,
    intentional: bool = False,
    reason: str | None = None,
    at: float = 0.0,
) -> Message:
    message = {
        "type": "exited",
        "task_id": task_id,
        "pid": pid,
        "exit_code": outcome.exit_code,
        "intentional": intentional,
        "ts": moment(at),
    }
    if outcome.signal is not None:
        message["signal"] = outcome.signal
    if reason is not None:
        message["reason"] = reason
    return message


def restarting(
    task_id: str, pid: int, attempt: int, *, delay: str = "1s", at: float = 0.0
) -> Message:
    return {
        "type": "restarting",
        "task_id": task_id,
        "pid": pid,
        "restart_delay": delay,
        "attempt": attempt,
        "ts": moment(at),
    }


def errored(task_id: str, pid: int, *, exits: int = 0, at: float = 0.0) -> Message:
    """Errored after so many exits; without any, because the process does not end."""
    message = {
        "type": "errored",
        "task_id": task_id,
        "pid": pid,
        "exit_count": exits,
        "ts": moment(at),
    }
    return message if exits else {**message, "reason": "unkillable"}


def queued(
    task_id: str, position: int, *, action: str = "sleep", request_id: str = "", at: float = 0.0
) -> Message:
    return {
        "type": "queued",
        "id": request_id,
        "task_id": task_id,
        "action": action,
        "position": position,
        "ts": moment(at),
    }


def dequeued(task_id: str, reason: str, *, at: float = 0.0) -> Message:
    return {"type": "dequeued", "task_id": task_id, "reason": reason, "ts": moment(at)}


def error(request_id: str, message: str) -> Message:
    return {"type": "error", "id": request_id, "message": message}


# ------------------------------------------------------------------------------------------- fakes


class Reader:
    """A subscriber that remembers what it received and is as slow as a test says."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.behind = False
        self.stalled = False
        self.progress = 0
        self.waiting: list[Callable[[], object]] = []

    def send_batch(self, batch: Batch) -> None:
        self.messages += decode_frames(batch.frames)

    def when_caught_up(self, callback: Callable[[], object]) -> None:
        self.waiting.append(callback)

    def forget(self, callback: Callable[[], object]) -> None:
        if callback in self.waiting:
            self.waiting.remove(callback)

    def catch_up(self) -> None:
        """Take everything that waits."""
        self.behind = False
        self.stalled = False
        self.progress += 1
        waiting, self.waiting = self.waiting, []
        for callback in waiting:
            callback()

    def take(self) -> list[Message]:
        """Return what was received since the last call."""
        messages, self.messages = self.messages, []
        return messages


class BrokenReader(Reader):
    """A subscriber that fails whenever it is sent something."""

    def send_batch(self, batch: Batch) -> None:
        raise RuntimeError("the reader is broken")


class FakeWorker:
    """A worker that remembers what was asked of it and lives as a test says.

    ``phase`` is ``new``, ``failed``, ``running``, ``exited``, ``drained`` or ``gone``.
    """

    def __init__(self, task_id: str, params: Mapping[str, str], events: WorkerEvents) -> None:
        self.task_id = task_id
        self.params = params
        self.calls: list[str | tuple[object, ...]] = ["start"]
        self.receipts: list[tuple[Callable[[], object], Callable[[str], object]]] = []
        self.refusal = ""
        self.phase = "new"
        self._events = events

    @property
    def alive(self) -> bool:
        """Whether something of it is alive, or about to be."""
        return self.phase not in ("failed", "gone")

    # ------------------------------------------------------------------------------ what is asked

    def terminate(self, grace: float) -> None:
        self.calls.append(("terminate", grace))

    def kill(self) -> None:
        self.calls.append("kill")

    def pause_output(self) -> None:
        self.calls.append("pause_output")

    def resume_output(self) -> None:
        self.calls.append("resume_output")

    def close_output(self) -> None:
        self.calls.append("close_output")

    def write_input(
        self, data: bytes, taken: Callable[[], object], lost: Callable[[str], object]
    ) -> None:
        self._interact("write_input", data)
        self.receipts.append((taken, lost))

    def end_input(self) -> None:
        self.calls.append("end_input")

    def signal(self, number: int) -> None:
        self._interact("signal", number)

    def resize(self, rows: int, columns: int) -> None:
        self._interact("resize", rows, columns)

    def _interact(self, *call: object) -> None:
        if self.refusal:
            raise WorkerError(self.refusal)
        self.calls.append(call)

    # ------------------------------------------------------------------------------- what happens

    def spawn(self, pid: int) -> None:
        """The process runs now."""
        self.phase = "running"
        self._events.spawned(pid)

    def fail(self, reason: str) -> None:
        """The process could not be started."""
        self.phase = "failed"
        self._events.spawn_failed(reason)

    def write(self, data: bytes, stream: Stream = "stdout") -> None:
        """The process, or a leftover of it, writes."""
        self._events.output(stream, data)

    def exit(self, outcome: Outcome) -> None:
        """The main process ends; a leftover may hold the pipes."""
        self.phase = "exited"
        self._events.exited(outcome)

    def drain(self) -> None:
        """The pipes are at their end."""
        self.phase = "drained"
        self._events.closed("stdout")
        self._events.closed("stderr")
        self._events.drained()

    def vanish(self) -> None:
        """The last leftover ends."""
        self.phase = "gone"
        self._events.gone()

    def end(self, outcome: Outcome) -> None:
        """All of it ends at once, as with most programs."""
        self.exit(outcome)
        self.drain()
        self.vanish()

    def finish(self) -> None:
        """Come to the end from wherever it is."""
        if self.phase == "new":
            self.fail("the test is over")
        if self.phase == "running":
            self.exit(Outcome(0))
        if self.phase == "exited":
            self.drain()
        if self.phase == "drained":
            self.vanish()


class FakeSettings:
    """What a test configures of an action."""

    type = "fake"
    description = ""

    def __init__(self, name: str, pool: PoolSettings | None = None) -> None:
        self.name = name
        self.stop_grace = 5.0
        self.backpressure = "hold"
        self.replay_buffer: int | None = None
        self.timeout = 0.0
        self.idle_timeout = 0.0
        self.retry: Layer = PartialRetryPolicy()
        self.task_pool = pool or PoolSettings()
        self.dedupe_key: tuple[str, ...] = ()
        self.autostart = False
        self.depends_on: tuple[Dependency, ...] = ()
        self.readiness: ReadinessProbe | None = None
        self.restore = self.cgroup = False


class FakeHandler(ActionHandler):
    """A handler whose runs are fake workers."""

    def __init__(self) -> None:
        self.filters: dict[Stream, Any] = {}
        self.workers: list[FakeWorker] = []
        self.broken = self.breaks_late = False

    def validate(self, params: Mapping[str, str]) -> Mapping[str, str]:
        if "wrong" in params:
            raise ValidationError("params.wrong: no such parameter")
        return {"seconds": "1", **params}

    def start(
        self, task_id: str, params: Mapping[str, str], callbacks: WorkerCallbacks
    ) -> FakeWorker:
        if self.broken:
            raise RuntimeError("the driver is broken")
        if params["seconds"] == "unrenderable":
            raise ValidationError("params.seconds: cannot be rendered")
        worker = FakeWorker(task_id, params, callbacks.events)
        self.workers.append(worker)
        callbacks.begun.append(worker)
        if self.breaks_late:
            raise RuntimeError("the driver is broken")
        return worker


def fake_action(settings: FakeSettings, handler: FakeHandler) -> Action:
    """Return an action of a test."""
    return Action(settings=settings, handler=handler, services=None)


def refusal(ask: Callable[[], object]) -> str:
    """Return the text with which a request is refused."""
    try:
        ask()
    except RequestError as refused:
        return refused.message
    return "not refused"


class World:
    """A supervisor with two actions, ``sleep`` and ``other``, at the beginning of time.

    ``pool`` is that of ``sleep``; ``random`` is what chance gives.
    """

    def __init__(
        self,
        retention: Retention | None = None,
        *,
        defaults: Defaults | None = None,
        pool: PoolSettings | None = None,
        archive: TaskArchive | None = None,
    ) -> None:
        self.clock = Clock()
        self.random = 0.0
        self.looks: list[tuple[Look, Deferred[None]]] = []
        self.settings = FakeSettings("sleep", pool)
        self.handler, self.other = FakeHandler(), FakeHandler()
        self.actions = {
            "sleep": fake_action(self.settings, self.handler),
            "other": fake_action(FakeSettings("other"), self.other),
        }
        numbers = count(1)
        self.supervisor = Supervisor(
            self.actions,
            Surroundings(
                clock=self.clock,
                now=self.now,
                random=lambda: self.random,
                subscriptions=Subscriptions(),
                line_size=LINE_SIZE,
                prober=self._look,
            ),
            Retention() if retention is None else retention,
            lambda: f"id-{next(numbers)}",
            defaults,
            archive=archive,
        )

    def _look(self, look: Look) -> Deferred[None]:
        self.looks.append((look, Deferred()))
        return self.looks[-1][1]

    def answer(self, reason: str = "") -> None:
        """Let the newest look at a task succeed, or fail for a reason."""
        _, found = self.looks[-1]
        if reason:
            found.errback(ProbeError(reason))
        else:
            found.callback(None)

    def now(self) -> int:
        return EPOCH + int(self.clock.seconds() * 1_000_000)

    def reader(self, task_id: str) -> Reader:
        """Return a new reader that is subscribed to ``task_id``."""
        reader = Reader()
        self.supervisor.subscribe(reader, task_id)
        return reader

    def client(self) -> Reader:
        """Return a new reader that is told what all connected clients are told."""
        reader = Reader()
        self.supervisor.announcements.join(reader)
        return reader

    def start(
        self,
        task_id: str | None = "a",
        reader: Reader | None = None,
        *,
        action: str = "sleep",
        request_id: str = "request",
        params: Mapping[str, str] | None = None,
        policy: PartialRetryPolicy | None = None,
        force: bool = False,
        on_duplicate: OnDuplicate = "error",
    ) -> str | None:
        """Ask for a start, as a client would whose messages ``reader`` receives."""
        return self.supervisor.start(
            action,
            task_id,
            params or {},
            self._starter(reader, request_id),
            policy=policy,
            force=force,
            on_duplicate=on_duplicate,
        )

    def reset(
        self, task_id: str = "a", reader: Reader | None = None, *, request_id: str = "reset"
    ) -> None:
        """Ask for a reset, as a client would whose messages ``reader`` receives."""
        self.supervisor.reset(task_id, self._starter(reader, request_id))

    def restart(
        self, task_id: str = "a", reader: Reader | None = None, *, request_id: str = "restart"
    ) -> None:
        """Ask for a restart, as a client would whose messages ``reader`` receives."""
        self.supervisor.restart(task_id, None, self._starter(reader, request_id))

    def _starter(self, reader: Reader | None, request_id: str) -> Starter:
        def fail(reason: str) -> None:
            if reader is not None:
                reader.messages.append(error(request_id, reason))

        return Starter(request_id=request_id, subscriber=reader, fail=fail)

    def run(self, task_id: str = "a", pid: int = 7, reader: Reader | None = None) -> FakeWorker:
        """Start a task and let its worker be spawned."""
        self.start(task_id, reader)
        self.worker.spawn(pid)
        return self.worker

    @property
    def worker(self) -> FakeWorker:
        """The newest worker of ``sleep``."""
        return self.handler.workers[-1]

    @property
    def workers(self) -> list[FakeWorker]:
        """All workers there ever were."""
        return [*self.handler.workers, *self.other.workers]

    def states(self) -> dict[str, str]:
        """Return the state of every task, as ``list`` tells it."""
        return {task.record.task_id: task.record.state for task in self.supervisor.select()}

    def infos(self) -> list[TaskInfo]:
        """Return what ``list`` tells."""
        return [task_info(task) for task in self.supervisor.select()]

    @property
    def metrics(self) -> GlobalMetrics:
        """What the daemon has counted, as ``metrics`` tells it."""
        return global_metrics(self.supervisor.counters)

    def settle(self) -> None:
        """Shut down and let every worker end; nothing may be left over afterwards."""
        ended: list[None] = []
        self.supervisor.shut_down().addCallback(ended.append)
        for worker in self.workers:
            worker.finish()
        assert ended == [None], "something is still alive"
        assert self.clock.getDelayedCalls() == []
        assert self.leftovers() == {}

    def leftovers(self) -> dict[str, object]:
        """Return what is remembered of tasks that run or wait: nothing, when there are none.

        The time at which finished tasks are forgotten does not count.
        """
        supervisor = self.supervisor
        prune = supervisor._finished._timer
        kept: dict[str, object] = {
            "timers": [call for call in self.clock.getDelayedCalls() if call is not prune],
            "alive": supervisor._alive,
            "tickets": supervisor._scheduler.admission._tickets,
            "unslotted": supervisor._scheduler.admission._unslotted,
            "duplicates": len(supervisor._duplicates),
            "running": supervisor.pools.info().running,
            "waiting": supervisor.pools.info().queue_depth,
            "unfinished": self.unfinished(),
        }
        return {name: value for name, value in kept.items() if value}

    def unfinished(self) -> int:
        """Return by how much the tasks that were started are more than those that have ended."""
        metrics = self.metrics
        return metrics.tasks_started - metrics.tasks_completed - metrics.tasks_errored
