"""What is told of one task: to its subscribers in messages, to the history, and in numbers.

What has happened is in the task's record by then; output takes a shorter way, through ``task.py``.
"""

from collections.abc import Sequence

import msgspec

from overseer.core.durations import format_duration
from overseer.core.metrics import ActionCounters, run_result
from overseer.core.process import Outcome
from overseer.core.retry import RetryAfter
from overseer.core.ring import RingBuffer
from overseer.core.task import TaskRecord
from overseer.core.timestamps import format_timestamp
from overseer.lifecycle.requests import Starter
from overseer.lifecycle.surroundings import Surroundings
from overseer.protocol.batch import Batch, lifecycle_batch
from overseer.protocol.messages import Errored, Exited, Message, Ready, Restarting, Started


class TaskEvents:
    """Tells what happens to the task of ``record``; its exits go into ``ring``, too, to be replayed.

    ``params`` are always those that anybody may see.
    """

    def __init__(
        self, record: TaskRecord, ring: RingBuffer[Batch], surroundings: Surroundings
    ) -> None:
        self._record = record
        self._ring = ring
        self._surroundings = surroundings

    def started(
        self, starters: Sequence[Starter], params: dict[str, str], *, restart_of: int | None
    ) -> None:
        """A run has begun; each of the ``starters`` is answered with the id of its request."""
        record, counters = self._record, self._counters
        now = record.last_started_at or self._surroundings.now()
        if restart_of is None:
            counters.tasks_started += 1
        else:
            counters.tasks_restarted += 1
        if record.waited_since is not None:
            counters.waited(now - record.waited_since)
        if self._surroundings.journal is not None:
            self._surroundings.journal.began(record, params)
        message = self._started(now, restart_of)
        for starter in starters:
            starter.began()
            self._answer(starter, message, now)
        told = {starter.subscriber for starter in starters}
        self._surroundings.subscriptions.publish(self._batch(message, now), besides=told)

    def attached(self, starter: Starter) -> None:
        """A starter gets the run that there is."""
        now = self._record.last_started_at or self._surroundings.now()
        self._answer(starter, self._started(now, None), now)

    def ready(self, reason: str) -> None:
        """The run has become ready, or is it no more for this reason."""
        record, now = self._record, self._surroundings.now()
        message = Ready(
            record.task_id, record.pid or 0, record.ready, format_timestamp(now), reason or None
        )
        self._publish(message, now)

    def exited(self, pid: int, outcome: Outcome, *, intentional: bool, timed_out: bool) -> None:
        """The run has ended, and all its output was told."""
        record = self._record
        now = record.last_exited_at or self._surroundings.now()
        message = Exited(
            record.task_id,
            pid,
            outcome.exit_code,
            intentional,
            format_timestamp(now),
            outcome.signal,
            "timeout" if timed_out else None,
        )
        batch = self._batch(message, now)
        self._ring.append(batch)
        self._ring.compact()
        self._surroundings.subscriptions.publish(batch)
        self._counters.run_ended(
            run_result(outcome, intentional=intentional, timed_out=timed_out),
            run_time=now - (record.last_started_at or 0),
            killed=outcome.signal == "SIGKILL" and (intentional or timed_out),
        )
        if self._surroundings.journal is not None:
            self._surroundings.journal.ended(record, outcome, intentional=intentional)

    def failed(self, reason: str, params: dict[str, str]) -> None:
        """A run could not begin; whether anybody is told depends on what follows."""
        self._counters.exits["spawn_error"] += 1
        journal = self._surroundings.journal
        if journal is not None:
            journal.failed(self._record, params, reason, self._surroundings.now())

    def cancelled(self, reason: str, params: dict[str, str]) -> None:
        """The task waits for a slot no longer, and is finished."""
        journal = self._surroundings.journal
        if journal is not None:
            journal.cancelled(self._record, params, reason, self._surroundings.now())

    def restarting(self, verdict: RetryAfter) -> None:
        """Another run follows by itself."""
        record, now = self._record, self._surroundings.now()
        delay = format_duration(verdict.delay)
        self._publish(
            Restarting(
                record.task_id, record.last_pid, delay, verdict.attempt, format_timestamp(now)
            ),
            now,
        )

    def errored(self, exit_count: int) -> None:
        """The task has failed for good, after so many exits."""
        self._errored(self._record.last_pid, exit_count, None)

    def unkillable(self) -> None:
        """The run does not end whatever is done; the task is errored."""
        record = self._record
        self._errored(record.pid or 0, 0, "unkillable")
        if self._surroundings.journal is not None:
            self._surroundings.journal.lost(record, record.error_message)

    def ended(self) -> None:
        """The task has come to its end, though a restart on request may follow; nobody is told."""
        if self._record.state == "errored":
            self._counters.tasks_errored += 1
        else:
            self._counters.tasks_completed += 1

    @property
    def _counters(self) -> ActionCounters:
        return self._surroundings.counters.of(self._record.action)

    def _started(self, now: int, restart_of: int | None) -> Started:
        record = self._record
        return Started(
            id="",
            task_id=record.task_id,
            pid=record.pid or 0,
            restart_of=restart_of,
            ts=format_timestamp(now),
        )

    def _answer(self, starter: Starter, message: Started, now: int) -> None:
        if starter.subscriber is not None:
            named = msgspec.structs.replace(message, id=starter.request_id)
            self._surroundings.subscriptions.send(starter.subscriber, self._batch(named, now))

    def _errored(self, pid: int, exit_count: int, reason: str | None) -> None:
        record = self._record
        now = record.errored_at or self._surroundings.now()
        self._publish(Errored(record.task_id, pid, exit_count, format_timestamp(now), reason), now)

    def _publish(self, message: Message, now: int) -> None:
        self._surroundings.subscriptions.publish(self._batch(message, now))

    def _batch(self, message: Message, now: int) -> Batch:
        return lifecycle_batch(self._record.task_id, message, now, self._record.last_seq)
