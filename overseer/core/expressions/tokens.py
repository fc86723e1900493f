"""Where the words of an expression begin and end: enough of CEL's lexis to know text from code.

What is no token of CEL comes out as single characters, which nothing here has a use for; telling the
user about it is the library's business.
"""

import re
from typing import Final

import attrs

_TOKEN = re.compile(
    r"""
    (?P<gap>    [ \t\r\n\f]+ | //[^\n]* )
  | (?P<text>   [bB]?[rR] (?: \"{3}.*?\"{3} | '{3}.*?'{3} | "[^"\r\n]*" | '[^'\r\n]*' )
              | [bB]? (?: \"{3}(?:\\.|[^\\])*?\"{3} | '{3}(?:\\.|[^\\])*?'{3}
                        | "(?:\\.|[^"\\\r\n])*" | '(?:\\.|[^'\\\r\n])*' ) )
  | (?P<name>   [A-Za-z_][A-Za-z0-9_]* )
  | (?P<mark>   `[^`\n]*` | && | \|\| | == | != | . )
    """,
    re.VERBOSE | re.DOTALL,
)

# Names of CEL that cannot follow a dot.
_WORDS: Final = frozenset({"true", "false", "null", "in"})


@attrs.frozen
class Token:
    """One word of an expression as it is written there, from the character number ``offset`` on."""

    kind: str
    source: str
    offset: int

    @property
    def is_field(self) -> bool:
        """Whether it may follow a dot."""
        return self.kind == "name" and self.source not in _WORDS

    @property
    def plain_text(self) -> str | None:
        """What a text literal means, where that is just what is written between its quotes."""
        inner = self.source[1:-1]
        plain = self.kind == "text" and self.source[0] in "'\"" and self.source[0] not in inner
        return inner if plain and "\\" not in inner and inner.isprintable() else None


def tokenize(source: str) -> list[Token]:
    """Cut an expression into its tokens, without blanks and comments."""
    return [
        Token(match.lastgroup or "", match[0], match.start())
        for match in _TOKEN.finditer(source)
        if match.lastgroup != "gap"
    ]
