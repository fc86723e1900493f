"""Completion in shells: the script that a shell wants, and the names that a running daemon knows."""

import os
from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from overseer.cli.exit_status import CommandError
from overseer.cli.options import DEFAULT_URL


def script(command: click.Command, shell: str) -> str:
    """Return what makes ``shell`` complete ``command``."""
    kind = get_completion_class(shell)
    assert kind is not None  # Click knows those that may be asked for
    return kind(command, {}, "overseer", "_OVERSEER_COMPLETE").source()


def action_names(context: click.Context, _param: click.Parameter, incomplete: str) -> list[Any]:
    """Return the actions that begin so."""
    return _names(context, "actions", incomplete)


def task_ids(context: click.Context, _param: click.Parameter, incomplete: str) -> list[Any]:
    """Return the tasks that begin so."""
    return _names(context, "tasks", incomplete)


def signal_names(_context: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the signals that begin so, as ``kill -l`` calls them or with SIG before that."""
    from overseer.core.process import SIGNALS  # noqa: PLC0415  # see above

    beginning = incomplete.upper()
    prefix = "SIG" if beginning.startswith("SIG") else ""
    names = [prefix + name.removeprefix("SIG") for name in SIGNALS if "RT" not in name]
    return [name for name in names if name.startswith(beginning)]


def _names(context: click.Context, kind: str, incomplete: str) -> list[Any]:
    from overseer.cli.conversation import converse  # noqa: PLC0415  # the script itself needs none

    found: list[CompletionItem] = []

    async def ask(client: Any) -> None:
        if kind == "actions":
            known = [(one.name, one.description) for one in (await client.describe()).actions]
        else:
            known = [(one.task_id, one.action) for one in (await client.list()).tasks]
        found.extend(
            CompletionItem(name, help=text) for name, text in known if name.startswith(incomplete)
        )

    url = context.params.get("url") or os.environ.get("OVERSEER_URL") or DEFAULT_URL
    token = context.params.get("token") or os.environ.get("OVERSEER_TOKEN")
    try:
        converse(url, token, ask)
    except CommandError:
        return []  # there is nobody to tell, and nothing to complete
    return found
