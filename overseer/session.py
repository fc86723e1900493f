"""One client: its requests in their order, and what it is answered.

A session knows no transport: it is fed the bytes of messages and writes frames into its outbox. Requests are
worked off for a few milliseconds at a time, so that a burst from one client delays nobody else, and not at
all while the client leaves its answers unread.
"""

from collections import deque
from collections.abc import Callable

import msgspec
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from overseer.core.durations import parse_duration
from overseer.core.pool import PoolSettings
from overseer.core.retry import PartialRetryPolicy
from overseer.core.tokens import Role
from overseer.lifecycle import interaction, views
from overseer.lifecycle.requests import RequestError, Starter
from overseer.lifecycle.subscriptions import EVERY_TASK
from overseer.lifecycle.supervisor import Supervisor
from overseer.lifecycle.task import Task
from overseer.protocol.batch import Batch
from overseer.protocol.codec import BadRequest, decode_request, encode_message
from overseer.protocol.frames import text_frame
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
    tag_of,
)
from overseer.protocol.outbox import Outbox

TURN = 0.005
"""Seconds that one client's requests may take before others get their turn."""
BACKLOG_SIZE = 256 * 1024
"""Bytes of requests that may wait; more is not read from the client."""


class Session:
    """One connected client.

    :param manifest: gives the manifest as JSON.
    :param read_requests: told whether more requests may be read from the client.
    :param role: what the client may ask for; held here, so that it holds over every transport.
    """

    _log = Logger()

    def __init__(
        self,
        supervisor: Supervisor,
        outbox: Outbox,
        clock: IReactorTime,
        manifest: Callable[[], bytes],
        read_requests: Callable[[bool], object],
        *,
        role: Role,
    ) -> None:
        self._role = role
        self._supervisor = supervisor
        self._outbox = outbox
        self._clock = clock
        self._manifest = manifest
        self._read_requests = read_requests
        self._requests: deque[bytes] = deque()
        self._backlog_size = 0
        self._reading = True
        self._turn: IDelayedCall | None = None
        self._looking_up = False
        """Whether an answer comes from the disk: later requests wait, so that answers keep their order."""
        self._closed = False
        self._finished: Callable[[], object] | None = None
        supervisor.announcements.join(outbox)

    def receive(self, data: bytes) -> None:
        """Take one message from the client."""
        self._requests.append(data)
        self._backlog_size += len(data)
        if self._turn is None and not self._looking_up:
            self._turn = self._clock.callLater(0, self._work)
        self._regulate()

    def outbox_changed(self) -> None:
        """The client has taken something: go on if it was too far behind."""
        if self._requests and self._turn is None and not self._closed and not self._looking_up:
            self._turn = self._clock.callLater(0, self._work)

    def finish(self, finished: Callable[[], object]) -> None:
        """No more requests come: call ``finished`` once those that came are worked off."""
        self._finished = finished
        self._check_finished()

    def close(self) -> None:
        """The client is gone."""
        self._closed = True
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        self._requests.clear()
        self._outbox.close()
        self._supervisor.disconnect(self._outbox)

    def _work(self) -> None:
        self._turn = None
        end = self._clock.seconds() + TURN
        while self._requests and not self._outbox.owes_much and not self._looking_up:
            data = self._requests.popleft()
            self._backlog_size -= len(data)
            self._handle(data)
            if self._closed:
                return
            if self._requests and not self._looking_up and self._clock.seconds() >= end:
                self._turn = self._clock.callLater(0, self._work)
                break
        self._regulate()
        self._check_finished()

    def _check_finished(self) -> None:
        if self._finished is not None and not self._requests and not self._looking_up:
            self._finished()

    def _regulate(self) -> None:
        reading = self._backlog_size <= BACKLOG_SIZE
        if reading != self._reading:
            self._reading = reading
            self._read_requests(reading)

    def _handle(self, data: bytes) -> None:
        try:
            request = decode_request(data)
        except BadRequest as error:
            self._count("", "error")
            self._send(Error(error.id, error.message))
            return
        kind = tag_of(type(request))
        if self._role != "admin" and not request.for_viewers:
            self._count(kind, "error")
            reason = f'not permitted: "{kind}" needs the role admin'
            self._send(Error(request.id, f"{reason}, this client is a {self._role}"))
            return
        try:
            _HANDLERS[type(request)](self, request)
        except RequestError as error:
            self._count(kind, "error")
            self._send(Error(request.id, error.message, error.existing_task_id))
        except Exception:
            self._count(kind, "error")
            self._log.failure("request {kind} failed", kind=kind)
            self._send(Error(request.id, "internal error: see the log of the daemon"))
        else:
            self._count(kind, "ok")

    def _count(self, kind: str, result: str) -> None:
        self._supervisor.counters.requests[kind, result] += 1

    def _send(self, message: Message) -> None:
        if self._closed:
            return
        self._outbox.send_paced(text_frame(encode_message(message)))

    # -------------------------------------------------------------------------------- the requests

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
            lost=lambda reason: self._send(Error(request.id, reason)),
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
        self._send(Tasks(request.id, [views.task_info(task) for task in tasks]))

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
            self._send(Subscribed(request.id, task_id, tasks=tasks))
            return
        ring = task.ring
        self._send(
            Subscribed(request.id, task_id, task.record.epoch, ring.first_seq, ring.last_seq, tasks)
        )
        if request.since_seq is not None:
            self._resume(task, request.since_seq, request.epoch)

    def _unsubscribe(self, request: Unsubscribe) -> None:
        self._supervisor.unsubscribe(self._outbox, request.task_id)
        self._send(Unsubscribed(request.id, request.task_id))

    def _describe(self, request: Describe) -> None:
        supervisor = self._supervisor
        names = [request.action] if request.action is not None else supervisor.actions
        self._send(Actions(request.id, [views.action_info(supervisor, name) for name in names]))

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
        self._send(Purged(id=request.id, action=request.action, count=count))

    def _metrics(self, request: Metrics) -> None:
        supervisor = self._supervisor
        counters = supervisor.counters
        if request.task_id is not None:
            task = views.task_metrics(supervisor.task(request.task_id), supervisor.now())
            self._send(MetricsResponse(request.id, task=task))
        elif request.action is not None:
            supervisor.action(request.action)
            action = views.action_metrics(counters.of(request.action))
            self._send(MetricsResponse(request.id, action=action))
        else:
            self._send(MetricsResponse(request.id, global_=views.global_metrics(counters)))

    def _history(self, request: History) -> None:
        history = self._supervisor.history
        if history is None:
            raise RequestError('there is no history: the configuration has no "db"')
        self._looking_up = True
        page = history.page(views.run_query(request), statistics=request.statistics)
        page.addCallback(lambda page: self._send(views.history(request.id, page)))
        page.addErrback(lambda failure: self._tell_unreadable(request.id, failure))
        page.addBoth(self._looked_up)

    def _tell_unreadable(self, request_id: str, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, ValueError):
            self._send(Error(request_id, f"before: {error}"))
            return
        self._log.warn("the history cannot be read: {reason}", reason=error)
        self._send(Error(request_id, "the history cannot be read now: see the log of the daemon"))

    def _looked_up(self, _done: None) -> None:
        self._looking_up = False
        if not self._closed:
            self.outbox_changed()
            self._check_finished()

    def _tell_manifest(self, request: Manifest) -> None:
        self._send(ManifestResponse(request.id, msgspec.Raw(self._manifest())))

    # ------------------------------------------------------------------------------------- helpers

    def _starter(self, request_id: str) -> Starter:
        return Starter(
            request_id=request_id,
            subscriber=self._outbox,
            fail=lambda reason: self._send(Error(request_id, reason)),
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
        self._send(PoolInfoResponse(id=request_id, action=action, pool=pool, pools=pools))

    def _resume(self, task: Task, since_seq: int, epoch: str | None) -> None:
        ring = task.ring
        if (epoch is not None and epoch != task.record.epoch) or since_seq > ring.last_seq:
            since_seq = 0
        first = ring.first_seq
        if first > since_seq + 1:
            self._send(Lagged(task.record.task_id, since_seq + 1, first - 1, first - since_seq - 1))
        self._send_buffered(ring.after(since_seq))

    def _send_buffered(self, batches: list[Batch]) -> None:
        for batch in batches:
            self._outbox.tell_gap(batch.task_id)
            self._outbox.send_paced(batch.frames)

    def _acknowledge(self, request_id: str, task_id: str) -> None:
        task = self._supervisor.find(task_id)
        self._send(Ack(request_id, task_id, None if task is None else task.record.last_seq))


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


_HANDLERS: dict[type[Request], Callable[..., None]] = {
    Start: Session._start,
    Stop: Session._stop,
    Restart: Session._restart,
    Reset: Session._reset,
    Input: Session._input,
    Signal: Session._signal,
    Resize: Session._resize,
    List: Session._list,
    Replay: Session._replay,
    Subscribe: Session._subscribe,
    Unsubscribe: Session._unsubscribe,
    Describe: Session._describe,
    PoolInfoRequest: Session._pool_info,
    SetPool: Session._set_pool,
    Purge: Session._purge,
    Metrics: Session._metrics,
    History: Session._history,
    Manifest: Session._tell_manifest,
}
