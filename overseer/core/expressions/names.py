"""Which lines are JSON objects with a certain name: the same answer as parsing each of them, but sooner."""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from overseer.core.expressions.copies import DEEPEST, json_object, readable

_SEAM: Final = "}\n{"
_FLAT: Final = b"{}\n"
_NO_BRACES: Final = bytes(set(range(256)) - set(b"{}[]\n"))
_STRIDE: Final = 150
# A number that is too large has more than 308 digits, so two characters in a row of those that are looked at.
_TO_ZEROS: Final = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER: Final = b"00"


class HasName:
    """Tells of one line, and of many, whether ``name`` is in it; surrogates stand for what is no UTF-8."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._quoted = f'"{name}"'
        # They check a line like any decoder does, and build nothing of what they read.
        self._all = _lines_decoder(name, msgspec.NODEFAULT)
        self._some = _lines_decoder(name, msgspec.UNSET)

    def __call__(self, line: str) -> bool:
        """Return whether ``line`` is a JSON object with the name."""
        return self._may_be_in(line) and self._name in json_object(
            readable(line.encode("utf-8", "surrogateescape"))
        )

    def among(self, text: str) -> list[str] | None:
        """Return those lines of ``text`` that are JSON objects with the name, None when all are."""
        if not self._may_be_in(text):
            return []
        count = _plain_lines(text)
        if count:
            if len(self._all(text)) == count:
                return None
            objects = self._some(text)
            if len(objects) == count:
                return [
                    line
                    for line, named in zip(text.split("\n"), objects, strict=True)
                    if named.value is not msgspec.UNSET
                ]
        return list(filter(self, text.split("\n")))

    def _may_be_in(self, text: str) -> bool:
        # A name is written as it is, or with escapes; parsing takes far longer than looking.
        return self._quoted in text or _has_escapes(text)


def _lines_decoder(name: str, default: object) -> Callable[[str], list[Any]]:
    """Return a function that decodes lines of objects with ``name``, and gives nothing where it cannot."""
    named: Any = msgspec.defstruct(
        "Named",
        [("value", msgspec.Raw | msgspec.UnsetType, default)],
        rename={"value": name},
        gc=False,
    )
    decode = msgspec.json.Decoder(named).decode_lines

    def decode_all(text: str) -> list[Any]:
        try:
            return decode(text)
        except (msgspec.DecodeError, UnicodeEncodeError):
            return []

    return decode_all


def _has_escapes(text: str) -> bool:
    return "\\" in text and "\\u" in text  # a single character is found far sooner


def _plain_lines(text: str) -> int:
    """Return how many lines there are if all parsed at once say the same as one by one, else 0."""
    # Nothing may be replaced for the library.
    if text[0] != "{" or text[-1] != "}" or "\0" in text or _has_escapes(text):
        return 0
    return _flat_lines(text) or _short_lines(text)


def _flat_lines(text: str) -> int:
    """Return how many lines there are if none has more than two braces nor too large a number, else 0.

    One look at all characters: finding the ends of the lines would take twice as long.
    """
    if text.find("{", 1) < text.find("\n"):
        return 0
    data = text.encode("utf-8", "surrogateescape")
    braces = data.translate(None, _NO_BRACES)
    count = (len(braces) + 1) // len(_FLAT)
    flat = braces == (_FLAT * count)[:-1]
    return count if flat and _LONG_NUMBER not in data[::_STRIDE].translate(_TO_ZEROS) else 0


def _short_lines(text: str) -> int:
    """Return how many lines there are if each is an object and too short to be too deep or too large."""
    lines = text.split("\n")
    count = len(lines)
    # No object goes on in the next line where all begin and end with a brace.
    plain = text.count(_SEAM) == count - 1 and max(map(len, lines)) <= DEEPEST
    return count if plain else 0
