"""A driver that fails where it should not hurts nobody but its own actions, and says so with its place."""

from collections.abc import Mapping
from typing import NoReturn

import pytest

from overseer.core.config import Parameter
from overseer.drivers.interfaces import ActionHandler, ActionHandlerFactory, WorkerCallbacks
from overseer.testing import make_action, problems


class Handler(ActionHandler):
    def __init__(self, validate: str | None = None) -> None:
        self.parameters = {"size": Parameter(default="1", validate=validate)}

    def describe(self) -> NoReturn:
        raise RuntimeError("no description")

    def start(
        self, task_id: str, params: Mapping[str, str], callbacks: WorkerCallbacks
    ) -> NoReturn:
        raise AssertionError("nothing is started here")


class Factory(ActionHandlerFactory):
    type = "broken"

    def __init__(self, validate: str | None = None, error: Exception | None = None) -> None:
        self.validate = validate
        self.error = error

    def create(self, *_: object) -> Handler:
        if self.error is not None:
            raise self.error
        return Handler(self.validate)


@pytest.mark.parametrize("error", [KeyError("folder"), OSError(2, "No such file", "/nope")])
def test_a_factory_that_fails_is_a_mistake_in_the_configuration(error: Exception) -> None:
    """The daemon's start and its reload know what to do with one, and other mistakes are told beside it."""
    text = f'config: the driver "broken" failed: {type(error).__name__}: {error}'
    assert problems(Factory(error=error)) == [text]


def test_an_expression_of_a_parameter_is_read_before_the_first_start() -> None:
    (problem,) = problems(Factory("value.size( > 3"))
    assert problem.startswith('config: parameter "size": validate: ')
    assert problems(Factory("value.size() > 3")) == []


def test_a_driver_that_cannot_describe_an_action_leaves_its_parameters() -> None:
    info = make_action(Factory()).action.describe()
    assert info.params is not None
    assert info.params["size"].default == "1"
