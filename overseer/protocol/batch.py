"""The output batch: the one value that ring, outboxes and replay share, and how it is made.

A batch holds the ready WebSocket frames of what one read of one stream of one task gave. Whatever can be
done once per read is: the constant parts of the ``output`` message are rendered from the message's own
class, the JSON of all lines is made in one call, and frames are put together by slices and one join.
The bytes equal what encoding line by line would give; a property test holds that.
"""

from typing import Final

import attrs
import msgspec

from overseer.core.lines import Block
from overseer.core.process import Stream
from overseer.core.timestamps import format_timestamp
from overseer.protocol.codec import encode_message
from overseer.protocol.frames import frame_head, head_size, text_frame
from overseer.protocol.messages import Message, Output

_json = msgspec.json.Encoder().encode
_LINE_MARK = "\x7f"  # JSON leaves DEL as it is, so it survives the encoding of a whole block
_GROUP: Final = 1000
_PADDED = [b"%03d}" % number for number in range(_GROUP)]
_PLAIN = [b"%d}" % number for number in range(_GROUP)]
_PADDED_LINE_ENDS = [ending + b"\n" for ending in _PADDED]
_PLAIN_LINE_ENDS = [ending + b"\n" for ending in _PLAIN]
# Where numbers below 1,000 change their width.
_SMALL_BOUNDS = (10, 100, _GROUP)
# Cannot occur inside a payload: quotes within strings are escaped there.
_OPENING = encode_message(Output("", 0, "stdout", "", "", 0)).split(b',"task_id"')[0]


@attrs.frozen
class Batch:
    """Events of one task that happened together, as WebSocket frames.

    ``first_seq`` to ``last_seq`` number the lines; a lifecycle event has none, and ``first_seq`` is then
    ``last_seq + 1``. ``time`` is in microseconds since the epoch. Only output is ``droppable``. Where there
    is a log of all events, output comes as lines of JSON, too: made with the frames they cost a fraction.
    """

    task_id: str
    frames: bytes
    time: int
    first_seq: int
    last_seq: int
    droppable: bool = True
    json_lines: bytes | None = None

    @property
    def lines(self) -> int:
        """How many output lines are in it."""
        return self.last_seq - self.first_seq + 1

    @property
    def events(self) -> int:
        """How many events are in it, at least one."""
        return self.last_seq - self.first_seq + 1 or 1

    def to_keep(self) -> "Batch":
        """Return the batch without what only a log needs."""
        return self if self.json_lines is None else attrs.evolve(self, json_lines=None)

    def tail(self, count: int) -> "Batch":
        """Return the last ``count`` lines, in memory of their own."""
        if count >= self.events:
            return self
        frames = self.frames
        end = len(frames)
        for _ in range(count):
            payload = frames.rfind(_OPENING, 0, end)
            end = payload - head_size(end - payload)
        first_seq = self.last_seq - count + 1
        return attrs.evolve(self, frames=frames[end:], first_seq=first_seq, json_lines=None)


def lifecycle_batch(task_id: str, message: Message, time: int, last_seq: int) -> Batch:
    """Return the batch of one event that is no output, told after line ``last_seq``."""
    frames = text_frame(encode_message(message))
    return Batch(task_id, frames, time, last_seq + 1, last_seq, droppable=False)


class _Heads(dict[int, bytes]):
    """Frame head and constant front of a message, by the size of the line; made as sizes turn up."""

    def __init__(self, front: bytes, fixed_size: int) -> None:
        super().__init__()
        self._front = front
        self._fixed_size = fixed_size

    def __missing__(self, size: int) -> bytes:
        head = frame_head(size + self._fixed_size) + self._front
        if size < _GROUP:  # a bound on what one stream may keep
            self[size] = head
        return head


class OutputEncoder:
    """Makes the batches of one stream of one run.

    No message is larger than ``message_limit`` bytes: longer lines are cut into ``partial`` pieces. With
    ``json_lines`` the batches carry the same messages as lines, too.
    """

    def __init__(
        self,
        task_id: str,
        pid: int,
        stream: Stream,
        message_limit: int,
        *,
        json_lines: bool = False,
    ) -> None:
        self._json_lines = json_lines
        self._task_id = task_id
        self.stream: Stream = stream
        rendered = encode_message(Output(task_id, pid, stream, _LINE_MARK, _LINE_MARK, 0))
        self._front, between, end = rendered.rsplit(_LINE_MARK.encode(), 2)
        self._between = between
        self._after_time = end.removesuffix(b"0}")
        self._heads: dict[int, _Heads] = {}
        # What a message takes besides its line, with the largest number and the mark of a piece.
        overhead = len(
            encode_message(Output(task_id, pid, stream, "", format_timestamp(0), 2**63, True))
        )
        self._line_limit = max(message_limit - overhead, 64)

    def encode(self, block: Block, first_seq: int, time: int) -> Batch:
        """Return the batch of one block whose first line gets the number ``first_seq``."""
        text = block.data.decode("utf-8", "replace")
        if _LINE_MARK in text:
            lines = [_json(line)[1:-1] for line in text.split("\n")]
            size = max(map(len, lines))
        else:
            encoded = _json(text.replace("\n", _LINE_MARK))
            size = len(encoded)
            lines = encoded[1:-1].split(b"\x7f")
        if block.unfinished or (
            size > self._line_limit and max(map(len, lines)) > self._line_limit
        ):
            return self._encode_pieces(lines, first_seq, time, block.unfinished)
        return self._join(lines, first_seq, time)

    def _join(self, lines: list[bytes], first_seq: int, time: int) -> Batch:
        before_seq = self._between + format_timestamp(time).encode() + self._after_time
        groups, logged = [], []
        start, total = 0, len(lines)
        while start < total:
            seq = first_seq + start
            thousands, low = divmod(seq, _GROUP)
            high = _GROUP if thousands else next(bound for bound in _SMALL_BOUNDS if low < bound)
            count = min(total - start, high - low)
            part = lines if count == total else lines[start : start + count]
            back = before_seq + b"%d" % thousands if thousands else before_seq
            endings = (_PADDED if thousands else _PLAIN)[low : low + count]
            fixed = len(self._front) + len(back) + len(endings[0])
            heads = self._heads.get(fixed)
            if heads is None:
                heads = self._heads[fixed] = _Heads(self._front, fixed)
            pieces = [back] * (4 * count)
            pieces[0::4] = map(heads.__getitem__, map(len, part))
            pieces[1::4] = part
            pieces[3::4] = endings
            groups.append(b"".join(pieces))
            if self._json_lines:
                line_ends = _PADDED_LINE_ENDS if thousands else _PLAIN_LINE_ENDS
                pieces[0::4] = [self._front] * count
                pieces[3::4] = line_ends[low : low + count]
                logged.append(b"".join(pieces))
            start += count
        return Batch(
            self._task_id,
            groups[0] if len(groups) == 1 else b"".join(groups),
            time,
            first_seq,
            first_seq + total - 1,
            json_lines=b"".join(logged) if self._json_lines else None,
        )

    def _encode_pieces(
        self, lines: list[bytes], first_seq: int, time: int, unfinished: bool
    ) -> Batch:
        before_seq = self._between + format_timestamp(time).encode() + self._after_time
        messages = []
        seq = first_seq
        for line in lines:
            pieces = _cut(line, self._line_limit)
            for number, piece in enumerate(pieces, 1):
                partial = unfinished or number < len(pieces)
                end = b',"partial":true}' if partial else b"}"
                messages.append(b"%b%b%b%d%b" % (self._front, piece, before_seq, seq, end))
                seq += 1
        return Batch(
            self._task_id,
            b"".join(map(text_frame, messages)),
            time,
            first_seq,
            seq - 1,
            json_lines=b"\n".join([*messages, b""]) if self._json_lines else None,
        )


def _cut(line: bytes, limit: int) -> list[bytes]:
    """Cut the inside of a JSON string into pieces of at most ``limit`` bytes, each a valid inside."""
    pieces = []
    start = 0
    while len(line) - start > limit:
        end = start + limit
        while line[end] & 0xC0 == 0x80:
            end -= 1
        end = _before_escape(line, start, end)
        pieces.append(line[start:end])
        start = end
    pieces.append(line[start:])
    return pieces


def _before_escape(line: bytes, start: int, end: int) -> int:
    """Return ``end``, or the start of the escape (``\\n``, ``\\u0000``) that a cut at ``end`` would part."""
    backslash = line.rfind(b"\\", max(start, end - 5), end)
    if backslash < 0:
        return end
    run = backslash
    while run > start and line[run - 1] == ord("\\"):
        run -= 1
    if (backslash - run) % 2:
        return end  # the second half of an escaped backslash
    width = 6 if line[backslash + 1] == ord("u") else 2
    return backslash if backslash + width > end else end
