"""Fakes for the tests of drivers: a driver runs as in a daemon, but on a clock that the test moves.

>>> action = make_action(MyFactory(), {"folder": "/tmp"})
>>> run = action.start({"file": "a.mp4"})
>>> run.reactor.advance(1.0)
>>> run.lines("stdout"), run.exit_code
(['a.mp4 done'], 0)

No process is spawned: one that a driver starts is a :class:`ScriptedProcess`, and the test says what it prints
and how it ends. Threads are real ones; :meth:`FakeReactor.wait_for` lets them work.
"""

import queue
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import yaml
from twisted.internet.task import Clock
from zope.interface import implementer

from overseer.core.config import ConfigError, load_config
from overseer.core.process import Outcome, ProcessSpec, Stream
from overseer.core.worker import Uninteractive, Worker, WorkerEvents
from overseer.drivers.interfaces import Action, ActionHandlerFactory, DriverServices, IDriverReactor
from overseer.drivers.registry import Drivers

PATIENCE = 10.0
"""Seconds that a test waits for a thread."""


@implementer(IDriverReactor)
class FakeReactor(Clock):
    """A clock that stands still until :meth:`advance`; what threads ask for happens in :meth:`wait_for`."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()

    def callFromThread(self, callable: Callable[..., Any], *args: object, **kwargs: object) -> None:
        """Call a function in :meth:`wait_for`."""
        self._calls.put(lambda: callable(*args, **kwargs))

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Do what threads ask for until ``condition()`` is true.

        :raises AssertionError: when nothing comes any more.
        """
        self.advance(0)
        while not condition():
            try:
                call = self._calls.get(timeout=PATIENCE)
            except queue.Empty:
                raise AssertionError("waited for a thread in vain") from None
            call()
            self.advance(0)


class ScriptedProcess(Uninteractive):
    """A process that a driver has started, and that lives as the test says.

    ``spec`` is what was to be run; ``stops`` are the graces of the stops that it was asked for, in seconds.
    """

    def __init__(self, spec: ProcessSpec, events: WorkerEvents, pid: int) -> None:
        self.spec = spec
        self.pid = pid
        self.stops: list[float] = []
        self._events = events

    def fails(self, reason: str) -> None:
        """Be a program that cannot be executed."""
        self._events.spawn_failed(reason)

    def runs(self) -> None:
        """Begin."""
        self._events.spawned(self.pid)

    def prints(self, *lines: str, stream: Stream = "stdout") -> None:
        """Print lines; they are dropped where the driver does not include the stream."""
        if stream in self.spec.dropped:
            return
        self._events.output(stream, "".join(f"{line}\n" for line in lines).encode())

    def exits(self, code: int = 0, signal: str | None = None) -> None:
        """End, with nothing left over."""
        self._events.exited(Outcome(code, signal))
        self._events.drained()
        self._events.gone()

    def terminate(self, grace: float) -> None:
        """Remember that a stop was asked for."""
        self.stops.append(grace)

    def kill(self) -> None:
        """Remember that it was to end at once."""
        self.stops.append(0.0)

    def pause_output(self) -> None:
        """See :class:`overseer.Worker`."""

    def resume_output(self) -> None:
        """See :class:`overseer.Worker`."""

    def close_output(self) -> None:
        """See :class:`overseer.Worker`."""


class FakeRun:
    """One run of an action, and everything that it has told; ``worker`` is what the driver has started."""

    worker: Worker

    def __init__(self, reactor: FakeReactor) -> None:
        self.reactor = reactor
        self.pid: int | None = None
        self.failure: str | None = None
        self.outcome: Outcome | None = None
        self.ended = False
        self._output: dict[Stream, bytes] = {"stdout": b"", "stderr": b""}

    @property
    def exit_code(self) -> int | None:
        """The exit code, None as long as it runs."""
        return None if self.outcome is None else self.outcome.exit_code

    def lines(self, stream: Stream) -> list[str]:
        """Return the lines of a stream so far."""
        return self._output[stream].decode("utf-8", "replace").split("\n")[:-1]

    def stop(self, grace: float = 5.0) -> None:
        """Stop it, as a client does."""
        self.worker.terminate(grace)
        self.reactor.advance(0)

    def wait(self) -> None:
        """Let the threads work until it has ended."""
        self.reactor.wait_for(lambda: self.ended)

    def spawned(self, pid: int) -> None:
        """See :class:`overseer.WorkerEvents`."""
        self.pid = pid

    def spawn_failed(self, reason: str) -> None:
        """See :class:`overseer.WorkerEvents`."""
        self.failure, self.ended = reason, True

    def output(self, stream: Stream, data: bytes) -> None:
        """See :class:`overseer.WorkerEvents`."""
        assert self.outcome is None or not self.ended, "output after the end"
        self._output[stream] += data

    def exited(self, outcome: Outcome) -> None:
        """See :class:`overseer.WorkerEvents`."""
        self.outcome = outcome

    def closed(self, stream: Stream) -> None:
        """See :class:`overseer.WorkerEvents`."""

    def drained(self) -> None:
        """See :class:`overseer.WorkerEvents`."""

    def gone(self) -> None:
        """See :class:`overseer.WorkerEvents`."""
        self.ended = True


@attrs.frozen
class FakeAction:
    """An action of a driver, with the processes that its runs have started."""

    action: Action
    reactor: FakeReactor
    processes: list[ScriptedProcess]

    def start(
        self, params: Mapping[str, str] | None = None, *, task_id: str = "task", attempt: int = 0
    ) -> FakeRun:
        """Start a run, as a client does.

        :raises overseer.ValidationError: when the parameters do not fit.
        """
        run = FakeRun(self.reactor)
        values = self.action.validate(params or {})
        run.worker = self.action.start(task_id, values, run, attempt=attempt)
        self.reactor.advance(0)
        return run


def make_action(
    factory: ActionHandlerFactory,
    config: Mapping[str, Any] | None = None,
    *,
    name: str = "action",
    environment: Mapping[str, str] | None = None,
    **keys: Any,
) -> FakeAction:
    """Return an action as it is configured with this ``config`` and these other ``keys`` of an action.

    :raises overseer.ConfigError: naming every key that does not fit, in ``config.yaml``.
    """
    drivers = Drivers([factory])
    written = {"actions": {name: {"type": factory.type, "config": dict(config or {}), **keys}}}
    loaded = load_config(yaml.safe_dump(written), "config.yaml", {}, drivers.check)
    reactor = FakeReactor()
    processes: list[ScriptedProcess] = []

    def start_process(spec: ProcessSpec, events: WorkerEvents) -> Worker:
        process = ScriptedProcess(spec, events, 1000 + len(processes))
        processes.append(process)
        return process

    services = DriverServices(
        start_process=start_process,
        reactor=reactor,
        environment=environment or {},
        instance="instance",
    )
    actions = drivers.create_actions(loaded.actions, services)
    return FakeAction(actions[name], reactor, processes)


def problems(
    factory: ActionHandlerFactory, config: Mapping[str, Any] | None = None, **keys: Any
) -> list[str]:
    """Return what the daemon would say of an action's configuration, without the place in the file."""
    try:
        make_action(factory, config, **keys)
    except ConfigError as error:
        return [str(problem).partition(": actions.action.")[2] for problem in error.problems]
    return []
