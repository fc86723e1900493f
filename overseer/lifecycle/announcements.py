"""What is told to all clients, subscribed or not: who waits, who waits no more, how pools have changed."""

from collections.abc import Callable

from twisted.logger import Logger

from overseer.core.timestamps import format_timestamp
from overseer.lifecycle.subscriptions import Subscriber
from overseer.protocol.batch import Batch, lifecycle_batch
from overseer.protocol.messages import Dequeued, Message, PoolInfo, PoolUpdated, Queued


class Announcements:
    """All connected clients. ``now`` gives microseconds since the epoch, ``record`` keeps each event once."""

    _log = Logger()

    def __init__(self, now: Callable[[], int], record: Callable[[Batch], object]) -> None:
        self._now = now
        self._record = record
        self._clients: dict[Subscriber, None] = {}

    def join(self, client: Subscriber) -> None:
        """Tell a client everything from now on."""
        self._clients[client] = None

    def leave(self, client: Subscriber) -> None:
        """Tell a client nothing any more."""
        self._clients.pop(client, None)

    def queued(
        self, task_id: str, action: str, position: int, request_id: str, caller: Subscriber | None
    ) -> None:
        """A task waits; the ``caller``, who may be no client, is told with the id of its request."""
        moment = self._now()

        def message(echoed: str) -> Queued:
            return Queued(
                id=echoed,
                task_id=task_id,
                action=action,
                position=position,
                ts=format_timestamp(moment),
            )

        if caller is not None:
            self._send(caller, lifecycle_batch(task_id, message(request_id), moment, 0))
        self._tell(task_id, message(""), moment, besides=caller)

    def dequeued(self, task_id: str, reason: str) -> None:
        """A task waits no more and does not run."""
        moment = self._now()
        self._tell(task_id, Dequeued(task_id, reason, format_timestamp(moment)), moment)

    def pool_updated(self, action: str | None, pool: PoolInfo) -> None:
        """The limits of a pool have changed."""
        self._tell("", PoolUpdated(action=action, pool=pool), self._now())

    def _tell(
        self, task_id: str, message: Message, moment: int, besides: Subscriber | None = None
    ) -> None:
        batch = lifecycle_batch(task_id, message, moment, 0)
        for client in list(self._clients):
            if client is not besides:
                self._send(client, batch)
        self._record(batch)

    def _send(self, client: Subscriber, batch: Batch) -> None:
        try:
            client.send_batch(batch)
        except Exception:
            self._log.failure("a client could not be told")
