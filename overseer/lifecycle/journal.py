"""What the history is told: each run when it begins and ends, and every lifecycle event."""

from typing import Protocol

from twisted.internet.defer import Deferred

from overseer.core.history import EventRecord, RunPage, RunQuery, RunRecord
from overseer.core.process import Outcome
from overseer.core.task import RunState, TaskRecord
from overseer.protocol.batch import Batch
from overseer.protocol.frames import payloads


class Archive(Protocol):
    """Where runs and events are kept."""

    def add_run(self, run: RunRecord) -> None:
        """Keep a run as it is now; never blocks."""

    def add_event(self, event: EventRecord) -> None:
        """Keep an event; never blocks."""


class History(Protocol):
    """Where runs of the past are asked for."""

    def page(self, query: RunQuery, *, statistics: bool = False) -> Deferred[RunPage]:
        """Return a page of runs; fails with ValueError for a position that is none."""


class Journal:
    """Keeps the present run of each task in mind, and hands over what has changed."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._keys = 0
        self._running: dict[str, RunRecord] = {}

    def began(self, record: TaskRecord, params: dict[str, str]) -> None:
        """A run has begun. ``params`` hold no secret."""
        started_at = record.last_started_at
        run = self._new_run(record, params, "running", started_at or record.created_at)
        run.pid = record.pid
        run.attempt = record.restart_count
        run.started_at = started_at
        self._running[record.task_id] = run
        self._archive.add_run(run)

    def ended(self, record: TaskRecord, outcome: Outcome, *, intentional: bool) -> None:
        """The run has ended."""
        run = self._running.pop(record.task_id, None)
        if run is None:
            return
        run.state = "exited"
        run.exited_at = record.last_exited_at
        run.exit_code = outcome.exit_code
        run.signal = outcome.signal
        run.intentional = intentional
        self._note_output(run, record)

    def lost(self, record: TaskRecord, reason: str) -> None:
        """The run does not end, and is not waited for any more."""
        run = self._running.pop(record.task_id, None)
        if run is None:
            return
        run.state = "lost"
        run.error_message = reason
        self._note_output(run, record)

    def failed(self, record: TaskRecord, params: dict[str, str], reason: str, now: int) -> None:
        """A run could not begin."""
        run = self._new_run(record, params, "failed", now)
        run.attempt = record.restart_count
        run.error_message = reason
        self._archive.add_run(run)

    def cancelled(self, record: TaskRecord, params: dict[str, str], reason: str, now: int) -> None:
        """A run that waited for a slot is not to come."""
        run = self._new_run(record, params, "cancelled", now)
        run.run += 1  # the one that would have come
        run.error_message = reason
        run.intentional = reason != "failed"
        self._archive.add_run(run)

    def record(self, batch: Batch) -> None:
        """Keep an event that clients are told; output is none."""
        if batch.droppable:
            return
        run = self._running.get(batch.task_id)
        key = None if run is None else run.key
        for message in payloads(batch.frames):
            self._archive.add_event(EventRecord(batch.time, batch.task_id, key, message))

    def _new_run(
        self, record: TaskRecord, params: dict[str, str], state: RunState, at: int
    ) -> RunRecord:
        self._keys += 1
        return RunRecord(
            key=self._keys,
            task_id=record.task_id,
            run=record.run,
            action=record.action,
            params=params,
            state=state,
            at=at,
            queued_at=record.waited_since,
        )

    def _note_output(self, run: RunRecord, record: TaskRecord) -> None:
        run.output_lines = record.last_seq - record.seq_before_run
        run.output_bytes = record.output_bytes
        self._archive.add_run(run)
