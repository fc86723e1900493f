"""Whether a condition is one of the commonest shapes, and which lines it keeps then: no CEL needed.

Known are ``true``, ``false``, ``output.stream == "..."``, ``output.data.contains("...")`` (and
``startsWith``, ``endsWith``), ``has(output.json.name)``, and ``!``, ``&&``, ``||`` and parentheses around
them. None of these can fail, so they combine as plain logic. A test holds them equal to the library.
"""

from collections.abc import Callable
from functools import partial
from typing import Final, TypeAlias

import attrs

from overseer.core.expressions.names import HasName
from overseer.core.expressions.tokens import Token, tokenize
from overseer.core.process import Stream

Select: TypeAlias = Callable[[bytes], bytes | None]
"""Returns those lines of a block that a condition keeps, None when there are none."""

_Verdict: TypeAlias = bool | Callable[[str], bool]
"""What is known of a line before it is there, or how to find out. Surrogates stand for what is no UTF-8."""

# Both keep an expression far below the sizes where the library has limits of its own.
_MOST_TOKENS: Final = 500
_DEEPEST: Final = 10


def recognize(source: str, stream: Stream) -> bool | Select | None:
    """Return what ``source`` keeps of ``stream`` if it has one of the shapes, else ``None``."""
    tokens = tokenize(source)
    if len(tokens) > _MOST_TOKENS:
        return None
    try:
        verdict = _Shape(tokens, stream).read()
    except _OtherShape:
        return None
    if isinstance(verdict, bool):
        return verdict
    among = verdict.among if isinstance(verdict, _Contains | HasName) else partial(_among, verdict)
    return partial(_select, among)


def _select(among: Callable[[str], list[str] | None], block: bytes) -> bytes | None:
    # Text is searched several times as fast as bytes are.
    kept = among(block.decode("utf-8", "surrogateescape"))
    if kept is None:
        return block
    return "\n".join(kept).encode("utf-8", "surrogateescape") if kept else None


def _among(keeps: Callable[[str], bool], text: str) -> list[str] | None:
    lines = text.split("\n")
    kept = list(filter(keeps, lines))
    return None if len(kept) == len(lines) else kept


@attrs.frozen
class _Contains:
    part: str

    def __call__(self, line: str) -> bool:
        return self.part in line

    def among(self, text: str) -> list[str] | None:
        part, lines = self.part, text.split("\n")
        kept = [line for line in lines if part in line]
        return None if len(kept) == len(lines) else kept


class _OtherShape(Exception):
    """It takes the library to understand this, or to say what is wrong with it."""


class _Shape:
    """Reads tokens from left to right; a method for each level of precedence."""

    def __init__(self, tokens: list[Token], stream: Stream) -> None:
        self._rest = tokens
        self._stream = stream

    def read(self) -> _Verdict:
        verdict = self._either(_DEEPEST)
        if self._rest:
            raise _OtherShape
        return verdict

    def _either(self, room: int) -> _Verdict:
        verdict = self._both(room)
        while self._take("||"):
            verdict = _or(verdict, self._both(room))
        return verdict

    def _both(self, room: int) -> _Verdict:
        verdict = self._comparison(room)
        while self._take("&&"):
            verdict = _and(verdict, self._comparison(room))
        return verdict

    def _comparison(self, room: int) -> _Verdict:
        # Only here, as `!` binds closer than `==`.
        if not self._take("output", ".", "stream"):
            return self._single(room)
        equal = self._take("==")
        if not equal:
            self._need("!=")
        return (self._text() == self._stream) is equal

    def _single(self, room: int) -> _Verdict:
        if not room:
            raise _OtherShape
        if self._take("!"):
            return _not(self._single(room - 1))
        if self._take("("):
            verdict = self._either(room - 1)
            self._need(")")
            return verdict
        if self._take("true"):
            return True
        if self._take("false"):
            return False
        if self._take("has", "(", "output", ".", "json", "."):
            name = self._next()
            self._need(")")
            if not name.is_field:
                raise _OtherShape
            return HasName(name.source)
        self._need("output", ".", "data", ".")
        search = _SEARCHES.get(self._next().source)
        self._need("(")
        text = self._text()
        self._need(")")
        # Lines have the character U+FFFD also where their bytes are others.
        if search is None or "\ufffd" in text:
            raise _OtherShape
        return search(text)

    def _text(self) -> str:
        text = self._next().plain_text
        if text is None:
            raise _OtherShape
        return text

    def _next(self) -> Token:
        if not self._rest:
            raise _OtherShape
        token, *self._rest = self._rest
        return token

    def _take(self, *sources: str) -> bool:
        found = tuple(token.source for token in self._rest[: len(sources)]) == sources
        if found:
            self._rest = self._rest[len(sources) :]
        return found

    def _need(self, *sources: str) -> None:
        if not self._take(*sources):
            raise _OtherShape


_SEARCHES: dict[str, Callable[[str], _Verdict]] = {
    "contains": _Contains,
    "startsWith": lambda part: lambda line: line.startswith(part),
    "endsWith": lambda part: lambda line: line.endswith(part),
}


def _not(verdict: _Verdict) -> _Verdict:
    return not verdict if isinstance(verdict, bool) else lambda line: not verdict(line)


def _and(left: _Verdict, right: _Verdict) -> _Verdict:
    if isinstance(left, bool):
        return right if left else False
    if isinstance(right, bool):
        return left if right else False
    return lambda line: left(line) and right(line)


def _or(left: _Verdict, right: _Verdict) -> _Verdict:
    if isinstance(left, bool):
        return True if left else right
    if isinstance(right, bool):
        return True if right else left
    return lambda line: left(line) or right(line)
