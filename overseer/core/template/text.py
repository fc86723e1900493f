"""How Go sees a text: as UTF-8 bytes, quoted and unquoted by the rules of its source code.

Our texts are Python's; bytes that are no UTF-8 travel in them as lone surrogates, the way
``os.fsencode`` takes them back, so slicing a character in two yields what Go would pass on.
"""

import re

_NAMED_ESCAPES = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
    "'": "'",
    '"': '"',
}
_NAMES_OF_CONTROLS = {
    character: name for name, character in _NAMED_ESCAPES.items() if character < " "
}
_PIECE = re.compile(
    r"""(?P<plain>[^\\]+)
      | \\(?: (?P<named>[abfnrtv\\'"])
            | (?P<octal>[0-7]{3})
            | x(?P<byte>[0-9a-fA-F]{2})
            | u(?P<short>[0-9a-fA-F]{4})
            | U(?P<long>[0-9a-fA-F]{8}) )""",
    re.VERBOSE,
)
_LAST_CODE_POINT = 0x10FFFF
REPLACEMENT = "\ufffd"


def encode(text: str) -> bytes:
    """The bytes Go would hold for ``text``."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def decode(data: bytes) -> str:
    """The text for bytes of Go's, the ones that are no UTF-8 included."""
    return data.decode("utf-8", "surrogateescape")


def character(code: int) -> str:
    """The character of a code point; the replacement character where there is none."""
    if 0 <= code <= _LAST_CODE_POINT and not _is_surrogate(code):
        return chr(code)
    return REPLACEMENT


def unquote(literal: str) -> str:
    """The value of a string literal, quotes included; ``ValueError`` when it has none."""
    body = literal[1:-1]
    if literal[0] == "`":
        return body.replace("\r", "")
    if "\\" not in body:
        return body
    return decode(b"".join(_as_bytes(piece) for piece in _pieces(body, forbidden="'")))


def unquote_character(literal: str) -> int:
    """The code point of a character literal, quotes included; ``ValueError`` when it has none."""
    pieces = list(_pieces(literal[1:-1], forbidden='"'))
    if len(pieces) == 1:
        kind, value = pieces[0]
        if isinstance(value, int):
            return value
        if kind != "plain" or len(value) == 1:
            return ord(value)
    raise ValueError(f"malformed character constant: {literal}")


def _pieces(body: str, forbidden: str) -> list[tuple[str, str | int]]:
    """Split at escapes: texts, and as numbers the escapes that name one byte."""
    pieces: list[tuple[str, str | int]] = []
    position = 0
    while position < len(body):
        match = _PIECE.match(body, position)
        if match is None or match["named"] == forbidden:
            raise ValueError(f"invalid escape in {body[position : position + 10]!r}")
        position = match.end()
        kind, digits = next((k, v) for k, v in match.groupdict().items() if v is not None)
        if kind == "plain":
            pieces.append((kind, digits))
        elif kind == "named":
            pieces.append((kind, _NAMED_ESCAPES[digits]))
        else:
            pieces.append((kind, _numbered(kind, digits)))
    return pieces


def _numbered(kind: str, digits: str) -> str | int:
    code = int(digits, 8 if kind == "octal" else 16)
    if kind in {"octal", "byte"}:
        if code > 0xFF:
            raise ValueError(f"no byte has the octal value {digits}")
        return code
    if code > _LAST_CODE_POINT or _is_surrogate(code):
        raise ValueError(f"no character has the code {digits}")
    return chr(code)


def _as_bytes(piece: tuple[str, str | int]) -> bytes:
    _, value = piece
    return bytes([value]) if isinstance(value, int) else encode(value)


def quote(text: str, mark: str = '"', *, ascii_only: bool = False) -> str:
    """``text`` as a literal of Go's source code."""
    if text.isascii() and text.isprintable() and mark not in text and "\\" not in text:
        return f"{mark}{text}{mark}"
    return mark + "".join(_quoted(each, mark, ascii_only) for each in text) + mark


def _quoted(each: str, mark: str, ascii_only: bool) -> str:
    if each in {mark, "\\"}:
        return "\\" + each
    if each.isprintable() and (each.isascii() or not ascii_only):
        return each
    return _escaped(each)


def _escaped(each: str) -> str:
    if each in _NAMES_OF_CONTROLS:
        return "\\" + _NAMES_OF_CONTROLS[each]
    code = ord(each)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if _is_surrogate(code):
        return "\\ufffd"
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def can_backquote(text: str) -> bool:
    """Whether ``text`` can stand unchanged between backquotes on one line."""
    return not any(
        each in "`\x7f\ufeff" or (each < " " and each != "\t") or _is_surrogate(ord(each))
        for each in text
    )


def _is_surrogate(code: int) -> bool:
    return 0xD800 <= code <= 0xDFFF
