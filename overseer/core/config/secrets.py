"""Texts that must not be seen: they stand in the configuration, in a file, or in an environment variable.

Where one lies elsewhere it is read when the rest of the configuration is, so that what is wrong with it is
told together with everything else.
"""

from collections.abc import Callable, Mapping
from typing import Any

from overseer.core.config.section import Report, Section

ReadFile = Callable[[str], str]
"""Returns the text of a file; raises OSError or UnicodeDecodeError."""


def sources(name: str) -> tuple[str, str, str]:
    """Return the keys that a secret may stand at: itself, its file, its variable."""
    return name, f"{name}_file", f"{name}_env"


def check_sources(
    name: str, *, required: bool
) -> Callable[[Section, Mapping[str, Any], Report], None]:
    """Return the check of a group that a secret stands at one of its keys, or at none where it may."""

    def check(section: Section, _values: Mapping[str, Any], report: Report) -> None:
        count = sum(section.at(key).value is not None for key in sources(name))
        if count > 1 or (required and not count):
            how = "exactly" if required else "at most"
            report.refuse(section, f"expected {how} one of {', '.join(sources(name))}")

    return check


def read_secret(
    section: Section, name: str, environment: Mapping[str, str], read_file: ReadFile, report: Report
) -> tuple[Section, str] | None:
    """Return a secret and where it stands; None where there is none, or none can be read, which is noted.

    What the check of its group has refused is passed over. No error shows what is written: it may be the secret
    itself at the wrong key.
    """
    written = {key: section.at(key).value for key in sources(name)}
    found = [(key, value) for key, value in written.items() if value and isinstance(value, str)]
    if len(found) != 1:
        return None
    key, text = found[0]
    place = section.at(key)
    try:
        return place, _text_of(key, name, text, environment, read_file)
    except ValueError as error:
        report.refuse(place, str(error))
        return None


def variables(sections: list[Section], name: str) -> frozenset[str]:
    """Return the names of the environment variables that secrets are read from."""
    texts = (section.at(sources(name)[2]).text for section in sections)
    return frozenset(text for text in texts if text)


def entries(section: Section) -> list[Section]:
    """Return the places of the items of a list."""
    count = len(section.value) if isinstance(section.value, list) else 0
    return [section.at(index) for index in range(count)]


def _text_of(
    key: str, name: str, written: str, environment: Mapping[str, str], read_file: ReadFile
) -> str:
    _, in_file, in_environment = sources(name)
    if key == in_environment:
        if not environment.get(written):
            raise ValueError("there is no such environment variable, or it is empty")
        return environment[written]
    if key != in_file:
        return written
    try:
        return read_file(written).strip()
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError("the file is no UTF-8 text") from None
