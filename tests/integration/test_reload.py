"""SIGHUP to a real daemon: the file is read again, and only what is new is done otherwise."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import SHELL, Daemon, is_alive
from websockets.exceptions import InvalidStatus

Launch = Callable[..., Daemon]

RELOADED = r"the configuration was reloaded: "


def reload(daemon: Daemon, config: str, told: str) -> None:
    """Write the file, and wait until the daemon has said what it made of it."""
    (daemon.folder / "config-0.yaml").write_text(config)
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for_log(told)


def ask_pool(daemon: Daemon, **fields: Any) -> int:
    with daemon.client() as client:
        limit: int = client.ask(type="pool_info", **fields)["pool"]["limit"]
        return limit


def test_actions_come_change_and_go(daemon: Daemon) -> None:
    """For later starts, in the manifest too; a connection outlives it."""
    config = SHELL.replace("hello", "changed").replace("  sh:", "  shell:")
    with daemon.client() as client:
        assert client.run("echo before")[1]["data"] == "before"
        changes = "new actions: shell; changed actions: echo; removed actions: sh\n"
        reload(daemon, config, RELOADED + changes)
        assert client.start("shell", params={"script": "true"})["type"] == "started"
        refused = client.start(params={"script": "true"})
        assert refused["message"] == 'unknown action: "sh"'
        client.start("echo")
        assert client.until("output")[-1]["data"] == "changed"
    assert '"shell"' in daemon.http("GET /ws/manifest HTTP/1.0\r\nHost: localhost\r\n\r\n")


def test_a_task_of_a_removed_action_goes_on(daemon: Daemon) -> None:
    """It runs, and is restarted, as it was started."""
    policy = {"restart_delay": "10ms"}
    with daemon.client() as client:
        script = {"script": "read -r line < gate; echo $line"}
        gate = daemon.folder / "gate"
        os.mkfifo(gate)
        pid = client.start(task_id="t", params=script, retry_policy=policy)["pid"]
        reload(daemon, 'listen: "127.0.0.1:0"', f"{RELOADED}removed actions: sh, echo")
        assert is_alive(pid)
        for line in ("one", "two"):
            gate.write_text(f"{line}\n")
            assert client.until("output")[-1]["data"] == line
            assert client.until("started")[-1]["restart_of"] == pid
            (task,) = client.ask(type="list")["tasks"]
            pid = task["current_pid"]
        client.send(type="stop", task_id="t")
        client.until("exited")


@pytest.mark.parametrize(
    ("config", "problems"),
    [
        (
            SHELL.replace("hello", "changed") + "\nwrong: 1\nretain: {count: -1}\n",
            [":17: wrong: unknown key", ":18: retain.count: expected"],
        ),
        (SHELL + "      env_file: /nowhere\n", ["env_file: .*No such file"]),
        ("a: [", ["config-0.yaml:"]),
        (None, ["cannot read the configuration .*: No such file"]),
    ],
)
def test_a_bad_file_changes_nothing(
    daemon: Daemon, config: str | None, problems: list[str]
) -> None:
    """Everything that is wrong is told, and a good one is taken afterwards."""
    path = daemon.folder / "config-0.yaml"
    kept = r"the configuration was not reloaded: everything stays as it was"
    if config is None:
        path.unlink()
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for_log(kept)
    else:
        reload(daemon, config, kept)
    for problem in problems:
        daemon.wait_for_log(problem)
    with daemon.client() as client:
        client.start("echo")
        assert client.until("output")[-1]["data"] == "hello"
    reload(daemon, SHELL, f"{RELOADED}nothing changed")


def test_a_larger_pool_lets_waiting_tasks_run(launch: Launch) -> None:
    """At once."""
    config = f"{SHELL}\ntask_pool: {{size: 1, queue_size: 5}}\n"
    daemon = launch(config)
    with daemon.client() as client:
        sleep = {"script": "exec sleep 60"}
        client.start(task_id="a", params=sleep)
        client.send(type="start", action="sh", task_id="b", params=sleep)
        client.until("queued")
        reload(daemon, config.replace("size: 1,", "size: 2,"), f"{RELOADED}changed keys: task_pool")
        assert client.until("started")[-1]["task_id"] == "b"


def test_a_pool_that_was_set_survives_an_unrelated_reload(launch: Launch) -> None:
    """Until the file's own value changes."""
    config = f"{SHELL}    task_pool: {{size: 1}}\n"
    daemon = launch(config)
    with daemon.client() as client:
        client.ask(type="set_pool", action="echo", size=7)
    reload(daemon, config.replace("hello", "changed"), f"{RELOADED}changed actions: echo")
    assert ask_pool(daemon, action="echo") == 7
    reload(daemon, config.replace("size: 1", "size: 3") + "name: x\n", "changed keys: name")
    assert ask_pool(daemon, action="echo") == 3


def test_access_rules_change_for_new_connections(daemon: Daemon) -> None:
    """Who is connected stays so."""
    origin = "https://dashboard.example.org"

    def connect() -> None:
        with daemon.client(origin=origin) as client:
            client.ask(type="list")

    with pytest.raises(InvalidStatus):
        connect()
    config = f'{SHELL}\nallowed_origins: ["{origin}"]\n'
    reload(daemon, config, f"{RELOADED}changed keys: allowed_origins")
    connect()
    token = "0123456789abcdef0123"
    with daemon.client() as client:
        reload(
            daemon,
            f"{config}auth: {{tokens: [{{token: {token}}}]}}\n",
            f"{RELOADED}changed keys: auth.tokens",
        )
        assert client.ask(type="list")["type"] == "tasks"
        with pytest.raises(InvalidStatus):
            connect()
        with daemon.client(additional_headers={"Authorization": f"Bearer {token}"}) as other:
            assert other.ask(type="list")["type"] == "tasks"
    assert token not in daemon.log


def test_a_variable_that_becomes_a_token_is_inherited_no_more(launch: Launch) -> None:
    """Also by an action that has not changed."""
    daemon = launch(SHELL, environment={"SECRET": "0123456789abcdef0123"})
    with daemon.client() as client:
        script = 'echo "${SECRET-none}"'
        assert client.run(script)[1]["data"] != "none"
        config = f"{SHELL}\nauth: {{tokens: [{{token_env: SECRET}}]}}\n"
        reload(daemon, config, f"{RELOADED}changed keys: auth.tokens")
        assert client.run(script)[1]["data"] == "none"


def test_an_environment_file_is_read_with_its_action(launch: Launch, tmp_path: Path) -> None:
    """Of a new or changed one."""
    variables = tmp_path / "variables"
    variables.write_text("WHAT=one\n")
    config = SHELL.replace(
        "      entrypoint: sh\n", f"      entrypoint: sh\n      env_file: {variables}\n"
    )
    daemon = launch(config)
    variables.write_text("WHAT=two\n")
    with daemon.client() as client:
        reload(daemon, config, f"{RELOADED}nothing changed")
        assert client.run("echo $WHAT")[1]["data"] == "one"
        config = config.replace("    type: exec\n", "    type: exec\n    stop_grace: 1s\n", 1)
        reload(daemon, config, f"{RELOADED}changed actions: sh")
        assert client.run("echo $WHAT")[1]["data"] == "two"


def test_what_needs_a_restart_is_named(daemon: Daemon) -> None:
    """It holds as it was; the rest is taken over."""
    config = SHELL.replace("127.0.0.1:0", "127.0.0.1:1").replace("hello", "changed")
    reload(
        daemon,
        f"{config}\nlimits: {{connections: 1}}\nlog_file: events.jsonl\n",
        f"{RELOADED}changed actions: echo\n",
    )
    for key in ("listen", "limits", "log_file"):
        daemon.wait_for_log(f'"{key}" has changed and needs a restart')
    with daemon.client(), daemon.client() as client:
        client.start("echo")
        assert client.until("output")[-1]["data"] == "changed"
