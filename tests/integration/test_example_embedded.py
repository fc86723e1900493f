"""The example of an application with an overseer of its own runs as its words say."""

import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

from conftest import DEADLINE, eventually

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "embedded" / "app.py"


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
