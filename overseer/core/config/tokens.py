"""The tokens of ``auth.tokens``: how they are written, and how their texts become digests.

Where a token lies elsewhere, in a file or a variable, it is read when the rest of the configuration is,
so that what is wrong with it is told together with everything else.
"""

from collections.abc import Callable, Mapping
from typing import Any

from overseer.core.config.kinds import Group, Key, ListOf
from overseer.core.config.scalars import NAME, choice
from overseer.core.config.section import Report, Section
from overseer.core.tokens import Identity, Token, digest_of
from overseer.core.yaml_source import format_path

ReadFile = Callable[[str], str]
"""Returns the text of a file; raises OSError or UnicodeDecodeError."""

_SOURCES = ("token", "token_file", "token_env")


def _check_source(section: Section, values: Mapping[str, Any], report: Report) -> None:
    if sum(section.at(name).value is not None for name in _SOURCES) != 1:
        report.refuse(section, f"expected exactly one of {', '.join(_SOURCES)}")


AUTH = Group(
    keys=(
        Key(
            "tokens",
            ListOf(
                item=Group(
                    check=_check_source,
                    keys=(
                        Key("token", NAME, description="the token itself, at least 16 characters"),
                        Key(
                            "token_file",
                            NAME,
                            description="file of the token, read with the configuration",
                        ),
                        Key("token_env", NAME, description="environment variable of the token"),
                        Key(
                            "role",
                            choice("admin", "viewer"),
                            default="admin",
                            description="everything, or only what changes nothing",
                        ),
                        Key("name", NAME, description="who it is, in the log"),
                    ),
                ),
                expected="a list of mappings",
            ),
            default=(),
            description="bearer tokens; with any, every request needs one",
        ),
    ),
)


def read_tokens(
    section: Section, environment: Mapping[str, str], read_file: ReadFile, report: Report
) -> tuple[Token, ...]:
    """Return the tokens of ``auth.tokens``, which ``section`` is and AUTH has checked."""
    tokens: list[Token] = []
    places: dict[object, Section] = {}
    for number, place in enumerate(_entries(section), 1):
        token = _read_token(place, f"token {number}", environment, read_file, report)
        if token is None:
            continue
        for key, what in ((token.identity.name, "name"), (token.digest, "token")):
            if other := places.get(key):
                report.refuse(place, f"has the same {what} as {format_path(other.path)}")
            places.setdefault(key, place)
        tokens.append(token)
    return tuple(tokens)


def token_variables(section: Section) -> frozenset[str]:
    """Return the names of the environment variables that hold tokens."""
    texts = (entry.at("token_env").text for entry in _entries(section))
    return frozenset(text for text in texts if text)


def _entries(section: Section) -> list[Section]:
    count = len(section.value) if isinstance(section.value, list) else 0
    return [section.at(index) for index in range(count)]


def _read_token(
    section: Section,
    default_name: str,
    environment: Mapping[str, str],
    read_file: ReadFile,
    report: Report,
) -> Token | None:
    # What AUTH has refused is passed over.
    written = {name: section.at(name).value for name in _SOURCES}
    found = [(name, value) for name, value in written.items() if value and isinstance(value, str)]
    if len(found) != 1:
        return None
    source, text = found[0]
    place = section.at(source)
    try:
        digest = digest_of(_text_of(source, text, environment, read_file))
    except ValueError as error:
        report.refuse(place, str(error))
        return None
    name, role = (section.at(key).text for key in ("name", "role"))
    return Token(Identity(name or default_name, "viewer" if role == "viewer" else "admin"), digest)


def _text_of(source: str, written: str, environment: Mapping[str, str], read_file: ReadFile) -> str:
    """Return the token. What is ``written`` is never shown: it may be a token at the wrong key."""
    if source == "token":
        return written
    if source == "token_env":
        if not environment.get(written):
            raise ValueError("there is no such environment variable, or it is empty")
        return environment[written]
    try:
        return read_file(written).strip()
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError("the file is no UTF-8 text") from None
