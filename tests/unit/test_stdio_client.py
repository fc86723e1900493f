"""The client on stdin and stdout: lines in, lines out, and the end of either."""

import json
from typing import Any

import pytest
from session_fakes import Daemon
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from overseer.protocol.outbox import SendBudget
from overseer.session import BACKLOG_SIZE
from overseer.stdio import CLOSE_TIMEOUT, StdioClient

MESSAGE_SIZE = 4096
SEND_BUFFER = 8 * 1024 * 1024


class FakeStdio(StringTransport):
    """Stdin and stdout that a test controls, with the methods of ``StandardIO`` that are used."""

    def __init__(self, client: StdioClient) -> None:
        super().__init__()
        self.client = client
        client.makeConnection(self)

    def loseConnection(self) -> None:
        super().loseConnection()
        self.client.connectionLost()

    def connectionLost(self, reason: Failure) -> None:
        self.client.connectionLost(reason)


class Stdio:
    """A daemon and its client on stdio."""

    def __init__(self) -> None:
        self.daemon = Daemon()
        self.client = StdioClient(
            self.daemon.clock,
            self.daemon.supervisor,
            lambda: b"{}",
            message_size=MESSAGE_SIZE,
            send_buffer=SEND_BUFFER,
            budget=SendBudget(SEND_BUFFER),
        )
        self.transport = FakeStdio(self.client)
        self.all_asked = self.client.when_all_asked()

    def type(self, data: bytes) -> None:
        self.client.dataReceived(data)
        self.daemon.clock.advance(0)

    def read(self) -> list[dict[str, Any]]:
        text = self.transport.value()
        self.transport.clear()
        assert not text or text.endswith(b"\n")
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def stdio() -> Stdio:
    return Stdio()


LIST = b'{"type":"list","id":"l"}'
TASKS = {"type": "tasks", "id": "l", "tasks": []}
START = b'{"type":"start","id":"s","action":"echo","task_id":"t"}\n'


def test_a_request_is_a_line_and_so_is_an_answer(stdio: Stdio) -> None:
    """However the lines come in; empty lines and carriage returns are nothing."""
    verifyObject(IHalfCloseableProtocol, stdio.client)
    stdio.type(b"\n \r\n" + LIST[:5])
    stdio.type(LIST[5:] + b"\r\n" + LIST)
    assert stdio.read() == [TASKS]
    stdio.type(b"\n")
    assert stdio.read() == [TASKS]


def test_whoever_holds_stdin_is_an_admin_and_gets_events(stdio: Stdio) -> None:
    """A task may be started, and every event of it is a line."""
    stdio.type(START)
    stdio.daemon.worker.spawn(7)
    stdio.daemon.output("one", "ü\u2028")
    stdio.daemon.exit(3)
    messages = stdio.read()
    assert [message["type"] for message in messages] == ["started", "output", "output", "exited"]
    assert [message.get("data") for message in messages] == [None, "one", "ü\u2028", None]


def test_bad_json_is_answered(stdio: Stdio) -> None:
    """As over WebSocket; the client stays."""
    stdio.type(b"nonsense\n")
    assert [message["type"] for message in stdio.read()] == ["error"]
    assert not stdio.transport.disconnecting


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_line_that_is_too_long_ends_the_client(stdio: Stdio, end: bytes) -> None:
    """It is told why, once, whether or not the line ever ends."""
    stdio.type(b"x" * (MESSAGE_SIZE + 1) + end)
    stdio.type(b"x" * MESSAGE_SIZE + b"\n")
    assert [message["message"] for message in stdio.read()] == [
        f"message too large: expected at most {MESSAGE_SIZE} bytes"
    ]
    assert stdio.transport.disconnecting
    assert stdio.all_asked.called
    assert not stdio.daemon.clock.getDelayedCalls()


def test_at_eof_what_was_asked_is_answered(stdio: Stdio) -> None:
    """``printf … | overseer`` works, a newline at the end or not."""
    stdio.client.dataReceived(LIST + b"\n" + LIST)
    stdio.client.readConnectionLost()
    assert not stdio.all_asked.called
    stdio.daemon.clock.advance(0)
    assert stdio.all_asked.called
    assert stdio.read() == [TASKS, TASKS]
    assert not stdio.transport.disconnecting


def test_at_eof_without_requests_nothing_is_waited_for(stdio: Stdio) -> None:
    """Ctrl-D ends it at once."""
    stdio.client.readConnectionLost()
    assert stdio.all_asked.called


def test_a_client_that_does_not_read_is_queued_for_and_told_before_the_end(stdio: Stdio) -> None:
    """The outbox holds what stdout does not take, and the end waits for it."""
    stdio.transport.producer.pauseProducing()
    stdio.type(LIST + b"\n")
    gone = stdio.client.close_when_told()
    assert stdio.read() == []
    stdio.transport.producer.resumeProducing()
    assert stdio.read() == [TASKS]
    assert gone.called
    assert not stdio.daemon.clock.getDelayedCalls()


def test_a_client_that_never_reads_is_cut_off(stdio: Stdio) -> None:
    """A shutdown does not hang on a pipe that nobody reads."""
    stdio.transport.producer.pauseProducing()
    stdio.type(LIST + b"\n")
    gone = stdio.client.close_when_told()
    again = stdio.client.close_when_told()
    stdio.daemon.clock.advance(CLOSE_TIMEOUT)
    assert gone.called
    assert again.called
    assert stdio.client.close_when_told().called


def test_when_nobody_reads_stdout_any_more_the_client_is_gone(stdio: Stdio) -> None:
    """``overseer | head -1``: its subscriptions end, and nothing more is written."""
    stdio.type(START)
    stdio.daemon.worker.spawn(7)
    stdio.read()
    stdio.client.writeConnectionLost()
    assert stdio.all_asked.called
    stdio.daemon.output("into the void")
    assert stdio.read() == []
    assert stdio.daemon.supervisor.subscriptions.audience("t") == ()


def test_requests_are_read_only_as_fast_as_they_are_worked_off(stdio: Stdio) -> None:
    """A huge file on stdin costs no memory."""
    line = b" " * (MESSAGE_SIZE - len(LIST)) + LIST + b"\n"
    for _ in range(BACKLOG_SIZE // len(line) + 2):
        stdio.client.dataReceived(line)
    assert stdio.transport.producerState == "paused"
    stdio.daemon.clock.advance(0)
    assert stdio.transport.producerState == "producing"
