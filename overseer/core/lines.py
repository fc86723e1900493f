"""Where lines end in what a child writes (protocol.md section 4).

A line ends at ``\\n``; a ``\\r`` just before it is dropped; what is left at the end is a line too. All whole
lines of one read come out as one block, still joined by ``\\n``: the work is done once per read. A line
longer than the splitter may hold comes out in pieces, cut between UTF-8 characters.
"""

import attrs

_CONTINUATION = 0x80
_LEADING_2, _LEADING_3, _LEADING_4 = 0xC0, 0xE0, 0xF0


@attrs.frozen
class Block:
    """Lines of one read: ``data`` without the last line end; ``unfinished``: one piece, its line goes on."""

    data: bytes
    unfinished: bool = False


class LineSplitter:
    """Cuts one stream of bytes into blocks of whole lines, holding at most ``limit`` bytes back."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pending: list[bytes] = []
        self._pending_size = 0
        self._in_long_line = False

    def feed(self, data: bytes) -> list[Block]:
        """Take one read and return the blocks that it completes, in order."""
        end = data.rfind(b"\n")
        if end < 0:
            self._hold(data)
            return self._overflow()
        head = data[:end]
        if self._pending:
            self._pending.append(head)
            head = b"".join(self._pending)
            self._pending.clear()
            self._pending_size = 0
        self._in_long_line = False
        if b"\r" in head:
            head = _drop_carriage_returns(head)
        if end + 1 == len(data):
            return [Block(head)]
        self._hold(data[end + 1 :])
        return [Block(head), *self._overflow()]

    def finish(self) -> list[Block]:
        """Return the last line where the stream did not end with ``\\n``."""
        if not self._pending_size and not self._in_long_line:
            return []
        rest = b"".join(self._pending)
        self._pending.clear()
        self._pending_size = 0
        self._in_long_line = False
        return [Block(rest)]

    def _hold(self, data: bytes) -> None:
        self._pending.append(data)
        self._pending_size += len(data)

    def _overflow(self) -> list[Block]:
        if self._pending_size <= self._limit:
            return []
        rest = b"".join(self._pending)
        blocks = []
        while len(rest) > self._limit:
            cut = _character_boundary(rest, self._limit)
            blocks.append(Block(rest[:cut], unfinished=True))
            rest = rest[cut:]
        self._pending = [rest]
        self._pending_size = len(rest)
        self._in_long_line = True
        return blocks


def _drop_carriage_returns(block: bytes) -> bytes:
    block = block.replace(b"\r\n", b"\n")
    return block[:-1] if block.endswith(b"\r") else block


def _character_boundary(data: bytes, limit: int) -> int:
    """Return the largest cut at or below ``limit`` that parts neither a character nor a ``\\r\\n``."""
    if data[limit - 1] == ord("\r") and limit > 1:
        return limit - 1
    for back in range(1, min(4, limit)):
        byte = data[limit - back]
        if byte & 0xC0 == _CONTINUATION:
            continue
        if byte >= _LEADING_2:
            width = 2 if byte < _LEADING_3 else 3 if byte < _LEADING_4 else 4
            if width > back and limit > back:
                return limit - back
        break
    return limit
