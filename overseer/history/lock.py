"""One overseer for one database: a lock beside it, which also remembers who it belongs to.

The file ``FILE.lock`` holds two lines: an id that never changes, by which a daemon recognises what an earlier
one has left running, and the process id of the present holder. The lock is flock(2): it ends with its holder,
however that ends. Locks on the database itself are SQLite's business.
"""

import contextlib
import fcntl
import os
import re

from overseer.core.history import HistoryError

_ID = re.compile(r"[0-9a-f]{32}")
_SIZE = 100


class DatabaseLock:
    """The lock of the database ``path``. ``instance`` is its id: 32 hexadecimal digits."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.instance = _known_id(f"{path}.lock") or os.urandom(16).hex()
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether this process has the lock."""
        return self._descriptor is not None

    def take(self) -> None:
        """Take the lock.

        :raises HistoryError: when another overseer has it, with its process id.
        :raises OSError: when there can be no lock, in a folder that cannot be written for instance.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(f"{self.path}.lock", flags, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _, holder = _read(descriptor)
                raise HistoryError(
                    f'db "{self.path}": it is in use by another overseer, process {holder}'
                ) from None
            # A full disk takes nothing: then the id holds for this time only.
            with contextlib.suppress(OSError):
                os.pwrite(descriptor, f"{self.instance}\n{os.getpid():<10}\n".encode(), 0)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; its file stays, with the id in it."""
        self._descriptor, descriptor = None, self._descriptor
        if descriptor is not None:
            os.close(descriptor)


def _known_id(path: str) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return ""
    try:
        return _read(descriptor)[0]
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> tuple[str, str]:
    lines = os.pread(descriptor, _SIZE, 0).decode("ascii", "replace").splitlines()
    known = lines[0] if lines and _ID.fullmatch(lines[0]) else ""
    return known, lines[1].strip() if len(lines) > 1 else "unknown"
