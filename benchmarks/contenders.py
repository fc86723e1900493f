"""The servers that are measured: each a process of its own, ended without a trace."""

import json
import shlex
import socket
import subprocess
import sys
import tempfile
from collections import deque
from contextlib import ExitStack
from pathlib import Path

FOLDER = Path(__file__).parent
START_DEADLINE = 15.0  # seconds until a contender must accept connections
STOP_DEADLINE = 15.0  # seconds it has to end after SIGTERM

# How to start each contender; {python}, {port}, {config} and {folder} are filled in.
COMMANDS = {
    "overseer": "{python} -m overseer --config {config}",
    "yardstick": "{python} {folder}/yardstick.py --port {port}",
    "ceiling": "{python} {folder}/ceiling.py --port {port}",
}


class ContenderError(Exception):
    """A contender did not start."""


def free_port():
    """Return a TCP port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Contender:
    """One running server, as a context manager.

    It runs in a temporary folder, so that ``python -m overseer`` is the installed package and not
    the working tree, and in a session of its own, so that a Ctrl-C is for the harness to handle. The
    end of its log is shown when something fails.
    """

    def __init__(self, name, command):
        self.name = name
        self.command = command
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"

    def __enter__(self):
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
            config = folder / "config.yaml"
            # JSON is YAML, and the standard library writes no other YAML.
            actions = json.loads((FOLDER / "actions.json").read_text())
            config.write_text(json.dumps({"listen": self.address, "actions": actions}, indent=2))
            words = [
                word.format(python=sys.executable, port=self.port, config=config, folder=FOLDER)
                for word in shlex.split(self.command)
            ]
            self.log = stack.enter_context((folder / "log").open("w+", errors="replace"))
            self.process = subprocess.Popen(
                words,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=self.log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            stack.callback(self._end)
            self._wait_until_it_listens()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind, error, traceback):
        if isinstance(error, Exception):
            print(f"\nThe log of {self.name} ends with:\n{self._log_end()}", file=sys.stderr)
        self._stack.close()

    def _wait_until_it_listens(self):
        pause = 0.02  # seconds between two attempts, unless the process ends first
        for _ in range(int(START_DEADLINE / pause)):
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except ConnectionRefusedError:
                pass
            try:
                self.process.wait(pause)
                break
            except subprocess.TimeoutExpired:
                pass
        raise ContenderError(f"{self.name} does not listen on its port:\n{self._log_end()}")

    def _log_end(self):
        self.log.seek(0)
        return "".join(deque(self.log, maxlen=20))

    def _end(self):
        self.process.terminate()
        try:
            self.process.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()  # its children end by themselves: their pipes are closed
            self.process.wait()

    def memory(self, field="VmRSS"):
        """Return a figure of /proc/PID/status in bytes: VmRSS, or VmHWM for its peak."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
        raise ContenderError(f"no {field} in the status of {self.name}")

    def reset_peak_memory(self):
        """Let VmHWM start again from the present VmRSS (proc(5), clear_refs)."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
