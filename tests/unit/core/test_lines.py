"""Where lines end."""

import re

from hypothesis import given
from hypothesis import strategies as st

from overseer.core.lines import Block, LineSplitter

BIG = 1 << 20


def feed_all(chunks: list[bytes], limit: int = BIG) -> list[Block]:
    splitter = LineSplitter(limit)
    blocks = [block for chunk in chunks for block in splitter.feed(chunk)]
    return blocks + splitter.finish()


def lines_of(blocks: list[Block]) -> list[bytes]:
    """Put pieces together again and take blocks apart."""
    lines: list[bytes] = []
    open_piece = b""
    for block in blocks:
        if block.unfinished:
            open_piece += block.data
            continue
        first, *rest = block.data.split(b"\n")
        lines += [open_piece + first, *rest]
        open_piece = b""
    assert not open_piece
    return lines


def expected(data: bytes) -> list[bytes]:
    *whole, last = data.split(b"\n")
    return [re.sub(rb"\r\Z", b"", line) for line in whole] + ([last] if last else [])


chunked = st.lists(
    st.binary(max_size=12) | st.sampled_from([b"\n", b"\r", b"\r\n", b"ab\n", "é€🎉".encode()])
)


@given(chunked)
def test_the_lines_are_those_of_a_plain_split_however_the_reads_fall(chunks: list[bytes]) -> None:
    """Whatever the sizes of the reads, the lines are the same."""
    assert lines_of(feed_all(chunks)) == expected(b"".join(chunks))


@given(chunked, st.integers(5, 20))
def test_a_small_limit_cuts_lines_but_loses_nothing(chunks: list[bytes], limit: int) -> None:
    """Long lines come in pieces whose sum is the line, and nothing beyond the limit is held back."""
    assert lines_of(feed_all(chunks, limit)) == expected(b"".join(chunks))


@given(
    st.text(min_size=1).filter(lambda text: "\n" not in text and "\r" not in text),
    st.integers(4, 9),
)
def test_pieces_are_cut_between_characters(text: str, limit: int) -> None:
    """No piece ends within a character."""
    for block in feed_all([text.encode("utf-8", "replace")], limit):
        block.data.decode("utf-8")


def test_one_read_of_many_lines_is_one_block() -> None:
    """The work of a read is done once."""
    assert LineSplitter(BIG).feed(b"a\nb\nc\n") == [Block(b"a\nb\nc")]


def test_empty_lines_count() -> None:
    """An empty line is a line."""
    assert lines_of(feed_all([b"\n" * 10_000])) == [b""] * 10_000


def test_a_final_newline_makes_no_extra_line() -> None:
    """``a\\n`` is one line."""
    assert feed_all([b"a\n"]) == [Block(b"a")]


def test_the_last_line_needs_no_newline() -> None:
    """What is left at the end is a line."""
    assert feed_all([b"a\nb"]) == [Block(b"a"), Block(b"b")]


def test_a_carriage_return_counts_only_before_a_newline() -> None:
    """``\\r`` stays where no ``\\n`` follows, also when the two come in different reads."""
    assert lines_of(feed_all([b"a\r", b"\nb\rc\nd\r"])) == [b"a", b"b\rc", b"d\r"]


def test_a_line_of_exactly_the_limit_ends_in_an_empty_piece() -> None:
    """The end of a line that was cut is always told."""
    splitter = LineSplitter(4)
    assert splitter.feed(b"abcdefgh") == [Block(b"abcd", unfinished=True)]
    assert splitter.feed(b"i") == [Block(b"efgh", unfinished=True)]
    assert splitter.feed(b"\n") == [Block(b"i")]


def test_a_stream_that_ends_in_a_long_line_finishes_it() -> None:
    """The last piece is not marked as unfinished."""
    assert feed_all([b"abcdef"], 4) == [Block(b"abcd", unfinished=True), Block(b"ef")]
