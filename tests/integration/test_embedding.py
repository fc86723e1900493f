"""An overseer inside another program: no socket, no process of its own, the same words as on the wire."""

import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
import treq
from test_client import everything, lines, script, twisted
from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import Site

from overseer import OverseerService
from overseer.client import ConnectionLost, ConnectionRefused, RequestRefused, Unauthorized, connect
from overseer.core.config import ConfigError
from overseer.protocol.messages import Exited, Message, Started

SH = {
    "type": "exec",
    "config": {
        "entrypoint": "sh",
        "command": ["-c", "[[.script]]"],
        "parameters": {"script": {}},
    },
}
CONFIG: dict[str, Any] = {"actions": {"sh": SH}}
Embed = Callable[..., OverseerService]


@pytest.fixture
def embed() -> Iterator[Embed]:
    """Start services in the reactor of the tests, and stop them after the test."""
    services: list[OverseerService] = []

    def embed(config: Any = CONFIG, **options: Any) -> OverseerService:
        service = OverseerService(config, reactor=reactor, **{"listen": (), **options})
        service.startService()
        services.append(service)
        return service

    yield embed
    for service in services:
        if service.running:
            pytest_twisted.blockon(service.stopService())


async def take(events: Any, count: int) -> AsyncIterator[Message]:
    """Yield so many events, and leave the rest."""
    async for event in events:
        yield event
        count -= 1
        if not count:
            return


@twisted
async def test_it_is_asked_without_a_socket(embed: Embed) -> None:
    """Everything that a client may ask, by the same names, and events in their order."""
    service = embed()
    await service.started
    started, *output, exited = await everything(service.run("sh", params=script("seq 3; exit 5")))
    assert isinstance(started, Started)
    assert lines(output) == ["1", "2", "3"]
    assert isinstance(exited, Exited)
    assert exited.exit_code == 5
    (task,) = (await service.list()).tasks
    assert (task.task_id, task.last_exit_code) == (started.task_id, 5)
    assert lines(await service.replay(task.task_id, since_seq=1)) == ["2", "3"]
    with pytest.raises(RequestRefused, match=r'^unknown action: "nope"$'):
        await service.start("nope")
    await service.start("sh", "long", script("exec sleep 100"))
    with pytest.raises(RequestRefused, match="already running"):
        await service.start("sh", "long", script("exec sleep 100"))


@twisted
async def test_what_is_asked_too_early_waits_and_too_late_fails(embed: Embed) -> None:
    """Before the start there is no answer yet, after the stop there is none any more."""
    service = OverseerService(CONFIG, reactor=reactor, listen=())
    events = service.subscribe("*", output=False)
    start = service.start("sh", "long", script("exec sleep 100"))
    service.startService()
    assert isinstance(await start, Started)
    await service.stopService()
    exited = [event async for event in take(events, 2)][-1]
    assert isinstance(exited, Exited)
    assert exited.intentional
    with pytest.raises(ConnectionLost, match="the overseer has stopped"):
        await everything(events)
    with pytest.raises(ConnectionLost):
        await service.list()


@twisted
async def test_a_slow_application_loses_nothing(embed: Embed) -> None:
    """What it does not take yet holds the child back, as with every client."""
    service = embed()
    count = 0
    async for batch in service.run("sh", params=script("seq 100000")).batches():
        count += len(lines(batch))
        if count < 50_000:
            await service.list()
    assert count == 100_000


@twisted
async def test_two_services_know_nothing_of_each_other(embed: Embed) -> None:
    """Not their actions, not their tasks, not their end."""
    one = embed()
    two = embed({"actions": {"other": SH}})
    await one.start("sh", "same", script("exec sleep 100"))
    await two.start("other", "same", script("echo two; exec sleep 100"))
    with pytest.raises(RequestRefused, match="unknown action"):
        await two.start("sh")
    await one.stopService()
    (task,) = (await two.list()).tasks
    assert (task.task_id, task.action, task.state) == ("same", "other", "active")


@pytest.mark.parametrize("form", ["mapping", "text", "file"])
def test_every_form_of_a_configuration(form: str, tmp_path: Path) -> None:
    """A mapping, YAML text or a file: each is checked, and its mistakes are told alike."""
    text = "actions:\n  sh: {type: exec, config: {entrypoint: sh, comand: []}}\n"
    given: Any = {"actions": {"sh": {"type": "exec", "config": {"entrypoint": "sh", "comand": []}}}}
    if form == "text":
        given = text
    elif form == "file":
        given = tmp_path / "overseer.yaml"
        given.write_text(text)
    with pytest.raises(ConfigError, match=r'comand: unknown key, did you mean "command"'):
        OverseerService(given, reactor=reactor)


def test_variables_of_the_program_are_not_for_an_embedded_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An application that itself runs below an overseer has OVERSEER_ variables, too."""
    monkeypatch.setenv("OVERSEER_LISTEN", ":1")
    service = OverseerService({"listen": ":2", **CONFIG}, reactor=reactor)
    assert service.config.listen == (":2",)


# ----------------------------------------------------------------------- below another site


@pytest.fixture
def mount(embed: Embed) -> Iterator[Callable[..., str]]:
    """Put a service below ``/tools`` of a site and return the URL of that place."""
    ports = []

    def mount(config: Any = CONFIG) -> str:
        site_root = Resource()
        site_root.putChild(b"tools", embed(config).resource())
        port = reactor.listenTCP(0, Site(site_root), interface="127.0.0.1")
        ports.append(port)
        return f"127.0.0.1:{port.getHost().port}/tools"

    yield mount
    for port in ports:
        pytest_twisted.blockon(port.stopListening())


@twisted
async def test_a_resource_of_another_site(mount: Callable[..., str]) -> None:
    """WebSocket and plain paths below the place where it was put."""
    place = mount()
    async with await connect(f"ws://{place}/ws", reactor=reactor) as client:
        events = await everything(client.run("sh", params=script("seq 20000")))
        assert len(lines(events)) == 20_000
    ready = await treq.get(f"http://{place}/readyz", persistent=False)
    assert (ready.code, await ready.json()) == (200, {"status": "ok"})
    manifest = await (await treq.get(f"http://{place}/ws/manifest", persistent=False)).json()
    assert "sh" in str(manifest)
    missing = await treq.get(f"http://{place}/nothing", persistent=False)
    assert (missing.code, (await missing.json())["path"]) == (404, "/nothing")


@twisted
async def test_its_access_rules_hold_there_too(mount: Callable[..., str]) -> None:
    """Tokens, their roles, pages of other origins, and the limit on connections."""
    tokens = [
        {"name": "me", "token": "0123456789abcdef"},
        {"name": "you", "token": "fedcba9876543210", "role": "viewer"},
    ]
    place = mount({**CONFIG, "auth": {"tokens": tokens}, "limits": {"connections": 1}})
    url = f"ws://{place}/ws"
    with pytest.raises(Unauthorized):
        await connect(url, reactor=reactor)
    async with await connect(url, token="fedcba9876543210", reactor=reactor) as viewer:
        with pytest.raises(RequestRefused, match="not permitted"):
            await viewer.start("sh", params=script("true"))
        assert (await viewer.list()).tasks == []
        with pytest.raises(ConnectionRefused, match="503: too many connections"):
            await connect(url, token="0123456789abcdef", reactor=reactor)
    refused = await treq.get(
        f"http://{place}/ws/manifest", headers={"Origin": "http://evil.example"}, persistent=False
    )
    assert refused.code == 403


# ------------------------------------------------------------------------------ the process around it


def test_the_process_stays_as_it_was() -> None:
    """No signal handler, no limit, no subreaper is changed: only the program does that."""
    program = f"""
        import ctypes, os, resource, signal, sys
        from twisted.internet import reactor
        from twisted.internet.defer import Deferred
        from overseer import OverseerService

        def state():
            subreaper = ctypes.c_int()
            ctypes.CDLL(None).prctl(37, ctypes.byref(subreaper), 0, 0, 0)
            return (
                [signal.getsignal(number) for number in signal.valid_signals()],
                resource.getrlimit(resource.RLIMIT_NOFILE),
                subreaper.value,
                os.umask(0o22),
                reactor.seconds,
                )

        async def main():
            before = state()
            service = OverseerService({CONFIG!r}, listen=["127.0.0.1:0"])
            service.startService()
            events = [e async for e in service.run("sh", params={{"script": "echo hello"}})]
            print(events[1].data)
            during = state()
            await service.stopService()
            print(during == before, state() == before)
            reactor.stop()

        reactor.callWhenRunning(lambda: Deferred.fromCoroutine(main()).addErrback(print))
        reactor.run()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("hello\nTrue True\n", "")
