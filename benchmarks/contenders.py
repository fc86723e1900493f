"""The servers that are measured: each a process of its own, ended without a trace."""

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

FOLDER = Path(__file__).parent
ACTIONS = json.loads((FOLDER / "actions.json").read_text())
LINE = ACTIONS["firehose"]["config"]["parameters"]["line"]["default"]
JSON_LINE = json.dumps({"event": "progress", "text": "fifty-nine bytes of it in all"})
DRIVERS = ("coroutine", "generator", "thread")  # of drivers.py
START_DEADLINE = 15.0  # seconds until a contender must accept connections
STOP_DEADLINE = 90.0  # seconds it has to end after SIGTERM, thousands of tasks included

# The commonest filters: what is in the condition, the line that is printed, and whether it is kept.
FILTERS = {
    "true": ("true", LINE, True),
    "false": ("false", LINE, False),
    "stream": ('output.stream == "stdout"', LINE, True),
    "contains": ('output.data.contains("fox")', LINE, True),
    "contains not": ('output.data.contains("wolf")', LINE, False),
    "json": ("has(output.json.event)", JSON_LINE, True),
    "json not": ("has(output.json.error)", JSON_LINE, False),
    "no json": ("has(output.json.event)", LINE, False),
}


def actions():
    """Return the actions of every contender: a firehose for each filter beside those of the file."""
    firehose = ACTIONS["firehose"]
    filtered = {
        f"firehose {name}": {
            **firehose,
            "config": {**firehose["config"], "output": {"stdout": {"condition": condition}}},
        }
        for name, (condition, _, _) in FILTERS.items()
    }
    return ACTIONS | filtered


class ContenderError(Exception):
    """A contender did not start."""


@dataclass(frozen=True)
class Server:
    """How a contender is started: {python}, {port}, {config}, {folder} and {line} are filled in.

    ``settings`` are keys of overseer's configuration beside the actions and the address.
    """

    command: str
    settings: Mapping[str, object] = field(default_factory=dict)


OVERSEER = "{python} -m overseer --config {config}"
SERVERS = {
    "overseer": Server(OVERSEER),
    "with event log": Server(OVERSEER, {"log_file": "events.jsonl"}),
    "with history": Server(OVERSEER, {"db": "history.db"}),
    "with drivers": Server(
        "{python} {folder}/drivers.py --config {config}",
        {"actions": ACTIONS | {name: {"type": name} for name in DRIVERS}},
    ),
    "that keeps 20,000": Server(OVERSEER, {"retain": {"count": 20_000}}),
    "yardstick": Server("{python} {folder}/yardstick.py --port {port}"),
    "ceiling": Server("{python} {folder}/ceiling.py --port {port}"),
    # A program a connection and nothing around a line: the query says how many lines there are to be.
    "websocketd": Server(
        "websocketd --address=127.0.0.1 --port={port} --loglevel=fatal"
        """ sh -c 'yes "{line}" | head -n "$QUERY_STRING"'"""
    ),
}


def is_installed(name):
    """Return whether the program of a contender is there; those in Python always are."""
    program = shlex.split(SERVERS[name].command)[0]
    return program == "{python}" or shutil.which(program) is not None


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

    def __init__(self, name, overseer_command=OVERSEER):
        server = SERVERS[name]
        self.name = name
        self.command = overseer_command if server.command == OVERSEER else server.command
        self.settings = server.settings
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"

    def __enter__(self):
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
            config = folder / "config.yaml"
            # JSON is YAML, and the standard library writes no other YAML.
            keys = {"listen": self.address, "actions": actions(), **self.settings}
            config.write_text(json.dumps(keys, indent=2))
            words = [
                word.format(
                    python=sys.executable, port=self.port, config=config, folder=FOLDER, line=LINE
                )
                for word in shlex.split(self.command)
            ]
            self.log = stack.enter_context((folder / "log").open("w+", errors="replace"))
            begin = perf_counter()
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
            self.start_up = perf_counter() - begin  # seconds
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind, error, traceback):
        if isinstance(error, Exception):
            print(f"\nThe log of {self.name} ends with:\n{self._log_end()}", file=sys.stderr)
        self._stack.close()

    def _wait_until_it_listens(self):
        pause = 0.002  # seconds between two attempts, unless the process ends first
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
            self.process.kill()
            self.process.wait()
        # The children of a server that leaves them behind.
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def memory(self, field="VmRSS"):
        """Return a figure of /proc/PID/status in bytes: VmRSS, or VmHWM for its peak."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
        raise ContenderError(f"no {field} in the status of {self.name}")

    def reset_peak_memory(self):
        """Let VmHWM start again from the present VmRSS (proc(5), clear_refs)."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def processor_time(self):
        """Return the seconds of a processor that the server itself has used, its children not."""
        threads = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9
