"""The events of one task, or of all, as something to iterate over.

Events wait here in the lists that they came in, so that a line costs no turn of the reactor. Whoever takes
them too slowly makes the client stop reading.
"""

import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Self, cast

from twisted.internet.defer import Deferred

from overseer.client.errors import OverseerError
from overseer.client.follower import Follower
from overseer.client.output import Event, OutputBlock
from overseer.client.waiting import awaitable
from overseer.protocol.messages import Message, Subscribed

MOST_WAITING = 16
"""Lists of events that may wait for a reader; each is at most what one read of the connection gave."""


class Subscription:
    """What happens to a task, in its order: an async iterator over messages.

    It ends when it is closed, or when nobody refers to it any more; and with an
    :class:`~overseer.client.errors.OverseerError` when nothing more can come.

    :param regulate: told whenever :attr:`behind` may have changed.
    :param abandoned: told when it is closed or nobody refers to it any more; from any thread.
    """

    def __init__(
        self,
        task_id: str,
        *,
        since_seq: int | None = None,
        epoch: str | None = None,
        output: bool = True,
        until_end: bool = False,
        regulate: Callable[["Subscription"], object],
        abandoned: Callable[[Follower], object],
    ) -> None:
        # The session must not keep this alive.
        itself = weakref.ref(self)

        def deliver(events: Sequence[Event]) -> None:
            subscription = itself()
            if subscription is not None:
                subscription._take(events)

        def begun(answer: Subscribed) -> None:
            subscription = itself()
            if subscription is not None:
                subscription.subscribed = answer

        def ended(error: OverseerError | None) -> None:
            subscription = itself()
            if subscription is not None:
                subscription.end(error)

        self.follower = Follower(
            task_id,
            deliver=deliver,
            begun=begun,
            ended=ended,
            since_seq=since_seq,
            epoch=epoch,
            output=output,
            until_end=until_end,
        )
        self._regulate = regulate
        self._abandoned = abandoned
        self._waiting: list[Sequence[Event]] = []
        self._wanted: Deferred[None] | None = None
        self._ended = False
        self._error: OverseerError | None = None
        self.subscribed: Subscribed | None = None
        """What the server answered last: where its lines begin and end, and their epoch."""

    @property
    def task_id(self) -> str:
        """The task; ``*`` for every one."""
        return self.follower.task_id

    @property
    def last_seq(self) -> int:
        """The number of the last line that came."""
        return self.follower.last_seq

    @property
    def behind(self) -> bool:
        """Whether so much waits to be taken that no more should be read."""
        return len(self._waiting) > MOST_WAITING and not self._ended

    def close(self) -> None:
        """End the iteration, and the subscription if nobody else here follows the task."""
        if not self._ended:
            self.end(None)
            self._waiting.clear()
            self._abandoned(self.follower)

    async def __aiter__(self) -> AsyncIterator[Message]:
        async for events in self.batches():
            for event in events:
                yield event

    async def batches(self) -> AsyncIterator[list[Message]]:
        """Iterate over lists of events: all that have come since the last one was taken."""
        async for waiting in self._taken():
            yield [event for events in waiting for event in _each(events)]

    async def blocks(self) -> AsyncIterator[list[Event]]:
        """Iterate over the same lists, where very many lines are not a message each.

        Lines of one stream that came together may be one :class:`~overseer.client.output.OutputBlock`.
        """
        async for waiting in self._taken():
            yield [event for events in waiting for event in events]

    async def _taken(self) -> AsyncIterator[list[Sequence[Event]]]:
        while True:
            while not self._waiting:
                if self._ended:
                    if self._error is not None:
                        raise self._error
                    return
                if self._wanted is not None:
                    raise RuntimeError("somebody else waits for these events: subscribe once more")
                self._wanted = Deferred(self._unwanted)
                self.follower.waiting_reader = self
                await awaitable(self._wanted)
            waiting, self._waiting = self._waiting, []
            self._regulate(self)
            yield waiting

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._ended:
            self._abandoned(self.follower)

    def _unwanted(self, _cancelled: Deferred[None]) -> None:
        self._wanted = self.follower.waiting_reader = None

    def _take(self, events: Sequence[Event]) -> None:
        if self._ended:
            return
        self._waiting.append(events)
        if self._wanted is not None:
            self._wake()
        elif self.behind:
            self._regulate(self)

    def end(self, error: OverseerError | None) -> None:
        """Nothing more will come, but what waits can still be taken: for the client."""
        self._ended = True
        self._error = error
        self._regulate(self)
        self._wake()

    def _wake(self) -> None:
        wanted, self._wanted = self._wanted, None
        self.follower.waiting_reader = None
        if wanted is not None:
            wanted.callback(None)


def _each(events: Sequence[Event]) -> Sequence[Message]:
    """Return events of one kind as messages."""
    first = events[0]
    return first.messages() if isinstance(first, OutputBlock) else cast("Sequence[Message]", events)
