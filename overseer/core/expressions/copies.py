"""What a condition gets to see of a line: its text, and the JSON object in it.

Whatever the CEL library cannot hold is replaced here, in the condition's own copy: it reads a text only
up to a NUL, raises for a lone surrogate, has no integers beyond 64 bits and overflows the stack on
deeply nested values.
"""

import re
from typing import Final

import msgspec

DEEPEST: Final = 200
"""How many lists and objects of JSON may lie within each other; deeper ones are no JSON here."""

_SMALLEST, _LARGEST = -(2**63), 2**64 - 1
# Floats that are too large are infinite, and no reason to refuse the whole object.
_parse = msgspec.json.Decoder(dict[str, object], float_hook=float).decode
# Every escape is matched, so that no second half of `\\` is taken for the start of another one.
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|(?P<unfit>u0000|u[dD][89a-fA-F][0-9a-fA-F]{2})"
    r"|.)"
)
# The shortest number that may not fit, once every digit is a zero: a pattern would take ten times as long.
_TO_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_MANY_DIGITS = b"0" * 19


def readable(data: bytes) -> str:
    """Return lines as text, U+FFFD standing for NUL and for what is no UTF-8."""
    text = data.decode("utf-8", "replace")
    return text.replace("\0", "\ufffd") if "\0" in text else text


def json_object(text: str) -> dict[str, object]:
    """Return ``text`` parsed if it is a JSON object, else an empty one.

    U+FFFD stands for escaped NULs and lone surrogates, the nearest float for numbers beyond 64 bits.
    """
    if not text.lstrip(" \t\r").startswith("{"):
        return {}
    if "\\u" in text:
        text = _ESCAPE.sub(_fitting_escape, text)
    try:
        value = _parse(text)
        if _may_not_fit(text):
            value = {name: _fitting(item, DEEPEST - 1) for name, item in value.items()}
    except (msgspec.DecodeError, RecursionError, OverflowError):
        return {}
    return value


def _may_not_fit(text: str) -> bool:
    """Whether it takes a look at every value, for the text has many digits or brackets."""
    return (
        len(text) > DEEPEST and text.count("{") + text.count("[") > DEEPEST
    ) or _MANY_DIGITS in text.encode().translate(_TO_ZEROS)


def _fitting_escape(match: re.Match[str]) -> str:
    return r"\ufffd" if match["unfit"] else match[0]


def _fitting(value: object, room: int) -> object:
    """Return ``value`` with integers that fit; raises RecursionError beyond ``room`` levels."""
    if isinstance(value, int):
        return value if _SMALLEST <= value <= _LARGEST else float(value)
    if not isinstance(value, dict | list):
        return value
    if not room:
        raise RecursionError
    if isinstance(value, list):
        return [_fitting(item, room - 1) for item in value]
    return {name: _fitting(item, room - 1) for name, item in value.items()}
