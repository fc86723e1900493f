"""What values on the command line mean, how answers look, and which status is whose."""

from typing import Any

import click
import pytest

from overseer.cli import main
from overseer.cli.exit_status import CommandError, ExitStatus, of_task
from overseer.cli.names import short_ids
from overseer.cli.options import DURATION, MOMENT, PARAMETER
from overseer.cli.tables import (
    age,
    ago,
    between,
    exit_text,
    parameters,
    place_in_queue,
    print_table,
)
from overseer.core.timestamps import parse_timestamp

UUIDS = [f"{start}-0000-4000-8000-000000000000" for start in ("12345678", "12345679", "abcdef01")]


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (PARAMETER, "a=b=c", ("a", "b=c")),
        (PARAMETER, "a=", ("a", "")),
        (DURATION, "10", 10.0),
        (DURATION, "0.5", 0.5),
        (DURATION, "1m30s", 90.0),
        (MOMENT, "2026-11-22T22:07:47Z", parse_timestamp("2026-11-22T22:07:47Z")),
    ],
)
def test_values(kind: Any, text: str, value: object) -> None:
    assert kind.convert(text, None, None) == value


def test_an_instant_so_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1000.0)
    assert MOMENT.convert("10m", None, None) == 400_000_000


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (PARAMETER, "a"),
        (PARAMETER, "=b"),
        (DURATION, "soon"),
        (DURATION, "-1s"),
        (MOMENT, "soon"),
        (MOMENT, "10"),
    ],
)
def test_other_values_are_refused_with_what_came(kind: Any, text: str) -> None:
    with pytest.raises(click.BadParameter, match=f'"{text}"'):
        kind.convert(text, None, None)


def test_the_status_of_a_task() -> None:
    """As a shell has it."""
    assert of_task(3, None) == 3
    assert of_task(-1, "SIGKILL") == 137
    assert of_task(-1, "SIG35") == 163
    assert of_task(-1, None) == 255


def test_every_status_has_one_digit_and_a_meaning() -> None:
    assert [int(status) for status in ExitStatus] == list(range(1, 10))
    assert all(status.meaning for status in ExitStatus)


def test_advice_follows_a_question() -> None:
    error = CommandError(ExitStatus.UNREACHABLE, "is it running?", "start it")
    assert error.format_message() == "is it running? start it"


def test_short_ids_are_unique() -> None:
    """UUIDs are cut where it can be done; ids that somebody chose stay whole."""
    assert short_ids([*UUIDS, "nightly-build-of-everything"]) == {
        UUIDS[0]: "12345678",
        UUIDS[1]: "12345679",
        UUIDS[2]: "abcdef01",
        "nightly-build-of-everything": "nightly-build-of-everything",
    }
    twins = [UUIDS[0], UUIDS[0].replace("-0000-", "-0100-", 1)]
    assert short_ids(twins) == {twins[0]: "12345678-00", twins[1]: "12345678-01"}


def test_times_and_ends_in_words() -> None:
    assert [age(seconds) for seconds in (0.4, 59, 60, 7200, 90000)] == [
        "0s",
        "59s",
        "1m",
        "2h",
        "1d",
    ]
    assert ago("1970-01-01T00:00:10Z", 100.0) == "1m"
    assert ago(None, 100.0) == ""
    assert between("1970-01-01T00:00:10Z", "1970-01-01T00:01:40.5Z") == "1m30.5s"
    assert between("1970-01-01T00:00:10Z", None) == ""
    assert exit_text(-1, "SIGKILL") == "SIGKILL"
    assert exit_text(None) == ""
    assert place_in_queue(2) == "waits in the queue, position 2"
    assert place_in_queue(0).startswith("waits for other actions")
    assert parameters({"a": "1", "b": "x y"}) == "a=1 b=x y"


def test_into_a_pipe_go_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    """One row is one line, whatever is in it."""
    print_table(("task", "exit"), [("a\tb\nc", None), ("d", 0)])
    assert capsys.readouterr().out == "TASK\tEXIT\na b c\t\nd\t0\n"


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (["strat"], "start"),
        (["ls", "--jsn"], "--json"),
        (["pool", "sett"], "set"),
        (["start"], "ACTION"),
        (["run", "count", "to=5"], "(to=5), parameters are given as -p NAME=VALUE: see"),
        (["start", "count", "to=5"], "-p NAME=VALUE"),
        (["check", "other.yaml"], "(other.yaml), the file is given as --config FILE: see"),
        (["doctor", "other.yaml"], "--config FILE"),
        (["ls", "counting"], "Got unexpected extra argument (counting): see"),
        (["pool"], "Missing command: see `overseer pool"),
    ],
)
def test_usage_errors_are_one_line(
    words: list[str], advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """That names what was meant, and where to read on."""
    assert main(words) == ExitStatus.USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("overseer: ")
    assert captured.err.count("\n") == 1
    assert advice in captured.err
    assert "--help`" in captured.err
