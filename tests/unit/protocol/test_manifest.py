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
    task_pool=PoolConfig(),
    retry=RetryPolicy(),
)
# As it goes over the wire.
MANIFEST = json.loads(json.dumps(build_manifest("dev", "About.", [ACTION])))

# What of v2 this version does not have yet: retry, pools and metrics. Whoever adds it takes it out here.
LATER_MESSAGES = {
    "dequeued",
    "metrics",
    "metrics_response",
    "pool_info",
    "pool_info_response",
    "pool_updated",
    "purge",
    "purged",
    "queued",
    "reset",
    "restarting",
    "set_pool",
}
LATER_OPERATIONS = {
    "get_metrics",
    "get_pool_info",
    "purge_queue",
    "reset_task",
    "set_pool_limits",
}
LATER_TYPES = {
    "ActionMetrics",
    "DisplacePolicy",
    "GlobalMetrics",
    "PoolInfo",
    "QueueConfig",
    "QueueOrder",
    "TaskMetrics",
}
LATER_FIELDS = {
    ("start", "retry_policy"),
    ("ActionInfo", "dedupe_key"),
    ("PoolConfig", "queue"),
    ("RetryPolicy", "error_threshold"),
    ("RetryPolicy", "error_window"),
    ("RetryPolicy", "restart_delay"),
    ("TaskInfo", "queued_at"),
    ("TaskInfo", "retry_policy"),
}

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
    return {key: part for key, part in value.items() if key not in {"description", "notes"}}


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
FIELDS = fields(MANIFEST)


def test_its_keys_are_v2s() -> None:
    """And a description of the daemon, which the golden file leaves out as prose."""
    assert set(MANIFEST) == {*GOLDEN, "description"}
    for key in ("$schema", "protocol", "version", "transport", "actions"):
        assert MANIFEST[key] == GOLDEN[key], key
    assert MANIFEST["description"] == "About."


@pytest.mark.parametrize(
    ("part", "later"),
    [
        ("messages", LATER_MESSAGES),
        ("types", LATER_TYPES),
        ("operations", LATER_OPERATIONS),
    ],
)
def test_nothing_of_v2_is_missing(part: str, later: set[str]) -> None:
    """But for what is listed above as still to come, and that list holds nothing that is there."""
    assert set(GOLDEN[part]) - set(MANIFEST[part]) == later


def test_no_field_of_v2_is_missing() -> None:
    """In all that is there, but for the list above."""
    missing = {
        (owner, name)
        for part, owner, name in set(GOLDEN_FIELDS) - set(FIELDS)
        if owner in MANIFEST[part]
    }
    assert missing == LATER_FIELDS


@pytest.mark.parametrize("name", sorted(set(GOLDEN_FIELDS) & set(FIELDS)), ids=".".join)
def test_a_field_is_what_it_is_in_v2(name: tuple[str, str, str]) -> None:
    """Type, required, default and hint alike: forms are built from these."""
    assert without_prose(FIELDS[name]) == GOLDEN_FIELDS[name]


@pytest.mark.parametrize("name", sorted(set(GOLDEN["types"]) - LATER_TYPES))
def test_a_type_is_what_it_is_in_v2(name: str) -> None:
    """The choices of an enum in v2's order, too."""
    golden, ours = GOLDEN["types"][name], MANIFEST["types"][name]
    assert ours["type"] == golden["type"]
    assert ours.get("values") == golden.get("values")


@pytest.mark.parametrize("name", sorted(set(GOLDEN["messages"]) - LATER_MESSAGES))
def test_a_message_goes_the_way_it_does_in_v2(name: str) -> None:
    """Direction and delivery."""
    golden, ours = GOLDEN["messages"][name], MANIFEST["messages"][name]
    assert ours["direction"] == golden["direction"]
    assert ours.get("delivery") == golden.get("delivery")


@pytest.mark.parametrize("name", sorted(set(GOLDEN["operations"]) - LATER_OPERATIONS))
def test_an_operation_is_what_it_is_in_v2(name: str) -> None:
    """The same request, answers and side effects, without the messages that are still to come."""

    def present(outcomes: dict[str, list[str]]) -> dict[str, list[str]]:
        known = {
            outcome: [message for message in messages if message not in LATER_MESSAGES]
            for outcome, messages in outcomes.items()
        }
        return {outcome: messages for outcome, messages in known.items() if messages}

    golden = GOLDEN["operations"][name]
    responses = {key: present(outcomes) for key, outcomes in golden["responses"].items()}
    assert without_prose(MANIFEST["operations"][name]) == {
        "send": golden["send"],
        "responses": responses,
    }


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
        ActionInfo(name=name, type="exec", task_pool=PoolConfig(), retry=RetryPolicy())
        for name in ("b", "a", "c")
    ]
    manifest = build_manifest("1", "", actions)
    assert [action["name"] for action in manifest["actions"]] == ["a", "b", "c"]
