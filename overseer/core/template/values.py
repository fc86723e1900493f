"""What a value of the language is, and what Go would say of it: its type and its truth.

Parameters are a ``dict``, numbers and texts are Python's own, ``nil`` is ``None``. A byte of an
indexed text is a number of another type to Go, hence :class:`Byte`.
"""

from typing import TypeAlias


class Byte(int):
    """One byte of a text, a ``uint8``."""


Value: TypeAlias = bool | int | float | complex | str | dict[str, str] | None

NO_VALUE = "<no value>"

_TYPE_NAMES: dict[type, str] = {
    bool: "bool",
    Byte: "uint8",
    int: "int",
    float: "float64",
    complex: "complex128",
    str: "string",
    dict: "map[string]string",
}


def type_name(value: Value) -> str:
    """Go's name of the type of ``value``."""
    return "<nil>" if value is None else _TYPE_NAMES[type(value)]


def cost(value: Value) -> int:
    """How many characters of work it is to look at ``value``."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(len(name) + len(text) for name, text in value.items())
    return 1
