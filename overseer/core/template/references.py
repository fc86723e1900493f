"""Which parameters a template looks at, so far as its source tells.

The map itself is the dot and ``$`` of the outermost level. As long as neither is used bare, it
reaches nothing else: a body of ``with`` or ``range`` and a defined template then see texts only.
"""

from attrs import Factory, define

from overseer.core.template.nodes import (
    Action,
    Body,
    Branch,
    Call,
    Chain,
    Command,
    Dot,
    Expression,
    Field,
    Function,
    Literal,
    Pipeline,
    Range,
    Statement,
    Tree,
    Variable,
)
from overseer.core.template.variables import ROOT


@define
class References:
    """The parameters named, and whether any other may be reached too."""

    names: set[str] = Factory(set)
    whole_map: bool = False


@define
class _Place:
    """Whether the dot, and whether ``$``, is the map of parameters here."""

    dot_is_map: bool
    root_is_map: bool


def references(tree: Tree) -> References:
    """What ``tree`` and its definitions refer to."""
    found = References()
    _body(tree.body, _Place(True, True), found)
    for body in tree.definitions.values():
        _body(body, _Place(False, False), found)
    return found


def _body(body: Body, place: _Place, found: References) -> None:
    for statement in body:
        _statement(statement, place, found)


def _statement(statement: Statement, place: _Place, found: References) -> None:
    match statement:
        case Action(pipeline):
            _pipeline(pipeline, place, found)
        case Call(pipeline=Pipeline() as pipeline):
            _pipeline(pipeline, place, found)
        case Branch(moves_dot, clauses, otherwise):
            inside = _Place(place.dot_is_map and not moves_dot, place.root_is_map)
            for pipeline, body in clauses:
                _pipeline(pipeline, place, found)
                _body(body, inside, found)
            _body(otherwise, place, found)
        case Range(pipeline, body, otherwise):
            _pipeline(pipeline, place, found)
            _body(body, _Place(False, place.root_is_map), found)
            _body(otherwise, place, found)


def _pipeline(pipeline: Pipeline, place: _Place, found: References) -> None:
    for command in pipeline.commands:
        _command(command, place, found)


def _command(command: Command, place: _Place, found: References) -> None:
    match command.words:
        case (Function("index"), origin, Literal(str(name)), *words) if _is_map(origin, place):
            found.names.add(name)
        case _:
            words = list(command.words)
    for word in words:
        _expression(word, place, found)


def _expression(expression: Expression, place: _Place, found: References) -> None:
    match expression:
        # A field of anything else than the map fails or is nil; naming it too many harms nobody.
        case Field((name, *_)) | Chain(Variable("$"), (name, *_)):
            found.names.add(name)
        case Chain(origin):
            _expression(origin, place, found)
        case Pipeline():
            _pipeline(expression, place, found)
        case _:
            found.whole_map = found.whole_map or _is_map(expression, place)


def _is_map(expression: Expression, place: _Place) -> bool:
    match expression:
        case Dot():
            return place.dot_is_map
        case Variable(name):
            return name == ROOT and place.root_is_map
    return False
