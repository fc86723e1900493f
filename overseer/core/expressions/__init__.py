"""What a CEL expression of the configuration says: yes or no, to a parameter or to a line of output.

An expression is checked when it is read: its syntax, its names, its types and its regular
expressions. What goes wrong only for some value or line counts as "no". The CEL library is imported
for the first expression that needs it; the commonest conditions never do.
"""

from functools import cache
from typing import Final

from overseer.core.expressions.errors import ExpressionError
from overseer.core.expressions.library import LineExpression, ValueExpression
from overseer.core.expressions.shapes import Select, recognize
from overseer.core.process import Stream

__all__ = [
    "MAX_CONDITION_SIZE",
    "Condition",
    "ExpressionError",
    "Validation",
    "compile_condition",
    "compile_validation",
]

MAX_CONDITION_SIZE: Final = 10 * 1024 * 1024
"""How much of one line a condition should see, in bytes: the verdict on a longer line's first piece
of this size holds for all of it. Whoever cuts lines into pieces sees to that."""


class Validation:
    """An expression over ``value``, the text of one parameter."""

    __slots__ = ("_expression", "source")

    source: str

    def __init__(self, source: str) -> None:
        self.source = source
        self._expression = ValueExpression(source)

    def __repr__(self) -> str:
        return f"Validation({self.source!r})"

    def accepts(self, value: str) -> bool:
        """Whether ``value`` is valid; one with a NUL never is."""
        return self._expression.holds(value)


class Condition:
    """An expression over ``output``: ``output.stream``, ``output.data`` and ``output.json``.

    ``output.data`` is the line as text, with U+FFFD for what is no UTF-8 and for NUL; ``output.json``
    is that text parsed if it is a JSON object, else empty.
    """

    __slots__ = ("_select", "constant", "source")

    source: str
    constant: bool | None
    """The verdict on every line if it is known beforehand, else ``None``."""
    _select: Select

    def __init__(self, source: str, stream: Stream) -> None:
        self.source = source
        shape = recognize(source, stream)
        self.constant = shape if isinstance(shape, bool) else None
        if shape is None:
            self._select = LineExpression(source, stream).select
        elif not isinstance(shape, bool):
            self._select = shape

    def __repr__(self) -> str:
        return f"Condition({self.source!r})"

    def select(self, block: bytes) -> bytes | None:
        r"""Return those lines of ``block`` that clients get to see, ``None`` if there are none.

        Lines are joined by ``\n`` on both ways, so ``b""`` is one empty line. What is kept, is kept
        byte by byte.
        """
        if self.constant is not None:
            return block if self.constant else None
        return self._select(block)


@cache
def compile_validation(source: str) -> Validation:
    """Return the expression over ``value`` in ``source``.

    :raises ExpressionError: when it is none.
    """
    return Validation(source)


def compile_condition(source: str, stream: Stream) -> Condition:
    """Return the expression over the ``output`` of one stream in ``source``.

    :raises ExpressionError: when it is none.
    """
    return Condition(source, stream)
