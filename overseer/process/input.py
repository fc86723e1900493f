"""Writing what a child reads: bytes wait while its pipe is full, up to a limit, and who gave them is told."""

import errno
import os
from collections import deque
from collections.abc import Callable

import attrs
from twisted.internet.interfaces import IReactorFDSet, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from overseer.core.sizes import format_size
from overseer.core.worker import WorkerError
from overseer.process.streams import end_of_file_character

BUFFER_SIZE = 1024 * 1024
"""The most bytes that may wait for a child to read them. One write alone may be longer."""
WRITE_SIZE = 256
"""What every write that waits counts besides its bytes, for what is remembered of it."""

_CLOSED = "input: the process reads its stdin no more"
_ENDED = "input: its end was told before"


@attrs.define
class _Write:
    """Bytes that wait, and who wants to know what becomes of them."""

    data: memoryview
    taken: Callable[[], object]
    lost: Callable[[str], object]


@implementer(IWriteDescriptor)
class InputPipe:
    """I am the write end of a child's stdin, which I own."""

    def __init__(self, reactor: IReactorFDSet, descriptor: int) -> None:
        self._reactor = reactor
        self._descriptor = descriptor
        self._waiting: deque[_Write] = deque()
        self._size = 0
        self._ended = False

    @property
    def closed(self) -> bool:
        """Whether nothing more can be written."""
        return self._descriptor == -1

    def write(
        self, data: bytes, taken: Callable[[], object], lost: Callable[[str], object]
    ) -> None:
        """Write ``data`` after what waits; see :meth:`overseer.core.worker.Worker.write_input`."""
        if self._ended:
            raise WorkerError(_ENDED)
        if self.closed:
            raise WorkerError(_CLOSED)
        if self._waiting and self._size + len(data) > BUFFER_SIZE:
            limit = format_size(BUFFER_SIZE)
            raise WorkerError(f"input: the process reads too slowly: at most {limit} may wait")
        self._append(data, taken, lost)

    def _append(
        self, data: bytes, taken: Callable[[], object], lost: Callable[[str], object]
    ) -> None:
        self._size += len(data) + WRITE_SIZE
        self._waiting.append(_Write(memoryview(data), taken, lost))
        if len(self._waiting) == 1:
            self._work()

    def end(self) -> None:
        """Let the child come to the end of its input once it has taken what waits."""
        self._ended = True
        if not self._waiting:
            self.close()

    def close(self) -> None:
        """Write no more: the child reads no more, or all is written."""
        if self.closed:
            return
        self._reactor.removeWriter(self)
        os.close(self._descriptor)
        self._descriptor = -1
        self._size = 0
        waiting, self._waiting = self._waiting, deque()
        for write in waiting:
            write.lost(_CLOSED)

    def fileno(self) -> int:
        """Return the descriptor, -1 once it is closed."""
        return self._descriptor

    def doWrite(self) -> None:
        """Write what the pipe takes."""
        self._work()

    def connectionLost(self, reason: Failure) -> None:
        """Close: nobody has the other end open any more."""
        self.close()

    def logPrefix(self) -> str:
        """Return the name that the reactor logs."""
        return "stdin"

    def _work(self) -> None:
        while self._waiting:
            first = self._waiting[0]
            try:
                count = os.write(self._descriptor, first.data) if first.data else 0
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno not in (errno.EPIPE, errno.EIO):  # of a pipe, of a terminal
                    raise
                self.close()
                return
            self._size -= count
            first.data = first.data[count:]
            if not first.data:
                self._waiting.popleft()
                self._size -= WRITE_SIZE
                first.taken()
        if self.closed:
            return
        if self._waiting:
            self._reactor.addWriter(self)
        else:
            self._reactor.removeWriter(self)
            if self._ended:
                self.close()


class TerminalInput(InputPipe):
    """I type into the terminal of a child. Its input has no last end: the next program may read on."""

    def __init__(self, reactor: IReactorFDSet, descriptor: int) -> None:
        super().__init__(reactor, descriptor)
        self._at_line_start = True

    def write(
        self, data: bytes, taken: Callable[[], object], lost: Callable[[str], object]
    ) -> None:
        """Type ``data`` after what waits."""
        super().write(data, taken, lost)
        if data:
            self._at_line_start = data.endswith((b"\n", b"\r"))

    def end(self) -> None:
        """Type the character for the end of input: twice within a line, which the first one only hands over."""
        if self.closed:
            return
        character = end_of_file_character(self._descriptor)
        # What becomes of it is told by the write before.
        self._append(
            character if self._at_line_start else 2 * character, lambda: None, lambda _reason: None
        )
        self._at_line_start = True
