"""The example that converts what comes into a folder, with ffmpeg."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Daemon, eventually

EXAMPLE = Path(__file__).parents[2] / "examples" / "incoming.yaml"


@pytest.mark.slow
def test_films_are_converted(launch: Callable[..., Daemon], tmp_path: Path) -> None:
    """Those that were there before, and those that come; each once, and nothing else."""
    assert shutil.which("ffmpeg"), "this test needs Debian's ffmpeg"
    folder = tmp_path / "incoming"
    folder.mkdir()
    film = tmp_path / "film.mp4"
    source = "testsrc2=size=320x240:rate=25:duration=1"
    subprocess.run(
        ["ffmpeg", "-nostdin", "-loglevel", "error", "-f", "lavfi", "-i", source, film], check=True
    )
    shutil.copy(film, folder / "first.mp4")
    (folder / "notes.txt").touch()
    daemon = launch(EXAMPLE.read_text(), environment={"OVERSEER_LISTEN": "127.0.0.1:0"})
    shutil.copy(film, folder / "second film.mp4")
    with daemon.client() as client:

        def exit_codes() -> list[int]:
            tasks = client.ask(type="list", state="stopped")["tasks"] or []
            return [task["last_exit_code"] for task in tasks]

        eventually(lambda: exit_codes() == [0, 0], timeout=60)
    assert {path.name for path in folder.glob("*.webm")} == {
        "first.mp4.webm",
        "second film.mp4.webm",
    }
