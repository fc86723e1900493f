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
        # It checks a line like any decoder does, and builds nothing of what it reads.
        named: Any = msgspec.defstruct(
            "Named",
            [("value", msgspec.Raw | msgspec.UnsetType, msgspec.UNSET)],
            rename={"value": name},
            gc=False,
        )
        self._decode_lines: Callable[[str], list[Any]] = msgspec.json.Decoder(named).decode_lines

    def __call__(self, line: str) -> bool:
        """Return whether ``line`` is a JSON object with the name."""
        return self._may_be_in(line) and self._name in json_object(
            readable(line.encode("utf-8", "surrogateescape"))
        )

    def among(self, text: str) -> list[str]:
        """Return those lines of ``text`` that are JSON objects with the name."""
        if not self._may_be_in(text):
            return []
        lines = text.split("\n")
        if _is_plain(text, lines):
            try:
                objects = self._decode_lines(text)
            except (msgspec.DecodeError, UnicodeEncodeError):
                objects = []
            if len(objects) == len(lines):
                unset = msgspec.UNSET
                return [
                    line
                    for line, named in zip(lines, objects, strict=True)
                    if named.value is not unset
                ]
        return list(filter(self, lines))

    def _may_be_in(self, text: str) -> bool:
        # A name is written as it is, or with escapes; parsing takes far longer than looking.
        return self._quoted in text or "\\u" in text


def _is_plain(text: str, lines: list[str]) -> bool:
    """Return whether lines that can be parsed all at once say the same as one by one."""
    return (
        # No object goes on in the next line where all begin and end with a brace.
        text[0] == "{"
        and text[-1] == "}"
        and text.count(_SEAM) == len(lines) - 1
        # Nothing is replaced for the library, nor too deep or too large for it.
        and "\\u" not in text
        and "\0" not in text
        and max(map(len, lines)) <= DEEPEST
    )
