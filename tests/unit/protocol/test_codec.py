"""Requests: what is understood, and what each wrong one is answered (protocol.md section 2)."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overseer.protocol.codec import BadRequest, decode_request, encode_message
from overseer.protocol.fields import FieldSpec, fields_of
from overseer.protocol.messages import (
    MESSAGES,
    REQUESTS,
    Ack,
    Dequeued,
    Describe,
    Error,
    ExcessConfig,
    Exited,
    Lagged,
    List,
    Manifest,
    Message,
    Metrics,
    MetricsResponse,
    Output,
    PoolInfo,
    PoolInfoRequest,
    PoolUpdated,
    Purge,
    Purged,
    Queued,
    Replay,
    Request,
    Reset,
    Restarting,
    RetryPolicy,
    SetPool,
    Start,
    Started,
    Stop,
    Subscribe,
    Subscribed,
    TaskMetrics,
    Unsubscribe,
    tag_of,
)

LARGEST = 2**63 - 1
NOON = 1_700_000_000_000_000
# One good value for every kind of field: what goes over the wire, and what the daemon works with.
GOOD: dict[str, tuple[Any, Any]] = {
    "string": ("text", "text"),
    "uuid": ("a-task", "a-task"),
    "boolean": (True, True),
    "integer": (7, 7),
    "timestamp": ("2023-11-14T22:13:20Z", NOON),
    "duration": ("1m30s", 90.0),
}
# What each kind of JSON value is called in messages.
OTHERS = [
    (True, "boolean"),
    (12, "integer"),
    (2**70, "integer"),
    (1.5, "number"),
    ("text", "string"),
    ([1], "array"),
    ({"a": 1}, "object"),
]
ACCEPTED = {"boolean": {"boolean"}, "integer": {"integer"}, "map": {"object"}, "struct": {"object"}}
EXPECTED = {"boolean": "boolean", "integer": "integer", "map": "object", "struct": "object"}
FIELDS = [(request, field) for request in REQUESTS for field in fields_of(request)]
field_names = [f"{request.__name__}.{field.name}" for request, field in FIELDS]


def decode(**fields: Any) -> Request:
    return decode_request(json.dumps(fields).encode())


def refusal(data: bytes | str) -> tuple[str, str]:
    """Return id and text of the answer to a wrong request."""
    with pytest.raises(BadRequest) as caught:
        decode_request(data.encode() if isinstance(data, str) else data)
    encode_message(Error(caught.value.id, caught.value.message))  # it can be told
    return caught.value.id, caught.value.message


def complaint(**fields: Any) -> str:
    identifier, message = refusal(json.dumps({"id": "r1", **fields}))
    assert identifier == "r1"
    return message


def good(field: FieldSpec) -> tuple[Any, Any]:
    if field.kind == "enum":
        return field.values[0], field.values[0]
    if field.kind == "map":
        assert field.item is not None
        wire, inner = good(field.item)
        return {"key": wire}, {"key": inner}
    if field.struct is not None:
        inside = {field.name: good(field)[0] for field in fields_of(field.struct)}
        return inside, field.struct(**inside)  # its texts are checked, and stay texts
    return GOOD[field.kind]


def full(request: type[Request]) -> dict[str, Any]:
    """Return a request with every field that it can have."""
    values = {field.name: good(field)[0] for field in fields_of(request)}
    return {"type": tag_of(request), **values}


# ---------------------------------------------------------------------------------- whole messages


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "invalid JSON: Input data was truncated"),
        (b"nonsense", None),
        (b'{"id":"1"', None),
        (b'{"id":"1",}', None),
        (b'{"id":"1"} x', None),
        (b"{'id':'1'}", None),
        (b'{"id":NaN}', None),
        (b'{"id":Infinity}', None),
        (b'{"id":"1","type":"list","limit":1e999}', None),
        (b'{"id":"1","type":"list","limit":' + b"9" * 100_000 + b"}", None),
        (b'{"id":"\xff"}', None),
        (b'{"id":"\xed\xa0\x80"}', None),
        (b'{"id":"\\ud800"}', None),
        (b'{"id":"\\udc00\\ud800"}', None),
        (b'{"id":"a\x00b"}', None),
        (b'\xef\xbb\xbf{"id":"1"}', None),
        ('{"id":"1"}'.encode("utf-16"), None),
        (b"[" * 100_000, "invalid JSON: nested too deeply"),
        (b'{"id":' * 100_000, "invalid JSON: nested too deeply"),
        (b"[" * 100_000 + b"]" * 100_000, "invalid JSON: nested too deeply"),
        (b"[]", "invalid JSON: expected an object, got array"),
        (b'"text"', "invalid JSON: expected an object, got string"),
        (b"1", "invalid JSON: expected an object, got integer"),
        (b"1.5", "invalid JSON: expected an object, got number"),
        (b"true", "invalid JSON: expected an object, got boolean"),
        (b"null", "invalid JSON: expected an object, got null"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_no_json_object(data: bytes, message: str | None) -> None:
    """Answered with an empty id, because none can be known, and with where it went wrong."""
    identifier, answer = refusal(data)
    assert identifier == ""
    assert answer.startswith("invalid JSON: ")
    assert len(answer) < 200
    if message is not None:
        assert answer == message


@pytest.mark.parametrize("identifier", [None, "", 1, 1.5, True, False, [], ["r1"], {}, {"a": 1}])
@pytest.mark.parametrize("kind", ["list", "nonsense", None])
def test_an_id_is_required(identifier: Any, kind: str | None) -> None:
    """Missing, empty or no string: nothing could be answered to, whatever else is wrong."""
    assert refusal(json.dumps({"type": kind, "id": identifier})) == ("", "id is required")
    assert refusal(json.dumps({"type": kind})) == ("", "id is required")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("nonsense", "unknown message type: nonsense"),
        ("Start", "unknown message type: Start"),
        ("started", "unknown message type: started"),
        (" start", "unknown message type:  start"),
        ("x" * 100, "unknown message type: " + "x" * 100),
        ("x" * 100_000, "unknown message type: " + "x" * 100 + "…"),
        ("", "type is required"),
        (None, "type is required"),
        (7, "type: expected string, got integer"),
        (0, "type: expected string, got integer"),
        (False, "type: expected string, got boolean"),
        ([], "type: expected string, got array"),
        ({}, "type: expected string, got object"),
    ],
)
def test_an_unknown_type(kind: Any, message: str) -> None:
    """The answer names it, shortened."""
    assert complaint(type=kind) == message


def test_a_missing_type() -> None:
    """A request must say what it wants."""
    assert complaint() == "type is required"


def test_the_last_of_two_equal_keys_counts() -> None:
    """As in the Go original and in browsers."""
    assert decode_request(b'{"id":"1","id":"2","type":"stop","type":"list"}') == List("2")


def test_what_is_within_limits_of_nesting_is_read() -> None:
    """An unknown field may hold anything."""
    nested = b"[" * 100 + b"]" * 100
    assert decode_request(b'{"id":"1","type":"list","other":' + nested + b"}") == List("1")


# ------------------------------------------------------------------------------------ every field


@pytest.mark.parametrize("request_type", REQUESTS, ids=tag_of)
def test_a_request_with_every_field(request_type: type[Request]) -> None:
    """What is sent arrives, converted to what the daemon works with."""
    values = {field.name: good(field)[1] for field in fields_of(request_type)}
    assert decode(**full(request_type)) == request_type(**values)


@pytest.mark.parametrize("request_type", REQUESTS, ids=tag_of)
def test_a_request_with_required_fields_alone(request_type: type[Request]) -> None:
    """Everything else has its default: so do requests of clients that are older than a field."""
    required = {field.name: good(field)[1] for field in fields_of(request_type) if field.required}
    request = decode(type=tag_of(request_type), **required)
    assert request == request_type(**required)
    for field in fields_of(request_type):
        if not field.required:
            assert getattr(request, field.name) == field.default


@pytest.mark.parametrize("request_type", REQUESTS, ids=tag_of)
def test_unknown_fields_are_ignored(request_type: type[Request]) -> None:
    """Also those that are fields of messages from the server, whatever they hold."""
    request = full(request_type)
    extras = {"seq": [], "pid": "x", "other": {"deep": [None]}, "": 1, "Task_id": 7}
    assert decode(**extras, **request) == decode(**request)


@pytest.mark.parametrize(("request_type", "field"), FIELDS, ids=field_names)
def test_null_is_absent(request_type: type[Request], field: FieldSpec) -> None:
    """For optional fields it gives the default, for required ones the complaint of a missing field."""
    request = full(request_type)
    without = {name: value for name, value in request.items() if name != field.name}
    if not field.required:
        assert decode(**request | {field.name: None}) == decode(**without)
        return
    expected = ("" if field.name == "id" else "id-1", f"{field.name} is required")
    for changed in (request | {field.name: None}, request | {field.name: ""}, without):
        if field.name != "id":
            changed = changed | {"id": "id-1"}  # noqa: PLW2901
        assert refusal(json.dumps(changed)) == expected


@pytest.mark.parametrize(
    ("request_type", "field"),
    [(request, field) for request, field in FIELDS if not field.required],
)
def test_an_empty_string_in_an_optional_field_is_absent(
    request_type: type[Request], field: FieldSpec
) -> None:
    """Forms send empty strings for what nobody filled in."""
    request = full(request_type)
    without = {name: value for name, value in request.items() if name != field.name}
    assert decode(**request | {field.name: ""}) == decode(**without)


@pytest.mark.parametrize(("request_type", "field"), FIELDS, ids=field_names)
def test_a_value_of_the_wrong_type(request_type: type[Request], field: FieldSpec) -> None:
    """The answer names the field, what was expected and what came."""
    if field.name == "id":
        return  # cannot be answered to: test_an_id_is_required
    expected = EXPECTED.get(field.kind, "string")
    for value, name in OTHERS:
        if name in ACCEPTED.get(field.kind, {"string"}):
            continue
        request = full(request_type) | {"id": "r1", field.name: value}
        assert refusal(json.dumps(request)) == (
            "r1",
            f"{field.name}: expected {expected}, got {name}",
        )


BOUNDS = {"History.limit": (1, 1000), "Resize.rows": (1, 65535), "Resize.cols": (1, 65535)}


@pytest.mark.parametrize(("request_type", "field"), FIELDS, ids=field_names)
def test_a_text_that_is_no_such_value(request_type: type[Request], field: FieldSpec) -> None:
    """Choices, instants and durations are checked, numbers against their bounds."""
    expectation = {
        "enum": f"expected one of {', '.join(field.values)}",
        "timestamp": "expected an RFC 3339 timestamp",
        "duration": 'expected a duration such as "1m30s"',
    }.get(field.kind)
    if expectation is not None:
        for value, shown in (("tomorrow", "tomorrow"), ("é" * 101, "é" * 100 + "…"), ("\0", "\0")):
            request = {**full(request_type), "id": "r1", field.name: value}
            answer = f'{field.name}: {expectation}, got "{shown}"'
            assert refusal(json.dumps(request)) == ("r1", answer)
    if field.kind == "integer":
        least, most = field.minimum, field.maximum
        assert (least, most) == BOUNDS.get(f"{request_type.__name__}.{field.name}", (0, LARGEST))
        for number in (least, most):
            request = {**full(request_type), field.name: number}
            assert getattr(decode(**request), field.name) == number
        for number, bound in (
            (least - 1, f">= {least}"),
            (most + 1, f"<= {most}"),
            (10**90, f"<= {most}"),
        ):
            request = {**full(request_type), "id": "r1", field.name: number}
            answer = f"{field.name}: expected integer {bound}, got {number}"
            assert refusal(json.dumps(request)) == ("r1", answer)


# ---------------------------------------------------------------------------- particular requests


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"type": "start", "action": "a"}, Start("1", "a")),
        (
            {"type": "start", "action": "a", "params": {"x": "", "y": None, "": "z"}},
            Start("1", "a", params={"x": "", "": "z"}),
        ),
        ({"type": "start", "action": "a", "params": {}}, Start("1", "a", params={})),
        ({"type": "start", "action": "a", "force": False}, Start("1", "a")),
        ({"type": "stop", "task_id": "t"}, Stop("1", "t")),
        ({"type": "stop", "task_id": "t", "grace": "0s"}, Stop("1", "t", grace=0)),
        ({"type": "stop", "task_id": "t", "grace": "100ms"}, Stop("1", "t", grace=0.1)),
        ({"type": "stop", "task_id": " "}, Stop("1", " ")),
        ({"type": "list", "state": "errored"}, List("1", state="errored")),
        ({"type": "list", "since": "2023-11-14T23:13:20.5+01:00"}, List("1", since=NOON + 500_000)),
        ({"type": "replay", "task_id": "t", "since_seq": 0}, Replay("1", "t", since_seq=0)),
        ({"type": "subscribe", "task_id": "*"}, Subscribe("1", "*")),
        ({"type": "unsubscribe", "task_id": "t"}, Unsubscribe("1", "t")),
        ({"type": "describe"}, Describe("1")),
        ({"type": "manifest"}, Manifest("1")),
        (
            {"type": "start", "action": "a", "retry_policy": {}, "force": True},
            Start("1", "a", retry_policy=RetryPolicy(), force=True),
        ),
        (
            {"type": "start", "action": "a", "retry_policy": {"restart_delay": "", "x": 1}},
            Start("1", "a", retry_policy=RetryPolicy()),
        ),
        (
            {
                "type": "start",
                "action": "a",
                "retry_policy": {
                    "restart_delay": "1m30s",
                    "restart_jitter": None,
                    "error_window": "0s",
                    "error_threshold": 0,
                },
            },
            Start(
                "1",
                "a",
                retry_policy=RetryPolicy(
                    restart_delay="1m30s", error_window="0s", error_threshold=0
                ),
            ),
        ),
        ({"type": "reset", "task_id": "t"}, Reset("1", "t")),
        ({"type": "pool_info"}, PoolInfoRequest("1")),
        ({"type": "pool_info", "action": ""}, PoolInfoRequest("1")),
        ({"type": "set_pool", "size": 0}, SetPool("1", size=0)),
        ({"type": "set_pool", "limit": 4, "queue_size": 0}, SetPool("1", limit=4, queue_size=0)),
        (
            {"type": "set_pool", "action": "a", "excess": {"action": "", "grace": 3}},
            SetPool("1", "a", excess=ExcessConfig(grace=3)),
        ),
        ({"type": "purge", "action": "a"}, Purge("1", "a")),
        ({"type": "metrics", "task_id": "t"}, Metrics("1", task_id="t")),
    ],
)
def test_requests_that_clients_send(fields: dict[str, Any], expected: Request) -> None:
    """Those of the user's document, and corners of them."""
    assert decode(id="1", **fields) == expected


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"type": "start"}, "action is required"),
        ({"type": "stop"}, "task_id is required"),
        (
            {"type": "start", "action": "a", "params": {"count": 3}},
            "params.count: expected string, got integer",
        ),
        (
            {"type": "start", "action": "a", "params": {"count": {"a": "b"}}},
            "params.count: expected string, got object",
        ),
        (
            {"type": "start", "action": "a", "params": {"k" * 200: 3}},
            f"params.{'k' * 100}…: expected string, got integer",
        ),
        ({"type": "start", "action": "a", "params": []}, "params: expected object, got array"),
        ({"type": "start", "action": "a", "force": 1}, "force: expected boolean, got integer"),
        (
            {"type": "stop", "task_id": "t", "grace": "-1s"},
            'grace: expected a duration >= 0, got "-1s"',
        ),
        (
            {"type": "stop", "task_id": "t", "grace": "5"},
            'grace: expected a duration such as "1m30s", got "5"',
        ),
        ({"type": "stop", "task_id": "t", "grace": 5}, "grace: expected string, got integer"),
        (
            {"type": "list", "state": "running"},
            'state: expected one of active, stopped, errored, queued, got "running"',
        ),
        (
            {"type": "list", "since": "2023-02-29T00:00:00Z"},
            'since: expected an RFC 3339 timestamp, got "2023-02-29T00:00:00Z"',
        ),
        (
            {"type": "start", "action": "a", "retry_policy": {"restart_delay": "5"}},
            'retry_policy.restart_delay: expected a duration such as "1m30s", got "5"',
        ),
        (
            {"type": "start", "action": "a", "retry_policy": {"restart_jitter": "-5s"}},
            'retry_policy.restart_jitter: expected a duration >= 0, got "-5s"',
        ),
        (
            {"type": "start", "action": "a", "retry_policy": {"error_window": 5}},
            "retry_policy.error_window: expected string, got integer",
        ),
        (
            {"type": "start", "action": "a", "retry_policy": {"error_threshold": -1}},
            "retry_policy.error_threshold: expected integer >= 0, got -1",
        ),
        (
            {"type": "start", "action": "a", "retry_policy": {"error_threshold": "3"}},
            "retry_policy.error_threshold: expected integer, got string",
        ),
        (
            {"type": "start", "action": "a", "retry_policy": []},
            "retry_policy: expected object, got array",
        ),
        ({"type": "set_pool", "size": -1}, "size: expected integer >= 0, got -1"),
        ({"type": "set_pool", "limit": 1.5}, "limit: expected integer, got number"),
        ({"type": "set_pool", "queue_size": "5"}, "queue_size: expected integer, got string"),
        (
            {"type": "set_pool", "excess": {"action": "kill"}},
            'excess.action: expected one of stop, requeue, got "kill"',
        ),
        (
            {"type": "set_pool", "excess": {"order": "middle"}},
            'excess.order: expected one of first, last, got "middle"',
        ),
        (
            {"type": "set_pool", "excess": {"grace": -1}},
            "excess.grace: expected integer >= 0, got -1",
        ),
        ({"type": "set_pool", "excess": "stop"}, "excess: expected object, got string"),
        ({"type": "reset"}, "task_id is required"),
        ({"type": "list", "limit": 1.0}, "limit: expected integer, got number"),
        ({"type": "list", "limit": True}, "limit: expected integer, got boolean"),
        (
            {"type": "list", "limit": -(10**200)},
            f"limit: expected integer >= 0, got -1{'0' * 98}…",
        ),
    ],
)
def test_what_is_wrong_is_told(fields: dict[str, Any], message: str) -> None:
    """The texts of the contract and its like."""
    assert complaint(**fields) == message


# -------------------------------------------------------------------------------------- properties


def understood_or_refused(data: bytes) -> None:
    try:
        request = decode_request(data)
    except BadRequest as error:
        encode_message(Error(error.id, error.message))
    else:
        assert isinstance(request, Request)
        assert request.id


@given(st.binary(max_size=200))
def test_any_bytes_are_understood_or_refused(data: bytes) -> None:
    """No client can make the daemon fail, and each refusal can be sent."""
    understood_or_refused(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
names = sorted({field.name for _, field in FIELDS} | {"type"})


@settings(max_examples=60)
@given(
    json_values
    | st.fixed_dictionaries(
        {
            "id": st.just("1") | json_values,
            "type": st.sampled_from([tag_of(kind) for kind in REQUESTS]),
        },
        optional={name: json_values for name in names if name not in {"id", "type"}},
    )
)
def test_any_json_is_understood_or_refused(value: Any) -> None:
    """Right names with wrong values, above all."""
    understood_or_refused(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    understood_or_refused(json.dumps(value).encode())


def values_of(field: FieldSpec) -> st.SearchStrategy[tuple[Any, Any]]:
    """Return pairs of what goes over the wire and what it means."""
    text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
    if field.kind == "enum":
        return st.sampled_from(field.values).map(lambda value: (value, value))
    if field.kind == "map":
        return st.dictionaries(text, text).map(lambda value: (value, value))
    if field.struct is not None:
        struct = field.struct
        return st.fixed_dictionaries(
            {},
            optional={
                inner.name: values_of(inner).map(lambda value: value[0])
                for inner in fields_of(struct)
            },
        ).map(lambda given: (given, struct(**given)))
    makers: dict[str, Callable[[], st.SearchStrategy[tuple[Any, Any]]]] = {
        "boolean": lambda: st.booleans().map(lambda value: (value, value)),
        "integer": lambda: st.integers(field.minimum, field.maximum).map(
            lambda value: (value, value)
        ),
        "timestamp": lambda: st.just(GOOD["timestamp"]),
        "duration": lambda: st.integers(0, 10**6).map(lambda value: (f"{value}s", float(value))),
    }
    return makers.get(field.kind, lambda: text.map(lambda value: (value, value)))()


@st.composite
def requests(draw: st.DrawFn) -> tuple[dict[str, Any], Request]:
    kind = draw(st.sampled_from(REQUESTS))
    wire, meaning = {"type": tag_of(kind)}, {}
    for field in fields_of(kind):
        if field.required or draw(st.booleans()):
            wire[field.name], meaning[field.name] = draw(values_of(field))
    return wire, kind(**meaning)


@settings(max_examples=60)
@given(requests(), st.booleans(), st.randoms())
def test_every_request_survives_the_way(
    request: tuple[dict[str, Any], Request], escaped: bool, chance: Any
) -> None:
    """In any order of fields, with characters written out or escaped."""
    wire, meaning = request
    shuffled = list(wire.items())
    chance.shuffle(shuffled)
    data = json.dumps(dict(shuffled), ensure_ascii=escaped, indent=1 if escaped else None)
    assert decode_request(data.encode()) == meaning


# ------------------------------------------------------------------------------ from the server


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (
            Started(id="", task_id="t", pid=0, ts="now"),
            '{"type":"started","id":"","task_id":"t","pid":0,"ts":"now"}',
        ),
        (
            Started(id="1", task_id="t", pid=8, restart_of=0, ts="now"),
            '{"type":"started","id":"1","task_id":"t","pid":8,"restart_of":0,"ts":"now"}',
        ),
        (
            Output("t", 7, "stderr", 'é"\n', "now", 3),
            '{"type":"output","task_id":"t","pid":7,"stream":"stderr","data":"é\\"\\n","ts":"now","seq":3}',
        ),
        (
            Exited("t", 7, -1, True, "now", "SIGKILL"),
            '{"type":"exited","task_id":"t","pid":7,"exit_code":-1,"intentional":true,"ts":"now",'
            '"signal":"SIGKILL"}',
        ),
        (
            Exited("t", 7, 0, False, "now"),
            '{"type":"exited","task_id":"t","pid":7,"exit_code":0,"intentional":false,"ts":"now"}',
        ),
        (
            Lagged("t", 3, 5, 3),
            '{"type":"lagged","task_id":"t","from_seq":3,"to_seq":5,"dropped":3}',
        ),
        (Error("", "no"), '{"type":"error","id":"","message":"no"}'),
        (
            Error("1", "no", "t"),
            '{"type":"error","id":"1","message":"no","existing_task_id":"t"}',
        ),
        (Subscribed("1", "t"), '{"type":"subscribed","id":"1","task_id":"t"}'),
        (
            Subscribed("1", "t", "e", 1, 0),
            '{"type":"subscribed","id":"1","task_id":"t","epoch":"e","first_seq":1,"last_seq":0}',
        ),
        (Ack("1"), '{"type":"ack","id":"1"}'),
        (
            Queued(id="", task_id="t", action="a", position=1, ts="now"),
            '{"type":"queued","id":"","task_id":"t","action":"a","position":1,"ts":"now"}',
        ),
        (
            Dequeued("t", "purged", "now"),
            '{"type":"dequeued","task_id":"t","reason":"purged","ts":"now"}',
        ),
        (
            Restarting("t", 0, "0s", 1, "now"),
            '{"type":"restarting","task_id":"t","pid":0,"restart_delay":"0s","attempt":1,"ts":"now"}',
        ),
        (Purged(id="1", count=0), '{"type":"purged","id":"1","count":0}'),
        (
            PoolUpdated(action="a", pool=PoolInfo(4, 0, 0)),
            '{"type":"pool_updated","action":"a","pool":{"limit":4,"running":0,"queue_depth":0}}',
        ),
        (
            MetricsResponse("1", task=TaskMetrics(0, 0, 0, 0)),
            '{"type":"metrics","id":"1","task":{"output_lines":0,"restart_count":0,"runtime_ms":0,'
            '"last_exit_code":0}}',
        ),
    ],
)
def test_messages_are_compact_json(message: Message, text: str) -> None:
    """`type` first, fields in the order of the contract, what is empty left out, zeros kept."""
    assert encode_message(message).decode() == text


@pytest.mark.parametrize("message", MESSAGES, ids=tag_of)
def test_an_optional_field_is_left_out_unless_set(message: type[Message]) -> None:
    """Old clients never see what they do not know."""
    values = {
        "string": "",
        "uuid": "",
        "timestamp": "",
        "integer": 0,
        "boolean": False,
        "enum": "",
        "array": [],
        "duration": "",
        "object": msgspec.Raw(b"{}"),
        "struct": msgspec.Raw(b"{}"),
    }
    required = {field.name: values[field.kind] for field in fields_of(message) if field.required}
    assert list(json.loads(encode_message(message(**required)))) == ["type", *required]
