"""The manifest says what v2's document says, so that generic clients build the same forms from it.

``tests/golden/manifest-v2-shape.json`` is v2's document without its prose.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from overseer.protocol.manifest import build_manifest
from overseer.protocol.messages import (
    MESSAGES,
    REQUESTS,
    ActionInfo,
    ExcessConfig,
    ParamSpec,
    PoolConfig,
    RetryPolicy,
    tag_of,
)

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "manifest-v2-shape.json").read_text())
ACTION = ActionInfo(
    name="sh",
    type="exec",
    params={"script": ParamSpec()},
    task_pool=PoolConfig(0, ExcessConfig()),
    retry=RetryPolicy(),
)
# As it goes over the wire.
MANIFEST = json.loads(json.dumps(build_manifest("dev", "About.", [ACTION])))

Owner = tuple[str, str]


def owners(document: dict[str, Any]) -> dict[Owner, dict[str, Any]]:
    """Return everything that has fields: messages and types."""
    return {
        (part, name): described
        for part in ("messages", "types")
        for name, described in document[part].items()
        if "fields" in described
    }


def fields(document: dict[str, Any]) -> dict[tuple[str, str, str], dict[str, Any]]:
    return {
        (part, owner, name): field
        for (part, owner), described in owners(document).items()
        for name, field in described["fields"].items()
    }


def without_prose(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {
        key: without_prose(part)
        for key, part in value.items()
        if key not in {"description", "notes"}
    }


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for part in value.values():
            yield from references(part)
    elif isinstance(value, list):
        for part in value:
            yield from references(part)


GOLDEN_FIELDS = fields(GOLDEN)
GOLDEN_ITEMS = GOLDEN_FIELDS.pop(("types", "PoolInfo", "queue_items"))
"""Ours have more fields than these: a test of its own."""
FIELDS = fields(MANIFEST)


def test_its_keys_are_v2s() -> None:
    """And a description of the daemon, which the golden file leaves out as prose."""
    assert set(MANIFEST) == {*GOLDEN, "description"}
    for key in ("$schema", "protocol", "version", "transport", "actions"):
        assert MANIFEST[key] == GOLDEN[key], key
    assert MANIFEST["description"] == "About."


@pytest.mark.parametrize("part", ["messages", "types", "operations"])
def test_nothing_of_v2_is_missing(part: str) -> None:
    """Every message, type and operation that a client of v2 may know is there."""
    assert set(GOLDEN[part]) <= set(MANIFEST[part])


def test_no_field_of_v2_is_missing() -> None:
    """Nor any field of them."""
    assert set(GOLDEN_FIELDS) <= set(FIELDS)


@pytest.mark.parametrize("name", sorted(GOLDEN_FIELDS), ids=".".join)
def test_a_field_is_what_it_is_in_v2(name: tuple[str, str, str]) -> None:
    """Type, required, default and hint alike: forms are built from these."""
    assert without_prose(FIELDS[name]) == GOLDEN_FIELDS[name]


def test_the_waiting_tasks_of_a_pool_are_described_in_place() -> None:
    """As in v2, with the fields that v2 did not describe beside its own."""
    name = ("types", "PoolInfo", "queue_items")
    ours, golden = without_prose(FIELDS[name]), GOLDEN_ITEMS
    assert ours["type"] == golden["type"] == "array"
    assert ours["items"]["type"] == golden["items"]["type"]
    fields = ours["items"]["fields"]
    assert list(fields) == ["task_id", "action", "queued_at", "position", "forced"]
    assert golden["items"]["fields"].items() <= fields.items()


@pytest.mark.parametrize("name", sorted(GOLDEN["types"]))
def test_a_type_is_what_it_is_in_v2(name: str) -> None:
    """The choices of an enum in v2's order, too."""
    golden, ours = GOLDEN["types"][name], MANIFEST["types"][name]
    assert ours["type"] == golden["type"]
    assert ours.get("values") == golden.get("values")


@pytest.mark.parametrize("name", sorted(GOLDEN["messages"]))
def test_a_message_goes_the_way_it_does_in_v2(name: str) -> None:
    """Direction and delivery."""
    golden, ours = GOLDEN["messages"][name], MANIFEST["messages"][name]
    assert ours["direction"] == golden["direction"]
    assert ours.get("delivery") == golden.get("delivery")


@pytest.mark.parametrize("name", sorted(GOLDEN["operations"]))
def test_an_operation_is_what_it_is_in_v2(name: str) -> None:
    """The same request, answers and side effects."""
    assert without_prose(MANIFEST["operations"][name]) == without_prose(GOLDEN["operations"][name])


def test_every_reference_leads_somewhere() -> None:
    """To a type, and to each type leads a reference."""
    found = set(references(MANIFEST))
    assert found == {f"#/types/{name}" for name in MANIFEST["types"]}


def test_every_answer_of_an_operation_is_a_message() -> None:
    """Under the `type` that it goes over the wire with."""
    tags = {tag_of(message) for message in MESSAGES}
    for operation in MANIFEST["operations"].values():
        assert MANIFEST["messages"][operation["send"]]["direction"] == "c2s"
        for outcomes in operation["responses"].values():
            for messages in outcomes.values():
                assert set(messages) <= tags


def test_every_message_is_there() -> None:
    """A name used in both directions is told apart by a suffix, as in v2."""
    requests = {tag_of(request) for request in REQUESTS}
    answers = {tag_of(message) for message in MESSAGES}
    assert set(MANIFEST["messages"]) == (
        requests | (answers - requests) | {f"{name}_response" for name in answers & requests}
    )


@pytest.mark.parametrize("name", sorted(owners(MANIFEST)), ids=".".join)
def test_everything_is_described(name: Owner) -> None:
    """In words for a human; only the tag speaks for itself."""
    described = owners(MANIFEST)[name]
    assert described["description"]
    for field_name, field in described["fields"].items():
        if field.get("ui_hint") != "hidden":
            assert field["description"], field_name


def test_every_operation_is_explained() -> None:
    """Clients show it beside the button."""
    assert all(operation["notes"] for operation in MANIFEST["operations"].values())


def test_actions_come_in_the_order_of_their_names() -> None:
    """So that the document is the same at every start."""
    actions = [
        ActionInfo(
            name=name, type="exec", task_pool=PoolConfig(0, ExcessConfig()), retry=RetryPolicy()
        )
        for name in ("b", "a", "c")
    ]
    manifest = build_manifest("1", "", actions)
    assert [action["name"] for action in manifest["actions"]] == ["a", "b", "c"]
