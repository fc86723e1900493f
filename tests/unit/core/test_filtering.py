"""Filters judge whole lines; the pieces of a long line follow its first piece."""

from hypothesis import given
from hypothesis import strategies as st

from overseer.core.filtering import OutputFilter
from overseer.core.lines import Block, LineSplitter


def keep_a(block: bytes) -> bytes | None:
    """Keep lines that start with an a."""
    kept = [line for line in block.split(b"\n") if line.startswith(b"a")]
    return b"\n".join(kept) if kept else None


@given(st.lists(st.binary(max_size=9) | st.sampled_from([b"\n", b"a", b"\na"])), st.integers(5, 9))
def test_a_line_is_kept_whole_or_not_at_all(chunks: list[bytes], limit: int) -> None:
    """However the reads fall and wherever long lines are cut."""
    splitter, condition = LineSplitter(limit), OutputFilter(keep_a)
    blocks = [block for chunk in chunks for block in splitter.feed(chunk)] + splitter.finish()
    kept = b""
    for block in blocks:
        passed = condition.apply(block)
        if passed is not None:
            kept += passed.data + (b"" if passed.unfinished else b"\n")
    *whole, last = b"".join(chunks).split(b"\n")
    lines = [line[:-1] if line.endswith(b"\r") else line for line in whole] + (
        [last] if last else []
    )
    assert kept == b"".join(line + b"\n" for line in lines if line.startswith(b"a"))


def test_a_dropped_long_line_takes_its_pieces_with_it() -> None:
    """And lets the next line through."""
    condition = OutputFilter(keep_a)
    assert condition.apply(Block(b"bcd", unfinished=True)) is None
    assert condition.apply(Block(b"aaa", unfinished=True)) is None
    assert condition.apply(Block(b"a\nax")) == Block(b"ax")
