"""How answers are printed: tables at a terminal, tab-separated lines into a pipe, JSON for programs."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import click
import msgspec

from overseer.cli.terminal import is_terminal
from overseer.core.durations import format_duration
from overseer.core.timestamps import parse_timestamp

STYLES: Mapping[str, str] = MappingProxyType(
    {
        "active": "green",
        "running": "green",
        "queued": "yellow",
        "stopped": "dim",
        "exited": "dim",
        "errored": "bold red",
        "failed": "bold red",
        "lost": "red",
        "cancelled": "yellow",
    }
)
"""The colours of the states of tasks and runs."""

_UNITS = ((86400, "d"), (3600, "h"), (60, "m"))


def print_json(value: Any) -> None:
    """Print a value of the protocol's as one line of JSON."""
    click.echo(msgspec.json.encode(value))


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under their heads; of a pipe's reader the first line wants to be skipped.

    On a terminal cells that are the name of a state have its colour.
    """
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if not is_terminal():
        for line in ([name.upper() for name in head], *cells):
            click.echo("\t".join(" ".join(cell.split()) for cell in line))
        return
    from rich.console import Console  # noqa: PLC0415  # takes its time, and only terminals need it

    Console().print(rich_table(head, cells))


def rich_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Any:
    """Return a table for a terminal."""
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415  # see above
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for name in head:
        numeric = name in NUMBERS
        table.add_column(
            name.upper(),
            justify="right" if numeric else "left",
            no_wrap=numeric or name in ("task", "parameters"),
            overflow="ellipsis",
        )
    for row in rows:
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    return table


NUMBERS = frozenset(
    {
        "pid",
        "restarts",
        "exit",
        "run",
        "lines",
        "lines/s",
        "cpu %",
        "memory",
        "limit",
        "running",
        "waiting",
    }
)
"""Columns of numbers, which stand to the right."""


def ago(timestamp: str | None, now: float) -> str:
    """Return how long before ``now``, in seconds since the epoch, an instant was: ``5s``, ``2h``, ``4d``."""
    if timestamp is None:
        return ""
    return age(max(0.0, now - parse_timestamp(timestamp) / 1_000_000))


def age(seconds: float) -> str:
    """Return a duration in its largest unit."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s"


def between(start: str | None, end: str | None) -> str:
    """Return how long something took, to the millisecond; empty where an end is missing."""
    if start is None or end is None:
        return ""
    return format_duration(max(0, parse_timestamp(end) - parse_timestamp(start)) // 1000 / 1000)


def place_in_queue(position: int) -> str:
    """Return what a task waits for: its turn, or with position 0 what it depends on."""
    if position:
        return f"waits in the queue, position {position}"
    return "waits for other actions: `overseer show` says for which"


def parameters(params: Mapping[str, str] | None) -> str:
    """Return the parameters of a task in one line."""
    return " ".join(f"{name}={value}" for name, value in (params or {}).items())


def exit_text(exit_code: int | None, signal: str | None = None) -> str:
    """Return how something ended: the name of a signal or an exit code."""
    if signal:
        return signal
    return "" if exit_code is None else str(exit_code)
