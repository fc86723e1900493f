"""The shapes a configuration is made of: keys, groups of keys, lists and maps; what each of them accepts.

A table of keys (table.py, exec_driver.py) is written in these words and is the only description of
what may be configured. Reading never stops at the first problem: it notes it in the report and goes on.
"""

import difflib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar

import attrs

from overseer.core.config.section import Report, Section
from overseer.core.yaml_source import Problem

Schema = dict[str, Any]
"""A JSON Schema (2020-12), or a part of one."""


class Kind(ABC):
    """What the value of a key may be."""

    reads_null: ClassVar[bool] = False
    """Whether an absent value is this kind's to read, and not just replaced by the key's default."""

    @abstractmethod
    def read(self, section: Section, report: Report) -> Any:
        """Return the value; ``None`` if it counts as absent or cannot be used, which is noted."""

    @abstractmethod
    def schema(self) -> Schema:
        """Return what is accepted as far as a JSON Schema can say; :meth:`read` has the last word.

        ``null`` is among it where ``reads_null`` says that it is this kind's to read.
        """

    def written(self, value: Any) -> Any:
        """Return how a configuration would say ``value``."""
        return value


class UnfitError(ValueError):
    """A scalar is not what was expected; the reason is empty where the expectation says it all."""


@attrs.frozen
class Scalar(Kind):
    """A single value. ``convert`` raises UnfitError; ``expected`` is how errors call the kind.

    ``accepts`` is its JSON Schema, ``write`` turns a converted value into how it would be written.
    """

    expected: str
    convert: Callable[[Section], object]
    accepts: Schema = attrs.field(eq=False)
    write: Callable[[Any], object] = lambda value: value

    def read(self, section: Section, report: Report) -> Any:
        """Return the converted value."""
        try:
            return self.convert(section)
        except UnfitError as error:
            reason = str(error)
            if reason and not report.conceals:  # it may repeat what is written
                report.refuse(section, reason)
            else:
                report.refuse_kind(section, self.expected)
            return None

    def schema(self) -> Schema:
        """Return what is said to be accepted."""
        return self.accepts

    def written(self, value: Any) -> Any:
        """Return the value as text where that is how it is written."""
        return self.write(value)


@attrs.frozen(kw_only=True)
class ListOf(Kind):
    """A list; with ``single`` one item stands for itself, with ``separator`` one text for several."""

    item: Kind
    expected: str
    single: bool = False
    separator: str | None = None
    may_be_empty: bool = True

    def read(self, section: Section, report: Report) -> tuple[Any, ...] | None:
        """Return the items."""
        value = section.value
        if isinstance(value, list):
            if not value and not self.may_be_empty:
                report.refuse(section, f"expected {self.expected}, got an empty list")
            return tuple(self.item.read(section.at(index), report) for index in range(len(value)))
        if self.separator is not None and isinstance(value, str):
            parts = (part.strip() for part in value.split(self.separator))
            return tuple(self.item.read(section.with_text(part), report) for part in parts if part)
        if self.single and not isinstance(value, dict):
            return (self.item.read(section, report),)
        report.refuse_kind(section, self.expected)
        return None

    def schema(self) -> Schema:
        """Return the array, or what may stand for it."""
        item = self.item.schema()
        array: Schema = {"type": "array", "items": item}
        if not self.may_be_empty:
            array["minItems"] = 1
        if self.separator is not None:
            return {"anyOf": [array, {"type": "string"}]}
        return {"anyOf": [array, item]} if self.single else array

    def written(self, value: Any) -> Any:
        """Return the items as they would be written."""
        return [self.item.written(item) for item in value]


@attrs.frozen(kw_only=True)
class MapOf(Kind):
    """A mapping from names that the user chooses; ``name_problem`` says what is wrong with one."""

    reads_null: ClassVar[bool] = True

    item: Kind
    expected: str
    name_problem: Callable[[str], str | None] = lambda name: None if name else "the name is empty"

    def read(self, section: Section, report: Report) -> dict[str, Any]:
        """Return the items by name."""
        if section.value is not None and not isinstance(section.value, dict):
            report.refuse_kind(section, self.expected)
        items: dict[str, Any] = {}
        for name in section.names:
            place = section.at(name)
            if problem := self.name_problem(name):
                report.refuse(place, problem)
            if place.value is not None or self.item.reads_null:
                items[name] = self.item.read(place, report)
        return items

    def schema(self) -> Schema:
        """Return the object with names that are not empty."""
        item = self.item.schema()
        return {
            "type": ["object", "null"],
            "propertyNames": {"minLength": 1},
            "additionalProperties": item if self.item.reads_null else _or_null(item),
        }


WITHOUT_EFFECT = "has no effect any more: ignored"
"""What is said of a key that only v2 knew."""


@attrs.frozen(kw_only=True)
class Key:
    """One key of the configuration.

    One that is ``dead`` is of v2 and only warned of; ``note`` goes on where the warning ends. Of a ``secret``
    key no error shows a value.
    """

    name: str = attrs.field(kw_only=False)
    kind: Kind = attrs.field(kw_only=False)
    description: str
    default: Any = None
    required: bool = False
    environment: str | None = None
    dead: bool = False
    note: str = ""
    secret: bool = False

    def read(self, section: Section, report: Report) -> Any:
        """Return the value at ``section``, the default if it is absent."""
        if section.value is None and not self.kind.reads_null:
            return self.default
        if self.secret:
            report = report.concealing()
        known = len(report.problems)
        value = self.kind.read(section, report)
        if value is None:
            value = self.default
        if self.dead and section.value is not None and len(report.problems) == known:
            report.warn(section, WITHOUT_EFFECT + self.note)
        return value

    def schema(self) -> Schema:
        """Return what the key accepts, ``null`` too where it counts as absent, and what it means."""
        schema = self.kind.schema()
        if not (self.required or self.kind.reads_null):
            schema = _or_null(schema)
        about: Schema = {"description": self.description}
        if self.default not in (None, "", (), {}):
            about["default"] = self.kind.written(self.default)
        if self.dead:
            about["description"] += f"; {WITHOUT_EFFECT}{self.note}"
            about["deprecated"] = True
        return {**about, **schema}


@attrs.frozen(kw_only=True)
class Group(Kind):
    """A mapping with a fixed set of keys; anything else in it is a problem.

    ``make`` builds the value from all keys that are not dead; ``check`` looks at what no single key
    shows. A ``sparse`` group has no defaults: it holds what is written and nothing else. ``unknown`` is said of
    a key that is like none of them.
    """

    reads_null: ClassVar[bool] = True

    keys: tuple[Key, ...]
    make: Callable[..., Any] = dict
    check: Callable[[Section, Mapping[str, Any], Report], None] | None = None
    sparse: bool = False
    unknown: str = "unknown key"

    def read(self, section: Section, report: Report) -> Any:
        """Return what ``make`` builds."""
        if section.value is not None and not isinstance(section.value, dict):
            report.refuse_kind(section, "a mapping")
            return None
        known = {key.name: key for key in self.keys}
        values: dict[str, Any] = {}
        for name in section.names:
            if name not in known:
                likely = [key.name for key in self.keys if not key.dead]
                question = did_you_mean(name, likely)
                what = f"unknown key, {question}" if question else self.unknown
                report.refuse(section.at(name), what)
                continue
            value = known[name].read(section.at(name), report)
            if value is not None or not self.sparse:
                values[name] = value
        for key in self.keys:
            place = section.at(key.name)
            if key.required and place.value is None:
                report.refuse(place, "is required")
            if key.name not in values and not self.sparse:
                values[key.name] = key.read(place, report)
        if self.check is not None:
            self.check(section, values, report)
        return self.make(**{name: values[name] for name in values if not known[name].dead})

    def schema(self) -> Schema:
        """Return the object with these keys and no others; ``null`` is one without any."""
        schema: Schema = {
            "type": ["object", "null"],
            "properties": {key.name: key.schema() for key in self.keys},
            "additionalProperties": False,
        }
        required = [key.name for key in self.keys if key.required]
        return {**schema, "type": "object", "required": required} if required else schema


def read_keys(kind: Kind, section: Section) -> tuple[Any, tuple[Problem, ...]]:
    """Return what is written at ``section``, and what is to be said of it besides.

    :raises ConfigError: with everything that is wrong.
    """
    report = Report()
    value = kind.read(section, report)
    report.check()
    return value, tuple(report.warnings)


def _or_null(schema: Schema) -> Schema:
    if not schema:
        return schema
    if "enum" in schema:
        return {**schema, "enum": [*schema["enum"], None]}
    if isinstance(kinds := schema.get("type"), str | list):
        return {**schema, "type": [*([kinds] if isinstance(kinds, str) else kinds), "null"]}
    return {"anyOf": [*schema["anyOf"], {"type": "null"}]}


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Return the question after the name that is most like ``name``; nothing where none is like it."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f'did you mean "{close[0]}"?' if close else ""
