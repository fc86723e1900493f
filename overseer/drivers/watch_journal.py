"""What the watch driver remembers: the files that it has found, and which of them were submitted.

A file is claimed before it is submitted, and settled afterwards; both survive the end of the process at any
instant. What is claimed and not settled when a journal is opened was under way when the daemon was killed: then
the receipt tells, which the run itself has made if it had begun.
"""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping

BUSY = 1.0
"""Seconds to wait for a journal that another daemon has open."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS overseer_watch (
    path TEXT PRIMARY KEY,
    device INTEGER NOT NULL,  -- of its folder: a volume that is not mounted makes nobody forget
    task_id TEXT NOT NULL,
    settled INTEGER NOT NULL
) WITHOUT ROWID
"""


class WatchJournal:
    """A journal in an SQLite file, which is made for this user alone.

    Threads may use it one at a time, and it may be closed while one does: a service is cancelled at any moment,
    but what it has given to a thread goes on there.

    :raises OSError: when the file, or the folder of receipts beside it, cannot be made.
    :raises sqlite3.Error: when it is no journal, or another daemon uses it.
    """

    def __init__(self, path: str) -> None:
        self._receipts = os.path.abspath(f"{path}.receipts")
        self._lock = threading.Lock()
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        self._connection = sqlite3.connect(
            path, timeout=BUSY, check_same_thread=False, isolation_level=None
        )
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        # Two daemons with one journal would both submit everything.
        self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        with self._transaction():
            self._connection.execute(_SCHEMA)
        self.devices: dict[str, int] = {}
        """The files that are known, by their paths."""
        self.unsettled: dict[str, str] = {}
        """The tasks of those that were claimed and not settled yet."""
        for row in self._connection.execute(
            "SELECT path, device, task_id, settled FROM overseer_watch"
        ):
            path, device, task_id, settled = row
            self.devices[path] = device
            if not settled:
                self.unsettled[path] = task_id
        os.makedirs(self._receipts, mode=0o700, exist_ok=True)
        receipts = set(os.listdir(self._receipts))
        self.settle([path for path, task_id in self.unsettled.items() if task_id in receipts])
        self.sweep()

    def receipt(self, path: str) -> str:
        """Return the name of the receipt for the task of a file that is claimed."""
        return os.path.join(self._receipts, self.unsettled[path])

    def claim(self, files: Mapping[str, int], task_ids: Mapping[str, str]) -> None:
        """Remember files, with the devices that they are on, before the tasks for them are submitted."""
        rows = [(path, device, task_ids[path]) for path, device in files.items()]
        with self._transaction():
            self._connection.executemany("INSERT INTO overseer_watch VALUES (?, ?, ?, 0)", rows)
        self.devices.update(files)
        self.unsettled.update(task_ids)

    def settle(self, paths: Iterable[str]) -> None:
        """Remember that the tasks of these files have been started."""
        rows = [(path,) for path in paths]
        with self._transaction():
            self._connection.executemany(
                "UPDATE overseer_watch SET settled = 1 WHERE path = ?", rows
            )
        for (path,) in rows:
            self.unsettled.pop(path, None)

    def forget(self, paths: Iterable[str]) -> None:
        """Know these files no more: another one of the name is a new one."""
        rows = [(path,) for path in paths]
        with self._transaction():
            self._connection.executemany("DELETE FROM overseer_watch WHERE path = ?", rows)
        for (path,) in rows:
            self.devices.pop(path, None)
            self.unsettled.pop(path, None)

    def sweep(self) -> None:
        """Remove the receipts of tasks that are settled: a process may make its own a little later."""
        needed = set(self.unsettled.values())
        for name in os.listdir(self._receipts):
            if name not in needed:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(self._receipts, name))

    def close(self) -> None:
        """Let others open it, once nothing is being written: whoever writes later gets ``sqlite3.Error``."""
        with self._lock:
            self._connection.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        # A connection that is closed in the midst of a statement of another thread crashes the process.
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
