"""How the commands that only look show what the daemon answers."""

import json
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from overseer.cli.reports import actions
from overseer.protocol.messages import (
    ActionInfo,
    Actions,
    ExcessConfig,
    ParamSpec,
    PoolConfig,
    RetryPolicy,
)

FREE = PoolConfig(limit=0, excess=ExcessConfig())
BUILD = ActionInfo(
    name="build",
    type="exec",
    description="Builds it",
    params={"target": ParamSpec(validate="value != ''"), "mode": ParamSpec(default="debug")},
    task_pool=FREE,
    retry=RetryPolicy(restart_delay="1s"),
    dedupe_key=["target", "mode"],
    depends_on={"db": "ready", "cache": "started"},
    autostart=True,
    readiness="tcp",
)
PLAIN = ActionInfo(name="plain", type="exec", task_pool=FREE, retry=RetryPolicy())


class FakeClient:
    async def describe(self) -> Actions:
        return Actions("1", [BUILD, PLAIN])


def shown(capsys: pytest.CaptureFixture[str], action: str | None, *, as_json: bool = False) -> str:
    client: Any = FakeClient()
    results: list[object] = []
    Deferred.fromCoroutine(actions(client, as_json=as_json, action=action)).addBoth(results.append)
    assert results == [None]
    return capsys.readouterr().out


def test_actions_are_listed_with_what_starts_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert [line.split("\t") for line in shown(capsys, None).splitlines()] == [
        ["ACTION", "TYPE", "PARAMETERS", "STARTS", "DESCRIPTION"],
        [
            *("build", "exec", "target* mode=debug"),
            *("by itself, after db: ready, after cache: started", "Builds it"),
        ],
        ["plain", "exec", "", "", ""],
    ]


def test_of_one_action_everything_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """One line for each value, whatever it is part of."""
    assert [line.split("\t") for line in shown(capsys, "build").splitlines()] == [
        ["name", "build"],
        ["type", "exec"],
        ["description", "Builds it"],
        ["params.target.validate", "value != ''"],
        ["params.target.required", "true"],
        ["params.mode.default", "debug"],
        ["params.mode.required", "false"],
        ["task_pool.limit", "0"],
        ["task_pool.excess.grace", "0"],
        ["retry.restart_delay", "1s"],
        ["dedupe_key", "target, mode"],
        ["depends_on.db", "ready"],
        ["depends_on.cache", "started"],
        ["autostart", "true"],
        ["readiness", "tcp"],
    ]


def test_as_json_one_action_is_a_list_of_one(capsys: pytest.CaptureFixture[str]) -> None:
    [told] = json.loads(shown(capsys, "plain", as_json=True))
    assert told["name"] == "plain"
