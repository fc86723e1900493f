"""What only the program does, and never an embedding application: it owns the process it runs in.

Raises the descriptor limit, adopts and reaps orphans, runs timers on monotonic time, and lets a second signal
end everything at once.
"""

# mypy: allow-untyped-calls

import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from overseer._version import __version__
from overseer.core.config import Config, ConfigError, default_config, load_config
from overseer.core.counted import counted
from overseer.core.listen import StdioAddress, parse_listen
from overseer.drivers.registry import installed_drivers
from overseer.listeners import ListenError
from overseer.process import (
    Subreaper,
    raise_descriptor_limit,
    seal_inherited_descriptors,
)
from overseer.service import OverseerService
from overseer.systemd import Notifier

DEFAULT_CONFIG = "config.yaml"
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class ConfigFileError(Exception):
    """The configuration file cannot be read."""


def find_config(path: str | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the name of the configuration file, None if there is none.

    ``OVERSEER_CONFIG`` goes before ``path``; without either ``./config.yaml`` is taken if there is one.
    """
    named = environment.get("OVERSEER_CONFIG") or path
    return named or (DEFAULT_CONFIG if Path(DEFAULT_CONFIG).exists() else None)


def read_config(path: str | None, environment: Mapping[str, str] = os.environ) -> Config:
    """Return the configuration of the program.

    Where ``find_config`` finds no file the defaults hold.

    :raises ConfigFileError: when the file cannot be read.
    :raises overseer.core.config.ConfigError: with everything that is wrong with it.
    """
    name = find_config(path, environment)
    if name is None:
        return default_config(environment)
    try:
        text = Path(name).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigFileError(f"cannot read the configuration {name}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigFileError(f"{name}: expected UTF-8 text: {error.reason}") from None
    return load_config(text, name, environment, installed_drivers().check, _read_file)


def _read_file(name: str) -> str:
    return Path(name).read_text(encoding="utf-8")


class Program(Service):
    """The daemon as a program. ``exit_status`` is 1 when it could not start.

    :param path: of the configuration, as ``read_config`` takes it: SIGHUP reads it again.
    :raises overseer.core.config.ConfigError: when an action does not fit its driver.
    """

    name = "overseer"
    _log = Logger()

    def __init__(self, reactor: Any, config: Config, path: str | None) -> None:
        self.exit_status = 0
        self._stopping = False
        self._failure: Failure | None = None
        self._reactor = reactor
        self._path = find_config(path)
        # A clock that is set back would delay every timer, the SIGKILL after a grace too.
        reactor.seconds = time.monotonic
        self._limit = raise_descriptor_limit()
        self._overseer = OverseerService(
            config,
            reactor=reactor,
            descriptor_limit=self._limit.before,
            stdio=_take_stdio() if uses_stdio(config) else (0, 1),
        )
        self._subreaper = Subreaper(reactor, self._overseer.spawner)
        self._notifier = Notifier(reactor)

    def startService(self) -> None:
        """Start the daemon.

        :raises overseer.listeners.ListenError: when an address cannot be listened on.
        :raises overseer.eventlog.LogFileError: when the event log cannot be opened.

        Whatever goes wrong later, a database that cannot be used for one, ends the program with status 1.
        """
        super().startService()
        # Neither survives the fork of a daemon going to the background, so not before.
        seal_inherited_descriptors()
        self._subreaper.start()
        # Without a handler it would end the daemon at once and leave every task running.
        signal.signal(signal.SIGHUP, self._hang_up)
        # By then the reactor has set its own handlers.
        self._reactor.callWhenRunning(self._take_stop_signals)
        # When the interpreter ends it takes its handlers away: one signal more would then end a daemon that
        # has stopped in order with the status of one that was killed.
        self._reactor.addSystemEventTrigger("after", "shutdown", _ignore_stop_signals)
        self._overseer.startService()
        self._overseer.started.addCallbacks(
            # Who reads that it has started may send a signal next.
            lambda _: self._reactor.callWhenRunning(self._announce),
            self._give_up,
        )
        self._overseer.ended.addCallback(lambda _: self._reactor.stop())
        if self._failure is not None:
            self._failure.raiseException()

    def stopService(self) -> Deferred[None]:
        """Stop in order; another signal ends every process at once."""
        super().stopService()
        self._stopping = True
        count = self._overseer.supervisor.alive
        told = f"shutting down: {counted(count, 'task')} to end"
        self._log.info("{told}", told=told)
        self._notifier.stopping(told)
        return self._overseer.stopService().addCallback(self._stopped)

    def _announce(self) -> None:
        # What start-up made lives as long as the program: looking through it again and again would stop
        # the reactor for some 60 ms in the middle of a burst.
        gc.collect()
        gc.freeze()
        self._log.info(
            "overseer {version}: {actions}; at most about {tasks} tasks at a time"
            " ({descriptors} file descriptors)",
            version=__version__,
            actions=counted(len(self._overseer.supervisor.actions), "action"),
            tasks=self._limit.tasks,
            descriptors=self._limit.after,
        )
        self._notifier.ready(self._state())

    def _state(self) -> str:
        urls = ", ".join(self._overseer.urls)
        actions = counted(len(self._overseer.supervisor.actions), "action")
        return f"{actions}, listening on {urls or 'stdio'}"

    def _give_up(self, failure: Failure) -> None:
        self.exit_status = 1
        self._failure = failure
        if self._reactor.running:  # a host name had to be looked up; otherwise startService raises
            self._log.critical("{reason}", reason=failure.getErrorMessage())
            self._reactor.stop()

    def _stopped(self, _stopped: None) -> None:
        self._subreaper.stop()
        self._notifier.stop()
        self._log.info("stopped")

    def _hang_up(self, _number: int, _frame: object) -> None:
        self._reactor.callFromThread(self._overseer.reopen_log)
        self._reactor.callFromThread(self._reload)

    def _reload(self) -> None:
        if self._stopping:
            return
        self._notifier.reloading()
        state = "the last reload failed, see the log: "
        try:
            self._overseer.reload(read_config(self._path))
            state = ""
        except (ConfigError, ConfigFileError) as error:
            for problem in str(error).splitlines():
                self._log.error("{problem}", problem=problem)
            self._log.error("the configuration was not reloaded: everything stays as it was")
        finally:
            self._notifier.ready(state + self._state())

    def _take_stop_signals(self) -> None:
        for number in _STOP_SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler):
                signal.signal(number, partial(self._stop_signalled, handler))

    def _stop_signalled(
        self, first: Callable[[int, FrameType | None], object], number: int, frame: FrameType | None
    ) -> None:
        # A handler may be interrupted by the next signal's: only the reactor's thread decides which was first.
        self._reactor.callFromThread(self._stop_asked, partial(first, number, frame))

    def _stop_asked(self, stop: Callable[[], object]) -> None:
        if self._stopping:
            self._overseer.kill()
            return
        self._stopping = True
        stop()


def _ignore_stop_signals() -> None:
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def uses_stdio(config: Config) -> bool:
    """Return whether a client on stdin and stdout is listened to."""
    return StdioAddress() in map(parse_listen, config.listen)


def _take_stdio() -> tuple[int, int]:
    """Return stdin and stdout for the client alone: what anybody else prints goes to stderr from now on.

    :raises overseer.listeners.ListenError: when one of them is closed.
    """
    try:
        mine = os.dup(0), os.dup(1)
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
    except OSError as error:
        raise ListenError(StdioAddress(), error.strerror or str(error)) from None
    return mine


def complain(message: object) -> None:
    """Tell the user of the program what is wrong, each line of it."""
    for line in str(message).splitlines():
        print(f"overseer: {line}", file=sys.stderr)
