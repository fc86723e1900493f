"""The client's half of a conversation: which answer is for whom, and which events are for which follower.

It outlives connections. What is followed goes on over the next one from the line where the last one ended;
what was asked and not answered by then has failed. Nothing here knows a transport, a clock or a Deferred:
payloads come in by :meth:`ClientSession.receive`, requests go out by the function that
:meth:`ClientSession.connected` was given.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, Union, cast

import attrs
import msgspec

from overseer.client.errors import ConnectionLost, OverseerError, RequestRefused
from overseer.client.follower import EVERY_TASK, Follower, Replayed, rising
from overseer.client.output import OutputBlock
from overseer.core.task import FINISHED
from overseer.protocol.codec import encode_request
from overseer.protocol.messages import (
    MESSAGES,
    Dequeued,
    Error,
    Errored,
    Exited,
    Lagged,
    Message,
    Output,
    Queued,
    Request,
    Subscribe,
    Subscribed,
    Unsubscribe,
)

_SHOWN = 200

Answered: TypeAlias = Callable[[Message | OverseerError], object]
"""Takes the answer to a request, or what came instead of it; called once."""

_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Union[MESSAGES])  # noqa: UP007
_ENDINGS = (Exited, Errored, Dequeued)
_EVENTS = tuple(kind for kind in MESSAGES if kind.delivery != "direct" or kind is Lagged)


@attrs.define(eq=False)
class _Pending:
    """A request that was not answered yet."""

    request: Request
    answered: Answered
    follower: Follower | None
    replayed: Replayed | None


class ClientSession:
    """One client's requests and followers.

    :param log_unknown: told of what the server says and nobody here understands.
    """

    def __init__(self, log_unknown: Callable[[str], object] = lambda _: None) -> None:
        self._log_unknown = log_unknown
        self._numbers = itertools.count(1)
        self._send: Callable[[bytes], object] | None = None
        self._pending: dict[str, _Pending] = {}
        self._unsent: dict[str, bytes] = {}
        self._queued: dict[str, str] = {}
        self._followers: dict[str, list[Follower]] = {}
        # What is being sent again of a task, up to which line, and who asked for it.
        self._again: dict[str, tuple[int, Follower | None]] = {}
        self._replays: dict[str, list[Replayed]] = {}

    @property
    def waiting(self) -> bool:
        """Whether an answer is outstanding."""
        return bool(self._pending)

    # ----------------------------------------------------------------------------------- what is asked

    def ask(
        self,
        request: Request,
        answered: Answered,
        *,
        follower: Follower | None = None,
        replayed: Replayed | None = None,
    ) -> str:
        """Send a request, now or over the next connection; return its id.

        :param follower: of a task that the answer names: it follows from that answer on.
        :param replayed: collects what a ``replay`` sends.
        """
        request_id = str(next(self._numbers))
        if hasattr(request, "ack"):  # who waits for an answer wants one
            request = msgspec.structs.replace(request, ack=True)
        pending = self._pending[request_id] = _Pending(request, answered, follower, replayed)
        payload = encode_request(request, request_id)
        if self._send is None:
            self._unsent[request_id] = payload
        else:
            self._sent(pending)
            self._send(payload)
        return request_id

    def forget(self, request_id: str) -> None:
        """Nobody waits for the answer any more."""
        pending = self._pending.pop(request_id, None)
        self._unsent.pop(request_id, None)
        if pending is not None:
            self._done(pending)

    def follow(self, follower: Follower) -> None:
        """Hand the events of a task to a follower."""
        self._add(follower)
        if self._send is not None:
            self._begin(follower)

    def unfollow(self, follower: Follower) -> None:
        """Hand over nothing more; the last one that follows a task ends the subscription."""
        follower.gone = True
        followers = self._followers.get(follower.task_id, [])
        if follower not in followers:
            return
        followers.remove(follower)
        if not followers:
            del self._followers[follower.task_id]
            if self._send is not None:
                self.ask(Unsubscribe("", follower.task_id), lambda _: None)

    def followers_of(self, task_id: str) -> list[Follower]:
        """Return who follows a task."""
        return list(self._followers.get(task_id, ()))

    # ------------------------------------------------------------------------------------- connections

    def connected(self, send: Callable[[bytes], object]) -> None:
        """There is a connection: resume what is followed, then ask what could not be asked before."""
        self._send = send
        for follower in [f for followers in self._followers.values() for f in followers]:
            self._begin(follower)
        unsent, self._unsent = self._unsent, {}
        for request_id, payload in unsent.items():
            if request_id in self._pending:
                self._sent(self._pending[request_id])
                send(payload)

    def disconnected(self, reason: str) -> None:
        """The connection is gone: whatever was asked over it has no answer."""
        self._send = None
        self._again.clear()
        self._replays.clear()
        self._queued.clear()
        for follower in [f for followers in self._followers.values() for f in followers]:
            follower.interrupted()
        lost = {key: one for key, one in self._pending.items() if key not in self._unsent}
        for request_id in lost:
            del self._pending[request_id]
        for pending in lost.values():
            pending.answered(ConnectionLost(reason))

    def close(self, error: OverseerError | None) -> None:
        """Nothing more will come."""
        self._send = None
        pending, self._pending = self._pending, {}
        followers, self._followers = self._followers, {}
        self._unsent.clear()
        for one in pending.values():
            one.answered(error or ConnectionLost("the client was closed"))
        for follower in [f for some in followers.values() for f in some]:
            follower.ended(error)

    # ---------------------------------------------------------------------------------- what is received

    def receive(self, received: Sequence[bytes | OutputBlock]) -> None:
        """Take messages, in their order."""
        for kind, group in itertools.groupby(received, type):
            if kind is OutputBlock:
                for block in group:
                    self._block(cast("OutputBlock", block))
            else:
                self._messages(_decode(cast("list[bytes]", list(group)), self._log_unknown))

    def _block(self, block: OutputBlock) -> None:
        task_id = block.task_id
        if task_id in self._again or task_id in self._replays:  # there each line counts
            self._lines(task_id, [*block.messages()])
        else:
            for follower in self._audience(task_id):
                follower.take([block])

    def _messages(self, messages: list[Message]) -> None:
        position, end = 0, len(messages)
        while position < end:
            message = messages[position]
            begin = position
            position += 1
            if type(message) is Output:
                task_id = message.task_id
                while position < end:
                    following = messages[position]
                    if type(following) is not Output or following.task_id != task_id:
                        break
                    position += 1
                self._lines(task_id, messages[begin:position])
            else:
                self._message(message)

    def _lines(self, task_id: str, lines: list[Message]) -> None:
        for replay in self._replays.get(task_id, ()):
            replay.take(lines)
        if task_id in self._again:
            until, asker = self._again[task_id]
            again = [line for line in lines if line.seq <= until]  # type: ignore[attr-defined]
            if again and again[-1].seq == until:  # type: ignore[attr-defined]
                del self._again[task_id]
            if asker is not None and again:
                asker.take(again)
            lines = lines[len(again) :]
        followers = self._audience(task_id)
        if lines and task_id in self._replays:
            for follower in followers:
                new = rising(lines, follower.last_seq)
                if new:
                    follower.take(new)
        elif lines:
            for follower in followers:
                follower.take(lines)

    def _message(self, message: Message) -> None:
        request_id = getattr(message, "id", "")
        pending = self._pending.get(request_id)
        if pending is not None:
            self._answer(request_id, pending, message)
        elif isinstance(message, Error):
            task_id = self._queued.pop(message.id, None)
            if task_id is None:
                self._log_unknown(f"error: {message.message}")
            else:
                for follower in self._audience(task_id):
                    follower.take([message])
        if isinstance(message, _EVENTS):
            self._event(message)

    def _answer(self, request_id: str, pending: _Pending, message: Message) -> None:
        del self._pending[request_id]
        self._done(pending)
        if isinstance(message, Error):
            pending.answered(RequestRefused(message.message, message.existing_task_id))
            return
        follower = pending.follower
        if isinstance(message, Subscribed):
            again = 0 if follower is None else follower.subscribed(message)
            if again:
                self._again[message.task_id] = again, follower
        elif follower is not None and not follower.gone:
            follower.bind(message.task_id)  # type: ignore[attr-defined]
            self._add(follower)
            self._subscribe(
                follower
            )  # it is: this asks where its lines begin and of which epoch they are
        if isinstance(message, Queued):
            self._queued[request_id] = message.task_id
        pending.answered(message)

    def _event(self, event: Message) -> None:
        task_id = getattr(event, "task_id", None)
        if task_id is None:
            followers = self._followers.get(EVERY_TASK, [])
        elif task_id in self._again and isinstance(event, Exited | Lagged):
            asker = self._again[task_id][1]
            followers = [] if asker is None else [asker]
        else:
            for replay in self._replays.get(task_id, ()):
                replay.take([event])
            followers = self._audience(task_id)
        for follower in followers:
            follower.take([event])
            if follower.until_end and isinstance(event, _ENDINGS):
                self._check_end(follower, event)

    # -------------------------------------------------------------------------------------------- helpers

    def _audience(self, task_id: str) -> list[Follower]:
        # A copy: who takes an event may begin or end to follow.
        return [*self._followers.get(task_id, ()), *self._followers.get(EVERY_TASK, ())]

    def _add(self, follower: Follower) -> None:
        self._followers.setdefault(follower.task_id, []).append(follower)

    def _begin(self, follower: Follower) -> None:
        self._subscribe(follower)
        if (
            follower.until_end
        ):  # maybe it has ended already: the answer comes behind all that is sent again
            self._check_end(follower)

    def _subscribe(self, follower: Follower) -> None:
        def answered(answer: Message | OverseerError) -> None:
            if isinstance(answer, RequestRefused):
                self.unfollow(follower)
                follower.ended(answer)

        task_id = follower.task_id
        request = Subscribe(
            "",
            task_id,
            since_seq=follower.since_seq,
            epoch=follower.epoch if follower.since_seq is not None else None,
            # There is one subscription for all who follow a task here.
            output=any(one.output for one in self._followers.get(task_id, ())),
            snapshot=task_id == EVERY_TASK,
        )
        self.ask(request, answered, follower=follower)

    def _check_end(self, follower: Follower, event: Message | None = None) -> None:
        """End a follower if its task has ended for good; whether it has after an exit, the server knows."""

        def answered(answer: Message | OverseerError) -> None:
            if isinstance(answer, Subscribed):
                tasks = answer.tasks or ()
                if all(task.state in FINISHED for task in tasks):
                    self._end(follower)

        if isinstance(event, Errored | Dequeued):
            self._end(follower)
        else:
            self.ask(Subscribe("", follower.task_id, snapshot=True), answered)

    def _end(self, follower: Follower) -> None:
        if not follower.gone:  # two answers may say so
            self.unfollow(follower)
            follower.ended(None)

    def _sent(self, pending: _Pending) -> None:
        if pending.replayed is not None:
            self._replays.setdefault(pending.replayed.task_id, []).append(pending.replayed)

    def _done(self, pending: _Pending) -> None:
        replayed = pending.replayed
        if replayed is not None and replayed in self._replays.get(replayed.task_id, ()):
            self._replays[replayed.task_id].remove(replayed)
            if not self._replays[replayed.task_id]:
                del self._replays[replayed.task_id]


def _decode(payloads: list[bytes], log_unknown: Callable[[str], object]) -> list[Message]:
    """Return the messages in the payloads, without those that a newer server may send."""
    try:
        messages: list[Message] = _decoder.decode_lines(b"\n".join(payloads))
    except (msgspec.DecodeError, UnicodeDecodeError):
        messages = []
        for payload in payloads:
            try:
                messages.append(_decoder.decode(payload))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                log_unknown(f"not understood: {error}: {payload[:_SHOWN]!r}")
    return messages
