"""The ``overseer`` command: runs the daemon in the foreground, or does what its first word says."""

import sys
from collections.abc import Sequence

import click

from overseer.cli.exit_status import INTERRUPTED, CommandError
from overseer.cli.root import overseer


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status, as :mod:`overseer.cli.exit_status` lists them."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = overseer.main(words, prog_name="overseer", standalone_mode=False)
    except click.ClickException as error:
        print(f"overseer: {_one_line(error)}", file=sys.stderr)
        return error.status if isinstance(error, CommandError) else error.exit_code
    except click.Abort:
        return INTERRUPTED
    return status if isinstance(status, int) else 0


def _one_line(error: click.ClickException) -> str:
    text = " ".join(error.format_message().split())
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"{text.rstrip('.')}: see `{error.ctx.command_path} --help`"
    return text
