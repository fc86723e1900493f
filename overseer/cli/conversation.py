"""Runs one command against a daemon: connects, and turns what goes wrong into one line and a status.

Here alone a command line meets the reactor. Twisted is imported with this module and not before.
"""

import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from overseer.cli.exit_status import BROKEN_PIPE, CommandError, ExitStatus
from overseer.cli.names import no_such_action
from overseer.client import (
    Client,
    ConnectionLost,
    ConnectionRefused,
    Forbidden,
    OverseerError,
    RequestRefused,
    RequestTimeout,
    Unauthorized,
    connect,
)
from overseer.protocol.messages import ActionInfo

reactor: Any = _reactor
"""Twisted's global one, whose interfaces differ by platform."""

Body: TypeAlias = Callable[[Client], Coroutine[Any, Any, int | None]]

_FAILURES: tuple[tuple[type[OverseerError], ExitStatus, str], ...] = (
    (Unauthorized, ExitStatus.DENIED, "set OVERSEER_TOKEN or --token"),
    (Forbidden, ExitStatus.DENIED, "its trusted_cidrs say who may connect"),
    (ConnectionRefused, ExitStatus.UNREACHABLE, "start one with `overseer`, or set OVERSEER_URL"),
    (ConnectionLost, ExitStatus.LOST, "see what the daemon has logged"),
    (RequestTimeout, ExitStatus.TIMED_OUT, "see whether the daemon is busy"),
)

_REFUSALS: tuple[tuple[str, ExitStatus, str], ...] = (
    ("not permitted: ", ExitStatus.DENIED, "set OVERSEER_TOKEN to the token of an admin"),
    ("validation error: ", ExitStatus.REFUSED, "`overseer actions` shows the parameters"),
    ("pool rejected task: ", ExitStatus.REFUSED, "`overseer pools` shows how full they are"),
    ("duplicate task: ", ExitStatus.REFUSED, "--on-duplicate says what to do then"),
    (
        "task is not in errored state",
        ExitStatus.REFUSED,
        "`overseer restart` starts any task again",
    ),
    ("unknown signal: ", ExitStatus.REFUSED, "they are called as by `kill -l`: HUP, USR1, INT …"),
    ("task already running", ExitStatus.REFUSED, "--on-duplicate says what to do then"),
)
"""How the words of an ``error`` begin (protocol.md section 2), and what is to be done about it."""


def refused(words: str) -> CommandError:
    """Return the error for what the daemon has refused."""
    for beginning, status, advice in _REFUSALS:
        if words.startswith(beginning):
            return CommandError(status, words, advice)
    return CommandError(ExitStatus.REFUSED, words)


def converse(url: str, token: str | None, body: Body) -> int:
    """Connect, run ``body`` to its end, and return the status that it returns, 0 for None.

    :raises CommandError: when there is no connection, or the daemon did not do what ``body`` asked.
    """

    async def whole() -> int:
        async with await connect(url, token=token) as client:
            return await body(client) or 0

    return run_reactor(whole())


def run_reactor(whole: Coroutine[Any, Any, int]) -> int:
    """Run a coroutine to its end, and return what it returns.

    :raises CommandError: for whatever the client library has to say.
    """
    result = outcome(whole)
    if not isinstance(result, Failure):
        return result
    error = result.value
    assert error is not None
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE
    if isinstance(error, OSError):  # all those of a connection are of the family
        raise CommandError(ExitStatus.FAILED, f"cannot print: {error.strerror}") from error
    if isinstance(error, RequestRefused):
        raise refused(error.message) from error
    for kind, status, advice in _FAILURES:
        if isinstance(error, kind):
            raise CommandError(status, str(error), advice) from error
    if isinstance(error, ValueError):  # what an address or a value looks like
        raise CommandError(ExitStatus.USAGE, str(error)) from error
    raise error


def outcome(whole: Coroutine[Any, Any, int]) -> int | Failure:
    """Run the reactor until a coroutine has ended; return what it returns or raises."""
    results: list[int | Failure] = []

    def begin() -> None:
        ended = Deferred.fromCoroutine(whole)
        ended.addBoth(results.append)
        ended.addBoth(lambda _: reactor.stop())

    # Whoever has nothing to end in order goes at once, by the signal itself.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    reactor.callWhenRunning(begin)
    reactor.run(installSignalHandlers=False)
    (result,) = results
    return result


async def require_action(client: Client, action: str) -> ActionInfo:
    """Return what is known of an action.

    :raises CommandError: when there is none, with what was meant, maybe.
    """
    known = {one.name: one for one in (await client.describe()).actions}
    if action not in known:
        raise no_such_action(action, known)
    return known[action]
