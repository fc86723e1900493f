"""``/asyncapi.json`` is valid AsyncAPI 3.0, and its schemas accept what really goes over the wire.

AsyncAPI publishes its own schema as a package of npm only: against that, the document is validated by a
slow test. All other tests need nothing but Python.
"""

import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft7Validator

from overseer.protocol.asyncapi import build_asyncapi
from overseer.protocol.codec import BadRequest, decode_request, encode_message
from overseer.protocol.fields import FieldSpec, fields_of
from overseer.protocol.manifest import name_of
from overseer.protocol.messages import MESSAGES, REQUESTS, Message, Request, tag_of

DOCUMENT = json.loads(json.dumps(build_asyncapi("1.2.3", "builds")))
PUBLISHED = "@asyncapi/specs@6.11.1"


def payload(name: str) -> Draft7Validator:
    """Return what judges the payload of a message."""
    return Draft7Validator({**DOCUMENT, "$ref": f"#/components/messages/{name}/payload"})


def sample(field: FieldSpec) -> Any:
    """Return a value of the field's kind."""
    if field.struct is not None:
        return {inner.name: sample(inner) for inner in fields_of(field.struct)}
    if field.item is not None:
        item = sample(field.item)
        return [item] if field.kind == "array" else {"key": item}
    plain = {
        "uuid": "5f9b5c0e-2f0c-4c62-9f57-111111111111",
        "timestamp": "2026-11-22T22:07:47.123456Z",
        "duration": "1m30s",
        "integer": field.minimum or 7,
        "number": 1.5,
        "boolean": True,
        "object": {"a": 1},
        "enum": field.values[-1] if field.values else None,
    }
    return plain.get(field.kind, "text")


def samples(kind: type[Request] | type[Message]) -> Iterator[dict[str, Any]]:
    """Yield a message with all its fields, and one with only those that are required."""
    fields = fields_of(kind)
    yield {"type": tag_of(kind)} | {field.name: sample(field) for field in fields}
    yield {"type": tag_of(kind)} | {field.name: sample(field) for field in fields if field.required}


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for part in value.values():
            yield from references(part)
    elif isinstance(value, list):
        for part in value:
            yield from references(part)


@pytest.mark.parametrize("request_class", REQUESTS, ids=tag_of)
def test_a_request_that_the_daemon_takes_is_valid(request_class: type[Request]) -> None:
    """The same request, with all fields or few, passes the decoder and the schema."""
    for request in samples(request_class):
        decode_request(json.dumps(request).encode())
        payload(tag_of(request_class)).validate(request)


@pytest.mark.parametrize("request_class", REQUESTS, ids=tag_of)
def test_a_request_without_a_required_field_is_not(request_class: type[Request]) -> None:
    """The decoder and the schema agree on what is required."""
    for field in fields_of(request_class):
        request = next(samples(request_class))
        del request[field.name]
        assert payload(tag_of(request_class)).is_valid(request) is not field.required
        if field.required:
            with pytest.raises(BadRequest):
                decode_request(json.dumps(request).encode())


@pytest.mark.parametrize("message_class", MESSAGES, ids=tag_of)
def test_a_message_that_the_daemon_sends_is_valid(message_class: type[Message]) -> None:
    """As it is encoded, with every field or only those that are always there."""
    for fields in samples(message_class):
        message = msgspec.json.decode(json.dumps(fields).encode(), type=message_class)
        payload(name_of(message_class)).validate(json.loads(encode_message(message)))


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("grace", ["5s", "1m30s", ".5h", "1µs", "0", "0s"], ["", "5", "-5s", "s", "5 s", 5, "5sx"]),
        ("ack", [True], ["true", 1]),
        ("id", ["1"], [1, None]),
    ],
)
def test_values_are_those_of_the_wire(field: str, good: list[Any], bad: list[Any]) -> None:
    """A duration is text as Go writes it, not a number of seconds."""
    request = {"type": "stop", "id": "1", "task_id": "t"}
    assert [
        value for value in good if not payload("stop").is_valid({**request, field: value})
    ] == []
    assert [value for value in bad if payload("stop").is_valid({**request, field: value})] == []


def test_choices_come_in_v2s_order() -> None:
    """Forms show them in it."""
    assert DOCUMENT["components"]["schemas"]["Stream"]["enum"] == ["stdout", "stderr"]
    moment = DOCUMENT["components"]["messages"]["started"]["payload"]["properties"]["ts"]
    assert moment["format"] == "date-time"


def test_every_schema_is_one() -> None:
    """By the published meta-schema of draft-07, AsyncAPI's dialect."""
    for message in DOCUMENT["components"]["messages"].values():
        Draft7Validator.check_schema(message["payload"])
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft7Validator.check_schema(schema)


def test_every_reference_leads_somewhere() -> None:
    """From the top of the document, step by step, and nothing is there that nobody refers to."""
    found = set(references(DOCUMENT))
    for reference in found:
        place: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
    for part in ("messages", "schemas", "correlationIds"):
        assert {f"#/components/{part}/{name}" for name in DOCUMENT["components"][part]} <= found


def test_every_message_has_an_operation() -> None:
    """Requests are received, answers are their replies, and the rest is sent."""
    received, replied, sent = set(), set(), set()
    for operation in DOCUMENT["operations"].values():
        names = {part["$ref"].rpartition("/")[2] for part in operation["messages"]}
        (received if operation["action"] == "receive" else sent).update(names)
        for part in operation.get("reply", {}).get("messages", ()):
            replied.add(part["$ref"].rpartition("/")[2])
    assert received == set(map(tag_of, REQUESTS))
    assert replied | sent == set(map(name_of, MESSAGES))
    assert {"error", "ack", "manifest_response"} <= replied - sent
    assert {"started", "output", "lagged"} <= sent


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("npm") is None, reason="the published schema comes by npm")
def test_it_is_valid_by_the_published_schema(tmp_path: Path) -> None:
    """That of AsyncAPI 3.0.0."""
    command = ["npm", "pack", "--silent", "--pack-destination", tmp_path, PUBLISHED]
    subprocess.run(command, check=True, timeout=300, capture_output=True)
    (archive,) = tmp_path.glob("*.tgz")
    with tarfile.open(archive) as files:
        file = files.extractfile("package/schemas/3.0.0-without-$id.json")
        assert file is not None
        schema = json.load(file)
    Draft7Validator(schema).validate(DOCUMENT)
