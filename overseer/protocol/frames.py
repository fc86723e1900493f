"""WebSocket framing of server messages (RFC 6455 section 5.2): unmasked, unfragmented text frames."""

from struct import Struct

_TEXT_FINAL = 0x81
_SHORT_LIMIT = 126
_MEDIUM_LIMIT = 0x10000
_MEDIUM = Struct("!BBH").pack
_LONG = Struct("!BBQ").pack
_LONG_HEAD = 10
_MEDIUM_HEAD = 4
_SHORT_HEAD = 2


def frame_head(size: int) -> bytes:
    """Return the head of a text frame with a payload of ``size`` bytes."""
    if size < _SHORT_LIMIT:
        return bytes((_TEXT_FINAL, size))
    if size < _MEDIUM_LIMIT:
        return _MEDIUM(_TEXT_FINAL, 126, size)
    return _LONG(_TEXT_FINAL, 127, size)


def head_size(size: int) -> int:
    """Return how many bytes :func:`frame_head` takes for a payload of ``size`` bytes."""
    if size < _SHORT_LIMIT:
        return _SHORT_HEAD
    return _MEDIUM_HEAD if size < _MEDIUM_LIMIT else _LONG_HEAD


def text_frame(payload: bytes) -> bytes:
    """Return one whole text frame."""
    return frame_head(len(payload)) + payload


def payloads(frames: bytes) -> list[bytes]:
    """Return the payloads of whole frames that this module made."""
    found = []
    position, end = 0, len(frames)
    while position < end:
        size = frames[position + 1]
        if size < _SHORT_LIMIT:
            position += _SHORT_HEAD
        elif size == _SHORT_LIMIT:
            size = frames[position + 2] << 8 | frames[position + 3]
            position += _MEDIUM_HEAD
        else:
            size = int.from_bytes(frames[position + 2 : position + _LONG_HEAD])
            position += _LONG_HEAD
        found.append(frames[position : position + size])
        position += size
    return found


def to_lines(frames: bytes) -> bytes:
    """Return the payloads of whole frames as lines; JSON has no newline of its own."""
    return b"\n".join([*payloads(frames), b""])
