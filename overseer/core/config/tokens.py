"""The tokens of ``auth.tokens``: how they are written, and how their texts become digests."""

from collections.abc import Mapping

from overseer.core.config.kinds import Group, Key, ListOf
from overseer.core.config.scalars import NAME, choice
from overseer.core.config.secrets import ReadFile, check_sources, entries, read_secret, variables
from overseer.core.config.section import Report, Section
from overseer.core.tokens import Identity, Token, digest_of
from overseer.core.yaml_source import format_path

AUTH = Group(
    keys=(
        Key(
            "tokens",
            ListOf(
                item=Group(
                    check=check_sources("token", required=True),
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
    for number, place in enumerate(entries(section), 1):
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
    return variables(entries(section), "token")


def _read_token(
    section: Section,
    default_name: str,
    environment: Mapping[str, str],
    read_file: ReadFile,
    report: Report,
) -> Token | None:
    found = read_secret(section, "token", environment, read_file, report)
    if found is None:
        return None
    place, text = found
    try:
        digest = digest_of(text)
    except ValueError as error:
        report.refuse(place, str(error))
        return None
    name, role = (section.at(key).text for key in ("name", "role"))
    return Token(Identity(name or default_name, "viewer" if role == "viewer" else "admin"), digest)
