"""The exec driver's part of a configuration: its table of keys, and the values they come to.

Templates stay text here: whether they are right is known, but the driver compiles them.
"""

import signal as signals
from collections.abc import Mapping
from typing import Any, Literal

import attrs

from overseer.core.config.kinds import (
    Group,
    Key,
    Kind,
    ListOf,
    MapOf,
    Schema,
    did_you_mean,
)
from overseer.core.config.process_kinds import ACCOUNT, RLIMITS, SIGNAL
from overseer.core.config.scalars import (
    BOOL,
    NAME,
    TEMPLATE,
    TEMPLATE_NAME,
    TEXT,
    WRITTEN,
    choice,
    integer,
    octal,
)
from overseer.core.config.section import Report, Section
from overseer.core.process import Stream
from overseer.core.template import TemplateError, compile_template
from overseer.core.yaml_source import Path, describe


@attrs.frozen(kw_only=True)
class Parameter:
    """One parameter of an action; without a ``default`` a client must give it."""

    default: str | None = None
    description: str = ""
    validate: str | None = None
    secret: bool = False

    @property
    def required(self) -> bool:
        """Whether a start without this parameter is refused."""
        return self.default is None


@attrs.frozen(kw_only=True)
class ExecConfig:
    """What the exec driver runs and how.

    ``entrypoint``, ``command``, the values of ``env`` and ``cwd`` are templates, uncompiled; so are the
    expressions in ``parameters`` and ``conditions``. In ``rlimits``, values are ``(soft, hard)`` with
    ``None`` for "unlimited".
    """

    section: Section
    entrypoint: str
    command: tuple[str, ...]
    parameters: Mapping[str, Parameter]
    env: Mapping[str, str]
    env_file: str | None
    clear_env: bool
    cwd: str | None
    user: str | int | None
    group: str | int | None
    umask: int | None
    nice: int | None
    rlimits: Mapping[str, tuple[int | None, int | None]]
    stop_signal: int
    stdin: Literal["null", "pipe"]
    pty: bool
    conditions: Mapping[Stream, str]

    @classmethod
    def from_keys(cls, section: Section, keys: Mapping[str, Any]) -> "ExecConfig":
        """Return the configuration in ``keys``, which were read at ``section``."""
        values = dict(keys)
        conditions = _conditions(values.pop("output"), values)
        return cls(section=section, conditions=conditions, **values)


def condition_path(section: Section, stream: Stream) -> Path:
    """Return where the condition of a stream is written: there are two ways to spell it."""
    nested: Path = ("output", stream, "condition")
    return nested if section.at(*nested).value is not None else (f"{stream}_condition",)


def _conditions(output: Mapping[str, Any] | None, values: dict[str, Any]) -> Mapping[Stream, str]:
    """Return the conditions that were written, from both spellings."""
    conditions: dict[Stream, str] = {}
    streams: tuple[Stream, ...] = ("stdout", "stderr")
    for stream in streams:
        nested = ((output or {}).get(stream) or {}).get("condition")
        flat = values.pop(f"{stream}_condition")
        if text := nested or flat:
            conditions[stream] = text
    return conditions


def _check_spellings(section: Section, values: Mapping[str, Any], report: Report) -> None:
    for stream in ("stdout", "stderr"):
        flat = section.at(f"{stream}_condition")
        nested = section.at("output", stream, "condition").value
        if flat.value and nested and flat.value != nested:
            report.refuse(flat, f"{describe(flat.value)} disagrees with output.{stream}.condition")


def _check_program(section: Section, values: Mapping[str, Any], report: Report) -> None:
    """Refuse a program that renders to nothing, or depends on anything that a client chooses freely."""
    if values["entrypoint"] is None:
        return  # told already
    place = section.at("entrypoint")
    template = compile_template(values["entrypoint"])
    if template.is_constant:
        try:
            if not template.render({}):
                report.refuse(place, "renders to nothing")
        except TemplateError as error:
            report.refuse(place, str(error))
        return
    parameters = values["parameters"] or {}
    validated = {name for name, spec in parameters.items() if spec is not None and spec.validate}
    if template.uses_whole_map or not template.names <= validated:
        report.refuse(
            place,
            "may only use parameters that have a validate: a client must not choose the program",
        )


def _warn_of_names(section: Section, values: Mapping[str, Any], report: Report) -> None:
    """Tell of names in templates that no parameter has: in Go's templates they render to nothing."""
    places = [
        *((("command", number), text) for number, text in enumerate(values["command"])),
        *((("env", name), text) for name, text in (values["env"] or {}).items()),
        (("cwd",), values["cwd"]),
    ]
    parameters = values["parameters"] or {}
    for path, text in places:
        names = compile_template(text).names if text is not None else ()
        for name in sorted(set(names) - set(parameters)):
            question = did_you_mean(name, parameters) or "it is empty unless a start gives it"
            report.warn(section.at(*path), f'there is no parameter "{name}", {question}')


def _check(section: Section, values: Mapping[str, Any], report: Report) -> None:
    _check_spellings(section, values, report)
    _check_program(section, values, report)
    _warn_of_names(section, values, report)


@attrs.frozen
class _Parameter(Kind):
    """Nothing for a required parameter, a scalar for its default, or a mapping."""

    reads_null = True

    def read(self, section: Section, report: Report) -> Parameter | None:
        """Return the parameter; its default is the text that was written."""
        if section.value is None or isinstance(section.value, dict):
            spec: Parameter = _PARAMETER.read(section, report)
            return spec
        if isinstance(section.value, list):
            report.refuse_kind(section, "a default or a mapping")
            return None
        return Parameter(default=WRITTEN.read(section, report))

    def schema(self) -> Schema:
        """Return either form; no value at all is a mapping without any key."""
        return {"anyOf": [WRITTEN.schema(), _PARAMETER.schema()]}


_PARAMETER = Group(
    make=Parameter,
    keys=(
        Key("default", WRITTEN, description="value of a start that gives none"),
        Key("description", TEXT, default="", description="what the parameter is for"),
        Key(
            "validate",
            WRITTEN,
            description="CEL over `value`: which values are allowed",
        ),
        Key(
            "secret",
            BOOL,
            default=False,
            description="whether the value is hidden wherever it would be shown",
        ),
    ),
)


def _condition(name: str) -> Key:
    return Key(
        name,
        WRITTEN,
        default="",
        description="CEL over `output`: which lines are kept",
    )


def _variable_problem(name: str) -> str | None:
    if not name or "=" in name or "\0" in name:
        return "expected the name of a variable: not empty, without = and NUL"
    return None


EXEC = Group(
    keys=(
        Key(
            "entrypoint",
            TEMPLATE_NAME,
            required=True,
            description="program; a template that only uses validated parameters",
        ),
        Key(
            "command",
            ListOf(item=TEMPLATE, expected="a list of arguments"),
            default=(),
            description="arguments, each a template",
        ),
        Key(
            "parameters",
            MapOf(item=_Parameter(), expected="a mapping from names to parameters"),
            description="what a client may or must give",
        ),
        Key(
            "env",
            MapOf(
                item=TEMPLATE,
                expected="a mapping from names to values",
                name_problem=_variable_problem,
            ),
            description="variables of the child, each value a template",
        ),
        Key(
            "env_file",
            NAME,
            description="file of more variables, read when the action is new or changed",
        ),
        Key(
            "clear_env", BOOL, default=False, description="whether the child inherits no variables"
        ),
        Key("cwd", TEMPLATE_NAME, description="working directory, a template"),
        Key("user", ACCOUNT, description="user the child runs as"),
        Key("group", ACCOUNT, description="group the child runs as"),
        Key("umask", octal(0o777, "0022"), description="file mode bits taken away"),
        Key("nice", integer(-20, 19), description="scheduling priority"),
        Key(
            "rlimits",
            RLIMITS,
            description="resource limits, soft and hard",
        ),
        Key(
            "stop_signal",
            SIGNAL,
            default=int(signals.SIGTERM),
            description="signal that asks the child to end",
        ),
        Key(
            "stdin",
            choice("null", "pipe"),
            default="null",
            description="`pipe`: clients may write to the child by `input`; `null`: it has nothing to read",
        ),
        Key(
            "pty",
            BOOL,
            default=False,
            description="whether the child has a terminal: its stdin, stdout and stderr",
        ),
        Key(
            "output",
            Group(
                keys=tuple(
                    Key(stream, Group(keys=(_condition("condition"),)), description="one stream")
                    for stream in ("stdout", "stderr")
                ),
            ),
            description="which lines reach clients, ring and log",
        ),
        # v2's spelling of the two conditions.
        _condition("stdout_condition"),
        _condition("stderr_condition"),
    ),
    check=_check,
)
