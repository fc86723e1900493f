"""What a service is: code of a driver that runs in the background, and starts tasks by itself."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Literal, Protocol, TypeVar

import attrs

from overseer.core.worker import Worker
from overseer.drivers.interfaces import ActionHandler, ValidationError, WorkerCallbacks

_Result = TypeVar("_Result")


@attrs.frozen
class Submission:
    """What became of a task that was submitted.

    ``task_id`` is that of the task, or of the one that it would be the ``duplicate`` of; ``reason`` says why it
    was ``rejected``.
    """

    status: Literal["started", "queued", "duplicate", "rejected"]
    task_id: str | None = None
    reason: str = ""


class Submitter(Protocol):
    """What a service starts tasks by, and waits by.

    Whatever is awaited ends by a CancelledError when the service is to end.
    """

    async def submit(
        self,
        action: str,
        task_id: str,
        params: Mapping[str, str],
        *,
        wait: bool = False,
        receipt: str | None = None,
    ) -> Submission:
        """Start a task, as a client does; without a ``task_id`` it gets one.

        :param wait: if the task is queued, until it has started, or is not to start any more.
        :param receipt: a file that is there exactly if the task has begun, even if the daemon is killed.
        """

    async def sleep(self, seconds: float) -> None:
        """Wait for so many seconds."""

    async def in_thread(self, function: Callable[[], _Result]) -> _Result:
        """Call what takes its time, a look into a folder or a database for one, and return what it returns."""


class ServiceHandler(ActionHandler):
    """A handler that runs in the background for as long as its action is configured; it need not run tasks."""

    @abstractmethod
    async def run_service(self, submitter: Submitter) -> None:
        """Run the service.

        It is called once, when everything else has started; again, after a while, when it raises; and cancelled
        at a shutdown and when a reload changes its action.
        """

    def start(self, task_id: str, params: Mapping[str, str], callbacks: WorkerCallbacks) -> Worker:
        """Refuse to start a task, where the driver does not have any.

        :raises ValidationError: always.
        """
        raise ValidationError(f'"{callbacks.action}" runs by itself: there is nothing to start')
