"""``overseer --config F``: the daemon in the foreground, logging to stderr."""

import sys

from twisted.internet import reactor
from twisted.logger import globalLogBeginner

from overseer.cli.log_format import OBSERVERS
from overseer.core.config import ConfigError
from overseer.core.history import HistoryError
from overseer.eventlog import LogFileError
from overseer.listeners import ListenError
from overseer.program import ConfigFileError, Program, complain, read_config


def serve(config_path: str | None, log_format: str) -> int:
    """Run the daemon until a signal ends it; return the exit status."""
    globalLogBeginner.beginLoggingTo(
        [OBSERVERS[log_format](sys.stderr)], redirectStandardIO=False, discardBuffer=True
    )
    try:
        program = Program(reactor, read_config(config_path), config_path)
        program.startService()
    except (ConfigError, ConfigFileError, HistoryError, ListenError, LogFileError) as error:
        complain(error)
        return 1
    reactor.addSystemEventTrigger("before", "shutdown", program.stopService)
    reactor.run()
    return program.exit_status
