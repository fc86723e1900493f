"""The record of a task: what is known of it, as plain data.

State is read from here, never from the state machine. Instants are microseconds since the epoch.
"""

from collections.abc import Mapping
from typing import Literal

import attrs

State = Literal["active", "stopped", "errored", "queued"]
RunState = Literal["running", "exited", "lost", "failed", "cancelled"]
"""``lost``: the daemon ended first; ``failed``: it could not begin; ``cancelled``: it left its queue."""
FINISHED: tuple[State, ...] = ("stopped", "errored")


@attrs.define(kw_only=True)
class TaskRecord:
    """One task over all its runs.

    ``last_seq`` numbers its output lines over all runs; ``epoch`` names that numbering, and up to
    ``inherited_seq`` it is that of an earlier overseer. ``intentional`` tells whether the current run was asked
    to end. ``run`` counts runs from 1; ``first_run`` tells whether the next or current one is a start and no
    restart. ``run_time`` adds up all ended runs. ``waited_since`` is when that run was queued, None if it was
    not; its lines are those after ``seq_before_run``, of ``output_bytes`` bytes with their line ends. ``ready``
    tells whether the current run is, ``waiting_for`` what other actions the task waits for.
    """

    task_id: str
    epoch: str
    created_at: int
    action: str = ""
    params: Mapping[str, str] = attrs.field(factory=dict)
    state: State = "stopped"
    run: int = 0
    last_seq: int = 0
    inherited_seq: int = 0
    restart_count: int = 0
    pid: int | None = None
    last_pid: int = 0
    first_run: bool = True
    run_time: int = 0
    queued_at: int | None = None
    waited_since: int | None = None
    seq_before_run: int = 0
    output_bytes: int = 0
    errored_at: int | None = None
    intentional: bool = False
    last_started_at: int | None = None
    last_exited_at: int | None = None
    last_exit_code: int | None = None
    last_signal: str | None = None
    error_message: str = ""
    ready: bool = False
    waiting_for: tuple[str, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether nothing of the task runs or is about to."""
        return self.state in FINISHED

    @property
    def last_activity_at(self) -> int:
        """When something last happened to the task itself, output aside."""
        return max(
            self.created_at,
            self.last_started_at or 0,
            self.last_exited_at or 0,
            self.queued_at or 0,
            self.errored_at or 0,
        )
