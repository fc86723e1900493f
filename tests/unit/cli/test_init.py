"""``overseer init``: what it writes is a configuration, and stays one whatever is commented in."""

import re
import stat
from pathlib import Path

import pytest

from overseer.cli import main
from overseer.cli.init import example_config
from overseer.core.config import Config, load_config
from overseer.drivers.registry import installed_drivers

COMMENTED_KEY = re.compile(r"^( *)# ( *[a-z_]+:.*  # .*)$", re.MULTILINE)


def load(text: str) -> Config:
    return load_config(text, "config.yaml", {}, installed_drivers().check, lambda name: "")


def test_it_is_a_configuration_that_listens_on_this_machine_only() -> None:
    config = load(example_config())
    assert config.warnings == ()
    assert list(config.listen) == ["127.0.0.1:8080"]
    assert list(config.actions) == ["hello"]


def test_every_comment_that_is_a_key_may_be_taken_in() -> None:
    """With all of them the configuration says the same: they are defaults, or without a value."""
    everything, count = COMMENTED_KEY.subn(r"\1\2", example_config())
    assert count > 60
    assert load(everything).listen == load(example_config()).listen


def test_it_is_written_for_its_owner_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new.yaml"
    assert main(["init", str(path)]) == 0
    assert path.read_text() == example_config()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert f"overseer --config {path}" in capsys.readouterr().out


def test_it_never_overwrites(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("mine")
    assert main(["init", str(path)]) == 1
    assert path.read_text() == "mine"
    assert (
        capsys.readouterr().err
        == f"overseer: {path} is there already: nothing was written; name another file\n"
    )


def test_a_folder_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "no" / "c.yaml"
    assert main(["init", str(path)]) == 1
    assert capsys.readouterr().err == f"overseer: cannot write {path}: No such file or directory\n"
