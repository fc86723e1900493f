"""Frame heads: the three lengths of RFC 6455 section 5.2, at their boundaries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overseer.protocol.frames import frame_head, head_size, payloads, text_frame, to_lines

HEADS = [
    (0, "81 00"),
    (1, "81 01"),
    (125, "81 7d"),
    (126, "81 7e 00 7e"),
    (127, "81 7e 00 7f"),
    (256, "81 7e 01 00"),
    (65535, "81 7e ff ff"),
    (65536, "81 7f 00 00 00 00 00 01 00 00"),
    (2**32, "81 7f 00 00 00 01 00 00 00 00"),
    (2**63 - 1, "81 7f 7f ff ff ff ff ff ff ff"),
]


@pytest.mark.parametrize(("size", "head"), HEADS)
def test_a_head_is_as_short_as_the_length_allows(size: int, head: str) -> None:
    """One final, unmasked text frame; a length in more bytes than needed would break clients."""
    assert frame_head(size).hex(" ") == head
    assert head_size(size) == len(frame_head(size))


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_a_text_frame_is_its_head_and_its_payload(size: int) -> None:
    """The payload goes out as it is."""
    payload = b"x" * size
    assert text_frame(payload) == frame_head(size) + payload


@given(st.integers(0, 2**63 - 1))
def test_the_head_is_as_long_as_foretold(size: int) -> None:
    """Whoever cuts frames apart by lengths cuts in the right place."""
    assert len(frame_head(size)) == head_size(size)


@given(
    st.lists(st.sampled_from([b"", b"{}", b"\x81}" * 60, b"x" * 125, b"x" * 126, b"y" * 70_000]))
)
def test_frames_come_apart_as_they_were_put_together(texts: list[bytes]) -> None:
    """The event log and stdio take their lines from the frames of everybody else."""
    frames = b"".join(map(text_frame, texts))
    assert payloads(frames) == texts
    assert to_lines(frames) == b"".join(text + b"\n" for text in texts)
