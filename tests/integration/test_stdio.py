"""The daemon with its client on stdin and stdout: what an editor or a script starts for itself."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from conftest import DEADLINE, SHELL, Message, eventually, is_alive
from websockets.sync.client import unix_connect

ON_STDIO = SHELL.replace('"127.0.0.1:0"', "stdio")
OVERSEER = (sys.executable, "-m", "overseer")
TWISTD = (str(Path(sys.executable).with_name("twistd")), "--pidfile=")

Open = Callable[..., "Child"]


class Child:
    """A daemon, with pipes to its stdin, stdout and stderr."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self.errors = folder / "stderr"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        # Whatever a test waits for, it does not wait for ever.
        self.watchdog = threading.Timer(DEADLINE, self.process.kill)
        self.watchdog.start()

    @property
    def stdin(self) -> IO[str]:
        assert self.process.stdin is not None
        return self.process.stdin

    @property
    def stdout(self) -> IO[str]:
        assert self.process.stdout is not None
        return self.process.stdout

    def send(self, **fields: Any) -> None:
        print(json.dumps({"id": "1", **fields}), file=self.stdin, flush=True)

    def until(self, kind: str) -> list[Message]:
        messages: list[Message] = []
        for line in self.stdout:
            messages.append(json.loads(line))
            if messages[-1]["type"] == kind:
                return messages
        raise AssertionError(f"ended after {messages}: {self.errors.read_text()}")

    def end(self) -> tuple[int, list[Message]]:
        """Close stdin; return the exit status and what was still told."""
        self.stdin.close()
        rest = [json.loads(line) for line in self.stdout]
        return self.process.wait(DEADLINE), rest


@pytest.fixture
def open_child(tmp_path: Path) -> Iterator[Open]:
    children: list[Child] = []

    def open_child(config: str = ON_STDIO, command: tuple[str, ...] = OVERSEER) -> Child:
        path = tmp_path / "config.yaml"
        path.write_text(config)
        children.append(Child([*command, "--config", str(path)], tmp_path))
        return children[-1]

    yield open_child
    for child in children:
        child.watchdog.cancel()
        child.process.kill()
        child.process.wait(DEADLINE)
        assert "Traceback" not in child.errors.read_text()


@pytest.mark.parametrize("command", [OVERSEER, (*TWISTD, "-n", "overseer")])
def test_a_task_is_started_and_streamed(open_child: Open, command: tuple[str, ...]) -> None:
    """Every line on stdout is one message; what is logged goes to stderr, under twistd, too."""
    child = open_child(command=command)
    child.send(type="start", action="sh", params={"script": "echo one; echo two >&2; exit 3"})
    messages = child.until("exited")
    assert messages[0]["type"] == "started"
    assert sorted(m["data"] for m in messages if m["type"] == "output") == ["one", "two"]
    assert messages[-1]["exit_code"] == 3
    assert child.end() == (0, [])
    assert "listening on stdio" in child.errors.read_text()


def test_eof_ends_the_daemon_and_its_tasks_in_order(open_child: Open) -> None:
    """What was asked is answered, the tasks are stopped, and their exits are told."""
    child = open_child()
    child.send(type="start", action="sh", params={"script": "exec sleep 1000"})
    pid = child.until("started")[0]["pid"]
    child.send(type="list", id="last")
    status, rest = child.end()
    assert status == 0
    assert [message["type"] for message in rest] == ["tasks", "exited"]
    assert rest[-1]["intentional"] is True
    assert not is_alive(pid)


def test_a_signal_ends_it_in_order(open_child: Open) -> None:
    """As with any other listener."""
    child = open_child()
    child.send(type="start", action="sh", params={"script": "exec sleep 1000"})
    child.until("started")
    child.process.send_signal(signal.SIGTERM)
    assert child.until("exited")[-1]["signal"] == "SIGTERM"
    assert child.end() == (0, [])


def test_a_firehose_arrives_whole(open_child: Open) -> None:
    """A lone reader loses nothing, however slow the pipe is."""
    child = open_child()
    child.send(type="start", action="sh", params={"script": "seq 100000"})
    numbers = [m["seq"] for m in child.until("exited") if m["type"] == "output"]
    assert numbers == list(range(1, 100_001))


def test_a_reader_that_goes_ends_the_daemon(open_child: Open) -> None:
    """``overseer | head``: with nobody left to tell, it stops its tasks and ends."""
    child = open_child()
    child.send(type="start", action="sh", params={"script": "exec sleep 1000"})
    pid = child.until("started")[0]["pid"]
    child.stdout.close()
    assert child.process.wait(DEADLINE) == 0
    assert not is_alive(pid)


def test_a_line_that_is_too_long_is_told_and_ends_it(open_child: Open) -> None:
    """The limit is that of any message."""
    child = open_child(f"limits: {{message_size: 1KiB}}\n{ON_STDIO}")
    print("x" * 2000, file=child.stdin, flush=True)
    assert child.until("error")[-1]["message"].startswith("message too large")
    assert child.end() == (0, [])


def test_beside_other_listeners_eof_ends_the_client_alone(open_child: Open, tmp_path: Path) -> None:
    """The daemon and the tasks go on for the others."""
    path = tmp_path / "socket"
    child = open_child(SHELL.replace('"127.0.0.1:0"', f"[stdio, 'unix:{path}']"))
    child.send(type="start", action="sh", params={"script": "exec sleep 1000"})
    pid = child.until("started")[0]["pid"]
    child.stdin.close()
    assert child.stdout.read() == ""
    with unix_connect(str(path), "ws://localhost/ws") as connection:
        connection.send('{"type":"list","id":"1"}')
        assert json.loads(connection.recv())["tasks"][0]["current_pid"] == pid
    child.process.send_signal(signal.SIGTERM)
    assert child.process.wait(DEADLINE) == 0
    eventually(lambda: not is_alive(pid))


def test_requests_from_a_file(open_child: Open, tmp_path: Path) -> None:
    """``overseer < requests > answers`` answers them all, though files are no pipes."""
    requests, answers = tmp_path / "requests", tmp_path / "answers"
    requests.write_text("".join(f'{{"type":"list","id":"{n}"}}\n' for n in range(500)))
    config = tmp_path / "config.yaml"
    config.write_text(ON_STDIO)
    with requests.open() as stdin, answers.open("w") as stdout:
        subprocess.run(
            [*OVERSEER, "--config", str(config)],
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.DEVNULL,
            timeout=DEADLINE,
            check=True,
        )
    ids = [json.loads(line)["id"] for line in answers.read_text().splitlines()]
    assert ids == [str(n) for n in range(500)]


def test_a_daemon_in_the_background_has_no_stdin(open_child: Open) -> None:
    """Under ``twistd`` without ``-n`` it is an error that says what to do."""
    child = open_child(command=(*TWISTD, "overseer"))
    assert child.process.wait(DEADLINE) == 1
    assert child.errors.read_text() == (
        'overseer: listen "stdio": a daemon in the background has no stdin: use twistd --nodaemon\n'
    )
