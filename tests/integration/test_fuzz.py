"""Clients that send what no client should: each message gets its answer or its close, and nothing else suffers.

Valid requests are made from the message definitions, and then changed: fields missing, of another type, out of
range or unknown, JSON cut off or doubled, bytes flipped. What is due for each is what the contract says of it:
protocol.md sections 1 (closes) and 2 (errors).
"""

import contextlib
import json
import random
import re
import socket
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from conftest import DEADLINE, Daemon, Message, RawClient

from overseer.protocol.codec import BadRequest, decode_request
from overseer.protocol.fields import FieldSpec, fields_of
from overseer.protocol.messages import MESSAGES, REQUESTS, Request, tag_of

MESSAGE_SIZE = 64 * 1024
CONFIG = f"""
listen: "127.0.0.1:0"
limits: {{message_size: {MESSAGE_SIZE}, send_buffer: 64MiB}}
retain: {{count: 20}}
replay_buffer: 10
retry: {{restart_delay: 20ms, error_threshold: 2}}
task_pool: {{size: 8, queue_size: 20}}
actions:
  echo:
    type: exec
    config:
      entrypoint: echo
      command: ["[[.message]]"]
      parameters:
        message: {{default: hello, validate: "size(value) < 50"}}
        pin: {{default: "", secret: true}}
  nap:
    type: exec
    dedupe_key: [length]
    task_pool: {{size: 2, queue_size: 2}}
    config: {{entrypoint: sleep, command: ["[[.length]]"], parameters: {{length: {{default: "0.01"}}}}}}
  absent: {{type: exec, config: {{entrypoint: /nonexistent/program}}}}
"""
BATCH = 60
"""Messages that are sent before their answers are read."""
BATCH_SIZE = 128 * 1024
"""Bytes of a batch at most: the daemon reads that much from a client that reads nothing."""
SILENT = ("stop", "replay")
"""Requests that are answered only on failure, unless they ask for an ``ack``."""
ANSWERS = {name: {"started", "queued"} for name in ("start", "restart", "reset")} | {
    "stop": {"ack"},
    "replay": {"ack"},
    "list": {"tasks"},
    "describe": {"actions"},
    "subscribe": {"subscribed"},
    "unsubscribe": {"unsubscribed"},
    "set_pool": {"pool_info"},
    "purge": {"purged"},
}
"""What a request is answered with besides ``error``, where that is not its own name."""
GROWTH = 12 * 1024 * 1024
"""Bytes by which memory may grow after the first fifth: fragmentation, seen to level off at 1 to 5 MiB."""


class Messages:
    """Makes messages from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.number = 0

    def next(self) -> bytes:
        """Return one message: valid one time in four, else with one to three things wrong."""
        self.number += 1
        request = self.valid()
        if self.random.random() < 0.25:
            return json.dumps(request).encode()
        for _ in range(self.random.choice((1, 1, 2, 3))):
            self.spoil_value(request)
        text = json.dumps(request, ensure_ascii=self.random.random() < 0.5)
        data = nested(text).encode("utf-8", "surrogatepass")
        return self.spoil_bytes(data) if self.random.random() < 0.3 else data

    def valid(self) -> dict[str, Any]:
        """Return a request of any type with some of its optional fields."""
        kind = self.random.choice(REQUESTS)
        request: dict[str, Any] = {"type": tag_of(kind)}
        for field in fields_of(kind):
            if field.name == "id":
                request["id"] = f"m{self.number}"
            elif field.required or self.random.random() < 0.4:
                request[field.name] = self.value(field)
        return request

    def value(self, field: FieldSpec) -> Any:
        """Return a value that the field may have."""
        choose = self.random.choice
        if field.name == "action" and field.kind == "string":
            return choose(("echo", "echo", "nap", "absent"))
        if field.name == "task_id":
            return f"t{self.random.randrange(12)}"
        if field.kind == "enum":
            return choose(field.values)
        if field.kind == "integer":
            low = field.minimum or 0
            return choose((low, low + 1, low + 4, low + 30))
        if field.kind == "map":
            return choose(({}, {"message": "hi"}, {"length": "0.02"}, {"message": "é" * 60}))
        if field.kind == "struct":
            assert field.struct is not None
            return {f.name: self.value(f) for f in fields_of(field.struct) if choose((0, 1))}
        values = {
            "boolean": (True, False),
            "timestamp": ("2026-01-02T03:04:05Z", "1999-12-31T23:59:59.123456+02:00"),
            "duration": ("0s", "1ms", "1m30s", "2h"),
            "number": (0, 1.5),
        }
        return choose(values.get(field.kind, ("", "some text", "echo")))

    def spoil_value(self, value: dict[str, Any]) -> None:
        """Change something in an object, or in an object within it."""
        choose = self.random.choice
        inner = [entry for entry in value.values() if isinstance(entry, dict)]
        if inner and choose((True, False)):
            self.spoil_value(choose(inner))
            return
        name = choose(list(value) or ["id"])
        action = choose(("drop", "replace", "replace", "replace", "rename", "add"))
        if action == "drop":
            value.pop(name, None)
        elif action == "rename":
            value[choose((name.upper(), name + " ", name + "\x00", ""))] = value.pop(name, None)
        elif action == "add":
            value[choose(("extra", "task_id", "params", "since", "retry_policy"))] = self.odd()
        else:
            value[name] = self.odd()

    def odd(self) -> Any:
        """Return a value that hardly any field may have."""
        return self.random.choice(
            (
                *(None, True, False, 0, -1, 1.5, -0.0, 1e308, 2**31, 2**53, 2**63, 2**64, -(2**63)),
                *("", " ", "*", "\x00", "\ud800", "\u2028", "null", "t1", "t1\n", "-1s", "1e9h", "9" * 50),
                *("x" * 511, "x" * 513, "ü" * 1000, "🎉", "[[.message]]", "../../etc/passwd", "$(id)"),
                *([], [[]], ["t1"], {}, {"a": {"b": [{}]}}, {"message": 5}, {"": ""}),
                float("nan"),
                float("inf"),
                self.random.choice(("(10)", "(500)", "(2000)")),  # see nested()
                "y" * self.random.choice((5000, MESSAGE_SIZE + 1)),
            )
        )  # fmt: skip

    def spoil_bytes(self, data: bytes) -> bytes:
        """Break the text of a message."""
        place = self.random.randrange(len(data) + 1)
        match self.random.randrange(7):
            case 0:
                return data[:place]
            case 1:
                return data + self.random.choice((b"}", b"{}", b" ", b"\x00", b"\n\n", b"//"))
            case 2:
                return (
                    data[:place] + self.random.randbytes(self.random.randrange(1, 4)) + data[place:]
                )
            case 3:
                return data[:place] + bytes((self.random.randrange(256),)) + data[place + 1 :]
            case 4:
                return b"[" + data + b"]"
            case 5:
                return data[:-1] + b"," + data[1:]  # every key twice
            case _:
                return self.random.choice(
                    (b"", b"null", b"0", b'"', b"\xef\xbb\xbf" + data, b"{" * 3000)
                )


def nested(text: str) -> str:
    """Put arrays within arrays for what says so; JSON's own encoder cannot."""
    return re.sub(r'"\((\d+)\)"', lambda match: "[" * int(match[1]) + "]" * int(match[1]), text)


class Fuzzer:
    """One client that goes on over its connections, and knows what is due to it."""

    def __init__(self, daemon: Daemon, seed: int) -> None:
        self.messages = Messages(seed)
        self.closes = 0
        self.answered = 0
        self._daemon = daemon
        self._connect()

    def _connect(self) -> None:
        self._client = RawClient(self._daemon.port)
        self._stream = self._client.messages()

    def close(self) -> None:
        self._client.close()

    def send(self, count: int) -> None:
        """Send so many messages, and see to it that each gets what is due."""
        batch: list[tuple[bytes, bool]] = []
        ids: set[str] = set()
        for _ in range(count):
            data = self.messages.next()
            text = is_text(data) or self.messages.random.random() < 0.1
            if due_close(data, text=text):
                self._exchange(batch)
                batch = []
                self._provoke(data, text=text)
                continue
            number = id_of(data)
            size = sum(len(data) for data, _ in batch)
            if len(batch) == BATCH or size > BATCH_SIZE or number in ids:
                self._exchange(batch)
                batch = []
                ids.clear()
            batch.append((data, text))
            ids.update((number,) if number else ())  # else answers could not be told apart
        self._exchange(batch)

    def _provoke(self, data: bytes, *, text: bool) -> None:
        """Send what ends the connection, and see it end as documented."""
        code = due_close(data, text=text)
        self._client.socket.sendall(RawClient.frame(data, 1 if text else 2))
        for message in self._stream:
            assert message["type"] != "error", message
        assert self._client.close_code == code, (data[:200], self._client.close_code)
        self._client.close()
        self.closes += 1
        self._connect()

    def _exchange(self, batch: list[tuple[bytes, bool]]) -> None:
        errors: list[tuple[str, str]] = []
        due: dict[str, Request] = {}
        for data, _ in batch:
            try:
                request = decode_request(data)
            except BadRequest as error:
                errors.append((error.id, error.message))
            else:
                due[request.id] = request
        end = f"end {self.messages.number}"
        frames = [RawClient.frame(data, 1 if text else 2) for data, text in batch]
        last = RawClient.frame(json.dumps({"type": "list", "id": end}).encode())
        self._client.socket.sendall(b"".join(frames) + last)
        bad = {number for number, _ in errors} - due.keys()
        told: list[tuple[str, str]] = []
        while (message := self._receive()).get("id") != end:
            self._note(message, bad, told, due)
        assert told == errors
        self._settle(message["tasks"], bad, told, due)
        self.answered += len(batch)

    def _settle(
        self,
        tasks: list[Message],
        bad: set[str],
        told: list[tuple[str, str]],
        due: dict[str, Request],
    ) -> None:
        """End what runs or waits, then everything must have been answered."""
        count = len(told)
        self._client.send(type="set_pool", size=8, queue_size=20)
        end = time.monotonic() + DEADLINE
        unsettled = tasks
        while unsettled or any(map(must_answer, due.values())):
            assert time.monotonic() < end, (unsettled, due)
            self._client.send(type="purge")
            for task in unsettled:  # what has ended may have let others begin
                self._client.send(type="stop", task_id=task["task_id"], grace="0s")
            self._client.send(type="unsubscribe", task_id="*")
            self._client.send(type="list", id="settled")
            while (message := self._receive()).get("id") != "settled":
                self._note(message, bad, told, due)
            unsettled = [task for task in message["tasks"] if task["state"] in ("active", "queued")]
        assert len(told) == count, told[count:]

    def _note(
        self, message: Message, bad: set[str], told: list[tuple[str, str]], due: dict[str, Request]
    ) -> None:
        assert message["type"] in KNOWN, message
        assert not KNOWN[message["type"]] - message.keys(), message
        number = message.get("id", "")
        if message["type"] == "error":
            assert "internal error" not in message["message"], message
            if number in bad:
                told.append((number, message["message"]))
                return
        if number in due:
            name = tag_of(type(due[number]))
            assert message["type"] in ANSWERS.get(name, {name}) | {"error"}, message
            del due[number]

    def _receive(self) -> Message:
        message = next(self._stream, None)
        assert message is not None, f"closed with {self._client.close_code}"
        return message


KNOWN = {tag_of(kind): {f.name for f in fields_of(kind) if f.required} for kind in MESSAGES}
"""The messages of the daemon, and what is never missing in each."""


def id_of(data: bytes) -> str:
    """Return the id that answers to a message bear; most errors have one, too."""
    try:
        return decode_request(data).id
    except BadRequest as error:
        return error.id


def must_answer(request: Request) -> bool:
    """Return whether success, too, is answered."""
    return tag_of(type(request)) not in SILENT or getattr(request, "ack", False)


def is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def due_close(data: bytes, *, text: bool) -> int:
    """Return the code with which a message ends the connection, 0 for one that does not."""
    if len(data) > MESSAGE_SIZE:
        return 1009
    return 1007 if text and not is_text(data) else 0


@pytest.mark.parametrize("count", [3000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_every_mutated_message_is_answered_or_closes(
    launch: Callable[..., Daemon], count: int
) -> None:
    """In order and with the text that names the mistake; memory stays flat, nothing is logged as a failure."""
    daemon = launch(CONFIG)
    fuzzer = Fuzzer(daemon, seed=20_261_122)
    fuzzer.send(count // 5)
    before = daemon.memory()
    fuzzer.send(count - count // 5)
    grown = daemon.memory() - before
    fuzzer.close()
    assert grown < GROWTH
    assert fuzzer.answered + fuzzer.closes == count
    assert fuzzer.closes > count // 200
    assert daemon.stop() == 0


CLOSES = {1000, 1002, 1003, 1007, 1009}
"""How the daemon may end a connection: RFC 6455 section 7.4.1."""


def broken_frames(chance: random.Random) -> bytes:
    """Return some frames, of which each may be anything, and perhaps garbage."""
    found = b""
    for _ in range(chance.randrange(1, 6)):
        opcode = chance.choice((0, 1, 1, 1, 2, 8, 9, 10, 3, 11, 15))
        flags = chance.choice((0x80, 0x80, 0x80, 0, 0xC0, 0x90))
        size = chance.choice((0, 1, 2, 5, 125, 126, 200, 70_000))
        payload = chance.choice((b'{"type":"list","id":"x"}', chance.randbytes(size)))
        frame = bytearray(RawClient.frame(payload, opcode))
        frame[0] = flags | opcode
        if chance.random() < 0.15:
            frame[1] &= 0x7F  # unmasked: forbidden to clients (section 5.1)
        if chance.random() < 0.1:
            frame[1] = 0xFF
            frame[2:10] = chance.choice((2**63, 2**62, 2**40, 5)).to_bytes(8)
        found += frame
    return found + chance.choice((b"", b"", chance.randbytes(20)))


@pytest.mark.parametrize("count", [200, pytest.param(5000, marks=pytest.mark.slow)])
def test_broken_frames_end_their_own_connection_only(
    launch: Callable[..., Daemon], count: int
) -> None:
    """With a code of the protocol, or none when the client goes first; somebody else notices nothing."""
    daemon = launch(CONFIG)
    chance = random.Random(7)
    codes: Counter[int | None] = Counter()
    with daemon.client() as other:
        for number in range(count):
            with daemon.raw_client() as client:
                with contextlib.suppress(OSError):  # it may have been closed meanwhile
                    client.socket.sendall(broken_frames(chance))
                    client.socket.shutdown(socket.SHUT_WR)
                with contextlib.suppress(ConnectionError):
                    for message in client.messages():
                        assert message["type"] in ("tasks", "error"), message
                codes[client.close_code] += 1
            if number % 10 == 0:
                assert other.ask(type="pool_info")["type"] == "pool_info"
    assert codes.keys() <= CLOSES | {None}, codes
    assert min(codes[code] for code in (1002, 1007, 1009)) > 0, codes
    assert daemon.stop() == 0
