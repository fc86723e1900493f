"""Pools, queues, retries, time limits and counters: a real daemon, real children, impatient clients."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from configurations import DOCUMENT, RECORDER
from conftest import Client, Daemon, Message, eventually

LIVE = "echo up; exec sleep 100"
"""Runs until it is stopped."""

SHELL_ACTION = """
    type: exec
    config: {entrypoint: sh, command: ["-c", "[[.script]]"], parameters: {script: {}}}
"""
CONFIG = f"""
listen: "127.0.0.1:0"
actions:
  sh: {SHELL_ACTION}
  single: {SHELL_ACTION}
    task_pool: {{size: 1, queue_size: 10}}
  stack: {SHELL_ACTION}
    task_pool: {{size: 1, queue: {{enabled: true, order: last}}}}
  narrow: {SHELL_ACTION}
    task_pool: {{size: 1, queue_size: 1}}
  displacing: {SHELL_ACTION}
    task_pool: {{size: 1, queue: {{enabled: true, size: 1, displace: true}}}}
  impatient: {SHELL_ACTION}
    task_pool: {{size: 1, queue_size: 5, queue_timeout: 200ms}}
  changing: {SHELL_ACTION}
    task_pool: {{size: 1, queue_size: 20}}
  lowered: {SHELL_ACTION}
    task_pool: {{size: 3, queue_size: 20}}
  requeued: {SHELL_ACTION}
    task_pool: {{size: 2, queue_size: 1}}
  forced: {SHELL_ACTION}
    task_pool: {{size: 1, excess: {{action: stop, order: first}}}}
  unique: {SHELL_ACTION}
    dedupe_key: [script]
    task_pool: {{size: 1, queue_size: 5}}
  unique_retried: {SHELL_ACTION}
    dedupe_key: [script]
    retry: {{restart_delay: 1h}}
  hasty: {SHELL_ACTION}
    timeout: 300ms
  quiet: {SHELL_ACTION}
    idle_timeout: 300ms
  retried: {SHELL_ACTION}
    retry: {{restart_delay: 10ms, error_threshold: 3}}
  patient: {SHELL_ACTION}
    retry: {{restart_delay: 1h}}
    task_pool: {{size: 1, queue_size: 5}}
  releasing: {SHELL_ACTION}
    retry: {{restart_delay: 1h, release_slot: true}}
    task_pool: {{size: 1, queue_size: 5}}
"""


@pytest.fixture(scope="module")
def shared(launch_shared: Callable[..., Daemon]) -> Daemon:
    """A daemon for all tests here that leave it running; each has an action of its own."""
    return launch_shared(CONFIG)


@pytest.fixture
def client(shared: Daemon) -> Iterator[Client]:
    with shared.client() as client:
        yield client


def begin(client: Client, action: str, script: str = LIVE, **fields: Any) -> Message:
    """Start a task and return the first answer: ``started`` or ``queued``."""
    return client.start(action, params={"script": script}, **fields)


def of_task(task_id: str, kind: str) -> Callable[[Message], bool]:
    return lambda message: message["type"] == kind and message.get("task_id") == task_id


def awaited(client: Client, fits: Callable[[Message], bool]) -> Message:
    """Return the first message that fits, also when it came while something else was waited for."""
    for message in client.seen:
        if fits(message):
            return message
    return client.until(fits)[-1]


def pool(client: Client, action: str) -> dict[str, Any]:
    """Return how a pool is now, its queue as task ids."""
    info: dict[str, Any] = client.ask(type="pool_info", action=action)["pool"]
    return info | {"queue_items": [item["task_id"] for item in info.get("queue_items", [])]}


def state_of(client: Client, task_id: str) -> dict[str, Any]:
    (task,) = [task for task in client.ask(type="list")["tasks"] if task["task_id"] == task_id] or [
        {}
    ]
    return task


def moment(message: Message) -> float:
    return datetime.fromisoformat(message["ts"]).timestamp()


# -------------------------------------------------------------------------- real configurations

RECORDS = """#!/bin/sh
echo 'starting'
echo '{"progress": 1}'
echo 'noise' >&2
printf '{"event": "args", "args": "%s"}\\n' "$*"
case $2 in live*) exec sleep 100;; esac
"""


def with_program(folder: Path, name: str, text: str) -> dict[str, str]:
    """Put a program on a PATH, and return the environment of a daemon that finds it."""
    programs = folder / "programs"
    programs.mkdir()
    program = programs / name
    program.write_text(text)
    program.chmod(0o755)
    return {"PATH": f"{programs}:/usr/bin:/bin", "OVERSEER_LISTEN": "127.0.0.1:0"}


def test_the_recorder_configuration_runs_as_it_is(
    launch: Callable[..., Daemon], tmp_path: Path
) -> None:
    """Its conditions choose lines, its templates and ``{{ }}`` stay what they are, its pool holds."""
    daemon = launch(RECORDER, environment=with_program(tmp_path, "recorder", RECORDS))
    with daemon.client() as client:
        client.send(type="start", action="recorder", task_id="a", params={"source": "x y"})
        started, line, exited, restarting = client.until("restarting")
        assert json.loads(line["data"]) == {
            "event": "args",
            "args": "-s x y -r 1080 -o /data/{{.Site}}/{{.Source}} --output-format json",
        }
        assert (line["stream"], line["seq"]) == ("stdout", 1)
        assert (exited["exit_code"], exited["intentional"]) == (0, False)
        assert (restarting["restart_delay"], restarting["attempt"]) == ("30s", 1)
        assert restarting["pid"] == started["pid"]
        again = client.ask(type="start", action="recorder", params={"source": "x y"})
        assert again["message"] == "duplicate task: already running as a"
        assert again["existing_task_id"] == "a"
        wrong = {"source": "z", "resolution": "4k"}
        refused = client.ask(type="start", action="recorder", params=wrong)
        assert refused["message"].startswith("validation error: ")
        assert "resolution" in refused["message"]
        missing = client.ask(type="start", action="recorder")
        assert "source" in missing["message"]
        for number in range(9):
            params = {"source": f"live{number}", "resolution": "720"}
            answer = client.start("recorder", task_id=f"live{number}", params=params)
            assert answer["type"] == ("started" if number < 7 else "queued")
        info = client.ask(type="pool_info")
        assert (info["pool"]["limit"], info["pool"]["running"]) == (8, 8)
        assert info["pools"]["recorder"]["queue_depth"] == 2
        client.send(type="stop", task_id="a")  # waits to restart, and holds a slot
        client.until(of_task("live7", "started"))
        assert state_of(client, "a")["state"] == "stopped"
        described = client.ask(type="describe", action="recorder")["actions"][0]
        assert described["retry"] == {"restart_delay": "30s"}
        assert described["dedupe_key"] == ["source"]
        assert described["task_pool"]["queue"]["size"] == 100
    assert daemon.stop() == 0


def test_the_configuration_of_the_users_document_has_its_pool_enforced(
    launch: Callable[..., Daemon], tmp_path: Path
) -> None:
    """Ten run, a hundred wait, the next is turned away; whoever ends lets the oldest begin."""
    slow_echo = "#!/bin/sh\nprintf '%s\\n' \"$1\"; exec sleep 100\n"
    daemon = launch(DOCUMENT, environment=with_program(tmp_path, "echo", slow_echo))
    with daemon.client() as client:
        for number in range(10):
            assert client.start("echo", task_id=f"t{number}")["type"] == "started"
        for number in range(10, 110):
            queued = client.start("echo", task_id=f"t{number}")
            assert (queued["type"], queued["position"]) == ("queued", number - 9)
        rejected = client.ask(type="start", action="echo", task_id="t110")
        assert rejected["message"].startswith("pool rejected task: ")
        assert "10 of 10" in rejected["message"]
        client.send(type="stop", task_id="t3")
        assert client.until("started")[-1]["task_id"] == "t10"
        info = client.ask(type="pool_info")["pool"]
        assert (info["limit"], info["running"], info["queue_depth"]) == (10, 10, 99)
        assert client.ask(type="purge")["count"] == 99
    assert daemon.stop() == 0


# --------------------------------------------------------------------------------------- queues


def test_waiting_tasks_begin_in_their_order(client: Client) -> None:
    """The oldest first, one at a time, each answered with the id of its start."""
    for number in range(5):
        begin(client, "single", "sleep 0.05", task_id=f"fifo-{number}", id=f"s{number}")
    messages = client.until(of_task("fifo-4", "exited"))
    events = [
        (message["type"], message["task_id"])
        for message in client.seen
        if message["type"] in ("started", "exited")
    ]
    assert events == [
        (kind, f"fifo-{number}") for number in range(5) for kind in ("started", "exited")
    ]
    started = [message["id"] for message in messages if message["type"] == "started"]
    assert started == ["s1", "s2", "s3", "s4"][-len(started) :]


def test_the_newest_waiting_task_begins_first_where_that_is_the_order(client: Client) -> None:
    """``order: last``."""
    for number in range(4):
        begin(client, "stack", task_id=f"lifo-{number}")
    assert pool(client, "stack")["queue_items"] == ["lifo-3", "lifo-2", "lifo-1"]
    for running, following in ((0, 3), (3, 2), (2, 1)):
        client.send(type="stop", task_id=f"lifo-{running}")
        client.until(of_task(f"lifo-{following}", "started"))
    client.send(type="stop", task_id="lifo-1")
    client.until(of_task("lifo-1", "exited"))


def test_a_waiting_task_can_be_stopped(shared: Daemon, client: Client) -> None:
    """All are told once, it is listed no more, its id is free, and those behind it move up."""
    for number in range(4):
        begin(client, "single", task_id=f"w{number}")
    with shared.client() as other:
        assert other.ask(type="stop", task_id="w2", ack=True)["type"] == "ack"
        assert [message["type"] for message in other.seen] == ["dequeued", "ack"]
    dequeued = client.until("dequeued")[-1]
    assert (dequeued["task_id"], dequeued["reason"]) == ("w2", "stopped")
    assert pool(client, "single")["queue_items"] == ["w1", "w3"]
    assert state_of(client, "w2") == {}
    assert begin(client, "single", task_id="w2")["position"] == 3
    assert client.ask(type="purge", action="single")["count"] == 3
    gone = [message["task_id"] for message in client.seen if message["type"] == "dequeued"]
    assert gone == ["w2", "w1", "w3", "w2"]
    client.send(type="stop", task_id="w0")
    client.until(of_task("w0", "exited"))
    eventually(lambda: pool(client, "single")["running"] == 0)


def test_a_full_queue_turns_away_or_displaces(client: Client) -> None:
    """The newest by an error, or with ``displace`` the oldest by ``dequeued``."""
    for number in range(2):
        begin(client, "narrow", task_id=f"n{number}")
        begin(client, "displacing", task_id=f"d{number}")
    refused = begin(client, "narrow", task_id="n2")
    assert refused["type"] == "error"
    assert refused["message"].startswith("pool rejected task: ")
    assert state_of(client, "n2") == {}
    assert begin(client, "displacing", task_id="d2")["type"] == "queued"
    dequeued = client.until("dequeued")[-1]
    assert (dequeued["task_id"], dequeued["reason"]) == ("d1", "displaced")
    assert pool(client, "displacing")["queue_items"] == ["d2"]
    client.ask(type="purge")
    for task_id in ("n0", "d0"):
        client.send(type="stop", task_id=task_id)
        client.until(of_task(task_id, "exited"))


def test_who_waits_too_long_goes(client: Client) -> None:
    """After ``queue_timeout``, each at its own time."""
    begin(client, "impatient", task_id="i0")
    queued = [begin(client, "impatient", task_id=f"i{number}") for number in (1, 2)]
    for message in queued:
        dequeued = client.until("dequeued")[-1]
        assert (dequeued["task_id"], dequeued["reason"]) == (message["task_id"], "expired")
        assert 0.19 <= moment(dequeued) - moment(message) <= 1
    client.send(type="stop", task_id="i0")
    client.until("exited")


def test_a_waiting_program_that_cannot_be_executed(
    launch: Callable[..., Daemon], tmp_path: Path
) -> None:
    """Its starter gets the ``error`` at its turn, all get ``dequeued``, and the next one begins."""
    config = f"""
listen: "127.0.0.1:0"
task_pool: {{size: 1, queue_size: 5}}
actions:
  sh: {SHELL_ACTION}
  absent: {{type: exec, config: {{entrypoint: /nonexistent/program}}}}
"""
    with launch(config).client() as client:
        begin(client, "sh", task_id="first")
        number = client.send(type="start", action="absent", task_id="second")
        begin(client, "sh", "echo third", task_id="third")
        client.send(type="stop", task_id="first")
        messages = client.until("error")
        assert (messages[-1]["id"], messages[-2]["type"]) == (number, "dequeued")
        assert (messages[-2]["task_id"], messages[-2]["reason"]) == ("second", "failed")
        assert "/nonexistent/program" in messages[-1]["message"]
        client.until(of_task("third", "exited"))
        assert state_of(client, "second") == {}


# ----------------------------------------------------------------------------- limits that change


def test_a_raised_size_lets_waiting_tasks_begin_at_once(shared: Daemon, client: Client) -> None:
    """Everybody is told of the new limit; it may be raised to no limit at all."""
    for number in range(6):
        begin(client, "changing", task_id=f"c{number}")
    with shared.client() as other:
        info = other.ask(type="set_pool", action="changing", size=3)
        assert (info["pool"]["limit"], info["pool"]["queue_depth"]) == (3, 3)
        assert other.until("pool_updated")[-1]["pool"] == info["pool"]
    client.until("pool_updated")
    for number in (1, 2):
        awaited(client, of_task(f"c{number}", "started"))
    client.send(type="set_pool", action="changing", limit=0)
    client.until(of_task("c5", "started"))
    assert pool(client, "changing")["running"] == 6
    for number in range(6):
        client.send(type="stop", task_id=f"c{number}", grace="0s")
    for number in range(6):
        awaited(client, of_task(f"c{number}", "exited"))


def test_a_lowered_size_without_excess_runs_out(client: Client) -> None:
    """Nobody is ended, and nobody begins until there is room; with ``excess`` the longest runs no more."""
    for number in range(5):
        begin(client, "lowered", task_id=f"l{number}")
    client.ask(type="set_pool", action="lowered", size=2)
    assert (pool(client, "lowered")["running"], pool(client, "lowered")["queue_depth"]) == (3, 2)
    client.send(type="stop", task_id="l1")
    client.until(of_task("l1", "exited"))
    assert pool(client, "lowered")["queue_depth"] == 2
    client.ask(
        type="set_pool", action="lowered", size=1, excess={"action": "stop", "order": "first"}
    )
    assert awaited(client, of_task("l0", "exited"))["intentional"]
    assert pool(client, "lowered")["queue_depth"] == 2
    client.ask(type="purge", action="lowered")
    client.send(type="stop", task_id="l2")
    client.until(of_task("l2", "exited"))


def test_a_surplus_task_can_wait_again(client: Client) -> None:
    """``requeue``: it ends, waits at the head whatever the queue's size, and begins again later."""
    for number in range(3):
        begin(client, "requeued", task_id=f"r{number}")
    excess = {"action": "requeue", "order": "last"}
    client.ask(type="set_pool", action="requeued", size=1, excess=excess)
    queued = awaited(client, of_task("r1", "queued"))
    assert (queued["id"], queued["position"]) == ("", 1)
    exited = awaited(client, of_task("r1", "exited"))
    assert exited["intentional"]
    assert client.seen.index(exited) < client.seen.index(queued)
    assert pool(client, "requeued")["queue_items"] == ["r1", "r2"]
    assert state_of(client, "r1")["state"] == "queued"
    client.send(type="stop", task_id="r0")
    started = client.until(of_task("r1", "started"))[-1]
    assert (started["id"], started["restart_of"]) == ("", exited["pid"])
    for running, following in (("r1", "r2"), ("r2", None)):
        client.send(type="stop", task_id=running)
        client.until(of_task(following, "started") if following else of_task(running, "exited"))
    assert state_of(client, "r1")["state"] == "stopped"


def test_force(client: Client) -> None:
    """Begins at once above the limit; ``excess`` then ends the one that was not forced."""
    begin(client, "forced", task_id="f0")
    assert begin(client, "forced", task_id="f1")["type"] == "error"
    assert begin(client, "forced", task_id="f2", force=True)["type"] == "started"
    assert awaited(client, of_task("f0", "exited"))["intentional"]
    assert begin(client, "forced", task_id="f3", force=True)["type"] == "started"
    assert pool(client, "forced")["running"] == 2
    for task_id in ("f2", "f3"):
        client.send(type="stop", task_id=task_id)
        client.until(of_task(task_id, "exited"))


# ---------------------------------------------------------------------------------------- dedupe


def test_only_one_of_equal_tasks(client: Client) -> None:
    """Running, waiting, stopping or waiting to restart: it is in the way until it has ended."""

    def duplicate(script: str, action: str = "unique") -> str | None:
        answer = begin(client, action, script, task_id="other")
        assert answer["type"] == "error", answer
        return answer.get("existing_task_id")

    stubborn = "trap '' TERM; echo up; while :; do sleep 0.1; done"
    begin(client, "unique", stubborn, task_id="u0")
    client.until("output")
    assert duplicate(stubborn) == "u0"
    begin(client, "unique", LIVE, task_id="u1")
    assert duplicate(LIVE) == "u1"  # waiting
    client.send(type="stop", task_id="u0", grace="300ms")
    assert duplicate(stubborn) == "u0"  # stopping
    client.until(of_task("u0", "exited"))
    eventually(lambda: state_of(client, "u1")["state"] == "active")
    client.send(type="stop", task_id="u1")
    client.until(of_task("u1", "exited"))
    assert begin(client, "unique", LIVE, task_id="u2")["type"] == "started"
    client.send(type="stop", task_id="u2")
    client.until(of_task("u2", "exited"))
    begin(client, "unique_retried", "exit 1", task_id="u3")
    client.until("restarting")
    assert duplicate("exit 1", "unique_retried") == "u3"
    client.ask(type="stop", task_id="u3", ack=True)
    assert begin(client, "unique_retried", "exit 1", task_id="u4")["type"] == "started"
    client.until("restarting")
    client.ask(type="stop", task_id="u4", ack=True)


# ------------------------------------------------------------------------------- limits of time


def test_a_run_that_takes_too_long(client: Client) -> None:
    """Is stopped, and tells so; it was not intended, so the retry policy counts it."""
    begin(client, "hasty", task_id="h1")
    exited = client.until("exited")[-1]
    assert (exited["reason"], exited["intentional"], exited["signal"]) == (
        "timeout",
        False,
        "SIGTERM",
    )
    policy = {"restart_delay": "0s", "error_threshold": 2}
    begin(client, "hasty", task_id="h2", retry_policy=policy)
    messages = client.until("errored")
    assert [message["type"] for message in messages if message["type"] != "output"] == [
        "exited",
        "restarting",
        "started",
        "exited",
        "errored",
    ]
    assert messages[-1]["exit_count"] == 2


def test_a_run_that_says_nothing(client: Client) -> None:
    """Is stopped; one that goes on saying something is not."""
    begin(client, "quiet", task_id="q1")
    begin(client, "quiet", "for i in 1 2 3 4 5 6; do echo $i; sleep 0.1; done", task_id="q2")
    ends = {}
    while len(ends) < 2:
        exited = client.until("exited")[-1]
        ends[exited["task_id"]] = exited
    assert ends["q1"]["reason"] == "timeout"
    assert "reason" not in ends["q2"]
    assert ends["q2"]["exit_code"] == 0


# --------------------------------------------------------------------------- retries and resets


def test_a_task_that_fails_too_often(client: Client) -> None:
    """Is errored, numbers its lines on over its runs, and begins again by ``reset``."""
    begin(client, "retried", "echo one; echo two; exit 3", task_id="e")
    messages = client.until("errored")
    pids = [message["pid"] for message in client.seen if message["type"] == "started"]
    restarts = [message for message in messages if message["type"] == "started"]
    assert [message["restart_of"] for message in restarts] == pids[:2]
    assert [message["id"] for message in restarts] == ["", ""]
    lines = [message["seq"] for message in client.seen if message["type"] == "output"]
    assert lines == [1, 2, 3, 4, 5, 6]
    attempts = [message["attempt"] for message in messages if message["type"] == "restarting"]
    assert attempts == [1, 2]
    assert (messages[-1]["exit_count"], messages[-1]["pid"]) == (3, pids[2])
    task = state_of(client, "e")
    assert (task["state"], task["restart_count"], task["last_exit_code"]) == ("errored", 2, 3)
    assert client.ask(type="metrics", task_id="e")["task"]["output_lines"] == 6
    again = client.ask(type="reset", task_id="e")
    assert again["type"] == "started"
    assert "restart_of" not in again
    messages = client.until("errored")
    assert [message["seq"] for message in messages if message["type"] == "output"][-1] == 12
    refused = client.ask(type="stop", task_id="e", ack=True)
    assert refused["type"] == "ack"
    assert state_of(client, "e")["state"] == "stopped"
    assert client.ask(type="reset", task_id="e")["message"] == "task is not in errored state"


def test_reset_by_somebody_else_is_answered(shared: Daemon, client: Client) -> None:
    """Also without a subscription; the subscriber sees it without an id."""
    begin(client, "retried", "exit 1", task_id="e2")
    client.until("errored")
    with shared.client() as other:
        assert other.ask(type="reset", task_id="e2")["type"] == "started"
    assert client.until("started")[-1]["id"] == ""
    client.until("errored")


def test_a_task_that_waits_to_restart_can_be_stopped(client: Client) -> None:
    """It held its slot; the next one begins."""
    begin(client, "patient", "exit 1", task_id="p1")
    client.until("restarting")
    assert begin(client, "patient", task_id="p2")["type"] == "queued"
    assert pool(client, "patient")["running"] == 1
    client.send(type="stop", task_id="p1")
    client.until(of_task("p2", "started"))
    assert state_of(client, "p1")["state"] == "stopped"
    client.send(type="stop", task_id="p2")
    exited = client.until("exited")[-1]
    assert exited["intentional"]
    assert state_of(client, "p2")["state"] == "stopped"


def test_a_slot_can_be_given_back_while_waiting_to_restart(client: Client) -> None:
    """``release_slot``: the next one begins meanwhile."""
    begin(client, "releasing", "exit 1", task_id="g1")
    client.until("restarting")
    assert begin(client, "releasing", task_id="g2")["type"] == "started"
    client.ask(type="stop", task_id="g1", ack=True)
    client.send(type="stop", task_id="g2")
    client.until(of_task("g2", "exited"))


def test_a_program_that_vanishes_between_runs(
    launch: Callable[..., Daemon], tmp_path: Path
) -> None:
    """A failed restart counts as an exit: no ``exited``, the pid of the run before, and a message."""
    program = tmp_path / "vanishing"
    program.write_text('#!/bin/sh\nrm "$0"\nexit 1\n')
    program.chmod(0o755)
    config = f"""
listen: "127.0.0.1:0"
actions:
  it:
    type: exec
    retry: {{restart_delay: 0s, error_threshold: 3}}
    config: {{entrypoint: {program}}}
"""
    with launch(config).client() as client:
        started = client.start("it", task_id="v")
        kinds = [message["type"] for message in client.until("errored")]
        assert kinds == ["exited", "restarting", "restarting", "errored"]
        assert {message["pid"] for message in client.seen} == {started["pid"]}
        assert "vanishing" in state_of(client, "v")["error_message"]


# --------------------------------------------------------------------------------------- the end


def test_shutdown_with_waiting_tasks(launch: Callable[..., Daemon]) -> None:
    """Each is told once, restarts are called off, what runs is stopped, and the status is 0."""
    daemon = launch(CONFIG)
    with daemon.client() as client:
        begin(client, "single", task_id="s0")
        for number in (1, 2):
            begin(client, "single", task_id=f"s{number}")
        begin(client, "patient", "exit 1", task_id="p")
        client.until("restarting")
        daemon.process.terminate()
        messages = client.until("exited")
        dequeued = [message for message in messages if message["type"] == "dequeued"]
        assert [(message["task_id"], message["reason"]) for message in dequeued] == [
            ("s1", "shutdown"),
            ("s2", "shutdown"),
        ]
        assert (messages[-1]["task_id"], messages[-1]["intentional"]) == ("s0", True)
    assert daemon.stop() == 0
