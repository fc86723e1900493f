"""What a client is owed reaches it in order; what was left out is told (protocol.md section 4)."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from overseer.protocol.batch import Batch
from overseer.protocol.outbox import BEHIND_SIZE, Outbox, SendBudget

MEBIBYTE = 1024 * 1024


def lagged_in(frames: bytes) -> dict[str, Any] | None:
    """Return the `lagged` message that is in ``frames``, None when they are something else."""
    if b'"type":"lagged"' not in frames[:40]:
        return None
    payload = frames[2:]
    assert frames[:2] == bytes((0x81, len(payload)))
    return dict(json.loads(payload))


class Client:
    """An outbox whose transport takes so many writes and then pauses it, as transports do."""

    def __init__(self, limit: int = 100, budget: SendBudget | None = None) -> None:
        self.budget = budget or SendBudget(8 * MEBIBYTE)
        self.got: list[bytes] = []
        self.overflows = 0
        self.capacity: int | None = None
        self.in_flight = 0
        self.reads = True
        self.outbox = Outbox(
            self._write, self._overflowed, limit, self.budget, lambda: self.in_flight
        )
        self.seq: dict[str, int] = {}

    def _write(self, frames: bytes) -> None:
        self.got.append(frames)
        if self.capacity is not None:
            self.capacity -= 1
            if self.capacity <= 0:
                self.pause()

    def _overflowed(self) -> None:
        self.overflows += 1

    def pause(self) -> None:
        self.reads = False
        self.outbox.pause()

    def resume(self, capacity: int | None = None) -> None:
        self.reads = True
        self.capacity = capacity
        self.outbox.resume()

    def output(self, task_id: str, size: int = 10, lines: int = 1) -> Batch:
        """Send lines of a task, numbered on from the last."""
        first = self.seq.get(task_id, 0) + 1
        self.seq[task_id] = last = first + lines - 1
        head = f"{task_id}:{first}-{last}".encode()
        batch = Batch(task_id, head.ljust(size, b"."), 0, first, last)
        self.outbox.send_batch(batch)
        return batch

    def event(self, task_id: str, size: int = 10) -> Batch:
        """Send an event of a task that is no output."""
        seq = self.seq.get(task_id, 0)
        head = f"{task_id} ended after {seq}".encode()
        batch = Batch(task_id, head.ljust(size, b"."), 0, seq + 1, seq, droppable=False)
        self.outbox.send_batch(batch)
        return batch

    def story(self) -> list[str]:
        """Return all that arrived, in short."""
        told = []
        for frames in self.got:
            lagged = lagged_in(frames)
            if lagged is None:
                told.append(frames.rstrip(b".").decode())
            else:
                assert lagged["dropped"] == lagged["to_seq"] - lagged["from_seq"] + 1
                told.append(f"{lagged['task_id']} lost {lagged['from_seq']}-{lagged['to_seq']}")
        return told


@pytest.fixture
def client() -> Client:
    return Client()


# ------------------------------------------------------------------------------------ what arrives


def test_a_client_that_reads_gets_everything_at_once(client: Client) -> None:
    """Nothing is queued, copied or counted."""
    batch = client.output("a")
    client.outbox.send(b"answer")
    event = client.event("a")
    assert [id(frames) for frames in client.got] == [
        id(batch.frames),
        id(client.got[1]),
        id(event.frames),
    ]
    assert client.got[1] == b"answer"
    assert client.outbox.empty
    assert (client.outbox.size, client.outbox.owed, client.budget.used) == (0, 0, 0)


def test_a_client_that_pauses_gets_everything_later_in_order(client: Client) -> None:
    """Answers and events of several tasks keep their order among each other."""
    client.pause()
    client.pause()
    client.output("a")
    client.outbox.send(b"answer")
    client.output("b", lines=3)
    client.event("a")
    assert client.got == []
    assert client.outbox.size == 10 + 6 + 10 + len("a ended after 1")
    assert client.outbox.owed == 6 + len("a ended after 1")
    assert client.budget.used == 20
    assert not client.outbox.empty
    client.resume()
    assert client.story() == ["a:1-1", "answer", "b:1-3", "a ended after 1"]
    assert client.outbox.empty
    assert (client.outbox.size, client.outbox.owed, client.budget.used) == (0, 0, 0)
    client.output("a")
    assert client.story()[-1] == "a:2-2"


def test_a_pause_from_within_a_write_holds(client: Client) -> None:
    """What the transport has taken is not sent again, what it has not is not sent past it."""
    client.capacity = 1
    for _ in range(4):
        client.output("a")
    assert client.story() == ["a:1-1"]
    client.resume(capacity=2)
    assert client.story() == ["a:1-1", "a:2-2", "a:3-3"]
    client.output("a")
    client.resume()
    assert client.story() == [f"a:{seq}-{seq}" for seq in range(1, 6)]


# ------------------------------------------------------------------------------ what is left out


def test_output_beyond_the_limit_is_left_out_and_told_once(client: Client) -> None:
    """The limit itself still fits; the gap is one range whatever it is made of."""
    client.pause()
    for _ in range(10):
        client.output("a")
    assert client.outbox.size == 100
    client.output("a", size=1, lines=5)
    client.output("a", lines=2)
    assert client.outbox.size == 100
    client.resume()
    client.output("a")
    assert client.story()[9:] == ["a:10-10", "a lost 11-17", "a:18-18"]


def test_once_behind_a_task_stays_behind_until_it_was_told(client: Client) -> None:
    """A smaller batch that would fit must not overtake the gap before it."""
    client.pause()
    client.output("a", size=90)
    client.output("a", size=20)
    client.output("a", size=10)
    client.resume()
    assert client.story() == ["a:1-1", "a lost 2-3"]


def test_a_gap_is_of_one_task_alone(client: Client) -> None:
    """Others that fit go on, and each task with a gap is told its own."""
    client.pause()
    client.output("a", size=80)
    client.output("b", size=30)
    client.output("a", size=20)
    client.output("c", size=10)
    client.resume()
    assert client.story() == ["a:1-1", "a:2-2", "b lost 1-1", "c lost 1-1"]


def test_an_event_of_the_task_is_told_after_its_gap(client: Client) -> None:
    """`exited` comes after all of the output that it ended, dropped or not."""
    client.pause()
    client.output("a", size=80)
    client.output("a", size=30)
    client.event("b")
    client.event("a")
    client.output("a", size=20)
    client.resume()
    assert client.story() == [
        "a:1-1",
        "b ended after 0",
        "a lost 2-2",
        "a ended after 2",
        "a:3-3",
    ]


def test_output_goes_on_once_half_of_the_queue_was_taken(client: Client) -> None:
    """Not before: else a client at its limit would be told of a gap for every line."""
    client.pause()
    for _ in range(11):
        client.output("a")
    client.resume(capacity=4)
    client.output("a")
    client.resume(capacity=1)
    client.output("a")
    client.resume()
    assert client.story()[9:] == ["a:10-10", "a lost 11-12", "a:13-13"]


def test_a_gap_of_the_last_line_is_told_without_another(client: Client) -> None:
    """A client that caught up always knows what it lacks."""
    client.pause()
    client.output("a", size=60)
    client.output("a", size=41)
    client.resume()
    assert client.story() == ["a:1-1", "a lost 2-2"]


def test_a_client_that_is_not_behind_takes_output_of_any_size(client: Client) -> None:
    """Else a child that writes much at once would lose lines before it could be held."""
    client.pause()
    client.output("a", size=50)
    client.output("a", size=500)
    client.output("a", size=10)
    client.resume()
    assert client.story() == ["a:1-1", "a:2-2", "a lost 3-3"]


def test_all_clients_share_one_budget() -> None:
    """What others have waiting counts, what they have taken does not."""
    budget = SendBudget(120)
    one, other = Client(100, budget), Client(100, budget)
    for each in (one, other):
        each.pause()
    for _ in range(9):
        one.output("a")
        other.output("a")
    assert budget.used == 120
    one.resume()
    assert one.story() == [*(f"a:{seq}-{seq}" for seq in range(1, 7)), "a lost 7-9"]
    other.output("b")
    other.outbox.close()
    assert budget.used == 0


def test_what_waits_for_several_clients_counts_once() -> None:
    """Stalled subscribers of a busy task take nothing from its healthy ones."""
    budget = SendBudget(100)
    stalled = [Client(1000, budget) for _ in range(50)]
    healthy = Client(1000, budget)
    for client in (*stalled, healthy):
        client.pause()
    batches = [Batch("a", b"%050d" % seq, 0, seq, seq) for seq in (1, 2, 3)]
    for batch in batches:
        for client in (*stalled, healthy):
            client.outbox.send_batch(batch)
    assert budget.used == 100
    healthy.resume()
    assert healthy.got[:2] == [batch.frames for batch in batches[:2]]
    assert budget.used == 100
    for client in stalled[:-1]:
        client.outbox.close()
    assert budget.used == 100
    stalled[-1].outbox.close()
    assert budget.used == 0


# ------------------------------------------------------------------------------- too slow for all


def test_a_client_that_cannot_take_even_answers_has_to_go(client: Client) -> None:
    """It is told so once, and nothing of it is kept."""
    client.pause()
    client.output("a", size=100)
    client.outbox.send(b"x" * 100)
    assert client.overflows == 0
    client.event("a", size=20)
    assert client.overflows == 1
    client.outbox.send(b"x" * 200)
    client.event("a", size=200)
    client.output("a")
    client.resume()
    assert (client.overflows, client.got) == (1, [])
    assert client.outbox.empty
    assert (client.outbox.size, client.budget.used) == (0, 0)


def test_telling_what_was_left_out_can_be_too_much(client: Client) -> None:
    """Then, too, it ends there: neither the event behind it nor another gap is sent."""
    client.pause()
    client.outbox.send(b"x" * 60)
    client.output("a", size=101)
    assert client.overflows == 0
    client.event("a")
    assert client.overflows == 1
    client.resume()
    assert client.got == []
    assert client.outbox.empty


def test_telling_gaps_of_many_tasks_can_be_too_much(client: Client) -> None:
    """A transport that pauses in the middle of them is no reason to fail."""
    client.pause()
    client.output("a", size=60)
    for task_id in "abcd":
        client.output(task_id, size=50)
    client.resume(capacity=2)
    assert client.story() == ["a:1-1", "a lost 2-2"]
    assert client.overflows == 1
    client.resume()
    assert len(client.got) == 2


def test_output_alone_never_drives_a_client_away(client: Client) -> None:
    """However much it is."""
    client.pause()
    for _ in range(1000):
        client.output("a", size=50)
    assert client.overflows == 0
    client.resume()
    assert client.story() == ["a:1-1", "a:2-2", "a lost 3-1000"]


def test_what_was_asked_for_never_drives_a_client_away(client: Client) -> None:
    """However large an answer is; but nothing more should be asked for while much waits."""
    client.pause()
    client.outbox.send_paced(b"x" * 50)
    assert not client.outbox.owes_much
    client.outbox.send_paced(b"y" * 1000)
    assert client.outbox.owes_much
    assert client.outbox.behind
    assert (client.outbox.size, client.outbox.owed, client.budget.used) == (1050, 1050, 0)
    client.event("a", size=100)
    assert client.overflows == 0
    client.resume()
    assert client.story()[:2] == ["x" * 50, "y" * 1000]
    assert not client.outbox.owes_much
    assert (client.outbox.size, client.outbox.owed) == (0, 0)


def test_output_that_waits_is_nothing_that_is_owed(client: Client) -> None:
    """A client that is behind with output may still ask."""
    client.pause()
    client.output("a", size=90)
    assert client.outbox.behind
    assert not client.outbox.owes_much


# ------------------------------------------------------------------------------- being behind


def test_behind_is_more_than_a_mebibyte() -> None:
    """Answers count like output."""
    client = Client(limit=8 * MEBIBYTE)
    client.pause()
    client.output("a", size=MEBIBYTE // 2)
    client.outbox.send(b"x" * (MEBIBYTE // 2))
    assert BEHIND_SIZE == MEBIBYTE
    assert not client.outbox.behind
    client.output("a")
    assert client.outbox.behind


def test_behind_is_half_of_a_small_limit(client: Client) -> None:
    """So that a child can be held before its output is left out."""
    client.pause()
    client.output("a", size=50)
    assert not client.outbox.behind
    client.output("a", size=1)
    assert client.outbox.behind


def waiting(client: Client, sizes: Iterable[int]) -> Callable[[], list[str]]:
    """Let two wait until the client has caught up; returns who was told."""
    told: list[str] = []
    client.pause()
    for size in sizes:
        client.output("a", size=size)

    def forgotten() -> None:
        told.append("forgotten")

    client.outbox.when_caught_up(lambda: told.append("one"))
    client.outbox.when_caught_up(forgotten)
    client.outbox.forget(forgotten)
    client.outbox.forget(forgotten)
    return lambda: told


def test_who_waits_is_told_once_when_the_client_has_caught_up() -> None:
    """Not while it is still behind, and not again."""
    client = Client(limit=8 * MEBIBYTE)
    told = waiting(client, [MEBIBYTE] * 3)
    client.resume(capacity=1)
    assert told() == []
    client.resume(capacity=1)
    assert told() == ["one"]
    client.resume()
    assert told() == ["one"]


def test_who_waits_is_told_when_the_client_is_gone() -> None:
    """A child must not be held for a client that is no more."""
    client = Client(limit=8 * MEBIBYTE)
    told = waiting(client, [MEBIBYTE] * 3)
    client.outbox.close()
    assert told() == ["one"]
    assert client.budget.used == 0
    client.outbox.close()
    assert told() == ["one"]
    assert client.budget.used == 0


def test_who_waits_is_told_when_the_client_has_to_go() -> None:
    """Overflow is an end like any other."""
    client = Client(limit=2 * MEBIBYTE)
    told = waiting(client, [MEBIBYTE] * 2)
    client.outbox.send(b"x" * (2 * MEBIBYTE + 1))
    assert told() == ["one"]


def test_progress_is_anything_taken(client: Client) -> None:
    """By the transport or, after that, by the client's own kernel."""
    seen = [client.outbox.progress]
    client.output("a")
    seen.append(client.outbox.progress)
    client.in_flight = 10
    seen.append(client.outbox.progress)
    client.pause()
    client.output("a")
    assert client.outbox.progress == seen[-1]
    client.in_flight = 0
    client.resume()
    seen.append(client.outbox.progress)
    client.outbox.send(b"answer")
    seen.append(client.outbox.progress)
    assert len(set(seen)) == 5


def test_a_client_that_reads_again_is_not_stalled_any_more(client: Client) -> None:
    """It counts again for flow control."""
    client.outbox.stalled = True
    client.resume()
    assert not client.outbox.stalled


# ------------------------------------------------------------------------------------------ model


@attrs.define(eq=False)
class Sent:
    """One thing that was sent: its place, and what it is."""

    number: int
    batch: Batch | None
    frames: bytes
    paced: bool = False

    @property
    def droppable(self) -> bool:
        return self.batch is not None and self.batch.droppable


class OutboxModel(RuleBasedStateMachine):
    """Any order of sending, pausing, taking and closing, by one client and its neighbours.

    The model keeps all that was sent and compares it with what was written: per task nothing is missing
    but what one `lagged` in its place tells, and what may not be dropped arrived in whole.
    """

    limit = 20_000
    budget_limit = 30_000
    sizes = st.sampled_from([100, 3_000, 7_000, 10_000, 10_001, 30_000])
    tasks = st.sampled_from(["a", "b", "c"])

    @initialize()
    def connect(self) -> None:
        self.client = Client(self.limit, SendBudget(self.budget_limit))
        self.outbox = self.client.outbox
        self.others = 0
        self.sent: list[Sent] = []
        self.by_frames: dict[int, Sent] = {}
        self.checked = 0
        self.last_number = -1
        self.seen_seq = dict.fromkeys("abc", 0)
        self.waiting_to_arrive: list[Sent] = []
        self.gaps: set[str] = set()
        self.called: list[int] = []
        self.expected_calls: set[int] = set()
        self.closed = False

    @property
    def own(self) -> int:
        """Bytes of output that this client has waiting, by the budget."""
        return self.client.budget.used - self.others

    def note(self, batch: Batch | None, frames: bytes, *, paced: bool = False) -> None:
        sent = Sent(len(self.sent), batch, frames, paced)
        self.sent.append(sent)
        self.by_frames[id(frames)] = sent
        if not self.closed and not sent.droppable:
            self.waiting_to_arrive.append(sent)

    @rule(task=tasks, size=sizes, lines=st.integers(1, 5))
    def output(self, task: str, size: int, lines: int) -> None:
        before, written = self.own, len(self.client.got)
        room = self.limit - before, self.budget_limit - self.client.budget.used
        waits = size <= room[1] and (size <= room[0] or not self.outbox.behind)
        fits = waits or self.client.reads
        batch = self.client.output(task, size, lines)
        self.note(batch, batch.frames)
        kept = self.own > before or len(self.client.got) > written
        if self.closed:
            assert not kept
        elif not kept:
            self.gaps.add(task)
        assert self.closed or kept == (fits and task not in self.gaps)

    @rule(task=tasks, size=sizes)
    def event(self, task: str, size: int) -> None:
        # Noted first: it may overflow, or be written, within.
        seq = self.client.seq.get(task, 0)
        frames = f"{task} event {len(self.sent)}".encode().ljust(size, b".")
        batch = Batch(task, frames, 0, seq + 1, seq, droppable=False)
        self.note(batch, frames)
        self.outbox.send_batch(batch)
        self.gaps.discard(task)
        self.look_for_overflow()

    @rule(size=sizes, paced=st.booleans())
    def answer(self, size: int, paced: bool) -> None:
        frames = f"answer {len(self.sent)}".encode().ljust(size, b".")
        self.note(None, frames, paced=paced)
        (self.outbox.send_paced if paced else self.outbox.send)(frames)
        self.look_for_overflow()

    @rule()
    def pause(self) -> None:
        self.client.pause()

    @rule(capacity=st.none() | st.integers(1, 4))
    def resume(self, capacity: int | None) -> None:
        self.client.resume(capacity)
        if self.own <= self.limit // 2:
            self.gaps.clear()
        self.look_for_overflow()
        if not self.outbox.behind:
            assert set(self.called) >= self.expected_calls

    @rule(size=st.integers(0, 20_000))
    def others_wait(self, size: int) -> None:
        size = min(size, max(self.budget_limit - self.own, 0))
        self.client.budget.used += size - self.others
        self.others = size

    @precondition(lambda self: self.outbox.behind)
    @rule()
    def wait_for_it(self) -> None:
        number = len(self.expected_calls)
        self.expected_calls.add(number)
        self.outbox.when_caught_up(lambda: self.called.append(number))

    @precondition(lambda self: len(self.sent) > 10)
    @rule()
    def close(self) -> None:
        self.outbox.close()
        self.gone()

    def gone(self) -> None:
        self.closed = True
        self.waiting_to_arrive.clear()
        assert set(self.called) == self.expected_calls

    def look_for_overflow(self) -> None:
        if self.client.overflows and not self.closed:
            self.take()
            self.gone()

    def take(self) -> None:
        """Check what was written since the last look."""
        for frames in self.client.got[self.checked :]:
            lagged = lagged_in(frames)
            if lagged is not None:
                seen = self.seen_seq[lagged["task_id"]]
                assert lagged["from_seq"] == seen + 1
                assert lagged["to_seq"] > seen
                assert lagged["dropped"] == lagged["to_seq"] - seen
                self.seen_seq[lagged["task_id"]] = lagged["to_seq"]
                continue
            sent = self.by_frames[id(frames)]
            assert sent.number > self.last_number
            self.last_number = sent.number
            if not sent.droppable:
                assert self.waiting_to_arrive.pop(0) is sent
            if sent.batch is not None:
                assert self.seen_seq[sent.batch.task_id] == sent.batch.first_seq - 1
                self.seen_seq[sent.batch.task_id] = sent.batch.last_seq
        self.checked = len(self.client.got)

    @invariant()
    def what_arrived_is_right_and_sizes_add_up(self) -> None:
        assert not self.closed or len(self.client.got) == self.checked
        self.take()
        outbox = self.outbox
        assert 0 <= self.own <= self.budget_limit
        assert outbox.size == self.own + outbox.owed
        assert not outbox.empty or outbox.size == 0
        if not self.closed:
            paced = sum(len(sent.frames) for sent in self.waiting_to_arrive if sent.paced)
            owed = sum(len(sent.frames) for sent in self.waiting_to_arrive) - paced
            assert 0 <= outbox.owed - owed - paced <= 100 * len(self.sent)  # the rest is `lagged`
            assert outbox.owed - paced <= self.limit

    @invariant()
    def it_is_driven_away_at_most_once(self) -> None:
        assert self.client.overflows <= 1
        assert len(self.called) == len(set(self.called))

    def teardown(self) -> None:
        if not hasattr(self, "client"):
            return
        self.client.resume()
        if self.client.overflows:
            self.closed = True
        self.take()
        assert self.own == 0
        assert self.outbox.empty
        if not self.closed:
            assert self.waiting_to_arrive == []
            for task, seen in self.seen_seq.items():
                assert seen == self.client.seq.get(task, 0)


TestAnyOrder = OutboxModel.TestCase
TestAnyOrder.settings = settings(max_examples=35, stateful_step_count=40, deadline=None)
