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

from overseer.core.tokens import Role
from overseer.lifecycle.subscriptions import EVERY_TASK
from overseer.lifecycle.supervisor import RequestError, Supervisor
from overseer.lifecycle.task import Starter, Task
from overseer.protocol.batch import Batch
from overseer.protocol.codec import BadRequest, decode_request, encode_message
from overseer.protocol.frames import text_frame
from overseer.protocol.messages import (
    Ack,
    Actions,
    Describe,
    Error,
    Lagged,
    List,
    Manifest,
    ManifestResponse,
    Message,
    Replay,
    Request,
    Start,
    Stop,
    Subscribe,
    Subscribed,
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
        self._closed = False
        self._finished: Callable[[], object] | None = None

    def receive(self, data: bytes) -> None:
        """Take one message from the client."""
        self._requests.append(data)
        self._backlog_size += len(data)
        if self._turn is None:
            self._turn = self._clock.callLater(0, self._work)
        self._regulate()

    def outbox_changed(self) -> None:
        """The client has taken something: go on if it was too far behind."""
        if self._requests and self._turn is None and not self._closed:
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
        while self._requests and not self._outbox.owes_much:
            data = self._requests.popleft()
            self._backlog_size -= len(data)
            self._handle(data)
            if self._closed:
                return
            if self._requests and self._clock.seconds() >= end:
                self._turn = self._clock.callLater(0, self._work)
                break
        self._regulate()
        self._check_finished()

    def _check_finished(self) -> None:
        if self._finished is not None and not self._requests:
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
            self._send(Error(error.id, error.message))
            return
        if self._role != "admin" and not request.for_viewers:
            reason = f'not permitted: "{tag_of(type(request))}" needs the role admin'
            self._send(Error(request.id, f"{reason}, this client is a {self._role}"))
            return
        try:
            _HANDLERS[type(request)](self, request)
        except RequestError as error:
            self._send(Error(request.id, error.message, error.existing_task_id))
        except Exception:
            self._log.failure("request {kind} failed", kind=type(request).__name__)
            self._send(Error(request.id, "internal error: see the log of the daemon"))

    def _send(self, message: Message) -> None:
        self._outbox.send_paced(text_frame(encode_message(message)))

    # -------------------------------------------------------------------------------- the requests

    def _start(self, request: Start) -> None:
        starter = Starter(
            request_id=request.id,
            subscriber=self._outbox,
            fail=lambda reason: self._outbox.send(
                text_frame(encode_message(Error(request.id, reason)))
            ),
        )
        self._supervisor.start(request.action, request.task_id, request.params or {}, starter)

    def _stop(self, request: Stop) -> None:
        self._supervisor.stop(request.task_id, request.grace)
        if request.ack:
            self._acknowledge(request.id, request.task_id)

    def _list(self, request: List) -> None:
        tasks = self._supervisor.list_tasks(
            since=request.since, action=request.action, state=request.state, limit=request.limit
        )
        self._send(Tasks(request.id, tasks))

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
        self._supervisor.subscribe(self._outbox, task_id)
        self._outbox.tell_gap(task_id)  # of an earlier subscription: what follows may fill it
        task = self._supervisor.find(task_id)
        if task is None:
            self._send(Subscribed(request.id, task_id))
            return
        ring = task.ring
        self._send(
            Subscribed(request.id, task_id, task.record.epoch, ring.first_seq, ring.last_seq)
        )
        if request.since_seq is not None:
            self._resume(task, request.since_seq, request.epoch)

    def _unsubscribe(self, request: Unsubscribe) -> None:
        self._supervisor.unsubscribe(self._outbox, request.task_id)
        self._send(Unsubscribed(request.id, request.task_id))

    def _describe(self, request: Describe) -> None:
        self._send(Actions(request.id, self._supervisor.describe(request.action)))

    def _tell_manifest(self, request: Manifest) -> None:
        self._send(ManifestResponse(request.id, msgspec.Raw(self._manifest())))

    # ------------------------------------------------------------------------------------- helpers

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


_HANDLERS: dict[type[Request], Callable[..., None]] = {
    Start: Session._start,
    Stop: Session._stop,
    List: Session._list,
    Replay: Session._replay,
    Subscribe: Session._subscribe,
    Unsubscribe: Session._unsubscribe,
    Describe: Session._describe,
    Manifest: Session._tell_manifest,
}
