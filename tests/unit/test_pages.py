"""What the plain HTTP paths tell: here, how the daemon is; the rest is asked of a real one."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from lifecycle_fakes import World
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from overseer.documents import Documents
from overseer.pages import Pages
from overseer.web.root import Answer, Question
from overseer.web.routes import HEALTH, METRICS, READY, ROUTES, WEBSOCKET, Route

WORKS, FAILS = SimpleNamespace(failing=False), SimpleNamespace(failing=True)


class Reactor(Clock):
    """A clock and a pool of threads that work when they are told to."""

    def __init__(self) -> None:
        super().__init__()
        self.work: list[Callable[[], None]] = []

    def getThreadPool(self) -> "Reactor":
        return self

    def callFromThread(self, function: Callable[..., object], *arguments: object) -> None:
        function(*arguments)

    def callInThreadWithCallback(
        self,
        told: Callable[[bool, object], None],
        function: Callable[..., object],
        *arguments: object,
    ) -> None:
        self.work.append(lambda: told(True, function(*arguments)))


def pages(
    *,
    ready: bool = True,
    history: object = None,
    event_log: object = None,
    reactor: Reactor | None = None,
) -> Pages:
    documents = Documents(World().supervisor, lambda: "test")
    return Pages(
        reactor or Reactor(),
        None,
        None,
        documents,
        history=history,
        event_log=event_log,
        orphans_ended=lambda: 0,
        ready=lambda: ready,
    )


def ask(pages: Pages, route: Route) -> tuple[int, Any]:
    answer = pages.by_route[route](Question({}, ""))
    assert isinstance(answer, Answer)
    return answer.status, json.loads(answer.body)


def test_every_route_has_a_page() -> None:
    """But for the WebSocket, which has none."""
    assert {WEBSOCKET, *pages().by_route} == set(ROUTES)


def test_not_ready() -> None:
    """A load balancer reads the status; the process answers all the same."""
    starting = pages(ready=False)
    assert ask(starting, READY) == (503, {"status": "not ready"})
    assert ask(starting, HEALTH) == (200, {"status": "ok"})


@pytest.mark.parametrize(
    ("parts", "failing"),
    [
        ({}, []),
        ({"history": WORKS, "event_log": WORKS}, []),
        ({"history": FAILS}, ["history"]),
        ({"history": FAILS, "event_log": FAILS}, ["history", "event log"]),
    ],
)
def test_what_fails_is_told_without_sending_clients_away(
    parts: dict[str, object], failing: list[str]
) -> None:
    """A disk that is full ends no task: whoever looks at more than the status learns of it."""
    told = {"status": "ok", "failing": failing} if failing else {"status": "ok"}
    assert ask(pages(**parts), READY) == (200, told)


def test_what_the_first_scrape_imports_holds_nobody_up() -> None:
    """A thread does that, and who asks meanwhile waits for it, too."""
    reactor = Reactor()
    told = pages(reactor=reactor)
    answers: list[Answer] = []
    for _ in range(2):
        answer = told.by_route[METRICS](Question({}, ""))
        assert isinstance(answer, Deferred)
        answer.addCallback(answers.append)
    assert not answers
    told.close()
    for work in reactor.work:
        work()
    assert [answer.status for answer in answers] == [503, 503]
    assert reactor.getDelayedCalls() == [], "it measures on after its end"
