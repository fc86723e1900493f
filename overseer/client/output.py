"""Which received frames are a run of output, and what stands in it: a thousand lines at the cost of a few.

An overseer sends a frame a line, and of a task that prints much a whole read is lines of one stream. What lies
between two of their texts is known then but for sizes, times and numbers: one regular expression takes it out.
Whatever is no such run is left to be read message by message, with the same result; a property test holds that.
"""

import functools
import re
from typing import Final, TypeAlias, cast

import attrs
import msgspec

from overseer.core.process import Stream
from overseer.core.timestamps import format_timestamp
from overseer.protocol.codec import encode_message
from overseer.protocol.messages import Message, Output

WORTHWHILE: Final = 4096
"""Bytes of a read below which its messages are faster read one by one."""

_FRAME_HEAD = rb"\x81(?:~..|[\x00-\x7d])"  # of a text of less than 64 KiB (RFC 6455 section 5.2)
_form = (
    re.escape(encode_message(Output("TASK", 0, "stdout", "DATA", "TIME", 0)))
    .replace(b"TASK", rb'([^"\\]*)')
    .replace(b"stdout", b"(stdout|stderr)")
    .replace(b"TIME", b".{%d}" % len(format_timestamp(0)))
    .replace(b":0", rb":\d{1,18}")
)
_front, _BACK = _form.split(b"DATA")
_FRONT = re.compile(_FRAME_HEAD + b"(" + _front + b")", re.DOTALL)
# A text can have no such bytes: they would be no UTF-8.
_BOUNDARY = re.compile(rb"\}" + _FRAME_HEAD + rb'\{"', re.DOTALL)
_ENDING = re.compile(b"(.*)" + _BACK + rb"\Z", re.DOTALL)
_SEQ = b'"seq":'

_unescape = msgspec.json.Decoder(str).decode
_messages = msgspec.json.Decoder(Output).decode_lines


@attrs.frozen
class OutputBlock:
    """Lines of one stream of a task that came together.

    ``data`` is all of them in UTF-8, each with a newline behind it; ``seq`` is the number of the last one,
    ``size`` how many bytes they were when they came.
    """

    task_id: str
    stream: Stream
    data: bytes
    seq: int
    size: int
    _read: bytes = attrs.field(repr=False)

    def json_lines(self) -> bytes:
        """Return the messages as they came, JSON each, one a line."""
        begin = 4 if self._read[1] == ord("~") else 2
        return _BOUNDARY.sub(b'}\n{"', memoryview(self._read)[begin : self.size])

    def messages(self) -> list[Output]:
        """Return the same lines as a message each."""
        return _messages(self.json_lines())


Event: TypeAlias = Message | OutputBlock
"""What happens to a task, as it comes."""


def read_block(data: bytes) -> OutputBlock | None:
    """Return the run of output that ``data`` begins with, None without one worth the while.

    It ends before the last line of the same stream, unless this is whole and the end of ``data``.
    """
    first = _FRONT.match(data) if len(data) >= WORTHWHILE else None
    if first is None:
        return None
    front, task_id, stream = first.groups()
    last = data.rfind(front)
    begin, end = first.end(), last + len(front)
    text, lines = _between(len(front)).subn(b"\n", memoryview(data)[begin:end])
    # What has the length of a front was taken for one: it was if there are as many.
    if not lines or lines != data.count(front, begin, end):
        return None
    head = 4 if data[last - 3] == ord("~") else 2
    size = last - head
    ending = None
    if int.from_bytes(data[last - head // 2 : last]) == len(data) - last:
        ending = _ENDING.match(data, end)
    if ending is not None:
        text += ending[1] + b"\n"
        size = len(data)
    try:
        if b'"' in text or b"\\" in text:  # a quote without a backslash belongs to another message
            text = _unescape(b'"%b"' % text.replace(b"\n", rb"\n")).encode()
        name = task_id.decode()
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    number = data.rfind(_SEQ, begin, size) + len(_SEQ)
    seq = int(data[number : data.index(b"}", number)])
    return OutputBlock(name, cast("Stream", stream.decode()), text, seq, size, data)


@functools.lru_cache(maxsize=64)
def _between(front_size: int) -> re.Pattern[bytes]:
    """Match what stands between the texts of two messages that begin with so many bytes."""
    return re.compile(_BACK + _FRAME_HEAD + b".{%d}" % front_size, re.DOTALL)
