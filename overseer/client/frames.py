"""The client's half of WebSocket framing (RFC 6455 section 5): masked frames out, any frames in.

A general library takes some 10 µs a frame; an overseer sends a frame a line. So whole reads are cut here, in
one loop that knows the common case: short, unfragmented text frames. A run of output is not even cut.
"""

from typing import Final

from overseer.client.output import OutputBlock, read_block

TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10
_CONTINUATION = 0
_FINAL = 0x80
_FINAL_TEXT = _FINAL | TEXT
_MASKED = 0x80
_EXTENDED_16 = 126
_EXTENDED_64 = 127


class FrameError(Exception):
    """The peer broke RFC 6455, or sent a message that is too large."""


class FrameReader:
    """Cuts what is received into messages and control frames.

    :param limit: bytes of the largest message, at least 64 KiB; a server that sends more is not believed.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._unread: list[bytes] = []
        self._unread_size = 0
        self._needed = 2
        self._fragments: list[bytes] = []

    def receive(self, data: bytes) -> tuple[list[bytes | OutputBlock], list[tuple[int, bytes]]]:
        """Take bytes; return whole messages, and control frames with their opcodes, each in order.

        Messages of output may come as one block.

        :raises FrameError: when the peer cannot be understood any more.
        """
        messages: list[bytes | OutputBlock] = []
        controls: list[tuple[int, bytes]] = []
        self._unread.append(data)
        self._unread_size += len(data)
        if self._unread_size < self._needed:
            return messages, controls
        if len(self._unread) > 1:
            data = b"".join(self._unread)
        position, end = self._output(data, messages), len(data)
        add = messages.append
        self._needed = 2
        while end - position >= 2:
            head, size = data[position], data[position + 1]
            if size < _EXTENDED_16:
                start = position + 2
            elif size == _EXTENDED_16 and end - position >= 4:
                start = position + 4
                size = data[position + 2] << 8 | data[position + 3]
            else:
                if size > _EXTENDED_64:
                    raise FrameError("the server masks its frames")
                start = position + (4 if size == _EXTENDED_16 else 10)
                if start > end:
                    self._needed = start - position
                    break
                size = int.from_bytes(data[position + 2 : start])
                if size > self._limit:
                    raise FrameError(f"a message of {size} bytes, more than {self._limit}")
            stop = start + size
            if stop > end:
                self._needed = stop - position
                break
            if head == _FINAL_TEXT and not self._fragments:
                add(data[start:stop])
            else:
                self._other(head, data[start:stop], messages, controls)
            position = stop
        rest = data[position:]
        self._unread, self._unread_size = [rest] if rest else [], len(rest)
        return messages, controls

    def _output(self, data: bytes, messages: list[bytes | OutputBlock]) -> int:
        block = None if self._fragments else read_block(data)
        if block is None:
            return 0
        messages.append(block)
        return block.size

    def _other(
        self,
        head: int,
        payload: bytes,
        messages: list[bytes | OutputBlock],
        controls: list[tuple[int, bytes]],
    ) -> None:
        opcode = head & 0x0F
        if head & 0x70:
            raise FrameError("reserved bits are set, but no extension was asked for")
        if opcode in (CLOSE, PING, PONG):
            if not head & _FINAL or len(payload) >= _EXTENDED_16:
                raise FrameError("a control frame that is fragmented or too long")
            controls.append((opcode, payload))
            return
        begins = opcode in (TEXT, BINARY)
        if not (begins or opcode == _CONTINUATION) or begins == bool(self._fragments):
            raise FrameError("frames out of order")
        self._fragments.append(payload)
        if sum(map(len, self._fragments)) > self._limit:
            raise FrameError(f"a message of more than {self._limit} bytes")
        if head & _FINAL:
            messages.append(b"".join(self._fragments))
            self._fragments = []


def masked_frame(payload: bytes, mask: bytes, opcode: int = TEXT) -> bytes:
    """Return one whole frame from a client; ``mask`` are four random bytes."""
    size = len(payload)
    if size < _EXTENDED_16:
        head = bytes((_FINAL | opcode, _MASKED | size))
    elif size < 0x10000:
        head = bytes((_FINAL | opcode, _MASKED | _EXTENDED_16)) + size.to_bytes(2)
    else:
        head = bytes((_FINAL | opcode, _MASKED | _EXTENDED_64)) + size.to_bytes(8)
    return head + mask + _masked(payload, mask)


def _masked(payload: bytes, mask: bytes) -> bytes:
    # One exclusive or of two large numbers: a loop over bytes would take a hundred times as long.
    size = len(payload)
    repeated = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload) ^ int.from_bytes(repeated)).to_bytes(size)


def close_reason(payload: bytes) -> tuple[int | None, str]:
    """Return code and reason of a close frame (RFC 6455 section 7.1.5)."""
    if len(payload) < 2:
        return None, ""
    return int.from_bytes(payload[:2]), payload[2:].decode("utf-8", "replace")
