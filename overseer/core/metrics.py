"""What is counted in memory: starts, ends, restarts, lines and what happens in queues."""

import attrs


@attrs.define
class ActionCounters:
    """Counters of one action since the daemon started."""

    tasks_started: int = 0
    tasks_completed: int = 0
    tasks_errored: int = 0
    tasks_restarted: int = 0
    total_output_lines: int = 0


@attrs.define
class Counters(ActionCounters):
    """Counters of the whole daemon."""

    enqueued: int = 0
    dequeued: int = 0
    displaced: int = 0
    expired: int = 0
    actions: dict[str, ActionCounters] = attrs.field(factory=dict)

    def of(self, action: str) -> ActionCounters:
        """Return the counters of one action."""
        counters = self.actions.get(action)
        if counters is None:
            counters = self.actions[action] = ActionCounters()
        return counters

    def started(self, action: str) -> None:
        """A start or reset has led to a run."""
        self.tasks_started += 1
        self.of(action).tasks_started += 1

    def restarted(self, action: str) -> None:
        """A run has begun by itself."""
        self.tasks_restarted += 1
        self.of(action).tasks_restarted += 1

    def ended(self, action: str, *, errored: bool) -> None:
        """A task has finished."""
        for counters in (self, self.of(action)):
            if errored:
                counters.tasks_errored += 1
            else:
                counters.tasks_completed += 1

    def output(self, action: str, lines: int) -> None:
        """A task has told so many lines."""
        self.total_output_lines += lines
        self.of(action).total_output_lines += lines

    def left_queue(self, reason: str) -> None:
        """A task has left a queue without running."""
        self.dequeued += 1
        if reason == "displaced":
            self.displaced += 1
        elif reason == "expired":
            self.expired += 1
