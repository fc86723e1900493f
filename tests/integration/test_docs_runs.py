"""Blocks of the documentation that are marked so are run, and print what stands below them (``pages.py``)."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import DEADLINE, Daemon
from pages import BLOCKS, PAGES, ROOT, Block, blocks

ADDRESS = "127.0.0.1:8080"
"""Where the pages look for the daemon."""

FFMPEG = """\
#!/bin/sh
# Makes a file, or with -re takes a moment and tells how far it is, as ffmpeg does with -progress.
for output; do :; done
case " $* " in *" -re "*) ;; *) echo film > "$output"; exit ;; esac
while [ "$1" != -i ]; do shift; done
[ -e "$2" ] || { echo "$2: No such file or directory" >&2; exit 254; }
i=10
while [ $i -lt 20 ]; do
    printf 'frame=%s\\nout_time=00:00:%s.000000\\nprogress=continue\\n' $i $i
    i=$((i + 1))
    sleep 0.02
done
"""
"""A stand-in for ffmpeg, which the tests do without."""


@pytest.fixture
def programs(tmp_path: Path) -> str:
    """A PATH with the programs of overseer, and the stand-in."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ffmpeg").write_text(FFMPEG)
    (folder / "ffmpeg").chmod(0o755)
    return os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]])


class Reader:
    """Somebody who does what a page says, in a folder of their own."""

    def __init__(self, folder: Path, path: str, launch: Callable[..., Daemon]) -> None:
        self.folder = folder
        self.path = path
        self.launch = launch
        self.configuration = (ROOT / "examples" / "config.yaml").read_text(encoding="utf-8")
        self.daemon: Daemon | None = None
        self.program = ""

    def configure(self, text: str) -> None:
        """Take another configuration; a daemon begins with it when something is run."""
        if self.daemon is not None:
            self.daemon.stop()
        self.configuration, self.daemon = text, None

    def running(self) -> Daemon:
        """Return the daemon, started if there is none yet."""
        if self.daemon is None:
            environment = {"OVERSEER_LISTEN": "127.0.0.1:0", "PATH": self.path}
            self.daemon = self.launch(self.configuration, environment=environment)
        return self.daemon

    def run(self, block: Block) -> str:
        """Run a block and return what it prints."""
        for name in re.findall(r"--config (\S+)", block.text):
            (self.folder / name).write_text(self.configuration)
        self.program = block.text if block.mark == "runs" else self.program + block.text
        text, environment = self.program, {**os.environ, "PATH": self.path}
        if block.kind == "sh" or ADDRESS in text:
            daemon = self.running()
            text = text.replace(ADDRESS, f"127.0.0.1:{daemon.port}")
            environment["OVERSEER_URL"] = daemon.url
        file = self.folder / "block"
        file.write_text(text)
        done = subprocess.run(
            [sys.executable, file] if block.kind == "python" else ["sh", "-eu", file],
            check=False,
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE,
        )
        assert done.returncode == 0, f"{block.name}\n{done.stdout}"
        return done.stdout


def fits(expected: str, printed: str) -> bool:
    """Whether something is what a page says, where ``…`` is any text, and alone on a line any lines."""
    pattern = "".join(
        r"(?:.*\n)*" if line == "…" else re.escape(line).replace("…", ".*") + r"\n"
        for line in expected.splitlines()
    )
    return re.fullmatch(pattern, printed) is not None


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(block.runs for block in blocks(page))],
    ids=lambda page: page.name,
)
def test_what_a_page_shows_happens(
    page: Path, launch: Callable[..., Daemon], tmp_path: Path, programs: str
) -> None:
    """Whoever follows the page from its top gets what it says."""
    reader = Reader(tmp_path, programs, launch)
    for block in blocks(page):
        if block.is_configuration:
            reader.configure(block.text)
        elif block.runs:
            printed = reader.run(block)
            assert block.printed is None or fits(block.printed, printed), f"{block.name}\n{printed}"


def test_blocks_are_found() -> None:
    """The search for what runs has not gone blind."""
    assert sum(block.runs for block in BLOCKS) >= 10


def test_other_output_does_not_fit() -> None:
    """The comparison has not gone blind."""
    assert fits("a … c\n…\nd\n", "a b c\nx\ny\nd\n")
    assert not fits("a … c\n", "a b d\n")
    assert not fits("a\n", "a\nb\n")
