"""Make the pictures in ``images/``: real commands at a pseudo-terminal, against a daemon of their own.

``python docs/pictures.py`` needs an installed overseer, with psutil.
"""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import tempfile
import termios
import time
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

IMAGES = Path(__file__).resolve().parent / "images"
WIDTH, HEIGHT = 96, 30
CONFIG = """\
listen: unix:overseer.sock
actions:
  render:
    type: exec
    description: Renders a scene, frame by frame
    task_pool: {size: 3, queue_size: 10}
    config:
      entrypoint: sh
      command: ["-c", 'i=0; while [ $i -lt $2 ]; do i=$((i+1)); echo "$1: frame $i of $2"; sleep 0.2; done',
        "sh", "[[.scene]]", "[[.frames]]"]
      parameters: {scene: {}, frames: {default: "4", validate: "int(value) > 0"}}
  index:
    type: exec
    description: Indexes everything
    config:
      entrypoint: sh
      command: ["-c", 'while :; do echo "$((n=n+1)) documents"; done']
"""


def main() -> None:
    """Make every picture."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.yaml").write_text(CONFIG)
        environment = {**os.environ, "OVERSEER_URL": "unix:overseer.sock", "TERM": "xterm-256color"}
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        daemon = subprocess.Popen(
            ["overseer"], cwd=folder, env=environment, stderr=subprocess.DEVNULL
        )
        try:
            while not Path(folder, "overseer.sock").exists():
                time.sleep(0.1)
            render = "overseer run render -p scene=harbour"
            picture(
                "run",
                [render, f"{render} -p frames=many; echo $?", "overseer run rendr"],
                folder,
                environment,
            )
            for scene in ("harbour", "market", "lighthouse", "bridge", "station"):
                start = ["overseer", "start", "render", "-p", f"scene={scene}", "-p", "frames=1000"]
                subprocess.run(start, cwd=folder, env=environment, check=True, capture_output=True)
            start = ["overseer", "start", "index"]
            subprocess.run(start, cwd=folder, env=environment, check=True, capture_output=True)
            picture(
                "top", ["overseer top --once", "overseer ls", "overseer pools"], folder, environment
            )
        finally:
            daemon.terminate()
            daemon.wait()


def picture(name: str, commands: list[str], folder: str, environment: dict[str, str]) -> None:
    """Run commands one after the other and write what a terminal shows of them."""
    console = Console(record=True, width=WIDTH, file=StringIO(), force_terminal=True)
    for command in commands:
        console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
        console.print(Text.from_ansi(at_terminal(command, folder, environment).rstrip() + "\n"))
    console.save_svg(str(IMAGES / f"{name}.svg"), title=f"overseer {name}")


def at_terminal(command: str, folder: str, environment: dict[str, str]) -> str:
    """Return what a command prints at a terminal, stderr too."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
    child = subprocess.Popen(
        ["sh", "-c", command],
        cwd=folder,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            shown += os.read(ours, 65536)
        except OSError:  # the other side is closed
            break
    child.wait()
    os.close(ours)
    return shown.decode().replace("\r\n", "\n")


if __name__ == "__main__":
    main()
