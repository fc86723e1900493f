"""What each request does, and what its client is answered.

Whether a client may ask, and when it is its turn, is decided before: in ``session.py``.
"""

from collections.abc import Callable

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from overseer.core.durations import parse_duration
from overseer.core.pool import PoolSettings
from overseer.core.retry import PartialRetryPolicy
from overseer.lifecycle import interaction, views
from overseer.lifecycle.requests import RequestError, Starter
from overseer.lifecycle.subscriptions import EVERY_TASK
from overseer.lifecycle.supervisor import Supervisor
from overseer.lifecycle.task import Task
from overseer.protocol.batch import Batch
from overseer.protocol.messages import (
    Ack,
    Actions,
    Describe,
    Error,
    History,
    Input,
    Lagged,
    List,
    Manifest,
    ManifestResponse,
    Message,
    Metrics,
    MetricsResponse,
    PoolInfoRequest,
    PoolInfoResponse,
    Purge,
    Purged,
    Replay,
    Request,
    Reset,
    Resize,
    Restart,
    RetryPolicy,
    SetPool,
    Signal,
    Start,
    Stop,
    Subscribe,
    Subscribed,
    TaskInfo,
    Tasks,
    Unsubscribe,
    Unsubscribed,
)
from overseer.protocol.outbox import Outbox


class RequestHandlers:
    """Does what one client asks for.

    :param outbox: what the client's subscriptions are for, and where what is replayed goes.
    :param tell: told every answer.
    :param manifest: gives the manifest as JSON.
    """

    _log = Logger()

    def __init__(
        self,
        supervisor: Supervisor,
        outbox: Outbox,
        tell: Callable[[Message], None],
        manifest: Callable[[], bytes],
    ) -> None:
        self._supervisor = supervisor
        self._outbox = outbox
        self._tell = tell
        self._manifest = manifest

    def handle(self, request: Request) -> Deferred[None] | None:
        """Do what a request asks for; where its answer comes later, what is returned fires then.

        :raises RequestError: when it cannot be done.
        """
        return _HANDLERS[type(request)](self, request)

    def _start(self, request: Start) -> None:
        self._supervisor.start(
            request.action,
            request.task_id,
            request.params or {},
            self._starter(request.id),
            policy=None if request.retry_policy is None else _policy(request.retry_policy),
            force=request.force,
            on_duplicate=request.on_duplicate,
        )

    def _stop(self, request: Stop) -> None:
        self._supervisor.stop(request.task_id, request.grace)
        if request.ack:
            self._acknowledge(request.id, request.task_id)

    def _restart(self, request: Restart) -> None:
        self._supervisor.restart(request.task_id, request.grace, self._starter(request.id))

    def _reset(self, request: Reset) -> None:
        self._supervisor.reset(request.task_id, self._starter(request.id))

    def _input(self, request: Input) -> None:
        interaction.give_input(
            self._supervisor.task(request.task_id),
            request,
            taken=lambda: self._acknowledge(request.id, request.task_id),
            lost=lambda reason: self._tell(Error(request.id, reason)),
        )

    def _signal(self, request: Signal) -> None:
        interaction.send_signal(self._supervisor.task(request.task_id), request)
        self._acknowledge(request.id, request.task_id)

    def _resize(self, request: Resize) -> None:
        interaction.resize_terminal(self._supervisor.task(request.task_id), request)
        self._acknowledge(request.id, request.task_id)

    def _list(self, request: List) -> None:
        tasks = self._supervisor.select(
            since=request.since, action=request.action, state=request.state, limit=request.limit
        )
        self._tell(Tasks(request.id, [views.task_info(task) for task in tasks]))

    def _replay(self, request: Replay) -> None:
        task = self._supervisor.task(request.task_id)
        batches = (
            task.ring.snapshot()
            if request.since_seq is None
            else task.ring.after(request.since_seq)
        )
        if request.since is not None:
            batches = [batch for batch in batches if batch.time >= request.since]
        self._send_buffered(batches)
        if request.ack:
            self._acknowledge(request.id, request.task_id)

    def _subscribe(self, request: Subscribe) -> None:
        task_id = request.task_id
        if task_id == EVERY_TASK and request.since_seq is not None:
            raise RequestError('since_seq: not with task_id "*"')
        self._supervisor.subscribe(self._outbox, task_id, output=request.output)
        self._outbox.tell_gap(task_id)  # of an earlier subscription: what follows may fill it
        task = self._supervisor.find(task_id)
        tasks = self._snapshot(task_id) if request.snapshot else None
        if task is None:
            self._tell(Subscribed(request.id, task_id, tasks=tasks))
            return
        ring = task.ring
        self._tell(
            Subscribed(request.id, task_id, task.record.epoch, ring.first_seq, ring.last_seq, tasks)
        )
        if request.since_seq is not None:
            self._resume(task, request.since_seq, request.epoch)

    def _unsubscribe(self, request: Unsubscribe) -> None:
        self._supervisor.unsubscribe(self._outbox, request.task_id)
        self._tell(Unsubscribed(request.id, request.task_id))

    def _describe(self, request: Describe) -> None:
        supervisor = self._supervisor
        names = [request.action] if request.action is not None else supervisor.actions
        self._tell(Actions(request.id, [views.action_info(supervisor, name) for name in names]))

    def _pool_info(self, request: PoolInfoRequest) -> None:
        self._tell_pool(request.id, request.action)

    def _set_pool(self, request: SetPool) -> None:
        given = (request.size, request.limit, request.queue_size, request.excess)
        if all(value is None for value in given):
            raise RequestError("size, queue_size or excess is required")
        if None not in (request.size, request.limit) and request.size != request.limit:
            raise RequestError("limit: is another name of size and disagrees with it")
        keys: dict[str, object] = {
            "size": request.size,
            "limit": request.limit,
            "queue_size": request.queue_size,
        }
        excess = request.excess
        if excess is not None:
            keys["excess"] = {
                "action": excess.action or "none",
                "order": excess.order or None,
                "grace": excess.grace,
            }
        supervisor = self._supervisor
        supervisor.set_pool(request.action, PoolSettings.from_keys(keys))
        self._tell_pool(request.id, request.action)
        supervisor.announcements.pool_updated(
            request.action, views.pool_info(supervisor, request.action)
        )

    def _purge(self, request: Purge) -> None:
        count = self._supervisor.purge(request.action)
        self._tell(Purged(id=request.id, action=request.action, count=count))

    def _metrics(self, request: Metrics) -> None:
        supervisor = self._supervisor
        counters = supervisor.counters
        if request.task_id is not None:
            task = views.task_metrics(supervisor.task(request.task_id), supervisor.now())
            self._tell(MetricsResponse(request.id, task=task))
        elif request.action is not None:
            supervisor.action(request.action)
            action = views.action_metrics(counters.of(request.action))
            self._tell(MetricsResponse(request.id, action=action))
        else:
            self._tell(MetricsResponse(request.id, global_=views.global_metrics(counters)))

    def _history(self, request: History) -> Deferred[None]:
        history = self._supervisor.history
        if history is None:
            raise RequestError('there is no history: the configuration has no "db"')
        page = history.page(views.run_query(request), statistics=request.statistics)
        answered = page.addCallback(lambda page: self._tell(views.history(request.id, page)))
        return answered.addErrback(lambda failure: self._tell_unreadable(request.id, failure))

    def _tell_unreadable(self, request_id: str, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, ValueError):
            self._tell(Error(request_id, f"before: {error}"))
            return
        self._log.warn("the history cannot be read: {reason}", reason=error)
        self._tell(Error(request_id, "the history cannot be read now: see the log of the daemon"))

    def _tell_manifest(self, request: Manifest) -> None:
        self._tell(ManifestResponse(request.id, msgspec.Raw(self._manifest())))

    # ------------------------------------------------------------------------------------- helpers

    def _starter(self, request_id: str) -> Starter:
        return Starter(
            request_id=request_id,
            subscriber=self._outbox,
            fail=lambda reason: self._tell(Error(request_id, reason)),
        )

    def _snapshot(self, task_id: str) -> list[TaskInfo]:
        if task_id == EVERY_TASK:
            return [views.task_info(task) for task in self._supervisor.select()]
        task = self._supervisor.find(task_id)
        return [] if task is None else [views.task_info(task)]

    def _tell_pool(self, request_id: str, action: str | None) -> None:
        supervisor = self._supervisor
        pools = None
        if action is None:
            pools = {name: views.pool_info(supervisor, name) for name in supervisor.actions}
        else:
            supervisor.action(action)
        pool = views.pool_info(supervisor, action)
        self._tell(PoolInfoResponse(id=request_id, action=action, pool=pool, pools=pools))

    def _resume(self, task: Task, since_seq: int, epoch: str | None) -> None:
        ring = task.ring
        if (epoch is not None and epoch != task.record.epoch) or since_seq > ring.last_seq:
            since_seq = 0
        first = ring.first_seq
        if first > since_seq + 1:
            self._tell(Lagged(task.record.task_id, since_seq + 1, first - 1, first - since_seq - 1))
        self._send_buffered(ring.after(since_seq))

    def _send_buffered(self, batches: list[Batch]) -> None:
        for batch in batches:
            self._outbox.tell_gap(batch.task_id)
            self._outbox.send_paced(batch.frames)

    def _acknowledge(self, request_id: str, task_id: str) -> None:
        task = self._supervisor.find(task_id)
        self._tell(Ack(request_id, task_id, None if task is None else task.record.last_seq))


def _policy(given: RetryPolicy) -> PartialRetryPolicy:
    """Return the policy of a request; its fields were checked when it was decoded."""

    def seconds(text: str | None) -> float | None:
        return None if text is None else parse_duration(text)

    return PartialRetryPolicy(
        restart_delay=seconds(given.restart_delay),
        restart_jitter=seconds(given.restart_jitter),
        error_window=seconds(given.error_window),
        error_threshold=given.error_threshold,
    )


_HANDLERS: dict[type[Request], Callable[..., Deferred[None] | None]] = {
    Start: RequestHandlers._start,
    Stop: RequestHandlers._stop,
    Restart: RequestHandlers._restart,
    Reset: RequestHandlers._reset,
    Input: RequestHandlers._input,
    Signal: RequestHandlers._signal,
    Resize: RequestHandlers._resize,
    List: RequestHandlers._list,
    Replay: RequestHandlers._replay,
    Subscribe: RequestHandlers._subscribe,
    Unsubscribe: RequestHandlers._unsubscribe,
    Describe: RequestHandlers._describe,
    PoolInfoRequest: RequestHandlers._pool_info,
    SetPool: RequestHandlers._set_pool,
    Purge: RequestHandlers._purge,
    Metrics: RequestHandlers._metrics,
    History: RequestHandlers._history,
    Manifest: RequestHandlers._tell_manifest,
}
