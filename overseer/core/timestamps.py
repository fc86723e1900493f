"""Instants: whole microseconds since the Unix epoch inside, RFC 3339 text in UTC on the wire.

Texts have a fixed width (``2026-11-22T22:07:47.123456Z``), so that they sort like the instants and
the constant parts of an output message keep one length.
"""

import datetime
import functools
import re

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:([Zz])|([+-])(\d\d):(\d\d))",
    re.ASCII,
)
_LEAP_SECOND = 60


def format_timestamp(microseconds: int) -> str:
    """Return ``microseconds`` since the epoch as RFC 3339 text, always in UTC with six digits."""
    seconds, fraction = divmod(microseconds, 1_000_000)
    return f"{_second(seconds)}.{fraction:06d}Z"


# Most of what is told happened in the second that was formatted last.
@functools.lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    moment = _EPOCH + datetime.timedelta(seconds=seconds)
    return moment.isoformat().removesuffix("+00:00")


def parse_timestamp(text: str) -> int:
    """Return the microseconds since the epoch of an RFC 3339 text (RFC 3339 section 5.6).

    Digits finer than a microsecond round up, because the instants parsed here are lower bounds: what
    happened before the bound must stay outside.

    :raises ValueError: when ``text`` is no RFC 3339 timestamp.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError("not an RFC 3339 timestamp")
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    leap = second == _LEAP_SECOND
    try:
        moment = datetime.datetime(
            year, month, day, hour, minute, second - leap, tzinfo=datetime.UTC
        )
    except ValueError as error:
        raise ValueError(f"not an RFC 3339 timestamp: {error}") from None
    digits = match[7] or ""
    fraction = int(digits[:6].ljust(6, "0")) + bool(digits[6:].strip("0"))
    offset = 0
    if match[9]:
        if int(match[10]) > 23 or int(match[11]) > 59:
            raise ValueError("not an RFC 3339 timestamp: offset out of range")
        offset = (int(match[10]) * 60 + int(match[11])) * (-60 if match[9] == "+" else 60)
    return (moment - _EPOCH) // _MICROSECOND + (leap + offset) * 1_000_000 + fraction
