"""The program in one file: what its beginning does before overseer runs, and the real one installed."""

import os
import stat
import subprocess
import sys
import time
import zipapp
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SHELL, Daemon

CHECKOUT = Path(__file__).parents[2]
BEGINNING = CHECKOUT / "packaging/executable/__main__.py"
STAND_IN = """\
import pathlib, sys
def main():
    print(pathlib.Path(__file__).parent, *sys.argv[1:])
    return 3
"""
"""A program in place of overseer that says where it runs from."""


@pytest.fixture
def executable(tmp_path: Path) -> Path:
    """The file, with the stand-in in it."""
    return make(tmp_path, sys.version_info[:2])


def make(folder: Path, python: tuple[int, ...]) -> Path:
    content = folder / "content/overseer"
    content.mkdir(parents=True)
    (content / "__init__.py").touch()
    (content / "cli.py").write_text(STAND_IN)
    info = f"VERSION = '1.2'\nPYTHON = {python}\nBUILD = 'abc'\n"
    (content.parent / "build_info.py").write_text(info)
    (content.parent / "__main__.py").write_text(BEGINNING.read_text())
    file = folder / "sticky-overseer"
    zipapp.create_archive(content.parent, file, interpreter=sys.executable)
    return file


def run(file: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """Run it in an empty folder, with these variables and PATH."""
    (file.parent / "empty").mkdir(exist_ok=True)
    done = subprocess.run(
        [str(file), *arguments],
        cwd=file.parent / "empty",
        env={"PATH": "/nonexistent", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout


def test_it_unpacks_itself_once(executable: Path, tmp_path: Path) -> None:
    """Into a private folder, all of it or nothing; the next start uses what is there."""
    home = tmp_path / "home"
    home.mkdir()
    cache = home / ".cache/sticky-overseer"
    place = cache / "sticky-overseer-abc"
    assert run(executable, "a", "b c", HOME=str(home)) == (3, f"{place / 'overseer'} a b c\n")
    assert [path.name for path in cache.iterdir()] == [place.name]
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    (place / "there before").touch()
    assert run(executable, HOME=str(home))[0] == 3
    assert (place / "there before").exists()


def test_the_version_needs_no_unpacking(executable: Path, tmp_path: Path) -> None:
    """So that it is quick the first time, too."""
    assert run(executable, "--version", XDG_CACHE_HOME=str(tmp_path)) == (0, "overseer 1.2\n")
    assert not (tmp_path / "sticky-overseer-abc").exists()


@pytest.mark.parametrize("variable", ["CACHE_DIRECTORY", "XDG_CACHE_HOME"])
def test_variables_say_where(executable: Path, tmp_path: Path, variable: str) -> None:
    """Systemd's CacheDirectory=, and the one of the XDG base directories."""
    place = tmp_path / "cache/sticky-overseer/sticky-overseer-abc/overseer"
    variables = {"HOME": str(tmp_path), variable: str(tmp_path / "cache")}
    assert run(executable, **variables) == (3, f"{place}\n")


def test_a_user_without_a_home(executable: Path, tmp_path: Path) -> None:
    """Has a folder of his own where temporary files are."""
    name = f"sticky-overseer-{os.getuid()}/sticky-overseer-abc/overseer"
    variables = {"HOME": "/nonexistent", "TMPDIR": str(tmp_path)}
    assert run(executable, **variables) == (3, f"{tmp_path / name}\n")


def test_a_folder_that_others_can_write_to_is_not_used(executable: Path, tmp_path: Path) -> None:
    """They could put programs into it; the error says what to do when there is no other."""
    folder = tmp_path / f"sticky-overseer-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)
    status, text = run(executable, HOME="/nonexistent", TMPDIR=str(tmp_path))
    assert status == 1
    assert text.splitlines() == [
        "overseer: nowhere to unpack: set XDG_CACHE_HOME to a folder",
        f"  {folder}: others can write to it",
    ]


def test_another_python(tmp_path: Path) -> None:
    """Is told which one is wanted, unless that one is there: then it goes on with it."""
    file = make(tmp_path, (3, 99))
    status, text = run(file, HOME=str(tmp_path))
    assert status == 1
    assert "was built for python3.99, which is not in PATH" in text
    other = tmp_path / "bin/python3.99"
    other.parent.mkdir()
    other.write_text('#!/bin/sh\necho "python3.99 $*"\n')
    other.chmod(0o755)
    assert run(file, "x", PATH=str(other.parent)) == (0, f"python3.99 {file} x\n")


@pytest.mark.slow
def test_the_real_one_built_and_installed(tmp_path: Path, launch: Callable[..., Daemon]) -> None:
    """``make build install`` gives a program that runs from an empty folder, with its man page and units."""
    make_options = [f"DESTDIR={tmp_path}", "PREFIX=/opt/x", f"PYTHON={sys.executable}"]
    command = ["make", "-s", "-C", str(CHECKOUT), "install", *make_options]
    subprocess.run(command, check=True, timeout=600, capture_output=True)
    program = tmp_path / "opt/x/bin/overseer"
    unit = (tmp_path / "opt/x/lib/systemd/system/overseer.service").read_text()
    assert "ExecStart=/opt/x/bin/overseer --config" in unit
    assert (tmp_path / "opt/x/share/man/man1/overseer.1").is_file()
    path = f"{Path(sys.executable).resolve().parent}:/usr/bin:/bin"
    began = time.monotonic()
    status, text = run(program, "--version", PATH=path, HOME=str(tmp_path))
    assert (status, text.split()[0]) == (0, "overseer")
    assert time.monotonic() - began < 5  # a second on an idle machine
    daemon = launch(
        SHELL, command=(str(program),), environment={"PATH": path, "HOME": str(tmp_path)}
    )
    with daemon.client() as client:
        assert client.run("exit 3")[-1]["exit_code"] == 3
