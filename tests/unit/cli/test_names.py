"""Which task or action somebody means."""

import pytest

from overseer.cli.exit_status import CommandError, ExitStatus
from overseer.cli.names import did_you_mean, find_task, no_such_action

IDS = ["9d0f", "9d1f", "nightly", "nightly-2"]


@pytest.mark.parametrize(
    ("text", "task_id"), [("9d0", "9d0f"), ("9d1f", "9d1f"), ("nightly", "nightly")]
)
def test_a_task_by_its_id_or_a_unique_prefix(text: str, task_id: str) -> None:
    """A whole id is that task, even where another one begins with it."""
    assert find_task(text, IDS) == task_id


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("9d", '2 tasks begin with "9d": give more of it (9d0f, 9d1f)'),
        ("nigtly", 'no such task "nigtly": did you mean "nightly"?'),
        ("zzz", 'no such task "zzz": `overseer ls` lists the tasks'),
        ("", 'no such task "": `overseer ls` lists the tasks'),
    ],
)
def test_no_task_or_too_many(text: str, message: str) -> None:
    """One line says what to do."""
    with pytest.raises(CommandError) as caught:
        find_task(text, IDS)
    assert caught.value.format_message() == message
    assert caught.value.status == ExitStatus.NO_TASK


@pytest.mark.parametrize(
    ("known", "advice"),
    [
        (["build", "deploy"], 'did you mean "build"?'),
        (["a", "b"], "there are a, b"),
        (list("abcdefg"), "there are a, b, c, d, e and 2 more, see `overseer actions`"),
        ([], "the daemon has no actions"),
    ],
)
def test_no_such_action(known: list[str], advice: str) -> None:
    error = no_such_action("biuld", known)
    assert error.format_message() == f'no such action "biuld": {advice}'
    assert error.status == ExitStatus.NO_ACTION


def test_nothing_close_is_no_suggestion() -> None:
    assert did_you_mean("recorder", ["echo"]) == ""
