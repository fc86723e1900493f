"""Instants and their texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overseer.core.timestamps import format_timestamp, parse_timestamp


@given(st.integers(0, 253402300799999999))
def test_what_is_written_reads_back(microseconds: int) -> None:
    """Every instant survives the round trip, and all texts have one width."""
    text = format_timestamp(microseconds)
    assert parse_timestamp(text) == microseconds
    assert len(text) == len("2026-11-22T22:07:47.123456Z")


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:01.5z", 1_500_000),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T23:30:00-00:30", 0),
        ("1970-01-01T00:00:00.000001999Z", 2),
        ("1970-01-01T00:00:00.0000010Z", 1),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000_000),
    ],
)
def test_forms_of_rfc_3339(text: str, microseconds: int) -> None:
    """Fractions, offsets, lower case and leap seconds; finer digits round up, to stay a lower bound."""
    assert parse_timestamp(text) == microseconds


@pytest.mark.parametrize(
    "text",
    ["", "now", "2026-11-22", "2026-13-01T00:00:00Z", "2026-11-22T22:07:47", "2026-11-22T25:00:00Z",
     "2026-11-22T00:00:00+24:00", "\uff12026-11-22T00:00:00Z", "2026-11-22T00:00:00Z\n"],
)  # fmt: skip
def test_what_is_no_timestamp_is_refused(text: str) -> None:
    """A wrong text is an error, never a guess."""
    with pytest.raises(ValueError, match="not an RFC 3339 timestamp"):
        parse_timestamp(text)
