"""How a value reads under one verb of ``printf``, and under the plain ``print``.

Go decides by type: what a verb does not know is written into the text as ``%!verb(type=value)``.
"""

import math
from collections.abc import Callable
from decimal import Decimal

from attrs import define

from overseer.core.template import text
from overseer.core.template.values import Byte, Value, type_name

_UNSIGNED = 2**64 - 1


@define
class Directive:
    """One ``%`` of a format: its flags and its numbers."""

    sharp: bool = False
    zero: bool = False
    plus: bool = False
    minus: bool = False
    space: bool = False
    width: int | None = None
    precision: int | None = None
    go_syntax: bool = False

    def pad(self, content: str, *, zeros: bool | None = None) -> str:
        """``content`` in the width asked for."""
        missing = (self.width or 0) - len(content)
        if missing <= 0:
            return content
        if self.minus:
            return content + " " * missing
        return ("0" if (self.zero if zeros is None else zeros) else " ") * missing + content

    def sign(self, *, negative: bool) -> str:
        """The character before the digits."""
        return "-" if negative else "+" if self.plus else " " if self.space else ""


def plain(value: Value) -> str:
    """``value`` as ``%v`` without flags."""
    if isinstance(value, str):
        return value
    return formatted(value, "v", Directive())


def formatted(value: Value, verb: str, directive: Directive) -> str:
    """``value`` as the verb and its flags want it."""
    if verb == "T":
        return directive.pad(type_name(value)[: directive.precision])
    if value is None:
        return directive.pad("<nil>") if verb == "v" else f"%!{verb}(<nil>)"
    if isinstance(value, dict):
        return _map(value, verb, directive)
    content = _scalar(value, verb, directive)
    if content is None:
        return f"%!{verb}({type_name(value)}={formatted(value, 'v', directive)})"
    return content


def _scalar(
    value: bool | int | float | complex | str, verb: str, directive: Directive
) -> str | None:
    """``None`` when the verb is not for this type."""
    if isinstance(value, str):
        return _string(value, verb, directive)
    if isinstance(value, bool):
        return directive.pad(str(value).lower()) if verb in "tv" else None
    if isinstance(value, int):
        return _integer(value, verb, directive)
    if isinstance(value, float):
        return _float(value, verb, directive)
    return _complex(value, verb, directive)


def _map(value: dict[str, str], verb: str, directive: Directive) -> str:
    opening, separator, closing = "map[", " ", "]"
    if verb == "v" and directive.go_syntax:
        opening, separator, closing = "map[string]string{", ", ", "}"
    entries = (
        f"{formatted(name, verb, directive)}:{formatted(value[name], verb, directive)}"
        for name in sorted(value)
    )
    return opening + separator.join(entries) + closing


def _string(value: str, verb: str, directive: Directive) -> str | None:
    if verb in "xX":
        return _hexadecimal(value, verb, directive)
    quoting = verb == "q" or (verb == "v" and directive.go_syntax)
    if not quoting and verb not in "vs":
        return None
    value = value[: directive.precision]
    if not quoting:
        return directive.pad(value)
    if directive.sharp and text.can_backquote(value):
        return directive.pad(f"`{value}`")
    return directive.pad(text.quote(value, ascii_only=directive.plus))


def _hexadecimal(value: str, verb: str, directive: Directive) -> str:
    data = text.encode(value)[: directive.precision]
    digits = data.hex(" ") if directive.space and data else data.hex()
    if directive.sharp and digits:
        digits = "0x" + digits.replace(" ", " 0x")
    return directive.pad(digits.upper() if verb == "X" else digits)


def _based(base: str) -> Callable[[int, str, Directive], str]:
    return lambda value, verb, directive: _digits(value, base, verb, directive)


def _digits(value: int, base: str, verb: str, directive: Directive) -> str:
    sign = directive.sign(negative=value < 0)
    if directive.precision == 0 and value == 0:
        return directive.pad("", zeros=False)
    if directive.precision is not None:
        least = directive.precision
    elif directive.zero and not directive.minus:
        least = (directive.width or 0) - len(sign)
    else:
        least = 0
    digits = format(abs(value), base).rjust(least, "0")
    if directive.sharp and base in "xX":
        digits = "0" + base + digits
    elif directive.sharp and base == "b":
        digits = "0b" + digits
    elif directive.sharp and base == "o" and digits[0] != "0":
        digits = "0" + digits
    if verb == "O":
        digits = "0o" + digits
    return directive.pad(sign + digits, zeros=False)


def _as_code_point(value: int, _: str, directive: Directive) -> str:
    value &= _UNSIGNED
    content = f"U+{value:0{max(directive.precision or 0, 4)}X}"
    if directive.sharp and value <= 0x10FFFF and chr(value).isprintable():
        content += f" '{chr(value)}'"
    return directive.pad(content, zeros=False)


def _as_quoted_character(value: int, _: str, directive: Directive) -> str:
    return directive.pad(text.quote(text.character(value), "'", ascii_only=directive.plus))


_INTEGER_VERBS: dict[str, Callable[[int, str, Directive], str]] = {
    "v": _based("d"),
    "d": _based("d"),
    "b": _based("b"),
    "o": _based("o"),
    "O": _based("o"),
    "x": _based("x"),
    "X": _based("X"),
    "c": lambda value, _, directive: directive.pad(text.character(value)),
    "q": _as_quoted_character,
    "U": _as_code_point,
}


def _integer(value: int, verb: str, directive: Directive) -> str | None:
    if verb == "v" and directive.go_syntax and isinstance(value, Byte):
        return directive.pad(f"{value:#x}", zeros=False)
    write = _INTEGER_VERBS.get(verb)
    return None if write is None else write(value, verb, directive)


def _float(value: float, verb: str, directive: Directive) -> str | None:
    if verb not in "vbgGxXfFeE":
        return None
    negative = math.copysign(1, value) < 0
    sign, digits = directive.sign(negative=negative), _magnitude(abs(value), verb, directive)
    # Zeros go between the sign and the digits, blanks before both.
    if directive.zero and not directive.minus:
        return sign + digits.rjust((directive.width or 0) - len(sign), "0")
    return directive.pad(sign + digits)


def _magnitude(value: float, verb: str, directive: Directive) -> str:
    precision = directive.precision
    sharp = "#" if directive.sharp else ""
    if verb in "eEfF":
        return format(value, f"{sharp}.{6 if precision is None else precision}{verb}")
    if verb == "b":
        mantissa, exponent = math.frexp(value)
        return f"{int(mantissa * 2**53)}p{exponent - 53 if value else -1074:+d}"
    if verb in "xX":
        digits = _hexadecimal_float(value, precision)
        return digits.upper() if verb == "X" else digits
    if precision is None and not sharp:
        digits = shortest(value)
        return digits.upper() if verb == "G" else digits
    precision = 6 if precision is None else precision
    return format(value, f"{sharp}.{precision}{'G' if verb == 'G' else 'g'}")


def shortest(value: float) -> str:
    """The fewest digits that mean ``value``, which is not negative."""
    _, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)
    magnitude = len(digits) - 1 + exponent
    # Go turns to an exponent here, whatever that saves.
    if value and not -4 <= magnitude < 6:
        return format(value, f".{len(digits) - 1}e")
    return format(value, f".{max(0, -exponent)}f")


def _hexadecimal_float(value: float, precision: int | None) -> str:
    """One digit, the fraction, and an exponent of two."""
    if not value:
        fraction = "" if not precision else "." + "0" * precision
        return f"0x0{fraction}p+00"
    mantissa, exponent = math.frexp(value)
    scaled = int(mantissa * 2**53)
    if precision is not None and precision < 13:
        unit = 1 << (52 - 4 * precision)
        scaled = round(scaled / unit) * unit
        if scaled >= 2**53:
            scaled, exponent = scaled >> 1, exponent + 1
    fraction = f"{scaled - 2**52:013x}"
    fraction = fraction.rstrip("0") if precision is None else fraction.ljust(precision, "0")
    fraction = fraction if precision is None else fraction[:precision]
    return f"0x1{'.' if fraction else ''}{fraction}p{exponent - 1:+03d}"


def _complex(value: complex, verb: str, directive: Directive) -> str | None:
    real = _float(value.real, verb, directive)
    if real is None:
        return None
    plus, directive.plus = directive.plus, True
    imaginary = _float(value.imag, verb, directive)
    directive.plus = plus
    return f"({real}{imaginary}i)"
