"""Who reads the events of a task, from where on, and which of those that come are news to it."""

from collections import deque
from collections.abc import Callable, Sequence

from overseer.client.errors import OverseerError
from overseer.client.output import Event, OutputBlock
from overseer.protocol.messages import Exited, Lagged, Message, Output, Subscribed

EVERY_TASK = "*"
_REMEMBERED_EXITS = 100


class Follower:
    """One reader of the events of a task: from where on it reads, and how far it is.

    :param task_id: the task, ``*`` for every one.
    :param deliver: takes events, some at a time.
    :param begun: told by each connection where the server begins.
    :param ended: told when nothing more will come: why, None when it was asked for.
    :param since_seq: begin with the line after this one; None = with what happens from now on.
    :param epoch: the numbering that ``since_seq`` belongs to.
    :param output: ``False`` leaves out the lines.
    :param until_end: end when the task has ended for good.
    """

    def __init__(
        self,
        task_id: str,
        *,
        deliver: Callable[[Sequence[Event]], object],
        begun: Callable[[Subscribed], object],
        ended: Callable[[OverseerError | None], object],
        since_seq: int | None = None,
        epoch: str | None = None,
        output: bool = True,
        until_end: bool = False,
    ) -> None:
        self.task_id = task_id
        self.until_end = until_end
        self.gone = False
        """Whether nobody wants its events any more."""
        self.waiting_reader: object = None
        """Who waits for the next event. It lives as long: a coroutine that only waits has no other owner."""
        self.output = output
        self.since_seq = since_seq
        self.epoch = epoch
        self.last_seq = since_seq or 0
        self.ended = ended
        self._begun = begun
        self._deliver = deliver
        # One that begins in the past gets nothing newer before that.
        self._placed = since_seq is None
        self._known = False
        self._exits: deque[Exited] = deque(maxlen=_REMEMBERED_EXITS)

    def take(self, events: Sequence[Event]) -> None:
        """Take events of one kind as they came: lines, or a single other event."""
        if not self._placed:
            return
        last = events[-1]
        if isinstance(last, Output | OutputBlock):
            self.last_seq = last.seq
            if not self.output:
                return
        elif isinstance(last, Lagged):
            if last.to_seq <= self.last_seq and self.task_id != EVERY_TASK:
                return
            self.last_seq = last.to_seq
        elif isinstance(last, Exited):
            if last in self._exits:
                return  # told again by a resume
            self._exits.append(last)
        self._deliver(events)

    def bind(self, task_id: str) -> None:
        """The task that was asked for is this one, and nothing of it is missing from here on."""
        self.task_id = task_id
        self._known = True

    def subscribed(self, answer: Subscribed) -> int:
        """The server goes on from here; return the last line of what it sends again, 0 for none."""
        first, last = answer.first_seq or 1, answer.last_seq or 0
        since = self.since_seq
        if since is None:
            self.last_seq = max(self.last_seq, last)
            again = 0
        else:
            if since > last or (self.epoch is not None and self.epoch != answer.epoch):
                since = 0
            self.last_seq = since
            again = last if max(since + 1, first) <= last else 0
        self.epoch = answer.epoch
        self._placed = self._known = True
        self._begun(answer)
        return again

    def interrupted(self) -> None:
        """The connection is gone: the next one begins where this one ended."""
        if self._known and self.task_id != EVERY_TASK:
            self.since_seq = self.last_seq
            self._placed = False


class Replayed:
    """Collects what one ``replay`` sends of a task, among what else is told of it meanwhile."""

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        self.events: list[Message] = []
        self._last_seq = 0

    def take(self, events: list[Message]) -> None:
        """Take events; when the numbers go back, the replay begins, and what was before is no part of it."""
        for event in events:
            if isinstance(event, Output):
                if event.seq <= self._last_seq:
                    self.events.clear()
                self._last_seq = event.seq
            self.events.append(event)


def rising(lines: list[Message], last_seq: int) -> list[Message]:
    """Return the lines numbered above ``last_seq``, each number once."""
    new = []
    for line in lines:
        if line.seq > last_seq:  # type: ignore[attr-defined]
            last_seq = line.seq  # type: ignore[attr-defined]
            new.append(line)
    return new
