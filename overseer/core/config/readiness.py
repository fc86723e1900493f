"""The keys that say when a task is ready and what its action waits for, in the words of process-compose."""

import shlex
from collections.abc import Mapping
from typing import Any

import attrs

from overseer.core.config.kinds import Group, Key, Kind, ListOf, MapOf, Scalar, Schema
from overseer.core.config.scalars import (
    POSITIVE_SECONDS,
    SECONDS,
    TEMPLATE,
    TEMPLATE_NAME,
    choice,
    integer,
)
from overseer.core.config.section import Report, Section
from overseer.core.dependencies import CONDITIONS, CycleError, Dependency, start_order
from overseer.core.readiness import (
    Check,
    ExecCheck,
    HttpCheck,
    LogLineCheck,
    ReadinessProbe,
    TcpCheck,
)
from overseer.core.template import compile_template

_HOST = "127.0.0.1"


@attrs.frozen
class _Command(Kind):
    """A list of arguments, or one text that is split as a shell would, though none is asked."""

    def read(self, section: Section, report: Report) -> tuple[str, ...] | None:
        """Return the program and its arguments."""
        words = self._words(section, report)
        if not words or None in words:
            if words == ():
                report.refuse(section, "names no program")
            return None
        if not compile_template(words[0]).is_constant or not words[0]:
            report.refuse(section, "the program may not depend on parameters: only arguments may")
            return None
        return words

    def schema(self) -> Schema:
        """Return either form."""
        return {"anyOf": [_ARGUMENTS.schema(), {"type": "string"}]}

    def _words(self, section: Section, report: Report) -> tuple[str, ...] | None:
        if not isinstance(section.value, str):
            return _ARGUMENTS.read(section, report)
        try:
            words = shlex.split(section.value)
        except ValueError as error:
            report.refuse(section, str(error).lower())
            return None
        return tuple(TEMPLATE.read(section.with_text(word), report) for word in words)


_ARGUMENTS = ListOf(item=TEMPLATE, expected="a list of arguments")
_PORT = Key("port", TEMPLATE_NAME, description="the port, a template")

_CHECKS = ("http_get", "tcp", "exec")


def _check_probe(section: Section, _values: Mapping[str, Any], report: Report) -> None:
    if (
        section.value is not None
        and sum(section.at(name).value is not None for name in _CHECKS) != 1
    ):
        report.refuse(section, f"expected exactly one of {', '.join(_CHECKS)}")


READINESS_PROBE = Group(
    sparse=True,
    check=_check_probe,
    keys=(
        Key(
            "http_get",
            Group(
                make=HttpCheck,
                keys=(
                    Key("host", TEMPLATE_NAME, default=_HOST, description="the host, a template"),
                    Key("scheme", choice("http", "https"), default="http", description="how"),
                    Key("path", TEMPLATE, default="/", description="the path, a template"),
                    attrs.evolve(_PORT, default=""),
                    Key(
                        "status_code",
                        integer(100, 599),
                        default=200,
                        description="the status that means ready",
                    ),
                ),
            ),
            description="a GET has to be answered",
        ),
        Key(
            "tcp",
            Group(
                make=TcpCheck,
                keys=(
                    Key("host", TEMPLATE_NAME, default=_HOST, description="the host, a template"),
                    attrs.evolve(_PORT, required=True),
                ),
            ),
            description="a connection has to be accepted",
        ),
        Key(
            "exec",
            Group(
                make=ExecCheck,
                keys=(
                    Key(
                        "command",
                        _Command(),
                        required=True,
                        description="program and arguments; the latter are templates",
                    ),
                ),
            ),
            description="a program has to end with 0; it runs where and as whom the task does",
        ),
        Key("initial_delay_seconds", SECONDS, description="before the first look (0)"),
        Key("period_seconds", POSITIVE_SECONDS, description="between two looks (10)"),
        Key("timeout_seconds", POSITIVE_SECONDS, description="how long one may take (1)"),
        Key("success_threshold", integer(1), description="successes in a row to be ready (1)"),
        Key("failure_threshold", integer(1), description="failures in a row not to be (3)"),
    ),
)


@attrs.frozen
class _Condition(Kind):
    """The name of a condition, or ``{condition}``."""

    reads_null = True

    def read(self, section: Section, report: Report) -> str | None:
        """Return the condition by its short name."""
        if isinstance(section.value, dict):
            text = (_WITH_CONDITION.read(section, report) or {}).get("condition")
        elif section.value is None:
            report.refuse(section, "expected a condition")
            return None
        else:
            text = _CONDITION.read(section, report)
        return None if text is None else CONDITIONS[text]

    def schema(self) -> Schema:
        """Return either form."""
        return {"anyOf": [_CONDITION.schema(), _WITH_CONDITION.schema()]}


_CONDITION: Scalar = choice(*CONDITIONS)
_WITH_CONDITION = Group(
    keys=(Key("condition", _CONDITION, required=True, description="how far it has to be"),)
)
DEPENDS_ON = MapOf(item=_Condition(), expected="a mapping from actions to conditions")


def readiness_of(values: dict[str, Any]) -> ReadinessProbe | None:
    """Take the keys about readiness out of those of an action, and return what they come to."""
    line, written = values.pop("ready_log_line"), dict(values.pop("readiness_probe") or {})
    if line:
        return ReadinessProbe(check=LogLineCheck(text=line))
    checks: list[Check] = [written.pop(name) for name in _CHECKS if name in written]
    if not checks:
        return None
    keys = {name.removesuffix("_seconds"): value for name, value in written.items()}
    return ReadinessProbe(check=checks[0], **keys)


def check_dependencies(
    actions: Section,
    dependencies: Mapping[str, tuple[Dependency, ...]],
    with_readiness: frozenset[str],
    report: Report,
) -> None:
    """Note dependencies on what there is not, or never is ready, and those that go round in a circle."""
    for name, ones in dependencies.items():
        for one in ones:
            place = actions.at(name, "depends_on", one.action)
            if one.action not in actions.names:
                report.refuse(place, "there is no such action")
            elif one.condition == "ready" and one.action not in with_readiness:
                report.refuse(place, "the action has neither readiness_probe nor ready_log_line")
    try:
        start_order({name: [one.action for one in ones] for name, ones in dependencies.items()})
    except CycleError as error:
        place = actions.at(error.actions[0], "depends_on")
        report.refuse(place, f"the actions wait for each other: {error}")
