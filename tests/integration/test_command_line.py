"""The commands that talk to a daemon, against one that runs: what they print, and how they end."""

import contextlib
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
from conftest import DEADLINE, Client, Daemon, eventually
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread, deferToThread
from twisted.python.failure import Failure

from overseer.cli import conversation, main
from overseer.cli.exit_status import ExitStatus

TOKEN = "0123456789abcdef0123"
VIEWER = "abcdef0123456789abcd"
CONFIG = f"""
listen: ["127.0.0.1:0", "unix:overseer.sock"]
db: history.db
auth: {{tokens: [{{token: {TOKEN}, role: admin}}, {{token: {VIEWER}, role: viewer}}]}}
actions:
  sh:
    type: exec
    config:
      entrypoint: sh
      command: ["-c", "[[.script]]"]
      stdin: pipe
      parameters: {{script: {{}}}}
  echo:
    type: exec
    description: Prints something
    config:
      entrypoint: echo
      command: ["[[.message]]"]
      parameters: {{message: {{default: hello}}, loud: {{default: "no"}}}}
  seq:
    type: exec
    config: {{entrypoint: seq, command: ["[[.n]]"], parameters: {{n: {{}}}}}}
  python:
    type: exec
    config:
      entrypoint: {sys.executable}
      command: ["-c", "[[.program]]"]
      parameters: {{program: {{}}}}
  lazy:
    type: exec
    task_pool: {{size: 1, queue_size: 5}}
    config: {{entrypoint: sleep, command: ["1000"]}}
"""

SIGNALS_OF_RUN = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Run = Callable[..., Coroutine[Any, Any, "Done"]]
RunAlone = Callable[..., "Done"]
ensure_deferred = pytest_twisted.ensureDeferred


@pytest.fixture(scope="module")
def daemon(launch_shared: Callable[..., Daemon]) -> Daemon:
    """One daemon for all tests here."""
    return launch_shared(CONFIG)


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    """A client of the same daemon, to arrange things with."""
    with daemon.client(additional_headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        yield client


def variables(daemon: Daemon, **others: str) -> dict[str, str]:
    clean = {name: text for name, text in os.environ.items() if not name.startswith("OVERSEER_")}
    return {**clean, "OVERSEER_URL": daemon.url, "OVERSEER_TOKEN": TOKEN, **others}


@attrs.frozen
class Done:
    """How a command has ended, and what it has printed."""

    status: int
    out: str
    err: str


@pytest.fixture
def run(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """Run a command to its end, in this process: to start Python anew each time would take minutes."""
    monkeypatch.chdir(daemon.folder)
    monkeypatch.setattr(conversation, "outcome", outcome)
    handlers = {number: signal.getsignal(number) for number in SIGNALS_OF_RUN}

    async def run(*words: str, stdin: str = "", **environment: str) -> Done:
        for name, value in variables(daemon, **environment).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        status: int = await deferToThread(main, words)
        captured = capsys.readouterr()
        return Done(status, captured.out, captured.err)

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


def outcome(whole: Coroutine[Any, Any, int]) -> int | Failure:
    """Do what :func:`conversation.outcome` does, where the reactor runs already."""
    from twisted.internet import reactor

    try:
        result: int = blockingCallFromThread(reactor, Deferred.fromCoroutine, whole)
    except Exception:
        return Failure()
    return result


@pytest.fixture
def run_alone(daemon: Daemon) -> RunAlone:
    """Run a command to its end, in a process of its own."""

    def run(*words: str, stdin: str = "", **environment: str) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "overseer", *words],
            cwd=daemon.folder,
            env=variables(daemon, **environment),
            input=stdin,
            check=False,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def begin(daemon: Daemon) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start a command that goes on."""
    running: list[subprocess.Popen[str]] = []

    def begin(*words: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "overseer", *words],
            env=variables(daemon),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def state(client: Client, task_id: str) -> str | None:
    tasks = client.ask(type="list")["tasks"]
    return next((task["state"] for task in tasks if task["task_id"] == task_id), None)


def test_run_is_as_the_program_itself(run_alone: RunAlone) -> None:
    """Streams stay apart, and the exit status is the program's."""
    done = run_alone("run", "sh", "-p", "script=echo out; echo err >&2; exit 42")
    assert (done.status, done.out, done.err) == (42, "out\n", "err\n")
    done = run_alone("run", "sh", "-p", "script=kill -KILL $$")
    assert (done.status, done.out, done.err) == (128 + signal.SIGKILL, "", "")


@ensure_deferred
async def test_a_misspelt_parameter_is_told(run: Run) -> None:
    """The daemon would take it without a word."""
    done = await run("run", "echo", "-p", "mesage=hi")
    assert (done.status, done.out) == (0, "hello\n")
    assert done.err == 'overseer: echo has no parameter "mesage", did you mean "message"?\n'


def test_run_loses_nothing(run_alone: RunAlone) -> None:
    """A hundred thousand lines, byte by byte."""
    done = run_alone("run", "seq", "-p", "n=100000")
    assert done.status == 0
    assert done.out == "".join(f"{number}\n" for number in range(1, 100001))


def test_run_is_true_to_every_byte(run_alone: RunAlone) -> None:
    """Of lines that JSON must escape, that are empty or very long, and that are no UTF-8, in both streams."""
    script = r"""
        import os
        odd = ['"quoted\\"', "tab\there", "", "é 😀 \u2028", '","ts":"', "\x7f\x01", "plain"]
        lines = "\n".join(odd * 100).encode()
        for number in range(30):
            os.write(1, b"\xff broken \xc3\n" + lines + b"\n")
            os.write(2, b"%d\n" % number * 200)
        os.write(1, b"x" * 70_000 + b"\nno end" + b"y" * 3_000_000)
    """
    program = textwrap.dedent(script)
    done = run_alone("run", "python", "-p", f"program={program}")
    own = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.status == 0
    assert done.err == own.stderr.decode()
    assert done.out == own.stdout.decode("utf-8", "replace") + "\n"


@ensure_deferred
async def test_run_with_times_and_as_json(run: Run) -> None:
    done = await run("run", "echo", "-t")
    assert done.out[4:5] + done.out[27:] == "-Z hello\n".replace("Z", "Z", 1)[0] + done.out[27:]
    done = await run("run", "echo", "--json")
    events = [json.loads(line) for line in done.out.splitlines()]
    assert [event["type"] for event in events] == ["started", "output", "exited"]


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_stops_the_task(
    begin: Callable[..., "subprocess.Popen[str]"], client: Client, times: int
) -> None:
    """And the command ends as the task does; a second one does not wait for its grace."""
    task_id = f"interrupted-{times}"
    trap = "trap 'echo bye; exit 7' TERM" if times == 1 else "trap 'echo no' TERM"
    script = f"{trap}; echo ready; while :; do sleep 0.01; done"
    process = begin("run", "sh", "--id", task_id, "-p", f"script={script}")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == ("bye\n" if times == 1 else "no\n")
    if times == 2:
        process.send_signal(signal.SIGINT)
    assert process.wait(DEADLINE) == (7 if times == 1 else 128 + signal.SIGKILL)
    assert state(client, task_id) == "stopped"


def test_a_reader_who_takes_a_rest_loses_nothing(
    begin: Callable[..., "subprocess.Popen[str]"], client: Client
) -> None:
    """Lines that are more than a pipe holds, and more than the daemon keeps for a client, wait here."""
    script = "yes $(head -c 1000 /dev/zero | tr '\\0' x) | head -n 20000; echo end >&2"
    process = begin("run", "sh", "--id", "rest", "-p", f"script={script}")
    eventually(lambda: state(client, "rest") == "stopped")
    out, err = process.communicate(timeout=DEADLINE)
    assert (err, len(out), process.returncode) == ("end\n", 20_000 * 1001, 0)
    assert set(out.splitlines()) == {"x" * 1000}


def test_ctrl_c_is_heard_while_nobody_reads(
    begin: Callable[..., "subprocess.Popen[str]"], client: Client
) -> None:
    process = begin("run", "sh", "--id", "unread", "-p", "script=seq 100000; exec sleep 1000")
    eventually(lambda: state(client, "unread") == "active")
    counted = {"type": "metrics", "task_id": "unread"}
    eventually(lambda: client.ask(**counted)["task"]["output_lines"] == 100_000)
    process.send_signal(signal.SIGINT)
    eventually(lambda: state(client, "unread") == "stopped")
    out, _ = process.communicate(timeout=DEADLINE)
    assert out.count("\n") == 100_000
    assert process.returncode == 128 + signal.SIGTERM


def test_a_closed_pipe_stops_the_task(daemon: Daemon, client: Client) -> None:
    """As it would end the program itself."""
    command = f"{sys.executable} -m overseer run sh --id piped -p script=yes"
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -n 2; echo ${{PIPESTATUS[0]}}"],
        env=variables(daemon),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("y\ny\n141\n", "")
    eventually(lambda: state(client, "piped") == "stopped")


def test_a_full_disk_stops_the_task_and_is_told(daemon: Daemon, client: Client) -> None:
    """In one line, as everything that goes wrong; and of a command that only looks, too."""
    yes = ["run", "sh", "--id", "full", "-p", "script=yes"]
    for words in (yes, ["ls"], ["ls", "--json"]):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [sys.executable, "-m", "overseer", *words],
                env=variables(daemon),
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                timeout=DEADLINE,
                check=False,
            )
        told = (done.returncode, done.stderr)
        assert told == (1, "overseer: cannot print: No space left on device\n"), words
    eventually(lambda: state(client, "full") == "stopped")


def run_with_stdin(daemon: Daemon, script: str, *words: str, **options: Any) -> "Done":
    """Run ``overseer run --stdin`` with a shell script as the task, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "overseer", "run", "--stdin", *words, "-p", f"script={script}"],
        env=variables(daemon),
        capture_output=True,
        timeout=DEADLINE,
        check=False,
        **options,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def test_a_task_reads_stdin_to_its_end(daemon: Daemon) -> None:
    """Every byte, and then it is told that nothing follows."""
    assert run_with_stdin(daemon, "sort; exit 3", "sh", input=b"b\na\n") == Done(3, "a\nb\n", "")
    data = bytes(range(256)) * 20_000
    digest = hashlib.sha256(data).hexdigest()
    assert run_with_stdin(daemon, "sha256sum", "sh", input=data).out == f"{digest}  -\n"
    assert run_with_stdin(daemon, "cat", "sh", input=b"") == Done(0, "", "")


def test_a_task_that_has_read_enough_ends_as_it_wants(daemon: Daemon) -> None:
    """Whoever writes into the command has not closed it, and there is far more than it takes."""
    read_end, write_end = os.pipe()
    os.write(write_end, b"one\ntwo\n" + b"x" * 60_000)
    try:
        done = run_with_stdin(daemon, "head -n 1; exit 5", "sh", stdin=read_end)
    finally:
        os.close(read_end)
        os.close(write_end)
    assert done == Done(5, "one\n", "")


def test_stdin_for_a_task_that_reads_none(daemon: Daemon, client: Client) -> None:
    """It is stopped, and the reason told; nothing waits for ever."""
    words = ["run", "--stdin", "lazy", "--id", "reads-nothing"]
    done = subprocess.run(
        [sys.executable, "-m", "overseer", *words],
        env=variables(daemon),
        input="hello",
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == ExitStatus.REFUSED
    assert done.stderr == ("overseer: input: the action's configuration has no `stdin: pipe`\n")
    assert state(client, "reads-nothing") == "stopped"


def test_stdin_that_cannot_be_read(daemon: Daemon) -> None:
    for_writing = os.open(os.devnull, os.O_WRONLY)
    done = run_with_stdin(daemon, "cat", "sh", stdin=for_writing)
    os.close(for_writing)
    assert done == Done(1, "", "overseer: cannot read stdin: Bad file descriptor\n")


@pytest.mark.parametrize("word", ["--version", "--help", "schema", "doctor", "completion bash"])
def test_commands_without_a_daemon_end_as_well_when_nobody_takes_what_they_print(
    word: str, tmp_path: Path
) -> None:
    command = f"{sys.executable} -m overseer {word}"
    script = f"{command} >/dev/full; echo $?; {command} | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=True,
        cwd=tmp_path,
    )
    assert done.stderr == "overseer: cannot print: No space left on device\n"
    # Who prints little may have done so before the pipe was closed.
    assert done.stdout.split() in (["1", "141"], ["1", "0"], ["1", "1"])


def test_a_terminal_that_closes_stops_the_task(daemon: Daemon, client: Client) -> None:
    """However often it says so; where there is no stdout at all the task just runs."""
    words = [sys.executable, "-m", "overseer", "run", "sh", "--id", "hung-up", "-p"]
    trap = "trap 'sleep 0.3; exit 7' TERM; while :; do echo on; sleep 0.01; done"
    main_end, terminal = os.openpty()
    command = subprocess.Popen(
        [*words, f"script={trap}"],
        env=variables(daemon),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    os.read(main_end, 4)
    os.close(main_end)
    for _ in range(2):
        command.send_signal(signal.SIGHUP)
    assert command.wait(DEADLINE) in (1, 7)
    eventually(lambda: state(client, "hung-up") == "stopped")
    (task,) = [t for t in client.ask(type="list")["tasks"] if t["task_id"] == "hung-up"]
    assert task["last_exit_code"] == 7


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_top_leaves_the_terminal_as_it_was(daemon: Daemon, number: int) -> None:
    main_end, terminal = os.openpty()
    command = subprocess.Popen(
        [sys.executable, "-m", "overseer", "top", "--interval", "0.1"],
        env=variables(daemon, TERM="xterm"),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    shown = b""
    while b"LIMIT" not in shown and b"PARAMETERS" not in shown:
        shown += os.read(main_end, 65536)
    assert b"\x1b[?1049h" in shown
    command.send_signal(number)
    with contextlib.suppress(OSError):  # as Linux has it for a terminal that nobody has open
        while data := os.read(main_end, 65536):
            shown += data
    os.close(main_end)
    assert command.wait(DEADLINE) == 0
    assert shown.endswith(b"\x1b[?1049l")


def test_without_any_stdout(daemon: Daemon) -> None:
    for redirection in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        command = f"{sys.executable} -m overseer run sh -p 'script=echo out; exit 3'"
        done = subprocess.run(
            ["bash", "-c", f"{command} {redirection}"],
            env=variables(daemon),
            timeout=DEADLINE,
            capture_output=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (3, b""), redirection


@ensure_deferred
async def test_the_life_of_a_task(run: Run, client: Client) -> None:
    """start, ls, show, logs, restart, stop: ids go to stdout, and prefixes of them are enough."""
    script = "echo one; echo two >&2; exec sleep 1000"
    done = await run("start", "sh", "--id", "lifelong", "-p", f"script={script}")
    assert (done.status, done.out, done.err) == (0, "lifelong\n", "")
    eventually(lambda: client.ask(type="metrics", task_id="lifelong")["task"]["output_lines"] == 2)

    async def listed(*words: str) -> dict[str, str]:
        lines = [line.split("\t") for line in (await run("ls", *words)).out.splitlines()]
        return dict(zip(lines[0], next(row for row in lines if row[0] == "lifelong"), strict=True))

    row = await listed("--state", "active")
    assert row["ACTION"] == "sh"
    assert row["STATE"] == "active"
    assert row["PARAMETERS"] == f"script={script}"
    shown = json.loads((await run("show", "life", "--json")).out)
    assert shown["task_id"] == "lifelong"
    assert shown["output_lines"] == 2
    done = await run("logs", "life")
    assert (done.status, done.out, done.err) == (0, "one\n", "two\n")
    assert (await run("logs", "life", "--stderr")).err == "two\n"
    assert (await run("logs", "life", "-n", "1")).out == ""
    assert (await run("restart", "life")).out == "lifelong\n"
    assert (await run("stop", "life")).out == "lifelong\n"
    row = await listed()
    assert (row["STATE"], row["EXIT"]) == ("stopped", "SIGTERM")
    assert (await run("wait", "life")).status == 128 + signal.SIGTERM


@ensure_deferred
async def test_logs_follow_to_the_end(
    begin: Callable[..., "subprocess.Popen[str]"], run: Run, client: Client
) -> None:
    """From the last lines on, and with the exit status of the task."""
    script = "for i in 1 2 3; do echo $i; done; read more; echo $more; exit 5"
    client.start(task_id="followed", params={"script": script})
    client.until(lambda message: message.get("data") == "3")
    process = begin("logs", "-f", "-n", "2", "followed")
    assert process.stdout is not None
    assert process.stdout.readline() == "2\n"
    assert (await run("input", "followed", "four")).status == 0
    assert process.stdout.read() == "3\nfour\n"
    assert process.wait(DEADLINE) == 5
    assert (await run("logs", "followed")).status == 5


@ensure_deferred
async def test_input_from_stdin_and_signals(
    begin: Callable[..., "subprocess.Popen[str]"], run: Run, run_alone: RunAlone, client: Client
) -> None:
    client.start(task_id="reader", params={"script": "trap 'exit 3' USR1; wc -l; echo $?; read x"})
    client.start(
        task_id="signalled",
        params={"script": "trap 'exit 3' USR1; echo up; while :; do sleep 0.01; done"},
    )
    client.until(lambda message: message.get("data") == "up")
    assert run_alone("input", "reader", stdin="line\n" * 100_000).status == 0
    assert (await run("input", "reader", "--eof")).status == 0
    client.until(lambda message: message.get("data") == "100000")
    process = begin("wait", "signalled")
    assert (await run("signal", "USR1", "signalled")).status == 0
    assert process.wait(DEADLINE) == 3


@ensure_deferred
async def test_wait_no_longer_than_told(run: Run, client: Client) -> None:
    client.start(task_id="endless", params={"script": "exec sleep 1000"})
    done = await run("wait", "endless", "--timeout", "0.1")
    assert done.status == ExitStatus.TIMED_OUT
    assert (await run("wait", "endless", "--timeout", "0.1", "--fail-with", "125")).status == 125
    client.ask(type="stop", task_id="endless", ack=True)


@ensure_deferred
async def test_pools(run: Run, client: Client) -> None:
    """A full one queues; its limits change at once, its queue can be emptied."""
    for number in range(3):
        assert (await run("start", "lazy", "--id", f"lazy-{number}")).status == 0
    rows = [line.split("\t") for line in (await run("pools")).out.splitlines()]
    assert ["lazy", "1", "1", "2"] in rows
    changed = await run("pool", "set", "lazy", "--size", "2", "--json")
    assert json.loads(changed.out)["limit"] == 2
    assert (await run("purge", "lazy")).out == "1 task waits no more\n"
    done = await run("stop", "lazy-0", "lazy-1")
    assert done.out == "lazy-0\nlazy-1\n"


@ensure_deferred
async def test_what_there_is(run: Run) -> None:
    """actions, history, metrics, top."""
    lines = (await run("actions")).out.splitlines()
    assert "echo\texec\tmessage=hello loud=no\t\tPrints something" in lines
    assert "seq\texec\tn*\t\t" in lines
    assert (await run("run", "echo", "--id", "remembered")).status == 0
    (told,) = json.loads((await run("history", "remembered", "--json")).out)
    assert (told["state"], told["exit_code"]) == ("exited", 0)
    assert "remembered\t1\techo\texited\t0" in (await run("history", "remembered")).out
    assert (
        json.loads((await run("metrics", "--action", "echo", "--json")).out)["tasks_started"] >= 1
    )
    assert (
        json.loads((await run("top", "--once", "--json", "--interval", "0.1")).out)["tasks"] == []
    )


@ensure_deferred
async def test_raw(run: Run) -> None:
    """Requests as they stand, answers as they come."""
    done = await run("raw", '{"type": "pool_info", "id": "mine"}', '{"type": "nonsense"}')
    answers = [json.loads(line) for line in done.out.splitlines()]
    assert [(one["type"], one["id"]) for one in answers] == [("pool_info", "mine"), ("error", "2")]
    done = await run("raw", stdin='{"type": "start", "action": "echo", "task_id": "raw"}\n')
    assert "started" in done.out
    await run("run", "seq", "--id", "many", "-p", "n=20000")
    done = await run("raw", json.dumps({"type": "replay", "task_id": "many", "ack": True}))
    kept = [json.loads(line) for line in done.out.splitlines()]
    assert [one["data"] for one in kept if one["type"] == "output"][-1] == "20000"
    assert (await run("raw", "nonsense")).status == ExitStatus.USAGE


@ensure_deferred
async def test_over_a_unix_socket(run: Run, daemon: Daemon) -> None:
    """Without a token: the file mode says who may."""
    done = await run("run", "echo", OVERSEER_URL="unix:overseer.sock", OVERSEER_TOKEN="")
    assert (done.status, done.out) == (0, "hello\n")


FAILURES: list[tuple[list[str], dict[str, str], ExitStatus, str]] = [
    (
        ["ls"],
        {"OVERSEER_URL": "ws://127.0.0.1:1/ws"},
        ExitStatus.UNREACHABLE,
        "is the overseer running?",
    ),
    (["run", "echo"], {"OVERSEER_URL": "unix:/nowhere"}, ExitStatus.UNREACHABLE, "no such socket"),
    (["ls"], {"OVERSEER_URL": "http://x"}, ExitStatus.USAGE, "expected ws://"),
    (["ls"], {"OVERSEER_TOKEN": ""}, ExitStatus.DENIED, "set OVERSEER_TOKEN"),
    (["ls"], {"OVERSEER_TOKEN": "x" * 20}, ExitStatus.DENIED, "set OVERSEER_TOKEN"),
    (["run", "ecko"], {}, ExitStatus.NO_ACTION, 'did you mean "echo"?'),
    (["purge", "ecko"], {}, ExitStatus.NO_ACTION, 'did you mean "echo"?'),
    (["logs", "nobody"], {}, ExitStatus.NO_TASK, "`overseer ls`"),
    (["run", "seq"], {}, ExitStatus.REFUSED, "`overseer actions` shows the parameters"),
    (["run", "echo"], {"OVERSEER_TOKEN": VIEWER}, ExitStatus.DENIED, "the token of an admin"),
    (["start", "echo", "-p", "message"], {}, ExitStatus.USAGE, "expected NAME=VALUE"),
    (["stop"], {}, ExitStatus.USAGE, "--all"),
    (["signal", "some-task", "HUP"], {}, ExitStatus.USAGE, "`overseer signal HUP some-task`"),
    (["strat", "echo"], {}, ExitStatus.USAGE, "start"),
]


@pytest.mark.parametrize(
    ("words", "environment", "status", "words_told"),
    FAILURES,
    ids=[" ".join(f[0]) + str(n) for n, f in enumerate(FAILURES)],
)
@ensure_deferred
async def test_what_goes_wrong_is_one_line(
    run: Run, words: list[str], environment: dict[str, str], status: ExitStatus, words_told: str
) -> None:
    """That says what to do, and a status that says what it was."""
    done = await run(*words, **environment)
    assert done.status == status, done.err
    assert done.out == ""
    assert done.err.startswith("overseer: ")
    assert done.err.count("\n") == 1
    assert words_told in done.err


def test_a_daemon_that_ends(
    launch_shared: Callable[..., Daemon], begin: Callable[..., "subprocess.Popen[str]"]
) -> None:
    """run tells how the task ended, though the daemon is gone then."""
    other = launch_shared(
        CONFIG.replace('"127.0.0.1:0", "unix:overseer.sock"', '"127.0.0.1:0"').replace(
            "history.db", "other.db"
        )
    )
    process = begin("run", "sh", "-p", "script=echo up; exec sleep 1000", "--url", other.url)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    other.stop()
    assert process.wait(DEADLINE) == 128 + signal.SIGTERM


def test_of_a_forgotten_task_the_history_tells(
    launch_shared: Callable[..., Daemon], run_alone: RunAlone
) -> None:
    """How it ended, though not what it printed."""
    config = CONFIG.replace(', "unix:overseer.sock"', "").replace("history.db", "forgetful.db")
    other = launch_shared(f"{config}retain: {{count: 0}}\n")

    def ask(*words: str) -> Done:
        return run_alone("--url", other.url, *words)

    assert ask("run", "sh", "--id", "forgotten", "-p", "script=exit 5").status == 5
    eventually(lambda: ask("show", "forgot").status == 0)
    shown = dict(line.split("\t") for line in ask("show", "forgot").out.splitlines())
    assert (shown["task_id"], shown["state"], shown["exit_code"]) == ("forgotten", "exited", "5")
    assert ask("wait", "forgotten").status == 5
    assert ask("history", "forgot").out.splitlines()[1].startswith("forgotten\t1\tsh\texited\t5")
    done = ask("logs", "forgotten")
    assert (done.status, done.out) == (ExitStatus.NO_TASK, "")
    assert "is not kept any more: it ended 20" in done.err
    assert done.err.endswith(" with exit code 5\n")


def test_a_daemon_that_is_down_is_told_at_once(run_alone: RunAlone) -> None:
    """By a command of its own, from the start of Python on."""
    begun = time.monotonic()
    done = run_alone("ls", OVERSEER_URL="ws://127.0.0.1:1/ws")
    assert (done.status, done.out) == (ExitStatus.UNREACHABLE, "")
    assert done.err.startswith("overseer: ws://127.0.0.1:1/ws: nobody listens there")
    assert time.monotonic() - begun < DEADLINE / 4


def test_completion(run_alone: RunAlone) -> None:
    """The shell's script asks for commands, and the daemon for names."""
    assert "_OVERSEER_COMPLETE=bash_complete" in run_alone("completion", "bash").out
    words = {"_OVERSEER_COMPLETE": "bash_complete"}
    done = run_alone(COMP_WORDS="overseer run e", COMP_CWORD="2", **words)
    assert done.out == "plain,echo\n"
    completed = {
        "overseer hist": "plain,history\n",
        "overseer ls --action e": "plain,echo\n",
        "overseer signal hu": "plain,HUP\n",
        "overseer signal sigusr": "plain,SIGUSR1\nplain,SIGUSR2\n",
        "overseer --config conf": "file,conf\n",
    }
    for line, names in completed.items():
        count = str(line.count(" "))
        assert run_alone(COMP_WORDS=line, COMP_CWORD=count, **words).out == names, line
