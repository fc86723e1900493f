"""One method for each request, with the fields of its message as parameters.

Nothing is written twice: the parameters, their types and defaults are those of the message classes in
``protocol/messages.py``, without the ``id``. Only the type of the answer is said here.
"""

from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar, overload

from overseer.protocol.messages import (
    Ack,
    Actions,
    Describe,
    History,
    HistoryResponse,
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
    Request,
    Reset,
    Restart,
    SetPool,
    Start,
    Started,
    Stop,
    Tasks,
)

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


class Requests:
    """What can be asked of an overseer. Each method waits for the answer and returns it.

    :raises RequestRefused: with the server's words, when it cannot be done.
    :raises RequestTimeout: when no answer comes in time.
    :raises ConnectionLost: when the connection ends before the answer; the request may have been carried
        out all the same.
    """

    async def request(self, request: Request) -> Message:
        """Send a request and return its answer."""
        raise NotImplementedError

    start = _asks(Start, Started, Queued)
    stop = _asks(Stop, Ack)
    restart = _asks(Restart, Started, Queued)
    reset = _asks(Reset, Started, Queued)
    list = _asks(List, Tasks)
    describe = _asks(Describe, Actions)
    pool_info = _asks(PoolInfoRequest, PoolInfoResponse)
    set_pool = _asks(SetPool, PoolInfoResponse)
    purge = _asks(Purge, Purged)
    metrics = _asks(Metrics, MetricsResponse)
    history = _asks(History, HistoryResponse)
    manifest = _asks(Manifest, ManifestResponse)
