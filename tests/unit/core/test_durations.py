"""Durations are read and written exactly as Go's ``time.Duration``."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overseer.core.durations import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("-0", 0.0),
        ("+0", 0.0),
        ("0s", 0.0),
        ("5s", 5.0),
        ("+5s", 5.0),
        ("1m30s", 90.0),
        ("90m", 5400.0),
        ("24h", 86400.0),
        ("100ms", 0.1),
        ("1.5s", 1.5),
        (".5s", 0.5),
        ("5.s", 5.0),
        ("-1.5h", -5400.0),
        ("7us", 7e-6),
        ("7\u00b5s", 7e-6),
        ("7\u03bcs", 7e-6),
        ("3ns", 3e-9),
        ("1s1s", 2.0),
        ("1ms1h", 3600.001),
        ("0.000000001h", 3.6e-6),
        ("00000000000000000000000000001s", 1.0),
        ("0." + "3" * 10_000 + "s", 0.333333333),
        ("2562047h47m16.854775807s", (2**63 - 1) / 1e9),
        ("-2562047h47m16.854775808s", -(2**63) / 1e9),
    ],
)
def test_reads_what_go_reads(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", ""),
        ("-", ""),
        ("s", ""),
        (".s", ""),
        ("ten", ""),
        (" 5s", ""),
        ("--5s", ""),
        ("1..5s", " (a unit is missing: ns, us, ms, s, m, h)"),
        ("5", " (a unit is missing: ns, us, ms, s, m, h)"),
        ("1m30", " (a unit is missing: ns, us, ms, s, m, h)"),
        ("5S", ' ("S" is not one of ns, us, ms, s, m, h)'),
        ("2d", ' ("d" is not one of ns, us, ms, s, m, h)'),
        ("5 s", ' (" s" is not one of ns, us, ms, s, m, h)'),
        ("5s\n", ' ("s\\n" is not one of ns, us, ms, s, m, h)'),
        ("2562047h47m16.854775808s", " (more than 292 years)"),
        ("-2562047h47m16.854775809s", " (more than 292 years)"),
        ("99999999999999999999ns", " (more than 292 years)"),
    ],
)
def test_says_what_is_wrong_with_anything_else(text, reason):
    with pytest.raises(ValueError, match="duration") as error:
        parse_duration(text)
    shown = text.replace("\n", "\\n")
    assert str(error.value) == (
        f'expected a duration such as "5s" or "1m30s", got "{shown}"{reason}'
    )


def test_arabic_digits_are_no_digits():
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration("\N{ARABIC-INDIC DIGIT FIVE}s")


def test_a_million_digits_are_refused_in_one_short_line():
    with pytest.raises(ValueError, match="292 years") as error:
        parse_duration("9" * 1_000_000 + "s")
    assert len(str(error.value)) < 150


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (5, "5s"),
        (90, "1m30s"),
        (60, "1m0s"),
        (3600, "1h0m0s"),
        (86400, "24h0m0s"),
        (0.1, "100ms"),
        (1.5, "1.5s"),
        (0.0015, "1.5ms"),
        (1e-6, "1µs"),
        (1.5e-6, "1.5µs"),
        (1e-9, "1ns"),
        (1e-10, "0s"),
        (-5400, "-1h30m0s"),
        (-1e-10, "0s"),
        (59.999999999, "59.999999999s"),
        (3600.1, "1h0m0.1s"),
        (31536000.1, "8760h0m0.1s"),
    ],
)
def test_prints_what_go_prints(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize("seconds", [float("inf"), float("-inf"), float("nan"), 1e10, -1e10, 1e300])
def test_refuses_to_print_what_is_no_duration(seconds):
    with pytest.raises(ValueError, match="not a duration"):
        format_duration(seconds)


# A float of seconds tells nanoseconds apart up to 52 days.
@given(st.integers(min_value=-(2**52), max_value=2**52))
def test_round_trip_to_the_nanosecond(nanoseconds):
    seconds = nanoseconds / 1_000_000_000
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.floats(min_value=-9e9, max_value=9e9))
def test_text_round_trip_is_stable_for_any_float(seconds):
    text = format_duration(seconds)
    assert format_duration(parse_duration(text)) == text


@given(st.text(alphabet="0123456789.-+hmsnuµ ", max_size=20))
def test_any_text_is_a_duration_or_a_value_error(text):
    try:
        seconds = parse_duration(text)
    except ValueError:
        return
    assert isinstance(seconds, float)
