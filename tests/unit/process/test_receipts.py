"""A receipt: the file by which a later daemon knows that a task had begun."""

import subprocess
from pathlib import Path

import pytest

from overseer.core.process import ProcessSpec
from overseer.process.command import command_for

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


def test_the_process_itself_makes_its_receipt(tmp_path: Path) -> None:
    """Before it becomes the program, which finds it there."""
    receipt = tmp_path / "a receipt"
    spec = ProcessSpec(
        argv=("test", "-f", str(receipt)), env=ENVIRONMENT, receipt=str(receipt), nice=1
    )
    assert subprocess.run(command_for(spec).argv, env=ENVIRONMENT, check=False).returncode == 0


def test_a_program_that_is_not_there_makes_none(tmp_path: Path) -> None:
    """Nothing was started then."""
    receipt = tmp_path / "receipt"
    spec = ProcessSpec(argv=("no-such-program",), env=ENVIRONMENT, receipt=str(receipt))
    with pytest.raises(FileNotFoundError):
        command_for(spec)
    assert not receipt.exists()


def test_without_flock_there_is_no_receipt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program is started all the same."""
    monkeypatch.setenv("PATH", str(tmp_path))
    spec = ProcessSpec(argv=("true",), env=ENVIRONMENT, receipt=str(tmp_path / "receipt"))
    assert command_for(spec).argv == ("true",)
