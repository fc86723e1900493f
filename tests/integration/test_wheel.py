"""What is distributed: its files, and the daemon that starts from them."""

import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Daemon

CHECKOUT = Path(__file__).parents[2]
OURS = ("overseer", "sticky_overseer")


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist, built from a copy of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(CHECKOUT, folder / "checkout", ignore=ignored)
    # Without a network: the build backend is among the requirements of the tests.
    for what in ("wheel", "sdist"):
        code = f"from setuptools import build_meta; build_meta.build_{what}({str(folder)!r})"
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=folder / "checkout",
            check=True,
            capture_output=True,
            timeout=60,
        )
    return folder


def test_wheel_holds_what_it_should(dist: Path) -> None:
    """The package with its types and the plugin; no tests, and nothing that is Twisted's."""
    (wheel,) = dist.glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    source = {
        str(path.relative_to(CHECKOUT))
        for folder in ("overseer", "twisted")
        for pattern in ("*.py", "*.sql")
        for path in (CHECKOUT / folder).rglob(pattern)
    }
    packed = {name for name in names if ".dist-info/" not in name}
    assert packed == source | {"overseer/py.typed"}
    assert "twisted/plugins/overseer_plugin.py" in packed
    assert not any(name.startswith("twisted") and "__init__" in name for name in names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_what_is_distributed_may_be_published(dist: Path) -> None:
    """The package index would take it, and show the README as its description."""
    files = [str(path) for path in (*dist.glob("*.whl"), *dist.glob("*.tar.gz"))]
    command = [sys.executable, "-m", "twine", "check", "--strict", *files]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert checked.returncode == 0, checked.stdout
    assert checked.stdout.count("PASSED") == len(files) == 2


def test_sdist_holds_what_it_should(dist: Path) -> None:
    """What the wheel is built from; no tests."""
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= {
        *("overseer/py.typed", "twisted/plugins/overseer_plugin.py"),
        *("pyproject.toml", "setup.py", "README.md", "LICENSE"),
    }
    assert not any(name.startswith("tests") for name in names)
    assert "twisted/__init__.py" not in names
    assert "twisted/plugins/__init__.py" not in names


def borrow(source: Path, target: Path, *, but: tuple[str, ...]) -> None:
    """Fill a folder with links to everything in another one, except what starts like that."""
    target.mkdir(exist_ok=True)
    for path in source.iterdir():
        if not path.name.startswith(but):
            (target / path.name).symlink_to(path)


@pytest.fixture(scope="module")
def installed(dist: Path) -> Path:
    """The Python of a fresh environment with the wheel; what it depends on is borrowed from this one."""
    venv = dist / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    mine = Path(sysconfig.get_path("purelib"))
    (site,) = venv.glob("lib/python*/site-packages")
    borrow(mine, site, but=(*OURS, "twisted", "pip"))
    # Of Twisted's folders, real ones: the plugin goes there, and the cache of plugins.
    borrow(mine / "twisted", site / "twisted", but=("plugins", "__pycache__"))
    borrow(
        mine / "twisted/plugins",
        site / "twisted/plugins",
        but=(*OURS, "dropin.cache", "__pycache__"),
    )
    python = venv / "bin/python"
    (wheel,) = dist.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    options = ["--python", str(python), "install", "--no-index", "--no-deps"]
    subprocess.run([*pip, *options, str(wheel)], check=True, timeout=60)
    return python


@pytest.fixture
def daemon(installed: Path, tmp_path: Path) -> Iterator[Daemon]:
    """``twistd -n overseer`` of the fresh environment, started in an empty folder."""
    folder = tmp_path / "empty"
    folder.mkdir()
    code = "from twisted.scripts.twistd import run; run()"
    command = [str(installed), "-c", code, "-n", "overseer"]
    daemon = Daemon(command, folder, {"OVERSEER_LISTEN": "127.0.0.1:0"})
    yield daemon
    daemon.stop()
    assert "Traceback" not in daemon.log, daemon.log


def test_twistd_from_the_wheel(daemon: Daemon, installed: Path) -> None:
    """The plugin is found and the daemon serves, from the wheel's files and no others."""
    daemon.wait_until_ready()
    with daemon.client() as client:
        manifest = client.ask(type="manifest")["manifest"]
        assert "start" in manifest["messages"]
    code = "import overseer, twisted.plugins.overseer_plugin as p; print(overseer.__file__, p.__file__)"
    command = [str(installed), "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, check=True, cwd=daemon.folder)
    venv = str(installed.parent.parent)
    assert all(path.startswith(venv) for path in found.stdout.split())


def test_the_scripts_of_the_wheel(installed: Path) -> None:
    """``overseer`` and ``sticky-overseer`` are installed."""
    for name in ("overseer", "sticky-overseer"):
        command = [str(installed.with_name(name)), "--version"]
        found = subprocess.run(command, capture_output=True, text=True, check=True)
        assert found.stdout.startswith("overseer ")
