"""The client on a clock and a link of the test: timeouts, reconnects, backpressure, and how it ends."""

import gc
import json
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock

from overseer.client.backoff import LONGEST_WAIT
from overseer.client.client import Client
from overseer.client.errors import (
    ConnectionLost,
    ConnectionRefused,
    OverseerError,
    RequestRefused,
    RequestTimeout,
)
from overseer.client.link import Receiver
from overseer.client.output import OutputBlock
from overseer.client.subscription import MOST_WAITING
from overseer.protocol.codec import encode_message
from overseer.protocol.frames import text_frame
from overseer.protocol.messages import (
    Error,
    Errored,
    Exited,
    List,
    Message,
    Output,
    Started,
    Subscribed,
    Tasks,
)

TS = "2026-11-22T22:07:47.123456Z"


class Reactor(MemoryReactorClock):  # type: ignore[misc]
    """A clock that runs at once what other threads ask for."""

    def callFromThread(self, function: Any, *args: Any, **kwargs: Any) -> None:
        function(*args, **kwargs)


class Link:
    """A connection that remembers what it was told."""

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self.sent: list[dict[str, Any]] = []
        self.paused = False

    def send(self, payload: bytes) -> None:
        self.sent.append(json.loads(payload))

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def close(self) -> None:
        self.receiver.lost("closed")

    def tell(self, *messages: Message) -> None:
        self.receiver.received([encode_message(message) for message in messages])


class Conversation:
    """A client, and the server as the test plays it. ``refusal`` answers the next attempts to connect."""

    def __init__(self, **options: Any) -> None:
        self.reactor = Reactor()
        self.links: list[Link] = []
        self.refusal: ConnectionRefused | None = None
        self.attempts = 0
        self.client = Client(self.reactor, self.dial, **options)
        result(self.client.connect())

    async def dial(self, receiver: Receiver) -> Link:
        self.attempts += 1
        if self.refusal is not None:
            raise self.refusal
        self.links.append(Link(receiver))
        return self.links[-1]

    @property
    def link(self) -> Link:
        return self.links[-1]


def result(coroutine: Any) -> list[Any]:
    """Start a coroutine; its result, or its exception, will be in the list."""
    results: list[Any] = []
    deferred = Deferred.fromCoroutine(coroutine)
    deferred.addCallbacks(results.append, lambda failure: results.append(failure.value))
    return results


async def collect(events: Any) -> list[Message]:
    return [event async for event in events]


def line(seq: int) -> Output:
    return Output("t", 7, "stdout", "x", TS, seq)


def test_an_answer_that_does_not_come() -> None:
    """The request says how long it waited; an answer that comes later is nobody's."""
    talk = Conversation(timeout=5)
    listed = result(talk.client.list())
    talk.reactor.advance(4.9)
    assert listed == []
    talk.reactor.advance(0.1)
    (error,) = listed
    assert isinstance(error, RequestTimeout)
    assert str(error) == "list: no answer within 5 seconds"
    talk.link.tell(Tasks("1", []))
    assert talk.reactor.getDelayedCalls() == []


def test_an_answer_in_time_leaves_no_timer() -> None:
    """Its own time, or none at all, may be asked for."""
    talk = Conversation(timeout=5)
    listed = result(talk.client.request(List(""), timeout=None))
    talk.reactor.advance(1000)
    talk.link.tell(Tasks("1", []))
    assert listed == [Tasks("1", [])]
    assert talk.reactor.getDelayedCalls() == []


def test_a_request_that_is_given_up() -> None:
    """Cancelling what waits for it is enough."""
    talk = Conversation()
    asked = Deferred.fromCoroutine(talk.client.list())
    asked.addErrback(lambda _: None)
    asked.cancel()
    assert talk.reactor.getDelayedCalls() == []


def test_it_comes_back_after_a_while() -> None:
    """The waits grow up to a bound, with every attempt in vain; what is followed goes on."""
    talk = Conversation()
    events = talk.client.subscribe("t")
    talk.link.tell(Subscribed("1", "t", "e", 1, 8))
    talk.refusal = ConnectionRefused("nobody there")
    talk.link.receiver.lost("cut")
    assert not talk.client.connected
    talk.reactor.pump([1] * 100)
    assert 100 / LONGEST_WAIT <= talk.attempts - 1 <= 30
    talk.refusal = None
    talk.reactor.advance(LONGEST_WAIT)
    assert talk.client.connected
    (subscribe,) = talk.link.sent
    assert (subscribe["task_id"], subscribe["since_seq"]) == ("t", 8)
    events.close()


def test_a_server_that_does_not_want_it_any_more() -> None:
    """A token that was withdrawn, for one: everything fails with what the server said."""
    talk = Conversation()
    events = result(collect(talk.client.subscribe("t")))
    talk.refusal = ConnectionRefused("401: no", permanent=True)
    talk.link.receiver.lost("cut")
    talk.reactor.advance(1)
    assert events == [talk.refusal]
    assert result(talk.client.list()) == [talk.refusal]
    assert talk.reactor.getDelayedCalls() == []


def test_without_reconnecting_the_end_is_the_end() -> None:
    """Whatever is waited for fails with the reason."""
    talk = Conversation(reconnect=False)
    listed, events = result(talk.client.list()), result(collect(talk.client.subscribe("t")))
    talk.link.receiver.lost("cut")
    for (error,) in (listed, events):
        assert isinstance(error, ConnectionLost)
        assert str(error) == "cut"


def test_closing_it() -> None:
    """Iterations end, requests fail, and nothing is left to do."""
    talk = Conversation()
    listed, events = result(talk.client.list()), result(collect(talk.client.subscribe("t")))
    assert result(talk.client.close()) == [None]
    assert events == [[]]
    assert [type(error) for error in listed] == [ConnectionLost]
    assert result(collect(talk.client.subscribe("t"))) == [[]]
    assert talk.reactor.getDelayedCalls() == []


def test_a_slow_reader_stops_the_reading() -> None:
    """Until it has caught up; and never while an answer is awaited, which may stand behind it all."""
    talk = Conversation()
    events = talk.client.subscribe("t")
    talk.link.tell(Subscribed("1", "t", "e", 1, 0))
    for seq in range(1, MOST_WAITING + 2):
        assert not talk.link.paused
        talk.link.tell(line(seq))
    assert talk.link.paused
    listed = result(talk.client.list())
    assert not talk.link.paused
    talk.link.tell(Tasks(talk.link.sent[-1]["id"], []))
    assert len(listed) == 1
    assert talk.link.paused
    batches = events.batches()
    (batch,) = result(batches.__anext__())
    assert [event.seq for event in batch] == list(range(1, MOST_WAITING + 2))
    assert not talk.link.paused


def test_lines_need_not_be_messages() -> None:
    """Whoever takes blocks gets them as they came; all others get each line."""
    talk = Conversation()
    blocks, batches = (talk.client.subscribe("t") for _ in range(2))
    lines = [line(seq) for seq in range(2, 5)]
    frames = b"".join(text_frame(encode_message(one)) for one in lines)
    block = OutputBlock("t", "stdout", b"x\nx\nx\n", 4, len(frames), frames)
    talk.link.tell(Subscribed("1", "t", "e", 1, 0), Subscribed("2", "t", "e", 1, 0), line(1))
    talk.link.receiver.received([block])
    talk.link.tell(line(5))
    assert result(blocks.blocks().__anext__()) == [[line(1), block, line(5)]]
    assert result(batches.batches().__anext__()) == [[line(1), *lines, line(5)]]
    assert blocks.last_seq == batches.last_seq == 5


@pytest.mark.parametrize("way", ["close", "forget"])
def test_whoever_stops_reading_stops_nobody(way: str) -> None:
    """A reader that was behind and is gone holds nothing back, and its subscription ends."""
    talk = Conversation()
    events = talk.client.subscribe("t")
    talk.link.tell(Subscribed("1", "t", "e", 1, 0), *map(line, range(1, 3)))
    for seq in range(3, MOST_WAITING + 5):
        talk.link.tell(line(seq))
    assert talk.link.paused
    if way == "close":
        events.close()
    del events
    gc.collect()
    assert not talk.link.paused
    assert talk.link.sent[-1]["type"] == "unsubscribe"


def test_a_run_that_is_refused() -> None:
    """The iteration raises what the start was answered."""
    talk = Conversation()
    events = result(collect(talk.client.run("nope")))
    talk.link.tell(Error("1", "unknown action"))
    (error,) = events
    assert isinstance(error, RequestRefused)


def test_a_run_that_nobody_follows_any_more() -> None:
    """Closed before it was answered, it is not followed at all; the task itself is started."""
    talk = Conversation()
    talk.client.run("a").close()
    talk.link.tell(Started(id="1", task_id="t", pid=7, ts=TS))
    assert [sent["type"] for sent in talk.link.sent] == ["start"]


def test_a_reader_that_only_waits_is_not_forgotten() -> None:
    """Nobody but the client holds a coroutine that was started and waits for events."""
    talk = Conversation()
    got = result(collect(talk.client.subscribe("t", until_end=True)))
    gc.collect()
    talk.link.tell(Subscribed("1", "t", "e", 1, 0), line(1), Errored("t", 7, 3, TS))
    assert got == [[line(1), Errored("t", 7, 3, TS)]]


def test_two_readers_of_one_subscription() -> None:
    """Each event is told once, so the second is told of its mistake, and the first goes on."""
    talk = Conversation()
    events = talk.client.subscribe("t", until_end=True)
    first, second = result(collect(events)), result(collect(events))
    assert [type(error) for error in second] == [RuntimeError]
    talk.link.tell(Subscribed("1", "t", "e", 1, 0), line(1), Errored("t", 7, 3, TS))
    assert first == [[line(1), Errored("t", 7, 3, TS)]]


def test_unsubscribing_ends_the_iterations() -> None:
    """All of this client to that task, and no other."""
    talk = Conversation()
    ends = [result(collect(talk.client.subscribe(name))) for name in ("t", "t", "other")]
    result(talk.client.unsubscribe("t"))
    assert ends == [[[]], [[]], []]
    assert talk.link.sent[-1]["type"] == "unsubscribe"


def test_what_waits_at_the_end_is_still_taken() -> None:
    """The last lines before a connection was given up are not thrown away."""
    talk = Conversation(reconnect=False)
    events = talk.client.subscribe("t")
    exited = Exited("t", 7, 0, False, TS)
    talk.link.tell(Subscribed("1", "t", "e", 1, 0), line(1), exited)
    talk.link.receiver.lost("cut")
    seen: list[Message] = []

    async def take() -> None:
        async for event in events:
            seen.append(event)

    (error,) = result(take())
    assert isinstance(error, OverseerError)
    assert seen == [line(1), exited]
