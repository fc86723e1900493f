"""Fakes for the tests of services: what they submit is remembered, and nothing is started.

>>> submitter = serve(make_action(MyFactory(), {"every": "5s"}))
>>> submitter.reactor.advance(5.0)
>>> submitter.submitted
[Submitted(action='echo', task_id='', params={})]
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from overseer.drivers.services import ServiceHandler, Submission
from overseer.testing import FakeAction, FakeReactor

_Result = TypeVar("_Result")


@attrs.frozen
class Submitted:
    """A task that a service has submitted."""

    action: str
    task_id: str
    params: Mapping[str, str]


class FakeSubmitter:
    """What a service is given in a test; ``submitted`` is what it has submitted.

    ``answers`` are those to the next submissions; without one a task has started. What is to be called in a
    thread is called at once. ``failure`` is what the service has raised.
    """

    def __init__(self, reactor: FakeReactor) -> None:
        self.reactor = reactor
        self.submitted: list[Submitted] = []
        self.answers: list[Submission] = []
        self.failure: BaseException | None = None
        self.running: Deferred[None] = Deferred()

    async def submit(
        self,
        action: str,
        task_id: str,
        params: Mapping[str, str],
        *,
        wait: bool = False,
        receipt: str | None = None,
    ) -> Submission:
        """See :class:`overseer.Submitter`."""
        self.submitted.append(Submitted(action, task_id, dict(params)))
        return self.answers.pop(0) if self.answers else Submission("started", task_id or "task")

    async def sleep(self, seconds: float) -> None:
        """See :class:`overseer.Submitter`."""
        await deferLater(self.reactor, seconds)

    async def in_thread(self, function: Callable[[], _Result]) -> _Result:
        """See :class:`overseer.Submitter`."""
        return function()

    def stop(self) -> None:
        """Cancel the service, as a shutdown does."""
        self.running.cancel()
        self.reactor.advance(0)

    def failed(self, failure: Failure) -> None:
        """Remember what the service has raised; to be cancelled is no failure."""
        if not isinstance(failure.value, CancelledError):
            self.failure = failure.value


def serve(action: FakeAction) -> FakeSubmitter:
    """Run the service of an action, as a daemon does, and return what it submits by."""
    handler = action.action.handler
    assert isinstance(handler, ServiceHandler), "the driver has no service"
    submitter = FakeSubmitter(action.reactor)
    submitter.running = Deferred.fromCoroutine(handler.run_service(submitter))
    submitter.running.addErrback(submitter.failed)
    return submitter
