"""Real programs become ready, others wait for them, and what is to start with the daemon does so in order."""

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Client, Daemon, Message, eventually

SERVER = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(503 if os.path.exists(sys.argv[2]) else 204)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
CONFIG = """
listen: "127.0.0.1:0"
actions:
  http:
    type: exec
    readiness_probe:
      http_get: {{port: "[[.port]]", path: "/[[.port]]", status_code: 204}}
      period_seconds: 0.05
      timeout_seconds: 10
      failure_threshold: 1
    config: &server
      entrypoint: python3
      command: ["{server}", "[[.port]]", "{folder}/ill"]
      parameters: {{port: {{}}}}
  tcp:
    type: exec
    readiness_probe: {{tcp: {{port: "[[.port]]"}}, period_seconds: 0.05, timeout_seconds: 10}}
    config: *server
  command:
    type: exec
    readiness_probe:
      exec: {{command: 'sh -c ''test "$OF_TASK" = "$1" && test -e here'' sh "[[.name]]"'}}
      period_seconds: 0.05
      timeout_seconds: 10
    config:
      entrypoint: sleep
      command: ["1000"]
      cwd: "{folder}"
      env: {{OF_TASK: "[[.name]]"}}
      parameters: {{name: {{}}}}
  hangs:
    type: exec
    readiness_probe:
      exec: {{command: [sh, -c, "echo $$ > {folder}/probe; exec sleep 1000"]}}
      timeout_seconds: 0.3
      failure_threshold: 1
    config: {{entrypoint: sleep, command: ["1000"]}}
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readiness")
    (folder / "server.py").write_text(SERVER)
    return folder


@pytest.fixture(scope="module")
def daemon(launch_shared: Callable[..., Daemon], folder: Path) -> Daemon:
    return launch_shared(CONFIG.format(folder=folder, server=folder / "server.py"))


def told(client: Client, task_id: str) -> Message:
    """Return the next ``ready`` of a task, once ``list`` says the same."""
    message = client.until(lambda m: m["type"] == "ready" and m["task_id"] == task_id)[-1]
    (info,) = [one for one in client.ask(type="list")["tasks"] if one["task_id"] == task_id]
    assert info["ready"] == message["ready"]
    return message


def test_a_server_is_ready_while_it_answers_as_it_should(daemon: Daemon, folder: Path) -> None:
    with daemon.client() as client:
        started = client.start("http", task_id="web", params={"port": str(free_port())})
        ready = told(client, "web")
        assert (ready["ready"], ready["pid"]) == (True, started["pid"])
        (folder / "ill").touch()
        ill = told(client, "web")
        assert (ill["ready"], ill["reason"]) == (False, "status 503")
        (folder / "ill").unlink()
        assert told(client, "web")["ready"] is True
        client.send(type="stop", task_id="web")
        client.until("exited")


def test_a_server_is_ready_once_it_accepts_connections(daemon: Daemon) -> None:
    with daemon.client() as client:
        client.start("tcp", task_id="tcp", params={"port": str(free_port())})
        assert told(client, "tcp")["ready"] is True
        client.send(type="stop", task_id="tcp")
        client.until("exited")


def test_a_command_looks_where_the_task_is(daemon: Daemon, folder: Path) -> None:
    """In its folder, with its variables; parameters are arguments, whatever is in them."""
    with daemon.client() as client:
        client.start("command", task_id="c", params={"name": "a $(b) 'c"})
        (folder / "here").touch()
        assert told(client, "c")["ready"] is True
        client.send(type="stop", task_id="c")
        client.until("exited")


def test_a_probe_that_hangs_is_ended(daemon: Daemon, folder: Path) -> None:
    """With its time, and nothing of it is left when the task ends."""
    with daemon.client() as client:
        client.start("hangs", task_id="h")
        eventually((folder / "probe").exists)
        client.send(type="stop", task_id="h")
        client.until("exited")
    eventually(lambda: not daemon.descendants())


AUTOSTART = """
listen: "127.0.0.1:0"
log_file: events.jsonl
actions:
  web:
    type: exec
    autostart: true
    depends_on:
      migrate: {condition: process_completed_successfully}
      db: {condition: process_log_ready}
    config: {entrypoint: sleep, command: ["1000"]}
  migrate:
    type: exec
    autostart: true
    depends_on: {db: ready}
    config: {entrypoint: sh, command: ["-c", "exit [[.code]]"], parameters: {code: "0"}}
  db:
    type: exec
    autostart: true
    ready_log_line: ready for [[.who]]
    config:
      entrypoint: sh
      command: ["-c", "echo not yet; echo ready for all; exec sleep 1000"]
      parameters: {who: all}
  late:
    type: exec
    depends_on: {never: started}
    config: {entrypoint: sleep, command: ["1000"]}
  never: {type: exec, config: {entrypoint: "true"}}
"""


def test_a_daemon_starts_its_services_in_order(launch: Callable[..., Daemon]) -> None:
    daemon = launch(AUTOSTART)
    with daemon.client() as client:

        def states() -> dict[str, str]:
            return {one["task_id"]: one["state"] for one in client.ask(type="list")["tasks"]}

        eventually(lambda: states().get("web") == "active")
        assert states() == {"db": "active", "migrate": "stopped", "web": "active"}

        def order() -> list[str]:
            log = (daemon.folder / "events.jsonl").read_text().rpartition("\n")[0].splitlines()
            events = [json.loads(line) for line in log]
            told = ("started", "ready", "exited")
            return [f"{one['task_id']} {one['type']}" for one in events if one["type"] in told]

        # Written behind what happens.
        eventually(lambda: "web started" in order())
        assert order() == [
            *("db started", "db ready", "migrate started", "migrate exited", "web started"),
        ]


def test_a_start_that_waits_says_what_for(launch: Callable[..., Daemon]) -> None:
    daemon = launch(AUTOSTART)
    with daemon.client() as client:
        assert client.start("late", task_id="l")["type"] == "queued"
        (info,) = client.ask(type="list", action="late")["tasks"]
        assert (info["state"], info["waiting_for"]) == ("queued", ["never: started"])
        client.send(type="stop", task_id="l")
        assert client.until("dequeued")[-1]["reason"] == "stopped"


def test_what_cannot_start_by_itself_is_a_mistake(launch: Callable[..., Daemon]) -> None:
    config = AUTOSTART.replace('{code: "0"}', "{code: }")
    daemon = launch(config, ready=False)
    daemon.wait_for_log(r'actions.migrate.autostart: parameter "code" is required')
    assert daemon.process.wait(20) == 1
