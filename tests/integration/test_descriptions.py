"""What a running daemon says about itself to machines, over HTTP, holds for what it then does."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Daemon
from jsonschema import Draft7Validator, Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from overseer.core.yaml_source import load_yaml
from overseer.web.routes import ROUTES

CONFIG = """
name: builds
listen: "127.0.0.1:0"
actions:
  sh:
    type: exec
    config:
      entrypoint: sh
      command: ["-c", "[[.script]]"]
      parameters: {script: {}}
  "true": {type: exec, config: {entrypoint: "true"}}
"""


@pytest.fixture(scope="module")
def daemon(launch_shared: Callable[..., Daemon]) -> Daemon:
    """One daemon, which no test here changes."""
    return launch_shared(CONFIG)


def get(daemon: Daemon, path: str) -> tuple[int, str, Any]:
    """Return status, type and body."""
    answer = daemon.http(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    head, _, body = answer.partition("\r\n\r\n")
    status, *headers = head.splitlines()
    kinds = [line.partition(": ")[2] for line in headers if line.lower().startswith("content-type")]
    return int(status.split()[1]), kinds[0], json.loads(body) if "json" in kinds[0] else body


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
def test_every_path_answers_as_it_is_described(daemon: Daemon, route: Any) -> None:
    """By the OpenAPI document of that very daemon."""
    _, _, document = get(daemon, "/openapi-3.1.json")
    OpenAPIV31SpecValidator(document).validate()
    assert document["info"]["title"] == "builds"
    status, kind, _ = get(daemon, route.path)
    described = document["paths"][route.path]["get"]["responses"][str(status)]
    assert kind.partition(";")[0] in described["content"]


def test_every_message_of_a_run_is_valid(daemon: Daemon) -> None:
    """By the AsyncAPI document: requests as they are sent, messages as they come."""
    _, _, document = get(daemon, "/asyncapi.json")
    answers = {
        message["name"]: name
        for name, message in document["components"]["messages"].items()
        if name != message["name"] or f"{name}_response" not in document["components"]["messages"]
    }
    with daemon.client() as client:
        client.run("echo out; echo err >&2; exit 3")
        task = client.seen[0]["task_id"]
        client.ask(type="list")
        client.ask(type="describe")
        client.ask(type="manifest")
        client.ask(type="subscribe", task_id=task)
        client.ask(type="replay", task_id=task, ack=True)
        client.ask(type="describe", action="none")
        seen = client.seen
    for message in seen:
        reference = f"#/components/messages/{answers[message['type']]}/payload"
        Draft7Validator({**document, "$ref": reference}).validate(message)
    kinds = {message["type"] for message in seen}
    assert kinds >= {"started", "output", "exited", "tasks", "actions", "manifest", "error", "ack"}


def test_v2s_document_has_a_command_for_every_action(daemon: Daemon) -> None:
    """With the title from the configuration, and the actions as `describe` tells them."""
    status, _, document = get(daemon, "/openapi.json")
    assert (status, document["swagger"], document["info"]["title"]) == (200, "2.0", "builds")
    commands = {part["operationId"]: part for part in document["paths"]["/ws"]["ws"]["commands"]}
    assert commands["start-sh"]["parameters"][2:] == [
        {"name": "script", "type": "string", "required": True}
    ]
    assert len(commands["start-true"]["parameters"]) == 2
    assert commands["start-true"]["x-action-type"] == "exec"


def test_the_command_prints_the_schema_of_the_configuration(tmp_path: Path) -> None:
    """`overseer schema`: valid, and it takes the configuration that the daemon here takes."""
    run = subprocess.run(
        [sys.executable, "-m", "overseer", "schema"],
        check=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    schema = json.loads(run.stdout)
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(load_yaml(CONFIG, "").value(()))
    assert run.stderr == ""
