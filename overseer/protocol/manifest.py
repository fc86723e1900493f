"""The manifest: the whole protocol described for machines, made from the message classes.

Keys, types and hints are those of v2's document, which generic clients read.
"""

from collections.abc import Iterable
from typing import Any

import attrs
import msgspec

from overseer.protocol.fields import FieldSpec, fields_of, named_types
from overseer.protocol.messages import (
    MESSAGES,
    REQUESTS,
    ActionInfo,
    Dequeued,
    Message,
    Output,
    PoolConfig,
    QueueConfig,
    QueueItem,
    Request,
    TaskMetrics,
    tag_of,
)

PROTOCOL = "sticky-overseer"
_SCHEMA = "https://github.com/whisper-darkly/sticky-bb/raw/main/docs/ws-manifest.schema.json"

# Where v2's document has it otherwise than our classes, which always send all of these.
_REQUIRED_IN_V2 = {
    (Output, "seq"): False,
    (ActionInfo, "task_pool"): False,
    (ActionInfo, "retry"): False,
    (PoolConfig, "excess"): False,
    (QueueConfig, "enabled"): True,
    (QueueItem, "task_id"): False,
    (QueueItem, "action"): False,
    (Dequeued, "reason"): False,
    (TaskMetrics, "output_lines"): False,
    (TaskMetrics, "restart_count"): False,
    (TaskMetrics, "runtime_ms"): False,
}
# Objects that v2's document describes where they occur, and not under `types`.
_NAMELESS = {QueueItem}


def build_manifest(version: str, description: str, actions: Iterable[ActionInfo]) -> dict[str, Any]:
    """Return the manifest of a daemon with these ``actions``."""
    return {
        "$schema": _SCHEMA,
        "protocol": PROTOCOL,
        "version": version,
        "description": description,
        "transport": {"path": "/ws", "type_field": "type", "correlation_field": "id"},
        "types": _types(),
        "messages": _messages(),
        "operations": {request.operation: _operation(request) for request in REQUESTS},
        "actions": msgspec.to_builtins(sorted(actions, key=lambda action: action.name)),
    }


def name_of(message: type[Message]) -> str:
    """Return what documents call a message: one whose tag is also a request's gets a suffix, as in v2."""
    tag = tag_of(message)
    return f"{tag}_response" if tag in map(tag_of, REQUESTS) else tag


def _messages() -> dict[str, Any]:
    requests = {tag_of(request): _request(request) for request in REQUESTS}
    return requests | {name_of(message): _message(message) for message in MESSAGES}


def _request(request: type[Request]) -> dict[str, Any]:
    tag = {"type": "string", "required": True, "default": tag_of(request), "ui_hint": "hidden"}
    return {
        "direction": "c2s",
        "description": summary(request),
        "fields": {"type": tag, **_described(request)},
    }


def _message(message: type[Message]) -> dict[str, Any]:
    return {
        "direction": "s2c",
        "delivery": message.delivery,
        "description": summary(message),
        "fields": {"type": {"type": "string", "ui_hint": "hidden"}, **_described(message)},
    }


def _described(struct: type[msgspec.Struct]) -> dict[str, Any]:
    # A default tells what a left out field stands for: nothing where all are always written.
    optional = issubclass(struct, Request) or struct.__struct_config__.omit_defaults
    described = {}
    for field in fields_of(struct):
        told = attrs.evolve(
            field,
            required=_REQUIRED_IN_V2.get((struct, field.name), field.required),
            default=field.default if optional else None,
        )
        described[field.name] = _type(told) | details(told)
    return described


def details(field: FieldSpec) -> dict[str, Any]:
    """Return what v2's documents tell of a field besides its name and type."""
    told: dict[str, Any] = {}
    # Clients fill in the id for themselves, so it is not marked as required.
    if field.required and field.name != "id":
        told["required"] = True
    if field.default is not None:
        told["default"] = msgspec.to_builtins(field.default)
    if field.description:
        told["description"] = field.description
    return told


def _type(field: FieldSpec) -> dict[str, Any]:
    if field.struct in _NAMELESS:
        assert field.struct is not None
        return {"type": "object", "fields": _described(field.struct)}
    if field.type_name:
        return {"$ref": f"#/types/{field.type_name}"}
    if field.kind == "array":
        assert field.item is not None
        return {"type": "array", "items": _type(field.item)}
    if field.kind == "map":
        assert field.item is not None
        return {"type": "map", "value_type": _type(field.item)}
    return {"type": field.kind}


def _operation(request: type[Request]) -> dict[str, Any]:
    direct: dict[str, list[str]] = {}
    if request.can_fail:
        direct["error"] = ["error"]
    if request.direct:
        direct["success"] = list(request.direct)
    responses: dict[str, Any] = {"direct": direct}
    if request.side_effects:
        responses["side_effects"] = {
            delivery: list(names) for delivery, names in request.side_effects.items()
        }
    return {"send": tag_of(request), "responses": responses, "notes": summary(request)}


def _types() -> dict[str, Any]:
    types: dict[str, Any] = {}
    for name, field in named_types((*REQUESTS, *MESSAGES)).items():
        if field.struct in _NAMELESS:
            continue
        if field.struct is None:
            types[name] = {"type": "enum", "values": list(field.values)}
        else:
            types[name] = {
                "type": "object",
                "description": summary(field.struct),
                "fields": _described(field.struct),
            }
    return types


def summary(struct: type[msgspec.Struct]) -> str:
    """Return what a message or an object within one is about, in a sentence or two."""
    return (struct.__doc__ or "").strip()
