"""A start that fails after its worker has begun gives that worker away, to be ended."""

from collections.abc import Callable, Mapping

import pytest

from overseer.core.worker import Worker
from overseer.drivers.interfaces import (
    ActionHandler,
    ActionHandlerFactory,
    DriverConfig,
    WorkerCallbacks,
)
from overseer.drivers.processes import WorkerConfig, start_worker
from overseer.drivers.virtual import start_virtual_worker
from overseer.testing import FakeRun, make_action, problems

Begin = Callable[[WorkerCallbacks], Worker]


def begin_process(callbacks: WorkerCallbacks) -> Worker:
    return start_worker(WorkerConfig("task", "sleep"), callbacks)


def begin_thread(callbacks: WorkerCallbacks) -> Worker:
    return start_virtual_worker("task", lambda run: None, callbacks)


class FailingHandler(ActionHandler):
    def __init__(self, begin: Begin) -> None:
        self.begin = begin
        self.worker: Worker | None = None

    def start(self, task_id: str, params: Mapping[str, str], callbacks: WorkerCallbacks) -> Worker:
        self.worker = self.begin(callbacks)
        raise RuntimeError("too late")


class FailingFactory(ActionHandlerFactory):
    type = "failing"

    def __init__(self, begin: Begin) -> None:
        self.begin = begin

    def create(self, *_: object) -> FailingHandler:
        return FailingHandler(self.begin)


class ForgetfulHandler(FailingHandler):
    """Returns nothing."""

    def validate(self, params: Mapping[str, str]) -> Mapping[str, str]:
        return params if params else None  # type: ignore[return-value]

    def start(self, task_id: str, params: Mapping[str, str], callbacks: WorkerCallbacks) -> Worker:
        self.worker = self.begin(callbacks)
        return None  # type: ignore[return-value]


class ForgetfulFactory(FailingFactory):
    def create(self, *_: object) -> ForgetfulHandler:
        return ForgetfulHandler(self.begin)


class AskingFactory(FailingFactory):
    def create(self, config: DriverConfig, *_: object) -> FailingHandler:
        assert config.get("mode", "fast") == "fast"
        assert "mode" not in config
        assert config["folder"] == "/tmp"
        return FailingHandler(self.begin)


def test_a_key_that_a_driver_asks_for_is_required() -> None:
    """Who left it out is told so, with its place; other ways to ask go on as with any mapping."""
    factory = AskingFactory(begin_thread)
    assert problems(factory) == ["config.folder: is required"]
    assert problems(factory, {"folder": "/tmp"}) == []


@pytest.mark.parametrize("begin", [begin_process, begin_thread])
def test_a_driver_that_returns_no_worker_has_failed(begin: Begin) -> None:
    """Else nobody could stop what it has started, and a task that has started nothing would have no end."""
    action = make_action(ForgetfulFactory(begin))
    begun: list[Worker] = []
    with pytest.raises(TypeError, match=r'start of "action": expected a worker, got None$'):
        action.action.start("task", {}, FakeRun(action.reactor), attempt=0, begun=begun)
    handler = action.action.handler
    assert isinstance(handler, ForgetfulHandler)
    assert begun == [handler.worker]


@pytest.mark.parametrize(
    ("given", "wrong"),
    [({}, "expected texts by name, got NoneType"), ({"size": 5}, "size: expected text, got int")],
)
def test_a_driver_that_returns_no_parameters_has_failed(given: dict[str, str], wrong: str) -> None:
    """They are told to everyone who asks for a list: one such task would be the end of every list."""
    action = make_action(ForgetfulFactory(begin_thread))
    with pytest.raises(TypeError, match=f'validate of "action": {wrong}$'):
        action.start(given)


@pytest.mark.parametrize("begin", [begin_process, begin_thread])
def test_the_worker_is_given_away(begin: Begin) -> None:
    action = make_action(FailingFactory(begin))
    begun: list[Worker] = []
    with pytest.raises(RuntimeError, match="too late"):
        action.action.start("task", {}, FakeRun(action.reactor), attempt=0, begun=begun)
    handler = action.action.handler
    assert isinstance(handler, FailingHandler)
    assert begun == [handler.worker]
