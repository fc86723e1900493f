"""``/openapi.json`` says what v2's document says, because sticky-bb builds its forms from it.

``tests/golden/openapi-v2-shape.json`` is v2's document without its prose. It is valid by no published
schema (nothing knows ``ws`` below a path), so it is compared with that alone.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from overseer.protocol.messages import (
    REQUESTS,
    ActionInfo,
    ExcessConfig,
    ParamSpec,
    PoolConfig,
    RetryPolicy,
    Start,
    tag_of,
)
from overseer.protocol.openapi import build_openapi

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "openapi-v2-shape.json").read_text())


def action(name: str, **fields: Any) -> ActionInfo:
    return ActionInfo(
        name=name,
        type="exec",
        task_pool=PoolConfig(limit=0, excess=ExcessConfig()),
        retry=RetryPolicy(),
        **fields,
    )


def document(*actions: ActionInfo) -> Any:
    """Return the document as it goes over the wire."""
    return json.loads(json.dumps(build_openapi("dev", "sticky-overseer", actions)))


def commands(openapi: Any) -> dict[str, Any]:
    return {
        command["operationId"]: command for command in openapi["paths"]["/ws"]["ws"]["commands"]
    }


def shape(command: dict[str, Any], among: set[str]) -> dict[str, Any]:
    """Return a command without its prose, and without parameters that are not ``among`` these."""
    parameters = [
        {key: value for key, value in parameter.items() if key != "description"}
        for parameter in command["parameters"]
        if parameter["name"] in among
    ]
    return {**command, "parameters": sorted(parameters, key=lambda part: part["name"])}


DOCUMENT = document(action("true"), action("sh", params={"script": ParamSpec()}))
OURS, V2S = commands(DOCUMENT), commands(GOLDEN)
REQUEST_COMMANDS = {
    f"ws-{tag_of(request).replace('_', '-')}" for request in REQUESTS if request is not Start
}


def test_around_the_commands_it_is_v2s() -> None:
    """Title and version come from the daemon."""
    assert {**DOCUMENT, "paths": None} == {**GOLDEN, "paths": None}
    assert set(OURS) == REQUEST_COMMANDS | {"start-sh", "start-true"}


@pytest.mark.parametrize("name", sorted(set(OURS) & set(V2S)))
def test_a_command_is_what_it_is_in_v2(name: str) -> None:
    """Every parameter of v2 is there just so; what is new here comes besides."""
    names = {parameter["name"] for parameter in V2S[name]["parameters"]}
    ours = shape(OURS[name], names)
    assert ours.pop("summary") or name.startswith("start-")
    assert ours == shape(V2S[name], names)


@pytest.mark.parametrize("name", sorted(OURS))
def test_forms_put_the_hidden_parameters_first(name: str) -> None:
    """As in v2: `type`, then for a start `action`; all others have a type that v2 knows."""
    hidden = ["type", "action"] if name.startswith("start-") else ["type"]
    parameters = OURS[name]["parameters"]
    assert [part["name"] for part in parameters if part.get("hidden")] == hidden
    assert [part["name"] for part in parameters[: len(hidden)]] == hidden
    known = {"string", "uuid", "timestamp", "duration", "integer", "number", "boolean", "object"}
    assert {part["type"] for part in parameters[len(hidden) :]} <= known | {"array"}


def test_an_action_tells_its_defaults_and_descriptions() -> None:
    """A parameter without a default is required."""
    params = {"size": ParamSpec(default="", description="How large."), "name": ParamSpec()}
    greet = document(action("greet", description="Greets.", params=params))
    command = commands(greet)["start-greet"]
    assert command["summary"] == "Greets."
    assert command["parameters"][2:] == [
        {"name": "size", "type": "string", "default": "", "description": "How large."},
        {"name": "name", "type": "string", "required": True},
    ]


def test_actions_come_in_the_order_of_their_names() -> None:
    """So that the document is the same at every start."""
    starts = [name for name in commands(document(*map(action, "bac"))) if name.startswith("start-")]
    assert starts == ["start-a", "start-b", "start-c"]
