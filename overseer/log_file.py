"""The file of the event log: it is rotated, followed when somebody moves it away, and no line of it is torn.

When it is full, and what its backups are called, is decided in ``core/rotation.py``.
"""

import os
import stat

from overseer.core.rotation import Rotation


class LogFile:
    """A file that grows by lines, is rotated, and is opened again when somebody has moved it away.

    Not for use by two threads at a time. Devices and pipes are written to, and neither rotated nor followed.
    """

    def __init__(self, path: str, rotation: Rotation) -> None:
        self.path = path
        self._rotation = rotation
        self._descriptor: int | None = None
        self._regular = False
        self._within_line = False
        self._left: os.stat_result | None = None
        """The file that holds the beginning of a line, as it was then."""

    def open(self) -> None:
        """Open the file, private to this user if it is new.

        :raises OSError: when it cannot be.
        """
        self.close()
        # Through a symbolic link the file itself is rotated, not the link.
        target = os.path.realpath(self.path)
        path = target if os.path.isfile(target) else os.path.abspath(self.path)
        # Without O_NONBLOCK a named pipe that nobody reads would be waited for; for writing it is not wanted.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(path, flags, 0o600)
        os.set_blocking(descriptor, True)
        self._regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._opened_path = path
        self._descriptor = descriptor

    def close(self) -> None:
        """Close the file; the next write opens it again."""
        self._descriptor, descriptor = None, self._descriptor
        if descriptor is not None:
            os.close(descriptor)

    def write(self, lines: bytes, start: int) -> int:
        """Write some of ``lines[start:]`` and return up to where.

        A line is never torn: when its beginning went to another file its rest is passed over.

        :raises OSError: when nothing can be written.
        """
        end_of_line = lines.index(b"\n", start) + 1
        size = self._follow()
        if size is None:
            self.open()
            size = self._follow() or 0
            if self._within_line and not self._is_as_left():
                self._within_line = False
                return end_of_line
        if self._within_line:
            end = end_of_line
        elif self._regular:
            end = self._rotation.fitting(lines, start, size)
        else:
            end = len(lines)
        if end == start:
            self._rotate()
            end = self._rotation.fitting(lines, start, 0)
        assert self._descriptor is not None
        stop = start + os.write(self._descriptor, memoryview(lines)[start:end])
        self._within_line = lines[stop - 1] != ord("\n")
        self._left = os.fstat(self._descriptor) if self._within_line else None
        return stop

    def _is_as_left(self) -> bool:
        """Return whether the open file ends with the beginning of a line that was written last."""
        assert self._descriptor is not None
        left, now = self._left, os.fstat(self._descriptor)
        if left is None or not self._regular:
            return False
        return os.path.samestat(left, now) and left.st_size == now.st_size

    def _follow(self) -> int | None:
        """Return the size of the open file, None unless it is open and still at its path."""
        if self._descriptor is None:
            return None
        mine = os.fstat(self._descriptor)
        if not self._regular:
            return 0
        try:
            there = os.stat(self._opened_path)
        except FileNotFoundError:
            return None
        return mine.st_size if os.path.samestat(mine, there) else None

    def _rotate(self) -> None:
        self.close()
        path = self._opened_path
        moves = self._rotation.moves(path)
        for old, new in moves:
            try:
                os.replace(old, new)
            except FileNotFoundError:
                continue  # fewer backups so far
        if not moves:
            os.unlink(path)
        self.open()
