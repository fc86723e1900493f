"""The single values of a configuration: text, numbers, durations, sizes, modes, choices.

Each is a Scalar with the words that an error uses for it. *Written* kinds take any scalar exactly as
it stands in the file, so that ``default: 1080`` and ``command: [sleep, 5]`` need no quotes.
"""

import math
import re
from collections.abc import Callable

from overseer.core.access import parse_allowed_host, parse_allowed_origin
from overseer.core.config.kinds import Scalar, UnfitError
from overseer.core.config.section import Section
from overseer.core.durations import parse_duration
from overseer.core.listen import parse_listen
from overseer.core.sizes import format_size, parse_size
from overseer.core.yaml_source import describe

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

    return Scalar(f"an integer {bounds}", convert)


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

    return Scalar('a size such as "64KiB" or "1MiB"', convert)


def choice(*options: str) -> Scalar:
    """Return the kind of one word out of ``options``."""

    def convert(section: Section) -> str:
        if section.text not in options:
            raise UnfitError
        return section.text

    return Scalar(f"one of {', '.join(options)}", convert)


def octal(maximum: int, example: str) -> Scalar:
    """Return the kind of a file mode: ``"0660"``, ``0660`` and ``0o660`` all mean the same."""

    def convert(section: Section) -> int:
        text = _number_or_text(section)
        if not _OCTAL.fullmatch(text) or int(text.removeprefix("0o"), 8) > maximum:
            raise UnfitError
        return int(text.removeprefix("0o"), 8)

    return Scalar(f'an octal number up to {maximum:04o} such as "{example}"', convert)


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


def _number(section: Section) -> float:
    value = section.value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnfitError
    if not 0 <= value <= 1e9 or math.isnan(value):
        raise UnfitError
    return value


def _bool(section: Section) -> bool:
    if not isinstance(section.value, bool):
        raise UnfitError
    return section.value


def _text(written: bool, may_be_empty: bool) -> Callable[[Section], str]:
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

    return convert


def _fitting(parse: Callable[[str], object]) -> Callable[[Section], str]:
    """Return a conversion that takes the texts that ``parse`` can read, as they are."""

    read = _text(written=True, may_be_empty=False)

    def convert(section: Section) -> str:
        text = read(section)
        try:
            parse(text)
        except ValueError as error:
            raise UnfitError(str(error).removeprefix("listen: ")) from error
        return text

    return convert


BOOL = Scalar("true or false", _bool)
DURATION = Scalar('a duration such as "5s" or "1m30s"', _duration)
SECONDS = Scalar("a number of seconds from 0 to 1000000000", _number)
ANYTHING = Scalar("anything", lambda section: section.value)

TEXT = Scalar("text", _text(written=False, may_be_empty=True))
NAME = Scalar("text that is not empty", _text(written=False, may_be_empty=False))
WRITTEN = Scalar("text", _text(written=True, may_be_empty=True))
WRITTEN_NAME = Scalar("text that is not empty", _text(written=True, may_be_empty=False))
LISTEN_ADDRESS = Scalar("text that is not empty", _fitting(parse_listen))
ORIGIN = Scalar("text that is not empty", _fitting(parse_allowed_origin))
HOST_NAME = Scalar("text that is not empty", _fitting(parse_allowed_host))
# YAML reads an unquoted [[.name]] as a list within a list: the usual mistake, so the error says it.
TEMPLATE = Scalar("text (a template needs quotes)", WRITTEN.convert)
TEMPLATE_NAME = Scalar("text that is not empty (a template needs quotes)", WRITTEN_NAME.convert)
