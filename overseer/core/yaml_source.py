"""Reads YAML into plain values and remembers where in the file each of them was written.

Scalars follow the core schema of YAML 1.2: ``on``, ``yes`` and ``1:30`` are text, ``0777`` is the
number 777, ``0o777`` is octal. PyYAML's safe loader only splits the text into events; the values
are built here, because its own constructor follows YAML 1.1, keeps the last of two equal keys and
forgets the lines. What a configuration never needs and an attacker does (tags, endless nesting,
aliases that multiply) is refused. Merge keys (``<<: *anchor``) work.
"""

import json
import re
from collections.abc import Mapping
from typing import NoReturn

import attrs
import yaml
from yaml.error import MarkedYAMLError
from yaml.events import (
    AliasEvent,
    CollectionStartEvent,
    Event,
    MappingEndEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from yaml.reader import ReaderError

Path = tuple[str | int, ...]

DEEPEST = 64
"""How many lists and mappings may lie within each other."""

LARGEST_EXPANSION = 100_000
"""How many values all aliases of a file may stand for together."""

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLS = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_PLAIN_NAME = re.compile(r"[\w<-]{1,80}")


@attrs.frozen
class Problem:
    """One thing that is wrong, and where: ``config.yaml:14: actions.build.type: is required``.

    ``where`` is ``file:line``, the name of an environment variable, or empty.
    """

    where: str
    path: Path
    text: str

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.where, format_path(self.path), self.text)))


class YamlError(ValueError):
    """A text is not YAML, or more of YAML than is read here; ``problems`` says what is wrong."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


@attrs.frozen
class Node:
    """A value as it was written; aliases share one. Two are equal wherever they were written.

    ``text`` is a scalar without its quotes, ``weight`` counts the value and all it contains,
    ``height`` the lists and mappings within each other.
    """

    value: object
    text: str | None = None
    children: Mapping[str | int, "Place"] = attrs.field(factory=dict)
    weight: int = attrs.field(default=1, eq=False)
    height: int = attrs.field(default=0, eq=False)


@attrs.frozen
class Place:
    """Where a value stands: the line of its key, or its own in a list; 0 outside of any file."""

    line: int = attrs.field(eq=False)
    node: Node


@attrs.frozen(eq=False)
class Document:
    """The values of one source, each found by its path; ``source`` names the file."""

    source: str
    _root: Place = attrs.field(repr=False)

    @classmethod
    def of_variable(cls, name: str, text: str) -> "Document":
        """Return a document of one text, the value of the environment variable ``name``."""
        return cls(name, Place(0, Node(text, text)))

    def value(self, path: Path = ()) -> object:
        """Return the plain value at ``path``, ``None`` where there is none."""
        node = self.node(path)
        return None if node is None else node.value

    def text(self, path: Path = ()) -> str | None:
        """Return the scalar at ``path`` as it was written, without quotes: ``0660``, ``yes``.

        ``None`` where there is no scalar.
        """
        node = self.node(path)
        return None if node is None else node.text

    def line(self, path: Path = ()) -> int:
        """Return the line of the key at ``path``, or of the nearest one around it that exists."""
        place = self._root
        for step in path:
            child = place.node.children.get(step)
            if child is None:
                break
            place = child
        return place.line

    def with_text(self, path: Path, text: str) -> "Document":
        """Return a document that holds nothing but ``text``, at the same path and line as here."""
        line = self.line(path)
        place = Place(line, Node(text, text))
        for step in reversed(path):
            place = Place(line, Node({}, children={step: place}))
        return Document(self.source, place)

    def problem(self, path: Path, text: str) -> Problem:
        """Return a problem that names the place of ``path``."""
        line = self.line(path)
        return Problem(f"{self.source}:{line}" if line else self.source, path, text)

    def node(self, path: Path = ()) -> Node | None:
        """Return the value at ``path`` with all that is known about it."""
        node = self._root.node
        for step in path:
            child = node.children.get(step)
            if child is None:
                return None
            node = child.node
        return node


def load_yaml(text: str, file_name: str) -> Document:
    """Return the one document in ``text``; without any content its value is ``None``.

    :raises YamlError: with the problems found. A syntax error ends the search, other problems do not.
    """
    return _Builder(text, file_name).document()


def format_path(path: Path) -> str:
    """Return ``path`` as people write it: ``actions.build.config.command[2]``."""
    shown = ""
    for step in path:
        if isinstance(step, int):
            shown += f"[{step}]"
            continue
        name = step if _PLAIN_NAME.fullmatch(step) else describe(step)
        shown += f".{name}" if shown else name
    return shown


def describe(value: object) -> str:
    """Return ``value`` as an error message shows what it got: ``"ten"``, ``5``, ``a list``."""
    match value:
        case None | bool() | int() | float() | str():
            shown = json.dumps(value, ensure_ascii=False)
            return shown if len(shown) <= 60 else f"{shown[:59]}…"
        case list():
            return "a list"
        case _:
            return "a mapping"


class _Builder:
    """Turns the events of one text into a Document."""

    def __init__(self, text: str, file_name: str) -> None:
        self._text = text
        self._file_name = file_name
        self._events = yaml.parse(text, Loader=yaml.SafeLoader)
        self._line = 1
        self._problems: list[Problem] = []
        self._anchors: dict[str, Node] = {}
        self._expansion = 0

    def document(self) -> Document:
        self._next()  # the start of the stream
        root = Place(1, Node(None))
        if not isinstance(self._next(), StreamEndEvent):
            first = self._next()
            root = Place(self._line, self._node(first, (), 0))
            self._next()  # the end of the document
            if not isinstance(self._next(), StreamEndEvent):
                self._add((), "expected one YAML document, got a second one")
        if self._problems:
            raise YamlError(tuple(self._problems))
        return Document(self._file_name, root)

    def _node(self, event: Event, path: Path, depth: int) -> Node:
        if isinstance(event, AliasEvent):
            return self._alias(event, path, depth)
        assert isinstance(event, ScalarEvent | CollectionStartEvent)
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self._add(path, f"tags are not allowed, got {describe(tag)}")
        if isinstance(event, ScalarEvent):
            node = self._scalar(event, path)
        else:
            self._check_depth(path, depth + 1)
            if isinstance(event, SequenceStartEvent):
                node = self._sequence(path, depth + 1)
            else:
                node = self._mapping(path, depth + 1)
        if event.anchor is not None:
            # Only now: an alias inside of its own anchor would be a value without end.
            self._anchors[event.anchor] = node
        return node

    def _alias(self, event: AliasEvent, path: Path, depth: int) -> Node:
        node = self._anchors.get(event.anchor or "")
        if node is None:
            self._add(path, f"*{event.anchor} names nothing that is complete above it")
            return Node(None)
        self._check_depth(path, depth + node.height)
        self._expansion += node.weight
        if self._expansion > LARGEST_EXPANSION:
            self._fail(path, f"aliases stand for more than {LARGEST_EXPANSION} values")
        return node

    def _scalar(self, event: ScalarEvent, path: Path) -> Node:
        text = event.value
        try:
            text.encode()
        except UnicodeEncodeError:
            # JSON, and so YAML, writes a character beyond U+FFFF as a pair of escaped surrogates.
            try:
                text = text.encode("utf-16", "surrogatepass").decode("utf-16")
            except UnicodeDecodeError:
                self._add(path, "half of a surrogate pair is no character")
                return Node(None)
        is_plain = event.implicit[0]
        return Node(_resolve(text) if is_plain else text, text)

    def _sequence(self, path: Path, depth: int) -> Node:
        children: dict[str | int, Place] = {}
        while not isinstance(event := self._next(), SequenceEndEvent):
            line, index = self._line, len(children)
            children[index] = Place(line, self._node(event, (*path, index), depth))
        return _collection([place.node.value for place in children.values()], children)

    def _mapping(self, path: Path, depth: int) -> Node:
        children: dict[str | int, Place] = {}
        inherited: dict[str | int, Place] = {}
        while not isinstance(event := self._next(), MappingEndEvent):
            line = self._line
            key = self._node(event, path, depth).value
            if not isinstance(key, str):
                hint = "" if isinstance(key, list | dict) else " (put it in quotes)"
                self._add(path, f"expected text as a key, got {describe(key)}{hint}", line)
                self._node(self._next(), path, depth)
                continue
            here = (*path, key)
            node = self._node(self._next(), here, depth)
            if _is_merge(event):
                self._merge(node, inherited, here, line)
            elif key in children:
                self._add(here, f"duplicate key, first on line {children[key].line}", line)
            else:
                children[key] = Place(line, node)
        children = {**inherited, **children}
        return _collection({key: place.node.value for key, place in children.items()}, children)

    def _merge(self, node: Node, inherited: dict[str | int, Place], path: Path, line: int) -> None:
        sources = [node]
        if isinstance(node.value, list):
            sources = [place.node for place in node.children.values()]
        for source in sources:
            if not isinstance(source.value, dict):
                got = describe(source.value)
                self._add(path, f"expected a mapping or a list of mappings, got {got}", line)
                continue
            for key, place in source.children.items():
                inherited.setdefault(key, place)

    def _check_depth(self, path: Path, depth: int) -> None:
        if depth > DEEPEST:
            # A path of 64 steps helps nobody.
            self._fail(path[:3], f"nested more than {DEEPEST} levels deep")

    def _next(self) -> Event:
        try:
            event: Event = next(self._events)
        except MarkedYAMLError as error:
            if error.problem_mark is not None:
                self._line = error.problem_mark.line + 1
            reason = error.problem or "incomplete"
            hint = " (indent with spaces)" if r"'\t'" in reason else ""
            self._fail((), f"invalid YAML: {reason}{hint}")
        except ReaderError as error:
            self._line = self._text.count("\n", 0, error.position) + 1
            code = self._text[error.position].encode("unicode_escape").decode()
            self._fail((), f"invalid YAML: the character {code} is not allowed")
        except (ValueError, OverflowError):
            # PyYAML's scanner passes any eight hexadecimal digits after \U on to chr().
            self._fail((), "invalid YAML: an escape stands for no character")
        assert event.start_mark is not None
        self._line = event.start_mark.line + 1
        return event

    def _add(self, path: Path, text: str, line: int = 0) -> None:
        self._problems.append(Problem(f"{self._file_name}:{line or self._line}", path, text))

    def _fail(self, path: Path, text: str) -> NoReturn:
        self._add(path, text)
        raise YamlError(tuple(self._problems))


def _collection(value: object, children: Mapping[str | int, Place]) -> Node:
    return Node(
        value,
        children=children,
        weight=1 + sum(place.node.weight for place in children.values()),
        height=1 + max((place.node.height for place in children.values()), default=0),
    )


def _is_merge(event: Event) -> bool:
    return isinstance(event, ScalarEvent) and event.value == "<<" and bool(event.implicit[0])


def _resolve(text: str) -> object:
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if _INTEGER.fullmatch(text):
        try:
            return int(text, 0) if text.startswith(("0o", "0x")) else int(text)
        except ValueError:
            # Python converts no number of several thousand digits: it stays text.
            return text
    if _FLOAT.fullmatch(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text
