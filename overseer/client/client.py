"""A client of an overseer: requests to await, events to iterate over, one connection that comes back."""

import random
from collections.abc import Sequence
from typing import Any, Self
from weakref import WeakSet

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from overseer.client.backoff import waiting_time
from overseer.client.errors import ConnectionLost, ConnectionRefused, OverseerError, RequestTimeout
from overseer.client.follower import Follower, Replayed
from overseer.client.link import Dial, Link
from overseer.client.output import OutputBlock
from overseer.client.requests import Requests
from overseer.client.session import ClientSession
from overseer.client.subscription import Subscription
from overseer.client.waiting import awaitable
from overseer.protocol.messages import Message, Request, tag_of

REQUEST_TIMEOUT = 30.0
"""Seconds that an answer may take, unless the caller says otherwise."""


class Client(Requests):
    """One client of an overseer; :func:`~overseer.client.connect` makes it.

    :param dial: makes a connection.
    :param timeout: seconds for an answer; None waits for ever.
    :param reconnect: whether a lost connection is made again.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        dial: Dial,
        *,
        timeout: float | None = REQUEST_TIMEOUT,
        reconnect: bool = True,
    ) -> None:
        self._reactor = reactor
        self._dial = dial
        self._timeout = timeout
        self._reconnects = reconnect
        self._session = ClientSession(self._unknown)
        self._link: Link | None = None
        self._attempt = 0
        self._wait: IDelayedCall | None = None
        self._closed = False
        self._error: OverseerError | None = None
        self._behind: WeakSet[Subscription] = WeakSet()
        self._paused = False
        self._gone: list[Deferred[None]] = []

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._link is not None

    async def connect(self) -> None:
        """Make the first connection.

        :raises ConnectionRefused: when there is none now; with a hint why.
        """
        link = await self._dial(self)
        if self._closed:
            link.close()
            return
        self._link = link
        self._session.connected(link.send)

    async def close(self) -> None:
        """End the connection. What is waited for fails, every iteration ends."""
        self.give_up(None)
        if self._link is not None:
            gone: Deferred[None] = Deferred()
            self._gone.append(gone)
            self._link.close()
            await awaitable(gone)

    def give_up(self, error: OverseerError | None) -> None:
        """Connect no more: what is waited for fails with ``error``, every iteration ends with it."""
        if self._closed:
            return
        self._closed = True
        self._error = error
        if self._wait is not None:
            self._wait.cancel()
            self._wait = None
        self._session.close(error)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    # ------------------------------------------------------------------------------- from the connection

    def received(self, messages: Sequence[bytes | OutputBlock]) -> None:
        """See :class:`~overseer.client.link.Receiver`."""
        self._attempt = 0
        self._session.receive(messages)
        self._regulate()

    def lost(self, reason: str) -> None:
        """See :class:`~overseer.client.link.Receiver`."""
        self._link = None
        self._paused = False
        gone, self._gone = self._gone, []
        for waiting in gone:
            waiting.callback(None)
        if self._closed:
            return
        self._session.disconnected(reason)
        if self._reconnects:
            self._log.info("the connection was lost: {reason}", reason=reason)
            self._connect_later()
        else:
            self.give_up(ConnectionLost(reason))

    # -------------------------------------------------------------------------------------------- helpers

    def _connect_later(self) -> None:
        self._attempt += 1
        seconds = waiting_time(self._attempt, random.random())
        self._wait = self._reactor.callLater(seconds, self._reconnect)

    def _reconnect(self) -> None:
        self._wait = None
        Deferred.fromCoroutine(self._try_again()).addErrback(
            lambda failure: self._log.failure("no attempt to connect any more", failure)
        )

    async def _try_again(self) -> None:
        try:
            await self.connect()
        except ConnectionRefused as error:
            if self._closed:
                return
            if error.permanent:
                self.give_up(error)
            else:
                self._connect_later()

    @property
    def _client(self) -> "Client":
        return self

    def _follow(self, task_id: str, **follower: Any) -> Subscription:
        subscription = self._subscription(task_id, **follower)
        if self._closed:
            subscription.end(self._error)
        else:
            self._session.follow(subscription.follower)
        return subscription

    def _unfollow(self, task_id: str) -> None:
        for follower in self._session.followers_of(task_id):
            self._session.unfollow(follower)
            follower.ended(None)

    def _ask(
        self,
        request: Request,
        *,
        timeout: float | None = -1,
        replayed: Replayed | None = None,
        follower: Follower | None = None,
    ) -> Deferred[Message]:
        answer: Deferred[Message] = Deferred(lambda _: give_up(None))
        expiry: IDelayedCall | None = None

        def answered(message: Message | OverseerError) -> None:
            if expiry is not None and expiry.active():
                expiry.cancel()
            if isinstance(message, OverseerError):
                answer.errback(message)
            else:
                answer.callback(message)

        def give_up(error: OverseerError | None) -> None:
            if expiry is not None and expiry.active():
                expiry.cancel()
            self._session.forget(request_id)
            self._regulate()
            if error is not None:
                answer.errback(error)

        if self._closed:
            answer.errback(self._error or ConnectionLost("the client is closed"))
            return answer
        seconds = self._timeout if timeout == -1 else timeout
        request_id = self._session.ask(request, answered, follower=follower, replayed=replayed)
        if seconds is not None and not answer.called:
            name = tag_of(type(request))
            error = RequestTimeout(f"{name}: no answer within {seconds:g} seconds")
            expiry = self._reactor.callLater(seconds, give_up, error)
        self._regulate()  # an answer may stand behind what is not read
        return answer

    def _run(self, request: Request) -> Subscription:
        subscription = self._subscription("", until_end=True)

        def refused(failure: Failure) -> None:
            if isinstance(failure.value, OverseerError):
                subscription.end(failure.value)

        self._ask(request, follower=subscription.follower).addErrback(refused)
        return subscription

    def _subscription(self, task_id: str, **follower: Any) -> Subscription:
        return Subscription(
            task_id,
            regulate=self._reading_changed,
            # Maybe by the garbage collector, in whatever thread.
            abandoned=lambda follower: self._reactor.callFromThread(self._abandon, follower),
            **follower,
        )

    def _abandon(self, follower: Follower) -> None:
        self._session.unfollow(follower)
        self._regulate()

    def _reading_changed(self, subscription: Subscription) -> None:
        if subscription.behind:
            self._behind.add(subscription)
        else:
            self._behind.discard(subscription)
        self._regulate()

    def _regulate(self) -> None:
        # While an answer is outstanding all is read: who waits for it may be the one that is behind.
        paused = bool(self._behind) and not self._session.waiting
        if self._link is not None and paused != self._paused:
            self._paused = paused
            if paused:
                self._link.pause()
            else:
                self._link.resume()

    def _unknown(self, what: str) -> None:
        self._log.warn("{what}", what=what)
