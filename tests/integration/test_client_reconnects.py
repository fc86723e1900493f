"""Lost connections: every line comes once and in order, whatever happens between the client and the daemon."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from conftest import SHELL, Daemon
from test_client import everything, lines, script, twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.protocols.portforward import ProxyFactory, ProxyServer

from overseer.client import ConnectionLost, RequestTimeout, connect
from overseer.protocol.messages import Exited, List, Output, Started


class Cable:
    """What connects clients with the daemon, until it is pulled out."""

    def __init__(self, daemon: Daemon) -> None:
        self.connections: set[Any] = set()
        cable = self

        class Server(ProxyServer):
            def connectionMade(self) -> None:
                cable.connections.add(self)
                super().connectionMade()

            def connectionLost(self, reason: Any) -> None:
                cable.connections.discard(self)
                super().connectionLost(reason)

        factory = ProxyFactory("127.0.0.1", daemon.port)
        factory.protocol = Server
        self._factory = factory
        self._port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.number = self._port.getHost().port

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.number}/ws"

    def cut(self) -> None:
        """End every connection, without a word."""
        for connection in list(self.connections):
            connection.transport.abortConnection()

    def unplug(self) -> Deferred[None]:
        """Take no connection any more."""
        stopped = self._port.stopListening()
        self.cut()
        return stopped

    def plug_in(self) -> None:
        """Take connections again, at the same place."""
        self._port = reactor.listenTCP(self.number, self._factory, interface="127.0.0.1")


@pytest.fixture
def cable(daemon: Daemon) -> Iterator[Cable]:
    cable = Cable(daemon)
    yield cable
    pytest_twisted.blockon(cable.unplug())


LONG_MEMORY = SHELL + "replay_buffer: 1000000\nreplay_bytes: 512MiB\n"


async def count_through_cuts(cable: Cable, total: int, cuts: int) -> None:
    """Follow a task that counts, while the connection is cut again and again."""
    async with await connect(cable.url, reactor=reactor) as client:
        seen: list[int] = []
        done = 0
        async for events in client.run("sh", params=script(f"seq {total}")).batches():
            seen += [int(event.data) for event in events if isinstance(event, Output)]
            if len(seen) > (done + 1) * total // (cuts + 1) and done < cuts:
                done += 1
                cable.cut()
        assert isinstance(events[-1], Exited)
        assert done == cuts
        assert seen == list(range(1, total + 1))


@twisted
async def test_every_line_comes_once_through_ten_cuts(launch: Callable[..., Daemon]) -> None:
    """Ten cuts in 50,000 lines: none is missing, none comes twice, and the end is told."""
    cable = Cable(launch(LONG_MEMORY))
    await count_through_cuts(cable, total=50_000, cuts=10)
    await cable.unplug()


@pytest.mark.slow
@pytest_twisted.ensureDeferred
async def test_every_line_comes_once_through_fifty_cuts(launch: Callable[..., Daemon]) -> None:
    """The same for half a million lines and fifty cuts."""
    cable = Cable(launch(LONG_MEMORY))
    await count_through_cuts(cable, total=500_000, cuts=50)
    await cable.unplug()


@twisted
async def test_the_command_prints_every_line_once(launch: Callable[..., Daemon]) -> None:
    """``overseer run`` goes on behind the last line that it has printed."""
    cable = Cable(launch(LONG_MEMORY))
    printed, size = [], 0
    ended: Deferred[int] = Deferred()

    class Command(ProcessProtocol):
        def outReceived(self, data: bytes) -> None:
            nonlocal size
            printed.append(data)
            if size // 250_000 < (size + len(data)) // 250_000:
                cable.cut()
            size += len(data)

        def processEnded(self, reason: Any) -> None:
            ended.callback(reason.value.exitCode)

    words = ["-m", "overseer", "run", "sh", "--url", cable.url, "-p", "script=seq 200000; exit 3"]
    command = Command()
    reactor.spawnProcess(command, sys.executable, [sys.executable, *words], childFDs={1: "r", 2: 2})
    assert await ended == 3
    assert b"".join(printed).split() == [b"%d" % number for number in range(1, 200_001)]
    await cable.unplug()


@twisted
async def test_what_was_asked_at_a_cut_has_failed(cable: Cable, tmp_path: Path) -> None:
    """A request that was on its way fails; the next one waits for the next connection."""
    async with await connect(cable.url, reactor=reactor) as client:
        deaf_once = f"mkdir {tmp_path}/deaf && trap '' TERM; echo; exec sleep 100"
        async for event in client.run("sh", params=script(deaf_once)):
            if isinstance(event, Started):
                started = event
            else:
                break
        asked = Deferred.fromCoroutine(client.restart(started.task_id, grace=60))
        await client.list()  # by now it is there
        cable.cut()
        with pytest.raises(ConnectionLost):
            await asked
        (task,) = (await client.list()).tasks
        assert task.task_id == started.task_id
        os.kill(started.pid, signal.SIGKILL)


@twisted
async def test_a_task_that_ends_during_an_outage(cable: Cable, daemon: Daemon) -> None:
    """The iteration ends after the last lines, though the exit happened while nobody was connected."""
    async with await connect(cable.url, reactor=reactor) as client:
        with daemon.client() as other:
            go = daemon.folder / "go"
            wait = f"until [ -e {go} ]; do sleep 0.02; done"
            events = client.run("sh", "short", script(f"echo one; {wait}; echo two"))
            got = []
            async for event in events:
                got.append(event)
                if lines([event]) == ["one"]:
                    break
            await cable.unplug()
            other.ask(type="subscribe", task_id="short")
            go.touch()
            other.until("exited")
            cable.plug_in()
            got += await everything(events)
    assert lines(got) == ["one", "two"]
    assert isinstance(got[-1], Exited)


@twisted
async def test_a_request_that_nobody_answers(cable: Cable) -> None:
    """Without a connection it waits, but not for ever."""
    async with await connect(cable.url, reactor=reactor) as client:
        await cable.unplug()
        while client.connected:
            await deferLater(reactor, 0)
        with pytest.raises(RequestTimeout, match=r"list: no answer within 0\.05 seconds"):
            await client.request(List(""), timeout=0.05)
        cable.plug_in()
        assert (await client.list()).tasks == []


@twisted
async def test_a_slow_reader_pauses_the_connection(daemon: Daemon) -> None:
    """What waits here stays small, requests are still answered, and not a line is missing."""
    async with await connect(daemon.url, reactor=reactor) as client:
        total = 100_000
        events = client.run("sh", params=script(f"seq {total}"))
        count, most = 0, 0
        async for batch in events.batches():
            count += len(lines(batch))
            most = max(most, len(batch))
            if count < total // 2:
                await client.list()
        assert count == total


def test_it_works_for_asyncio(daemon: Daemon) -> None:
    """In a program of asyncio, on Twisted's asyncio reactor."""
    program = f"""
        import asyncio
        from twisted.internet import asyncioreactor

        async def main():
            asyncioreactor.install(asyncio.get_running_loop())
            from overseer.client import connect
            async with await connect("{daemon.url.replace("127.0.0.1", "localhost")}") as client:
                run = client.run("sh", params={{"script": "echo one; echo two; exit 7"}})
                async for event in run:
                    print(event.__struct_config__.tag, getattr(event, "data", ""))
                tasks = asyncio.gather(client.list(), client.describe())
                print([type(answer).__name__ for answer in await tasks])
                async with asyncio.timeout(20):
                    print((await client.stop(run.task_id)).task_id == run.task_id)
        asyncio.run(main())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.split("\n") == [
        "started ",
        "output one",
        "output two",
        "exited ",
        "['Tasks', 'Actions']",
        "True",
        "",
    ]
