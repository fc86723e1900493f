"""The ``overseer`` command: runs the daemon in the foreground, or does what its first word says."""

import argparse
import os
from collections.abc import Sequence

from overseer._version import __version__
from overseer.cli.help import ENVIRONMENT


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 1 for a daemon that could not start."""
    options = _parser().parse_args(arguments)
    if options.command == "schema":
        from overseer.cli.schema import print_schema  # noqa: PLC0415  # see below

        return print_schema()
    if options.command == "check":
        from overseer.cli.check import check  # noqa: PLC0415  # see below

        return check(options.config, from_v2=options.from_v2)
    if options.list_handlers:
        from overseer.drivers.registry import built_in_drivers  # noqa: PLC0415  # see below

        print("\n".join(built_in_drivers().types))
        return 0
    from overseer.systemd import name_sockets  # noqa: PLC0415  # see below

    name_sockets(os.environ)
    from overseer.cli.run import run  # noqa: PLC0415  # --help and --version need no Twisted

    return run(options.config, options.log_format)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="overseer",
        usage="overseer [OPTIONS] [COMMAND]",
        description="Start processes for WebSocket clients and stream what they print.",
        epilog=ENVIRONMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_config(parser, default=None)
    parser.add_argument(
        "--log-format",
        choices=("text", "json"),
        default="text",
        help="what the daemon logs to stderr: lines of text, or of JSON",
    )
    parser.add_argument(
        "--list-handlers",
        "-list-handlers",
        action="store_true",
        help="print the registered driver types, one a line",
    )
    parser.add_argument(
        "--version", "-version", action="version", version=f"overseer {__version__}"
    )
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", title="other commands", prog="overseer"
    )
    commands.add_parser("schema", help="print the JSON Schema of the configuration file")
    check = commands.add_parser(
        "check",
        help="tell everything that is wrong with the configuration",
        description="Tell everything that is wrong with the configuration; exit with 1 if anything is.",
        allow_abbrev=False,
    )
    # Without it here, one that stands before the command holds.
    _add_config(check, default=argparse.SUPPRESS)
    check.add_argument(
        "--from-v2", action="store_true", help="tell, too, what differs from sticky-overseer v2"
    )
    return parser


def _add_config(parser: argparse.ArgumentParser, default: str | None) -> None:
    # With one dash, too: v2's images start the program so.
    parser.add_argument(
        "--config",
        "-config",
        metavar="FILE",
        default=default,
        help="YAML configuration; without it ./config.yaml if there is one",
    )
