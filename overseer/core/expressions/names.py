"""Which lines are JSON objects with a certain name: the same answer as parsing each of them, but sooner."""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from overseer.core.expressions.copies import DEEPEST, json_object, readable

_SEAM: Final = "}\n{"


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

    def among(self, text: str, lines: list[str]) -> list[str]:
        """Return those of ``lines``, ``text`` in one, that are JSON objects with the name."""
        if not self._may_be_in(text):
            return []
        if _is_plain(text, lines):
            if len(self._all(text)) == len(lines):
                return lines
            objects = self._some(text)
            if len(objects) == len(lines):
                return [
                    line
                    for line, named in zip(lines, objects, strict=True)
                    if named.value is not msgspec.UNSET
                ]
        return list(filter(self, lines))

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


def _is_plain(text: str, lines: list[str]) -> bool:
    """Return whether lines that can be parsed all at once say the same as one by one."""
    return (
        # No object goes on in the next line where all begin and end with a brace.
        text[0] == "{"
        and text[-1] == "}"
        and text.count(_SEAM) == len(lines) - 1
        # Nothing is replaced for the library, nor too deep or too large for it.
        and not _has_escapes(text)
        and "\0" not in text
        and max(map(len, lines)) <= DEEPEST
    )
