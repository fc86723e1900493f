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
    Scalar,
    Schema,
    UnfitError,
    did_you_mean,
)
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
from overseer.core.process import SIGNALS, Stream, signal_name, signal_number
from overseer.core.sizes import SIZE_PATTERN, parse_size
from overseer.core.template import TemplateError, compile_template
from overseer.core.yaml_source import Path, describe

RLIMIT_NAMES = (
    *("as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile"),
    *("nproc", "rss", "rtprio", "rttime", "sigpending", "stack"),
)
"""The names of resource limits, as in ``prlimit(1)``."""

_SIGNAL_NAMES = tuple(name.removeprefix("SIG") for name in SIGNALS)
_LARGEST_ID = 2**32 - 2
_UNLIMITED = "unlimited"


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


def _account(section: Section) -> str | int:
    value = section.value
    if isinstance(value, str) and value and "\0" not in value:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST_ID:
        return value
    raise UnfitError


def _signal(section: Section) -> int:
    if isinstance(section.value, int) and not isinstance(section.value, bool):
        if section.value in signals.valid_signals():
            return int(section.value)
        raise UnfitError
    try:
        return signal_number(section.text or "")
    except ValueError:
        raise UnfitError from None


def _any_case(name: str) -> str:
    """Return a regular expression for a name in upper and lower case: JSON Schema has no flag for it."""
    return "".join(f"[{letter}{letter.lower()}]" if letter.isalpha() else letter for letter in name)


def _limit(section: Section) -> int | float:
    if section.value == _UNLIMITED:
        return float("inf")
    if isinstance(section.value, bool) or not isinstance(section.value, int | str):
        raise UnfitError
    try:
        return parse_size(section.text or "")
    except ValueError as error:
        raise UnfitError from error


_ACCOUNT = Scalar(
    "a name or a number >= 0",
    _account,
    {
        "type": ["string", "integer"],
        "pattern": r"^[^\u0000]+$",
        "minimum": 0,
        "maximum": _LARGEST_ID,
    },
)
_SIGNAL = Scalar(
    'a signal such as "TERM", "SIGINT" or 15',
    _signal,
    {
        "type": ["string", "integer"],
        "pattern": f"^({_any_case('SIG')})?({'|'.join(map(_any_case, _SIGNAL_NAMES))})$",
        "minimum": 1,
        "maximum": max(signals.valid_signals()),
    },
    lambda number: signal_name(number).removeprefix("SIG"),
)
_LIMIT = Scalar(
    'an integer >= 0, a size such as "64MiB" or "unlimited"',
    _limit,
    {
        "type": ["integer", "string"],
        "minimum": 0,
        "pattern": f"{SIZE_PATTERN}|^{_UNLIMITED}$",
    },
)


@attrs.frozen
class _Rlimit(Kind):
    """One limit for both, or ``{soft, hard}``."""

    def read(self, section: Section, report: Report) -> tuple[int | None, int | None]:
        """Return the soft and the hard limit."""
        if not isinstance(section.value, dict):
            both = _LIMIT.read(section, report)
            return _bounded(both), _bounded(both)
        limits = _SOFT_AND_HARD.read(section, report)
        soft, hard = limits["soft"], limits["hard"]
        if soft is not None and hard is not None and soft > hard:
            shown, bound = section.at("soft").text, section.at("hard").text
            report.refuse(section.at("soft"), f"{shown} is more than the hard limit {bound}")
        return _bounded(soft), _bounded(hard)

    def schema(self) -> Schema:
        """Return either form."""
        return {"anyOf": [_LIMIT.schema(), _SOFT_AND_HARD.schema()]}


def _bounded(limit: Any) -> int | None:
    return limit if isinstance(limit, int) else None


_SOFT_AND_HARD = Group(
    keys=(
        Key("soft", _LIMIT, required=True, description="what holds; the process may raise it"),
        Key("hard", _LIMIT, required=True, description="how far the process may raise it"),
    ),
)


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
        Key("user", _ACCOUNT, description="user the child runs as"),
        Key("group", _ACCOUNT, description="group the child runs as"),
        Key("umask", octal(0o777, "0022"), description="file mode bits taken away"),
        Key("nice", integer(-20, 19), description="scheduling priority"),
        Key(
            "rlimits",
            Group(
                sparse=True,
                keys=tuple(
                    Key(name, _Rlimit(), description=f"the limit --{name} of prlimit(1)")
                    for name in RLIMIT_NAMES
                ),
            ),
            description="resource limits, soft and hard",
        ),
        Key(
            "stop_signal",
            _SIGNAL,
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
