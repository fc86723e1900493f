"""Frames as the client reads and writes them; the other side is a library that nobody here wrote."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from overseer.client.frames import CLOSE, PING, FrameError, FrameReader, close_reason, masked_frame

LIMIT = 100_000


def frame(payload: bytes, opcode: int = 1, *, final: bool = True) -> bytes:
    return Frame(Opcode(opcode), payload, fin=final).serialize(mask=False)


def read_in_pieces(data: bytes, cuts: list[int]) -> tuple[list[bytes], list[tuple[int, bytes]]]:
    reader = FrameReader(LIMIT)
    messages: list[bytes] = []
    controls: list[tuple[int, bytes]] = []
    bounds = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in itertools.pairwise(bounds):
        more, others = reader.receive(data[start:end])
        messages += more
        controls += others
    return messages, controls


PAYLOADS = st.one_of(
    st.binary(max_size=130), st.sampled_from([bytes(125), bytes(126), b"\x81~" * 40_000])
)


@given(
    st.lists(st.tuples(PAYLOADS, st.integers(0, 3), st.booleans())),
    st.lists(st.integers(0, 10**6), max_size=8),
)
def test_messages_come_whole_however_they_are_cut(
    sent: list[tuple[bytes, int, bool]], cuts: list[int]
) -> None:
    """Fragments, pings among them, reads that end anywhere: each message once, in order."""
    data, pings = b"", []
    for payload, fragments, pinged in sent:
        for number in range(fragments):
            data += frame(payload[number : number + 1], 0 if number else 1, final=False)
        if pinged:
            data += frame(payload[:125], PING)
            pings.append((PING, payload[:125]))
        data += frame(payload[fragments:], 0 if fragments else 1)
    assert read_in_pieces(data, cuts) == ([payload for payload, _, _ in sent], pings)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"\x81\x85\0\0\0\0hello", "masks"),
        (b"\xc1\x01x", "reserved bits"),
        (frame(b"x", 0), "out of order"),
        (frame(b"x", 1, final=False) + frame(b"y", 1), "out of order"),
        (b"\x83\x01x", "out of order"),
        (b"\x09\x00", "control frame"),
        (b"\x89\x7e\x00\x7e" + bytes(126), "control frame"),
        (b"\x81\x7f" + (LIMIT + 1).to_bytes(8), "more than"),
        (frame(bytes(60_000), 1, final=False) + frame(bytes(60_000), 0), "more than"),
    ],
)
def test_what_breaks_the_protocol(data: bytes, complaint: str) -> None:
    """A server that cannot be understood is not listened to any more."""
    with pytest.raises(FrameError, match=complaint):
        read_in_pieces(data, [])


@given(
    st.one_of(st.binary(max_size=300), st.just(bytes(70_000))), st.binary(min_size=4, max_size=4)
)
def test_sent_frames_are_read_by_others(payload: bytes, mask: bytes) -> None:
    """Masked as RFC 6455 asks of a client, whatever the size."""
    stream = StreamReader()
    stream.feed_data(masked_frame(payload, mask))
    reading = Frame.parse(stream.read_exact, mask=True)
    with pytest.raises(StopIteration) as done:
        next(reading)
    assert done.value.value == Frame(Opcode.TEXT, payload)


def test_close_frames() -> None:
    """A close frame may say nothing at all."""
    data = frame((1001).to_bytes(2) + b"going away", CLOSE)
    ((opcode, payload),) = read_in_pieces(data, [])[1]
    assert (opcode, close_reason(payload)) == (CLOSE, (1001, "going away"))
    assert close_reason(b"") == (None, "")
