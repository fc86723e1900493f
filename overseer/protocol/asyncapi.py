"""The WebSocket described for today's tools: AsyncAPI 3.0, made from the message classes.

Operations are told from the daemon's side, as AsyncAPI wants it: it *receives* requests and *sends* events.
Schemas are JSON Schema draft-07, AsyncAPI's own dialect.
"""

from typing import Any

import msgspec

from overseer.core.durations import DURATION_PATTERN
from overseer.protocol.fields import FieldSpec, Kind, fields_of, named_types
from overseer.protocol.manifest import name_of, summary
from overseer.protocol.messages import MESSAGES, REQUESTS, Ack, Error, Message, Request, tag_of

Schema = dict[str, Any]

_CHANNEL = "websocket"
_STRING: Schema = {"type": "string"}
_KINDS: dict[Kind, Schema] = {
    "string": _STRING,
    "uuid": _STRING,  # any text names a task; a UUID is what the daemon makes
    "timestamp": {"type": "string", "format": "date-time"},
    "duration": {"type": "string", "pattern": DURATION_PATTERN, "examples": ["5s", "1m30s"]},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "object": {"type": "object"},
}


def build_asyncapi(version: str, title: str) -> dict[str, Any]:
    """Return the document. It names no server: clients know where they got it from."""
    messages = {tag_of(request): _message(request, tag_of(request)) for request in REQUESTS}
    messages |= {name_of(message): _message(message, tag_of(message)) for message in MESSAGES}
    return {
        "asyncapi": "3.0.0",
        "info": {"title": title, "version": version},
        "defaultContentType": "application/json",
        "channels": {
            _CHANNEL: {
                "address": "/ws",
                "description": "One JSON object a WebSocket message, both ways.",
                "messages": {name: _reference("components", "messages", name) for name in messages},
                "bindings": {"ws": {"method": "GET"}},
            }
        },
        "operations": {
            **{request.operation: _receive(request) for request in REQUESTS},
            **{
                f"send_{name_of(message)}": _send(message)
                for message in MESSAGES
                if tag_of(message) not in _answers()
            },
        },
        "components": {
            "messages": messages,
            "schemas": {
                name: _type(field) for name, field in named_types((*REQUESTS, *MESSAGES)).items()
            },
            "correlationIds": {
                "id": {
                    "description": "Chosen by the client, repeated in the answer.",
                    "location": "$message.payload#/id",
                }
            },
        },
    }


def _receive(request: type[Request]) -> dict[str, Any]:
    operation = {
        "action": "receive",
        "summary": summary(request),
        "channel": _reference("channels", _CHANNEL),
        "messages": [_in_channel(tag_of(request))],
    }
    answers = _answers_to(request)
    if answers:
        operation["reply"] = {
            "channel": _reference("channels", _CHANNEL),
            "messages": [_in_channel(name_of(m)) for m in MESSAGES if tag_of(m) in answers],
        }
    return operation


def _send(message: type[Message]) -> dict[str, Any]:
    return {
        "action": "send",
        "summary": summary(message),
        "channel": _reference("channels", _CHANNEL),
        "messages": [_in_channel(name_of(message))],
    }


def _answers_to(request: type[Request]) -> set[str]:
    answers = set(request.direct)
    if request.can_fail:
        answers.add(tag_of(Error))
    if any(field.name == "ack" for field in fields_of(request)):
        answers.add(tag_of(Ack))
    return answers


def _answers() -> set[str]:
    """Return the tags of what nobody gets unasked."""
    direct = {tag_of(message) for message in MESSAGES if message.delivery == "direct"}
    return direct & set().union(*map(_answers_to, REQUESTS))


def _message(struct: type[Request] | type[Message], tag: str) -> dict[str, Any]:
    message = {
        "name": tag,
        "title": struct.__name__,
        "summary": summary(struct),
        "payload": _object(struct, tag),
    }
    if any(field.name == "id" for field in fields_of(struct)):
        message["correlationId"] = _reference("components", "correlationIds", "id")
    return message


def _object(struct: type[msgspec.Struct], tag: str | None = None) -> Schema:
    fields = fields_of(struct)
    # What is never left out is always there, whether or not it has a default.
    optional = issubclass(struct, Request) or struct.__struct_config__.omit_defaults
    properties = {field.name: _field(field, optional=optional) for field in fields}
    required = [field.name for field in fields if field.required or not optional]
    if tag is not None:
        properties = {"type": {"const": tag}, **properties}
        required = ["type", *required]
    schema: Schema = {"type": "object", "properties": properties}
    return {**schema, "required": required} if required else schema


def _field(field: FieldSpec, *, optional: bool) -> Schema:
    schema = _use(field)
    if field.values and field.default is not None and field.default not in field.values:
        schema = {"anyOf": [schema, {"const": field.default}]}  # what stands for none of them
    if field.description:
        # Beside a reference, draft-07 ignores everything.
        schema = {"allOf": [schema]} if "$ref" in schema else schema
        schema = {**schema, "description": field.description}
    if optional and field.default is not None:
        schema = {**schema, "default": msgspec.to_builtins(field.default)}
    return schema


def _use(field: FieldSpec) -> Schema:
    if field.type_name:
        return _reference("components", "schemas", field.type_name)
    return _type(field)


def _type(field: FieldSpec) -> Schema:
    if field.struct is not None:
        return {"description": summary(field.struct), **_object(field.struct)}
    if field.kind == "enum":
        return {"type": "string", "enum": list(field.values)}
    if field.kind == "array":
        assert field.item is not None
        return {"type": "array", "items": _use(field.item)}
    if field.kind == "map":
        assert field.item is not None
        return {"type": "object", "additionalProperties": _use(field.item)}
    bounds = {"minimum": field.minimum, "maximum": field.maximum}
    return _KINDS[field.kind] | {name: value for name, value in bounds.items() if value is not None}


def _in_channel(name: str) -> Schema:
    return _reference("channels", _CHANNEL, "messages", name)


def _reference(*steps: str) -> Schema:
    return {"$ref": "#/" + "/".join(steps)}
