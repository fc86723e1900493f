"""One method for each request, with the fields of its message as parameters.

Nothing is written twice: the parameters, their types and defaults are those of the message classes in
``protocol/messages.py``, without the ``id``. Only the type of the answer is said here.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeAlias, TypeVar, overload

from overseer.client.follower import Replayed
from overseer.client.subscription import Subscription
from overseer.client.waiting import awaitable
from overseer.protocol.messages import (
    Ack,
    Actions,
    Describe,
    History,
    HistoryResponse,
    Input,
    List,
    Manifest,
    ManifestResponse,
    Message,
    Metrics,
    MetricsResponse,
    PoolInfoRequest,
    PoolInfoResponse,
    Purge,
    Purged,
    Queued,
    Replay,
    Request,
    Reset,
    Resize,
    Restart,
    SetPool,
    Signal,
    Start,
    Started,
    Stop,
    Tasks,
)

if TYPE_CHECKING:
    from overseer.client.client import Client

Events: TypeAlias = list[Message]
_Fields = ParamSpec("_Fields")
_Answer = TypeVar("_Answer", bound=Message)
_OtherAnswer = TypeVar("_OtherAnswer", bound=Message)


@overload
def _asks(
    kind: Callable[Concatenate[str, _Fields], Request], answer: type[_Answer], /
) -> Callable[Concatenate["Requests", _Fields], Coroutine[Any, Any, _Answer]]: ...


@overload
def _asks(
    kind: Callable[Concatenate[str, _Fields], Request],
    answer: type[_Answer],
    other: type[_OtherAnswer],
    /,
) -> Callable[Concatenate["Requests", _Fields], Coroutine[Any, Any, _Answer | _OtherAnswer]]: ...


def _asks(
    kind: Callable[Concatenate[str, _Fields], Request], *_answers: type[Message]
) -> Callable[Concatenate["Requests", _Fields], Coroutine[Any, Any, Message]]:
    async def ask(self: "Requests", /, *args: _Fields.args, **fields: _Fields.kwargs) -> Message:
        return await self.request(kind("", *args, **fields))

    ask.__doc__ = kind.__doc__
    return ask


def _runs(
    kind: Callable[Concatenate[str, _Fields], Request],
) -> Callable[Concatenate["Requests", _Fields], Subscription]:
    def run(self: "Requests", /, *args: _Fields.args, **fields: _Fields.kwargs) -> Subscription:
        """Start a task and return its events, the answer to the start first.

        The iteration ends when the task has ended for good: with its last ``exited``, or ``errored`` or
        ``dequeued``. It raises :class:`~overseer.client.errors.RequestRefused` when the start is refused.
        Parameters are those of :meth:`start`.
        """
        return self._client._run(kind("", *args, **fields))

    return run


class Requests(ABC):
    """What can be asked of an overseer. Each method waits for the answer and returns it.

    :raises RequestRefused: with the server's words, when it cannot be done.
    :raises RequestTimeout: when no answer comes in time.
    :raises ConnectionLost: when the connection ends before the answer; the request may have been carried
        out all the same.
    """

    @property
    @abstractmethod
    def _client(self) -> "Client":
        """What asks."""

    async def request(self, request: Request, *, timeout: float | None = -1) -> Message:
        """Send a request, whatever its ``id``, and return its answer.

        Without a connection it waits for the next one.

        :param timeout: seconds; None waits for ever. The client's own when it is not given.
        """
        return await awaitable(self._client._ask(request, timeout=timeout))

    run = _runs(Start)
    start = _asks(Start, Started, Queued)
    stop = _asks(Stop, Ack)
    restart = _asks(Restart, Started, Queued)
    reset = _asks(Reset, Started, Queued)
    input = _asks(Input, Ack)
    signal = _asks(Signal, Ack)
    resize = _asks(Resize, Ack)
    describe = _asks(Describe, Actions)
    pool_info = _asks(PoolInfoRequest, PoolInfoResponse)
    set_pool = _asks(SetPool, PoolInfoResponse)
    purge = _asks(Purge, Purged)
    metrics = _asks(Metrics, MetricsResponse)
    history = _asks(History, HistoryResponse)
    manifest = _asks(Manifest, ManifestResponse)

    async def replay(
        self, task_id: str, since: int | None = None, since_seq: int | None = None
    ) -> Events:
        """Return what can be replayed of a task: its last lines and exits, oldest first."""
        request = Replay("", task_id, since=since, since_seq=since_seq)
        replayed = Replayed(task_id)
        await awaitable(self._client._ask(request, replayed=replayed))
        return replayed.events

    def subscribe(
        self,
        task_id: str,
        *,
        since_seq: int | None = None,
        epoch: str | None = None,
        output: bool = True,
        until_end: bool = False,
    ) -> Subscription:
        """Return the events of a task, to iterate over; ``*`` means every task, present and future.

        :param since_seq: begin with the line after this one, as far as it can be replayed; without it, with
            what happens from now on.
        :param epoch: the numbering that ``since_seq`` belongs to, from an earlier ``subscribed``.
        :param output: ``False`` leaves the lines out.
        :param until_end: end when the task has ended for good, as :meth:`run` does.
        """
        return self._client._follow(
            task_id, since_seq=since_seq, epoch=epoch, output=output, until_end=until_end
        )

    async def unsubscribe(self, task_id: str) -> None:
        """End every subscription of this client to a task."""
        self._client._unfollow(task_id)

    list = _asks(List, Tasks)  # last: from here on `list` means this
