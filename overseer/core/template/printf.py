"""What ``printf`` writes by Go's format language, whose mistakes go into the text."""

import re
from collections.abc import Callable, Iterator, Sequence

from overseer.core.template.formatting import Directive, formatted, plain
from overseer.core.template.values import Value, type_name

# Go's own bound for a width or a precision.
_LARGEST_NUMBER = 1_000_000
# What a piece costs besides its characters.
_PIECE = 8
_FLAGS = re.compile("[-+# 0]*")
_DIGITS = re.compile("[0-9]*")


def printf(template: str, arguments: Sequence[Value], spend: Callable[[int], None]) -> str:
    """``template`` with its directives replaced; ``spend`` hears of each piece's cost."""
    pieces: list[str] = []
    for piece in _Format(template, arguments).pieces():
        spend(len(piece) + _PIECE)
        pieces.append(piece)
    return "".join(pieces)


class _Format:
    """One format on its way through its arguments."""

    def __init__(self, template: str, arguments: Sequence[Value]) -> None:
        self._template = template
        self._arguments = arguments
        self._position = 0
        self._next = 0
        self._reordered = False
        self._good_index = True
        self._after_index = False
        self._brackets_closed = True

    def pieces(self) -> Iterator[str]:
        while (percent := self._template.find("%", self._position)) >= 0:
            yield self._template[self._position : percent]
            self._position = percent + 1
            yield from self._directive()
        yield self._template[self._position :]
        if not self._reordered and self._next < len(self._arguments):
            yield "%!(EXTRA "
            for number, argument in enumerate(self._arguments[self._next :]):
                yield ", " if number else ""
                yield "<nil>" if argument is None else f"{type_name(argument)}={plain(argument)}"
            yield ")"

    def _directive(self) -> Iterator[str]:
        self._good_index, self._after_index = True, False
        directive = self._flags()
        self._index()
        yield from self._width(directive)
        if self._peek() == ".":
            yield from self._precision(directive)
        if not self._after_index:
            self._index()
        verb = self._peek()
        self._position += 1
        if not verb:
            yield "%!(NOVERB)"
        elif verb == "%":
            yield "%"
        elif not self._good_index:
            yield f"%!{verb}(BADINDEX)"
        elif self._next >= len(self._arguments):
            yield f"%!{verb}(MISSING)"
        else:
            if verb == "v":
                directive.go_syntax, directive.sharp, directive.plus = directive.sharp, False, False
            yield formatted(self._arguments[self._next], verb, directive)
            self._next += 1

    def _peek(self) -> str:
        return self._template[self._position : self._position + 1]

    def _flags(self) -> Directive:
        flags = self._take(_FLAGS)
        return Directive(
            sharp="#" in flags,
            zero="0" in flags,
            plus="+" in flags,
            minus="-" in flags,
            space=" " in flags,
        )

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._template, self._position)
        assert match is not None
        self._position = match.end()
        return match.group()

    def _index(self) -> None:
        """An explicit argument index such as ``[2]``, when one is here."""
        self._after_index = False
        if self._peek() != "[":
            return
        self._reordered = True
        start = self._position + 1
        if not self._brackets_closed or len(self._template) < start + 2:
            closing = -1
        else:
            closing = self._template.find("]", start)
        if closing < 0:
            # No later bracket can be closed either; searching again would take quadratic time.
            self._brackets_closed = False
            self._position = start
            self._good_index = False
            return
        self._position = closing + 1
        digits = self._template[start:closing]
        index = _bounded(digits) if _DIGITS.fullmatch(digits) else None
        self._after_index = index is not None
        if index is not None and 1 <= index <= len(self._arguments):
            self._next = index - 1
        else:
            self._good_index = False

    def _width(self, directive: Directive) -> Iterator[str]:
        if self._peek() == "*":
            self._position += 1
            width = self._number_argument()
            self._after_index = False
            if width is None:
                yield "%!(BADWIDTH)"
            elif width < 0:
                directive.minus, directive.width = True, -width
            else:
                directive.width = width
            return
        directive.width = self._number()
        if self._after_index and directive.width is not None:
            self._good_index = False

    def _precision(self, directive: Directive) -> Iterator[str]:
        self._position += 1
        if self._after_index:
            self._good_index = False
        self._index()
        if self._peek() == "*":
            self._position += 1
            precision = self._number_argument()
            self._after_index = False
            if precision is None or precision < 0:
                yield "%!(BADPREC)"
            else:
                directive.precision = precision
            return
        directive.precision = self._number() or 0

    def _number(self) -> int | None:
        digits = self._take(_DIGITS)
        if not digits:
            return None
        number = _bounded(digits)
        if number is None:
            # Go gives up where it stands, so the format ends in the middle of a directive.
            self._position = len(self._template)
        return number

    def _number_argument(self) -> int | None:
        if self._next >= len(self._arguments):
            return None
        argument = self._arguments[self._next]
        self._next += 1
        if isinstance(argument, int) and not isinstance(argument, bool):
            return argument if abs(argument) <= _LARGEST_NUMBER else None
        return None


def _bounded(digits: str) -> int | None:
    """The number, unless it went out of bounds before its last digit, as Go sees it."""
    digits = digits.lstrip("0") or digits[-1:]
    if not digits or len(digits) > 8 or int(digits[:-1] or "0") > _LARGEST_NUMBER:
        return None
    return int(digits)
