"""``twistd overseer``: the daemon as a Twisted plugin."""

from typing import ClassVar

from twisted.application.service import IService
from twisted.python import usage

from overseer._version import __version__
from overseer.cli.help import ENVIRONMENT
from overseer.core.config import ConfigError
from overseer.program import ConfigFileError, Program, read_config


class Options(usage.Options):
    """Command line of ``twistd overseer``."""

    optParameters: ClassVar = [
        ["config", "c", None, "YAML configuration; without it ./config.yaml if there is one."]
    ]
    longdesc = ENVIRONMENT

    def opt_version(self) -> None:
        """Show the version and exit."""
        print(f"overseer {__version__}")
        raise SystemExit(0)


def makeService(options: Options) -> IService:
    """Return the daemon.

    :raises usage.UsageError: when the configuration does not fit.
    """
    from twisted.internet import reactor  # noqa: PLC0415  # installs it, which twistd does first

    try:
        return Program(reactor, read_config(options["config"]))
    except (ConfigError, ConfigFileError) as error:
        raise usage.UsageError(str(error)) from None
