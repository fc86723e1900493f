"""Who receives the events of which task."""

import pytest
from lifecycle_fakes import BrokenReader, Message, Reader
from twisted.logger import capturedLogs

from overseer.lifecycle.subscriptions import EVERY_TASK, Subscriptions
from overseer.protocol.batch import Batch, lifecycle_batch
from overseer.protocol.messages import Lagged


@pytest.fixture
def subscriptions() -> Subscriptions:
    return Subscriptions()


def event(task_id: str, number: int = 1) -> Batch:
    return lifecycle_batch(task_id, Lagged(task_id, number, number, 1), 0, 0)


def told(task_id: str, number: int = 1) -> Message:
    return {
        "type": "lagged",
        "task_id": task_id,
        "from_seq": number,
        "to_seq": number,
        "dropped": 1,
    }


def test_events_go_to_the_subscribers_of_their_task_alone(subscriptions: Subscriptions) -> None:
    """A client sees the tasks it asked for and no others."""
    first, second, nobody = Reader(), Reader(), Reader()
    subscriptions.subscribe(first, "a")
    subscriptions.subscribe(second, "a")
    subscriptions.subscribe(second, "b")
    assert subscriptions.publish(event("a")) == (first, second)
    assert subscriptions.publish(event("b")) == (second,)
    assert subscriptions.publish(event("c")) == ()
    assert first.messages == [told("a")]
    assert second.messages == [told("a"), told("b")]
    assert nobody.messages == []


def test_a_subscription_may_come_before_its_task(subscriptions: Subscriptions) -> None:
    """Events flow to early subscribers once there are any, and again for a task of the same id."""
    reader = Reader()
    assert subscriptions.publish(event("a", 1)) == ()
    subscriptions.subscribe(reader, "a")
    subscriptions.publish(event("a", 2))
    subscriptions.release("a")
    subscriptions.publish(event("a", 3))
    assert reader.messages == [told("a", 2), told("a", 3)]


def test_a_star_means_every_task_present_and_future(subscriptions: Subscriptions) -> None:
    """A dashboard subscribes once."""
    subscriptions.publish(event("a", 1))
    reader = Reader()
    subscriptions.subscribe(reader, EVERY_TASK)
    subscriptions.publish(event("a", 2))
    subscriptions.publish(event("new", 3))
    assert reader.messages == [told("a", 2), told("new", 3)]


def test_who_subscribed_to_a_task_and_to_all_gets_each_event_once(
    subscriptions: Subscriptions,
) -> None:
    """Nothing arrives twice, however the subscriptions overlap."""
    reader = Reader()
    subscriptions.subscribe(reader, "a")
    subscriptions.subscribe(reader, EVERY_TASK)
    assert subscriptions.publish(event("a")) == (reader,)
    assert reader.messages == [told("a")]


@pytest.mark.parametrize(("ended", "kept"), [("a", EVERY_TASK), (EVERY_TASK, "a")])
def test_the_two_kinds_of_subscription_end_independently(
    subscriptions: Subscriptions, ended: str, kept: str
) -> None:
    """Whoever ends one of the two still receives through the other, until that ends as well."""
    reader = Reader()
    subscriptions.subscribe(reader, "a")
    subscriptions.subscribe(reader, EVERY_TASK)
    subscriptions.unsubscribe(reader, ended)
    subscriptions.publish(event("a", 1))
    subscriptions.unsubscribe(reader, kept)
    subscriptions.publish(event("a", 2))
    assert reader.messages == [told("a", 1)]


@pytest.mark.parametrize("task_id", ["a", EVERY_TASK])
def test_only_the_first_of_equal_subscriptions_is_new(
    subscriptions: Subscriptions, task_id: str
) -> None:
    """A subscription that is there already is neither doubled nor reported as new."""
    reader = Reader()
    news = [subscriptions.subscribe(reader, task_id) for _ in range(2)]
    subscriptions.unsubscribe(reader, task_id)
    news.append(subscriptions.subscribe(reader, task_id))
    assert news == [True, False, True]
    assert subscriptions.audience("a") == (reader,)


def test_ending_what_was_never_begun_does_nothing(subscriptions: Subscriptions) -> None:
    """A client may unsubscribe from anything, and leave without having subscribed."""
    first, second = Reader(), Reader()
    subscriptions.subscribe(first, "a")
    for task_id in ("a", "b", EVERY_TASK):
        subscriptions.unsubscribe(second, task_id)
    subscriptions.unsubscribe(first, "b")
    assert subscriptions.remove(second) == ()
    assert subscriptions.audience("a") == (first,)


def test_a_client_that_leaves_is_taken_out_everywhere(subscriptions: Subscriptions) -> None:
    """Nothing is sent to a closed connection, and whose audience changed is told."""
    first, second = Reader(), Reader()
    for reader in (first, second):
        for task_id in ("a", "b", EVERY_TASK):
            subscriptions.subscribe(reader, task_id)
    assert sorted(subscriptions.remove(first)) == [EVERY_TASK, "a", "b"]
    for task_id in ("a", "b", "c"):
        assert subscriptions.publish(event(task_id)) == (second,)
    assert first.messages == []


def test_one_subscriber_can_be_left_out(subscriptions: Subscriptions) -> None:
    """Who has already been told in words of its own is not told again."""
    first, second = Reader(), Reader()
    subscriptions.subscribe(first, "a")
    subscriptions.subscribe(second, "a")
    assert subscriptions.publish(event("a"), besides=[first]) == (first, second)
    assert (first.messages, second.messages) == ([], [told("a")])


def test_a_subscriber_that_fails_is_logged_and_skipped(subscriptions: Subscriptions) -> None:
    """One broken client costs the others nothing."""
    reader, broken = Reader(), BrokenReader()
    subscriptions.subscribe(broken, "a")
    subscriptions.subscribe(reader, "a")
    with capturedLogs() as events:
        subscriptions.publish(event("a"))
    assert reader.messages == [told("a")]
    assert [(logged["task_id"], str(logged["log_failure"].value)) for logged in events] == [
        ("a", "the reader is broken")
    ]


def test_nothing_is_remembered_of_clients_and_tasks_that_are_gone() -> None:
    """A daemon that runs for months does not grow with every client and task it ever saw."""
    subscriptions, reader = Subscriptions(), Reader()
    untouched = repr(vars(subscriptions))
    for task_id in ("a", "b", EVERY_TASK):
        subscriptions.subscribe(reader, task_id)
    for task_id in ("a", "b", "c"):
        subscriptions.publish(event(task_id))
    subscriptions.unsubscribe(reader, "a")
    subscriptions.remove(reader)
    subscriptions.subscribe(reader, "a")
    subscriptions.unsubscribe(reader, "a")
    for task_id in ("a", "b", "c"):
        subscriptions.publish(event(task_id))
        subscriptions.release(task_id)
    assert repr(vars(subscriptions)) == untouched


def test_a_sink_gets_every_event_of_every_task_once() -> None:
    """Whoever subscribes, and though the starter is told in words of its own; nobody waits for a sink."""
    poured: list[Batch] = []
    subscriptions, starter = Subscriptions([poured.append]), Reader()
    subscriptions.subscribe(starter, "a")
    batches = [event("a"), event("b")]
    subscriptions.send(starter, event("a", 2))
    assert subscriptions.publish(batches[0], besides=[starter]) == (starter,)
    assert subscriptions.publish(batches[1]) == ()
    assert poured == batches


def test_a_sink_that_fails_is_logged_and_skipped() -> None:
    """A broken log costs the clients nothing."""
    poured: list[Batch] = []

    def broken(batch: Batch) -> None:
        raise ValueError("the sink is broken")

    subscriptions, reader = Subscriptions([broken, poured.append]), Reader()
    subscriptions.subscribe(reader, "a")
    with capturedLogs() as events:
        subscriptions.publish(event("a"))
    assert (reader.messages, len(poured)) == ([told("a")], 1)
    assert [str(logged["log_failure"].value) for logged in events] == ["the sink is broken"]


def test_a_subscription_that_came_with_a_start_ends_with_its_task(
    subscriptions: Subscriptions,
) -> None:
    """Or a client that starts tasks day after day would be subscribed to all that ever were."""
    starter, other, asker = Reader(), Reader(), Reader()
    for reader in (starter, other, asker):
        subscriptions.subscribe(reader, "a", by_start=True)
    subscriptions.subscribe(asker, "a")
    subscriptions.subscribe(starter, "b", by_start=True)
    subscriptions.release("a")
    assert subscriptions.audience("a") == (asker,)
    assert subscriptions.audience("b") == (starter,)
    assert set(subscriptions.remove(starter)) == {"b"}
    assert subscriptions.remove(other) == ()


def test_a_subscription_that_was_asked_for_outlives_the_start(
    subscriptions: Subscriptions,
) -> None:
    """Whichever of the two came first."""
    reader = Reader()
    subscriptions.subscribe(reader, "a")
    subscriptions.subscribe(reader, "a", by_start=True)
    subscriptions.release("a")
    assert subscriptions.audience("a") == (reader,)
    subscriptions.unsubscribe(reader, "a")
    subscriptions.subscribe(reader, "a", by_start=True)
    subscriptions.unsubscribe(reader, "a")
    subscriptions.subscribe(reader, "a")
    subscriptions.release("a")
    assert subscriptions.audience("a") == (reader,)
