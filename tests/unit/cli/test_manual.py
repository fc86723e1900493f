"""The help and the manual: every command is in both, explained."""

import shutil
import subprocess

import click
import pytest

from overseer.cli import main
from overseer.cli.manual import commands_markdown, entries, manual_page, statuses
from overseer.cli.root import SECTIONS

ENTRIES = [entry for _, members in entries() for entry in members]


def test_help_shows_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for title, commands in SECTIONS.items():
        assert f"\n{title}:\n" in shown
        for command in commands:
            assert f"\n  {command.name} " in shown


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_everything_is_explained(entry: object) -> None:
    """Whole sentences for the command, a text for each of its options."""
    assert entry.paragraphs[0].rstrip("…")  # type: ignore[attr-defined]
    assert all(text for _, text in entry.options)  # type: ignore[attr-defined]


def test_commands_are_in_the_page_once() -> None:
    names = [entry.name for entry in ENTRIES]
    assert len(set(names)) == len(names) >= 23
    page = commands_markdown()
    assert all(page.count(f"### `{name}`\n") == 1 for name in names)


def test_examples_keep_their_lines() -> None:
    """Three commands in one line would be one command that does something else."""
    examples = [line for line in commands_markdown().splitlines() if "completion zsh" in line]
    assert examples == ['overseer completion zsh  > "${fpath[1]}/_overseer"']
    assert f"\n{examples[0]}\n" in manual_page("1.2.3")


def test_the_man_page_is_one() -> None:
    """It has what man(7) wants, every command and every status; groff finds nothing wrong."""
    page = manual_page("1.2.3")
    assert page.startswith('.TH OVERSEER 1 "" "overseer 1.2.3"')
    assert all(f".SS {entry.usage}".replace("-", r"\-") in page for entry in ENTRIES)
    assert all(f".B {status}\n" in page for status, _ in statuses())
    if shutil.which("groff"):
        done = subprocess.run(
            ["groff", "-man", "-ww", "-Tascii"],
            input=page,
            text=True,
            capture_output=True,
            check=True,
        )
        assert done.stderr == ""


def test_every_command_that_talks_has_the_same_options() -> None:
    for commands in SECTIONS.values():
        for command in commands:
            names = {name for option in command.params for name in option.opts}
            if isinstance(command, click.Group) or "--url" not in names:
                continue
            assert {"--url", "--token", "--json"} <= names
