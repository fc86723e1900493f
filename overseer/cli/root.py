"""What stands on the command line: the options of the daemon, and every command by its section."""

from collections.abc import Mapping
from types import MappingProxyType

import click
from click.core import ParameterSource

from overseer._version import __version__
from overseer.cli import commands, daemon
from overseer.cli.help import CLIENT_ENVIRONMENT, ENVIRONMENT
from overseer.cli.options import shared_options

SECTIONS: Mapping[str, tuple[click.Command, ...]] = MappingProxyType(
    {
        "Tasks": (
            commands.run,
            commands.start,
            commands.stop,
            commands.restart,
            commands.reset,
            commands.input,
            commands.signal,
            commands.wait,
        ),
        "Looking": (
            commands.ls,
            commands.show,
            commands.logs,
            commands.history,
            commands.actions,
            commands.metrics,
            commands.top,
        ),
        "Pools": (commands.pools, commands.pool, commands.purge),
        "The daemon": (daemon.init, daemon.check, daemon.doctor, daemon.schema),
        "More": (daemon.completion, commands.raw),
    }
)
"""The commands as ``--help`` and the manual order them."""


_WITHOUT_DAEMON = frozenset(command.name for command in SECTIONS["The daemon"])


class _Sections(click.Group):
    """A group whose help shows its commands in sections."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, each with its first sentence."""
        for title, members in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(str(command.name), command.get_short_help_str(100)) for command in members]
                )

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the environment variables as they stand."""
        formatter.write(f"\n{CLIENT_ENVIRONMENT}\n{ENVIRONMENT}")


def _tell_version(context: click.Context, _option: click.Parameter, asked: bool) -> None:
    if asked and not context.resilient_parsing:
        click.echo(
            context.obj or f"overseer {__version__}"
        )  # a program of somebody's has one of its own
        context.exit()


@click.group(
    cls=_Sections,
    commands=[command for members in SECTIONS.values() for command in members],
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@daemon.config_option
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    help="What the daemon logs to stderr: lines of text, or of JSON.",
)
@click.option(
    "--list-handlers",
    "-list-handlers",
    is_flag=True,
    help="Print the registered driver types, one a line.",
)
@click.option(
    "--version",
    "-version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_tell_version,
    help="Show the version and exit.",
)
@shared_options
@click.pass_context
def overseer(
    context: click.Context,
    /,
    config: str | None,
    log_format: str,
    list_handlers: bool,
    **for_commands: object,
) -> int | None:
    """Start processes for WebSocket clients and stream what they print.

    Without a command the daemon runs in the foreground; every command but those about the daemon itself
    talks to one that runs. Its --url, --token and --json may stand before or after the command.
    """
    context.obj = config
    if context.invoked_subcommand is not None:
        if config is not None and context.invoked_subcommand not in _WITHOUT_DAEMON:
            advice = "commands find a daemon by --url or OVERSEER_URL"
            raise click.UsageError(f"--config is for the daemon itself, {advice}", context)
        return None
    if list_handlers:
        return daemon.list_handlers()
    for name in for_commands:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = f"--{name.removeprefix('as_')}"
            raise click.UsageError(f"{option} is for a command, and there is none", context)
    return daemon.serve(config, log_format)
