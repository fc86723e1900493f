"""The table of every key outside of the drivers: its kind, its default, and what it means.

This is the one source of truth: reading, the JSON Schema and the tables of ``docs/`` are made from it.
"""

from collections.abc import Mapping
from typing import Any

from overseer.core.config.kinds import Group, Key, Kind, ListOf, MapOf, Schema
from overseer.core.config.model import Limits, Retain
from overseer.core.config.policies import RETRY, TASK_POOL
from overseer.core.config.readiness import DEPENDS_ON, READINESS_PROBE
from overseer.core.config.scalars import (
    ANYTHING,
    BOOL,
    DURATION,
    HOST_NAME,
    LISTEN_ADDRESS,
    LONG_DURATION,
    NAME,
    NETWORK,
    ORIGIN,
    TEMPLATE,
    TEXT,
    WRITTEN_NAME,
    choice,
    integer,
    octal,
    size,
)
from overseer.core.config.section import Report, Section
from overseer.core.config.tokens import AUTH
from overseer.core.config.webhooks import WEBHOOKS
from overseer.core.dependencies import CONDITIONS
from overseer.core.history import Keep
from overseer.core.rotation import Rotation
from overseer.core.yaml_source import describe

KIB = 1024
MIB = 1024 * KIB


class _DriverConfig(Kind):
    """Whatever the driver of the action asks for: the driver reads it."""

    reads_null = True

    def read(self, section: Section, report: Report) -> Section:
        """Return the section itself."""
        if section.value is not None and not isinstance(section.value, dict):
            report.refuse_kind(section, "a mapping")
        return section

    def schema(self) -> Schema:
        """Return any object; schema.py knows those of the drivers."""
        return {"type": ["object", "null"]}


def _check_description(section: Section, values: Mapping[str, Any], report: Report) -> None:
    other = (values.get("meta") or {}).get("description")
    mine = section.at("description").value
    if mine is not None and other is not None and mine != other:
        report.refuse(
            section.at("description"),
            f"{describe(mine)} disagrees with meta.description: {describe(other)}",
        )


def _check_action(section: Section, values: Mapping[str, Any], report: Report) -> None:
    _check_description(section, values, report)
    if section.at("ready_log_line").value and section.at("readiness_probe").value:
        report.refuse(section.at("ready_log_line"), "not together with readiness_probe")


_TASK_POOL = Key(
    "task_pool",
    TASK_POOL,
    default={},
    description="how many tasks run at once, and how many wait",
)
_RETRY = Key(
    "retry",
    RETRY,
    default={},
    description="when a task that ended is started again",
)

LIMITS = Group(
    make=Limits,
    keys=(
        Key(
            "message_size",
            size(KIB),
            default=MIB,
            description="the longest message from a client",
        ),
        Key(
            "line_size",
            size(KIB),
            default=MIB,
            description="the longest `output` message; longer lines come in pieces",
        ),
        Key(
            "send_buffer",
            size(1),
            default=8 * MIB,
            description="bytes that wait for one slow client before output is dropped",
        ),
        Key(
            "total_send_buffer",
            size(1),
            default=256 * MIB,
            description="bytes that wait for all slow clients together; what waits for several counts once",
        ),
        Key("connections", integer(1), default=1024, description="connections at once"),
    ),
)

RETAIN = Group(
    make=Retain,
    keys=(
        Key("count", integer(0), default=1000, description="finished tasks kept in memory"),
        Key("age", DURATION, default=86400.0, description="how long a finished task is kept"),
    ),
)

HISTORY = Group(
    make=lambda **keys: Keep(age=keys["keep"], max_rows=keys["max_rows"]),
    keys=(
        Key(
            "keep",
            LONG_DURATION,
            default=0.0,
            description="how long runs are kept, as in `30d` or `12h`; 0s = for ever",
        ),
        Key("max_rows", integer(0), default=0, description="runs kept at most; 0 = no bound"),
    ),
)

LOG_ROTATE = Group(
    make=Rotation,
    keys=(
        Key("max_size", size(1), default=50 * MIB, description="size that starts a new file"),
        Key("backups", integer(0), default=10, description="old files kept"),
    ),
)

ACTION = Group(
    check=_check_action,
    unknown="unknown key; what the driver reads stands below config",
    keys=(
        Key("type", NAME, required=True, description="the driver"),
        Key("description", TEXT, default="", description="shown by `describe`"),
        Key(
            "meta",
            Group(
                sparse=True,
                keys=(Key("description", TEXT, description="another place of description"),),
            ),
            description="what v2 knows about the action",
        ),
        Key("config", _DriverConfig(), description="the driver's own keys"),
        Key(
            "stop_grace",
            DURATION,
            default=5.0,
            description="time between SIGTERM and SIGKILL",
        ),
        Key(
            "backpressure",
            choice("hold", "drop"),
            default="hold",
            description="whether a child waits while every subscriber is behind",
        ),
        Key("replay_buffer", integer(0), description="events kept a task, instead of the global"),
        _RETRY,
        _TASK_POOL,
        Key(
            "dedupe_key",
            ListOf(item=WRITTEN_NAME, expected="a list of parameter names"),
            default=(),
            description="parameters that make two tasks the same",
        ),
        Key(
            "timeout",
            DURATION,
            default=0.0,
            description="the longest run; 0s = no bound",
        ),
        Key(
            "idle_timeout",
            DURATION,
            default=0.0,
            description="the longest run without output; 0s = no bound",
        ),
        Key(
            "autostart",
            BOOL,
            default=False,
            description="whether a task named as the action starts with overseer",
        ),
        Key(
            "depends_on",
            DEPENDS_ON,
            description="how far other actions have to be before a task starts: one of"
            f" {', '.join(f'`{name}`' for name in CONDITIONS)}",
        ),
        Key("readiness_probe", READINESS_PROBE, description="when a task is ready"),
        Key(
            "ready_log_line",
            TEMPLATE,
            default="",
            description="text in a line of output that says so, instead of a probe; a template",
        ),
        Key(
            "restore",
            BOOL,
            default=False,
            description="whether tasks start again after the overseer restarts; needs `db`",
        ),
        Key(
            "cgroup",
            BOOL,
            default=False,
            description="whether every run has a control group of its own, which nothing escapes",
        ),
        Key("params", ANYTHING, dead=True, description="v2's older config.parameters"),
    ),
)

CONFIG = Group(
    keys=(
        Key(
            "name",
            NAME,
            default="sticky-overseer",
            description="what the manifest says it is about",
        ),
        Key(
            "listen",
            ListOf(
                item=LISTEN_ADDRESS,
                expected="an address or a list of addresses",
                single=True,
                may_be_empty=False,
            ),
            default=(":8080",),
            environment="OVERSEER_LISTEN",
            description="addresses to listen on",
        ),
        Key("unix_mode", octal(0o777, "0660"), default=0o600, description="mode of Unix sockets"),
        Key(
            "allowed_origins",
            ListOf(item=ORIGIN, expected="a list of texts"),
            default=(),
            description="origins of web pages that may connect",
        ),
        Key(
            "allowed_hosts",
            ListOf(item=HOST_NAME, expected="a list of texts"),
            default=(),
            description="Host names that browsers may use",
        ),
        Key("replay_buffer", integer(0), default=100, description="events kept a task"),
        Key("replay_bytes", size(), default=256 * KIB, description="bytes of events kept a task"),
        Key("retain", RETAIN, description="what is kept of finished tasks"),
        Key("limits", LIMITS, description="what clients may use"),
        Key(
            "actions",
            MapOf(item=ACTION, expected="a mapping from names to actions"),
            description="what can be started",
        ),
        Key(
            "db",
            TEXT,
            default="",
            environment="OVERSEER_DB",
            description="SQLite file of the history",
        ),
        Key(
            "log_file",
            TEXT,
            default="",
            environment="OVERSEER_LOG_FILE",
            description="JSONL event log",
        ),
        Key("log_rotate", LOG_ROTATE, description="when log_file starts anew"),
        Key(
            "trusted_cidrs",
            ListOf(item=NETWORK, expected="a comma-separated text or a list", separator=","),
            default=(),
            environment="OVERSEER_TRUSTED_CIDRS",
            description="networks that may connect; empty = loopback and this host's own",
        ),
        Key("auth", AUTH, secret=True, description="who may connect by token"),
        Key(
            "webhooks",
            WEBHOOKS,
            default=(),
            secret=True,
            description="URLs that are told how tasks end",
        ),
        _TASK_POOL,
        _RETRY,
        Key("history", HISTORY, description="what the history keeps; nothing without `db`"),
        Key(
            "listen_addr",
            ANYTHING,
            dead=True,
            note=", use listen",
            description="v2's older listen",
        ),
    ),
)
