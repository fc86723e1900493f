"""What the plain HTTP paths tell: here, how the daemon is; the rest is asked of a real one."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from lifecycle_fakes import World
from twisted.internet.task import Clock

from overseer.documents import Documents
from overseer.pages import Pages
from overseer.web.root import Answer, Question
from overseer.web.routes import HEALTH, READY, ROUTES, WEBSOCKET, Route

WORKS, FAILS = SimpleNamespace(failing=False), SimpleNamespace(failing=True)


def pages(*, ready: bool = True, history: object = None, event_log: object = None) -> Pages:
    documents = Documents(World().supervisor, lambda: "test")
    return Pages(
        Clock(),
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
