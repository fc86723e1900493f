"""Options that every command shares: where they may stand, and which of two wins."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from overseer.cli import conversation, main
from overseer.cli.exit_status import ExitStatus
from overseer.cli.options import DEFAULT_URL

Ask = Callable[..., tuple[Any, ...]]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Run a command up to where it would connect; return the address, the token and ``as_json``."""
    seen: list[tuple[Any, ...]] = []

    def converse(url: str, token: str | None, body: partial[Any]) -> int:
        seen.append((url, token, body.keywords["as_json"]))
        return 0

    monkeypatch.setattr(conversation, "converse", converse)
    for name in ("OVERSEER_URL", "OVERSEER_TOKEN"):
        monkeypatch.delenv(name, raising=False)

    def ask(*words: str, **environment: str) -> tuple[Any, ...]:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        assert main(words) == 0
        return seen.pop()

    return ask


def test_options_stand_before_or_after_the_command(ask: Ask) -> None:
    options = ("--url", "unix:/a", "--token", "secret", "--json")
    assert ask(*options, "ls") == ask("ls", *options) == ("unix:/a", "secret", True)
    assert ask(*options, "pool", "set", "--size", "1") == ("unix:/a", "secret", True)
    assert ask("ls") == (DEFAULT_URL, None, False)


def test_what_stands_after_the_command_wins(ask: Ask) -> None:
    assert ask("--url", "unix:/a", "ls", "--url", "unix:/b") == ("unix:/b", None, False)


def test_the_environment_comes_after_both(ask: Ask) -> None:
    variables = {"OVERSEER_URL": "unix:/c", "OVERSEER_TOKEN": "of the environment"}
    assert ask("ls", **variables) == ("unix:/c", "of the environment", False)
    assert ask("--url", "unix:/a", "ls", **variables)[0] == "unix:/a"
    assert ask("ls", "--url", "unix:/b", **variables)[0] == "unix:/b"


def test_no_command_finds_a_daemon_by_its_configuration(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It would talk to another one without a word."""
    assert main(["--config", "my.yaml", "ls"]) == ExitStatus.USAGE
    assert "by --url or OVERSEER_URL" in capsys.readouterr().err
    assert main(["--config", "/does/not/exist.yaml", "check"]) == ExitStatus.FAILED
    assert "/does/not/exist.yaml" in capsys.readouterr().out


def test_the_daemon_takes_none_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    """Who has forgotten the command starts no daemon."""
    assert main(["--json"]) == ExitStatus.USAGE
    assert "--json is for a command, and there is none" in capsys.readouterr().err
