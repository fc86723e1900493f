"""WebSocket clients, seen from the wire: bytes in, bytes out, time standing still."""

import base64
import hashlib
import json
import socket
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
import txaio
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from overseer.core.config import Limits, default_config
from overseer.lifecycle.retention import Retention
from overseer.lifecycle.subscriptions import Subscriptions
from overseer.lifecycle.supervisor import Supervisor
from overseer.lifecycle.surroundings import Surroundings
from overseer.protocol.batch import Batch
from overseer.protocol.frames import text_frame
from overseer.websocket import READ_PIECE, ClientFactory, ClientProtocol

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = base64.b64encode(
    hashlib.sha1(f"{KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
).decode()
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
GOING_AWAY, PROTOCOL_ERROR, NOT_UTF_8, TOO_BIG, TRY_LATER = 1001, 1002, 1007, 1009, 1013
LIMITS = default_config().limits
MESSAGE_SIZE = 20_000
SEND_BUFFER = 10_000


@pytest.fixture(autouse=True)
def _loop_of_autobahn() -> Iterator[None]:
    """Give Autobahn's timers back to whom they belonged: its loop is one for the whole process."""
    txaio.use_twisted()
    before = txaio.config.loop
    yield
    txaio.config.loop = before


class Transport(StringTransport):
    """A transport with an HTTP channel still registered, as Twisted's web server leaves it."""

    aborted = False
    role = "admin"

    def __init__(self) -> None:
        super().__init__()
        self.registerProducer(object(), True)

    def unregisterProducer(self) -> None:
        self.producer = None  # real transports do not mind when there is none

    def abortConnection(self) -> None:
        self.aborted = True

    def loseConnection(self) -> None:
        self.disconnecting = True

    @property
    def ended(self) -> bool:
        return self.disconnecting or self.aborted

    @property
    def reads(self) -> bool:
        return self.producerState == "producing"


def frame(
    payload: bytes | str, opcode: int = TEXT, *, final: bool = True, masked: bool = True
) -> bytes:
    """Return a frame as a client sends it (RFC 6455 section 5.2)."""
    if isinstance(payload, str):
        payload = payload.encode()
    size = len(payload)
    mask_bit = 0x80 if masked else 0
    if size < 126:
        head = bytes((mask_bit | size,))
    elif size < 65536:
        head = bytes((mask_bit | 126,)) + size.to_bytes(2, "big")
    else:
        head = bytes((mask_bit | 127,)) + size.to_bytes(8, "big")
    key = b"\x37\xfa\x21\x3d" if masked else b""
    if masked:
        payload = bytes(byte ^ key[number % 4] for number, byte in enumerate(payload))
    return bytes((0x80 * final | opcode,)) + head + key + payload


def frames_in(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        assert data[0] & 0xF0 == 0x80, "neither fragmented nor compressed"
        size, start = data[1], 2
        if size >= 126:
            start = 4 if size == 126 else 10
            size = int.from_bytes(data[2:start], "big")
        payload = data[start : start + size]
        assert len(payload) == size, "a frame is cut off"
        yield data[0] & 0x0F, payload
        data = data[start + size :]


class Client:
    """A WebSocket client on the other side of a fake transport."""

    def __init__(self, daemon: "Daemon") -> None:
        self.daemon = daemon
        self.transport = Transport()
        self.protocol = daemon.factory.buildProtocol(None)
        assert isinstance(self.protocol, ClientProtocol)
        self.protocol.makeConnection(self.transport)

    def handshake(self, *headers: str, version: int = 13) -> str:
        """Ask for the upgrade and return the answer."""
        lines = (
            "GET /ws HTTP/1.1",
            "Host: localhost",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {KEY}",
            f"Sec-WebSocket-Version: {version}",
            *headers,
            "\r\n",
        )
        self.receive("\r\n".join(lines).encode())
        answer = self.transport.value().decode()
        self.transport.clear()
        return answer

    def receive(self, data: bytes) -> None:
        self.protocol.dataReceived(data)

    def send(self, opcode: int = TEXT, **request: Any) -> None:
        self.receive(frame(json.dumps(request), opcode))

    def frames(self) -> list[tuple[int, bytes]]:
        """Return the frames that were sent since the last look."""
        data = self.transport.value()
        self.transport.clear()
        return list(frames_in(data))

    def told(self) -> list[dict[str, Any]]:
        """Return the messages that were sent since the last look; nothing but messages."""
        found = []
        for opcode, payload in self.frames():
            assert opcode == TEXT
            found.append(json.loads(payload))
        return found

    def ask(self, **request: Any) -> list[dict[str, Any]]:
        self.send(**request)
        self.daemon.clock.advance(0)
        return self.told()

    def pause(self) -> None:
        """The client stops reading: its transport is full."""
        assert self.transport.producer is not None
        self.transport.producer.pauseProducing()

    def resume(self) -> None:
        assert self.transport.producer is not None
        self.transport.producer.resumeProducing()

    def lose(self) -> None:
        self.protocol.connectionLost(Failure(ConnectionDone()))


class Daemon:
    """What WebSocket clients need around them; no task ever runs in it."""

    def __init__(self, limits: Limits) -> None:
        self.clock = Clock()
        self.subscriptions = Subscriptions()
        self.supervisor = Supervisor(
            {},
            Surroundings(
                clock=self.clock,
                now=lambda: 0,
                random=lambda: 0.5,
                subscriptions=self.subscriptions,
                line_size=1024,
            ),
            Retention(),
            lambda: "id",
        )
        self.factory = ClientFactory(self.clock, self.supervisor, lambda: b"{}", limits)

    def connect(self) -> Client:
        client = Client(self)
        assert client.handshake().startswith("HTTP/1.1 101 ")
        return client

    def publish(self, data: str, seq: int = 1, *, droppable: bool = True) -> None:
        """Tell all subscribers of the task "t" something."""
        frames = text_frame(json.dumps({"data": data}).encode())
        first = seq if droppable else seq + 1
        self.subscriptions.publish(Batch("t", frames, 0, first, seq, droppable=droppable))

    def advance(self, seconds: float) -> None:
        """Let time pass in small steps, as Autobahn's own timers work in buckets."""
        self.clock.pump([0.25] * int(seconds * 4))


@pytest.fixture
def daemon() -> Daemon:
    return Daemon(attrs.evolve(LIMITS, message_size=MESSAGE_SIZE, send_buffer=SEND_BUFFER))


@pytest.fixture
def client(daemon: Daemon) -> Client:
    """Return a client that subscribed to the task "t"."""
    client = daemon.connect()
    client.ask(type="subscribe", id="1", task_id="t")
    return client


def close_code(client: Client) -> int:
    """Return the code of the Close frame that ends what was sent."""
    opcode, payload = client.frames()[-1]
    assert opcode == CLOSE
    return int.from_bytes(payload[:2], "big")


# -------------------------------------------------------------------------------------- handshake


def test_the_handshake(daemon: Daemon) -> None:
    """As RFC 6455 section 4.2.2 has it; nothing is offered that was not asked for."""
    answer = Client(daemon).handshake()
    status, *headers = answer.split("\r\n")
    assert status == "HTTP/1.1 101 Switching Protocols"
    assert f"Sec-WebSocket-Accept: {ACCEPT}" in headers
    assert "Server: overseer" in headers
    assert "Sec-WebSocket-Protocol" not in answer
    assert "Sec-WebSocket-Extensions" not in answer


def test_compression_is_never_agreed_on(daemon: Daemon) -> None:
    """Frames are made once for all clients, so they cannot be compressed for one."""
    offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, permessage-bzip2"
    client = Client(daemon)
    answer = client.handshake(offer)
    assert answer.startswith("HTTP/1.1 101 ")
    assert "Sec-WebSocket-Extensions" not in answer
    assert client.ask(type="list", id="1") == [{"type": "tasks", "id": "1", "tasks": []}]


@pytest.mark.parametrize(
    ("offered", "selected"),
    [
        ("overseer.v1", "overseer.v1"),
        ("other, overseer.v1", "overseer.v1"),
        ("overseer.v1, bearer.0123456789abcdef", "overseer.v1"),
        ("bearer.0123456789abcdef, overseer.v1", "overseer.v1"),
        ("other", None),
        ("overseer.v2", None),
    ],
)
def test_our_subprotocol_is_selected_when_it_is_offered(
    daemon: Daemon, offered: str, selected: str | None
) -> None:
    """Never another, least of all one that holds a token; without ours the client is welcome, too."""
    answer = Client(daemon).handshake(f"Sec-WebSocket-Protocol: {offered}")
    assert answer.startswith("HTTP/1.1 101 ")
    lines = [line for line in answer.split("\r\n") if line.startswith("Sec-WebSocket-Protocol")]
    assert lines == ([f"Sec-WebSocket-Protocol: {selected}"] if selected else [])


@pytest.mark.parametrize("version", [0, 7, 8, 12, 14])
def test_other_versions_of_the_protocol_are_refused(daemon: Daemon, version: int) -> None:
    """Drafts are long gone; the answer says which version it takes (RFC 6455 section 4.4)."""
    client = Client(daemon)
    answer = client.handshake(version=version)
    assert answer.startswith("HTTP/1.1 400 ")
    assert "Sec-WebSocket-Version: 13\r\n" in answer
    assert client.transport.disconnecting
    assert daemon.factory.clients == set()


def test_a_handshake_that_takes_too_long(daemon: Daemon) -> None:
    """Is cut off after 10 seconds."""
    client = Client(daemon)
    client.receive(b"GET /ws HTTP/1.1\r\n")
    daemon.advance(9)
    assert not client.transport.aborted
    daemon.advance(2)
    assert client.transport.aborted


def test_a_client_that_goes_before_the_handshake(daemon: Daemon) -> None:
    """Leaves nothing behind."""
    client = Client(daemon)
    client.lose()
    assert daemon.factory.clients == set()
    assert daemon.factory.disconnects == {}


OPTIONS = {
    "versions": [13],
    "webStatus": False,
    "utf8validateIncoming": True,
    "requireMaskedClientFrames": True,
    "maskServerFrames": False,
    "applyMask": True,
    "maxFramePayloadSize": MESSAGE_SIZE,
    "maxMessagePayloadSize": MESSAGE_SIZE,
    "autoFragmentSize": 0,
    "failByDrop": False,
    "echoCloseCodeReason": False,
    "openHandshakeTimeout": 10,
    "closeHandshakeTimeout": 3,
    "tcpNoDelay": True,
    "autoPingInterval": 30,
    "autoPingTimeout": 20,
    "autoPingSize": 12,
    "serveFlashSocketPolicy": False,
    "allowedOrigins": ["*"],
    "allowNullOrigin": True,
    "maxConnections": 0,
    "trustXForwardedFor": 0,
    "logOctets": False,
    "logFrames": False,
}


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_is_what_we_mean(client: Client, option: str) -> None:
    """Autobahn's defaults accept every size and never ping, and another version may have others."""
    assert getattr(client.protocol, option) == OPTIONS[option]


# --------------------------------------------------------------------------------------- messages


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_text_and_binary_messages_are_read_alike(client: Client, opcode: int) -> None:
    """And answered in text."""
    client.send(opcode, type="list", id="é")
    client.daemon.clock.advance(0)
    assert client.told() == [{"type": "tasks", "id": "é", "tasks": []}]


def test_a_message_may_come_in_fragments(client: Client) -> None:
    """Cut anywhere, a character included, with a ping in between, byte by byte."""
    data = '{"type":"list","id":"é"}'.encode()
    wire = b"".join(
        (
            frame(data[:22], final=False),
            frame(b"alive?", PING),
            frame(data[22:], 0),
        )
    )
    for number in range(len(wire)):
        client.receive(wire[number : number + 1])
    client.daemon.clock.advance(0)
    assert client.frames() == [
        (PONG, b"alive?"),
        (TEXT, '{"type":"tasks","id":"é","tasks":[]}'.encode()),
    ]


def test_what_is_no_json_is_answered(client: Client) -> None:
    """Also when a binary message is no text at all; the connection stays."""
    for data, opcode in ((b"nonsense", TEXT), (b"", TEXT), (b"\xff\xfe", BINARY)):
        client.receive(frame(data, opcode))
        client.daemon.clock.advance(0)
        (answer,) = client.told()
        assert (answer["type"], answer["id"]) == ("error", "")
        assert answer["message"].startswith("invalid JSON: ")
    assert client.ask(type="list", id="1")


def test_a_message_of_the_largest_size_is_read(client: Client) -> None:
    """To the byte."""
    padding = MESSAGE_SIZE - len('{"type":"list","id":"1","x":""}')
    client.receive(frame(f'{{"type":"list","id":"1","x":"{"x" * padding}"}}'))
    client.daemon.clock.advance(0)
    assert [message["type"] for message in client.told()] == ["tasks"]


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(frame(b"x" * (MESSAGE_SIZE + 1)), id="one frame"),
        pytest.param(frame(b"x" * (MESSAGE_SIZE + 1))[:8], id="its head alone"),
        pytest.param(
            frame(b"x" * MESSAGE_SIZE, final=False) + frame(b"x", 0), id="fragments together"
        ),
        pytest.param(bytes((0x81, 0xFF)) + (2**63 - 1).to_bytes(8, "big") + bytes(4), id="endless"),
    ],
)
def test_a_message_beyond_the_limit_closes_with_1009(client: Client, wire: bytes) -> None:
    """As soon as its size is known."""
    client.receive(wire)
    client.daemon.clock.advance(0)
    assert close_code(client) == TOO_BIG
    client.receive(frame(TOO_BIG.to_bytes(2, "big"), CLOSE))
    client.daemon.clock.advance(0)
    client.daemon.advance(4)
    assert client.transport.ended


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        pytest.param(frame(b"{}", masked=False), PROTOCOL_ERROR, id="not masked"),
        pytest.param(frame(b"x", 3), PROTOCOL_ERROR, id="unknown opcode"),
        pytest.param(bytes((0xC1, 0x80)) + bytes(4), PROTOCOL_ERROR, id="compressed"),
        pytest.param(frame(b"x", 0), PROTOCOL_ERROR, id="continues nothing"),
        pytest.param(frame(b"\xff"), NOT_UTF_8, id="text that is none"),
    ],
)
def test_violations_of_the_protocol_close(client: Client, wire: bytes, code: int) -> None:
    """With the code that RFC 6455 section 7.4.1 has for it."""
    client.receive(wire)
    assert close_code(client) == code


def test_a_burst_is_parsed_in_pieces(client: Client) -> None:
    """In order, a piece a turn, and nothing more is read from the client meanwhile."""
    other = client.daemon.connect()
    wire = b"".join(frame(f'{{"type":"list","id":"{number}"}}') for number in range(1200))
    assert len(wire) > 4 * READ_PIECE
    client.receive(wire)
    assert not client.transport.reads
    assert client.told() == []
    other.send(type="list", id="other")
    client.receive(frame('{"type":"list","id":"1200"}'))
    client.daemon.clock.advance(0)
    assert [message["id"] for message in other.told()] == ["other"]
    answered = [message["id"] for message in client.told()]
    assert answered == [str(number) for number in range(1201)]
    assert client.transport.reads


def test_a_client_that_goes_amid_a_burst(client: Client) -> None:
    """The rest of it is not looked at."""
    client.receive(frame('{"type":"subscribe","id":"1","task_id":"u"}') * 1000)
    client.lose()
    client.daemon.clock.advance(0)
    assert client.daemon.subscriptions.audience("u") == ()
    assert client.told() == []


# ------------------------------------------------------------------------------------------ flow


def test_a_full_transport_holds_everything_back_until_it_drains(client: Client) -> None:
    """In order, answers and events alike."""
    client.daemon.publish("before")
    client.pause()
    client.daemon.publish("while", 2)
    client.send(type="unsubscribe", id="2", task_id="other")
    client.daemon.clock.advance(0)
    assert client.told() == [{"data": "before"}]
    client.resume()
    client.daemon.publish("after", 3)
    assert client.told() == [
        {"data": "while"},
        {"type": "unsubscribed", "id": "2", "task_id": "other"},
        {"data": "after"},
    ]


def test_output_that_was_too_much_is_told_when_the_client_reads_again(client: Client) -> None:
    """By one `lagged`, after what did fit."""
    client.pause()
    for seq in range(1, 5):
        client.daemon.publish("x" * (SEND_BUFFER // 2 - 100), seq)
    client.resume()
    first, second, lagged = client.told()
    assert "data" in first
    assert "data" in second
    assert lagged == {"type": "lagged", "task_id": "t", "from_seq": 3, "to_seq": 4, "dropped": 2}
    assert client.daemon.factory.budget.dropped_lines == 2


def test_a_client_too_slow_for_all_is_closed_with_1013(client: Client) -> None:
    """It gets nothing more, and others go on."""
    other = client.daemon.connect()
    other.ask(type="subscribe", id="1", task_id="t")
    client.pause()
    for _ in range(3):
        client.daemon.publish("x" * (SEND_BUFFER // 2), droppable=False)
    assert close_code(client) == TRY_LATER
    assert len(other.told()) == 3
    client.daemon.publish("more", droppable=False)
    client.send(type="list", id="2")
    client.resume()
    client.daemon.clock.advance(0)
    assert client.frames() == []
    assert client.transport.producer is None  # or Twisted would ask it for more instead of closing
    client.daemon.advance(4)
    assert client.transport.aborted
    client.lose()
    assert client.daemon.factory.clients == {other.protocol}
    assert client.daemon.factory.disconnects == {"slow": 1}
    assert client.daemon.factory.budget.used == 0


def test_a_client_with_too_many_requests_is_not_read(client: Client) -> None:
    """Until it has taken some of its answers."""
    request = frame(json.dumps({"type": "list", "id": "x" * 19_000}))
    client.daemon.factory.limits = attrs.evolve(LIMITS, send_buffer=4 << 20)
    client = client.daemon.connect()
    client.pause()
    for _ in range(80):
        client.receive(request)
        client.daemon.clock.advance(0)
    assert not client.transport.reads
    answers = 0
    while not client.transport.reads:
        client.resume()
        client.daemon.clock.advance(0)
        answers += len(client.told())
    assert answers == 80


def test_bytes_in_the_kernel_count_as_progress(client: Client) -> None:
    """A client may be slow without ever being stalled; transports without a kernel tell nothing."""
    outbox = client.protocol._outbox
    assert outbox is not None
    nothing = outbox.progress
    near, far = socket.socketpair()
    with near, far:
        client.transport.getHandle = lambda: near  # type: ignore[attr-defined]
        assert outbox.progress == nothing
        near.send(b"x" * 1000)
        unread = outbox.progress
        assert unread != nothing
        far.recv(1000)
        assert outbox.progress == nothing
    assert outbox.progress == nothing  # the connection is closed


# --------------------------------------------------------------------------------------- liveness


def test_a_client_that_answers_pings_stays(client: Client) -> None:
    """One every 30 seconds."""
    for _ in range(5):
        client.daemon.advance(31)
        ((opcode, payload),) = client.frames()
        assert opcode == PING
        client.receive(frame(payload, PONG))
    assert not client.transport.ended


def test_a_client_that_does_not_answer_a_ping_is_cut_off(client: Client) -> None:
    """20 seconds later, and its subscriptions end."""
    client.daemon.advance(31)
    assert [opcode for opcode, _ in client.frames()] == [PING]
    client.daemon.advance(18)
    assert not client.transport.aborted
    client.daemon.advance(3)
    assert client.transport.aborted
    client.lose()
    assert client.daemon.subscriptions.audience("t") == ()
    assert client.daemon.factory.clients == set()
    assert client.daemon.factory.disconnects == {"no_pong": 1}


# -------------------------------------------------------------------------------------- the ending


def test_a_client_that_closes_is_answered_and_forgotten(client: Client) -> None:
    """With a Close of its own (RFC 6455 section 5.5.1); nothing is written behind it."""
    client.receive(frame((1000).to_bytes(2, "big") + b"bye", CLOSE))
    assert [opcode for opcode, _ in client.frames()] == [CLOSE]
    assert client.transport.disconnecting
    client.daemon.publish("late")
    client.send(type="list", id="2")
    client.daemon.clock.advance(0)
    assert client.frames() == []
    client.lose()
    assert client.daemon.factory.clients == set()
    assert client.daemon.factory.disconnects == {"closed": 1}
    assert client.daemon.subscriptions.audience("t") == ()


def test_a_client_that_vanishes_is_forgotten(client: Client) -> None:
    """With what waited for it."""
    client.pause()
    client.daemon.publish("x" * 1000)
    assert client.daemon.factory.budget.used > 1000
    client.lose()
    client.daemon.publish("late")
    assert client.daemon.factory.budget.used == 0
    assert client.daemon.factory.clients == set()
    assert client.daemon.factory.disconnects == {"lost": 1}
    assert client.daemon.subscriptions.audience("t") == ()


def test_closing_all_without_clients_is_done_at_once(daemon: Daemon) -> None:
    """Nothing to wait for."""
    assert daemon.factory.close_all("bye").called
    assert daemon.clock.getDelayedCalls() == []


def test_closing_all_tells_why_and_waits_until_they_are_gone(client: Client) -> None:
    """With 1001; nothing is written behind it, and nothing is read any more."""
    daemon, other = client.daemon, client.daemon.connect()
    gone = daemon.factory.close_all("shutting down")
    for each in (client, other):
        ((opcode, payload),) = each.frames()
        assert (opcode, payload) == (CLOSE, GOING_AWAY.to_bytes(2, "big") + b"shutting down")
    daemon.publish("late")
    client.send(type="list", id="2")
    daemon.clock.advance(0)
    assert client.frames() == []
    client.receive(frame(GOING_AWAY.to_bytes(2, "big"), CLOSE))
    assert client.transport.ended
    client.lose()
    assert not gone.called
    assert not other.transport.ended
    other.lose()
    assert gone.called
    assert daemon.factory.disconnects == {"shutdown": 2}
    late = daemon.connect()
    daemon.advance(4)
    assert not late.transport.ended  # nobody is cut off once it is over


def test_a_reason_too_long_for_a_close_frame_is_cut(client: Client) -> None:
    """Between characters: a control frame has 125 bytes (RFC 6455 section 5.5)."""
    client.daemon.factory.close_all("é" * 100)
    ((opcode, payload),) = client.frames()
    assert opcode == CLOSE
    assert payload[2:].decode() == "é" * 61


def test_closing_all_first_sends_what_is_owed(client: Client) -> None:
    """A client that reads slowly still gets its last events and answers."""
    client.pause()
    client.daemon.publish("last words")
    client.daemon.publish("the end", droppable=False)
    gone = client.daemon.factory.close_all("bye")
    assert client.frames() == []
    client.send(type="list", id="2")
    client.daemon.clock.advance(0)
    client.resume()
    frames = client.frames()
    assert [opcode for opcode, _ in frames] == [TEXT, TEXT, CLOSE]
    assert [json.loads(payload)["data"] for _, payload in frames[:2]] == ["last words", "the end"]
    client.lose()
    assert gone.called


def test_whoever_does_not_go_is_cut_off_after_three_seconds(client: Client) -> None:
    """A client that reads nothing as well as one that does not answer the Close."""
    daemon, silent = client.daemon, client.daemon.connect()
    client.pause()
    daemon.publish("unread")
    gone = daemon.factory.close_all("bye")
    daemon.advance(2.5)
    assert not client.transport.aborted
    assert not silent.transport.aborted
    daemon.advance(0.75)
    assert client.transport.aborted
    assert silent.transport.aborted
    client.lose()
    silent.lose()
    assert gone.called
