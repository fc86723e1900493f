"""``overseer --config F``: the daemon in the foreground, logging to stderr."""

import sys

from twisted.internet import reactor
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
)

from overseer.cli.log_format import OBSERVERS
from overseer.core.config import ConfigError
from overseer.core.history import HistoryError
from overseer.eventlog import LogFileError
from overseer.listeners import ListenError
from overseer.program import ConfigFileError, Program, complain, read_config


def serve(config_path: str | None, log_format: str) -> int:
    """Run the daemon until a signal ends it; return the exit status."""
    # What only helps to find faults in overseer itself would be a line for each orphan, and more.
    observer = FilteringLogObserver(
        OBSERVERS[log_format](sys.stderr), [LogLevelFilterPredicate(LogLevel.info)]
    )
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False, discardBuffer=True)
    try:
        program = Program(reactor, read_config(config_path), config_path)
        program.startService()
    except (ConfigError, ConfigFileError, HistoryError, ListenError, LogFileError) as error:
        complain(error)
        return 1
    reactor.addSystemEventTrigger("before", "shutdown", program.stopService)
    reactor.run()
    return program.exit_status
