"""The ``overseer`` command: runs the daemon in the foreground, or does what its first word says."""

import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

from overseer.cli.exit_status import BROKEN_PIPE, INTERRUPTED, CommandError, ExitStatus
from overseer.cli.root import overseer

_NOT_WRITTEN = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE}
"""What writing to stdout may meet. Commands that talk to a daemon see to it themselves."""


def main(arguments: Sequence[str] | None = None, version: str | None = None) -> int:
    """Run the command and return its exit status, as :mod:`overseer.cli.exit_status` lists them.

    ``version`` is what ``--version`` tells, if it is not of this overseer.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    _open_what_is_closed()
    try:
        status = overseer.main(words, prog_name="overseer", standalone_mode=False, obj=version)
        sys.stdout.flush()
    except click.ClickException as error:
        print(f"overseer: {_one_line(error)}", file=sys.stderr)
        return error.status if isinstance(error, CommandError) else error.exit_code
    except click.Abort:
        return INTERRUPTED
    except OSError as error:
        if error.errno not in _NOT_WRITTEN or error.filename is not None:
            raise
        return _cannot_print(error)
    return status if isinstance(status, int) else 0


def run_cli(version: str, commit: str = "") -> NoReturn:
    """Be the ``overseer`` command, with whatever drivers were registered: the whole of a program of one's own.

    ``--version`` tells ``version`` and ``commit``, after the name that the program was called by.
    """
    name = Path(sys.argv[0]).name
    sys.exit(main(version=f"{name} {version} ({commit})" if commit else f"{name} {version}"))


def _cannot_print(error: OSError) -> int:
    # What is still to be written would fail again when the interpreter ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE
    print(f"overseer: cannot print: {error.strerror}", file=sys.stderr)
    return ExitStatus.FAILED


def _open_what_is_closed() -> None:
    """Let who was started without stdin, stdout or stderr (``>&-``) have one that leads nowhere.

    Python has None for them, and the next files and sockets would get their numbers.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  # for good


def _one_line(error: click.ClickException) -> str:
    text = " ".join(error.format_message().split())
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"{text.rstrip('.')}: see `{error.ctx.command_path} --help`"
    return text
