"""One client: when each of its requests is worked off, whether it may ask that, and what it hears of errors.

A session knows no transport: it is fed the bytes of messages and writes frames into its outbox. Requests are
worked off for a few milliseconds at a time, so that a burst from one client delays nobody else, and not at
all while the client leaves its answers unread.
"""

from collections import deque
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from overseer.core.tokens import Role
from overseer.lifecycle.requests import RequestError
from overseer.lifecycle.supervisor import Supervisor
from overseer.protocol.codec import BadRequest, decode_request, encode_message
from overseer.protocol.frames import text_frame
from overseer.protocol.messages import Error, Message, tag_of
from overseer.protocol.outbox import Outbox
from overseer.requests import RequestHandlers

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
        self._handlers = RequestHandlers(supervisor, outbox, self._send, manifest)
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
            answered = self._handlers.handle(request)
        except RequestError as error:
            self._count(kind, "error")
            self._send(Error(request.id, error.message, error.existing_task_id))
        except Exception:
            self._count(kind, "error")
            self._log.failure("request {kind} failed", kind=kind)
            self._send(Error(request.id, "internal error: see the log of the daemon"))
        else:
            self._count(kind, "ok")
            if answered is not None:
                self._looking_up = True
                answered.addBoth(self._looked_up)

    def _looked_up(self, _done: object) -> None:
        self._looking_up = False
        if not self._closed:
            self.outbox_changed()
            self._check_finished()

    def _count(self, kind: str, result: str) -> None:
        self._supervisor.counters.requests[kind, result] += 1

    def _send(self, message: Message) -> None:
        if self._closed:
            return
        self._outbox.send_paced(text_frame(encode_message(message)))
