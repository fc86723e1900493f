"""How tasks end: by a stop, by themselves, with all that they leave behind, and with the daemon."""

import contextlib
import getpass
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
from conftest import DEADLINE, SHELL, Client, Daemon, Message, eventually, is_alive
from websockets.exceptions import ConnectionClosed

STUBBORN = "trap '' TERM; echo up; while :; do sleep 0.1; done"
"""Cannot be asked to end."""
ACTIONS = """
  brief:
    type: exec
    stop_grace: 0.3s
    config:
      entrypoint: sh
      command: ["-c", "[[.script]]"]
      parameters: {script: {}}
  absent: {type: exec, config: {entrypoint: /nonexistent/program}}
  unfound: {type: exec, config: {entrypoint: no-such-program}}
  forbidden: {type: exec, config: {entrypoint: /etc/passwd}}
  homeless: {type: exec, config: {entrypoint: echo, cwd: "/nonexistent/[[.sub]]", parameters: {sub: folder}}}
  misplaced: {type: exec, config: {entrypoint: echo, cwd: /etc/passwd}}
"""


@pytest.fixture(scope="module")
def shared(launch_shared: Callable[..., Daemon]) -> Daemon:
    """A daemon for all tests here that leave it running."""
    return launch_shared(SHELL + ACTIONS)


@pytest.fixture
def client(shared: Daemon) -> Iterator[Client]:
    with shared.client() as client:
        yield client


def members(group: int) -> list[int]:
    """Everyone in a process group, zombies too."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                found.append(int(path.parent.name))
    return found


def zombies(daemon: Daemon) -> set[int]:
    return {
        pid for pid in daemon.descendants() if not is_alive(pid) and Path(f"/proc/{pid}").exists()
    }


def moment(message: Message) -> float:
    return datetime.fromisoformat(message["ts"]).timestamp()


def start_up(client: Client, script: str = STUBBORN, **fields: object) -> Message:
    """Start a task, wait for its first line and return its ``started``."""
    started = client.start(params={"script": script}, **fields)
    client.until("output")
    return started


# -------------------------------------------------------------------------------------------- stop


def test_a_stop_that_is_ignored(client: Client) -> None:
    """SIGKILL comes after the grace, and a second ``stop`` changes nothing.

    In the Go original the SIGKILL never came, and the second ``stop`` ended the daemon.
    """
    start_up(client, task_id="stubborn")
    begin = time.monotonic()
    client.send(type="stop", task_id="stubborn")
    client.send(type="stop", task_id="stubborn")
    exited = client.until("exited")[-1]
    assert 5 <= time.monotonic() - begin <= 6
    assert (exited["exit_code"], exited["signal"], exited["intentional"]) == (-1, "SIGKILL", True)
    client.send(type="replay", task_id="stubborn", ack=True)
    assert [message["type"] for message in client.until("ack")] == ["output", "exited", "ack"]


@pytest.mark.parametrize(
    ("fields", "least", "most"),
    [
        ({"action": "brief"}, 0.3, 1.2),
        ({"grace": "0.2s"}, 0.2, 1.1),
        ({"grace": "0s"}, 0, 0.9),
        ({"action": "brief", "grace": "700ms"}, 0.7, 1.6),
    ],
)
def test_grace(client: Client, fields: dict[str, str], least: float, most: float) -> None:
    """The action says how long a task has to end, and a request may say otherwise."""
    action = fields.pop("action", "sh")
    task_id = f"grace-{least}"
    start_up(client, action=action, task_id=task_id)
    begin = time.monotonic()
    client.send(type="stop", task_id=task_id, **fields)
    exited = client.until("exited")[-1]
    assert least <= time.monotonic() - begin <= most
    assert exited["signal"] == "SIGKILL"


def test_a_stop_that_is_heeded(client: Client) -> None:
    """A program may end in its own way, and its last words and exit code are told."""
    script = "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.05; done"
    start_up(client, script, task_id="polite")
    client.send(type="stop", task_id="polite")
    *_, bye, exited = client.until("exited")
    assert bye["data"] == "bye"
    assert (exited["exit_code"], exited.get("signal"), exited["intentional"]) == (7, None, True)


def test_stop_reaches_the_whole_group(client: Client) -> None:
    """Nothing that a task has started goes on after it was stopped, whatever ignores SIGTERM."""
    script = f"({STUBBORN}) & ({STUBBORN}) & echo up; wait; sleep 100"
    started = start_up(client, script, action="brief", task_id="family")
    client.send(type="stop", task_id="family")
    client.until("exited")
    eventually(lambda: not members(started["pid"]), timeout=1)


def test_stop_of_what_does_not_run(client: Client) -> None:
    """An unknown id is an error; a finished one is left alone."""
    assert client.ask(type="stop", task_id="nobody", ack=True)["message"] == "task not found"
    *_, line, exited = client.run("echo done; exit 4", task_id="over")
    client.send(type="stop", task_id="over")
    ack = client.ask(type="stop", task_id="over", ack=True)
    assert (ack["type"], ack["task_id"], ack["last_seq"]) == ("ack", "over", 1)
    client.send(type="replay", task_id="over", ack=True)
    assert client.until("ack")[:-1] == [line, exited]
    (task,) = [task for task in client.ask(type="list")["tasks"] if task["task_id"] == "over"]
    assert (task["state"], task["last_exit_code"]) == ("stopped", 4)


# --------------------------------------------------------------------------------------- exits


@pytest.mark.parametrize(
    ("script", "exit_code", "name"),
    [
        ("exit 0", 0, None),
        ("exit 255", 255, None),
        ("kill -SEGV $$", -1, "SIGSEGV"),
        ("kill -KILL $$", -1, "SIGKILL"),
        ("exit 137", 137, None),
    ],
)
def test_exit(client: Client, script: str, exit_code: int, name: str | None) -> None:
    """The exit code is the program's own; a signal that ended it is told by name."""
    exited = client.run(script)[-1]
    assert (exited["exit_code"], exited.get("signal")) == (exit_code, name)
    assert exited["intentional"] is False


@pytest.mark.parametrize(
    "leftovers",
    [
        "sleep 1000 &",
        "(sleep 1000 &); (sh -c 'sleep 1000 & exec sleep 1000' &)",
        "(trap '' TERM; sleep 1000; sleep 1000) &",
        "setsid sh -c 'touch here; sleep 1000' & until [ -e here ]; do sleep 0.01; done",
    ],
    ids=["background", "double-fork", "ignores-TERM", "setsid"],
)
def test_what_a_task_leaves_behind(
    shared: Daemon, client: Client, tmp_path: Path, leftovers: str
) -> None:
    """Nothing that holds the output hides the exit, nothing of the group lives on, and no zombie stays.

    In the Go original a grandchild that held stdout did hide it, and zombies stayed.
    """
    before = shared.descendants()
    messages = client.run(f"cd {tmp_path}\n{leftovers}\ndate +%s.%N")
    seen = time.monotonic()
    exited = messages[-1]
    # What is ended outside of the group may have its shell say so on stderr.
    (stamp,) = [message for message in messages if message.get("stream") == "stdout"]
    assert moment(exited) - float(stamp["data"]) <= 1.1
    assert exited["exit_code"] == 0
    eventually(lambda: not members(exited["pid"]), timeout=seen + 1 - time.monotonic())
    eventually(lambda: not zombies(shared))
    eventually(lambda: shared.descendants() <= before)


def test_leftovers_are_asked_first(client: Client, tmp_path: Path) -> None:
    """What a task leaves behind gets SIGTERM at once, may say its last words, and SIGKILL 1 s later."""
    armed = tmp_path / "armed"
    messages = client.run(
        f"sh -c 'trap \"echo asked\" TERM; touch {armed}; while :; do sleep 0.05; done' &\n"
        f"until [ -e {armed} ]; do sleep 0.02; done; date +%s.%N"
    )
    # On stderr the shell may tell how its own children ended.
    stamp, asked = (message for message in messages if message.get("stream") == "stdout")
    exited = messages[-1]
    assert asked["data"] == "asked"
    assert moment(asked) - float(stamp["data"]) < 0.6
    assert 0.9 <= moment(exited) - float(stamp["data"]) <= 1.1
    eventually(lambda: not members(exited["pid"]), timeout=1)


def test_many_tasks_leave_nothing(shared: Daemon, client: Client) -> None:
    """300 tasks later there is no zombie, and no descriptor more than before."""
    client.run("true")
    before = len(os.listdir(f"/proc/{shared.process.pid}/fd"))
    for _ in range(300):
        client.send(type="start", action="echo")
    for _ in range(300):
        client.until("exited")
    eventually(lambda: not zombies(shared))
    eventually(lambda: len(os.listdir(f"/proc/{shared.process.pid}/fd")) <= before)


# ------------------------------------------------------------------------------------ ids and lists


def test_an_id_that_is_taken(client: Client) -> None:
    """A running task keeps its id to itself."""
    start_up(client, "echo up; sleep 100", task_id="taken")
    error = client.ask(type="start", action="echo", task_id="taken")
    assert (error["type"], error["message"]) == ("error", "task already running or starting")
    client.send(type="start", action="echo", task_id="twice", id="one")
    client.send(type="start", action="echo", task_id="twice", id="two")
    (message,) = [m for m in client.until("error") if m["type"] == "error"]
    assert (message["id"], message["message"]) == ("two", "task already running or starting")
    client.send(type="stop", task_id="taken")
    client.until(lambda message: message["type"] == "exited" and message["task_id"] == "taken")


def test_a_finished_id_again(client: Client) -> None:
    """The same task runs again: its numbers go on, and its old lines can still be replayed.

    In the Go original a finished id could never be used again.
    """
    first = client.run("echo one; exit 3", task_id="again")
    epoch = client.ask(type="subscribe", task_id="again")["epoch"]
    second = client.run("echo two; echo three", task_id="again")
    assert [m["seq"] for m in first + second if m["type"] == "output"] == [1, 2, 3]
    assert second[0]["pid"] != first[0]["pid"]
    client.send(type="replay", task_id="again", ack=True)
    *events, _ack = client.until("ack")
    assert events == [message for message in first + second if message["type"] != "started"]
    assert client.ask(type="subscribe", task_id="again")["epoch"] == epoch
    (task,) = [task for task in client.ask(type="list")["tasks"] if task["task_id"] == "again"]
    assert (task["last_exit_code"], task["restart_count"]) == (0, 0)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ("absent", ["/nonexistent/program", "No such file or directory"]),
        ("unfound", ["no-such-program", "No such file or directory"]),
        ("forbidden", ["/etc/passwd", "Permission denied"]),
        ("homeless", ["echo", "/nonexistent/folder", "No such file or directory"]),
        ("misplaced", ["echo", "/etc/passwd", "Not a directory"]),
    ],
)
def test_a_program_that_cannot_be_executed(client: Client, action: str, words: list[str]) -> None:
    """The error names the program and the reason, and no task is left in ``list``."""
    error = client.ask(type="start", action=action, task_id=f"never-{action}")
    assert error["type"] == "error"
    for word in words:
        assert word in error["message"]
    assert client.ask(type="list", action=action)["tasks"] == []
    assert client.ask(type="stop", task_id=f"never-{action}")["message"] == "task not found"


def test_retention(launch: Callable[..., Daemon]) -> None:
    """Of finished tasks only the newest are kept; the Go original kept them all for ever."""
    daemon = launch("retain: {count: 5}\n" + SHELL)
    with daemon.client() as client:
        start_up(client, "echo up; sleep 100", task_id="runs")
        for number in range(12):
            client.run("true", task_id=f"done-{number}")

        def listed() -> list[str]:
            return [task["task_id"] for task in client.ask(type="list")["tasks"]]

        kept = ["runs", *(f"done-{number}" for number in range(7, 12))]
        eventually(lambda: listed() == kept)
        assert client.ask(type="stop", task_id="done-0")["message"] == "task not found"


# ----------------------------------------------------------------------------------------- shutdown


def receive_rest(client: Client) -> tuple[list[Message], int | None]:
    """Return all that comes to the end of the connection, and its close code."""
    messages = []
    while True:
        try:
            messages.append(client.receive())
        except ConnectionClosed:
            return messages, client.connection.close_code


def check_all_exited(messages: Iterable[Message], task_ids: Iterable[str]) -> None:
    exited = [message for message in messages if message["type"] == "exited"]
    assert sorted(message["task_id"] for message in exited) == sorted(task_ids)
    assert all(message["intentional"] for message in exited)
    assert {message["signal"] for message in exited} <= {"SIGTERM", "SIGKILL"}


@pytest.mark.parametrize(
    ("count", "grace", "number"),
    [
        (30, 0.5, signal.SIGTERM),
        (4, 0.5, signal.SIGINT),
        pytest.param(200, 5.0, signal.SIGTERM, marks=pytest.mark.slow),
    ],
    ids=["TERM", "INT", "200-tasks"],
)
def test_shutdown(launch: Callable[..., Daemon], count: int, grace: float, number: int) -> None:
    """On SIGTERM or SIGINT all tasks end, and clients are told of each before they are closed.

    Half of the tasks ignore SIGTERM, and get SIGKILL after the grace of their action.
    """
    config = (SHELL + ACTIONS).replace("stop_grace: 0.3s", f"stop_grace: {grace}s")
    daemon = launch(config)
    task_ids = [f"task-{index}" for index in range(count)]
    with daemon.client() as client, daemon.client() as watcher:
        watcher.ask(type="subscribe", task_id="*")
        for index, task_id in enumerate(task_ids):
            script = STUBBORN if index % 2 else "echo up; sleep 1000"
            client.send(type="start", action="brief", task_id=task_id, params={"script": script})
        for _ in task_ids:
            client.until("output")
        below = daemon.descendants()
        assert len(below) >= count
        begin = time.monotonic()
        status = daemon.stop(number, timeout=grace + 10)
        took = time.monotonic() - begin
        print(f"shutdown of {count} tasks: {took:.1f} s")
        assert took <= grace + 3
        assert status == 0
        assert not [pid for pid in below if is_alive(pid)]
        for one in (client, watcher):
            messages, code = receive_rest(one)
            check_all_exited(one.seen, task_ids)
            assert code == 1001
            assert messages[-1]["type"] == "exited"


def test_shutdown_refuses_starts(launch: Callable[..., Daemon]) -> None:
    """While the daemon ends, nothing new begins, and who asks is told so."""
    daemon = launch(SHELL + ACTIONS)
    with daemon.client() as client:
        start_up(client, action="brief", task_id="last")
        daemon.process.send_signal(signal.SIGTERM)
        daemon.wait_for_log("shutting down: ")
        error = client.ask(type="start", action="echo")
        assert error["type"] == "error"
        assert "shutting down" in error["message"]
        messages, code = receive_rest(client)
        assert ([m["type"] for m in messages], code) == (["exited"], 1001)
    assert daemon.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal(launch: Callable[..., Daemon], number: int) -> None:
    """Who cannot wait for the grace sends the signal again: everything is killed at once."""
    daemon = launch()
    with daemon.client() as client:
        started = [start_up(client) for _ in range(3)]
        begin = time.monotonic()
        daemon.process.send_signal(number)
        daemon.wait_for_log("shutting down: ")
        status = daemon.stop(number)
        assert time.monotonic() - begin < 3
        assert status == 0
        messages, code = receive_rest(client)
        check_all_exited(messages, [message["task_id"] for message in started])
        assert {m["signal"] for m in messages if m["type"] == "exited"} == {"SIGKILL"}
        assert code == 1001
    assert not [m["pid"] for m in started if members(m["pid"])]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_to_the_last_moment(launch: Callable[..., Daemon], number: int) -> None:
    """Whoever repeats the signal until the daemon is gone does not spoil its exit status."""
    daemon = launch()

    def gone() -> bool:
        daemon.process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            daemon.process.wait(0.0002)
        return daemon.process.returncode is not None

    deadline = time.monotonic() + DEADLINE
    while not gone() and time.monotonic() < deadline:
        pass
    assert daemon.stop() == 0


def test_shutdown_with_a_client_that_does_not_read(
    launch: Callable[..., Daemon], tmp_path: Path
) -> None:
    """It is cut off after 3 s, and everybody else has been told everything."""
    daemon = launch()
    over = tmp_path / "over"
    with daemon.raw_client(receive_buffer=4096) as stalled, daemon.client() as client:
        script = f"seq 1 60000; touch {over}; sleep 1000"
        stalled.send(type="start", action="sh", params={"script": script})
        start_up(client, "echo up; sleep 1000", task_id="quiet")
        eventually(over.exists)
        begin = time.monotonic()
        assert daemon.stop() == 0
        assert 3 <= time.monotonic() - begin < 5
        messages, code = receive_rest(client)
        assert ([m["type"] for m in messages], code) == (["exited"], 1001)


# -------------------------------------------------------------------------------- surroundings


def printed(messages: Iterable[Message]) -> list[str]:
    return [message["data"] for message in messages if message["type"] == "output"]


def test_children_start_clean(launch: Callable[..., Daemon]) -> None:
    """A child inherits nothing that is the daemon's own: variables, descriptors, signals, session."""
    private = {
        "NOTIFY_SOCKET": "/nonexistent",
        "WATCHDOG_USEC": "1000000000",
        "WATCHDOG_PID": "1",
        "LISTEN_FDNAMES": "x",
    }
    daemon = launch(
        command=(
            "sh",
            "-c",
            f'exec 7</dev/null; exec {sys.executable} -m overseer "$@"',
            "sh",
        ),
        environment={**private, "PUBLIC": "yes"},
    )
    with daemon.client() as client:
        variables = dict(line.split("=", 1) for line in printed(client.run("env")) if "=" in line)
        assert variables["PUBLIC"] == "yes"
        assert not variables.keys() & private.keys()
        assert not [name for name in variables if name.startswith(("LISTEN_", "WATCHDOG_"))]
        assert printed(client.run("ls /proc/$$/fd")) == ["0", "1", "2"]
        assert printed(client.run("readlink /proc/$$/fd/0")) == ["/dev/null"]
        messages = client.run("cut -d' ' -f1,5,6 /proc/$$/stat")
        assert printed(messages) == [" ".join([str(messages[0]["pid"])] * 3)]
        # "Broken pipe" would be on stderr.
        assert printed(client.run("yes | head -n 1; true")) == ["y"]
        status = dict(
            line.split() for line in printed(client.run("exec grep ^Sig /proc/self/status")) if line
        )
        assert int(status["SigBlk:"], 16) == 0
        assert not int(status["SigIgn:"], 16) & 1 << (signal.SIGPIPE - 1)
        limit = printed(client.run("ulimit -n"))
        own = subprocess.run(["sh", "-c", "ulimit -n"], capture_output=True, text=True, check=True)
        assert limit == own.stdout.split()


def test_what_the_configuration_gives_a_child(
    launch: Callable[..., Daemon], tmp_path: Path
) -> None:
    """Variables, working directory, umask, niceness, limits and user are those of the action."""
    environment_file = tmp_path / "variables"
    environment_file.write_text("# comment\nFROM_FILE=file\nBOTH='file'\n")
    user = "nobody" if os.geteuid() == 0 else getpass.getuser()
    folder = tmp_path / "name with spaces"
    folder.mkdir()
    config = f"""
listen: "127.0.0.1:0"
actions:
  variables:
    type: exec
    config: &variables
      entrypoint: /usr/bin/env
      env_file: {environment_file}
      env: {{BOTH: action, PARAM: "<[[.value]]>"}}
      parameters: {{value: {{default: "a b"}}}}
  cleared:
    type: exec
    config: {{<<: *variables, clear_env: true}}
  place:
    type: exec
    config:
      entrypoint: /bin/sh
      command: ["-c", "pwd; umask; nice; ulimit -n; ulimit -Hn; ulimit -c; ulimit -f"]
      cwd: "{tmp_path}/[[.folder]]"
      umask: "0027"
      nice: 7
      rlimits: {{nofile: {{soft: 100, hard: 200}}, core: 0, fsize: 512KiB}}
      parameters: {{folder: {{}}}}
  person:
    type: exec
    config: {{entrypoint: /usr/bin/id, user: {user}}}
  both:
    type: exec
    config: {{entrypoint: sh, command: ["-c", "id -un; nice"], user: {user}, nice: 3}}
  stranger:
    type: exec
    config: {{entrypoint: /usr/bin/id, user: no-such-user}}
"""
    daemon = launch(config, environment={"INHERITED": "yes", "BOTH": "daemon"})

    def run(client: Client, action: str, **params: str) -> list[str]:
        client.send(type="start", action=action, params=params)
        return printed(client.until("exited"))

    with daemon.client() as client:
        got = run(client, "variables")
        assert {"FROM_FILE=file", "BOTH=action", "PARAM=<a b>", "INHERITED=yes"} <= set(got)
        cleared = sorted(run(client, "cleared", value="$(id)"))
        unforeseen = ("OVERSEER_TASK_ID=", "OVERSEER_INSTANCE=", "OVERSEER_RUN=")
        assert [line for line in cleared if not line.startswith(unforeseen)] == [
            "BOTH=action",
            "FROM_FILE=file",
            "OVERSEER_ACTION=cleared",
            "OVERSEER_ATTEMPT=0",
            "PARAM=<$(id)>",
        ]
        assert run(client, "place", folder=folder.name) == [
            str(folder),
            "0027",
            str(os.nice(0) + 7),
            "100",
            "200",
            "0",
            "1024",
        ]
        if os.geteuid() == 0:
            (identity,) = run(client, "person")
            assert re.fullmatch(r"uid=\d+\(nobody\) gid=\d+\(\w+\) groups=\d+\(\w+\)", identity)
            assert run(client, "both") == ["nobody", str(os.nice(0) + 3)]
        else:
            error = client.ask(type="start", action="person")
            assert f'user "{user}": Operation not permitted' in error["message"]
        assert (
            'unknown user "no-such-user"' in client.ask(type="start", action="stranger")["message"]
        )
