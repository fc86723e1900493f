"""Drivers in their short form: what a function's parameters mean, and who may write what."""

from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Literal

import pytest

from overseer.core.config.schema import config_schema
from overseer.core.process import Stream
from overseer.drivers.functions import FunctionFactory
from overseer.drivers.interfaces import ActionHandlerFactory, Parameter, ValidationError
from overseer.drivers.registry import Drivers
from overseer.drivers.virtual import CoroutineRun, ThreadRun
from overseer.testing import make_action, problems


async def count(
    run: CoroutineRun, to: int, step: int = 1, loud: bool = False, *, delay: float = 0.0
) -> int:
    """Count up.

    And return how far.
    """
    for number in range(0, to, step):
        await run.send("stderr" if loud else "stdout", str(number))
        await run.sleep(delay)
    return to


COUNT = FunctionFactory("count", count)


def test_a_client_gives_what_stands_before_the_star() -> None:
    """Text becomes what the annotation says."""
    run = make_action(COUNT).start({"to": "5", "step": "2", "loud": "true"})
    run.reactor.pump([0.0] * 5)
    assert (run.lines("stderr"), run.exit_code) == (["0", "2", "4"], 5)


def test_the_operator_gives_what_stands_after_it() -> None:
    """As a key of ``config``, and no client can."""
    run = make_action(COUNT, {"delay": 2}).start({"to": "2"})
    run.reactor.advance(1.9)
    assert run.lines("stdout") == ["0"]
    with pytest.raises(ValidationError, match='parameter "delay" is unknown'):
        make_action(COUNT).start({"to": "2", "delay": "0"})


def test_what_clients_are_told() -> None:
    """The parameters with their defaults as text, and the first line of the docstring."""
    info = make_action(COUNT).action.handler.describe()
    assert info.description == "Count up."
    assert info.params is not None
    assert {name: spec.default for name, spec in info.params.items()} == {
        "to": None,
        "step": "1",
        "loud": "false",
    }


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, 'parameter "to" is required'),
        ({"to": "many"}, 'parameter "to": expected an integer, got "many"'),
        ({"to": "1", "loud": "?"}, 'parameter "loud": expected true or false, got "?"'),
    ],
)
def test_parameters_that_do_not_fit(params: dict[str, str], message: str) -> None:
    """They are refused before anything starts."""
    with pytest.raises(ValidationError) as refused:
        make_action(COUNT).start(params)
    assert str(refused.value) == message


def test_mistakes_in_the_configuration() -> None:
    """All at once, in the words of every configuration."""
    assert problems(COUNT, {"delay": "soon", "dely": 1}) == [
        'config.delay: expected a number, got "soon"',
        'config.dely: unknown key, did you mean "delay"?',
    ]


def test_a_probe_that_is_a_program_is_refused() -> None:
    """Nothing says where, and as whom, it would run: the task would never be ready."""
    probe = {"exec": {"command": "true"}}
    refused = ["readiness_probe.exec: this driver runs no processes"]
    assert problems(COUNT, readiness_probe=probe) == refused
    assert problems(COUNT, readiness_probe={"tcp": {"port": 1}}) == []


def test_annotations_say_more() -> None:
    """What a choice is, a description, a rule, a secret."""

    async def convert(
        run: CoroutineRun,
        kind: Annotated[Literal["fast", "slow"], Parameter(description="how")],
        key: Annotated[str, Parameter(secret=True, validate="size(value) == 4")] = "1234",
    ) -> None:
        await run.send("stdout", f"{kind} {key}")

    action = make_action(FunctionFactory("convert", convert))
    info = action.action.handler.describe()
    assert info.params is not None
    assert (info.params["kind"].description, info.params["key"].default) == ("how", "***")
    assert action.start({"kind": "fast"}).lines("stdout") == ["fast 1234"]
    for params in ({"kind": "warm"}, {"kind": "slow", "key": "12"}):
        with pytest.raises(ValidationError):
            action.start(params)


async def async_lines(count: int = 2) -> AsyncIterator[str | tuple[Stream, str]]:
    for number in range(count):
        yield f"line {number}"
    yield "stderr", "done"


def lines(count: int = 2) -> Iterator[Any]:
    for number in range(count):
        yield f"line {number}"
    yield "stderr", "done"
    return 3


def plain(run: ThreadRun, count: int = 2) -> int:
    for number in range(count):
        run.send("stdout", f"line {number}")
    run.send("stderr", "done")
    return 3


@pytest.mark.parametrize(("function", "code"), [(async_lines, 0), (lines, 3), (plain, 3)])
def test_every_kind_of_function(function: Any, code: int) -> None:
    """Generators yield lines; what is not async runs in a thread."""
    run = make_action(FunctionFactory("lines", function)).start()
    run.wait()
    assert run.lines("stdout") == ["line 0", "line 1"]
    assert (run.lines("stderr"), run.exit_code) == (["done"], code)


@pytest.mark.parametrize("yielded", [5, None, b"ab", ("stdout", "a", "b"), (b"stdout", "a")])
def test_what_is_no_line_is_told(yielded: Any) -> None:
    """With what was expected instead: there is no place in the function to show."""

    def numbers() -> Iterator[Any]:
        yield yielded

    async def async_numbers() -> AsyncIterator[Any]:
        yield yielded

    for function in (numbers, async_numbers):
        run = make_action(FunctionFactory("numbers", function)).start()
        run.wait()
        expected = "TypeError: expected a line of text, or a pair of stream and line"
        assert run.lines("stderr") == [f"{expected}, got {yielded!r}"]
        assert run.exit_code == 1


def test_a_generator_that_is_stopped_is_closed() -> None:
    """It can clean up."""
    closed = []

    async def ticks(run: CoroutineRun) -> AsyncIterator[str]:
        try:
            while True:
                yield "tick"
                await run.sleep(1)
        finally:
            closed.append(True)

    run = make_action(FunctionFactory("ticks", ticks)).start()
    run.reactor.pump([1, 1])
    run.stop()
    assert (run.lines("stdout"), run.ended, closed) == (["tick"] * 3, True, [True])


def test_a_parameter_without_a_name_is_refused() -> None:
    """Nobody could give it."""
    with pytest.raises(TypeError, match=r"things: expected a parameter with a name$"):
        FunctionFactory("bad", lambda *things: None)


def test_a_default_that_is_no_text_is_refused() -> None:
    """A client that leaves its parameter out would be told of a mistake that it has not made."""

    def optional(to: int | None = None) -> None: ...

    def several(to: Annotated[list[str], Parameter()] = []) -> None: ...  # noqa: B006

    for function, shown in ((optional, "None"), (several, r"\[\]")):
        expected = f"to: expected a default that a client could write, got {shown}$"
        with pytest.raises(TypeError, match=expected):
            FunctionFactory("bad", function)


def test_the_schema_knows_the_keys() -> None:
    """So that an editor does."""
    schema = config_schema(Drivers([COUNT]).keys)
    config = schema["properties"]["actions"]["additionalProperties"]["allOf"][0]["then"]
    assert config["properties"]["config"]["properties"]["delay"]["type"] == ["number", "null"]


def test_a_type_has_one_driver() -> None:
    """The second one is refused by its name."""
    factories: list[ActionHandlerFactory] = [COUNT]
    assert Drivers(factories, {"lost": "cannot import x: ImportError: y"}).types == ("count",)
