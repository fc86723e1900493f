"""What a parsed template renders to: each statement becomes a function, once, that writes."""

from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import TypeAlias

from overseer.core.template.errors import TemplateRuntimeError
from overseer.core.template.expressions import Yields, pipeline_value
from overseer.core.template.formatting import plain
from overseer.core.template.functions import is_true
from overseer.core.template.nodes import (
    Action,
    Body,
    Branch,
    Call,
    Leave,
    Pipeline,
    Range,
    Statement,
    Text,
    Tree,
)
from overseer.core.template.running import STEP, Run
from overseer.core.template.values import NO_VALUE, Byte, Value, cost, type_name
from overseer.core.template.variables import Variables

# Templates inside each other; Go stops at 100,000, where Python's stack has long ended.
MAX_DEPTH = 100

# Writes, and returns why the body around it ends early, if it does.
_Writes: TypeAlias = Callable[[Run, Value], Leave | None]


def evaluator(tree: Tree) -> Callable[[dict[str, str]], str]:
    """The function from parameters to the rendered text."""
    compiler = _Compiler(tree.definitions)
    write = compiler.body(tree.body)

    def render(parameters: dict[str, str]) -> str:
        run = Run(parameters)
        try:
            write(run, parameters)
        except RecursionError:
            raise TemplateRuntimeError(run.line, "templates are nested too deep") from None
        return "".join(run.written)

    return render


class _Compiler:
    """Turns statements into functions; the templates they call are looked up when they run."""

    def __init__(self, definitions: dict[str, Body]) -> None:
        self._definitions: dict[str, _Writes] = {}
        for name, body in definitions.items():
            self._definitions[name] = self.body(body)

    def body(self, body: Body) -> _Writes:
        """The function for statements in a row."""
        statements = [self._statement(statement) for statement in body]

        def write(run: Run, dot: Value) -> Leave | None:
            for statement in statements:
                run.spend(STEP)
                leave = statement(run, dot)
                if leave is not None:
                    return leave
            return None

        return write

    def _statement(self, statement: Statement) -> _Writes:
        match statement:
            case Text(text):
                return lambda run, _: run.write(text)
            case Action(pipeline):
                return _action(pipeline)
            case Branch():
                return self._branch(statement)
            case Range():
                return self._range(statement)
            case Call():
                return self._call(statement)
            case Leave():
                return lambda _, __: statement

    def _branch(self, branch: Branch) -> _Writes:
        clauses = [(pipeline_value(pipeline), self.body(body)) for pipeline, body in branch.clauses]
        otherwise = self.body(branch.otherwise)
        moves_dot = branch.moves_dot

        def write(run: Run, dot: Value) -> Leave | None:
            mark = run.variables.mark()
            for value_of, body in clauses:
                value = value_of(run, dot)
                if is_true(value):
                    leave = body(run, value if moves_dot else dot)
                    break
            else:
                leave = otherwise(run, dot)
            run.variables.release(mark)
            return leave

        return write

    def _range(self, node: Range) -> _Writes:
        pipeline = node.pipeline
        value_of, body = pipeline_value(pipeline), self.body(node.body)
        otherwise = self.body(node.otherwise)

        def write(run: Run, dot: Value) -> Leave | None:
            outer = run.variables.mark()
            value = value_of(run, dot)
            inner = run.variables.mark()
            empty = True
            for index, element in _elements(run, value, pipeline):
                empty = False
                run.spend(STEP)
                for name, each in _taken(pipeline.variables, index, element):
                    run.variables.assign(name, each)
                ended = body(run, element)
                run.variables.release(inner)
                if ended is Leave.BREAK:
                    break
            leave = otherwise(run, dot) if empty else None
            run.variables.release(outer)
            return leave

        return write

    def _call(self, call: Call) -> _Writes:
        line, name, definitions = call.line, call.name, self._definitions
        value_of: Yields = pipeline_value(call.pipeline) if call.pipeline else lambda _, __: None

        def write(run: Run, dot: Value) -> None:
            body = definitions.get(name)
            if body is None:
                raise TemplateRuntimeError(line, f"template {name!r} is not defined")
            if run.depth == MAX_DEPTH:
                raise TemplateRuntimeError(line, f"more than {MAX_DEPTH} templates in each other")
            value = value_of(run, dot)
            outer, run.variables = run.variables, Variables(value)
            run.depth += 1
            body(run, value)
            run.depth -= 1
            run.variables = outer

        return write


def _action(pipeline: Pipeline) -> _Writes:
    value_of = pipeline_value(pipeline)
    silent = bool(pipeline.variables)

    def write(run: Run, dot: Value) -> None:
        value = value_of(run, dot)
        if not silent:
            run.write(NO_VALUE if value is None else plain(value))

    return write


def _elements(run: Run, value: Value, pipeline: Pipeline) -> Iterator[tuple[Value, Value]]:
    """What a range goes over, each with its index."""
    if value is None:
        return
    if isinstance(value, dict):
        run.spend(cost(value))
        yield from sorted(value.items())
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise TemplateRuntimeError(pipeline.line, f"range cannot go over {type_name(value)}")
    if len(pipeline.variables) > 1:
        raise TemplateRuntimeError(pipeline.line, "range over a number has one variable")
    number = Byte if isinstance(value, Byte) else int
    for each in count():
        if each >= value:
            return
        yield None, number(each)


def _taken(names: tuple[str, ...], index: Value, element: Value) -> Iterable[tuple[str, Value]]:
    """The values of a range's variables; the element is the last one's."""
    if len(names) == 2:
        return ((names[0], index), (names[1], element))
    return ((name, element) for name in names)
