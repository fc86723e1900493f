"""The client library against a real daemon, over every transport."""

import datetime
import functools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from conftest import DEADLINE, SHELL, Daemon
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.ssl import Certificate, optionsForClientTLS

from overseer.client import (
    Client,
    ConnectionRefused,
    RequestRefused,
    Unauthorized,
    connect,
)
from overseer.protocol.messages import (
    Errored,
    Exited,
    Message,
    Output,
    Restarting,
    RetryPolicy,
    Started,
)


def twisted(test: Callable[..., Any]) -> Callable[..., Any]:
    """Run a coroutine function as a test, within the deadline."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> Any:
        return Deferred.fromCoroutine(test(*args, **kwargs)).addTimeout(DEADLINE, reactor)

    return pytest_twisted.ensureDeferred(run)


def script(text: str) -> dict[str, str]:
    return {"script": text}


def lines(events: list[Message]) -> list[str]:
    return [event.data for event in events if isinstance(event, Output)]


async def everything(events: Any) -> list[Message]:
    return [event async for event in events]


Connect = Callable[..., Awaitable[Client]]


@pytest.fixture(scope="module")
def addresses(
    launch_shared: Callable[..., Daemon], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """An address for each transport, the first two of the same daemon."""
    folder = tmp_path_factory.mktemp("client")
    (folder / "stdio.yaml").write_text(SHELL)
    socket = folder / "overseer.sock"
    daemon = launch_shared(SHELL.replace('"127.0.0.1:0"', f'["127.0.0.1:0", "unix:{socket}"]'))
    return {"tcp": daemon.url, "unix": f"unix:{socket}", "stdio": f"stdio:{folder}/stdio.yaml"}


@pytest.fixture(params=["tcp", "unix", "stdio"])
def connected(request: Any, addresses: dict[str, str]) -> Connect:
    """Connect over each transport."""
    return functools.partial(connect, addresses[request.param], reactor=reactor)


@twisted
async def test_a_task_from_start_to_end(connected: Connect) -> None:
    """What a task prints and how it ends comes in order, and the iteration ends with it."""
    async with await connected() as client:
        events = await everything(client.run("sh", params=script("echo one; echo two >&2; exit 3")))
        started, *output, exited = events
        assert isinstance(started, Started)
        assert [(line.stream, line.data) for line in output] == [
            ("stdout", "one"),
            ("stderr", "two"),
        ]
        assert isinstance(exited, Exited)
        assert exited.exit_code == 3
        *_, task = (await client.list()).tasks
        assert (task.task_id, task.state) == (started.task_id, "stopped")


@twisted
async def test_start_follow_stop_replay(connected: Connect) -> None:
    """The requests of a day: each is answered by what its message says."""
    async with await connected() as client:
        started = await client.start("sh", params=script("seq 3; exec sleep 100"))
        assert isinstance(started, Started)
        ticker = started.task_id
        ticks: list[Message] = []
        async for event in client.subscribe(ticker, since_seq=0):
            ticks.append(event)
            if lines([event]) == ["3"]:
                break
        assert lines(ticks) == ["1", "2", "3"]
        async with client.subscribe(ticker) as events:
            assert (await client.stop(ticker, grace=1)).task_id == ticker
            async for event in events:
                assert isinstance(event, Exited)
                assert event.intentional
                break
        assert lines(await client.replay(ticker, since_seq=2)) == ["3"]


@twisted
async def test_a_run_goes_on_through_restarts(connected: Connect) -> None:
    """On request and by its policy: it ends with the last exit, or when too many of them made it errored."""
    async with await connected() as client:
        kinds = []
        async for event in client.run("sh", params=script("echo; exec sleep 100")):
            kinds.append(type(event))
            if kinds == [Started, Output]:
                restarted = Deferred.fromCoroutine(client.restart(event.task_id))
            elif len(kinds) == 5:
                await restarted
                await client.stop(event.task_id)
        assert kinds == [Started, Output, Exited, Started, Output, Exited]
        policy = RetryPolicy(error_threshold=2)
        events = client.run("sh", params=script("exit 3"), retry_policy=policy)
        kinds = [type(event) async for event in events]
        assert kinds == [Started, Exited, Restarting, Started, Exited, Errored]


@twisted
async def test_what_is_done_to_a_running_task(connected: Connect) -> None:
    """It is signalled; it has neither an input nor a terminal, and says so."""
    async with await connected() as client:
        sleeper = (await client.start("sh", params=script("exec sleep 100"))).task_id
        with pytest.raises(RequestRefused, match="`stdin: pipe`"):
            await client.input(sleeper, data="x")
        with pytest.raises(RequestRefused, match="`pty: true`"):
            await client.resize(sleeper, 24, 80)
        assert (await client.signal(sleeper, "KILL")).task_id == sleeper


@twisted
async def test_refusals_carry_the_words_of_the_server(connected: Connect) -> None:
    """An error is an exception with the server's text, also where a task is only followed."""
    async with await connected() as client:
        with pytest.raises(RequestRefused, match=r'^unknown action: "nope"$'):
            await client.start("nope")
        with pytest.raises(RequestRefused, match=r'^unknown action: "nope"$'):
            await everything(client.run("nope"))
        with pytest.raises(RequestRefused, match="since_seq"):
            await everything(client.subscribe("*", since_seq=3))


@twisted
async def test_no_connection_comes_with_a_hint(
    launch: Callable[..., Daemon], tmp_path: Path
) -> None:
    """Nobody there, the wrong token, no token: the exception says what to look at."""
    with pytest.raises(ConnectionRefused, match="is the overseer running"):
        await connect(f"unix:{tmp_path}/nobody.sock", reactor=reactor)
    daemon = launch(SHELL + "auth: {tokens: [{name: me, token: 0123456789abcdef}]}\n")
    with pytest.raises(Unauthorized, match="a token is needed"):
        await connect(daemon.url, reactor=reactor)
    with pytest.raises(Unauthorized, match="this token is not known"):
        await connect(daemon.url, token="0123456789abcdeg", reactor=reactor)
    async with await connect(daemon.url, token="0123456789abcdef", reactor=reactor) as client:
        assert (await client.list()).tasks == []


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A private key and its certificate for localhost, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "localhost.pem"
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(secret + certificate.public_bytes(pem))
    return path


@twisted
async def test_tls(launch: Callable[..., Daemon], certificate: Path) -> None:
    """Certificates of one's own can be trusted; one that nobody trusts is refused, and is the reason.

    Who connects without TLS is asked about it.
    """
    listen = f"ssl:0:interface=127.0.0.1:privateKey={certificate}:certKey={certificate}"
    daemon = launch(SHELL.replace("127.0.0.1:0", listen))
    port = daemon.wait_for_log(r"listening on wss://127\.0\.0\.1:(\d+)/ws")[1]
    url = f"wss://localhost:{port}/ws"
    tls = optionsForClientTLS("localhost", Certificate.loadPEM(certificate.read_bytes()))
    async with await connect(url, tls=tls, reactor=reactor) as client:
        assert lines(await everything(client.run("sh", params=script("echo one")))) == ["one"]
    with pytest.raises(ConnectionRefused, match=r"/ws: TLS: certificate verify failed$"):
        await connect(url, reactor=reactor)
    with pytest.raises(ConnectionRefused, match=r"without an answer: .*ws:// or wss://"):
        await connect(url.replace("wss:", "ws:"), reactor=reactor)


@twisted
async def test_tls_where_there_is_none(launch: Callable[..., Daemon]) -> None:
    """The client is told at once, and does not wait until the server has waited long enough for a request."""
    daemon = launch(SHELL)
    with pytest.raises(ConnectionRefused, match=r"/ws: it speaks no TLS: ws:// and not wss://\?$"):
        await connect(daemon.url.replace("ws:", "wss:"), reactor=reactor)
