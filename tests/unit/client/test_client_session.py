"""The client's half of a conversation, without a connection: answers, followers, resumes, replays."""

import json
from typing import Any

import pytest

from overseer.client.errors import ConnectionLost, RequestRefused
from overseer.client.follower import Follower, Replayed
from overseer.client.output import OutputBlock
from overseer.client.session import ClientSession
from overseer.protocol.codec import encode_message
from overseer.protocol.frames import text_frame
from overseer.protocol.messages import (
    Ack,
    Dequeued,
    Error,
    Errored,
    Exited,
    Lagged,
    List,
    Message,
    Output,
    PoolInfo,
    PoolUpdated,
    Queued,
    Replay,
    Start,
    Started,
    Stop,
    Subscribed,
    TaskInfo,
    Tasks,
)

TS = "2026-11-22T22:07:47.123456Z"


def line(seq: int, task_id: str = "t") -> Output:
    return Output(task_id, 7, "stdout", f"line {seq}", TS, seq)


def block(first: int, last: int) -> OutputBlock:
    """Lines as one read of a busy connection gives them."""
    frames = b"".join(text_frame(encode_message(line(seq))) for seq in range(first, last + 1))
    data = "".join(f"line {seq}\n" for seq in range(first, last + 1)).encode()
    return OutputBlock("t", "stdout", data, last, len(frames), frames)


def exited(pid: int = 7) -> Exited:
    return Exited("t", pid, 0, False, TS)


def info(state: Any) -> TaskInfo:
    return TaskInfo(task_id="t", action="a", state=state, restart_count=0, created_at=TS)


class Conversation:
    """A session, and the server as the test plays it."""

    def __init__(self, *, connected: bool = True) -> None:
        self.unknown: list[str] = []
        self.session = ClientSession(self.unknown.append)
        self.sent: list[dict[str, Any]] = []
        if connected:
            self.connect()

    def connect(self) -> None:
        self.session.connected(lambda payload: self.sent.append(json.loads(payload)))

    def cut(self) -> None:
        self.session.disconnected("cut")
        self.sent.clear()

    def tell(self, *messages: Message | OutputBlock) -> None:
        self.session.receive(
            [one if isinstance(one, OutputBlock) else encode_message(one) for one in messages]
        )

    def id_of(self, name: str, number: int = -1) -> str:
        return str([sent["id"] for sent in self.sent if sent["type"] == name][number])

    def subscribed(self, first: int, last: int, epoch: str = "e", number: int = -1) -> Subscribed:
        return Subscribed(self.id_of("subscribe", number), "t", epoch, first, last)

    def follow(self, task_id: str = "t", **options: Any) -> list[Any]:
        """Follow a task; what comes is in the list, the end as ``None`` or its error."""
        got: list[Any] = []
        self.follower = follower(task_id, got, **options)
        self.session.follow(self.follower)
        return got


def follower(task_id: str, got: list[Any], **options: Any) -> Follower:
    return Follower(task_id, deliver=got.extend, begun=lambda _: None, ended=got.append, **options)


# -------------------------------------------------------------------------------------- answers


def test_each_answer_finds_its_request() -> None:
    """Also when they come in another order."""
    talk, answers = Conversation(), []
    first = talk.session.ask(List(""), answers.append)
    second = talk.session.ask(Stop("", "t", grace=1.5), answers.append)
    assert talk.sent == [
        {"type": "list", "id": first},
        {"type": "stop", "id": second, "task_id": "t", "grace": "1.5s", "ack": True},
    ]
    talk.tell(Ack(second, "t"), Tasks(first, []))
    assert answers == [Ack(second, "t"), Tasks(first, [])]
    assert not talk.session.waiting


def test_an_error_is_an_exception_with_the_words_of_the_server() -> None:
    """The task in the way is named, too."""
    talk, answers = Conversation(), []
    asked = talk.session.ask(Start("", "a"), answers.append)
    talk.tell(Error(asked, "duplicate task", "other"))
    (error,) = answers
    assert isinstance(error, RequestRefused)
    assert (str(error), error.existing_task_id) == ("duplicate task", "other")


def test_without_a_connection_requests_wait_for_the_next() -> None:
    """They are sent in their order, but for those that nobody waits for any more."""
    talk = Conversation(connected=False)
    talk.session.ask(List(""), lambda _: None)
    talk.session.forget(talk.session.ask(List("", action="gone"), lambda _: None))
    talk.session.ask(Stop("", "t"), lambda _: None)
    talk.connect()
    assert [sent["type"] for sent in talk.sent] == ["list", "stop"]


def test_what_is_on_its_way_at_a_cut_has_failed() -> None:
    """Whether the server has done it nobody knows; what was not sent yet is sent later."""
    talk, answers = Conversation(), []
    talk.session.ask(List(""), answers.append)
    talk.cut()
    talk.session.ask(Stop("", "t"), answers.append)
    assert [type(answer) for answer in answers] == [ConnectionLost]
    talk.connect()
    assert [sent["type"] for sent in talk.sent] == ["stop"]


def test_the_end_of_the_session_ends_everything() -> None:
    """Requests fail, followers are told."""
    talk, answers = Conversation(), []
    got = talk.follow()
    talk.session.ask(List(""), answers.append)
    reason = ConnectionLost("the end")
    talk.session.close(reason)
    assert answers == [reason]
    assert got == [reason]


def test_messages_of_a_newer_server_are_passed_over() -> None:
    """And do not take what came with them along."""
    talk = Conversation()
    got = talk.follow()
    newer = b'{"type":"teleported","task_id":"t"}'
    talk.session.receive([encode_message(line(1)), newer, encode_message(line(2))])
    assert got == [line(1), line(2)]
    assert len(talk.unknown) == 1
    assert "teleported" in talk.unknown[0]


# ------------------------------------------------------------------------------------ followers


def test_a_follower_gets_the_events_of_its_task() -> None:
    """In their order, lines and all else; other tasks are none of its business."""
    talk = Conversation()
    got, every = talk.follow(), talk.follow("*")
    started = Started(id="", task_id="t", pid=7, ts=TS)
    updated = PoolUpdated(pool=PoolInfo(1, 0, 0))
    told = [started, line(1), line(2), line(1, "other"), exited(), updated]
    talk.tell(talk.subscribed(1, 0, number=0), *told)
    assert got == [started, line(1), line(2), exited()]
    assert every == told


def test_it_may_leave_the_lines_out() -> None:
    """The server is asked for lines only if somebody here wants them."""
    talk = Conversation()
    quiet = talk.follow(output=False)
    loud = talk.follow()
    assert [sent.get("output", True) for sent in talk.sent] == [False, True]
    talk.tell(line(1), exited())
    assert quiet == [exited()]
    assert loud == [line(1), exited()]


def test_the_last_follower_ends_the_subscription() -> None:
    """Not the first of two."""
    talk = Conversation()
    talk.follow()
    first = talk.follower
    got = talk.follow()
    talk.session.unfollow(first)
    assert "unsubscribe" not in [sent["type"] for sent in talk.sent]
    talk.tell(line(1))
    talk.session.unfollow(talk.follower)
    talk.session.unfollow(talk.follower)
    assert [sent["type"] for sent in talk.sent].count("unsubscribe") == 1
    talk.tell(line(2))
    assert got == [line(1)]


def test_a_subscription_that_is_refused_ends() -> None:
    """With the words of the server."""
    talk = Conversation()
    got = talk.follow("*", since_seq=3)
    talk.tell(Error(talk.id_of("subscribe"), "since_seq: not with *"))
    (error,) = got
    assert isinstance(error, RequestRefused)


def test_a_second_follower_from_the_past_disturbs_no_first() -> None:
    """What is sent again for one is not told again to the other, and the new one gets it in order."""
    talk = Conversation()
    live = talk.follow()
    talk.tell(talk.subscribed(1, 0), line(1), exited(1), line(2))
    late = talk.follow(since_seq=0)
    talk.tell(line(3))
    talk.tell(talk.subscribed(1, 3), line(1), exited(1), line(2), line(3), line(4))
    assert live == [line(1), exited(1), line(2), line(3), line(4)]
    assert late == [line(1), exited(1), line(2), line(3), line(4)]


# -------------------------------------------------------------------------------------- resuming


def test_a_resume_goes_on_where_it_ended() -> None:
    """From the last line, in the same numbering; what came before is not told twice."""
    talk = Conversation()
    got = talk.follow()
    talk.tell(talk.subscribed(1, 0), line(1), line(2), exited())
    talk.cut()
    talk.connect()
    (sent,) = talk.sent
    assert (sent["since_seq"], sent["epoch"]) == (2, "e")
    talk.tell(talk.subscribed(1, 3), exited(), line(3), exited(8))
    assert got == [line(1), line(2), exited(), line(3), exited(8)]


def test_a_block_is_resumed_behind_its_last_line() -> None:
    """What is sent again of it is cut where the new lines begin."""
    talk = Conversation()
    got = talk.follow()
    talk.tell(talk.subscribed(1, 0), line(1), block(2, 6))
    talk.cut()
    talk.connect()
    assert talk.sent[0]["since_seq"] == 6
    late = talk.follow(since_seq=0)
    talk.tell(talk.subscribed(1, 8, number=0), block(7, 9), block(10, 12))
    assert got == [line(1), block(2, 6), *map(line, (7, 8, 9)), block(10, 12)]
    assert late == []
    talk.tell(talk.subscribed(1, 12), block(1, 5), block(6, 14))
    assert late == list(map(line, range(1, 15)))
    assert got[-2:] == [line(13), line(14)]


def test_another_epoch_begins_anew() -> None:
    """After a restart of the daemon the numbers start again, and all that there is is new."""
    talk = Conversation()
    got = talk.follow()
    talk.tell(talk.subscribed(1, 0), line(1), line(2), line(3))
    talk.cut()
    talk.connect()
    talk.tell(talk.subscribed(1, 4, "f"), line(1), line(2), line(3), line(4), line(5))
    assert [event.seq for event in got] == [1, 2, 3, 1, 2, 3, 4, 5]


def test_a_gap_is_told_once() -> None:
    """What the server does not have any more is one ``lagged``."""
    talk = Conversation()
    got = talk.follow()
    talk.tell(talk.subscribed(1, 0), line(1))
    talk.cut()
    talk.connect()
    lagged = Lagged("t", 2, 8, 7)
    talk.tell(talk.subscribed(9, 9), lagged, line(9), line(10))
    assert got == [line(1), lagged, line(9), line(10)]


def test_a_task_that_was_not_there_is_followed_from_its_first_line() -> None:
    """It may have come and printed while there was no connection."""
    talk = Conversation()
    got = talk.follow()
    talk.tell(Subscribed(talk.id_of("subscribe"), "t"))
    talk.cut()
    talk.connect()
    assert talk.sent[0]["since_seq"] == 0
    talk.tell(talk.subscribed(1, 2), line(1), line(2))
    assert got == [line(1), line(2)]


# ------------------------------------------------------------------------------- runs to their end


def run(talk: Conversation) -> tuple[list[Any], str]:
    got: list[Any] = []
    asked = talk.session.ask(
        Start("", "a"), lambda _: None, follower=follower("", got, until_end=True)
    )
    return got, asked


def test_a_run_is_followed_from_its_answer_on() -> None:
    """Nothing is missed, though all comes with one read; it ends when the server says that it is over."""
    talk = Conversation()
    got, asked = run(talk)
    started = Started(id=asked, task_id="t", pid=7, ts=TS)
    talk.tell(started, line(1), exited())
    assert got == [started, line(1), exited()]
    talk.tell(talk.subscribed(1, 1, number=0))
    talk.tell(Subscribed(talk.id_of("subscribe"), "t", tasks=[info("stopped")]))
    assert got == [started, line(1), exited(), None]


def test_an_exit_that_is_no_end() -> None:
    """A task that will be started again is active; the run goes on to the next exit."""
    talk = Conversation()
    got, asked = run(talk)
    talk.tell(Started(id=asked, task_id="t", pid=7, ts=TS), exited())
    talk.tell(Subscribed(talk.id_of("subscribe"), "t", tasks=[info("active")]))
    again = Started(id="", task_id="t", pid=8, restart_of=7, ts=TS)
    talk.tell(again, exited(8))
    talk.tell(Subscribed(talk.id_of("subscribe"), "t", tasks=[info("stopped")]))
    assert got[2:] == [again, exited(8), None]


def test_following_a_task_that_has_ended_already() -> None:
    """What can be replayed is told, then it ends: there is nothing to wait for."""
    talk = Conversation()
    got = talk.follow(since_seq=0, until_end=True)
    talk.tell(talk.subscribed(1, 1, number=0), line(1), exited())
    for number in (1, 2):
        ended = Subscribed(talk.id_of("subscribe", number), "t", tasks=[info("stopped")])
        talk.tell(ended)
    assert got == [line(1), exited(), None]


@pytest.mark.parametrize("end", [Errored("t", 7, 3, TS), Dequeued("t", "expired", TS)])
def test_other_ends(end: Message) -> None:
    """Nobody need be asked."""
    talk = Conversation()
    got, asked = run(talk)
    talk.tell(Queued(id=asked, task_id="t", action="a", position=1, ts=TS), end)
    assert got[1:] == [end, None]


def test_a_start_that_fails_in_its_turn() -> None:
    """It was queued and then could not be started: the reason is told before the end."""
    talk = Conversation()
    got, asked = run(talk)
    talk.tell(Queued(id=asked, task_id="t", action="a", position=1, ts=TS))
    talk.tell(Error(asked, "no such program"), Dequeued("t", "failed", TS))
    assert got[1:] == [Error(asked, "no such program"), Dequeued("t", "failed", TS), None]


def test_a_run_cut_off_before_the_server_said_where_its_lines_begin() -> None:
    """It goes on behind the last line that came."""
    talk = Conversation()
    got, asked = run(talk)
    talk.tell(Started(id=asked, task_id="t", pid=7, ts=TS), line(1), line(2))
    talk.cut()
    talk.connect()
    assert talk.sent[0]["since_seq"] == 2
    talk.tell(talk.subscribed(1, 3, number=0), line(3), exited())
    talk.tell(Subscribed(talk.id_of("subscribe", 1), "t", tasks=[info("stopped")]))
    assert got[-3:] == [line(3), exited(), None]


# --------------------------------------------------------------------------------------- replays


def test_a_replay_is_told_from_what_is_told_anyway() -> None:
    """Live lines on their way before it belong to the follower alone; lines sent again to the replay alone."""
    talk = Conversation()
    got = talk.follow()
    talk.tell(talk.subscribed(1, 2), line(3))
    replayed = Replayed("t")
    asked = talk.session.ask(Replay("", "t"), lambda _: None, replayed=replayed)
    talk.tell(line(4), line(5), line(2), line(3), line(4), line(5), Ack(asked, "t", 5), line(6))
    assert [event.seq for event in replayed.events if isinstance(event, Output)] == [2, 3, 4, 5]
    assert got == [line(3), line(4), line(5), line(6)]


def test_a_replay_may_come_in_blocks() -> None:
    """It gets each line of them, and no follower gets one twice."""
    talk = Conversation()
    got = talk.follow()
    talk.tell(talk.subscribed(1, 0), block(1, 4))
    replayed = Replayed("t")
    asked = talk.session.ask(Replay("", "t"), lambda _: None, replayed=replayed)
    talk.tell(block(1, 6), Ack(asked, "t", 6), block(7, 9))
    assert replayed.events == list(map(line, range(1, 7)))
    assert got == [block(1, 4), line(5), line(6), block(7, 9)]
