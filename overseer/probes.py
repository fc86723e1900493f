"""Looks at tasks to see whether they are ready: by a GET, a connection, or a program that ends with 0."""

# mypy: allow-untyped-calls

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from overseer.core.process import Outcome, Stream
from overseer.core.readiness import ExecCheck, HttpCheck, ProbeError, TcpCheck, port_number
from overseer.core.worker import Worker
from overseer.lifecycle.readiness import Look

if TYPE_CHECKING:
    from overseer.http_client import OutgoingHttp


class Probes:
    """Carries out single looks; :meth:`look` is a :data:`~overseer.lifecycle.readiness.Prober`."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._http: OutgoingHttp | None = None

    def look(self, look: Look) -> Deferred[None]:
        """Fire when the check has succeeded, fail with ProbeError when it has not within its timeout."""
        found = Deferred.fromCoroutine(self._check(look))
        found.addTimeout(look.timeout, self._reactor, _too_late)
        return found.addErrback(_in_words)

    async def _check(self, look: Look) -> None:
        match look.check:
            case HttpCheck():
                await self._ask(look.check, look.timeout)
            case TcpCheck(host=host, port=port):
                endpoint = HostnameEndpoint(self._reactor, host, port_number(port))
                connection = await connectProtocol(endpoint, Protocol())
                connection.transport.abortConnection()
            case ExecCheck(command=command):
                await _Command().run(look, command)

    async def _ask(self, check: HttpCheck, timeout: float) -> None:
        if self._http is None:
            from overseer.http_client import OutgoingHttp  # noqa: PLC0415  # for those who want it

            self._http = OutgoingHttp(self._reactor)
        status = await self._http.get(check.url, timeout)
        if status != check.status_code:
            raise ProbeError(f"status {status}")


class _Command:
    """One run of a program that tells by its exit code; implements WorkerEvents, and drops its output."""

    def __init__(self) -> None:
        self._done: Deferred[None] = Deferred(lambda _: self._kill())
        self._worker: Worker | None = None
        self._killed = False

    def run(self, look: Look, command: tuple[str, ...]) -> Deferred[None]:
        """Fire once it has ended with 0; it is killed when that is not waited for any more."""
        self._worker = look.action.start_probe(look.task_id, look.params, command, self)
        return self._done

    def spawned(self, pid: int) -> None:
        """See :class:`~overseer.core.worker.WorkerEvents`."""
        if self._killed:
            self._kill()

    def spawn_failed(self, reason: str) -> None:
        """See :class:`~overseer.core.worker.WorkerEvents`."""
        self._finish(reason)

    def output(self, stream: Stream, data: bytes) -> None:
        """See :class:`~overseer.core.worker.WorkerEvents`."""

    def exited(self, outcome: Outcome) -> None:
        """See :class:`~overseer.core.worker.WorkerEvents`."""
        how = outcome.signal or f"exit code {outcome.exit_code}"
        self._finish("" if outcome == Outcome(0) else how)
        if self._worker is not None:
            self._worker.close_output()

    def closed(self, stream: Stream) -> None:
        """See :class:`~overseer.core.worker.WorkerEvents`."""

    def drained(self) -> None:
        """See :class:`~overseer.core.worker.WorkerEvents`."""

    def gone(self) -> None:
        """See :class:`~overseer.core.worker.WorkerEvents`."""
        self._worker = None

    def _kill(self) -> None:
        self._killed = True
        if self._worker is not None:
            self._worker.kill()

    def _finish(self, reason: str) -> None:
        if self._done.called:
            return
        if reason:
            self._done.errback(ProbeError(reason))
        else:
            self._done.callback(None)


def _too_late(result: Failure | None, timeout: float) -> Failure | None:
    if isinstance(result, Failure):
        result.trap(CancelledError)
        raise ProbeError(f"no answer within {timeout:g} s")
    return result


def _in_words(failure: Failure) -> None:
    if failure.check(CancelledError, ProbeError):
        failure.raiseException()
    raise ProbeError(str(failure.value) or type(failure.value).__name__)
