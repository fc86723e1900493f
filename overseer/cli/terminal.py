"""What of an output is for people: colour and tables where there is a terminal, plain text everywhere else.

Colour obeys ``NO_COLOR`` (https://no-color.org) and ``TERM=dumb``.
"""

import os
import sys
from typing import IO, Any

import click


def is_terminal(stream: IO[Any] | None = None) -> bool:
    """Return whether somebody looks at ``stream``, which is stdout unless given."""
    return (stream or sys.stdout).isatty()


def wants_colour() -> bool:
    """Return whether stdout shows colours."""
    return is_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def styled(text: str, colour: str, **style: bool) -> str:
    """Return ``text`` in a colour, where there may be any."""
    return click.style(text, fg=colour, **style) if wants_colour() else text


def notice(text: str) -> None:
    """Tell something on stderr, if there is somebody to see it."""
    if is_terminal(sys.stderr):
        click.echo(f"overseer: {text}", err=True)
