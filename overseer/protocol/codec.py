"""From JSON to requests and from messages to JSON.

Every way in which a request can be wrong is answered here, by a :class:`BadRequest` whose text names the
field, what was expected and what came (the table in protocol.md section 2).
"""

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import msgspec

from overseer.core.durations import format_duration, parse_duration
from overseer.core.timestamps import format_timestamp, parse_timestamp
from overseer.protocol.fields import FieldSpec, fields_of
from overseer.protocol.messages import REQUESTS, Message, Request, tag_of

encode_message: Callable[[Message], bytes] = msgspec.json.Encoder().encode
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_ABSENT = (None, "")
_MAX_SHOWN = 100
_MAX_DIGITS = 30
_PLAIN: Mapping[str, bool] = {"true": True, "false": False}


@attrs.frozen
class BadRequest(Exception):
    """A request that cannot be understood; ``id`` is empty where the request had none."""

    id: str
    message: str


class _WrongValue(Exception):
    """The rest of a message about a field, after its path."""

    def __init__(self, path: str, complaint: str) -> None:
        super().__init__(f"{path}: {complaint}")


def decode_request(data: bytes) -> Request:
    """Return the request in ``data``, one JSON object.

    ``null`` counts as absent everywhere, an empty string does in optional fields; unknown fields are ignored.

    :raises BadRequest: with the text for the client.
    """
    fields = _json_object(data)
    request_id = fields.get("id")
    if not isinstance(request_id, str) or not request_id:
        raise BadRequest("", "id is required")
    name = fields.get("type")
    if name in _ABSENT:
        raise BadRequest(request_id, "type is required")
    if not isinstance(name, str):
        raise BadRequest(request_id, f"type: expected string, got {_kind_of(name)}")
    kind = _REQUESTS.get(name)
    if kind is None:
        raise BadRequest(request_id, f"unknown message type: {_shorten(name)}")
    values: dict[str, Any] = {}
    try:
        for spec in fields_of(kind):
            value = fields.get(spec.name)
            if value not in _ABSENT:
                values[spec.name] = _convert(spec, value, spec.name)
            elif spec.required:
                raise BadRequest(request_id, f"{spec.name} is required")
    except _WrongValue as wrong:
        raise BadRequest(request_id, str(wrong)) from None
    return kind(**values)


def encode_request(request: Request, request_id: str) -> bytes:
    """Return the JSON of a request under an id: what :func:`decode_request` reads as the same request."""
    kind = type(request)
    values: dict[str, Any] = {"type": tag_of(kind), "id": request_id}
    for spec in fields_of(kind):
        value = getattr(request, spec.name)
        if spec.name != "id" and value is not None and value != spec.default:
            render = _RENDERERS.get(spec.kind)
            values[spec.name] = value if render is None else render(value)
    return _encode(values)


def decode_query(kind: type[Request], query: Mapping[str, str]) -> Request:
    """Return a request whose fields stand in the query of a URL, all of them as text.

    :raises BadRequest: with the text for the client.
    """
    values: dict[str, Any] = {}
    try:
        for spec in fields_of(kind):
            text = query.get(spec.name)
            if text:
                value: object = _PLAIN.get(text, text) if spec.kind == "boolean" else text
                if spec.kind == "integer" and text.isdecimal() and text.isascii():
                    value = int(text[:_MAX_DIGITS])
                values[spec.name] = _convert(spec, value, spec.name)
    except _WrongValue as wrong:
        raise BadRequest("", str(wrong)) from None
    return kind(id="", **values)


def _json_object(data: bytes) -> dict[str, Any]:
    try:
        value = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest("", f"invalid JSON: {error}") from None
    except RecursionError:
        raise BadRequest("", "invalid JSON: nested too deeply") from None
    if not isinstance(value, dict):
        raise BadRequest("", f"invalid JSON: expected an object, got {_kind_of(value)}")
    return value


def _convert(spec: FieldSpec, value: Any, path: str) -> Any:
    return _CONVERTERS[spec.kind](spec, value, path)


def _string(_spec: FieldSpec, value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise _WrongValue(path, f"expected string, got {_kind_of(value)}")
    return value


def _boolean(_spec: FieldSpec, value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise _WrongValue(path, f"expected boolean, got {_kind_of(value)}")
    return value


def _integer(spec: FieldSpec, value: Any, path: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _WrongValue(path, f"expected integer, got {_kind_of(value)}")
    if spec.minimum is not None and value < spec.minimum:
        raise _WrongValue(path, f"expected integer >= {spec.minimum}, got {_shorten(str(value))}")
    if spec.maximum is not None and value > spec.maximum:
        raise _WrongValue(path, f"expected integer <= {spec.maximum}, got {_shorten(str(value))}")
    return value


def _enum(spec: FieldSpec, value: Any, path: str) -> str:
    text = _string(spec, value, path)
    if text not in spec.values:
        expected = ", ".join(spec.values)
        raise _WrongValue(path, f'expected one of {expected}, got "{_shorten(text)}"')
    return text


def _timestamp(spec: FieldSpec, value: Any, path: str) -> int:
    text = _string(spec, value, path)
    try:
        return parse_timestamp(text)
    except ValueError:
        raise _WrongValue(path, f'expected an RFC 3339 timestamp, got "{_shorten(text)}"') from None


def _duration(spec: FieldSpec, value: Any, path: str) -> float:
    text = _string(spec, value, path)
    try:
        seconds = parse_duration(text)
    except ValueError:
        raise _WrongValue(
            path, f'expected a duration such as "1m30s", got "{_shorten(text)}"'
        ) from None
    if seconds < 0:
        raise _WrongValue(path, f'expected a duration >= 0, got "{_shorten(text)}"')
    return seconds


def _map(spec: FieldSpec, value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _WrongValue(path, f"expected object, got {_kind_of(value)}")
    item = spec.item
    assert item is not None
    return {
        key: _convert(item, entry, f"{path}.{_shorten(key)}")
        for key, entry in value.items()
        if entry is not None
    }


def _struct(spec: FieldSpec, value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise _WrongValue(path, f"expected object, got {_kind_of(value)}")
    assert spec.struct is not None
    given = {}
    for field in fields_of(spec.struct):
        entry = value.get(field.name)
        if entry not in _ABSENT:
            _convert(field, entry, f"{path}.{field.name}")
            given[field.name] = entry
    return spec.struct(**given)


_CONVERTERS: dict[str, Callable[[FieldSpec, Any, str], Any]] = {
    "string": _string,
    "uuid": _string,
    "boolean": _boolean,
    "integer": _integer,
    "enum": _enum,
    "timestamp": _timestamp,
    "duration": _duration,
    "map": _map,
    "struct": _struct,
}
# Instants and durations are numbers inside and texts on the wire.
_RENDERERS: dict[str, Callable[[Any], str]] = {
    "timestamp": format_timestamp,
    "duration": format_duration,
}
_REQUESTS: dict[str, type[Request]] = {tag_of(kind): kind for kind in REQUESTS}


def _kind_of(value: Any) -> str:
    """Return what JSON calls the type of a decoded value."""
    for kind, name in (
        (bool, "boolean"),
        (int, "integer"),
        (float, "number"),
        (str, "string"),
        (list, "array"),
        (dict, "object"),
    ):
        if isinstance(value, kind):
            return name
    return "null"


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…"
