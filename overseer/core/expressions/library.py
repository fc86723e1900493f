"""What the CEL library says of an expression and of a value: the one place that knows cel-expr-python.

The library is imported for the first expression, as it is large and many configurations have none.
"""

import importlib
import re
from functools import cache
from typing import Any, Final, Protocol

from overseer.core.expressions.copies import json_object, readable
from overseer.core.expressions.errors import ExpressionError, error_at
from overseer.core.expressions.tokens import Token, tokenize
from overseer.core.process import Stream

_BAD_PATTERN: Final = "invalid regular expression"
_POSITIONED = re.compile(r"ERROR: <input>:(?P<line>-?[0-9]+):(?P<column>-?[0-9]+): (?P<problem>.*)")
# The status of the library's own error class, at one end of a message or both.
_STATUS = re.compile(r"^[A-Z_]+: | \[[A-Z_]+\]$")
# Nobody reads twenty tokens that might have stood there, and there is only one container.
_NOISE = re.compile(r" expecting \{.*\}$| \(in container ''\)$")
# The library stops reading at a NUL and takes no lone surrogates.
_FORBIDDEN = re.compile("[\0\ud800-\udfff]")
# Anything but these two may look into the JSON, `size(output)` for one.
_NEEDS_JSON = re.compile(r"output(?!\s*\.\s*(?:data|stream)\b)", re.ASCII)


class _Value(Protocol):
    """What an evaluation gave; an error is a value of a type of its own."""

    def value(self) -> object: ...


class _Type(Protocol):
    def name(self) -> str: ...


class _Compiled(Protocol):
    """What the library makes of an expression; its own types are not marked as such (no py.typed)."""

    def eval(self, *, data: dict[str, object]) -> _Value: ...

    def return_type(self) -> _Type: ...


class ValueExpression:
    """An expression over the text ``value``."""

    def __init__(self, source: str) -> None:
        self._compiled = _compile(source, "value", "")

    def holds(self, value: str) -> bool:
        """Whether it is true; never for a value with a NUL, where the library would stop reading."""
        return "\0" not in value and _evaluate(self._compiled, {"value": value}) is True


class LineExpression:
    """An expression over the map ``output`` of each line of one stream."""

    def __init__(self, source: str, stream: Stream) -> None:
        self._compiled = _compile(source, "output", {"stream": stream, "data": "", "json": {}})
        self._stream = stream
        self._needs_json = _NEEDS_JSON.search(source) is not None

    def select(self, block: bytes) -> bytes | None:
        """Return those lines of ``block`` for which it is true, None when there are none."""
        evaluate, stream, needs_json = self._compiled.eval, self._stream, self._needs_json
        kept = []
        # A loop without calls of our own: they would cost a tenth of the rate.
        for line, text in zip(block.split(b"\n"), readable(block).split("\n"), strict=True):
            output: dict[str, object] = {"stream": stream, "data": text}
            if needs_json:
                output["json"] = json_object(text)
            try:
                if evaluate(data={"output": output}).value() is True:
                    kept.append(line)
            except Exception:  # as in _evaluate
                continue
        return b"\n".join(kept) if kept else None


def _evaluate(compiled: _Compiled, data: dict[str, object]) -> object:
    """Return the value of an expression; that of one which fails is a text or ``None``."""
    try:
        return compiled.eval(data=data).value()
    except Exception:  # most failures come as values, and which ones are raised is nowhere written
        return None


def _compile(source: str, variable: str, trial: object) -> _Compiled:
    """Return ``source`` compiled over ``variable``, checked as far as it can be beforehand."""
    forbidden = _FORBIDDEN.search(source)
    if forbidden:
        problem = f"character U+{ord(forbidden[0]):04X} is not allowed"
        raise error_at(source, forbidden.start(), problem)
    environment = _environment(variable)
    try:
        compiled: _Compiled = environment.compile(source)
    except RuntimeError as error:
        raise _clean_error(str(error)) from None
    kind = compiled.return_type().name()
    if kind not in {"BOOL", "DYN"}:
        raise ExpressionError(1, 1, f"expected bool, got {kind.lower()}")
    # A bad pattern shows only in an evaluation, and `&&` may hide it from that of the whole expression.
    # No other failure counts: `trial` is no real value.
    trials = [(token.offset, f"''.matches({token.source})") for token in _patterns(source)]
    for offset, tried in [*trials, (0, source)]:
        answer = _evaluate(environment.compile(tried), {variable: trial})
        if isinstance(answer, str) and _BAD_PATTERN in answer:
            raise error_at(source, offset, _STATUS.sub("", answer))
    return compiled


def _patterns(source: str) -> list[Token]:
    """Return the text literals that are the argument of a call of ``matches``."""
    tokens = tokenize(source)
    return [
        argument
        for name, opening, argument, closing in zip(
            tokens, tokens[1:], tokens[2:], tokens[3:], strict=False
        )
        if (name.source, opening.source, closing.source) == ("matches", "(", ")")
        and argument.kind == "text"
    ]


def _clean_error(message: str) -> ExpressionError:
    """Return the first error of a message of the library, without its drawing of the source."""
    positioned = _POSITIONED.search(message)
    if positioned is None:
        line, column, problem = 1, 1, message.partition("\n")[0]
    else:
        # Errors of the expression as a whole have the position -1.
        line, column = (max(int(positioned[name]), 1) for name in ("line", "column"))
        problem = positioned["problem"]
    return ExpressionError(line, column, _NOISE.sub("", _STATUS.sub("", problem)))


@cache
def _environment(variable: str) -> Any:
    """Return the library's environment in which ``variable`` is declared."""
    try:
        cel = importlib.import_module("cel_expr_python.cel")
    except ImportError as error:
        problem = f"needs the Python package cel-expr-python, which cannot be imported: {error}"
        raise ExpressionError(1, 1, problem) from error
    text = cel.Type.STRING
    kind = text if variable == "value" else cel.Type.Map(text, cel.Type.DYN)
    return cel.NewEnv(variables={variable: kind})
