"""Reads and writes durations as Go does: ``1m30s``, ``100ms``, ``1.5s``, ``0s``.

Inside, a duration is a whole number of nanoseconds within 64 bits, so nothing is lost or invented
on the way from text to text; outside it is a ``float`` of seconds.
"""

import json
import re
from decimal import Decimal

_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # U+00B5, the micro sign
    "\u03bcs": 1_000,  # the Greek letter mu, which Go takes as well
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_SECOND = _NANOSECONDS["s"]

DURATION_PATTERN = rf"^\+?(0|(([0-9]+\.?[0-9]*|\.[0-9]+)({'|'.join(_NANOSECONDS)}))+)$"
"""A duration that is not negative, as a regular expression for JSON Schemas."""

_SMALLEST, _LARGEST = -(2**63), 2**63 - 1

_PART = re.compile(r"(?P<whole>[0-9]*)(?:\.(?P<fraction>[0-9]*))?(?P<unit>[^0-9.]*)")

# More digits than these change no nanosecond: they are counted, not converted, so that a hostile
# text of a million digits costs nothing.
_WHOLE_DIGITS = 19
_FRACTION_DIGITS = 18


def parse_duration(text: str) -> float:
    """Return the seconds that ``text`` stands for; it may be negative.

    :raises ValueError: saying what was expected, when it is no Go duration or does not fit 64 bits of
        nanoseconds (about 292 years).
    """
    unsigned = text[1:] if text.startswith(("-", "+")) else text
    nanoseconds = 0 if unsigned == "0" else _sum_of_parts(text, unsigned)
    if text.startswith("-"):
        nanoseconds = -nanoseconds
    if not _SMALLEST <= nanoseconds <= _LARGEST:
        raise _refusal(text, "more than 292 years")
    return nanoseconds / _SECOND


def format_duration(seconds: float) -> str:
    """Return ``seconds``, rounded to the nanosecond, as Go's ``Duration.String()`` prints it.

    :raises ValueError: when they are not finite or do not fit 64 bits of nanoseconds.
    """
    # The shortest text of a float, not its exact binary value, is what was meant: 0.1 is 100ms.
    exact = Decimal(repr(float(seconds)))
    if not exact.is_finite() or abs(exact) > _LARGEST:
        raise ValueError(f"not a duration: {seconds!r} seconds")
    nanoseconds = int(exact.scaleb(9).to_integral_value())
    if not _SMALLEST <= nanoseconds <= _LARGEST:
        raise ValueError(f"not a duration: {seconds!r} seconds")
    sign = "-" if nanoseconds < 0 else ""
    return sign + _format_magnitude(abs(nanoseconds))


def _sum_of_parts(text: str, unsigned: str) -> int:
    if not unsigned:
        raise _refusal(text)
    total = 0
    position = 0
    while position < len(unsigned):
        part = _PART.match(unsigned, position)
        # Every piece of the pattern may be empty, so it matches anywhere.
        assert part is not None
        total += _part_nanoseconds(text, part["whole"], part["fraction"] or "", part["unit"])
        position = part.end()
    return total


def _part_nanoseconds(text: str, whole: str, fraction: str, unit: str) -> int:
    if not whole and not fraction:
        raise _refusal(text)
    if not unit:
        raise _refusal(text, "a unit is missing: ns, us, ms, s, m, h")
    if unit not in _NANOSECONDS:
        raise _refusal(text, f"{_quoted(unit)} is not one of ns, us, ms, s, m, h")
    whole = whole.lstrip("0")
    if len(whole) > _WHOLE_DIGITS:
        raise _refusal(text, "more than 292 years")
    fraction = fraction[:_FRACTION_DIGITS]
    scale = _NANOSECONDS[unit]
    denominator: int = 10 ** len(fraction)
    return int(whole or "0") * scale + int(fraction or "0") * scale // denominator


def _format_magnitude(nanoseconds: int) -> str:
    if nanoseconds == 0:
        return "0s"
    if nanoseconds < _SECOND:
        unit = next(unit for unit in ("ms", "µs", "ns") if nanoseconds >= _NANOSECONDS[unit])
        return _decimal(nanoseconds, _NANOSECONDS[unit]) + unit
    minutes, rest = divmod(nanoseconds, _NANOSECONDS["m"])
    hours, minutes = divmod(minutes, 60)
    seconds = _decimal(rest, _SECOND) + "s"
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds


def _decimal(nanoseconds: int, unit: int) -> str:
    whole, rest = divmod(nanoseconds, unit)
    if not rest:
        return str(whole)
    digits = len(str(unit)) - 1
    return f"{whole}.{rest:0{digits}}".rstrip("0")


def _refusal(text: str, reason: str = "") -> ValueError:
    expected = f'expected a duration such as "5s" or "1m30s", got {_quoted(text)}'
    return ValueError(f"{expected} ({reason})" if reason else expected)


def _quoted(text: str) -> str:
    shown = text if len(text) <= 40 else text[:39] + "…"
    return json.dumps(shown, ensure_ascii=False)
