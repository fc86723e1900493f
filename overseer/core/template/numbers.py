"""Which number a literal of the source means, by Go's rules: base prefixes, underscores, ranges."""

import math
import re

_INTEGER = re.compile(
    r"""(?P<sign>[+-]?)
    (?: 0[xX](?P<hexadecimal>(?:_?[0-9a-fA-F])+)
      | 0[bB](?P<binary>(?:_?[01])+)
      | 0[oO]?(?P<octal>(?:_?[0-7])+)
      | (?P<decimal>0|[1-9](?:_?[0-9])*) )""",
    re.VERBOSE,
)
_DIGITS = r"[0-9](?:_?[0-9])*"
_FLOAT = re.compile(
    rf"[+-]?(?:{_DIGITS}\.?(?:{_DIGITS})?|\.{_DIGITS})(?:[eE][+-]?{_DIGITS})?",
)
_HEXADECIMAL_FLOAT = re.compile(
    r"[+-]?0[xX](?:(?:_?[0-9a-fA-F])+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)[pP][+-]?[0-9]+"
)
_COMPLEX = re.compile(r"(?P<real>[+-]?.*?[^eEpP])(?P<imaginary>[+-].*)i")
_BASES = {"hexadecimal": 16, "binary": 2, "octal": 8, "decimal": 10}
LARGEST_INT = 2**63 - 1
_BOUNDS = {"": 2**64, "+": 2**63, "-": 2**63 + 1}


def number(literal: str) -> int | float | complex:
    """The value of ``literal``; ``ValueError`` when it has none.

    An integer above :data:`LARGEST_INT` is no error yet: Go finds out when the value is used.
    """
    if literal.endswith("i"):
        return _complex(literal)
    match = _INTEGER.fullmatch(literal)
    if match is None:
        return _float(literal)
    name, digits = next((k, v) for k, v in match.groupdict().items() if k != "sign" and v)
    # Python refuses to convert thousands of digits, and need not be asked.
    value = int(digits.replace("_", ""), _BASES[name]) if len(digits) < 1000 else 2**64
    if value >= _BOUNDS[match["sign"]]:
        raise ValueError(f"integer overflow: {literal}")
    return -value if match["sign"] == "-" else value


def _float(literal: str) -> float:
    try:
        if _FLOAT.fullmatch(literal) and re.search("[.eE]", literal):
            value = float(literal)
        elif _HEXADECIMAL_FLOAT.fullmatch(literal):
            value = float.fromhex(literal.replace("_", ""))
        else:
            value = math.inf
    except OverflowError:
        value = math.inf
    if math.isinf(value):
        raise ValueError(f"illegal number syntax: {literal}")
    return value


def _complex(literal: str) -> complex:
    match = _COMPLEX.fullmatch(literal)
    if match is None:
        return complex(0, _part(literal[:-1]))
    return complex(_part(match["real"]), _part(match["imaginary"]))


def _part(literal: str) -> float:
    """A part of a complex number is always a float, even when it looks like an integer."""
    if _FLOAT.fullmatch(literal) and not math.isinf(value := float(literal)):
        return value
    return _float(literal)
