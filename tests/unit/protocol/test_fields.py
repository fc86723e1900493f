"""What the decoder and the manifest know of a field is what its class says."""

from typing import Annotated, Literal

import msgspec
import pytest
from msgspec import Meta

from overseer.protocol.fields import FieldSpec, fields_of
from overseer.protocol.messages import (
    MESSAGES,
    REQUESTS,
    ActionInfo,
    List,
    ManifestResponse,
    Output,
    PoolConfig,
    SetPool,
    Start,
    Stop,
    Subscribe,
    TaskInfo,
    Tasks,
    tag_of,
)


class Inner(msgspec.Struct):
    """A struct within."""

    number: float = 1.5


class Sample(msgspec.Struct, rename="camel"):
    """One field of every kind that there is."""

    text: str
    flag: bool = True
    free: Literal["b", "a"] | None = None
    named: Annotated[Literal["b", "a"], Meta(extra={"name": "Letter", "values": ("b", "a")})] = "b"
    small: Annotated[int, Meta(ge=1, le=9, description="A digit.")] = 3
    long_name: Annotated[str | None, Meta(extra={"kind": "uuid"}, description="Who.")] = None
    inner: Inner | None = None
    inners: list[Inner] = msgspec.field(default_factory=list)
    table: dict[str, Annotated[int, Meta(ge=0)]] | None = None
    anything: msgspec.Raw = msgspec.Raw(b"")


SAMPLE = [
    FieldSpec(name="text", kind="string", required=True),
    FieldSpec(name="flag", kind="boolean", default=True),
    FieldSpec(name="free", kind="enum", values=("a", "b")),
    FieldSpec(name="named", kind="enum", default="b", values=("b", "a"), type_name="Letter"),
    FieldSpec(
        name="small", kind="integer", default=3, minimum=1, maximum=9, description="A digit."
    ),
    FieldSpec(name="longName", kind="uuid", description="Who."),
    FieldSpec(name="inner", kind="struct", struct=Inner, type_name="Inner"),
    FieldSpec(
        name="inners",
        kind="array",
        item=FieldSpec(kind="struct", struct=Inner, type_name="Inner"),
    ),
    FieldSpec(name="table", kind="map", item=FieldSpec(kind="integer", minimum=0)),
    FieldSpec(name="anything", kind="object", default=msgspec.Raw(b"")),
]


@pytest.mark.parametrize(("field", "expected"), [*zip(fields_of(Sample), SAMPLE, strict=True)])
def test_a_field_is_read_as_it_is_declared(field: FieldSpec, expected: FieldSpec) -> None:
    """Name on the wire, kind, bounds, default and description."""
    assert field == expected


def test_a_number_is_a_number() -> None:
    """The one kind that no message has yet."""
    assert fields_of(Inner) == (FieldSpec(name="number", kind="number", default=1.5),)


@pytest.mark.parametrize(
    ("struct", "name", "kind", "required"),
    [
        (Start, "id", "string", True),
        (Start, "action", "string", True),
        (Start, "task_id", "uuid", False),
        (Start, "params", "map", False),
        (Start, "force", "boolean", False),
        (Stop, "task_id", "uuid", True),
        (Stop, "grace", "duration", False),
        (List, "since", "timestamp", False),
        (List, "state", "enum", False),
        (List, "limit", "integer", False),
        (Subscribe, "since_seq", "integer", False),
        (Output, "stream", "enum", True),
        (Tasks, "tasks", "array", True),
        (ManifestResponse, "manifest", "object", True),
        (ActionInfo, "task_pool", "struct", True),
        (PoolConfig, "excess", "struct", True),
        (PoolConfig, "queue", "struct", False),
        (Start, "retry_policy", "struct", False),
        (SetPool, "excess", "struct", False),
    ],
)
def test_fields_of_the_protocol(
    struct: type[msgspec.Struct], name: str, kind: str, required: bool
) -> None:
    """A few of every kind, as the tables of the protocol have them."""
    (field,) = [field for field in fields_of(struct) if field.name == name]
    assert (field.kind, field.required) == (kind, required)


def test_choices_keep_the_order_they_are_told_in() -> None:
    """A form offers states as v2 does, not by the alphabet."""
    (state,) = [field for field in fields_of(TaskInfo) if field.name == "state"]
    assert state.values == ("active", "stopped", "errored", "queued")


@pytest.mark.parametrize("message", [*REQUESTS, *MESSAGES], ids=lambda kind: kind.__name__)
def test_the_tag_is_no_field(message: type[msgspec.Struct]) -> None:
    """What a message is called over the wire is told apart from what it holds."""
    assert "type" not in [field.name for field in fields_of(message)]
    assert tag_of(message)
