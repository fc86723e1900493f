"""When a run is looked at, and what clients are told of its readiness."""

import pytest
from lifecycle_fakes import FakeWorker, Message, Reader, World, exited, moment, started

from overseer.core.process import Outcome
from overseer.core.readiness import HttpCheck, LogLineCheck, ReadinessProbe, TcpCheck

PROBE = ReadinessProbe(
    check=TcpCheck(host="h", port="[[.seconds]]"),
    initial_delay=2.0,
    period=10.0,
    success_threshold=2,
    failure_threshold=2,
)


def ready(is_ready: bool, reason: str | None = None, *, at: float = 0.0) -> Message:
    message: Message = {
        "type": "ready",
        "task_id": "a",
        "pid": 7,
        "ready": is_ready,
        "ts": moment(at),
    }
    return message if reason is None else {**message, "reason": reason}


def run(world: World, probe: ReadinessProbe = PROBE) -> tuple[FakeWorker, Reader]:
    world.settings.readiness = probe
    reader = world.reader("a")
    worker = world.run()
    reader.messages.clear()
    return worker, reader


def test_a_run_is_looked_at_again_and_again(world: World) -> None:
    """First after the delay, then a period after the last answer, never two at a time."""
    _, reader = run(world)
    world.clock.advance(1.9)
    assert world.looks == []
    world.clock.advance(0.1)
    ((look, _),) = world.looks
    assert (look.check, look.task_id, look.timeout) == (TcpCheck(host="h", port="1"), "a", 1.0)
    world.clock.advance(100.0)
    assert len(world.looks) == 1
    world.answer()
    world.clock.advance(10.0)
    assert len(world.looks) == 2
    assert reader.messages == []
    world.answer()
    assert reader.messages == [ready(True, at=112.0)]
    assert [info.ready for info in world.infos()] == [True]


def test_readiness_ceases_for_a_reason(world: World) -> None:
    _, reader = run(world)
    world.clock.advance(2.0)
    for reason in ("", "", "", "first", "second"):
        world.answer(reason)
        world.clock.advance(10.0)
    assert reader.messages == [ready(True, at=12.0), ready(False, "second", at=42.0)]
    assert [info.ready for info in world.infos()] == [False]


@pytest.mark.parametrize("answered", [True, False])
def test_the_end_of_a_run_ends_the_looks(world: World, answered: bool) -> None:
    """Its exit says that it is ready no more; a look that is under way is ended."""
    worker, reader = run(world)
    world.clock.advance(2.0)
    if answered:
        world.answer()
        world.clock.advance(10.0)
        world.answer()
        reader.messages.clear()
    worker.end(Outcome(0))
    assert reader.messages == [exited("a", 7, Outcome(0), at=world.clock.seconds())]
    assert [info.ready for info in world.infos()] == [False]
    assert world.looks[-1][1].called
    assert world.leftovers() == {}


def test_a_stop_ends_the_looks_at_once(world: World) -> None:
    worker, _ = run(world)
    world.clock.advance(2.0)
    world.supervisor.stop("a")
    assert world.looks[-1][1].called
    worker.end(Outcome(0))
    world.settle()


def test_the_next_run_starts_from_nothing(world: World) -> None:
    worker, reader = run(world)
    world.clock.advance(2.0)
    world.answer()
    worker.end(Outcome(0))
    world.run(pid=8)
    assert reader.messages[-1] == started("a", 8, at=2.0)
    world.clock.advance(2.0)
    world.answer()
    assert [info.ready for info in world.infos()] == [False]


def test_a_line_says_it(world: World) -> None:
    """In either stream, whatever is filtered from it, once."""
    worker, reader = run(world, ReadinessProbe(check=LogLineCheck(text="up: [[.seconds]]")))
    worker.write(b"up: 2\nup: ")
    assert reader.messages[-1]["data"] == "up: 2"
    worker.write(b"1 of 1\nup: 1\n", "stderr")
    assert [m for m in reader.messages if m["type"] == "ready"] == [ready(True)]
    worker.write(b"up: 1\n")
    assert [m for m in reader.messages if m["type"] == "ready"] == [ready(True)]
    assert world.looks == []


def test_what_cannot_be_rendered_is_told(world: World) -> None:
    world.settings.readiness = ReadinessProbe(check=TcpCheck(host="[[slice .seconds 5]]", port="1"))
    reader = world.reader("a")
    world.run()
    message = reader.messages[-1]
    assert message["ready"] is False
    assert message["reason"].startswith("readiness_probe: template line 1")
    assert world.looks == []


def test_without_a_probe_nothing_is_said(world: World) -> None:
    world.run()
    assert [info.ready for info in world.infos()] == [None]


def test_secrets_are_rendered_for_the_look_alone(world: World) -> None:
    check = HttpCheck(host="h", scheme="http", path="/[[.seconds]]", port="", status_code=200)
    _, reader = run(world, ReadinessProbe(check=check))
    world.clock.advance(0.0)
    look, _ = world.looks[0]
    assert isinstance(look.check, HttpCheck)
    assert look.check.url == "http://h/1"
    assert reader.messages == []
