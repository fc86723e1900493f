"""Deliveries in their order, again when they fail, bounded, and soon over in a shutdown."""

import json
from collections.abc import Mapping
from itertools import count
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from overseer.core.webhooks import ATTEMPTS, QUEUE_SIZE, Webhook, signature
from overseer.protocol.batch import lifecycle_batch
from overseer.protocol.messages import Dequeued, Errored, Exited, Message
from overseer.webhooks import CLOSE_TIMEOUT, Webhooks


class Receiver:
    """Webhooks on a clock that stands still, and what was posted; each post waits for an answer."""

    def __init__(self, *hooks: Webhook) -> None:
        self.clock = Clock()
        self.posts: list[tuple[str, Any, Mapping[str, str]]] = []
        self.answers: list[Deferred[int]] = []
        self.bodies: list[bytes] = []
        numbers = count(1)
        self.webhooks = Webhooks(
            self.clock,
            hooks,
            lambda task_id: f"action of {task_id}",
            post=self.post,
            new_id=lambda: str(next(numbers)),
            random=lambda: 1.0,
        )

    def post(
        self, url: str, body: bytes, headers: Mapping[str, str], timeout: float
    ) -> Deferred[int]:
        self.posts.append((url, json.loads(body), headers))
        self.bodies.append(body)
        self.answers.append(Deferred())
        return self.answers[-1]

    def tell(self, message: Message) -> None:
        self.webhooks.record(lifecycle_batch("a", message, 0, 0))

    def exit(self, code: int = 0) -> None:
        self.tell(Exited("a", 7, code, False, "now"))

    @property
    def codes(self) -> list[int]:
        return [body["exit_code"] for _, body, _ in self.posts]

    @property
    def headers(self) -> list[Mapping[str, str]]:
        return [headers for _, _, headers in self.posts]


HOOK = Webhook(url="http://one/")


def test_an_event_is_what_clients_are_told_and_its_action() -> None:
    receiver = Receiver(HOOK)
    receiver.exit(3)
    ((url, body, headers),) = receiver.posts
    assert url == "http://one/"
    assert body == {
        "type": "exited",
        "task_id": "a",
        "pid": 7,
        "exit_code": 3,
        "intentional": False,
        "ts": "now",
        "action": "action of a",
    }
    assert headers == {
        "Content-Type": "application/json",
        "User-Agent": "overseer",
        "X-Overseer-Event": "exited",
        "X-Overseer-Delivery": "1",
    }


def test_a_secret_signs_the_bytes_that_are_sent() -> None:
    receiver = Receiver(Webhook(url="http://one/", secret=b"s"))
    receiver.exit()
    assert receiver.headers[0]["X-Overseer-Signature-256"] == signature(b"s", receiver.bodies[0])


def test_each_webhook_gets_what_it_wants_and_waits_for_no_other() -> None:
    receiver = Receiver(HOOK, Webhook(url="http://two/", events=("errored", "expired")))
    receiver.exit()
    receiver.tell(Errored("a", 7, 3, "now"))
    receiver.tell(Dequeued("a", "expired", "now"))
    receiver.tell(Dequeued("a", "stopped", "now"))
    assert [(url, body["type"]) for url, body, _ in receiver.posts] == [
        ("http://one/", "exited"),
        ("http://two/", "errored"),
    ]
    receiver.answers[1].callback(200)
    assert receiver.posts[-1][1]["reason"] == "expired"


def test_events_arrive_in_their_order_one_at_a_time() -> None:
    receiver = Receiver(HOOK)
    for code in range(3):
        receiver.exit(code)
    assert receiver.codes == [0]
    for answer in range(3):
        receiver.answers[answer].callback(200)
    assert receiver.codes == [0, 1, 2]
    receiver.exit(3)
    assert receiver.codes == [0, 1, 2, 3]


def test_what_fails_is_sent_again_later_with_the_same_number() -> None:
    receiver = Receiver(HOOK)
    receiver.exit(0)
    receiver.exit(1)
    receiver.answers[0].callback(503)
    receiver.clock.advance(0.99)
    assert receiver.codes == [0]
    receiver.clock.advance(0.01)
    receiver.answers[1].errback(ConnectionRefusedError("refused"))
    receiver.clock.advance(2.0)
    receiver.answers[2].callback(200)
    assert receiver.codes == [0, 0, 0, 1]
    assert [headers["X-Overseer-Delivery"] for headers in receiver.headers] == ["1", "1", "1", "2"]
    assert receiver.clock.getDelayedCalls() == []


@pytest.mark.parametrize(("status", "attempts"), [(404, 1), (500, ATTEMPTS)])
def test_what_cannot_be_delivered_is_logged_and_the_next_goes_on(
    status: int, attempts: int
) -> None:
    receiver = Receiver(HOOK)
    receiver.exit(0)
    receiver.exit(1)
    with capturedLogs() as logs:
        for attempt in range(attempts):
            receiver.answers[attempt].callback(status)
            receiver.clock.advance(100.0)
    assert receiver.codes == [0] * attempts + [1]
    assert [formatEvent(event) for event in logs] == [
        f"webhook http://one/…: exited not delivered in {attempts} attempts: status {status}"
    ]


def test_the_oldest_are_dropped_and_counted() -> None:
    receiver = Receiver(HOOK)
    with capturedLogs() as logs:
        for code in range(QUEUE_SIZE + 3):
            receiver.exit(code)
        receiver.answers[0].callback(200)
    assert receiver.codes == [0, 3]
    assert [formatEvent(event) for event in logs] == [
        "webhook http://one/…: 1000 events wait, the oldest are dropped",
        "webhook http://one/…: events dropped: 2",
    ]


def test_a_shutdown_delivers_what_waits() -> None:
    receiver = Receiver(HOOK)
    receiver.exit(0)
    receiver.answers[0].callback(500)
    receiver.exit(1)
    closed: list[object] = []
    receiver.webhooks.close().addCallback(closed.append)
    receiver.answers[1].callback(500)  # at once, and for the last time
    receiver.answers[2].callback(200)
    assert receiver.codes == [0, 0, 1]
    assert len(closed) == 1
    assert receiver.clock.getDelayedCalls() == []


def test_a_shutdown_does_not_wait_for_a_receiver_that_hangs() -> None:
    receiver = Receiver(HOOK, Webhook(url="http://idle/", events=("errored",)))
    receiver.exit(0)
    receiver.exit(1)
    closed: list[object] = []
    receiver.webhooks.close().addCallback(closed.append)
    with capturedLogs() as logs:
        receiver.clock.advance(CLOSE_TIMEOUT)
    assert len(closed) == 1
    assert receiver.codes == [0]
    assert [formatEvent(event) for event in logs] == ["webhook http://one/…: events lost: 2"]
    assert receiver.clock.getDelayedCalls() == []
