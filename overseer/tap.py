"""``twistd overseer``: the daemon as a Twisted plugin."""

import atexit
import os
import sys
from types import TracebackType
from typing import ClassVar

from twisted.application.service import IService
from twisted.python import usage

from overseer._version import __version__
from overseer.cli.help import ENVIRONMENT
from overseer.core.config import ConfigError
from overseer.core.history import HistoryError
from overseer.eventlog import LogFileError
from overseer.listeners import ListenError
from overseer.program import ConfigFileError, Program, complain, read_config, uses_stdio


class Options(usage.Options):
    """Command line of ``twistd overseer``."""

    optParameters: ClassVar = [
        ["config", "c", None, "YAML configuration; without it ./config.yaml if there is one."]
    ]
    longdesc = "Stops on SIGTERM, every task in order; a second signal ends them at once."

    def getUsage(self, width: int | None = None) -> str:
        """Return the help; Twisted would wrap the table of variables like prose."""
        return f"{super().getUsage(width)}\n{ENVIRONMENT}"

    def opt_version(self) -> None:
        """Show the version and exit."""
        print(f"overseer {__version__}")
        raise SystemExit(0)


def makeService(options: Options) -> IService:
    """Return the daemon, or end twistd with what is wrong with the configuration."""
    from twisted.internet import reactor  # noqa: PLC0415  # installs it, which twistd does first

    # twistd tells of a service that cannot start by the way Python ends.
    sys.excepthook = _explain
    try:
        config = read_config(options["config"])
        if uses_stdio(config) and not (options.parent and options.parent["nodaemon"]):
            complain(
                'listen "stdio": a daemon in the background has no stdin: use twistd --nodaemon'
            )
            raise SystemExit(1)
        program = Program(reactor, config, options["config"])
    except (ConfigError, ConfigFileError) as error:
        complain(error)
        raise SystemExit(1) from None
    atexit.register(_exit_as, program)
    return program


def _explain(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if isinstance(error, HistoryError | ListenError | LogFileError):
        complain(error)
    else:
        sys.__excepthook__(kind, error, trace)


def _exit_as(program: Program) -> None:
    # Of a service that fails once the reactor runs twistd knows nothing, and would report success.
    if program.exit_status:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(program.exit_status)
