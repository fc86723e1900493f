"""Drivers in their short form: a function that does the work, and a decorator that makes a driver of it.

The parameters of the function say what is written and sent. One before ``*`` is a client's, one after it the
operator's: a key of the action's ``config``. Its annotation says what it may be, and without a default it is
required. The parameter ``run`` is neither: it is given the run.

An ``async def`` runs on the reactor, any other function in a thread. A generator of either kind yields lines: a
text is one of stdout, a pair is a stream and a line of it.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing, closing
from typing import Any, TypeVar, cast, get_args, get_type_hints

import attrs
import msgspec

from overseer.core.config import Group, Key, Kind, Parameter, Report, Schema, Section
from overseer.core.process import Stream
from overseer.core.retry import RetryPolicy
from overseer.core.worker import Worker
from overseer.core.yaml_source import describe
from overseer.drivers.interfaces import (
    HIDDEN,
    ActionHandler,
    ActionHandlerFactory,
    DriverConfig,
    PoolConfig,
    ValidationError,
    WorkerCallbacks,
)
from overseer.drivers.registry import register_factory
from overseer.drivers.virtual import CoroutineRun, ThreadRun, start_virtual_worker
from overseer.protocol.messages import ActionInfo

RUN = "run"
"""The parameter of a function that is given the run."""
_Function = TypeVar("_Function", bound=Callable[..., Any])
_EXPECTED: Mapping[Any, str] = {
    str: "text",
    int: "an integer",
    float: "a number",
    bool: "true or false",
}


def driver(name: str) -> Callable[[_Function], _Function]:
    """Register the function that is decorated as the driver ``name``.

    :raises TypeError: when a client or a configuration could not give one of its parameters.
    """

    def register(function: _Function) -> _Function:
        register_factory(FunctionFactory(name, function))
        return function

    return register


class FunctionFactory(ActionHandlerFactory):
    """Makes handlers that call a function."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.type = name
        self._function = function
        self._given, configured = _arguments(function)
        self.keys = Group(keys=tuple(one.key() for one in configured))

    def create(
        self,
        config: DriverConfig,
        name: str,
        retry: RetryPolicy | None,
        pool: PoolConfig,
        dedupe_key: Sequence[str],
    ) -> "FunctionHandler":
        """Return the handler of an action."""
        return FunctionHandler(self._function, self._given, config)


class FunctionHandler(ActionHandler):
    """Calls a function with the parameters of a start and the configuration of its action."""

    def __init__(
        self,
        function: Callable[..., Any],
        given: Sequence["_Argument"],
        config: Mapping[str, Any],
    ) -> None:
        self.parameters = {one.name: one.parameter() for one in given}
        self._function = function
        self._given = {one.name: one for one in given}
        self._config = config

    def describe(self) -> ActionInfo:
        """Return what clients are told; the first line of the docstring says what it does."""
        summary = (inspect.getdoc(self._function) or "").partition("\n")[0]
        return msgspec.structs.replace(super().describe(), description=summary or None)

    def validate(self, params: Mapping[str, str]) -> Mapping[str, str]:
        """Return the parameters with defaults added.

        :raises ValidationError: for one that the function does not have, or that is not what it takes.
        """
        for name in params:
            if name not in self._given:
                raise ValidationError(f'parameter "{name}" is unknown')
        values = super().validate(params)
        self._convert(values)
        return values

    def start(self, task_id: str, params: Mapping[str, str], callbacks: WorkerCallbacks) -> Worker:
        """Call the function in a virtual worker."""
        function = self._function
        arguments = {**self._convert(params), **self._config}
        takes_run = RUN in inspect.signature(function).parameters

        def call(run: CoroutineRun | ThreadRun) -> Any:
            return function(**arguments, **({RUN: run} if takes_run else {}))

        async def call_and_await(run: CoroutineRun) -> Any:
            return await call(run)

        async def send_all(run: CoroutineRun) -> None:
            async with aclosing(call(run)) as lines:
                async for line in lines:
                    if isinstance(line, str):
                        await run.send("stdout", line)
                    else:
                        await run.send(*_pair(line))

        def send_each(run: ThreadRun) -> Any:
            with closing(call(run)) as lines:
                while True:
                    try:
                        line = next(lines)
                    except StopIteration as end:
                        return end.value
                    if isinstance(line, str):
                        run.send("stdout", line)
                    else:
                        run.send(*_pair(line))

        if inspect.isasyncgenfunction(function):
            return start_virtual_worker(task_id, send_all, callbacks)
        if inspect.iscoroutinefunction(function):
            return start_virtual_worker(task_id, call_and_await, callbacks)
        if inspect.isgeneratorfunction(function):
            return start_virtual_worker(task_id, send_each, callbacks)
        return start_virtual_worker(task_id, call, callbacks)

    def _convert(self, params: Mapping[str, str]) -> dict[str, Any]:
        return {name: self._given[name].converted(text) for name, text in params.items()}


@attrs.frozen
class _Argument:
    """One parameter of a function that somebody gives: its type, its default, and what else is said of it."""

    name: str
    type: Any
    default: Any
    about: Parameter

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is inspect.Parameter.empty

    def check_default(self, function: Callable[..., Any]) -> None:
        """See that a client could write its default, too: all that comes from clients is text.

        :raises TypeError: when none could.
        """
        if self.required:
            return
        try:
            if self.default is not None:
                self.converted(_written(self.default))
                return
        except ValidationError:
            pass
        raise TypeError(
            f"{function.__qualname__}: {self.name}: expected a default that a client could write,"
            f" got {self.default!r}"
        )

    def parameter(self) -> Parameter:
        """Return it as a client's parameter."""
        default = None if self.required else _written(self.default)
        return attrs.evolve(self.about, default=default)

    def key(self) -> Key:
        """Return it as a key of the configuration."""
        return Key(
            self.name,
            _Typed(self.type),
            required=self.required,
            default=None if self.required else self.default,
            description=self.about.description,
            secret=self.about.secret,
        )

    def converted(self, text: str) -> Any:
        """Return the value that a client has written.

        :raises ValidationError: when it is none.
        """
        try:
            return msgspec.convert(text, self.type, strict=False)
        except msgspec.ValidationError as error:
            shown = describe(HIDDEN if self.about.secret else text)
            expected = _expected(self.type, error)
            raise ValidationError(f'parameter "{self.name}": {expected}, got {shown}') from None


@attrs.frozen
class _Typed(Kind):
    """A value of a configuration that has the type of an annotation."""

    type: Any

    def read(self, section: Section, report: Report) -> Any:
        """Return the value; text is taken as it is written."""
        try:
            return msgspec.convert(section.text if self.type is str else section.value, self.type)
        except msgspec.ValidationError as error:
            shown = "" if report.conceals else f", got {describe(section.value)}"
            report.refuse(section, _expected(self.type, error) + shown)
            return None

    def schema(self) -> Schema:
        """Return what the type accepts."""
        return msgspec.json.schema(self.type)


def _arguments(function: Callable[..., Any]) -> tuple[list[_Argument], list[_Argument]]:
    """Return what clients and what configurations give to a function."""
    given: list[_Argument] = []
    configured: list[_Argument] = []
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        if name == RUN:
            continue
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(f"{function.__qualname__}: {name}: expected a parameter with a name")
        hint = hints.get(name, str)
        about = [extra for extra in get_args(hint)[1:] if isinstance(extra, Parameter)]
        argument = _Argument(name, hint, parameter.default, about[0] if about else Parameter())
        (configured if parameter.kind is parameter.KEYWORD_ONLY else given).append(argument)
    for argument in given:
        argument.check_default(function)
    return given, configured


def _pair(yielded: Any) -> tuple[Stream, str]:
    match yielded:
        case (str() as stream, line):
            return cast("Stream", stream), line
    raise TypeError(f"expected a line of text, or a pair of stream and line, got {yielded!r}")


def _written(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


def _expected(type: Any, error: msgspec.ValidationError) -> str:
    expected = _EXPECTED.get(type)
    return f"expected {expected}" if expected else f"{error}".lower()
