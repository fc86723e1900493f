"""What the fields of a message are on the wire, read from the message classes.

One reading serves the decoder, the manifest and the documents, so that they cannot disagree.
"""

import functools
from collections.abc import Iterable
from typing import Any

import attrs
import msgspec
from msgspec import inspect as types

Kind = str
_PLAIN: dict[type[types.Type], Kind] = {
    types.StrType: "string",
    types.IntType: "integer",
    types.FloatType: "number",
    types.BoolType: "boolean",
    types.RawType: "object",
}


@attrs.frozen(kw_only=True)
class FieldSpec:
    """One field, or one kind of value: its type on the wire and what is known of it.

    ``kind`` is ``string``, ``integer``, ``number``, ``boolean``, ``uuid``, ``timestamp``, ``duration``,
    ``object``, ``enum`` (of ``values``), ``array`` or ``map`` (of ``item``) or ``struct`` (``struct``).
    ``type_name`` is set for enums and structs: their name in the manifest.
    """

    name: str = ""
    kind: Kind
    required: bool = False
    default: Any = None
    description: str = ""
    minimum: int | None = None
    maximum: int | None = None
    values: tuple[str, ...] = ()
    type_name: str = ""
    struct: type[msgspec.Struct] | None = None
    item: "FieldSpec | None" = None


@functools.cache
def fields_of(struct: type[msgspec.Struct]) -> tuple[FieldSpec, ...]:
    """Return the fields of a message class in their order on the wire, without the tag."""
    info = types.type_info(struct)
    assert isinstance(info, types.StructType)
    specs = []
    for field in info.fields:
        spec = _read(field.type)
        default = None if field.required or field.default is msgspec.NODEFAULT else field.default
        specs.append(
            attrs.evolve(spec, name=field.encode_name, required=field.required, default=default)
        )
    return tuple(specs)


def named_types(structs: Iterable[type[msgspec.Struct]]) -> dict[str, FieldSpec]:
    """Return the enums and structs within the fields of ``structs``, however deep, by their names."""
    found: dict[str, FieldSpec] = {}

    def visit(field: FieldSpec) -> None:
        if field.item is not None:
            visit(field.item)
        if field.type_name and field.type_name not in found:
            found[field.type_name] = field
            for inner in fields_of(field.struct) if field.struct is not None else ():
                visit(inner)

    for struct in structs:
        for field in fields_of(struct):
            visit(field)
    return dict(sorted(found.items()))


def _read(kind: types.Type) -> FieldSpec:
    if isinstance(kind, types.Metadata):
        spec = _read(kind.type)
        extra = kind.extra or {}
        schema = kind.extra_json_schema or {}
        # msgspec sorts the values of a Literal; the order to tell them in is in our own mark.
        values = extra.get("values", spec.values)
        return attrs.evolve(
            spec,
            kind=extra.get("kind", "enum" if values else spec.kind),
            values=values,
            type_name=extra.get("name", spec.type_name),
            description=schema.get("description", spec.description),
        )
    if isinstance(kind, types.UnionType):
        (only,) = (member for member in kind.types if not isinstance(member, types.NoneType))
        return _read(only)
    if isinstance(kind, types.LiteralType):
        return FieldSpec(kind="enum", values=tuple(str(value) for value in kind.values))
    if isinstance(kind, types.ListType):
        return FieldSpec(kind="array", item=_read(kind.item_type))
    if isinstance(kind, types.DictType):
        return FieldSpec(kind="map", item=_read(kind.value_type))
    if isinstance(kind, types.StructType):
        return FieldSpec(kind="struct", struct=kind.cls, type_name=kind.cls.__name__)
    if isinstance(kind, types.IntType):
        return FieldSpec(kind="integer", minimum=kind.ge, maximum=kind.le)
    return FieldSpec(kind=_PLAIN[type(kind)])
