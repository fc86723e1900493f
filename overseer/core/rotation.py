"""When a log file is full, and what its backups are then called.

The file is cut at the end of a line: no file is larger than it may be, unless one line alone is.
"""

from itertools import pairwise

import attrs


@attrs.frozen(kw_only=True)
class Rotation:
    """``max_size`` bytes a file, and ``backups`` older files named ``.1`` (the newest) and so on."""

    max_size: int
    backups: int

    def fitting(self, lines: bytes, start: int, size: int) -> int:
        """Return where to stop writing ``lines[start:]`` to a file of ``size`` bytes.

        ``lines`` ends with a newline, and ``start`` begins a line. The answer is ``start`` when the file
        has to be rotated first, which an empty file never has.
        """
        room = self.max_size - size
        if len(lines) - start <= room:
            return len(lines)
        end = lines.rfind(b"\n", start, start + max(room, 0)) + 1
        if end:
            return end
        return start if size else lines.index(b"\n", start) + 1

    def moves(self, path: str) -> list[tuple[str, str]]:
        """Return which file gets which name, in this order; the oldest is overwritten.

        Without backups nothing moves: the file is to be deleted.
        """
        names = [path, *(f"{path}.{number}" for number in range(1, self.backups + 1))]
        return list(pairwise(names))[::-1]
