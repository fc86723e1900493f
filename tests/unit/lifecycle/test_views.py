"""What clients are shown of an action."""

from typing import Any

import pytest
from lifecycle_fakes import World

from overseer.core.dependencies import Dependency
from overseer.core.readiness import (
    Check,
    ExecCheck,
    HttpCheck,
    LogLineCheck,
    ReadinessProbe,
    TcpCheck,
)
from overseer.lifecycle.views import action_info

HTTP = HttpCheck(host="h", scheme="http", path="/", port="", status_code=200)


def test_an_action_tells_what_its_tasks_wait_for_and_who_starts_them(world: World) -> None:
    def told() -> tuple[Any, ...]:
        info = action_info(world.supervisor, "sleep")
        return info.depends_on, info.autostart, info.readiness

    assert told() == (None, None, None)
    world.settings.depends_on = (Dependency("other", "ready"),)
    world.settings.autostart = True
    assert told() == ({"other": "ready"}, True, None)


@pytest.mark.parametrize(
    ("check", "kind"),
    [
        (HTTP, "http_get"),
        (TcpCheck(host="h", port="1"), "tcp"),
        (ExecCheck(command=("true",)), "exec"),
        (LogLineCheck(text="up"), "ready_log_line"),
    ],
)
def test_an_action_tells_what_shows_that_a_task_is_ready(
    world: World, check: Check, kind: str
) -> None:
    """By the key of the configuration; where that looks is nobody's business."""
    world.settings.readiness = ReadinessProbe(check=check)
    assert action_info(world.supervisor, "sleep").readiness == kind
