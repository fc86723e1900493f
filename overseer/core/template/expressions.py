"""What value an expression has: each one becomes a function, once, from a run and the dot.

A mistake that only Go's execution reports becomes a function that raises, since a template may
never come to that place.
"""

from collections.abc import Callable, Iterable
from typing import TypeAlias

from overseer.core.template.errors import Refused, TemplateRuntimeError
from overseer.core.template.functions import FUNCTIONS, is_true
from overseer.core.template.nodes import (
    Chain,
    Command,
    Dot,
    Expression,
    Field,
    Function,
    Literal,
    Pipeline,
    Variable,
)
from overseer.core.template.numbers import LARGEST_INT
from overseer.core.template.printf import printf
from overseer.core.template.running import STEP, Run
from overseer.core.template.values import Value, cost, type_name

Yields: TypeAlias = Callable[[Run, Value], Value]
# A command of a pipeline; the last argument is the value of the command before it.
_Stage: TypeAlias = Callable[[Run, Value, Value], Value]


def pipeline_value(pipeline: Pipeline) -> Yields:
    """The function for a pipeline, which also sets the pipeline's variables."""
    line, variables, assigns = pipeline.line, pipeline.variables, pipeline.assigns
    first, *rest = (
        _command(command, piped=number > 0) for number, command in enumerate(pipeline.commands)
    )

    def value_of(run: Run, dot: Value) -> Value:
        run.line = line
        value = first(run, dot, None)
        for stage in rest:
            value = stage(run, dot, value)
        for name in variables:
            if not assigns:
                run.variables.declare(name, value)
            elif name in run.variables:
                run.variables.assign(name, value)
            else:
                raise TemplateRuntimeError(line, f"undefined variable {name!r}")
        return value

    return value_of


def _command(command: Command, *, piped: bool) -> _Stage:
    first, *rest = command.words
    line = command.line
    alone = not rest and not piped
    match first:
        case Function(name):
            return _function(name, rest, line, piped=piped)
        case Field(path):
            return _path(Dot(), path, line, alone=alone)
        case Chain(origin, path):
            return _path(origin, path, line, alone=alone)
        case Literal(None):
            return _failing(line, "nil is no command")
    if not alone:
        return _failing(line, "only a function takes arguments")
    value_of = _expression(first, line)
    return lambda run, dot, _: value_of(run, dot)


def _expression(expression: Expression, line: int) -> Yields:
    match expression:
        case Literal(value):
            return _literal(value, line)
        case Dot():
            return lambda _, dot: dot
        case Variable(name):
            return _variable(name, line)
        case Pipeline():
            return pipeline_value(expression)
    stage = _command(Command(line, (expression,)), piped=False)
    return lambda run, dot: stage(run, dot, None)


def _literal(value: Value, line: int) -> Yields:
    if isinstance(value, int) and value > LARGEST_INT:
        fail = _failing(line, f"{value} overflows int")
        return lambda run, dot: fail(run, dot, None)
    return lambda _, __: value


def _variable(name: str, line: int) -> Yields:
    def value_of(run: Run, _: Value) -> Value:
        try:
            return run.variables.value(name)
        except LookupError:
            # Its declaration is in a branch that was not taken.
            raise TemplateRuntimeError(line, f"undefined variable {name!r}") from None

    return value_of


def _path(origin: Expression, path: tuple[str, ...], line: int, *, alone: bool) -> _Stage:
    origin_of = _expression(origin, line)
    last = len(path) - 1

    def value_of(run: Run, dot: Value, _: Value) -> Value:
        value = origin_of(run, dot)
        for position, name in enumerate(path):
            if isinstance(value, dict):
                if position == last and not alone:
                    raise TemplateRuntimeError(line, f".{name} takes no arguments")
                value = value.get(name, "")
            elif value is not None:
                raise TemplateRuntimeError(line, f"{type_name(value)} has no field .{name}")
        return value

    return value_of


def _function(name: str, words: Iterable[Expression], line: int, *, piped: bool) -> _Stage:
    arguments = [_expression(word, line) for word in words]
    function = FUNCTIONS[name]
    given = len(arguments) + piped
    if given < function.least or (function.most is not None and given > function.most):
        return _failing(line, f"wrong number of arguments for {name}: {given}")
    if name in {"and", "or"}:
        return _decision(arguments, decisive=name == "or", piped=piped)

    def call(run: Run, dot: Value, last: Value) -> Value:
        values = [argument(run, dot) for argument in arguments]
        if piped:
            values.append(last)
        run.line = line
        run.spend(STEP + sum(map(cost, values)))
        try:
            if function.call is None:
                return _printf(run, values)
            result = function.call(values)
        except Refused as refusal:
            raise TemplateRuntimeError(line, f"{name}: {refusal}") from None
        run.spend(cost(result))
        return result

    return call


def _printf(run: Run, values: list[Value]) -> str:
    template, *arguments = values
    if not isinstance(template, str):
        raise Refused(f"expected a string as format, found {type_name(template)}")
    return printf(template, arguments, run.spend)


def _decision(arguments: list[Yields], *, decisive: bool, piped: bool) -> _Stage:
    def decide(run: Run, dot: Value, last: Value) -> Value:
        value: Value = None
        for argument in arguments:
            value = argument(run, dot)
            if is_true(value) is decisive:
                return value
        return last if piped else value

    return decide


def _failing(line: int, problem: str) -> _Stage:
    def fail(_: Run, __: Value, ___: Value) -> Value:
        raise TemplateRuntimeError(line, problem)

    return fail
