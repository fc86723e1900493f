"""The connection in memory: what is told comes a turn later, what was told before the end still comes."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock

from overseer.local import LocalLink
from overseer.protocol.frames import text_frame
from overseer.protocol.outbox import Outbox, SendBudget

ANSWER = b'{"type":"error","id":"","message":"id is required"}'
"""What a request without an id is answered."""


class Conversation:
    """A link between a client that remembers and a supervisor that only counts who is there."""

    def __init__(self, send_buffer: int = 1 << 20) -> None:
        self.clock = Clock()
        self.told: list[Any] = []
        self.there: list[Outbox] = []
        supervisor: Any = SimpleNamespace(
            announcements=SimpleNamespace(join=self.there.append),
            disconnect=self.there.remove,
            counters=SimpleNamespace(requests=Counter()),
        )
        self.link = LocalLink(
            self.clock,
            self,
            supervisor,
            lambda: b"{}",
            send_buffer=send_buffer,
            budget=SendBudget(1 << 20),
        )

    def received(self, payloads: list[bytes]) -> None:
        self.told.append(payloads)

    def lost(self, reason: str) -> None:
        self.told.append(reason)

    def ask(self, count: int = 1) -> None:
        """Ask, and let the session answer."""
        for _ in range(count):
            self.link.send(b"{}")
        self.clock.advance(0)


def test_what_is_told_comes_a_turn_later() -> None:
    """Never from within what the daemon is doing; all that one turn told is one list."""
    talk = Conversation()
    for number in range(2):
        talk.there[0].send(text_frame(b"%d" % number))
    assert talk.told == []
    talk.clock.advance(0)
    assert talk.told == [[b"0", b"1"]]


def test_pausing_it() -> None:
    """What waits comes when the client reads again."""
    talk = Conversation()
    talk.link.pause()
    talk.ask()
    talk.clock.advance(1)
    assert talk.told == []
    talk.link.resume()
    talk.clock.advance(0)
    assert talk.told == [[ANSWER]]


def test_closing_it() -> None:
    """The rest comes first, then why it ended, once; nobody is there any more."""
    talk = Conversation()
    talk.link.pause()
    talk.ask()
    talk.link.close("the end")
    talk.link.close("again")
    assert talk.told == [[ANSWER], "the end"]
    assert talk.there == []
    assert talk.clock.getDelayedCalls() == []


def test_events_that_nobody_takes() -> None:
    """A client that does not even take what must be told is let go, as on every connection."""
    talk = Conversation(send_buffer=100)
    talk.link.pause()
    talk.there[0].send(text_frame(b"x" * 110))
    talk.clock.advance(0)
    assert talk.told == ["too slow for what it must be told"]
