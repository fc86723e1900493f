"""Writes the history behind the live state: in batches, in threads of their own, and again when it fails.

A database that is locked, full, slow or gone costs nothing but history: what waits for it is bounded, and what
is left out is counted. A damaged file is set aside, never deleted.
"""

# mypy: allow-untyped-calls

import errno
import time
from collections.abc import Callable
from typing import Any

from twisted.enterprise.adbapi import ConnectionPool
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from overseer.core.history import (
    Backlog,
    Changes,
    EventRecord,
    HistoryError,
    Keep,
    RestorableTask,
    RunPage,
    RunQuery,
    RunRecord,
)
from overseer.history import store
from overseer.history.lock import DatabaseLock

LINGER = 0.03
"""Seconds that a change may wait for others to be written with it."""
BATCH = 500
"""Rows in one transaction."""
BACKLOG = 50_000
"""Runs that may wait to be written, and twice as many events; beyond that the oldest are left out."""
FIRST_RETRY = 0.1
LAST_RETRY = 5.0
"""Seconds until a database that failed is tried again; doubled each time, from the first to the last."""
CLOSE_TIMEOUT = 3.0
"""Seconds that the end of the daemon waits for the rest to be written."""
PRUNE_INTERVAL = 60.0
"""Seconds between two looks at what is too old."""


class HistoryRecorder:
    """Keeps runs and events in the SQLite file ``path``.

    :param reactor: for timers and threads.
    :param now: gives microseconds since the epoch.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        path: str,
        keep: Keep,
        now: Callable[[], int],
        backlog: int = BACKLOG,
    ) -> None:
        self.path = path
        self.keep = keep
        self._lock = DatabaseLock(path)
        self._reactor = reactor
        self._now = now
        self._backlog = Backlog(backlog)
        self._pool: ConnectionPool | None = None
        self._offset: int | None = None
        """What makes numbers out of keys, None until the database could be opened."""
        self._timer: IDelayedCall | None = None
        self._prune_timer: IDelayedCall | None = None
        self._writing: Deferred[None] | None = None
        self._waiters: list[Deferred[None]] = []
        """Those who wait until the present writing has come to its end."""
        self._retry_delay = 0.0
        self._dropped_before = 0
        self._closing = False
        self.errors = 0
        """Attempts to use the database that have failed."""
        self.tasks: Deferred[tuple[RestorableTask, ...]] = Deferred()
        """Fires with the tasks to start again, once the database could be read."""

    @property
    def instance(self) -> str:
        """What names all overseers that use this database, one after the other."""
        return self._lock.instance

    @property
    def dropped(self) -> int:
        """Changes that were left out because they had to wait too long."""
        return self._backlog.dropped

    @property
    def waiting(self) -> int:
        """Changes that are not written yet."""
        return len(self._backlog)

    @property
    def failing(self) -> bool:
        """Whether the last attempt to write has failed."""
        return self._retry_delay > 0

    async def open(self) -> None:
        """Open the database; one that fails for now is tried again later.

        Runs that it shows running become ``lost``: of the daemon that began them nothing is there any more.

        :raises HistoryError: when it is of no use to this program at all, or another overseer uses it.
        """
        try:
            await self._prepare()
        except HistoryError:
            raise
        except store.SchemaError as error:
            await self._disconnect()
            raise HistoryError(f'db "{self.path}": {error}') from None
        except Exception as error:
            if isinstance(error, IsADirectoryError | NotADirectoryError):
                raise HistoryError(f'db "{self.path}": {error.strerror}') from None
            await self._failed(error)
            self._write_soon()
        self._prune_soon(0.0)

    def add_run(self, run: RunRecord) -> None:
        """Have a run written as it is now; never blocks."""
        self._backlog.add_run(run)
        self._write_soon()

    def add_event(self, event: EventRecord) -> None:
        """Have an event written; never blocks."""
        self._backlog.add_event(event)
        self._write_soon()

    def keep_task(self, task: RestorableTask) -> None:
        """Have a task kept as it is now; never blocks."""
        self._backlog.keep_task(task)
        self._write_soon()

    def forget_task(self, task_id: str) -> None:
        """Have a task kept no longer; never blocks."""
        self._backlog.forget_task(task_id)
        self._write_soon()

    def page(self, query: RunQuery, *, statistics: bool = False) -> Deferred[RunPage]:
        """Return a page of runs, with all that was added before unless that cannot be written now.

        The Deferred fails with ValueError for a position that is none, with another exception when the
        database cannot be read.
        """
        return Deferred.fromCoroutine(self._page(query, statistics))

    async def close(self) -> None:
        """Write what is left, for :data:`CLOSE_TIMEOUT` at most, and close the database."""
        self._closing = True
        for timer in (self._timer, self._prune_timer):
            if timer is not None and timer.active():
                timer.cancel()
        self._timer = None
        deadline = self._reactor.seconds() + CLOSE_TIMEOUT
        while True:
            await self._written()
            if not len(self._backlog) or self._reactor.seconds() >= deadline:
                break
            if self.failing:
                await self._pause(min(self._retry_delay, 0.2))
            self._write()
        left = len(self._backlog) + self.dropped
        if left:
            self._log.warn("{count} changes are not in the history", count=left)
        await self._disconnect()
        self._lock.release()

    # -------------------------------------------------------------------------------------- private

    def _write_soon(self) -> None:
        if self._timer is None and self._writing is None and not self._closing:
            self._timer = self._reactor.callLater(self._retry_delay or LINGER, self._write)

    def _write(self) -> None:
        self._timer = None
        if self._writing is None:
            self._writing = Deferred.fromCoroutine(self._write_all())

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                waiting, asking = len(self._backlog), len(self._waiters)
                if not await self._write_some():
                    break
                whole = waiting <= BATCH and len(self._waiters) == asking
                if whole and len(self._backlog) < BATCH:
                    break  # what has come since may wait for more, as a transaction costs more than its rows
        finally:
            self._writing = None
            waiters, self._waiters = self._waiters, []
            if self._waiting:
                self._write_soon()
            for waiter in waiters:
                waiter.callback(None)

    @property
    def _waiting(self) -> bool:
        """Whether anything waits for the database: changes, or whoever wants to know what is in it."""
        return self._offset is None or len(self._backlog) > 0

    async def _write_some(self) -> bool:
        changes = Changes()
        try:
            if self._offset is None:
                await self._prepare()
            changes = self._backlog.take(BATCH)
            await self._run(store.write, changes, self._offset)
        except Exception as error:
            self._backlog.put_back(changes)
            await self._failed(error)
            return False
        self._recovered()
        return True

    async def _prepare(self) -> None:
        """Open the database and find out how its runs are numbered.

        A folder that is not there yet, of a volume that is mounted late for instance, is waited for.
        """
        if not self._lock.held:
            self._take_lock()
        if self._pool is None:
            await self._elsewhere(store.create_file, self.path)
            self._pool = self._connect()
        first = self._offset is None
        self._offset, lost, tasks = await self._run(_prepare, self.path, first)
        if lost:
            self._log.warn("{count} runs of an earlier overseer were lost", count=lost)
        if not self.tasks.called:
            self.tasks.callback(tasks)

    def _take_lock(self) -> None:
        try:
            self._lock.take()
        except OSError as error:
            # Without a folder there can be no database either, which is told.
            if error.errno != errno.ENOENT and not self.failing:
                self._log.warn(
                    "{path}.lock cannot be written: {reason}; nothing keeps another overseer from using"
                    " the same database",
                    path=self.path,
                    reason=error.strerror,
                )

    def _connect(self) -> ConnectionPool:
        return ConnectionPool(
            "sqlite3",
            self.path,
            timeout=store.BUSY_TIMEOUT,
            check_same_thread=False,
            cp_min=1,
            cp_max=2,  # one writes at a time: the other reads
            cp_noisy=False,
            cp_openfun=store.configure,
            cp_reactor=self._reactor,
            cp_name="history",
        )

    async def _disconnect(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    async def _run(self, function: Callable[..., Any], *arguments: object) -> Any:
        assert self._pool is not None
        return await self._pool.runWithConnection(function, *arguments)

    async def _elsewhere(self, function: Callable[..., Any], *arguments: object) -> Any:
        pool = self._reactor.getThreadPool()
        return await deferToThreadPool(self._reactor, pool, function, *arguments)

    async def _failed(self, error: Exception) -> None:
        self.errors += 1
        if store.is_damaged(error):
            try:
                await self._set_aside()
            except OSError as second:
                error = second
            else:
                return
        if not self._retry_delay:
            self._log.warn(
                "cannot write the history {path}: {reason}; trying again, tasks go on",
                path=self.path,
                reason=_reason(error),
            )
        self._retry_delay = min(max(self._retry_delay * 2, FIRST_RETRY), LAST_RETRY)

    async def _set_aside(self) -> None:
        await self._disconnect()
        self._offset = None
        self._backlog.write_all_tasks()
        date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._now() / 1_000_000))
        name = await self._elsewhere(store.set_aside, self.path, date)
        self._log.error(
            "the history {path} is damaged: it is now {name}, and another one is begun",
            path=self.path,
            name=name,
        )

    def _recovered(self) -> None:
        if not self._retry_delay:
            return
        self._retry_delay = 0.0
        lost = self.dropped - self._dropped_before
        self._dropped_before = self.dropped
        self._log.info(
            "the history {path} can be written again; {lost} changes are not in it",
            path=self.path,
            lost=lost,
        )

    async def _page(self, query: RunQuery, statistics: bool) -> RunPage:
        if not self.failing:
            if self._timer is not None:
                self._timer.cancel()
                self._write()
            await self._written()
        if self._pool is None:
            raise OSError("the database is not open")
        page = await self._run(_read, query, statistics)
        assert isinstance(page, RunPage)
        return page

    async def _written(self) -> None:
        if self._writing is not None:
            written: Deferred[None] = Deferred()
            self._waiters.append(written)
            await written

    async def _pause(self, seconds: float) -> None:
        over: Deferred[None] = Deferred()
        self._reactor.callLater(seconds, over.callback, None)
        await over

    def _prune_soon(self, seconds: float) -> None:
        if not self._closing:
            self._prune_timer = self._reactor.callLater(seconds, self._prune)

    def _prune(self) -> None:
        Deferred.fromCoroutine(self._prune_some()).addBoth(self._pruned)

    async def _prune_some(self) -> bool:
        if self._offset is None or self.failing or not (self.keep.age or self.keep.max_rows):
            return False
        return bool(await self._run(store.prune, self.keep, self._now()))

    def _pruned(self, more: bool | Failure) -> None:
        # A failure shows at the next write, too.
        self._prune_soon(0.0 if more is True else PRUNE_INTERVAL)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _prepare(
    connection: Any, path: str, first: bool
) -> tuple[int, int, tuple[RestorableTask, ...]]:
    store.upgrade(connection, path)
    lost = store.close_lost_runs(connection) if first else 0
    tasks = store.take_tasks(connection) if first else ()
    return store.newest_id(connection), lost, tasks


def _read(connection: Any, query: RunQuery, statistics: bool) -> RunPage:
    return store.read_page(connection, query, statistics=statistics)
