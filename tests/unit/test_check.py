"""``overseer check``: all problems at once, warnings, what differs from v2, and the exit status."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from configurations import RECORDER

import overseer
from overseer.core.config.migration import GENERAL_DIFFERENCES

PACKAGES = str(Path(overseer.__file__).parents[1])
WRONG = """\
listen: "127.0.0.1:0"
db: history.db
colour: red
actions:
  one:
    type: exec
    task_pool: {size: ten}
    config:
      entrypoint: "[[.program]]"
      command: ["[[if]]"]
      parameters: {program: {}}
  two:
    type: nothing
  three:
    type: exec
    config:
      entrypoint: echo
      parameters: {a: {validate: "value +"}}
"""


def check(folder: Path, *words: str, **environment: str) -> tuple[int, list[str], str]:
    """Run the command; return its status, the lines that it printed, and stderr."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith("OVERSEER_")}
    run = subprocess.run(
        [sys.executable, "-m", "overseer", *words],
        cwd=folder,
        env={**clean, "PYTHONPATH": PACKAGES, **environment},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return run.returncode, run.stdout.splitlines(), run.stderr


def test_all_problems_at_once(tmp_path: Path) -> None:
    """Unknown keys, wrong values, what the drivers find, variables: all of it, and status 1."""
    (tmp_path / "wrong.yaml").write_text(WRONG)
    status, lines, stderr = check(
        tmp_path, "check", "--config", "wrong.yaml", OVERSEER_TRUSTED_CIDRS="everywhere"
    )
    assert (status, stderr) == (1, "")
    places = [line.split(": ")[:2] for line in lines[:-1]]
    assert places == [
        ["wrong.yaml:3", "colour"],
        ["wrong.yaml:7", "actions.one.task_pool.size"],
        ["OVERSEER_TRUSTED_CIDRS", lines[2].split(": ")[1]],
        ["wrong.yaml:10", "actions.one.config.command[0]"],
        ["wrong.yaml:9", "actions.one.config.entrypoint"],
        ["wrong.yaml:13", "actions.two.type"],
        ["wrong.yaml:18", "actions.three.config.parameters.a.validate"],
    ]
    assert lines[-1] == "wrong.yaml: 7 problems"


def test_a_good_file(tmp_path: Path) -> None:
    """Warnings are marked and change no status; ``--config`` may stand on either side."""
    (tmp_path / "config.yaml").write_text(RECORDER)
    expected = check(tmp_path, "check")
    status, lines, stderr = expected
    assert (status, stderr) == (0, "")
    assert lines[-1] == "config.yaml: ok, 1 action"
    assert all(line.startswith("warning: ") for line in lines[:-1])
    assert check(tmp_path, "check", "--config", "config.yaml") == expected
    assert check(tmp_path, "--config", "config.yaml", "check") == expected
    assert check(tmp_path, "-config", "config.yaml", "check") == expected


def test_drivers_warn_too(tmp_path: Path) -> None:
    """As the daemon does when it starts."""
    (tmp_path / "config.yaml").write_text(
        "listen: '127.0.0.1:0'\n"
        "actions:\n"
        "  say:\n"
        "    type: exec\n"
        "    config: {entrypoint: echo, command: ['[[.massage]]'], parameters: {message: {}}}\n"
    )
    status, lines, _ = check(tmp_path, "check")
    assert (status, lines) == (
        0,
        [
            "warning: config.yaml:5: actions.say.config.command[0]: there is no parameter"
            ' "massage", did you mean "message"?',
            "config.yaml: ok, 1 action",
        ],
    )


def test_the_variable_names_the_file(tmp_path: Path) -> None:
    """``OVERSEER_CONFIG`` goes before ``--config``, as for the daemon."""
    (tmp_path / "good.yaml").write_text("listen: '127.0.0.1:0'\nactions: {}\n")
    status, lines, _ = check(
        tmp_path, "check", "--config", "missing.yaml", OVERSEER_CONFIG="good.yaml"
    )
    assert (status, lines) == (0, ["good.yaml: ok, 0 actions"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot read the configuration f.yaml: No such file or directory"),
        (b"\xff", "f.yaml: expected UTF-8 text: invalid start byte"),
    ],
)
@pytest.mark.parametrize("words", [(), ("--from-v2",)])
def test_a_file_that_cannot_be_read(
    tmp_path: Path, content: bytes | None, said: str, words: tuple[str, ...]
) -> None:
    """That is a problem like any other."""
    if content is not None:
        (tmp_path / "f.yaml").write_bytes(content)
    status, lines, stderr = check(tmp_path, "check", "--config", "f.yaml", *words)
    assert (status, lines, stderr) == (1, [said, "f.yaml: 1 problem"], "")


def test_without_a_file(tmp_path: Path) -> None:
    """The defaults hold, with the daemon's own warning."""
    status, lines, _ = check(tmp_path, "check", "--from-v2", OVERSEER_LISTEN="127.0.0.1:0")
    assert status == 0
    assert lines == [
        "warning: no configuration file: the defaults hold, there are no actions",
        "config.yaml: ok, 0 actions",
    ]


def test_a_file_of_v2(tmp_path: Path) -> None:
    """Each difference has its line, the general ones stand at the end."""
    (tmp_path / "config.yaml").write_text(RECORDER)
    status, lines, stderr = check(tmp_path, "check", "--from-v2")
    assert (status, stderr) == (0, "")
    here = lines.index("Different from v2 by this file:")
    general = lines.index("Different from v2 in general:")
    assert [line.split(": ")[:2] for line in lines[here + 1 : general - 1]] == [
        ["config.yaml:2", "listen"],
        ["config.yaml:5", "task_pool.limit"],
        ["config.yaml:11", "actions.recorder.retry"],
    ]
    assert lines[general + 1 : -2] == [f"- {text}" for text in GENERAL_DIFFERENCES]
    assert lines[-1] == "config.yaml: ok, 1 action"


def test_a_wrong_file_of_v2(tmp_path: Path) -> None:
    """Problems and differences are told together: both have to be looked at."""
    (tmp_path / "config.yaml").write_text(WRONG + "retry: {restart_delay: 1s}\n")
    status, lines, _ = check(tmp_path, "check", "--from-v2")
    assert status == 1
    assert any(line.startswith("config.yaml:19: retry: applies now") for line in lines)
    assert any("a client must not choose the program" in line for line in lines)
    assert lines[-1] == "config.yaml: 6 problems"


def test_no_reactor_is_installed() -> None:
    """A check needs none."""
    code = "import sys, overseer.cli.check; print('twisted.internet.reactor' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert run.stdout == "False\n"
