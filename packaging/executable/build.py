"""Makes the one-file program: overseer and all that it needs, for the Python that runs this.

``python packaging/executable/build.py dist/sticky-overseer``, which is what ``make build`` does.
"""

import compileall
import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipapp
from pathlib import Path
from py_compile import PycInvalidationMode

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]


def build(target: Path) -> None:
    """Install everything into a folder, and make an archive of it that Python runs."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "content")
        # What an earlier build left would come along, deleted modules too.
        shutil.rmtree(CHECKOUT / "build", ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*pip, "--no-compile", "--target", folder, CHECKOUT], check=True)
        shutil.rmtree(
            folder / "bin", ignore_errors=True
        )  # scripts for the Python that was found here
        shutil.copy(HERE / "__main__.py", folder)
        (folder / "build_info.py").write_text(
            f"VERSION = {_version(folder)!r}\nPYTHON = {sys.version_info[:2]!r}\nBUILD = {_digest(folder)!r}\n"
        )
        # With the compiled modules, or every start would compile them again where they cannot be written. Files
        # that are unpacked are newer than these were: only their content says that they belong together.
        mode = PycInvalidationMode.UNCHECKED_HASH
        compileall.compile_dir(folder, stripdir=folder, quiet=2, invalidation_mode=mode)
        target.parent.mkdir(parents=True, exist_ok=True)
        zipapp.create_archive(folder, target, interpreter="/usr/bin/env python3", compressed=True)
        target.chmod(0o755)


def _version(folder: Path) -> str:
    values: dict[str, str] = {}
    exec((folder / "overseer/_version.py").read_text(), values)
    return values["__version__"]


def _digest(folder: Path) -> str:
    """Return what tells this content from any other."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    build(Path(sys.argv[1]))
