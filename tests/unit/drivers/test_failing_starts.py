"""A start that fails after its worker has begun gives that worker away, to be ended."""

from collections.abc import Callable, Mapping

import pytest

from overseer.core.worker import Worker
from overseer.drivers.interfaces import ActionHandler, ActionHandlerFactory, WorkerCallbacks
from overseer.drivers.processes import WorkerConfig, start_worker
from overseer.drivers.virtual import start_virtual_worker
from overseer.testing import FakeRun, make_action

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


@pytest.mark.parametrize("begin", [begin_process, begin_thread])
def test_the_worker_is_given_away(begin: Begin) -> None:
    action = make_action(FailingFactory(begin))
    begun: list[Worker] = []
    with pytest.raises(RuntimeError, match="too late"):
        action.action.start("task", {}, FakeRun(action.reactor), attempt=0, begun=begun)
    handler = action.action.handler
    assert isinstance(handler, FailingHandler)
    assert begun == [handler.worker]
