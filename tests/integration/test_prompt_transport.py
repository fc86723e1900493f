"""Bytes come out as they went in, by real sockets: at once where there is room, else by the reactor."""

import random
import socket

import pytest_twisted
from process_support import eventually
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint, UNIXServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransport
from twisted.protocols.policies import WrappingFactory

from overseer.prompt_transport import PROMPT_SIZE, PromptTransport, Turns

ensure_deferred = pytest_twisted.ensureDeferred


class Server(Protocol):
    """The server's side of a connection, with the transport under test."""

    lost = False

    def connectionMade(self):
        self.prompt = PromptTransport(self.transport, self.factory.turns)
        self.pauses = []
        self.prompt.registerProducer(self, True)
        self.factory.connected.append(self)

    def pauseProducing(self):
        self.pauses.append("pause")

    def resumeProducing(self):
        self.pauses.append("resume")

    def stopProducing(self):
        pass

    def connectionLost(self, reason):
        self.lost = True


@pytest_twisted.async_yield_fixture(params=["tcp", "unix", "wrapped"])
async def pair(request, tmp_path):
    """Both sides: the server's protocol, and a plain socket of the client."""
    factory = Factory.forProtocol(Server)
    factory.turns, factory.connected = Turns(reactor), []
    listened = WrappingFactory(factory) if request.param == "wrapped" else factory
    if request.param == "unix":
        path = str(tmp_path / "socket")
        port = await UNIXServerEndpoint(reactor, path).listen(listened)
        client = socket.socket(socket.AF_UNIX)
        client.connect(path)
    else:
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(listened)
        client = socket.create_connection(("127.0.0.1", port.getHost().port))
    client.setblocking(False)
    await eventually(lambda: factory.connected)
    server = factory.connected[0]
    yield server, client
    server.prompt.abortConnection()
    client.close()
    await port.stopListening()


def read(client, received, size=1 << 20):
    """Read what is there; return whether the other side has closed."""
    try:
        data = client.recv(size)
    except BlockingIOError:
        return False
    received += data
    return not data


def writers():
    """Return what the reactor is to write for, besides its own things."""
    return [one for one in reactor.getWriters() if hasattr(one, "protocol")]


@ensure_deferred
async def test_what_fits_is_sent_without_asking_the_reactor(pair):
    server, client = pair
    server.prompt.write(b"one ")
    server.prompt.write(b"two")
    assert writers() == []
    received = bytearray()
    await eventually(lambda: read(client, received) or received)
    assert received == b"one two"
    assert writers() == []


@ensure_deferred
async def test_much_is_sent_within_the_turn(pair):
    server, client = pair
    server.prompt.write(b"x" * (PROMPT_SIZE + 1))
    received = bytearray()
    read(client, received)
    assert received


@ensure_deferred
async def test_a_slow_reader_gets_everything_in_order(pair):
    server, client = pair
    source, received, sent = random.Random(7), bytearray(), bytearray()
    while not server.pauses:  # its producer is told that it is full
        piece = source.randbytes(source.choice([1, 100, 5_000, 70_000]))
        sent += piece
        server.prompt.write(piece)
        if source.random() < 0.1:
            await deferLater(reactor, 0)
            read(client, received, 10_000)
    server.prompt.unregisterProducer()
    server.prompt.loseConnection()
    await eventually(lambda: read(client, received))
    assert received == sent


@ensure_deferred
async def test_what_others_write_to_the_transport_itself_stays_whole(pair):
    """Autobahn writes by the same object; a rest of one write never comes behind a later one."""
    server, client = pair
    received = bytearray()
    server.prompt.write(b"a" * 20_000_000)
    server.prompt.write(b"b")
    assert writers(), "it fitted: try more"
    server.prompt.write(b"c" * (PROMPT_SIZE + 1))
    server.prompt.unregisterProducer()
    server.prompt.loseConnection()
    await eventually(lambda: read(client, received))
    assert received == b"a" * 20_000_000 + b"b" + b"c" * (PROMPT_SIZE + 1)


@ensure_deferred
async def test_writing_to_a_client_that_has_gone_does_no_harm(pair):
    server, client = pair
    client.close()
    for _ in range(20):
        server.prompt.write(b"hello")
        await deferLater(reactor, 0)
    await eventually(lambda: server.lost)
    server.prompt.write(b"hello")
    server.prompt.flush()


def test_other_transports_are_written_to_as_ever():
    clock, transport = Clock(), StringTransport()
    PromptTransport(transport, Turns(clock)).write(b"hello")
    assert transport.value() == b"hello"


def test_one_that_fails_keeps_nobody_else_waiting():
    class Failing:
        def flush(self):
            raise OSError

    class Other:
        flushed = False

        def flush(self):
            self.flushed = True

    clock, other = Clock(), Other()
    turns = Turns(clock)
    turns.flush_soon(Failing())
    turns.flush_soon(other)
    clock.advance(0)
    assert other.flushed
    other.flushed = False
    turns.flush_soon(other)
    clock.advance(0)
    assert other.flushed
