"""What the pieces of a template's source are: texts, and the tokens between ``[[`` and ``]]``."""

import re
from collections.abc import Generator, Iterator
from enum import Enum

from attrs import frozen

from overseer.core.template.errors import TemplateSyntaxError

LEFT = "[["
_SPACE = " \t\r\n"


class Kind(Enum):
    """What a token is; the value is how messages call it."""

    TEXT = "text"
    OPEN = "[["
    CLOSE = "]]"
    END_OF_SOURCE = "end of the template"
    SPACE = "space"
    DECLARE = ":="
    ASSIGN = "="
    PIPE = "|"
    COMMA = ","
    LEFT_PARENTHESIS = "("
    RIGHT_PARENTHESIS = ")"
    STRING = "string"
    CHARACTER = "character"
    NUMBER = "number"
    DOT = "."
    FIELD = "field"
    VARIABLE = "variable"
    WORD = "word"


@frozen
class Token:
    """One piece of the source; ``spaced`` when white space comes before it."""

    kind: Kind
    text: str
    line: int
    spaced: bool = False

    def __str__(self) -> str:
        if self.kind in {Kind.OPEN, Kind.CLOSE, Kind.END_OF_SOURCE}:
            return str(self.kind.value)
        return repr(self.text if len(self.text) <= 30 else self.text[:30] + "...")


_OPEN = re.compile(r"\[\[(?:-(?=[ \t\r\n]))?")
_CLOSE = re.compile(r"(?:[ \t\r\n]*(?P<trim>[ \t\r\n]-)|[ \t\r\n]*)\]\]")
_CLOSE_OF_COMMENT = re.compile(r"(?P<trim>[ \t\r\n]-)?\]\]")
_TERMINATED = r"(?=[ \t\r\n.,|:()]|\]\]|\Z)"
_NAMES = {"word", "field", "variable"}
_TOKEN = re.compile(
    rf"""(?P<space>[ \t\r\n]+)
      | (?P<declare>:=)
      | (?P<assign>=)
      | (?P<pipe>\|)
      | (?P<comma>,)
      | (?P<left_parenthesis>\()
      | (?P<right_parenthesis>\))
      | (?P<string>"(?:[^"\\\n]|\\[^\n])*+"|`[^`]*+`)
      | (?P<character>'(?:[^'\\\n]|\\[^\n])*+')
      | (?P<number>(?=[+-]|\.?[0-9])(?:
            [+-]? (?: 0[xX][0-9a-fA-F_]*+ (?:\.[0-9a-fA-F_]*+)? (?:[pP][+-]?[0-9_]*+)?
                    | 0[bBoO][0-9_]*+
                    | [0-9_]*+ (?:\.[0-9_]*+)? (?:[eE][+-]?[0-9_]*+)? ) i?+ ){{1,2}} (?!\w))
      | (?P<field>\.\w++){_TERMINATED}
      | (?P<dot>\.){_TERMINATED}
      | (?P<variable>\$\w*+){_TERMINATED}
      | (?P<word>\w++){_TERMINATED}""",
    re.VERBOSE,
)


class Lexer:
    """Goes through one source once."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._position = 0
        self._counted = 0
        self._line = 1

    def tokens(self) -> Iterator[Token]:
        """All tokens, the end of the source last; raises at the first piece that is none."""
        source = self._source
        trimming = False
        while True:
            start = self._position
            opening = source.find(LEFT, start)
            match = _OPEN.match(source, opening) if opening >= 0 else None
            trims_before = match is not None and match.end() - opening > len(LEFT)
            text = source[start : opening if match else len(source)]
            if trimming:
                text = text.lstrip(_SPACE)
            if trims_before:
                text = text.rstrip(_SPACE)
            if text:
                yield self._token(Kind.TEXT, text)
            if match is None:
                self._position = len(source)
                yield self._token(Kind.END_OF_SOURCE, "")
                return
            self._position = match.end()
            # A comment stands right at the delimiter, to which a trim marker adds one space.
            inside = match.end() + trims_before
            if source.startswith("/*", inside):
                trimming = self._comment(inside + 2)
                continue
            yield self._token(Kind.OPEN, LEFT)
            trimming = yield from self._action()

    def _comment(self, start: int) -> bool:
        end = self._source.find("*/", start)
        if end < 0:
            raise self._error("unclosed comment")
        match = _CLOSE_OF_COMMENT.match(self._source, end + 2)
        if match is None:
            self._position = end
            raise self._error("expected ]] right after the comment")
        self._position = match.end()
        return match["trim"] is not None

    def _action(self) -> Generator[Token, None, bool]:
        """The tokens up to and with ``]]``; returns whether it trims the text after it."""
        spaced = False
        while True:
            if match := _CLOSE.match(self._source, self._position):
                self._position = match.end()
                yield self._token(Kind.CLOSE, "]]", spaced)
                return match["trim"] is not None
            match = _TOKEN.match(self._source, self._position)
            if match is None or match.lastgroup is None:
                raise self._error(self._complaint())
            name, text = match.lastgroup, match.group()
            if name in _NAMES and not _is_name(text.lstrip(".$")):
                raise self._error(f"bad character in {text!r}")
            if name == "space":
                spaced = True
            else:
                yield self._token(Kind[name.upper()], text, spaced)
                spaced = False
            self._position = match.end()

    def _complaint(self) -> str:
        rest = self._source[self._position : self._position + 20].split("\n")[0]
        if self._position >= len(self._source):
            return "expected ]], found end of the template"
        if rest[0] in "\"`'":
            return f"unterminated quote: {rest!r}"
        if rest[0].isalnum() or rest[0] in "+-._$":
            return f"bad character in {rest!r}"
        return f"unexpected character {rest[0]!r}"

    def _token(self, kind: Kind, text: str, spaced: bool = False) -> Token:
        return Token(kind, text, self._current_line(), spaced)

    def _current_line(self) -> int:
        self._line += self._source.count("\n", self._counted, self._position)
        self._counted = self._position
        return self._line

    def _error(self, problem: str) -> TemplateSyntaxError:
        return TemplateSyntaxError(self._current_line(), problem)


def _is_name(text: str) -> bool:
    """Go's letters, decimal digits and underscores; Python's ``\\w`` also has other numerals."""
    return text.isascii() or all(each == "_" or each.isalpha() or each.isdecimal() for each in text)
