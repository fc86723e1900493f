"""Clients write to tasks, signal them, and use their terminals."""

from collections.abc import Callable

import pytest
from conftest import Daemon

CONFIG = """
listen: "127.0.0.1:0"
actions:
  cat: {type: exec, config: {entrypoint: cat, stdin: pipe}}
  deaf: {type: exec, config: {entrypoint: sleep, command: ["1000"], stdin: pipe}}
  quiet: {type: exec, config: {entrypoint: sleep, command: ["1000"]}}
  terminal:
    type: exec
    config: {entrypoint: sh, command: ["-c", "[[.script]]"], parameters: {script: {}}, pty: true}
"""


@pytest.fixture(scope="module")
def daemon(launch_shared: Callable[..., Daemon]) -> Daemon:
    return launch_shared(CONFIG)


def test_input_comes_out_again(daemon: Daemon) -> None:
    """Each is acknowledged, and the end of input ends the program by itself."""
    with daemon.client() as client:
        client.start("cat", task_id="cat")
        first = client.ask(type="input", task_id="cat", data="one\ntw")
        assert (first["type"], first["task_id"]) == ("ack", "cat")
        assert (
            client.ask(type="input", task_id="cat", data_base64="bwo=", eof=True)["type"] == "ack"
        )
        exited = client.until("exited")[-1]
        assert exited["exit_code"] == 0
        assert [m["data"] for m in client.seen if m["type"] == "output"] == ["one", "two"]


def test_a_client_that_waits_for_each_answer_is_never_refused(daemon: Daemon) -> None:
    """Far more than may wait goes through a pipe, in order and whole."""
    with daemon.client() as client:
        client.start("cat", task_id="much")
        line = "x" * 99 + "\n"
        for _ in range(40):
            assert client.ask(type="input", task_id="much", data=line * 2000)["type"] == "ack"
        client.send(type="input", task_id="much", eof=True)
        client.until("exited")
        assert sum(m["type"] == "output" for m in client.seen) == 80_000


def test_what_nobody_reads_is_refused_beyond_a_limit(daemon: Daemon) -> None:
    """The request that waits is answered when the task ends without having read it."""
    with daemon.client() as client:
        client.start("deaf", task_id="deaf")
        waiting = client.send(type="input", task_id="deaf", data="x" * 700_000)
        refused = client.ask(type="input", task_id="deaf", data="x" * 700_000)
        assert refused["message"] == "input: the process reads too slowly: at most 1MiB may wait"
        client.send(type="stop", task_id="deaf")
        answer = client.until(lambda m: m.get("id") == waiting)[-1]
        assert answer["message"] == "input: the process reads its stdin no more"


def test_a_task_without_stdin_says_so(daemon: Daemon) -> None:
    with daemon.client() as client:
        client.start("quiet", task_id="quiet")
        answer = client.ask(type="input", task_id="quiet", data="x")
        assert answer["message"] == "input: the action's configuration has no `stdin: pipe`"
        answer = client.ask(type="resize", task_id="quiet", rows=1, cols=1)
        assert answer["message"] == "resize: the action's configuration has no `pty: true`"
        assert client.ask(type="input", task_id="nobody", eof=True)["message"] == "task not found"


def test_a_signal_ends_a_task_unintentionally(daemon: Daemon) -> None:
    with daemon.client() as client:
        client.start("quiet", task_id="signalled")
        assert client.ask(type="signal", task_id="signalled", signal="USR1")["type"] == "ack"
        exited = client.until("exited")[-1]
        assert (exited["signal"], exited["intentional"]) == ("SIGUSR1", False)


def test_a_terminal(daemon: Daemon) -> None:
    """It has a size, takes lines and keys, and all it shows is one stream."""
    with daemon.client() as client:
        script = "stty -echo; stty size; read line; stty size; echo $line >&2; cat"
        client.start("terminal", task_id="tty", params={"script": script})
        assert client.until("output")[-1]["data"] == "24 80"
        assert client.ask(type="resize", task_id="tty", rows=50, cols=132)["type"] == "ack"
        client.send(type="input", task_id="tty", data="typed\n")
        size, typed = client.until("output")[-1], client.until("output")[-1]
        assert (size["data"], typed["data"], typed["stream"]) == ("50 132", "typed", "stdout")
        client.send(type="input", task_id="tty", eof=True)
        assert client.until("exited")[-1]["exit_code"] == 0
