"""Output batches: ready frames, equal to encoding every line for itself."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overseer.core.lines import Block
from overseer.core.timestamps import format_timestamp
from overseer.protocol.batch import Batch, OutputEncoder, lifecycle_batch
from overseer.protocol.codec import encode_message
from overseer.protocol.frames import text_frame, to_lines
from overseer.protocol.messages import Exited, Output

TIME = 1_700_000_000_123_456
LIMIT = 1 << 20


def payloads(frames: bytes) -> list[bytes]:
    """Take frames apart by the rules of RFC 6455 section 5.2, independently of our own code."""
    found = []
    while frames:
        assert frames[0] == 0x81
        size, start = frames[1], 2
        if size == 126:
            size, start = int.from_bytes(frames[2:4], "big"), 4
            assert size >= 126
        elif size == 127:
            size, start = int.from_bytes(frames[2:10], "big"), 10
            assert size >= 65536
        found.append(frames[start : start + size])
        assert len(found[-1]) == size
        frames = frames[start + size :]
    return found


def encode(
    data: bytes, first_seq: int = 1, limit: int = LIMIT, *, unfinished: bool = False
) -> Batch:
    return OutputEncoder("task", 7, "stdout", limit).encode(
        Block(data, unfinished), first_seq, TIME
    )


lines = st.lists(
    st.binary(max_size=40).map(lambda line: line.replace(b"\n", b""))
    | st.text(max_size=200).map(lambda line: line.replace("\n", "").encode("utf-8", "replace"))
    | st.sampled_from([b"", b"\x7f", b'"', b"\\", b"x" * 200, b"\x00\x1f", b'{"type":"output"'])
    | st.integers(60_000, 70_000).map(lambda size: b"y" * size),
    min_size=1,
    max_size=30,
)
sequence_numbers = st.integers(1, 12) | st.integers(95, 105) | st.integers(990, 2**62)


@given(lines, sequence_numbers, st.text(max_size=10))
def test_a_batch_equals_the_lines_encoded_one_by_one(
    contents: list[bytes], first_seq: int, task_id: str
) -> None:
    """The fast way and the plain way give the same bytes."""
    encoder = OutputEncoder(task_id, 7, "stderr", LIMIT)
    plain = b"".join(
        text_frame(
            encode_message(
                Output(
                    task_id,
                    7,
                    "stderr",
                    line.decode("utf-8", "replace"),
                    format_timestamp(TIME),
                    seq,
                )
            )
        )
        for seq, line in enumerate(contents, first_seq)
    )
    batch = encoder.encode(Block(b"\n".join(contents)), first_seq, TIME)
    assert batch.frames == plain
    assert (batch.first_seq, batch.last_seq) == (first_seq, first_seq + len(contents) - 1)
    again = encoder.encode(Block(b"\n".join(contents)), first_seq, TIME)
    assert again.frames == plain


@given(lines, sequence_numbers, st.sampled_from([230, LIMIT]), st.booleans())
def test_lines_of_json_are_the_same_messages(
    contents: list[bytes], first_seq: int, limit: int, unfinished: bool
) -> None:
    """What a log gets is what clients get; what is kept for a replay does without."""
    block = Block(b"\n".join(contents[:1] if unfinished else contents), unfinished)
    encoder = OutputEncoder("task", 7, "stdout", limit, json_lines=True)
    batch = encoder.encode(block, first_seq, TIME)
    assert batch.json_lines == to_lines(batch.frames)
    plain = OutputEncoder("task", 7, "stdout", limit).encode(block, first_seq, TIME)
    assert plain.json_lines is None
    assert plain == batch.to_keep() == plain.to_keep()


@pytest.mark.parametrize("first_seq", [1, 9, 10, 99, 100, 999, 1000, 1001, 999_999])
def test_numbers_rise_by_one_across_every_width(first_seq: int) -> None:
    """Also where the number gets a digit more, and over several thousands."""
    batch = encode(b"\n" * 2500, first_seq)
    seqs = [json.loads(payload)["seq"] for payload in payloads(batch.frames)]
    assert seqs == list(range(first_seq, first_seq + 2501))


@given(lines, st.integers(1, 40))
def test_a_tail_is_the_last_lines(contents: list[bytes], count: int) -> None:
    """Cutting a batch gives whole frames, whatever is in the lines."""
    batch = encode(b"\n".join(contents), 995)
    tail = batch.tail(count)
    assert payloads(tail.frames) == payloads(batch.frames)[-count:]
    assert tail.last_seq == batch.last_seq
    assert tail.lines == min(count, len(contents))


@given(
    st.text(alphabet=st.sampled_from('aé€🎉"\\\x00\x7f\t'), max_size=3000), st.integers(220, 700)
)
def test_no_message_is_larger_than_the_limit(text: str, limit: int) -> None:
    """A long line comes in partial pieces, none too large as sent, that add up to the line."""
    batch = encode(text.encode(), limit=limit)
    messages = [json.loads(payload) for payload in payloads(batch.frames)]
    assert max(map(len, payloads(batch.frames))) <= limit
    assert "".join(message["data"] for message in messages) == text
    assert [message.get("partial", False) for message in messages] == (
        [True] * (len(messages) - 1) + [False]
    )
    assert [message["seq"] for message in messages] == list(range(1, len(messages) + 1))


def test_short_lines_beside_a_long_one_stay_whole() -> None:
    """Only what is too long is cut."""
    batch = encode(b"a\n" + b"b" * 500 + b"\nc", limit=400)
    messages = [json.loads(payload) for payload in payloads(batch.frames)]
    assert messages[0]["data"] == "a"
    assert "partial" not in messages[0]
    assert messages[-1]["data"] == "c"
    assert sum("partial" in message for message in messages) >= 1


def test_pieces_of_an_unfinished_line_are_all_partial() -> None:
    """The line goes on with the next read."""
    (payload,) = payloads(encode(b"abc", unfinished=True).frames)
    assert json.loads(payload)["partial"] is True


def test_invalid_utf_8_becomes_the_replacement_character() -> None:
    """Binary output arrives, as text."""
    (payload,) = payloads(encode(b"a\xff\xc3b").frames)
    assert json.loads(payload)["data"] == "a\ufffd\ufffdb"


def test_a_lifecycle_event_is_a_batch_without_lines() -> None:
    """It is one event, and may not be dropped."""
    batch = lifecycle_batch("task", Exited("task", 7, 0, False, "now"), TIME, 41)
    assert (batch.lines, batch.events, batch.droppable) == (0, 1, False)
    assert batch.tail(1) is batch
