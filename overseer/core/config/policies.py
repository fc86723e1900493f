"""The keys of task pools and retry policies, global and per action, and when two pool keys disagree.

Both are sparse: an action's own keys override the global ones one by one, so what matters is which
of them are written.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs

from overseer.core.config.kinds import Group, Key, Kind, ListOf, Schema
from overseer.core.config.scalars import BOOL, DURATION, FACTOR, SECONDS, choice, integer
from overseer.core.config.section import Report, Section
from overseer.core.yaml_source import format_path

_ORDER = choice("first", "last")

_QUEUE = Group(
    sparse=True,
    keys=(
        Key("enabled", BOOL, description="whether tasks may wait"),
        Key("size", integer(0), description="waiting tasks; 0 = no bound"),
        Key("order", _ORDER, description="first = oldest first, last = newest first"),
        Key("max_age", SECONDS, description="seconds a task may wait; 0 = for ever"),
        Key(
            "displace",
            choice("true", "false", "prohibit"),
            description="whether a full queue drops its oldest task for a new one",
        ),
    ),
)

_EXCESS = Group(
    sparse=True,
    keys=(
        Key("action", choice("stop", "requeue"), description="what happens to tasks over the size"),
        Key("order", _ORDER, description="first = the longest running one goes first"),
        Key("grace", SECONDS, description="seconds to end in; 0 = the action's stop_grace"),
    ),
)


def _check_agreement(section: Section, values: Mapping[str, Any], report: Report) -> None:
    queue = values.get("queue") or {}
    pairs = [
        (("limit",), values.get("limit"), ("size",), values.get("size")),
        (
            *(("queue_timeout",), values.get("queue_timeout")),
            *(("queue", "max_age"), queue.get("max_age")),
        ),
    ]
    slots = values.get("queue_size")
    if slots is not None:
        # 0 slots are no queue; a nested size of 0 is a queue without a bound.
        pairs.append((("queue_size",), slots > 0, ("queue", "enabled"), queue.get("enabled")))
    if slots:
        pairs.append((("queue_size",), slots, ("queue", "size"), queue.get("size")))
    for path, value, other_path, other in pairs:
        if value is not None and other is not None and value != other:
            here, there = section.at(*path), section.at(*other_path)
            name = format_path(other_path)
            report.refuse(here, f"{here.text} disagrees with {name}: {there.text}")


TASK_POOL = Group(
    sparse=True,
    check=_check_agreement,
    keys=(
        Key("size", integer(0), description="tasks that run at once; 0 = unlimited"),
        Key("limit", integer(0), description="another name of size"),
        Key("queue_size", integer(0), description="waiting tasks; 0 = no queue"),
        Key("queue_timeout", DURATION, description="how long a task may wait; 0s = for ever"),
        Key("queue", _QUEUE, description="the queue in the words of v2"),
        Key("excess", _EXCESS, description="what happens to tasks over a lowered size"),
    ),
)

_RETRY_KEYS = Group(
    sparse=True,
    keys=(
        Key("restart_delay", DURATION, description="wait before a restart"),
        Key("restart_jitter", DURATION, description="random addition to the wait, at most this"),
        Key("error_window", DURATION, description="how long an exit counts; 0s = for ever"),
        Key("error_threshold", integer(0), description="exits that make a task errored; 0 = never"),
        Key("restart_on", choice("exit", "failure"), description="which exits are retried"),
        Key(
            "success_exit_codes",
            ListOf(item=integer(0, 255), expected="a list of exit codes"),
            description="exit codes that restart_on: failure does not retry",
        ),
        Key("backoff", FACTOR, description="factor by which the wait grows"),
        Key("max_delay", DURATION, description="the longest wait"),
        Key("stable_after", DURATION, description="a run of this length resets the wait"),
        Key("release_slot", BOOL, description="whether a waiting task gives its slot back"),
    ),
)


@attrs.frozen
class _Retry(Kind):
    """A group of retry keys, or ``false`` for none at all."""

    group: ClassVar[Group] = _RETRY_KEYS

    def read(self, section: Section, report: Report) -> Any:
        """Return the keys that are written, or False."""
        return False if section.value is False else _RETRY_KEYS.read(section, report)

    def schema(self) -> Schema:
        """Return the keys, or what turns them off."""
        return {"anyOf": [_RETRY_KEYS.schema(), {"const": False}]}


RETRY = _Retry()
