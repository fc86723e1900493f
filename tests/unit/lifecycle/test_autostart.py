"""What begins with the daemon, in which order, and what one failure does to the others."""

import pytest
from lifecycle_fakes import World
from twisted.logger import capturedLogs, formatEvent

from overseer.core.dependencies import Dependency
from overseer.lifecycle.autostart import start_all


def test_each_action_with_autostart_gets_a_task_of_its_name(world: World) -> None:
    world.settings.autostart = True
    start_all(world.supervisor)
    assert [(info.task_id, info.action) for info in world.infos()] == [("sleep", "sleep")]


@pytest.mark.parametrize("first", ["sleep", "other"])
def test_those_that_others_depend_on_come_first(world: World, first: str) -> None:
    for name, action in world.actions.items():
        action.settings.autostart = True
        if name != first:
            action.settings.depends_on = (Dependency(first, "started"),)
    start_all(world.supervisor)
    assert next(info.task_id for info in world.infos()) == first
    assert sorted(world.states().values()) == ["active", "queued"]


def test_one_that_cannot_start_is_logged(world: World) -> None:
    world.settings.autostart = world.actions["other"].settings.autostart = True
    world.handler.broken = True
    with capturedLogs() as logs:
        start_all(world.supervisor)
    assert "autostart of sleep failed: the driver failed: see the log of the daemon" in [
        formatEvent(event) for event in logs
    ]
    assert world.states() == {"other": "active"}


def test_one_that_runs_already_is_left_alone(world: World) -> None:
    world.settings.autostart = True
    world.start("sleep")
    start_all(world.supervisor)
    assert len(world.handler.workers) == 1
