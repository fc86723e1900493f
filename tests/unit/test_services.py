"""Services: when they are started, what their submissions are answered, and how they end."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs
import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import capturedLogs

from overseer.drivers.interfaces import Action, DriverServices
from overseer.drivers.services import ServiceHandler, Submission, Submitter
from overseer.lifecycle.requests import RequestError, Starter
from overseer.services import AGAIN, Services
from overseer.testing import FakeReactor

Body = Callable[[Submitter], Awaitable[None]]


class Handler(ServiceHandler):
    def __init__(self, body: Body) -> None:
        self.body = body

    async def run_service(self, submitter: Submitter) -> None:
        await self.body(submitter)


@attrs.frozen
class Settings:
    name: str = "service"
    stop_grace: float = 5.0
    cgroup: bool = False


@attrs.define
class Record:
    state: str = "active"

    @property
    def finished(self) -> bool:
        return self.state == "stopped"


@attrs.define
class Task:
    record: Record = attrs.field(factory=Record)


class Supervisor:
    """Remembers what was started; ``state`` is that of the next task, ``refusal`` why there is none."""

    def __init__(self) -> None:
        self.starters: list[Starter] = []
        self.tasks: dict[str, Task] = {}
        self.state = "active"
        self.refusal: RequestError | None = None

    def start(
        self, action: str, task_id: str | None, params: Mapping[str, str], starter: Starter
    ) -> str:
        if self.refusal is not None:
            raise self.refusal
        name = task_id or f"id-{len(self.starters)}"
        self.starters.append(starter)
        self.tasks[name] = Task(Record(self.state))
        return name

    def task(self, task_id: str) -> Task:
        return self.tasks[task_id]

    def find(self, task_id: str) -> Task | None:
        return self.tasks.get(task_id)


class World:
    def __init__(self) -> None:
        self.reactor = FakeReactor()
        self.supervisor = Supervisor()
        self.services = Services(self.reactor, self.supervisor, lambda: 0.0)

    def action(self, body: Body) -> Action:
        services = DriverServices(start_process=None, reactor=self.reactor, environment={})
        return Action(settings=Settings(), handler=Handler(body), services=services)

    def run(self, body: Body) -> None:
        self.services.run({"service": self.action(body)})
        self.reactor.advance(0)


@pytest.fixture
def world() -> World:
    return World()


def answers(world: World, *asked: tuple[str, bool]) -> list[Submission]:
    """Submit tasks with these ids, waiting or not; return the answers, which come as they come."""
    told: list[Submission] = []

    async def body(submitter: Submitter) -> None:
        for task_id, wait in asked:
            told.append(await submitter.submit("convert", task_id, {}, wait=wait))

    world.run(body)
    return told


def test_a_submission_is_answered_once_the_task_has_begun(world: World) -> None:
    """With its id."""
    told = answers(world, ("", False))
    assert told == []
    world.supervisor.starters[0].began()
    assert told == [Submission("started", "id-0")]


def test_a_task_that_waits(world: World) -> None:
    """It is told at once, or when it has begun, as was asked."""
    world.supervisor.state = "queued"
    told = answers(world, ("a", False), ("b", True), ("c", True))
    assert told == [Submission("queued", "a")]
    world.supervisor.starters[1].began()
    world.supervisor.starters[2].left("purged")
    assert told[1:] == [Submission("started", "b"), Submission("rejected", "c", "purged")]


def test_a_task_that_cannot_begin(world: World) -> None:
    """The reason is that of an error of a client."""
    told = answers(world, ("a", False))
    world.supervisor.starters[0].fail('cannot execute "x": No such file or directory')
    assert told[0].reason.startswith("cannot execute")


@pytest.mark.parametrize(
    ("refusal", "answer"),
    [
        (RequestError("no such thing"), Submission("rejected", "t", "no such thing")),
        (RequestError("duplicate", "other"), Submission("duplicate", "other", "duplicate")),
    ],
)
def test_a_submission_that_is_refused(
    world: World, refusal: RequestError, answer: Submission
) -> None:
    """A duplicate is told by the task that is in its way."""
    world.supervisor.refusal = refusal
    assert answers(world, ("t", False)) == [answer]


def test_a_task_that_runs_already_is_a_duplicate(world: World) -> None:
    """Of itself."""
    world.supervisor.tasks["t"] = Task()
    world.supervisor.refusal = RequestError("task already running or starting")
    assert answers(world, ("t", False))[0].status == "duplicate"


def test_a_service_that_fails_is_started_again(world: World) -> None:
    """Later and later; one that has done its work is not."""
    calls: list[float] = []

    async def body(_submitter: Submitter) -> None:
        calls.append(world.reactor.seconds())
        if len(calls) < 4:
            raise RuntimeError("broken")

    with capturedLogs() as logs:
        world.run(body)
        world.reactor.pump([0.5] * 40)
    delay = AGAIN.restart_delay
    assert calls == [0, delay, 3 * delay, 7 * delay]
    assert "RuntimeError: broken" in [log.get("text") for log in logs]
    assert world.reactor.getDelayedCalls() == []
    assert world.services.stop().called


def test_blocking_calls_are_made_in_a_thread(world: World) -> None:
    """What they raise is raised."""
    told: list[Any] = []

    async def body(submitter: Submitter) -> None:
        told.append(await submitter.in_thread(lambda: 5))
        try:
            await submitter.in_thread(lambda: 1 // 0)
        except ZeroDivisionError as error:
            told.append(str(error))

    world.run(body)
    world.reactor.wait_for(lambda: len(told) == 2)
    assert told[0] == 5


def test_a_reload_changes_what_has_changed(world: World) -> None:
    """The old one ends before the new one begins; one that is the same goes on."""
    story: list[str] = []

    def body(name: str) -> Body:
        async def run(submitter: Submitter) -> None:
            story.append(f"{name} begins")
            try:
                await submitter.sleep(100)
            finally:
                await submitter.sleep(1) if name == "old" else None
                story.append(f"{name} ends")

        return run

    old, new = world.action(body("old")), world.action(body("new"))
    world.services.run({"service": old})
    world.reactor.advance(0)
    world.services.run({"service": old})
    world.services.run({"service": new})
    world.reactor.advance(0)
    assert story == ["old begins"]
    world.reactor.advance(1)
    assert story == ["old begins", "old ends", "new begins"]
    ended = world.services.stop()
    world.reactor.advance(0)
    assert (ended.called, story[-1]) == (True, "new ends")
    assert world.reactor.getDelayedCalls() == []


def test_a_service_that_waits_to_be_started_again_is_stopped(world: World) -> None:
    """At once."""

    async def body(_submitter: Submitter) -> None:
        raise RuntimeError("broken")

    world.run(body)
    assert world.services.stop().called
    assert world.reactor.getDelayedCalls() == []


def test_a_shutdown_does_not_wait_for_ever(world: World) -> None:
    """One that goes on is closed after its grace."""

    async def body(_submitter: Submitter) -> None:
        while True:
            try:
                await Deferred()
            except CancelledError:
                continue

    world.run(body)
    ended = world.services.stop()
    world.reactor.advance(4.9)
    assert not ended.called
    world.reactor.advance(0.1)
    world.reactor.advance(0)
    assert ended.called
    assert world.reactor.getDelayedCalls() == []
