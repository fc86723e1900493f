"""Tells URLs how tasks end: one event after the other to each, again when it fails, and never in the way.

What is sent where, and when again, is decided in ``core/webhooks.py``.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence

import attrs
import msgspec
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from overseer.core.webhooks import (
    QUEUE_SIZE,
    Verdict,
    Webhook,
    delay_after,
    event_of,
    signature,
    verdict,
)
from overseer.protocol.batch import Batch
from overseer.protocol.frames import payloads

CLOSE_TIMEOUT = 3.0
"""Seconds that a shutdown waits for what is still to be delivered."""

Post = Callable[[str, bytes, Mapping[str, str], float], Deferred[int]]
"""Sends a body with headers to a URL within seconds; gives the status of the answer."""


@attrs.frozen(kw_only=True)
class _Delivery:
    """One event on its way to one URL; its ``number`` is the same in every attempt."""

    number: str
    event: str
    body: bytes


class Webhooks:
    """All webhooks of a daemon.

    :param action_of: gives the action of a task that there is.
    :param new_id: makes the number of a delivery.
    :param random: gives numbers in [0, 1).
    """

    def __init__(
        self,
        clock: IReactorTime,
        hooks: Sequence[Webhook],
        action_of: Callable[[str], str],
        *,
        post: Post,
        new_id: Callable[[], str],
        random: Callable[[], float],
    ) -> None:
        self._clock = clock
        self._action_of = action_of
        self._new_id = new_id
        self._queues = [_Queue(clock, hook, post, random) for hook in hooks]

    def record(self, batch: Batch) -> None:
        """Take an event, as a :data:`~overseer.lifecycle.subscriptions.Sink`; output is none."""
        if batch.droppable:
            return
        for payload in payloads(batch.frames):
            message: dict[str, object] = msgspec.json.decode(payload)
            event = event_of(message)
            if event is None:
                continue
            action = self._action_of(batch.task_id)
            wanted = [queue for queue in self._queues if queue.hook.wants(event, action)]
            if wanted:
                body = msgspec.json.encode({**message, "action": action})
                delivery = _Delivery(number=self._new_id(), event=event, body=body)
                for queue in wanted:
                    queue.add(delivery)

    def close(self) -> Deferred[object]:
        """Deliver what waits, each at most once more; fires within a few seconds in any case."""
        timer = self._clock.callLater(CLOSE_TIMEOUT, self._give_up)

        def closed(_results: object) -> None:
            if timer.active():
                timer.cancel()

        return DeferredList([queue.finish() for queue in self._queues]).addCallback(closed)

    def _give_up(self) -> None:
        for queue in self._queues:
            queue.give_up()


class _Queue:
    """What waits for one webhook. One delivery is under way at a time, so that events keep their order."""

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, hook: Webhook, post: Post, random: Callable[[], float]
    ) -> None:
        self.hook = hook
        self._clock = clock
        self._post = post
        self._random = random
        self._waiting: deque[_Delivery] = deque()
        self._dropped = 0
        self._busy = False
        self._working: Deferred[None] = Deferred()
        self._pause: Deferred[None] | None = None
        self._closing = False

    def add(self, delivery: _Delivery) -> None:
        if len(self._waiting) >= QUEUE_SIZE:
            self._waiting.popleft()
            self._dropped += 1
            if self._dropped == 1:
                self._log.warn(
                    "webhook {url}: {size} events wait, the oldest are dropped",
                    url=self.hook.shown,
                    size=QUEUE_SIZE,
                )
        self._waiting.append(delivery)
        if not self._busy:
            self._busy = True
            self._working = Deferred.fromCoroutine(self._work())

    def finish(self) -> Deferred[None]:
        """Fire once nothing waits; what fails from now on is not tried again."""
        self._closing = True
        if self._pause is not None:
            self._pause.cancel()
        finished: Deferred[None] = Deferred()
        if self._busy:
            self._working.addBoth(lambda _: finished.callback(None))
        else:
            finished.callback(None)
        return finished

    def give_up(self) -> None:
        """End what is under way."""
        if self._busy:
            lost = len(self._waiting) + 1
            self._waiting.clear()
            self._log.warn("webhook {url}: events lost: {lost}", url=self.hook.shown, lost=lost)
            self._working.cancel()

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._deliver(self._waiting.popleft())
                self._tell_dropped()
        except CancelledError:
            pass
        finally:
            self._busy = False

    async def _deliver(self, delivery: _Delivery) -> None:
        attempt = 1
        while True:
            outcome, reason = await self._send(delivery)
            if outcome == "delivered":
                return
            delay = delay_after(attempt, self._random())
            if outcome == "refused" or delay is None or self._closing:
                self._log.warn(
                    "webhook {url}: {event} not delivered in {attempts} attempts: {reason}",
                    url=self.hook.shown,
                    event=delivery.event,
                    attempts=attempt,
                    reason=reason,
                )
                return
            attempt += 1
            await self._wait(delay)

    async def _send(self, delivery: _Delivery) -> tuple[Verdict, str]:
        hook = self.hook
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "overseer",
            "X-Overseer-Event": delivery.event,
            "X-Overseer-Delivery": delivery.number,
        }
        if hook.secret:
            headers["X-Overseer-Signature-256"] = signature(hook.secret, delivery.body)
        try:
            status = await self._post(hook.url, delivery.body, headers, hook.timeout)
        except CancelledError:
            raise
        except Exception as error:
            return "again", str(error) or type(error).__name__
        return verdict(status), f"status {status}"

    async def _wait(self, delay: float) -> None:
        self._pause = deferLater(self._clock, delay)
        try:
            await self._pause
        except CancelledError:
            if not self._closing:
                raise
        finally:
            self._pause = None

    def _tell_dropped(self) -> None:
        dropped, self._dropped = self._dropped, 0
        if dropped:
            self._log.warn(
                "webhook {url}: events dropped: {count}", url=self.hook.shown, count=dropped
            )
