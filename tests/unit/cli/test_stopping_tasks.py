"""In which order ``overseer stop`` stops tasks."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from overseer.cli.tasks import stop
from overseer.protocol.messages import TaskInfo, Tasks

TS = "2026-11-22T22:07:47Z"
STATES: dict[str, Any] = {"runs": "active", "waits": "queued", "ended": "stopped", "last": "queued"}


class FakeSubscription:
    def close(self) -> None:
        pass


class FakeClient:
    """Remembers what was stopped."""

    def __init__(self) -> None:
        self.stopped: list[str] = []

    async def list(self) -> Tasks:
        known = {"action": "a", "restart_count": 0, "created_at": TS}
        return Tasks("1", [TaskInfo(task_id=t, state=s, **known) for t, s in STATES.items()])

    async def stop(self, task_id: str, *, grace: float | None) -> None:
        self.stopped.append(task_id)

    def subscribe(self, task_id: str, **_: object) -> FakeSubscription:
        return FakeSubscription()


@pytest.mark.parametrize("tasks", [(), ("runs", "waits", "last")])
def test_those_that_wait_are_stopped_first(tasks: tuple[str, ...]) -> None:
    """They would get the slots of the others, and begin."""
    client: Any = FakeClient()
    results: list[object] = []
    asked = stop(client, as_json=False, tasks=tasks, every=not tasks, grace=None, no_wait=True)
    Deferred.fromCoroutine(asked).addBoth(results.append)
    assert results == [None]
    assert client.stopped == ["waits", "last", "runs"]
