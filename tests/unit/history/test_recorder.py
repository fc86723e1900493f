"""When the history is written: in few transactions, soon, and before it is read."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from overseer.core.history import EventRecord, Keep, RunQuery
from overseer.history import recorder as module
from overseer.history import store
from overseer.history.recorder import BATCH, LINGER, HistoryRecorder


class AtOnce(Clock):
    """A reactor, and its threads, which do everything at once."""

    def getThreadPool(self) -> "AtOnce":
        return self

    def callInThreadWithCallback(
        self, done: Callable[[bool, object], None], function: Callable[..., object], *given: object
    ) -> None:
        done(True, function(*given))

    def callFromThread(self, function: Callable[..., object], *given: object) -> None:
        function(*given)


class Pool:
    """A connection whose transactions are done when the test says so."""

    def __init__(self, _module: str, path: str, **_: object) -> None:
        self._connection = sqlite3.connect(path)
        self.slow = False
        self.waiting: list[Callable[[], None]] = []

    def runWithConnection(self, function: Callable[..., object], *given: object) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()

        def transaction() -> None:
            result = function(self._connection, *given)
            self._connection.commit()
            done.callback(result)

        if self.slow:
            self.waiting.append(transaction)
        else:
            transaction()
        return done

    def finish(self) -> None:
        """Let the transaction that has waited longest be done."""
        self.waiting.pop(0)()

    def close(self) -> None:
        self._connection.close()


class Written:
    """A recorder on an open database, and how many events each transaction has written."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "ConnectionPool", self._pool)
        monkeypatch.setattr(store, "write", self._write)
        self.transactions: list[int] = []
        self.clock = AtOnce()
        self.recorder = HistoryRecorder(self.clock, str(folder / "db"), Keep(), lambda: 0)
        Deferred.fromCoroutine(self.recorder.open())
        self.pool.slow = True

    def _pool(self, *given: Any, **named: Any) -> Pool:
        self.pool = Pool(*given)
        return self.pool

    def _write(self, _connection: object, changes: Any, _offset: int) -> None:
        self.transactions.append(changes.rows)

    def add(self, count: int) -> None:
        for number in range(count):
            self.recorder.add_event(EventRecord(number, "task", None, b'{"type":"started"}'))


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    return Written(tmp_path, monkeypatch)


def test_what_comes_during_a_transaction_waits_for_more(written: Written) -> None:
    """A database that is always busy would do little else than to begin and end transactions."""
    written.add(10)
    assert written.pool.waiting == []
    written.clock.advance(LINGER)
    written.add(3)
    written.pool.finish()
    assert written.pool.waiting == []
    written.add(4)
    written.clock.advance(LINGER)
    written.pool.finish()
    assert written.transactions == [10, 7]


def test_a_full_transaction_is_followed_by_the_next_one(written: Written) -> None:
    """All that was there is written, and what makes another full one."""
    written.add(BATCH + 10)
    written.clock.advance(LINGER)
    written.pool.finish()
    written.pool.finish()
    assert written.transactions == [BATCH, 10]
    written.add(1)
    written.clock.advance(LINGER)
    written.add(BATCH)
    written.pool.finish()
    written.pool.finish()
    assert written.transactions == [BATCH, 10, 1, BATCH]


def test_who_asks_is_told_what_was_there(written: Written) -> None:
    """Also what came while a transaction was under way; and is not kept waiting by what comes after."""
    pages = []
    written.add(10)
    written.clock.advance(LINGER)
    written.add(3)
    written.recorder.page(RunQuery(limit=1)).addCallback(pages.append)
    written.pool.finish()
    written.add(5)
    written.pool.finish()
    assert (written.transactions, pages) == ([10, 3], [])
    written.pool.finish()
    assert len(pages) == 1
    written.clock.advance(LINGER)
    written.pool.finish()
    assert written.transactions == [10, 3, 5]
