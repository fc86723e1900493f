"""The main job on real input: the example that makes a film with ffmpeg, through the example client."""

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import DEADLINE, Daemon

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
GRACE = 10
"""Seconds that the example gives ffmpeg to finish its file."""


@pytest.fixture
def convert(launch: Callable[..., Daemon]) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start the client with the action ``convert`` of a daemon that runs the examples."""
    assert shutil.which("ffmpeg"), "these tests need Debian's ffmpeg"
    daemon = launch(
        (EXAMPLES / "config.yaml").read_text(), environment={"OVERSEER_LISTEN": "127.0.0.1:0"}
    )
    clients: list[subprocess.Popen[str]] = []
    timers: list[threading.Timer] = []

    def convert(**params: object) -> "subprocess.Popen[str]":
        command = [sys.executable, str(EXAMPLES / "client.py"), "--url", daemon.url, "convert"]
        client = subprocess.Popen(
            [*command, *(f"{name}={value}" for name, value in params.items())],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        clients.append(client)
        # So that no test waits for a line that never comes.
        timers.append(threading.Timer(3 * DEADLINE, client.kill))
        timers[-1].start()
        return client

    yield convert
    for timer, client in zip(timers, clients, strict=True):
        timer.cancel()
        client.kill()
        client.communicate()
    assert not daemon.descendants()


def read_until(client: "subprocess.Popen[str]", wanted: str) -> list[str]:
    """Read stderr up to a line."""
    assert client.stderr is not None
    lines = []
    for line in client.stderr:
        lines.append(line.rstrip("\n"))
        if lines[-1] == wanted:
            return lines
    raise AssertionError(f"{wanted} never came: {lines}")


def film(path: Path) -> tuple[str, float]:
    """Return codec and length of a film, which ffprobe has read to its end."""
    command = ["ffprobe", "-v", "error", "-of", "json", "-count_frames"]
    command += ["-show_entries", "stream=codec_name,nb_read_frames", "-show_entries"]
    command += ["format=duration", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=DEADLINE)
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    (stream,) = found["streams"]
    length = float(found["format"]["duration"])
    assert int(stream["nb_read_frames"]) == pytest.approx(25 * length, abs=2)
    return stream["codec_name"], length


def test_a_film_is_made(convert: Callable[..., "subprocess.Popen[str]"], tmp_path: Path) -> None:
    """Progress is seen while it is made, and in the end there is a film of the length asked for."""
    path = tmp_path / "a film.mp4"
    began = time.monotonic()
    client = convert(output=path, seconds=4, size="320x240")
    read_until(client, "progress=continue")
    read_until(client, "progress=continue")
    assert client.poll() is None
    assert time.monotonic() - began < 4
    stdout, stderr = client.communicate(timeout=DEADLINE)
    assert client.returncode == 0
    assert stdout == ""
    assert stderr.splitlines()[-2:] == ["progress=end", "exited: code 0"]
    assert time.monotonic() - began > 3  # it was made at the speed of a film
    assert film(path) == ("mpeg4", pytest.approx(4, abs=0.1))


def test_a_stop_leaves_a_film(
    convert: Callable[..., "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    """Ctrl-C in the client: ffmpeg gets the time to finish its file, and uses little of it."""
    path = tmp_path / "film.mp4"
    client = convert(output=path, seconds=1000, size="320x240")
    for _ in range(4):
        read_until(client, "progress=continue")
    began = time.monotonic()
    client.send_signal(signal.SIGINT)
    _, stderr = client.communicate(timeout=DEADLINE)
    assert time.monotonic() - began < GRACE / 2
    # ffmpeg's own exit code after a signal: it was not killed.
    assert stderr.splitlines()[-2:] == ["progress=end", "exited: code 255"]
    assert client.returncode == 255
    codec, length = film(path)
    assert codec == "mpeg4"
    assert 1 < length < 30
