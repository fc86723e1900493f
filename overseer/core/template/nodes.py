"""What a parsed template consists of: expressions have values, statements write."""

from __future__ import annotations

from enum import Enum
from typing import TypeAlias

from attrs import frozen

from overseer.core.template.values import Value


@frozen
class Literal:
    """A constant, as its value; ``nil`` is one too, but as an argument only."""

    value: Value


@frozen
class Dot:
    """The value at hand."""


@frozen
class Field:
    """A path of names from the value at hand: ``.a.b``."""

    path: tuple[str, ...]


@frozen
class Variable:
    """A variable by its name, the ``$`` included."""

    name: str


@frozen
class Function:
    """A function's name."""

    name: str


@frozen
class Chain:
    """A path of names from what another expression yields: ``(pipeline).a.b``, ``$x.a``."""

    origin: Expression
    path: tuple[str, ...]


@frozen
class Command:
    """A function and its arguments, or a single value."""

    line: int
    words: tuple[Expression, ...]


@frozen
class Pipeline:
    """Commands, each the last argument of the next, and the variables that get the result."""

    line: int
    variables: tuple[str, ...]
    assigns: bool
    commands: tuple[Command, ...]


Expression: TypeAlias = Literal | Dot | Field | Variable | Function | Chain | Pipeline


@frozen
class Text:
    """Text to write as it is."""

    text: str


@frozen
class Action:
    """A pipeline whose result is written, unless variables take it."""

    pipeline: Pipeline


@frozen
class Branch:
    """``if`` or ``with``: the body of the first clause whose pipeline is true."""

    moves_dot: bool
    clauses: tuple[tuple[Pipeline, Body], ...]
    otherwise: Body


@frozen
class Range:
    """A body for each element of a pipeline's result."""

    pipeline: Pipeline
    body: Body
    otherwise: Body


@frozen
class Call:
    """A defined template, rendered in this place."""

    line: int
    name: str
    pipeline: Pipeline | None


class Leave(Enum):
    """``break`` ends the innermost range, ``continue`` this turn of it."""

    BREAK = "break"
    CONTINUE = "continue"


Statement: TypeAlias = Text | Action | Branch | Range | Call | Leave
Body: TypeAlias = tuple[Statement, ...]


@frozen
class Tree:
    """A whole source: what it renders, and the templates it defines by name."""

    body: Body
    definitions: dict[str, Body]
