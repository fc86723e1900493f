"""v2's API document: Swagger 2.0 with the WebSocket's requests as commands, which sticky-bb reads.

No standard knows ``ws`` below a path; today's documents are the AsyncAPI one (asyncapi.py) and, for the
plain HTTP paths, the OpenAPI 3.1 one (web/openapi.py).
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from overseer.protocol.fields import FieldSpec, fields_of
from overseer.protocol.manifest import details, summary
from overseer.protocol.messages import REQUESTS, ActionInfo, ParamSpec, Request, Start, tag_of


def build_openapi(version: str, title: str, actions: Iterable[ActionInfo]) -> dict[str, Any]:
    """Return the document of a daemon with these ``actions``: each is a command of its own."""
    commands = [
        *(_command(request) for request in REQUESTS if request is not Start),
        *(_start(action) for action in sorted(actions, key=lambda action: action.name)),
    ]
    return {
        "swagger": "2.0",
        "info": {"title": title, "version": version},
        "produces": ["application/json"],
        "paths": {"/ws": {"ws": {"commands": commands}}},
    }


def _command(request: type[Request]) -> dict[str, Any]:
    tag = tag_of(request)
    return {
        "operationId": f"ws-{tag.replace('_', '-')}",
        "summary": summary(request),
        "parameters": [_hidden("type", tag), *map(_parameter, fields_of(request))],
    }


def _start(action: ActionInfo) -> dict[str, Any]:
    parameters = (action.params or {}).items()
    return {
        "operationId": f"start-{action.name}",
        "summary": action.description or "",
        "parameters": [
            _hidden("type", tag_of(Start)),
            _hidden("action", action.name),
            *(_action_parameter(name, parameter) for name, parameter in parameters),
        ],
        "params_key": "params",
        "tags": [action.name],
        "x-action-type": action.type,
        "x-retry": msgspec.to_builtins(action.retry),
    }


def _hidden(name: str, value: str) -> dict[str, Any]:
    """Return a parameter that a form fills in without showing it."""
    return {"name": name, "default": value, "hidden": True}


def _parameter(field: FieldSpec) -> dict[str, Any]:
    described: dict[str, Any] = {"name": field.name, "type": _type(field)}
    if field.values:
        described["enum"] = list(field.values)
    return described | details(field)


def _type(field: FieldSpec) -> str:
    return {"enum": "string", "map": "object", "struct": "object"}.get(field.kind, field.kind)


def _action_parameter(name: str, parameter: ParamSpec) -> dict[str, Any]:
    described: dict[str, Any] = {"name": name, "type": "string"}
    if parameter.default is None:
        described["required"] = True
    else:
        described["default"] = parameter.default
    if parameter.description:
        described["description"] = parameter.description
    return described
