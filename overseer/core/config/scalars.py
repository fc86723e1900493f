"""The single values of a configuration: text, numbers, durations, sizes, modes, choices.

Each is a Scalar with the words that an error uses for it. *Written* kinds take any scalar exactly as
it stands in the file, so that ``default: 1080`` and ``command: [sleep, 5]`` need no quotes.
"""

import math
import re
from collections.abc import Callable
from typing import Any

import attrs

from overseer.core.access import parse_allowed_host, parse_allowed_origin
from overseer.core.config.kinds import Scalar, Schema, UnfitError
from overseer.core.config.section import Section
from overseer.core.durations import DURATION_PATTERN, format_duration, parse_duration
from overseer.core.listen import parse_listen
from overseer.core.networks import parse_network
from overseer.core.sizes import SIZE_PATTERN, format_size, parse_size
from overseer.core.template import TemplateError, compile_template
from overseer.core.yaml_source import describe

_DAYS = re.compile(r"^([0-9]{1,6})d$")
_OCTAL = re.compile(r"(?:0o)?[0-7]{1,6}")


def integer(minimum: int, maximum: int | None = None) -> Scalar:
    """Return the kind of an integer within the bounds, both included."""
    bounds = f">= {minimum}" if maximum is None else f"from {minimum} to {maximum}"

    def convert(section: Section) -> int:
        value = section.value
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise UnfitError
        if maximum is not None and value > maximum:
            raise UnfitError
        return value

    accepts: Schema = {"type": "integer", "minimum": minimum}
    if maximum is not None:
        accepts["maximum"] = maximum
    return Scalar(f"an integer {bounds}", convert, accepts)


def size(minimum: int = 0) -> Scalar:
    """Return the kind of a size in bytes: an integer or a text such as ``64KiB``."""

    def convert(section: Section) -> int:
        try:
            number = parse_size(_number_or_text(section))
        except ValueError as error:
            raise UnfitError(str(error)) from error
        if number < minimum:
            shown = describe(section.value)
            raise UnfitError(f"expected a size >= {format_size(minimum)}, got {shown}")
        return number

    accepts = {"type": ["integer", "string"], "minimum": minimum, "pattern": SIZE_PATTERN}
    return Scalar('a size such as "64KiB" or "1MiB"', convert, accepts, format_size)


def choice(*options: str) -> Scalar:
    """Return the kind of one word out of ``options``."""

    def convert(section: Section) -> str:
        if section.text not in options:
            raise UnfitError
        return section.text

    # Without quotes, YAML reads these two as what they say.
    plain = [value for value in (True, False) if str(value).lower() in options]
    return Scalar(f"one of {', '.join(options)}", convert, {"enum": [*options, *plain]})


def octal(maximum: int, example: str) -> Scalar:
    """Return the kind of a file mode: ``"0660"``, ``0660`` and ``0o660`` all mean the same."""

    def convert(section: Section) -> int:
        text = _number_or_text(section)
        if not _OCTAL.fullmatch(text) or int(text.removeprefix("0o"), 8) > maximum:
            raise UnfitError
        return int(text.removeprefix("0o"), 8)

    # 0660 without quotes is the number 660 to YAML.
    accepts = {
        "type": ["integer", "string"],
        "minimum": 0,
        "maximum": int(f"{maximum:o}"),
        "pattern": f"^{_OCTAL.pattern}$",
    }
    expected = f'an octal number up to {maximum:04o} such as "{example}"'
    return Scalar(expected, convert, accepts, "{:04o}".format)


def _number_or_text(section: Section) -> str:
    if isinstance(section.value, bool) or not isinstance(section.value, int | float | str):
        raise UnfitError
    assert section.text is not None
    return section.text


def _duration(section: Section) -> float | None:
    text = _number_or_text(section)
    if not text:
        # As in the retry policies of the protocol, an empty duration counts as not given.
        return None
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise UnfitError(str(error)) from error
    if seconds < 0:
        raise UnfitError(f"expected a duration >= 0, got {describe(text)}")
    return seconds


def _long_duration(section: Section) -> float | None:
    days = _DAYS.search(section.text or "")
    return float(days[1]) * 86400.0 if days else _duration(section)


def _number(section: Section) -> float:
    value = section.value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnfitError
    if not 0 <= value <= 1e9 or math.isnan(value):
        raise UnfitError
    return value


def _positive_number(section: Section) -> float:
    value = _number(section)
    if not value:
        raise UnfitError
    return value


def _bool(section: Section) -> bool:
    if not isinstance(section.value, bool):
        raise UnfitError
    return section.value


def _text(expected: str, *, written: bool, may_be_empty: bool) -> Scalar:
    def convert(section: Section) -> str:
        text = section.text
        if text is None or not (written or isinstance(section.value, str)):
            raise UnfitError
        if "\0" in text:
            # No argument, variable or file name can hold it.
            raise UnfitError("contains a NUL character")
        if not text and not may_be_empty:
            raise UnfitError
        return text

    accepts = {
        "type": ["string", "number", "boolean"] if written else "string",
        "pattern": rf"^[^\u0000]{'*' if may_be_empty else '+'}$",
    }
    return Scalar(expected, convert, accepts)


def fitting(parse: Callable[[str], object]) -> Scalar:
    """Return the kind of the texts that ``parse`` can read, which stay as they are."""

    def convert(section: Section) -> Any:
        text = WRITTEN_NAME.convert(section)
        try:
            parse(str(text))
        except ValueError as error:
            raise UnfitError(str(error).removeprefix("listen: ")) from error
        return text

    return attrs.evolve(WRITTEN_NAME, convert=convert)


def _template(kind: Scalar) -> Callable[[Section], object]:
    """Return what converts a text of this kind that is to be a template, too."""

    def convert(section: Section) -> object:
        text = kind.convert(section)
        try:
            compile_template(str(text))
        except TemplateError as error:
            raise UnfitError(str(error)) from error
        return text

    return convert


def _written_duration(seconds: float) -> str:
    # Nobody writes 24h0m0s.
    return re.sub(r"(?<=h)0m0s$|(?<=m)0s$", "", format_duration(seconds))


BOOL = Scalar("true or false", _bool, {"type": "boolean"})
DURATION = Scalar(
    'a duration such as "5s" or "1m30s"',
    _duration,
    {"anyOf": [{"type": "string", "pattern": f"^$|{DURATION_PATTERN}"}, {"const": 0}]},
    _written_duration,
)
LONG_DURATION = Scalar(
    'a duration such as "30d" or "12h"',
    _long_duration,
    {
        "anyOf": [
            {"type": "string", "pattern": f"^$|{_DAYS.pattern}|{DURATION_PATTERN}"},
            {"const": 0},
        ]
    },
    _written_duration,
)
SECONDS = Scalar(
    "a number of seconds from 0 to 1000000000",
    _number,
    {"type": "number", "minimum": 0, "maximum": 1_000_000_000},
)
POSITIVE_SECONDS = Scalar(
    "a number of seconds above 0, at most 1000000000",
    _positive_number,
    {"type": "number", "exclusiveMinimum": 0, "maximum": 1_000_000_000},
)
FACTOR = Scalar(
    "a number from 0 to 1000000000",
    _number,
    {"type": "number", "minimum": 0, "maximum": 1_000_000_000},
)
ANYTHING = Scalar("anything", lambda section: section.value, {})

TEXT = _text("text", written=False, may_be_empty=True)
NAME = _text("text that is not empty", written=False, may_be_empty=False)
WRITTEN = _text("text", written=True, may_be_empty=True)
WRITTEN_NAME = _text("text that is not empty", written=True, may_be_empty=False)
LISTEN_ADDRESS = fitting(parse_listen)
ORIGIN = fitting(parse_allowed_origin)
HOST_NAME = fitting(parse_allowed_host)
NETWORK = fitting(parse_network)
# YAML reads an unquoted [[.name]] as a list within a list: the usual mistake, so the error says it.
TEMPLATE = attrs.evolve(
    WRITTEN, expected="text (a template needs quotes)", convert=_template(WRITTEN)
)
TEMPLATE_NAME = attrs.evolve(
    WRITTEN_NAME,
    expected="text that is not empty (a template needs quotes)",
    convert=_template(WRITTEN_NAME),
)
