"""The watch driver: submits a task of another action for every new file in some folders, exactly once.

A file is new until it was submitted; as long as it is there, and over restarts, it is remembered by its path.
Folders are looked into again and again, so that they may be on any file system.
"""

import fnmatch
import os
import stat
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Literal

import attrs
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from overseer.core.config import Group, Key
from overseer.core.config.kinds import ListOf, MapOf
from overseer.core.config.scalars import BOOL, DURATION, NAME, WRITTEN, choice
from overseer.core.retry import RetryPolicy
from overseer.drivers.interfaces import ActionHandlerFactory, DriverConfig, PoolConfig
from overseer.drivers.services import ServiceHandler, Submission, Submitter
from overseer.drivers.watch_journal import WatchJournal

TOGETHER = 64
"""Files that are claimed and submitted at a time."""

WATCH = Group(
    keys=(
        Key(
            "folders",
            ListOf(item=NAME, expected="a list of folders", single=True, may_be_empty=False),
            required=True,
            description="folders to look into",
        ),
        Key(
            "patterns",
            ListOf(item=NAME, expected="a list of patterns", single=True, may_be_empty=False),
            default=("*",),
            description="names of files that count, as in a shell: hidden ones only by patterns with a dot",
        ),
        Key("recursive", BOOL, default=False, description="whether folders within them count, too"),
        Key(
            "min_age",
            DURATION,
            default=2.0,
            description="time since the last change of a file, so that it is complete",
        ),
        Key(
            "order",
            choice("oldest", "newest"),
            default="oldest",
            description="which of several files goes first",
        ),
        Key("interval", DURATION, default=1.0, description="time between two looks"),
        Key("action", NAME, required=True, description="the action that is started"),
        Key("parameter", NAME, default="input", description="its parameter that gets the path"),
        Key(
            "params",
            MapOf(item=WRITTEN, expected="a mapping from names to values"),
            description="its other parameters",
        ),
        Key("journal", NAME, required=True, description="SQLite file that remembers the files"),
    ),
)


@attrs.frozen
class Found:
    """A file that was found, and the device that its folder is on."""

    path: str
    device: int
    changed_at: float


@attrs.frozen(kw_only=True)
class Search:
    """Which files count."""

    folders: Sequence[str]
    patterns: Sequence[str]
    recursive: bool
    min_age: float
    order: Literal["oldest", "newest"]

    def matches(self, name: str) -> bool:
        """Return whether a file of this name counts."""
        return any(
            fnmatch.fnmatchcase(name, pattern)
            for pattern in self.patterns
            if pattern.startswith(".") or not name.startswith(".")
        )

    def files(self) -> list[Found]:
        """Return the files that there are, of any age, in the order in which they are to be submitted."""
        found = [
            file for folder in self.folders for file in self._files_in(os.path.abspath(folder))
        ]
        found.sort(key=lambda file: (file.changed_at, file.path), reverse=self.order == "newest")
        return found

    def _files_in(self, folder: str) -> Iterator[Found]:
        try:
            device = os.stat(folder).st_dev
            entries = list(os.scandir(folder))
        except OSError:
            return  # it may come back, and its files are not forgotten meanwhile
        for entry in entries:
            try:
                if entry.is_dir(follow_symlinks=False):
                    if self.recursive:
                        yield from self._files_in(entry.path)
                elif self.matches(entry.name) and stat.S_ISREG((status := entry.stat()).st_mode):
                    yield Found(entry.path, device, status.st_mtime)
            except OSError:
                continue  # it has just gone


@attrs.frozen(kw_only=True)
class WatchHandler(ServiceHandler):
    """Looks for files, and submits them."""

    search: Search
    interval: float
    action: str
    parameter: str
    params: Mapping[str, str]
    journal: str

    async def run_service(self, submitter: Submitter) -> None:
        """Look for new files until cancelled."""
        journal = await submitter.in_thread(partial(WatchJournal, self.journal))
        try:
            watch = _Watch(self, submitter, journal)
            while True:
                await watch.look()
                await submitter.sleep(self.interval)
        finally:
            journal.close()


class _Watch:
    _log = Logger(namespace="overseer.watch")

    def __init__(self, handler: WatchHandler, submitter: Submitter, journal: WatchJournal) -> None:
        self._handler = handler
        self._submitter = submitter
        self._journal = journal
        self._refusal = ""

    async def look(self) -> None:
        """Submit what is new, and what could not be submitted before."""
        journal = self._journal
        files = await self._submitter.in_thread(self._look)
        while files:
            chunk, files = files[:TOGETHER], files[TOGETHER:]
            new = {file.path: file.device for file in chunk if file.path not in journal.devices}
            tasks = {path: f"watch-{uuid.uuid4()}" for path in new}
            await self._submitter.in_thread(partial(journal.claim, new, tasks))
            paths = [file.path for file in chunk]
            answers = await gatherResults(
                [Deferred.fromCoroutine(self._submit(path)) for path in paths], consumeErrors=True
            )
            taken = [
                path
                for path, answer in zip(paths, answers, strict=True)
                if answer.status != "rejected"
            ]
            await self._submitter.in_thread(partial(journal.settle, taken))
            refusals = {answer.reason for answer in answers if answer.status == "rejected"}
            self._tell(refusals)
            if refusals:
                break

    def _look(self) -> list[Found]:
        """Return the files to submit; forget those that have gone. Called in a thread."""
        journal = self._journal
        found = self._handler.search.files()
        there = {file.path for file in found}
        journal.forget([path for path in journal.devices if path not in there and self._gone(path)])
        journal.sweep()
        latest = time.time() - self._handler.search.min_age
        return [
            file
            for file in found
            if file.path in journal.unsettled
            or (
                file.path not in journal.devices
                and file.changed_at <= latest
                and _is_text(file.path)
            )
        ]

    def _gone(self, path: str) -> bool:
        try:
            return os.stat(os.path.dirname(path)).st_dev == self._journal.devices[path]
        except OSError:
            return False  # the folder is not there at all

    async def _submit(self, path: str) -> Submission:
        handler = self._handler
        return await self._submitter.submit(
            handler.action,
            self._journal.unsettled[path],
            {**handler.params, handler.parameter: path},
            wait=True,
            receipt=self._journal.receipt(path),
        )

    def _tell(self, refusals: set[str]) -> None:
        refusal = min(refusals, default="")
        if refusal and refusal != self._refusal:
            self._log.warn(
                'a file for "{action}" was rejected, and is submitted again later: {refusal}',
                action=self._handler.action,
                refusal=refusal,
            )
        self._refusal = refusal


def _is_text(path: str) -> bool:
    """Return whether a path can be a parameter: in JSON, only what is UTF-8 can be."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


class WatchFactory(ActionHandlerFactory):
    """Makes watch handlers."""

    type = "watch"
    keys = WATCH

    def create(
        self,
        config: DriverConfig,
        name: str,
        retry: RetryPolicy | None,
        pool: PoolConfig,
        dedupe_key: Sequence[str],
    ) -> WatchHandler:
        """Return the handler of an action.

        :raises overseer.core.config.ConfigError: when it would start itself, or look all the time.
        """
        if config["action"] == name:
            raise config.error("expected another action than this one", "action")
        if not config["interval"]:
            raise config.error("expected a duration > 0s, got 0s", "interval")
        search = Search(
            folders=config["folders"],
            patterns=config["patterns"],
            recursive=config["recursive"],
            min_age=config["min_age"],
            order=config["order"],
        )
        return WatchHandler(
            search=search,
            interval=config["interval"],
            action=config["action"],
            parameter=config["parameter"],
            params=config["params"],
            journal=config["journal"],
        )
