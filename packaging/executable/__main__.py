"""The beginning of the one-file program: unpacks what is packed with it, once, and runs overseer from there.

Compiled modules cannot be loaded out of an archive. They are unpacked into a private folder of the user, named
after this build, and stay there for the next start. The archive is made by ``make build``.
"""

import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from build_info import BUILD, PYTHON, VERSION

ARCHIVE = sys.path[0]
NAME = f"sticky-overseer-{BUILD}"


def main() -> int:
    """Run the program; what can be answered without unpacking is."""
    if sys.argv[1:] in (["--version"], ["-version"]):
        print(f"overseer {VERSION}")
        return 0
    if sys.version_info[:2] != PYTHON:
        _become_other_python()
    sys.path[0] = str(_unpacked())
    from overseer.cli import main as run  # noqa: PLC0415  # there from now on

    return run()


def _become_other_python() -> None:
    """Go on with the Python this was built for, if there is one beside the one that ``python3`` is."""
    wanted = "python{}.{}".format(*PYTHON)
    found = shutil.which(wanted)
    if found is None:
        mine = "{}.{}".format(*sys.version_info)
        sys.exit(
            f"overseer: this file was built for {wanted}, which is not in PATH; python3 is {mine}"
        )
    os.execv(found, [found, *sys.argv])


def _unpacked() -> Path:
    """Return the folder with everything in it."""
    reasons = []
    for parent in _places():
        try:
            _make_private(parent)
            return _unpack_into(parent)
        except OSError as error:
            reasons.append(f"  {parent}: {error.strerror or error}")
    sys.exit("\n".join(["overseer: nowhere to unpack: set XDG_CACHE_HOME to a folder", *reasons]))


def _places() -> Iterator[Path]:
    """Yield the folders to try: systemd's CacheDirectory=, the user's cache, one of the user's own in /tmp."""
    for variable in ("CACHE_DIRECTORY", "XDG_CACHE_HOME"):
        if os.environ.get(variable):
            yield Path(os.environ[variable].split(":")[0], "sticky-overseer")
    home = Path("~").expanduser()
    if home.is_dir():
        yield home / ".cache/sticky-overseer"
    yield Path(tempfile.gettempdir(), f"sticky-overseer-{os.getuid()}")


def _make_private(folder: Path) -> None:
    """Make a folder that nobody else can put programs into; one that is there must be such."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    if folder.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise PermissionError(0, "others can write to it")


def _unpack_into(parent: Path) -> Path:
    target = parent / NAME
    if not target.is_dir():
        # Under another name first: who starts at the same time finds all of it or nothing.
        unfinished = tempfile.mkdtemp(prefix=f"{NAME}.", dir=parent)
        try:
            with zipfile.ZipFile(ARCHIVE) as archive:
                archive.extractall(unfinished)
            os.rename(unfinished, target)
        except OSError:
            shutil.rmtree(unfinished, ignore_errors=True)
            if not target.is_dir():  # nobody else was quicker
                raise
    return target


if __name__ == "__main__":
    sys.exit(main())
