"""Sizes in bytes, as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overseer.core.sizes import format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1000", 1000),
        ("7B", 7),
        ("64KiB", 64 * 1024),
        ("64 KiB", 64 * 1024),
        ("1MiB", 1024**2),
        ("1.5MiB", 1024**2 * 3 // 2),
        ("50MiB", 50 * 1024**2),
        ("1GiB", 1024**3),
        ("2TiB", 2 * 1024**4),
        ("10KB", 10_000),
        ("10kB", 10_000),
        ("3MB", 3_000_000),
        ("1GB", 10**9),
        ("1TB", 10**12),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_reads(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", ""),
        ("ten", ""),
        ("-1", ""),
        ("1K", ""),
        ("1m", ""),
        ("1 MiB ", ""),
        ("1e3", ""),
        (".5MiB", ""),
        ("0.0001KiB", " (not a whole number of bytes)"),
        ("1.5", " (not a whole number of bytes)"),
        ("9223372036854775808", " (too large)"),
        ("9000000TiB", " (too large)"),
    ],
)
def test_says_what_is_wrong_with_anything_else(text, reason):
    with pytest.raises(ValueError, match="size") as error:
        parse_size(text)
    assert str(error.value) == f'expected a size such as "64KiB" or "1MiB", got "{text}"{reason}'


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (1000, "1000B"), (1024, "1KiB"), (262144, "256KiB"), (1024**2 + 1024, "1025KiB")],
)
def test_prints_the_largest_exact_unit(size, text):
    assert format_size(size) == text


def test_prints_no_negative_size():
    with pytest.raises(ValueError, match="cannot be negative: -1"):
        format_size(-1)


@given(st.integers(min_value=0, max_value=2**63 - 1))
def test_round_trip(size):
    assert parse_size(format_size(size)) == size
