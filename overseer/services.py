"""Services: what drivers run in the background, for as long as their actions are configured.

Each runs as a virtual worker without a task: what it raises goes to the log, and after a while it is started
again. A reload ends those whose action has changed or gone, and the new one does not begin before.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from overseer.core.process import Outcome, Stream
from overseer.core.retry import RetryAfter, RetryPolicy, RetryState
from overseer.core.worker import Worker
from overseer.drivers.interfaces import Action, IDriverReactor, WorkerCallbacks
from overseer.drivers.services import ServiceHandler, Submission
from overseer.drivers.virtual import CoroutineRun, start_virtual_worker
from overseer.lifecycle.requests import RequestError, Starter
from overseer.lifecycle.supervisor import Supervisor

AGAIN = RetryPolicy(
    restart_on="failure", restart_delay=1.0, backoff=2.0, max_delay=60.0, stable_after=60.0
)
"""When a service that has failed is started again."""
_Result = TypeVar("_Result")


class Services:
    """The services of a daemon."""

    def __init__(
        self, reactor: IDriverReactor, supervisor: Supervisor, random: Callable[[], float]
    ) -> None:
        self._reactor = reactor
        self._supervisor = supervisor
        self._random = random
        self._wanted: dict[str, Action] = {}
        self._running: dict[str, _Service] = {}
        self._ended: Deferred[None] | None = None

    def run(self, actions: Mapping[str, Action]) -> None:
        """Run the services among ``actions`` and no others."""
        self._wanted = {
            name: action
            for name, action in actions.items()
            if isinstance(action.handler, ServiceHandler)
        }
        for name, service in list(self._running.items()):
            if self._wanted.get(name) is not service.action:
                service.stop()
        self._start_missing()

    def stop(self) -> Deferred[None]:
        """End all of them; fires when they have ended, the last ones when their grace is over."""
        ended = self._ended = Deferred()
        self.run({})
        self._check_ended()
        return ended

    def kill(self) -> None:
        """End all of them at once."""
        for service in list(self._running.values()):
            service.kill()

    def _start_missing(self) -> None:
        for name, action in self._wanted.items():
            if name not in self._running:
                self._running[name] = service = _Service(
                    action, self._reactor, self._supervisor, self._random, self._gone
                )
                service.start()

    def _gone(self, service: "_Service") -> None:
        del self._running[service.action.name]
        self._start_missing()
        self._check_ended()

    def _check_ended(self) -> None:
        if self._ended is not None and not self._running and not self._ended.called:
            self._ended.callback(None)


class _Service:
    """One service: what it tells goes to the log, and it is started again when it has failed."""

    _log = Logger(namespace="overseer.services")

    def __init__(
        self,
        action: Action,
        reactor: IDriverReactor,
        supervisor: Supervisor,
        random: Callable[[], float],
        gone: Callable[["_Service"], None],
    ) -> None:
        self.action = action
        self._reactor = reactor
        self._supervisor = supervisor
        self._random = random
        self._gone = gone
        self._retry = RetryState(AGAIN)
        self._outcome = Outcome(0)
        self._started_at = 0.0
        self._worker: Worker | None = None
        self._timer: IDelayedCall | None = None
        self._stopping = False

    def start(self) -> None:
        """Start it, in the next turn of the reactor."""
        self._timer = None
        callbacks = WorkerCallbacks(
            events=self, services=self.action.services, action=self.action.name
        )
        self._worker = start_virtual_worker(self.action.name, self._run, callbacks)

    def stop(self) -> None:
        """Cancel it; ``gone`` is told when it has ended."""
        if self._stopping:
            return
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
        if self._worker is not None:
            self._worker.terminate(self.action.settings.stop_grace)
        else:
            self._gone(self)

    def kill(self) -> None:
        """End it at once."""
        self.stop()
        if self._worker is not None:
            self._worker.kill()

    def log(self, text: str) -> None:
        """Log something about it."""
        self._log.warn("service {name}: {text}", name=self.action.name, text=text)

    async def _run(self, run: CoroutineRun) -> None:
        handler = self.action.handler
        assert isinstance(handler, ServiceHandler)
        await handler.run_service(_Submitter(run, self._reactor, self._supervisor))

    # ------------------------------------------------------------------------------ worker events

    def spawned(self, pid: int) -> None:
        """See :class:`~overseer.core.worker.WorkerEvents`."""
        self._started_at = self._reactor.seconds()
        if self._stopping and self._worker is not None:  # before it had begun
            self._worker.terminate(self.action.settings.stop_grace)

    def spawn_failed(self, reason: str) -> None:
        """See :class:`~overseer.core.worker.WorkerEvents`; a virtual worker never fails so."""

    def output(self, stream: Stream, data: bytes) -> None:
        """See :class:`~overseer.core.worker.WorkerEvents`."""
        for line in data.decode("utf-8", "replace").splitlines():
            self.log(line)

    def closed(self, stream: Stream) -> None:
        """See :class:`~overseer.core.worker.WorkerEvents`."""

    def exited(self, outcome: Outcome) -> None:
        """See :class:`~overseer.core.worker.WorkerEvents`."""
        self._outcome = outcome

    def drained(self) -> None:
        """See :class:`~overseer.core.worker.WorkerEvents`."""

    def gone(self) -> None:
        """See :class:`~overseer.core.worker.WorkerEvents`; it is started again if it has failed."""
        self._worker = None
        if self._stopping:
            self._gone(self)
            return
        verdict = self._retry.verdict(
            self._outcome,
            started_at=self._started_at,
            now=self._reactor.seconds(),
            random=self._random(),
        )
        if isinstance(verdict, RetryAfter):
            self.log(f"has failed, is started again in {verdict.delay:g} s")
            self._timer = self._reactor.callLater(verdict.delay, self.start)


class _Submitter:
    """See :class:`~overseer.drivers.services.Submitter`."""

    def __init__(self, run: CoroutineRun, reactor: IDriverReactor, supervisor: Supervisor) -> None:
        self.sleep = run.sleep
        self._reactor = reactor
        self._supervisor = supervisor

    async def submit(
        self,
        action: str,
        task_id: str,
        params: Mapping[str, str],
        *,
        wait: bool = False,
        receipt: str | None = None,
    ) -> Submission:
        """See :class:`~overseer.drivers.services.Submitter`."""
        told: Deferred[Submission] = Deferred()
        given = task_id

        def tell(submission: Submission) -> None:
            if not told.called:
                told.callback(submission)

        def began() -> None:
            tell(Submission("started", given))

        def rejected(reason: str) -> None:
            tell(Submission("rejected", given or None, reason))

        try:
            started = self._supervisor.start(
                action,
                task_id or None,
                params,
                Starter(fail=rejected, began=began, left=rejected, receipt=receipt),
            )
        except RequestError as error:
            return self._refused(task_id, error)
        given = started or task_id
        if not wait and self._supervisor.task(given).record.state == "queued":
            return Submission("queued", given)
        return await told

    def _refused(self, task_id: str, error: RequestError) -> Submission:
        existing = self._supervisor.find(task_id)
        if error.existing_task_id is not None:
            return Submission("duplicate", error.existing_task_id, error.message)
        if existing is not None and not existing.record.finished:
            return Submission("duplicate", task_id, error.message)
        return Submission("rejected", task_id or None, error.message)

    async def in_thread(self, function: Callable[[], _Result]) -> _Result:
        """See :class:`~overseer.drivers.services.Submitter`."""
        told: Deferred[_Result] = Deferred()

        def tell(deliver: Callable[[Any], None], result: Any) -> None:
            if not told.called:
                deliver(result)

        def call() -> None:
            try:
                result = function()
            except BaseException as error:
                self._reactor.callFromThread(tell, told.errback, error)
            else:
                self._reactor.callFromThread(tell, told.callback, result)

        # Not one of the reactor's pool: a file system that hangs must not hold up the end of the daemon.
        threading.Thread(target=call, name="overseer-service", daemon=True).start()
        return await told
