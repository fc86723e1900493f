"""The example of a driver that others distribute: built, installed, and run."""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Daemon

EXAMPLE = Path(__file__).parents[2] / "examples" / "driver-package"
CONFIG = """
listen: "127.0.0.1:0"
actions:
  count: {type: wc}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the example is installed into."""
    folder = tmp_path_factory.mktemp("driver-package")
    shutil.copytree(
        EXAMPLE, folder / "source", ignore=shutil.ignore_patterns("build", "*.egg-info")
    )
    # Without a network: the build backend is among the requirements of the tests.
    code = f"from setuptools import build_meta; print(build_meta.build_wheel({str(folder)!r}))"
    for command in (
        ["-c", code],
        ["-m", "pip", "install", "--no-deps", "--no-index", "--find-links", str(folder),
         "--target", str(folder / "site"), "overseer-wc"],
    ):  # fmt: skip
        subprocess.run(
            [sys.executable, *command],
            cwd=folder / "source",
            check=True,
            capture_output=True,
            timeout=60,
        )
    return folder / "site"


def test_its_driver_is_listed(site: Path) -> None:
    """Beside those that overseer brings."""
    listed = subprocess.run(
        [sys.executable, "-m", "overseer", "--list-handlers"],
        env={**os.environ, "PYTHONPATH": str(site)},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert listed.stdout.split() == ["exec", "watch", "wc"]


def test_its_driver_runs(site: Path, launch: Callable[..., Daemon], tmp_path: Path) -> None:
    """A client is told what it takes, and gets its output."""
    (tmp_path / "file").write_text("12345")
    daemon = launch(CONFIG, environment={"PYTHONPATH": str(site)})
    with daemon.client() as client:
        (action,) = client.ask(type="describe")["actions"]
        assert (action["type"], list(action["params"])) == ("wc", ["input"])
        refused = client.ask(type="start", action="count")
        assert refused["message"] == 'validation error: parameter "input" is required'
        client.start("count", params={"input": str(tmp_path / "file")})
        messages = client.until("exited")
        assert messages[0]["data"].startswith("5 ")
        assert messages[-1]["exit_code"] == 0


def test_a_broken_one_hurts_only_its_own_actions(
    launch: Callable[..., Daemon], tmp_path: Path
) -> None:
    """The configuration is told why; everything else runs."""
    info = tmp_path / "broken" / "broken-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[overseer.drivers]\nwc = not_there\n")
    environment = {"PYTHONPATH": str(tmp_path / "broken")}
    launch('listen: "127.0.0.1:0"\n', environment=environment)
    daemon = launch(CONFIG, environment=environment, ready=False)
    daemon.wait_for_log(r'unknown driver "wc" \(cannot import not_there: ModuleNotFoundError')
    daemon.process.wait(20)


def test_it_is_short() -> None:
    """Fifteen lines of code are a whole driver."""
    text = (EXAMPLE / "overseer_wc.py").read_text()
    tree = ast.parse(text)
    first = tree.body[1].lineno  # after the docstring
    assert len([line for line in text.splitlines()[first - 1 :] if line.strip()]) <= 15
