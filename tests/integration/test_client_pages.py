"""What the pages on the client library and on embedding show runs as it stands, and prints what they say."""

import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import DEADLINE, Daemon, eventually

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "embedded" / "app.py"
_PROGRAM = re.compile(r"^```python\n(.*?)^```\n\n^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PYTHON = re.compile(r"^```python$", re.MULTILINE)


def programs() -> list[object]:
    """Return each program of these pages, and what it prints."""
    found = []
    for page in ("client.md", "embedding.md"):
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        shown = _PROGRAM.findall(text)
        assert len(shown) == len(_PYTHON.findall(text)), f"{page}: a program without its output"
        found += [pytest.param(*one, id=f"{page}-{number}") for number, one in enumerate(shown)]
    return found


@pytest.fixture(scope="module")
def examples(launch_shared: Callable[..., Daemon]) -> Daemon:
    """A daemon that runs the actions of the examples."""
    config = (ROOT / "examples" / "config.yaml").read_text(encoding="utf-8")
    return launch_shared(config, environment={"OVERSEER_LISTEN": "127.0.0.1:0"})


@pytest.mark.parametrize(("program", "output"), programs())
def test_programs_print_what_is_said(examples: Daemon, program: str, output: str) -> None:
    """Against a daemon with the example configuration."""
    done = subprocess.run(
        [sys.executable, "-c", program.replace("ws://127.0.0.1:8080/ws", examples.url)],
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE,
        check=False,
    )
    assert (done.stdout, done.stderr) == (output, "")


def test_the_embedded_application() -> None:
    """It starts jobs, lists what they say, and a signal ends both."""
    application = subprocess.Popen(
        [sys.executable, str(EXAMPLE), "0"], stdout=subprocess.PIPE, text=True
    )

    def ask(body: bytes | None = None) -> str:
        with urllib.request.urlopen(url, body, timeout=DEADLINE) as answer:
            return str(answer.read().decode().strip())

    try:
        assert application.stdout is not None
        url = application.stdout.readline().strip()
        job = ask(b"three little words")
        eventually(lambda: ask() == f"{job} stopped: 3 words")
        with urllib.request.urlopen(f"{url}overseer/readyz", timeout=DEADLINE) as answer:
            assert answer.status == 200
        ask(b"words " * 10_000)
        application.send_signal(signal.SIGINT)
        application.wait(DEADLINE)
    finally:
        application.kill()
        application.communicate()
