"""What is asked of the supervisor: what a start says, who asks and is answered, and that it cannot be done."""

from collections.abc import Callable, Mapping

import attrs

from overseer.core.retry import PartialRetryPolicy, RetryPolicy
from overseer.drivers.interfaces import Action
from overseer.lifecycle.subscriptions import Subscriber


@attrs.frozen
class RequestError(Exception):
    """A request that cannot be done, with the text for the client."""

    message: str
    existing_task_id: str | None = None


@attrs.frozen(kw_only=True)
class Starter:
    """Who asked for a run, and how to answer.

    One call comes: ``began``, ``fail`` with the reason for which the run could not begin, or ``left`` with the
    one for which a task that was queued waits no more. The file ``receipt`` is made by the run itself.
    """

    request_id: str = ""
    subscriber: Subscriber | None = None
    fail: Callable[[str], object] = lambda reason: None
    began: Callable[[], object] = lambda: None
    left: Callable[[str], object] = lambda reason: None
    receipt: str | None = None


@attrs.frozen(kw_only=True)
class Assignment:
    """What a start asks of a task: the action as it is now, and what this start says.

    ``params`` and ``policy`` are what holds, ``given_params`` and ``given_policy`` what the start itself gave.
    """

    action: Action
    params: Mapping[str, str]
    policy: RetryPolicy | None
    given_params: Mapping[str, str]
    given_policy: PartialRetryPolicy | None
