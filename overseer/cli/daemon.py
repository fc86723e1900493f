"""The commands about the daemon itself, which need none that runs: how they stand on the command line."""

import os
from pathlib import Path

import click

from overseer.cli.options import AdvisingCommand, or_before

config_option = click.option(
    "--config",
    "-config",  # v2's images start the program so
    type=click.Path(),  # completed as one
    metavar="FILE",
    help="YAML configuration; without it ./config.yaml if there is one.",
)


def serve(config: str | None, log_format: str) -> int:
    """Run the daemon."""
    from overseer.systemd import name_sockets  # noqa: PLC0415  # see below

    name_sockets(os.environ)
    from overseer.cli.serve import serve  # noqa: PLC0415  # no other command needs all of it

    return serve(config, log_format)


def list_handlers() -> int:
    """Print the types of all drivers, and to stderr why others are not among them."""
    from overseer.drivers.registry import installed_drivers  # noqa: PLC0415  # see above

    drivers = installed_drivers()
    click.echo("\n".join(drivers.types))
    for name, why in drivers.broken.items():
        click.echo(f"overseer: {name}: {why}", err=True)
    return 0


_FILE = "the file is given as --config FILE"


@click.command(cls=AdvisingCommand, advice=_FILE)
@config_option
@click.option("--from-v2", is_flag=True, help="Tell, too, what differs from sticky-overseer v2.")
@click.pass_obj
def check(before: str | None, config: str | None, from_v2: bool) -> int:
    """Tell everything that is wrong with the configuration.

    The exit status is 1 if anything is.
    """
    from overseer.cli.check import check  # noqa: PLC0415  # see above

    return check(config or before, from_v2=from_v2)


@click.command
def schema() -> int:
    """Print the JSON Schema of the configuration file."""
    from overseer.cli.schema import print_schema  # noqa: PLC0415  # see above

    return print_schema()


@click.command
@click.argument("file", type=click.Path(path_type=Path), default="config.yaml")
def init(file: Path) -> int:
    """Write a configuration to begin with, every key explained.

    It goes to FILE, ./config.yaml by default, and never over a file that is there already.
    """
    from overseer.cli.init import write_config  # noqa: PLC0415  # see above

    write_config(file)
    click.echo(f"wrote {file}: start the daemon with `overseer --config {file}`")
    return 0


@click.command
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> int:
    """Print what makes a shell complete commands, options, actions and tasks.

    \b
        overseer completion bash > ~/.local/share/bash-completion/completions/overseer
        overseer completion zsh  > "${fpath[1]}/_overseer"
        overseer completion fish > ~/.config/fish/completions/overseer.fish
    """
    from overseer.cli.completion import script  # noqa: PLC0415  # see above

    click.echo(script(context.find_root().command, shell))
    return 0


@click.command(cls=AdvisingCommand, advice=_FILE)
@config_option
@click.option(
    "--json", "as_json", is_flag=True, callback=or_before, help="Print what was found as JSON."
)
@click.pass_obj
def doctor(before: str | None, config: str | None, as_json: bool) -> int:
    """Look whether the daemon would find all it needs on this machine.

    Looks at the configuration, its programs, folders and ports, the database, the limits of this user
    and at what the kernel offers. Each line says ok, warn or fail, and what to do. The exit status is 1
    if anything fails.
    """
    from overseer.cli.doctor import doctor  # noqa: PLC0415  # see above

    return doctor(config or before, as_json=as_json)
