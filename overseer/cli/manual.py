"""The manual of the command line, as Markdown and as a man page, made from the definitions of the commands.

``docs/generate.py`` writes both.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator

import attrs
import click

from overseer.cli.commands import ls
from overseer.cli.exit_status import ExitStatus
from overseer.cli.help import CLIENT_VARIABLES, DAEMON_VARIABLES
from overseer.cli.root import SECTIONS, overseer

_PARAGRAPHS = re.compile(r"\n\s*\n")
_VERBATIM = "\b"
SHARED = ("url", "token", "as_json")
"""Options that are told once: almost every command has them."""


@attrs.frozen
class Entry:
    """One command: how it is called, what it does by paragraphs, its options by their names."""

    name: str
    usage: str
    paragraphs: tuple[str, ...]
    options: tuple[tuple[str, str], ...]


def entries() -> Iterator[tuple[str, list[Entry]]]:
    """Yield every section with its commands, those of groups too."""
    for title, commands in SECTIONS.items():
        yield title, [entry for command in commands for entry in _entries(command, "overseer")]


def commands_markdown() -> str:
    """Return a section for each command."""
    parts = []
    for title, members in entries():
        parts.append(f"## {title}\n")
        for entry in members:
            parts.append(f"### `{entry.name}`\n\n```text\n{entry.usage}\n```\n")
            parts += [f"{_markdown(paragraph)}\n" for paragraph in entry.paragraphs]
            if entry.options:
                parts.append(_option_table(entry.options))
    return "\n".join(parts)


def shared_options_markdown() -> str:
    """Return the table of the options of every command that talks to a daemon."""
    return _option_table(_shared_options())


def statuses() -> Iterator[tuple[str, str]]:
    """Yield the exit statuses and what they mean."""
    yield "0", "done; of `run`, `wait` and `logs`: the task has ended with 0"
    for status in ExitStatus:
        yield str(int(status)), status.meaning
    yield (
        "128 + n",
        "signal n ended it: the task of `run`, `wait` and `logs`, or the command itself",
    )


def manual_page(version: str) -> str:
    """Return the man page overseer(1), in the macros of man(7)."""
    lines = [
        f'.TH OVERSEER 1 "" "overseer {version}" "User Commands"',
        ".SH NAME",
        r"overseer \- run long\-running tools, stream what they print",
        ".SH SYNOPSIS",
        r".B overseer",
        r"[\fIOPTIONS\fR] [\fICOMMAND\fR [\fIARGUMENTS\fR]]",
        ".SH DESCRIPTION",
        *_paragraphs_roff(_paragraphs(overseer.help or "")),
        ".SH OPTIONS",
        *_options_roff(_options(overseer)),
        ".SH COMMANDS",
        "Every command that talks to a daemon knows these options, before or after its name:",
        *_options_roff(_shared_options()),
        ".PP",
        "A",
        r".I TASK",
        "is the id of a task, or the beginning of one that no other begins with.",
    ]
    for _, members in entries():
        for entry in members:
            lines += [f".SS {_roff(entry.usage)}", *_paragraphs_roff(entry.paragraphs)]
            lines += _options_roff(entry.options)
    lines += [".SH EXIT STATUS", *_options_roff(statuses())]
    lines += [
        ".SH ENVIRONMENT",
        *_options_roff((*CLIENT_VARIABLES.items(), *DAEMON_VARIABLES.items())),
    ]
    lines += [
        ".SH FILES",
        *_options_roff([("./config.yaml", "the configuration, where none is named")]),
    ]
    return "\n".join(lines) + "\n"


def _entries(command: click.Command, path: str) -> Iterator[Entry]:
    name = f"{path} {command.name}"
    if isinstance(command, click.Group):
        for member in command.commands.values():
            yield from _entries(member, name)
        return
    context = click.Context(command, info_name=name)
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    yield Entry(
        name.removeprefix("overseer "), usage, _paragraphs(command.help or ""), _options(command)
    )


def _options(command: click.Command) -> tuple[tuple[str, str], ...]:
    return _records(command, lambda name: name not in SHARED)


def _shared_options() -> tuple[tuple[str, str], ...]:
    return _records(ls, lambda name: name in SHARED)


def _records(
    command: click.Command, wanted: Callable[[str | None], bool]
) -> tuple[tuple[str, str], ...]:
    context = click.Context(command, info_name="overseer")
    records = [
        parameter.get_help_record(context)
        for parameter in command.get_params(context)
        if isinstance(parameter, click.Option)
        and "--help" not in parameter.opts
        and wanted(parameter.name)
    ]
    return tuple(record for record in records if record is not None)


def _option_table(options: Iterable[tuple[str, str]]) -> str:
    rows = [
        f"| `{names}` | {text} |\n"
        for names, text in ((names.replace("|", "\\|"), text) for names, text in options)
    ]
    return "".join(["| option | meaning |\n| --- | --- |\n", *rows])


def _paragraphs(text: str) -> tuple[str, ...]:
    return tuple(
        part if part.startswith(_VERBATIM) else " ".join(part.split())
        for part in _PARAGRAPHS.split(inspect.cleandoc(text))
    )


def _markdown(paragraph: str) -> str:
    if not paragraph.startswith(_VERBATIM):
        return paragraph
    return "```sh\n" + "\n".join(_examples(paragraph)) + "\n```"


def _examples(paragraph: str) -> list[str]:
    return [line.strip() for line in paragraph.removeprefix(_VERBATIM).splitlines() if line.strip()]


def _paragraphs_roff(paragraphs: tuple[str, ...]) -> Iterator[str]:
    for number, paragraph in enumerate(paragraphs):
        if paragraph.startswith(_VERBATIM):
            yield from (".PP", ".RS 4", ".nf", *map(_roff, _examples(paragraph)), ".fi", ".RE")
        else:
            if number:
                yield ".PP"
            yield _roff(paragraph)


def _options_roff(options: Iterable[tuple[str, str]]) -> Iterator[str]:
    for names, text in options:
        yield from (".TP", f".B {_roff(names)}", _roff(text))


def _roff(text: str) -> str:
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace("`", "").replace("'", r"\(aq")
    escaped = escaped.replace("…", "...")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped
