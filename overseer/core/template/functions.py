"""Which functions a template can call, and what each yields.

``and``, ``or`` and ``printf`` are only named here: the first two stop at the first decisive
argument and the last counts its work, so they run where expressions do.
"""

import re
from collections.abc import Callable, Sequence
from typing import TypeAlias
from urllib.parse import quote_plus

from attrs import frozen

from overseer.core.template import text
from overseer.core.template.errors import Refused
from overseer.core.template.formatting import plain
from overseer.core.template.values import NO_VALUE, Byte, Value, type_name

Arguments: TypeAlias = Sequence[Value]


@frozen
class Function:
    """A function's code and how many arguments it takes; ``most`` is ``None`` for any number.

    Without ``call`` it runs where expressions do.
    """

    call: Callable[[Arguments], Value] | None
    least: int
    most: int | None = None


def printed(arguments: Arguments) -> str:
    """``print``: blanks only between two neighbours of which neither is a text."""
    pieces: list[str] = []
    after_text = True
    for argument in arguments:
        is_text = isinstance(argument, str)
        if not is_text and not after_text:
            pieces.append(" ")
        pieces.append(plain(argument))
        after_text = is_text
    return "".join(pieces)


def _printed_line(arguments: Arguments) -> str:
    return " ".join(map(plain, arguments)) + "\n"


def _printed_for_escape(arguments: Arguments) -> str:
    return printed([NO_VALUE if argument is None else argument for argument in arguments])


_HTML = str.maketrans(
    {
        "\0": text.REPLACEMENT,
        '"': "&#34;",
        "'": "&#39;",
        "&": "&amp;",
        "<": "&lt;",
        ">": "&gt;",
    }
)
_NOT_IN_JAVASCRIPT = re.compile(r"""[\\'"<>&=\x00-\x1f]|[^\x00-\x7f]""")


def _html(arguments: Arguments) -> str:
    return _printed_for_escape(arguments).translate(_HTML)


def _javascript(arguments: Arguments) -> str:
    return _NOT_IN_JAVASCRIPT.sub(_javascript_escape, _printed_for_escape(arguments))


def _javascript_escape(match: re.Match[str]) -> str:
    character = match.group()
    if character in "\\'\"":
        return "\\" + character
    if not character.isascii() and (character.isprintable() or "\ud800" <= character <= "\udfff"):
        return character
    return f"\\u{ord(character):04X}"


def _url_query(arguments: Arguments) -> str:
    return quote_plus(text.encode(_printed_for_escape(arguments)))


def is_true(value: Value) -> bool:
    """What ``if`` makes of ``value``: anything but zero, empty and nil."""
    return bool(value)


def _length(arguments: Arguments) -> int:
    value = arguments[0]
    if isinstance(value, str):
        return len(value) if value.isascii() else len(text.encode(value))
    if isinstance(value, dict):
        return len(value)
    raise Refused(f"{type_name(value)} has no length")


def _index(arguments: Arguments) -> Value:
    value = arguments[0]
    if value is None:
        raise Refused("nil cannot be indexed")
    for index in arguments[1:]:
        if isinstance(value, dict):
            if not isinstance(index, str):
                raise Refused(f"expected a string as index, found {type_name(index)}")
            value = value.get(index, "")
        elif isinstance(value, str):
            data = text.encode(value)
            value = Byte(data[_position(index, len(data) - 1)])
        else:
            raise Refused(f"{type_name(value)} cannot be indexed")
    return value


def _slice(arguments: Arguments) -> str:
    value, *bounds = arguments
    if not isinstance(value, str):
        raise Refused(f"{type_name(value)} cannot be sliced")
    if len(bounds) > 2:
        raise Refused("a string has two bounds at most")
    data = text.encode(value)
    whole = [0, len(data)]
    positions = [_position(bound, len(data)) for bound in bounds]
    start, end = positions + whole[len(positions) :]
    if start > end:
        raise Refused(f"the slice ends before it begins: {start} > {end}")
    return text.decode(data[start:end])


def _position(index: Value, last: int) -> int:
    if not isinstance(index, int) or isinstance(index, bool):
        raise Refused(f"expected a number as index, found {type_name(index)}")
    if not 0 <= index <= last:
        raise Refused(f"index {index} is out of range")
    return index


def _call(arguments: Arguments) -> Value:
    raise Refused(f"{type_name(arguments[0])} is no function")


def _kind(value: Value) -> str:
    """What can be compared with each other: all of one type, and integers of any."""
    return "int" if isinstance(value, Byte) else type_name(value)


def _equal(arguments: Arguments) -> bool:
    first, *others = arguments
    if not others:
        raise Refused("missing argument for comparison")
    return any(_same(first, other) for other in others)


def _same(first: Value, second: Value) -> bool:
    if first is None or second is None:
        return first is second
    if _kind(first) != _kind(second) or isinstance(first, dict):
        raise Refused(f"{type_name(first)} and {type_name(second)} cannot be compared")
    return first == second


def _less(arguments: Arguments) -> bool:
    first, second = arguments
    if _kind(first) == _kind(second):
        if isinstance(first, str) and isinstance(second, str):
            return first < second
        if (
            isinstance(first, int | float)
            and isinstance(second, int | float)
            and not isinstance(first, bool)
        ):
            return first < second
    raise Refused(f"{type_name(first)} and {type_name(second)} have no order")


def _less_or_equal(arguments: Arguments) -> bool:
    return _less(arguments) or _equal(arguments)


FUNCTIONS = {
    "and": Function(None, 1),
    "call": Function(_call, 1),
    "eq": Function(_equal, 1),
    "ge": Function(lambda arguments: not _less(arguments), 2, 2),
    "gt": Function(lambda arguments: not _less_or_equal(arguments), 2, 2),
    "html": Function(_html, 0),
    "index": Function(_index, 1),
    "js": Function(_javascript, 0),
    "le": Function(_less_or_equal, 2, 2),
    "len": Function(_length, 1, 1),
    "lt": Function(_less, 2, 2),
    "ne": Function(lambda arguments: not _equal(arguments), 2, 2),
    "not": Function(lambda arguments: not is_true(arguments[0]), 1, 1),
    "or": Function(None, 1),
    "print": Function(printed, 0),
    "printf": Function(None, 1),
    "println": Function(_printed_line, 0),
    "slice": Function(_slice, 1),
    "urlquery": Function(_url_query, 0),
}
