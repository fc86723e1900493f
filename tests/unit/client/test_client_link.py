"""The WebSocket of a client on a transport in memory: handshake, messages, pings, silence, the end."""

import base64
import hashlib
import re
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from websockets.frames import Frame, Opcode

from overseer.client.errors import ConnectionRefused, Unauthorized
from overseer.client.websocket import CONNECT_TIMEOUT, SILENCE, WebSocketLink


class Transport(StringTransport):
    """A transport that tells its protocol when it was cut."""

    def abortConnection(self) -> None:
        super().abortConnection()
        self.lose()

    def lose(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone()))


class Conversation:
    """A link, what its client was told, and the server as the test plays it."""

    def __init__(self, token: str | None = None) -> None:
        self.clock = Clock()
        self.told: list[Any] = []
        request = {"path": "/ws", "authority": "host", "token": token}
        self.link = WebSocketLink(self.clock, self, request)
        self.transport = Transport()
        self.transport.protocol = self.link
        self.opened: list[Any] = []
        self.link.opened.addBoth(self.opened.append)
        self.link.makeConnection(self.transport)

    def received(self, payloads: list[bytes]) -> None:
        self.told.append(payloads)

    def lost(self, reason: str) -> None:
        self.told.append(reason)

    def accept(self, more: bytes = b"") -> "Conversation":
        found = re.search(rb"Sec-WebSocket-Key: (\S+)", self.transport.value())
        assert found
        guid = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        answer = base64.b64encode(hashlib.sha1(found[1] + guid).digest())
        self.transport.clear()
        head = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: " + answer
        self.link.dataReceived(head + b"\r\n\r\n" + more)
        return self

    def frames(self) -> list[tuple[Opcode, bytes]]:
        """Return what the client has sent, unmasked."""
        data, found = self.transport.value(), []
        while data:
            size = data[1] & 0x7F
            mask, payload = data[2:6], data[6 : 6 + size]
            unmasked = bytes(byte ^ mask[number % 4] for number, byte in enumerate(payload))
            found.append((Opcode(data[0] & 15), unmasked))
            data = data[6 + size :]
        self.transport.clear()
        return found

    @property
    def refusal(self) -> BaseException:
        (failure,) = self.opened
        assert isinstance(failure, Failure)
        return failure.value


def frame(payload: bytes, opcode: Opcode = Opcode.TEXT) -> bytes:
    return Frame(opcode, payload).serialize(mask=False)


def test_messages_behind_the_answer_are_not_lost() -> None:
    """The server may speak in the same packet in which it agrees."""
    talk = Conversation().accept(frame(b"{}"))
    assert talk.opened == [talk.link]
    assert talk.told == [[b"{}"]]


def test_a_read_is_one_list() -> None:
    """However many messages are in it: a line costs no turn of its own."""
    talk = Conversation().accept()
    talk.link.dataReceived(frame(b"1") + frame(b"2") + frame(b"3")[:1])
    talk.link.dataReceived(frame(b"3")[1:])
    assert talk.told == [[b"1", b"2"], [b"3"]]


def test_pings_are_answered() -> None:
    """With what they carry (RFC 6455 section 5.5.3)."""
    talk = Conversation().accept()
    talk.link.dataReceived(frame(b"are you there", Opcode.PING))
    talk.link.send(b"{}")
    assert talk.frames() == [(Opcode.PONG, b"are you there"), (Opcode.TEXT, b"{}")]


def test_the_server_closes() -> None:
    """Its reason is told, and nothing is sent behind the answer."""
    talk = Conversation().accept()
    talk.link.dataReceived(frame((1001).to_bytes(2) + b"going away", Opcode.CLOSE))
    talk.link.send(b"{}")
    assert talk.frames() == [(Opcode.CLOSE, (1001).to_bytes(2))]
    assert talk.transport.disconnecting
    talk.transport.lose()
    assert talk.told == ["the server closed the connection: 1001 going away"]


def test_the_client_closes() -> None:
    """With 1000; what still comes is nobody's any more."""
    talk = Conversation().accept()
    talk.link.close()
    talk.link.close()
    assert talk.frames() == [(Opcode.CLOSE, (1000).to_bytes(2))]
    talk.link.dataReceived(frame(b"late"))
    talk.transport.lose()
    assert talk.told == ["the client closed the connection"]
    assert talk.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", ConnectionRefused, "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ConnectionRefused, "200: OK"),
        (b"HTTP/1.1 101 X\r\n\r\n", ConnectionRefused, "does not speak WebSocket"),
        (
            b'HTTP/1.1 403 No\r\nContent-Length: 14\r\n\r\n{"error":"no"}',
            ConnectionRefused,
            "403: no",
        ),
        (b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", Unauthorized, "it wants a token"),
        (b"x" * 70_000, ConnectionRefused, "has no end"),
    ],
)
def test_other_answers_are_refusals(answer: bytes, error: type[Exception], words: str) -> None:
    """Each says what is wrong, and leaves neither a connection nor a timer."""
    talk = Conversation()
    for byte in range(0, len(answer), 7):
        talk.link.dataReceived(answer[byte : byte + 7])
    assert isinstance(talk.refusal, error)
    assert words in str(talk.refusal)
    assert talk.transport.disconnected
    assert talk.clock.getDelayedCalls() == []
    assert talk.told == []


def test_a_refusal_without_an_end_is_told_when_it_ends() -> None:
    """A body without a length ends with the connection."""
    talk = Conversation()
    talk.link.dataReceived(b'HTTP/1.1 503 Busy\r\n\r\n{"error": "too many"}')
    assert talk.opened == []
    talk.transport.lose()
    assert str(talk.refusal) == "503: too many"


def test_a_server_that_says_nothing() -> None:
    """It has so many seconds for the handshake."""
    talk = Conversation()
    talk.clock.advance(CONNECT_TIMEOUT)
    assert str(talk.refusal) == "no answer within 10 seconds"
    assert talk.transport.disconnected


def test_silence_is_the_end() -> None:
    """The server pings; without a sign of it for a minute it is gone, and the network did not say so."""
    talk = Conversation().accept()
    talk.link.dataReceived(frame(b"", Opcode.PING))
    talk.clock.advance(SILENCE)
    assert talk.told == []
    talk.clock.advance(SILENCE)
    assert talk.told == ["nothing was heard of the server for 60 seconds"]
    assert talk.clock.getDelayedCalls() == []


def test_whoever_does_not_read_hears_nothing() -> None:
    """While the client has paused, silence means nothing."""
    talk = Conversation().accept()
    talk.link.pause()
    assert talk.transport.producerState == "paused"
    talk.clock.advance(3 * SILENCE)
    talk.link.resume()
    talk.clock.advance(SILENCE)
    assert talk.told == []
    assert talk.transport.producerState == "producing"


def test_a_server_that_is_not_understood() -> None:
    """It is cut off, and the reason is told."""
    talk = Conversation().accept()
    talk.link.dataReceived(b"\x83\x00")
    assert talk.told == ["the server was not understood: frames out of order"]
    assert talk.transport.disconnected


def test_giving_up_the_connection() -> None:
    """Who waits for the handshake may stop waiting."""
    talk = Conversation()
    talk.link.opened.cancel()
    assert talk.transport.disconnected


def test_frames_have_masks_of_their_own() -> None:
    """Two equal messages look different on the wire (RFC 6455 section 10.3)."""
    talk = Conversation().accept()
    talk.link.send(b"{}")
    first = talk.transport.value()
    talk.transport.clear()
    talk.link.send(b"{}")
    assert talk.transport.value() != first
