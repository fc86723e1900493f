"""The watch driver: which files count, in which order, and that each is submitted once."""

import os
import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed

from overseer.drivers.services import Submission
from overseer.drivers.watch import TOGETHER, Search, WatchFactory, WatchHandler
from overseer.drivers.watch_journal import WatchJournal
from overseer.testing import make_action, problems


class Stop(Exception):
    """Ends a service in a test."""


class FakeSubmitter:
    """Starts nothing; ``answers`` says what becomes of the next ones, and ``looks`` how often it may look."""

    def __init__(self, looks: int = 1) -> None:
        self.looks = looks
        self.submitted: list[str] = []
        self.params: list[Mapping[str, str]] = []
        self.receipts: dict[str, str] = {}
        self.refuse: str | None = None
        self.killed_after: int | None = None

    async def submit(
        self,
        action: str,
        task_id: str,
        params: Mapping[str, str],
        *,
        wait: bool = False,
        receipt: str | None = None,
    ) -> Submission:
        assert (action, wait, receipt is not None) == ("convert", True, True)
        if self.refuse is not None:
            return Submission("rejected", None, self.refuse)
        self.submitted.append(Path(params["input"]).name)
        self.params.append(params)
        Path(receipt or "").touch()
        if len(self.submitted) == self.killed_after:
            raise Stop
        return Submission("started", task_id)

    async def sleep(self, seconds: float) -> None:
        self.looks -= 1
        if not self.looks:
            raise Stop
        await succeed(None)

    async def in_thread(self, function: Any) -> Any:
        return function()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder to watch."""
    made = tmp_path / "in"
    made.mkdir()
    return made


def put(folder: Path, *names: str, age: float = 60.0) -> None:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        changed = path.stat().st_mtime - age - len(names) + number
        os.utime(path, (changed, changed))


def watch(folder: Path, submitter: FakeSubmitter, **config: Any) -> list[str]:
    """Run the service until it has looked as often as it may; return what it has submitted."""
    before = len(submitter.submitted)
    config = {
        "folders": str(folder),
        "action": "convert",
        "journal": str(folder.parent / "journal"),
        **config,
    }
    handler = make_action(WatchFactory(), config).action.handler
    assert isinstance(handler, WatchHandler)
    ended = Deferred.fromCoroutine(handler.run_service(submitter))
    failures: list[Any] = []
    ended.addErrback(failures.append)
    (failure,) = failures
    root = failure.value
    while hasattr(root, "subFailure"):  # gatherResults wraps it
        root = root.subFailure.value
    assert isinstance(root, Stop), failure
    return submitter.submitted[before:]


def test_each_file_is_submitted_once(folder: Path) -> None:
    """However often it is seen, by this run of the service and the next."""
    put(folder, "a", "b")
    assert watch(folder, FakeSubmitter(looks=3)) == ["a", "b"]
    put(folder, "c")
    assert watch(folder, FakeSubmitter()) == ["c"]


@pytest.mark.parametrize(("order", "names"), [("oldest", ["a", "b"]), ("newest", ["b", "a"])])
def test_the_order(folder: Path, order: str, names: list[str]) -> None:
    """By the time of the last change."""
    put(folder, "a", "b")
    assert watch(folder, FakeSubmitter(), order=order) == names


def test_which_files_count(folder: Path) -> None:
    """Those that fit a pattern and are old enough; of folders within only if asked for."""
    put(folder, "film.mp4", "note.txt", ".hidden.mp4", "deep/film2.mp4")
    put(folder, "growing.mp4", age=0.0)
    (folder / "folder.mp4").mkdir()
    os.symlink("nowhere", folder / "broken.mp4")
    keys = {"patterns": "*.mp4", "min_age": "30s", "params": {"quality": 5}}
    submitter = FakeSubmitter()
    assert watch(folder, submitter, **keys) == ["film.mp4"]
    assert submitter.params == [{"quality": "5", "input": str(folder / "film.mp4")}]
    assert watch(folder, FakeSubmitter(), recursive=True, **keys) == ["film2.mp4"]


def test_what_is_rejected_is_submitted_again(folder: Path) -> None:
    """With the next look."""
    put(folder, "a")
    submitter = FakeSubmitter()
    submitter.refuse = "the pool is full"
    assert watch(folder, submitter) == []
    submitter.refuse, submitter.looks = None, 2
    assert watch(folder, submitter) == ["a"]


def test_what_was_under_way_when_the_daemon_was_killed(folder: Path) -> None:
    """The receipts tell which tasks had begun; those that had not are submitted again."""
    names = [f"{number:03}" for number in range(2 * TOGETHER)]
    put(folder, *names)
    submitter = FakeSubmitter()
    submitter.killed_after = TOGETHER + 10
    first = watch(folder, submitter)
    assert len(first) >= TOGETHER + 10
    second = watch(folder, FakeSubmitter())
    assert sorted(first + second) == names


def test_a_file_that_has_gone_is_forgotten(folder: Path) -> None:
    """Another one of its name is new; but not if the whole folder is away for a while."""
    put(folder, "a")
    assert watch(folder, FakeSubmitter()) == ["a"]
    folder.rename(folder.parent / "away")
    assert watch(folder, FakeSubmitter()) == []
    (folder.parent / "away").rename(folder)
    assert watch(folder, FakeSubmitter()) == []
    (folder / "a").unlink()
    assert watch(folder, FakeSubmitter()) == []
    put(folder, "a")
    assert watch(folder, FakeSubmitter()) == ["a"]


def test_a_name_that_is_no_text_is_left_alone(folder: Path) -> None:
    """It could be no parameter."""
    (folder / os.fsdecode(b"\xff")).touch()
    assert watch(folder, FakeSubmitter(), min_age="0s") == []


def test_a_journal_belongs_to_one_daemon(tmp_path: Path) -> None:
    """Two would submit everything twice."""
    path = tmp_path / "journal"
    journal = WatchJournal(str(path))
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        WatchJournal(str(path))
    journal.close()
    WatchJournal(str(path)).close()


def test_a_journal_is_not_closed_in_the_midst_of_a_writing(tmp_path: Path) -> None:
    """What a cancelled service has given to a thread goes on there: SQLite crashed the daemon."""
    journal = WatchJournal(str(tmp_path / "journal"))
    closing = threading.Thread(target=journal.close)
    with journal._transaction():
        closing.start()
        closing.join(0.1)
        journal._connection.execute("INSERT INTO overseer_watch VALUES ('a', 1, 'b', 0)")
    closing.join()
    with pytest.raises(sqlite3.ProgrammingError):
        journal.settle(["a"])
    assert WatchJournal(str(tmp_path / "journal")).unsettled == {"a": "b"}


def test_mistakes_in_the_configuration() -> None:
    """An action that starts itself would never end."""
    keys = {"folders": "in", "journal": "j", "action": "action"}
    assert problems(WatchFactory(), keys) == [
        "config.action: expected another action than this one"
    ]
    assert problems(WatchFactory(), {**keys, "action": "x", "interval": 0}) == [
        "config.interval: expected a duration > 0s, got 0s"
    ]
    assert "config.folders: is required" in problems(WatchFactory(), {})


def test_nothing_is_started_by_hand() -> None:
    """The action is there, but it runs by itself."""
    action = make_action(WatchFactory(), {"folders": "in", "journal": "j", "action": "x"})
    with pytest.raises(ValueError, match="runs by itself"):
        action.start()


def test_a_search_without_a_folder_finds_nothing() -> None:
    """It may come later."""
    search = Search(
        folders=["/does/not/exist"], patterns=["*"], recursive=True, min_age=0, order="oldest"
    )
    assert search.files() == []
