"""Load clients on raw sockets, made so that they are never the bottleneck.

A measured reader does not decode what it reads. It receives into one large buffer and lets
``bytearray.count`` look for the start of an ``output`` message, which can't occur inside a JSON
string because its quotes would be escaped there. Where many subscribers get the same stream, one
*witness* counts messages and of the others only bytes are counted: equal bytes are equal lines.

``verify`` is the slow and thorough reader: it walks the frames and checks the number of every line.
"""

import base64
import hashlib
import json
import os
import re
import selectors
import socket
from dataclasses import dataclass, field
from itertools import count

OUTPUT = b'{"type":"output"'
EXITED = b'{"type":"exited"'
OVERLAP = max(len(OUTPUT), len(EXITED)) - 1
LAST_MESSAGE = 1024  # no `exited` message is longer
BUFFER_SIZE = 256 * 1024  # larger ones leave the processor's cache and are slower
PATIENCE = 60.0  # seconds without a byte after which a run has failed

TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA
CLOSE_FRAME = bytes([0x80 | CLOSE, 2])  # of a server, with a status and no reason
HANDSHAKE_SALT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3

NUMBERED_LINE = re.compile(
    rb'\{"type":"output","task_id":"[^"]*","pid":\d+,"stream":"stdout",'
    rb'"data":"(\d{60})","ts":"[^"]*","seq":(\d+)\}'
)


class ClientError(Exception):
    """What came from the server is not what the workload asked for."""


def client_frame(opcode, payload):
    """Return ``payload`` as one masked frame, as a client must send it (RFC 6455, section 5)."""
    size = len(payload)
    if size < 126:
        head = bytes([0x80 | opcode, 0x80 | size])
    elif size < 1 << 16:
        head = bytes([0x80 | opcode, 0x80 | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([0x80 | opcode, 0x80 | 127]) + size.to_bytes(8, "big")
    mask = os.urandom(4)
    key = (mask * (size // 4 + 1))[:size]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")
    return head + mask + masked.to_bytes(size, "big")


def request_frames(requests):
    """Return ``requests`` as JSON in masked text frames, one after the other."""
    return b"".join(client_frame(TEXT, json.dumps(request).encode()) for request in requests)


def frames(buffer, start, end):
    """Yield ``(opcode, payload start, payload end)`` of every complete server frame.

    Server frames are not masked, and neither contender splits a message into several.
    """
    while end - start >= 2:
        size = buffer[start + 1]
        payload = start + 2
        if size == 126:
            payload = start + 4
            size = buffer[start + 2] << 8 | buffer[start + 3] if payload <= end else end
        elif size == 127:
            payload = start + 10
            size = int.from_bytes(buffer[start + 2 : payload], "big") if payload <= end else end
        if payload + size > end:
            return
        yield buffer[start] & 0x0F, payload, payload + size
        start = payload + size


class Connection:
    """A WebSocket connection over TCP (``host:port``) or a Unix socket (``unix:/path``)."""

    def __init__(self, address, path="/ws"):
        if address.startswith("unix:"):
            self.socket = socket.socket(socket.AF_UNIX)
            target, host = address.removeprefix("unix:"), "localhost"
        else:
            self.socket = socket.socket(socket.AF_INET)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            name, port = address.rsplit(":", 1)
            target, host = (name, int(port)), address
        self.pending = bytearray()  # received and not yet looked at
        try:
            self.socket.settimeout(PATIENCE)
            self.socket.connect(target)
            self._shake_hands(host, path)
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        """Close the socket without a closing handshake."""
        self.socket.close()

    def fileno(self):
        """Return the descriptor, so that a selector takes the connection itself."""
        return self.socket.fileno()

    def _shake_hands(self, host, path):
        key = base64.b64encode(os.urandom(16))
        self.socket.sendall(
            b"GET %b HTTP/1.1\r\nHost: %b\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: %b\r\nSec-WebSocket-Version: 13\r\n\r\n"
            % (path.encode(), host.encode(), key)
        )
        while b"\r\n\r\n" not in self.pending:
            self._receive_more()
        head, self.pending = self.pending.split(b"\r\n\r\n", 1)
        accept = base64.b64encode(hashlib.sha1(key + HANDSHAKE_SALT).digest())
        if b" 101 " not in head.split(b"\r\n", 1)[0] or accept not in head:
            raise ClientError(f"handshake refused: {head.decode(errors='replace')}")

    def _receive_more(self):
        data = self.socket.recv(64 * 1024)
        if not data:
            raise ClientError("the server closed the connection")
        self.pending += data

    def send(self, *requests):
        """Send every request, all in one write."""
        self.socket.sendall(request_frames(requests))

    def messages(self):
        """Return the messages that are complete in ``pending``; answer pings on the way."""
        found = []
        consumed = 0
        for opcode, start, end in frames(self.pending, 0, len(self.pending)):
            consumed = end
            self.control(opcode, self.pending[start:end])
            if opcode == TEXT:
                found.append(json.loads(self.pending[start:end]))
        self.pending = self.pending[consumed:]
        return found

    def control(self, opcode, payload):
        """Answer a ping; a close from the server is an error."""
        if opcode == PING:
            self.socket.sendall(client_frame(PONG, payload))
        elif opcode == CLOSE:
            raise ClientError(f"the server closed the connection: {payload!r}")

    def receive(self):
        """Wait for messages and return all that have come, decoded."""
        while not (found := self.messages()):
            self._receive_more()
        return found

    def next_payload(self):
        """Wait for one text message and return it undecoded.

        Only its own frame is consumed: what follows it is left for whoever reads next.
        """
        while True:
            for opcode, start, end in frames(self.pending, 0, len(self.pending)):
                payload, self.pending = self.pending[start:end], self.pending[end:]
                self.control(opcode, payload)
                if opcode == TEXT:
                    return payload
                break
            else:
                self._receive_more()

    def ask(self, kind, **request):
        """Send one request and return the answer, which must be of type ``kind``."""
        self.send(request)
        while True:
            message = json.loads(self.next_payload())
            if message.get("type") == kind:
                return message
            if message.get("type") == "error":
                raise ClientError(f"{request} was answered by {message}")

    def start(self, action, task_id, **params):
        """Start a task and wait for ``started``."""
        request = {"type": "start", "id": f"start {task_id}", "action": action}
        return self.ask("started", **request, task_id=task_id, params=params)

    def subscribe(self, task_id):
        """Subscribe to a task, existing or not, and wait for ``subscribed``."""
        return self.ask("subscribed", type="subscribe", id=f"subscribe {task_id}", task_id=task_id)


@dataclass
class Tally:
    """What one subscriber has received of one task."""

    connection: Connection
    witness: bool = True  # count messages, not only bytes
    lines: int = 0
    received: int = 0
    ending: bool = False  # the start of `exited` has come
    exited: bool = False
    tail: bytes = field(default=bytes(OVERLAP), repr=False)

    def look(self, buffer, size):
        """Take in ``size`` bytes at ``buffer[OVERLAP:]``; the space before them is scratch.

        The tail of what came before is put in front of them, so that a message whose start was cut
        in two is found, and none is counted twice.
        """
        end = OVERLAP + size
        buffer[:OVERLAP] = self.tail
        self.received += size
        if self.witness:
            self.lines += buffer.count(OUTPUT, 0, end)
        # `exited` is the last message of a task, and no object is nested in it.
        if buffer.find(EXITED, max(0, end - LAST_MESSAGE), end) >= 0:
            self.ending = True
        self.exited = self.ending and buffer[end - 1] == ord("}")
        self.tail = bytes(buffer[size:end])


def count_until_exited(connections, witnesses=1):
    """Read every connection until it has seen ``exited``; return a Tally of each.

    The first ``witnesses`` connections count lines, the others bytes.
    """
    buffer = bytearray(OVERLAP + BUFFER_SIZE)
    space = memoryview(buffer)[OVERLAP:]
    with selectors.DefaultSelector() as selector:
        tallies = []
        for number, connection in enumerate(connections):
            tally = Tally(connection, witness=number < witnesses)
            tallies.append(tally)
            pending, connection.pending = connection.pending, bytearray()
            for start in range(0, len(pending), BUFFER_SIZE):
                piece = pending[start : start + BUFFER_SIZE]
                space[: len(piece)] = piece
                tally.look(buffer, len(piece))
            if not tally.exited:
                selector.register(connection, selectors.EVENT_READ, tally)
        while selector.get_map():
            ready = selector.select(PATIENCE)
            if not ready:
                raise ClientError(f"nothing came for {PATIENCE:.0f} s")
            for key, _ in ready:
                tally = key.data
                size = tally.connection.socket.recv_into(space)
                if not size:
                    raise ClientError("the server closed the connection of a subscriber")
                tally.look(buffer, size)
                if tally.exited:
                    selector.unregister(tally.connection)
    return tallies


def count_bytes_until_closed(connection):
    """Read until the server sends a close or closes the connection; return the bytes before that."""
    buffer = bytearray(BUFFER_SIZE)
    received = len(connection.pending)
    last = connection.pending[-4:]  # a close frame with a status and nothing more
    while size := connection.socket.recv_into(buffer):
        received += size
        last = (last + buffer[max(0, size - 4) : size])[-4:]
        if last[:2] == CLOSE_FRAME:
            return received - 4
    return received


def verify(connection, lines):
    """Read one task of the action ``numbers`` until it exits; every line must be there, in order.

    Checks each line's text, which the child numbered, and its ``seq``, which the server did. The
    first thing that is not the next line, such as a ``lagged``, raises ClientError.
    """
    buffer = bytearray(connection.pending) + bytearray(BUFFER_SIZE)
    end = len(connection.pending)
    connection.pending = bytearray()
    space = memoryview(buffer)
    numbers = count(1)
    while True:
        consumed = 0
        for opcode, start, stop in frames(buffer, 0, end):
            consumed = stop
            if opcode != TEXT:
                connection.control(opcode, bytes(buffer[start:stop]))
                continue
            match = NUMBERED_LINE.fullmatch(buffer, start, stop)
            number = next(numbers)
            if match is None or not int(match[1]) == int(match[2]) == number:
                message = json.loads(buffer[start:stop])
                if message["type"] == "exited" and number == lines + 1:
                    return
                raise ClientError(f"expected line {number:,} of {lines:,}, got {message}")
        end -= consumed
        space[:end] = space[consumed : consumed + end]
        size = connection.socket.recv_into(space[end:])
        if not size:
            raise ClientError("the server closed the connection")
        end += size
