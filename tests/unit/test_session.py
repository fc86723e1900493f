"""One client's requests: in which order they are worked off, and when, and whether it may ask them."""

import json

import pytest
from session_fakes import Client, Daemon, error
from twisted.logger import capturedLogs

from overseer.core.tokens import Role
from overseer.protocol.fields import fields_of
from overseer.protocol.messages import (
    REQUESTS,
    Request,
    tag_of,
)
from overseer.protocol.outbox import BEHIND_SIZE
from overseer.session import BACKLOG_SIZE, TURN


@pytest.fixture
def daemon() -> Daemon:
    return Daemon()


@pytest.fixture
def client(daemon: Daemon) -> Client:
    return Client(daemon)


def test_requests_are_counted_by_type_and_result(daemon: Daemon) -> None:
    """What is refused or cannot be done is an error; what was no request has no type."""
    client = Client(daemon)
    client.ask(type="list")
    client.ask(type="list")
    client.ask(type="stop", task_id="nobody")
    client.ask(type="dance")
    Client(daemon, role="viewer").ask(type="start", action="echo")
    assert daemon.supervisor.counters.requests == {
        ("list", "ok"): 2,
        ("stop", "error"): 1,
        ("", "error"): 1,
        ("start", "error"): 1,
    }


# ------------------------------------------------------------------------------ what goes wrong


def test_an_internal_error_is_answered_and_logged(
    daemon: Daemon, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client learns that the fault is not its own, the log knows the rest, and work goes on."""

    def fail(*_: object, **__: object) -> None:
        raise KeyError("secret")

    monkeypatch.setattr(daemon.supervisor, "subscribe", fail)
    with capturedLogs() as logged:
        client.send(type="subscribe", id="r1", task_id="a")
        client.send(type="list", id="r2")
        daemon.clock.advance(0)
    assert client.told() == [
        *error("internal error: see the log of the daemon"),
        {"type": "tasks", "id": "r2", "tasks": []},
    ]
    assert [(event["kind"], event["log_failure"].type) for event in logged] == [
        ("subscribe", KeyError)
    ]


def test_what_cannot_be_understood_does_not_disturb_the_order(
    daemon: Daemon, client: Client
) -> None:
    """Every request has its answer, in turn."""
    for data in (b'{"id":"1","type":"list"}', b"[", b'{"id":"2"}', b'{"id":"3","type":"list"}'):
        client.session.receive(data)
    daemon.clock.advance(0)
    assert [(message["type"], message["id"]) for message in client.told()] == [
        ("tasks", "1"),
        ("error", ""),
        ("error", "2"),
        ("tasks", "3"),
    ]


# -------------------------------------------------------------------------------------- fairness


def test_a_burst_is_worked_off_in_turns(daemon: Daemon, client: Client) -> None:
    """Another client is served in between, and no turn takes much longer than it may."""
    other = Client(daemon)
    daemon.clock.step = TURN / 10
    for number in range(1000):
        client.send(type="list", id=str(number))
    other.send(type="list", id="other")
    assert client.told() == []
    turns = 0
    answered: list[str] = []
    while len(answered) < 1000:
        daemon.clock.turn()
        turns += 1
        if turns == 1:
            assert [message["id"] for message in other.told()] == ["other"]
        fresh = [message["id"] for message in client.told()]
        assert 1 <= len(fresh) <= 12
        answered += fresh
    assert answered == [str(number) for number in range(1000)]
    assert turns >= 80
    assert daemon.clock.getDelayedCalls() == []


def test_a_single_request_takes_one_turn_however_long_it_is(daemon: Daemon, client: Client) -> None:
    """Nothing is left to be done after it."""
    daemon.clock.step = 10 * TURN
    client.send(type="list", id="1")
    daemon.clock.turn()
    assert len(client.told()) == 1
    assert daemon.clock.getDelayedCalls() == []


def test_requests_wait_while_answers_are_unread(daemon: Daemon, client: Client) -> None:
    """Beyond a mebibyte of answers nothing is worked off until the client has taken some."""
    client.outbox.pause()
    for number in range(10):
        client.send(type="describe", id=str(number))
    daemon.clock.advance(0)
    assert BEHIND_SIZE < client.outbox.owed < BEHIND_SIZE + 310_000
    assert daemon.clock.getDelayedCalls() == []
    client.session.outbox_changed()
    daemon.clock.advance(0)
    assert client.told() == []
    client.resume()
    assert [message["id"] for message in client.told()] == ["0", "1", "2", "3"]
    daemon.clock.advance(0)
    assert [message["id"] for message in client.told()] == [str(number) for number in range(4, 10)]
    assert daemon.clock.getDelayedCalls() == []


def test_output_that_waits_does_not_hold_up_requests(daemon: Daemon) -> None:
    """A client that is behind with output can still stop the task."""
    client = daemon.begin()
    client.outbox.pause()
    for _ in range(3):
        daemon.output("x" * 900_000)
    client.send(type="stop", id="s", task_id="t")
    daemon.clock.advance(0)
    assert daemon.worker.calls == ["start", ("terminate", 5.0)]


def test_a_client_with_too_many_requests_waiting_is_not_read(
    daemon: Daemon, client: Client
) -> None:
    """Until they are fewer; each change is told once."""
    request = json.dumps({"type": "describe", "id": "r", "padding": "x" * 60_000}).encode()
    client.outbox.pause()
    for _ in range(8):
        client.session.receive(request)
    assert client.reading == [False]
    daemon.clock.advance(0)  # four of them are answered, then the answers are too many
    assert client.reading == [False, True]
    client.reading.clear()
    for _ in range(4):
        client.session.receive(request)
    daemon.clock.advance(0)
    assert client.reading == [False]
    client.resume()
    daemon.clock.advance(0)
    assert client.reading == [False, True]
    assert len(client.told()) == 12


def test_a_backlog_of_just_the_limit_is_still_read(daemon: Daemon, client: Client) -> None:
    """One byte more is not."""
    client.session.receive(b"x" * BACKLOG_SIZE)
    assert client.reading == []
    client.session.receive(b"x")
    assert client.reading == [False]
    daemon.clock.advance(0)
    assert client.reading == [False, True]


# ---------------------------------------------------------------------------------------- the end


def test_a_client_that_goes_leaves_nothing_behind(daemon: Daemon) -> None:
    """Waiting requests are dropped, subscriptions end, nothing is scheduled; the task goes on."""
    client = daemon.begin()
    client.send(type="stop", id="1", task_id="t")
    client.session.outbox_changed()
    assert len(daemon.clock.getDelayedCalls()) == 1
    client.session.close()
    client.session.close()
    assert daemon.clock.getDelayedCalls() == []
    client.session.outbox_changed()
    daemon.clock.advance(1)
    daemon.output("one")
    assert client.told() == []
    assert daemon.worker.calls == ["start"]
    assert daemon.supervisor.subscriptions.audience("t") == ()


def test_a_client_that_has_to_go_amid_its_requests(daemon: Daemon) -> None:
    """The rest of them has no effect any more."""
    other = daemon.begin()
    client = Client(daemon, limit=100)
    client.ask(type="subscribe", task_id="t")
    client.outbox.pause()
    client.outbox.send(b"x" * 40)
    daemon.output("x" * 100)
    daemon.output("left out")
    client.send(type="subscribe", id="1", task_id="t")  # tells of the gap, which is too much
    client.send(type="stop", id="2", task_id="t")
    daemon.clock.advance(0)
    assert client.overflows == 1
    assert daemon.worker.calls == ["start"]
    assert other.ask(type="list")
    assert client.told() == []


def test_a_start_that_fails_after_its_client_has_gone(daemon: Daemon, client: Client) -> None:
    """Nobody is told, and nothing breaks."""
    client.ask(type="start", action="echo", task_id="t")
    client.session.close()
    daemon.worker.fail("no such program")
    assert client.told() == []


VIEWER_REQUESTS = (
    *("list", "replay", "subscribe", "unsubscribe", "describe"),
    *("pool_info", "metrics", "manifest", "history"),
)


@pytest.mark.parametrize("request_class", REQUESTS, ids=tag_of)
@pytest.mark.parametrize("role", ["admin", "viewer"])
def test_a_viewer_only_looks(daemon: Daemon, request_class: type[Request], role: Role) -> None:
    """Its other requests are answered with an error that says why, and change nothing."""
    tag = tag_of(request_class)
    daemon.begin()
    client = Client(daemon, role=role)
    needed = {
        field.name: 1 if field.kind == "integer" else "t"
        for field in fields_of(request_class)
        if field.required
    }
    answers = client.ask(type=tag, **{**needed, "id": "r1"})
    refusal = {
        "type": "error",
        "id": "r1",
        "message": f'not permitted: "{tag}" needs the role admin, this client is a viewer',
    }
    if role == "admin" or tag in VIEWER_REQUESTS:
        assert refusal not in answers
    else:
        assert answers == [refusal]
        assert daemon.worker.calls == ["start"]
        assert len(daemon.supervisor.select()) == 1
