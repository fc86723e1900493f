"""What the commands do that follow a task: run, logs, wait."""

import os
import signal
from collections.abc import Callable, Coroutine, Sequence
from types import FrameType
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from overseer.cli.conversation import reactor, refused
from overseer.cli.exit_status import INTERRUPTED, CommandError, ExitStatus, of_task
from overseer.cli.outlet import MOST_WAITING, Outlet
from overseer.cli.past import find_task_or_run, how_it_ended, status_of
from overseer.cli.printer import Printer
from overseer.cli.stdin import give_stdin
from overseer.cli.tables import print_json
from overseer.cli.tasks import find, start_fields
from overseer.cli.terminal import notice
from overseer.client import Client, OverseerError, RequestRefused, Subscription
from overseer.client.output import Event
from overseer.core.process import Stream
from overseer.core.task import FINISHED
from overseer.protocol.messages import (
    Dequeued,
    Error,
    Errored,
    Exited,
    Message,
    Output,
    Run,
    Started,
    TaskInfo,
)

RECONNECT_FOR = 10.0
"""Seconds for which a lost connection is made again before a command gives up."""
_LOOK_INTERVAL = 0.2
_READS_NOTHING = "input: the action's configuration"
"""How the daemon refuses input for a task that has no stdin to write to."""


async def run(
    client: Client, *, as_json: bool, action: str, timestamps: bool, stdin: bool, **options: Any
) -> int:
    """Run a task to its end; Ctrl-C stops it, once more kills it, and so does whatever ends the printing."""
    fields = await start_fields(client, action, **options)
    events = client.run(action, **fields)
    feed = _Feed(client, events)
    end = _End(feed.begin if stdin else None)
    _stop_on_signals(client, lambda: events.task_id or fields["task_id"])
    try:
        await end.follow(client, events, _printer(timestamps=timestamps, as_json=as_json))
    except OSError:  # nobody reads any more, or the disk is full
        await client.stop(events.task_id)
        raise
    if feed.error is not None:
        raise feed.error
    return end.status()


async def logs(
    client: Client,
    *,
    as_json: bool,
    task: str,
    follow: bool,
    lines: int | None,
    since: int | None,
    stdout: bool,
    stderr: bool,
    timestamps: bool,
) -> int:
    """Print what is kept of a task's output, and with ``follow`` what comes after it."""
    info = await find_task_or_run(client, task)
    if isinstance(info, Run):
        what = f'the output of task "{info.task_id}" is not kept any more'
        raise CommandError(ExitStatus.NO_TASK, what, how_it_ended(info))
    only: Stream | None = None
    if stdout != stderr:
        only = "stdout" if stdout else "stderr"
    printer = _printer(timestamps=timestamps, as_json=as_json, only=only, from_what_is_kept=True)
    kept = await client.replay(info.task_id, since=since)
    printer.print(kept if lines is None else _last_lines(kept, lines, only))
    await printer.outlet.settled()
    end = _End()
    end.take(kept)
    if follow and info.state not in FINISHED:
        last_seq = max((event.seq for event in kept if isinstance(event, Output)), default=0)
        if since is not None and not last_seq:
            metrics = (await client.metrics(task_id=info.task_id)).task
            last_seq = (metrics.last_seq or metrics.output_lines) if metrics else 0
        events = client.subscribe(info.task_id, since_seq=last_seq, until_end=True)
        await end.follow(client, events, printer)
        return end.status()
    return end.status_of(info) if info.state in FINISHED else 0


async def wait(client: Client, *, as_json: bool, task: str, timeout: float | None) -> int:
    """Wait for the end of a task."""
    found = await find_task_or_run(client, task)
    if isinstance(found, Run):
        if as_json:
            print_json(found)
        return status_of(found)
    task_id = found.task_id
    events = client.subscribe(task_id, output=False, until_end=True)
    # Asked for after the subscription, so that no end falls between the two.
    info = await find(client, task_id)
    end = _End()
    if info.state in FINISHED:
        events.close()
        end.take(await client.replay(task_id))
    else:
        expiry = None if timeout is None else reactor.callLater(timeout, events.close)
        await end.follow(client, events)
        if expiry is not None and not expiry.active():
            raise CommandError(ExitStatus.TIMED_OUT, f'task "{task_id}" has not ended in that time')
        if expiry is not None:
            expiry.cancel()
    if as_json:
        print_json(end.exited or await find(client, task_id))
    return end.status_of(info)


class _Feed:
    """I give a task what comes on stdin, once; ``error`` tells why it was stopped instead."""

    def __init__(self, client: Client, events: Subscription) -> None:
        self._client = client
        self._events = events
        self._begun = False
        self.error: CommandError | None = None

    def begin(self) -> None:
        """Begin, when its first run has."""
        if not self._begun:
            self._begun = True
            Deferred.fromCoroutine(self._feed(self._events.task_id))

    async def _feed(self, task_id: str) -> None:
        try:
            await give_stdin(self._client, task_id)
            await self._client.input(task_id, eof=True)
        except CommandError as error:
            self._stop(task_id, error)
        except RequestRefused as error:
            # Else it has read all that it wanted, or has ended.
            if error.message.startswith(_READS_NOTHING):
                self._stop(task_id, refused(error.message))
        except OverseerError:
            pass  # who follows the task has to do with a lost connection, too

    def _stop(self, task_id: str, error: CommandError) -> None:
        self.error = error
        _send(lambda: self._client.stop(task_id))


class _End:
    """How a task has ended, by its events; ``exited`` is the last exit among them.

    :param begun: called when a run begins.
    """

    def __init__(self, begun: Callable[[], object] | None = None) -> None:
        self._begun = begun
        self.exited: Exited | None = None
        self._last: Event | None = None
        self._connected = True

    async def follow(
        self, client: Client, events: Subscription, printer: Printer | None = None
    ) -> None:
        """Take events until there are no more, and print them."""
        watchdog = _Watchdog(client, events, self)
        try:
            async for batch in events.blocks():
                self.take(batch)
                if printer is not None:
                    printer.print(batch)
                    await printer.outlet.settled(MOST_WAITING)
        finally:
            watchdog.stop()
            self._connected = client.connected
            if printer is not None:
                await printer.outlet.settled()

    def take(self, batch: Sequence[Event]) -> None:
        """Note what of these events tells of an end."""
        kinds = set(map(type, batch))  # a batch may be ten thousand lines
        if self._begun is not None and Started in kinds:
            self._begun()
        if Exited in kinds:
            self.exited = [event for event in batch if isinstance(event, Exited)][-1]
        if batch:
            self._last = batch[-1]

    @property
    def has_ended(self) -> bool:
        """Whether the last event may be the very last."""
        return isinstance(self._last, Exited | Errored | Dequeued)

    def status(self) -> int:
        """Return the exit status of who has followed the task.

        :raises CommandError: when it has not run, or how it ended is not known.
        """
        if self.exited is not None:
            return of_task(self.exited.exit_code, self.exited.signal)
        match self._last:
            case Dequeued(reason=reason):
                raise CommandError(
                    ExitStatus.REFUSED, f"the task did not run: {reason} in its queue"
                )
            case Error(message=message):
                raise CommandError(ExitStatus.REFUSED, message)
        if not self._connected:
            raise CommandError(
                ExitStatus.LOST,
                "the connection is lost, and the task may go on without it",
                "see what the daemon has logged",
            )
        raise CommandError(
            ExitStatus.LOST, "how the task ended is not known", "the daemon knows nothing of it"
        )

    def status_of(self, info: TaskInfo) -> int:
        """Return the same of a finished task, of which the last exit may not be kept any more."""
        if self.exited is None and info.last_exit_code is not None:
            return of_task(info.last_exit_code, info.last_signal)
        return self.status()


class _Watchdog:
    """I end a subscription when there is no connection for too long, or none to tell more of what has ended."""

    def __init__(self, client: Client, events: Subscription, end: _End) -> None:
        self._client = client
        self._events = events
        self._end = end
        self._gone_since: float | None = None
        self._look()

    def stop(self) -> None:
        """Look no more."""
        if self._call.active():
            self._call.cancel()

    def _look(self) -> None:
        self._call = reactor.callLater(_LOOK_INTERVAL, self._look)
        now = reactor.seconds()
        if self._client.connected:
            self._gone_since = None
            return
        if self._gone_since is None:
            self._gone_since = now
        if self._end.has_ended or now - self._gone_since > RECONNECT_FOR:
            self._events.close()


def _printer(**options: Any) -> Printer:
    return Printer(Outlet(reactor.callFromThread), **options)


def _stop_on_signals(client: Client, task_id: Callable[[], str]) -> None:
    """Let Ctrl-C and SIGTERM stop the task, the second one kill it, and the third one end this command.

    SIGHUP, which a terminal that closes may send more than once, stops the task, too; not under nohup(1).
    """
    requests: list[Callable[[], Coroutine[Any, Any, object]]] = [
        lambda: client.stop(task_id()),
        lambda: client.signal(task_id(), "KILL"),
    ]
    words = ["stopping the task; once more kills it", "killing the task; once more leaves it alone"]

    def interrupted(_number: int, _frame: FrameType | None) -> None:
        if not requests:
            os._exit(INTERRUPTED)
        notice(words.pop(0))
        reactor.callFromThread(_send, requests.pop(0))

    def hung_up(_number: int, _frame: FrameType | None) -> None:
        reactor.callFromThread(_send, lambda: client.stop(task_id()))

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupted)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, hung_up)


def _send(request: Callable[[], Coroutine[Any, Any, object]]) -> None:
    def failed(failure: Failure) -> None:
        if not isinstance(
            failure.value, OverseerError
        ):  # those: it has ended by itself, most likely
            failure.raiseException()

    Deferred.fromCoroutine(request()).addErrback(failed)


def _last_lines(events: list[Message], count: int, only: Stream | None) -> list[Message]:
    lines = [e for e in events if isinstance(e, Output) and only in (None, e.stream)]
    return list(lines[-count:]) if count else []
