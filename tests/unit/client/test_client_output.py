"""Runs of output: what is read as a block is the same as what is read message by message."""

import itertools
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overseer.client import output
from overseer.client.frames import FrameReader
from overseer.client.output import OutputBlock, read_block
from overseer.core.lines import Block
from overseer.core.process import Stream
from overseer.protocol.batch import OutputEncoder
from overseer.protocol.codec import encode_message
from overseer.protocol.frames import payloads, text_frame
from overseer.protocol.messages import Exited, Message, Output, Tasks

TS = "2026-11-22T22:07:47.123456Z"
LIMIT = 1 << 20


def exited(task_id: str) -> Exited:
    return Exited(task_id, 7, 0, False, TS)


def batch(task_id: str, stream: Stream, text: str, seq: int, *, pid: int = 7) -> bytes:
    """Return the frames of lines as an overseer sends them."""
    encoder = OutputEncoder(task_id, pid, stream, LIMIT)
    return encoder.encode(Block(text.encode()), seq, 1_770_000_000_000_000 + seq).frames


def read(data: bytes, cuts: list[int]) -> list[bytes | OutputBlock]:
    """Return what comes of ``data``, however it is cut into reads."""
    reader = FrameReader(LIMIT)
    bounds = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [
        message
        for start, end in itertools.pairwise(bounds)
        for message in reader.receive(data[start:end])[0]
    ]


TEXTS = st.one_of(
    st.text(max_size=12),
    st.text('"\\,:{}\n\r\x7e\x81tsdatéq', max_size=40),
    st.sampled_from(
        [
            "a\nb\nc\nd",
            "\n\n\n",
            'x","ts":"y","seq":1}',
            encode_message(Output("t", 7, "stdout", "in a line", TS, 1)).decode(),
            "x" * 200 + "\ny",
            "x" * 70_000 + "\nz",
        ]
    ),
)
LINES = st.builds(
    batch,
    st.sampled_from(["t", "u", 'quote"', "é", "5f0c" * 9]),
    st.sampled_from(["stdout", "stdout", "stderr"]),
    TEXTS,
    st.integers(1, 1200),
    pid=st.sampled_from([0, 7, 8]),
)
PIECES = st.builds(
    lambda data, seq: encode_message(Output("t", 7, "stdout", data, TS, seq, True)),
    TEXTS,
    st.integers(1, 1200),
)
OTHERS = st.sampled_from(
    [encode_message(one) for one in (exited("t"), exited("u"), Tasks("1", []))]
)
PINGS = st.binary(max_size=9).map(lambda payload: bytes((0x89, len(payload))) + payload)


@given(
    st.lists(st.one_of(LINES, LINES, (PIECES | OTHERS).map(text_frame)), max_size=20),
    st.lists(st.integers(0, 10**6), max_size=3),
)
def test_blocks_are_what_their_messages_are(sent: list[bytes], cuts: list[int]) -> None:
    """Whatever else is among them, and wherever the reads end."""
    data = b"".join(sent)
    with mock.patch.object(output, "WORTHWHILE", 0):
        received = read(data, cuts)
    again: list[bytes] = []
    for one in received:
        if isinstance(one, OutputBlock):
            messages = one.messages()
            assert one.data.decode() == "".join(f"{message.data}\n" for message in messages)
            assert {(message.task_id, message.stream) for message in messages} == {
                (one.task_id, one.stream)
            }
            assert messages[-1].seq == one.seq
            again += one.json_lines().split(b"\n")
        else:
            again.append(one)
    assert again == payloads(data)


@given(st.lists(st.one_of(LINES, PINGS), max_size=12))
def test_pings_among_lines_are_found(sent: list[bytes]) -> None:
    data = b"".join(sent)
    reader = FrameReader(LIMIT)
    with mock.patch.object(output, "WORTHWHILE", 0):
        _, controls = reader.receive(data)
    assert [payload for _, payload in controls] == [one[2:] for one in sent if one[0] == 0x89]


@pytest.mark.parametrize("task_id", ["t", "5f0c" * 9])
def test_many_lines_are_one_block(task_id: str) -> None:
    """Across times and widths of numbers and of frames, but for a last one that is cut off."""
    texts = ["short", "x" * 90, "", 'say "é"\t', "back\\slash"] * 300
    data = batch(task_id, "stderr", "\n".join(texts[:700]), 1)
    data += batch(task_id, "stderr", "\n".join(texts[700:]), 701)
    (block,) = read(data, [])
    assert isinstance(block, OutputBlock)
    assert block.data == "".join(f"{text}\n" for text in texts).encode()
    assert (block.stream, block.seq) == ("stderr", len(texts))
    (block, last) = read(data, [len(data) - 1])
    assert isinstance(block, OutputBlock)
    assert block.data == "".join(f"{text}\n" for text in texts[:-1]).encode()
    assert (block.seq, last) == (len(texts) - 1, payloads(data)[-1])


@pytest.mark.parametrize(
    "between",
    [
        batch("u", "stdout", "b", 1),
        batch("t", "stderr", "b", 1),
        batch("t", "stdout", "b", 1, pid=8),
        text_frame(encode_message(Output("t", 7, "stdout", "b", TS, 1, True))),
        text_frame(encode_message(exited("t"))),
        b"\x89\x00",
    ],
    ids=["task", "stream", "pid", "piece", "exit", "ping"],
)
def test_nothing_else_is_in_a_block(between: bytes) -> None:
    data = batch("t", "stdout", "a\n" * 50, 1) + between + batch("t", "stdout", "c\n" * 50, 51)
    assert read_block(data) is None


def test_a_short_read_is_not_looked_at() -> None:
    """A line now and then takes the shortest way."""
    assert all(isinstance(one, bytes) for one in read(batch("t", "stdout", "a\nb\nc", 1), []))


def test_what_is_no_json_is_left_to_who_tells_of_it() -> None:
    data = batch("t", "stdout", "aa\n" * 50, 1)
    broken = data.replace(b'"aa"', b'"\\x"', 1)
    assert read_block(data) is not None
    assert read_block(broken) is None


def test_messages_are_of_this_kind() -> None:
    """A block stands for messages, and says so of each."""
    block = read_block(batch("t", "stdout", "a\n" * 50, 1))
    assert block is not None
    messages: list[Message] = [*block.messages()]
    assert messages[0] == Output("t", 7, "stdout", "a", messages[0].ts, 1)  # type: ignore[attr-defined]
    assert len(messages) == 51
