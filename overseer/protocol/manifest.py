"""The manifest: the whole protocol described for machines, made from the message classes.

Keys, types and hints are those of v2's document, which generic clients read.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import attrs
import msgspec

from overseer.protocol.fields import FieldSpec, fields_of
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


def _messages() -> dict[str, Any]:
    requests = {tag_of(request) for request in REQUESTS}
    described = {tag_of(request): _request(request) for request in REQUESTS}
    for message in MESSAGES:
        name = tag_of(message)
        # One name in both directions: the server's gets a suffix, as in v2.
        described[f"{name}_response" if name in requests else name] = _message(message)
    return described


def _request(request: type[Request]) -> dict[str, Any]:
    tag = {"type": "string", "required": True, "default": tag_of(request), "ui_hint": "hidden"}
    return {
        "direction": "c2s",
        "description": _summary(request),
        "fields": {"type": tag, **_described(request)},
    }


def _message(message: type[Message]) -> dict[str, Any]:
    return {
        "direction": "s2c",
        "delivery": message.delivery,
        "description": _summary(message),
        "fields": {"type": {"type": "string", "ui_hint": "hidden"}, **_described(message)},
    }


def _described(struct: type[msgspec.Struct]) -> dict[str, Any]:
    # A default tells what a left out field stands for: nothing where all are always written.
    optional = issubclass(struct, Request) or struct.__struct_config__.omit_defaults
    described = {}
    for field in fields_of(struct):
        required = _REQUIRED_IN_V2.get((struct, field.name), field.required)
        # Clients fill in the id for themselves, so v2's document does not mark it as required.
        described[field.name] = _field(
            attrs.evolve(
                field,
                required=required and field.name != "id",
                default=field.default if optional else None,
            )
        )
    return described


def _field(field: FieldSpec) -> dict[str, Any]:
    described = _type(field)
    if field.required:
        described["required"] = True
    if field.default is not None:
        described["default"] = msgspec.to_builtins(field.default)
    if field.description:
        described["description"] = field.description
    return described


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
    return {"send": tag_of(request), "responses": responses, "notes": _summary(request)}


def _types() -> dict[str, Any]:
    types: dict[str, Any] = {}
    for struct in (*REQUESTS, *MESSAGES):
        for field in _reachable(fields_of(struct)):
            if field.kind == "enum":
                types[field.type_name] = {"type": "enum", "values": list(field.values)}
            elif field.struct is not None:
                types[field.type_name] = {
                    "type": "object",
                    "description": _summary(field.struct),
                    "fields": _described(field.struct),
                }
    return dict(sorted(types.items()))


def _reachable(fields: Iterable[FieldSpec]) -> Iterator[FieldSpec]:
    """Yield every named type that these fields lead to."""
    for field in fields:
        if field.item is not None:
            yield from _reachable((field.item,))
        if field.struct is not None:
            yield from _reachable(fields_of(field.struct))
        if field.type_name and field.struct not in _NAMELESS:
            yield field


def _summary(struct: type[msgspec.Struct]) -> str:
    return (struct.__doc__ or "").strip()
