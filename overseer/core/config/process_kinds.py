"""The kinds of values that say how a process runs: accounts, signals and resource limits."""

import signal as signals
from typing import Any

import attrs

from overseer.core.config.kinds import Group, Key, Kind, Scalar, Schema, UnfitError
from overseer.core.config.section import Report, Section
from overseer.core.process import SIGNALS, signal_name, signal_number
from overseer.core.sizes import SIZE_PATTERN, parse_size

_RLIMIT_NAMES = (
    *("as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile"),
    *("nproc", "rss", "rtprio", "rttime", "sigpending", "stack"),
)
_SIGNAL_NAMES = tuple(name.removeprefix("SIG") for name in SIGNALS)
_LARGEST_ID = 2**32 - 2
_UNLIMITED = "unlimited"


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


ACCOUNT = Scalar(
    "a name or a number >= 0",
    _account,
    {
        "type": ["string", "integer"],
        "pattern": r"^[^\u0000]+$",
        "minimum": 0,
        "maximum": _LARGEST_ID,
    },
)
SIGNAL = Scalar(
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
LIMIT = Scalar(
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
            both = LIMIT.read(section, report)
            return _bounded(both), _bounded(both)
        limits = _SOFT_AND_HARD.read(section, report)
        soft, hard = limits["soft"], limits["hard"]
        if soft is not None and hard is not None and soft > hard:
            shown, bound = section.at("soft").text, section.at("hard").text
            report.refuse(section.at("soft"), f"{shown} is more than the hard limit {bound}")
        return _bounded(soft), _bounded(hard)

    def schema(self) -> Schema:
        """Return either form."""
        return {"anyOf": [LIMIT.schema(), _SOFT_AND_HARD.schema()]}


def _bounded(limit: Any) -> int | None:
    return limit if isinstance(limit, int) else None


_SOFT_AND_HARD = Group(
    keys=(
        Key("soft", LIMIT, required=True, description="what holds; the process may raise it"),
        Key("hard", LIMIT, required=True, description="how far the process may raise it"),
    ),
)

RLIMITS = Group(
    sparse=True,
    keys=tuple(
        Key(name, _Rlimit(), description=f"the limit --{name} of prlimit(1)")
        for name in _RLIMIT_NAMES
    ),
)
"""Sixteen keys of a kind."""
