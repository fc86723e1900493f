"""Who may connect, as it is configured: ``trusted_cidrs`` and ``auth.tokens``."""

import pytest

from overseer.core.config import Config, ConfigError, load_config
from overseer.core.tokens import Identity, Token, digest_of

SECRET = "0123456789abcdef"
FILES = {
    "/run/token": f"{SECRET}-of-file\n",
    "/run/short": "0123456789abcde\n",
    "/run/empty": "\n",
}


def read_file(name: str) -> str:
    if name == "/run/latin":
        return b"\xe4".decode()
    if name not in FILES:
        raise FileNotFoundError(2, "No such file or directory", name)
    return FILES[name]


def load(text: str, **environment: str) -> Config:
    return load_config(text, "config.yaml", environment, read_file=read_file)


def problems(text: str, **environment: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(text, **environment)
    assert SECRET not in str(caught.value)
    return [str(problem).removeprefix("config.yaml:") for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("trusted_cidrs: ''", ()),
        ("trusted_cidrs: ' , '", ()),
        ("trusted_cidrs: []", ()),
        ("trusted_cidrs: 10.0.0.0/8", ("10.0.0.0/8",)),
        ("trusted_cidrs: ' 10.0.0.0/8 ,::1,, 192.0.2.1'", ("10.0.0.0/8", "::1", "192.0.2.1")),
        ("trusted_cidrs: ['fd00::/8', 192.168.1.7/24]", ("fd00::/8", "192.168.1.7/24")),
    ],
)
def test_trusted_networks(text: str, expected: tuple[str, ...]) -> None:
    """One text with commas, or a list; nothing means: find out by yourself."""
    config = load(text)
    assert config.trusted_cidrs == expected
    assert config.warnings == ()


def test_the_variable_wins() -> None:
    """``OVERSEER_TRUSTED_CIDRS`` goes before the file, unless it is empty."""
    text = "trusted_cidrs: 10.0.0.0/8"
    assert load(text, OVERSEER_TRUSTED_CIDRS="::1, 192.0.2.1").trusted_cidrs == ("::1", "192.0.2.1")
    assert load(text, OVERSEER_TRUSTED_CIDRS="").trusted_cidrs == ("10.0.0.0/8",)


def test_bad_networks_are_told_with_their_places() -> None:
    """Each of them, in the file and in the variable."""
    expected = "expected an IP address or a network such as 10.0.0.0/8, got"
    assert problems(
        "name: x\ntrusted_cidrs: 10.0.0.0/33, ::1, lan", OVERSEER_TRUSTED_CIDRS="*"
    ) == [
        f'2: trusted_cidrs: {expected} "10.0.0.0/33"',
        f'2: trusted_cidrs: {expected} "lan"',
        f'OVERSEER_TRUSTED_CIDRS: {expected} "*"',
    ]
    assert problems("trusted_cidrs:\n- ::1\n- 10.0.0.0/255.0.0.0\n- []") == [
        f'3: trusted_cidrs[1]: {expected} "10.0.0.0/255.0.0.0"',
        "4: trusted_cidrs[2]: expected text that is not empty, got a list",
    ]
    assert problems("trusted_cidrs: true") == [
        "1: trusted_cidrs: expected a comma-separated text or a list, got true"
    ]


def test_tokens_of_every_source() -> None:
    """In the file, in a file of its own, in a variable; a client is an admin unless told otherwise."""
    config = load(
        f"""
        auth:
          tokens:
            - {{token: {SECRET}}}
            - {{token_file: /run/token, role: viewer, name: wall}}
            - {{token_env: MY_TOKEN, role: admin}}
        """,
        MY_TOKEN=f"{SECRET}-of-variable",
    )
    assert config.tokens == (
        Token(Identity("token 1", "admin"), digest_of(SECRET)),
        Token(Identity("wall", "viewer"), digest_of(f"{SECRET}-of-file")),
        Token(Identity("token 3", "admin"), digest_of(f"{SECRET}-of-variable")),
    )
    assert config.token_variables == {"MY_TOKEN"}
    assert SECRET not in repr(config)


@pytest.mark.parametrize("text", ["auth: ~", "auth: {}", "auth: {tokens: ~}", "auth: {tokens: []}"])
def test_no_tokens(text: str) -> None:
    """Nothing given is nothing asked for."""
    config = load(text)
    assert config.tokens == ()
    assert config.warnings == ()


ONE_SOURCE = "expected exactly one of token, token_file, token_env"
LENGTH = "expected at least 16 characters"


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("{}", [f"1: auth.tokens[0]: {ONE_SOURCE}"]),
        ("~", [f"1: auth.tokens[0]: {ONE_SOURCE}"]),
        (f"{{token: {SECRET}, token_env: X}}", [f"1: auth.tokens[0]: {ONE_SOURCE}"]),
        ("{token: 0123456789abcde}", [f"1: auth.tokens[0].token: {LENGTH}"]),
        ("{token: ''}", ["1: auth.tokens[0].token: expected text that is not empty"]),
        ("{token: 1234567890123456}", ["1: auth.tokens[0].token: expected text that is not empty"]),
        (
            f"{{token: '{SECRET} x'}}",
            [
                "1: auth.tokens[0].token: expected letters, digits and - . _ ~ + /, with = at its end only"
            ],
        ),
        ("{token_file: /run/short}", [f"1: auth.tokens[0].token_file: {LENGTH}"]),
        ("{token_file: /run/empty}", [f"1: auth.tokens[0].token_file: {LENGTH}"]),
        ("{token_file: /run/latin}", ["1: auth.tokens[0].token_file: the file is no UTF-8 text"]),
        (
            f"{{token_file: {SECRET}}}",
            ["1: auth.tokens[0].token_file: the file cannot be read: No such file or directory"],
        ),
        (
            f"{{token_env: {SECRET}}}",
            [
                "1: auth.tokens[0].token_env: there is no such environment variable, or it is empty",
            ],
        ),
        (
            f"{{token: {SECRET}, role: {SECRET}}}",
            ["1: auth.tokens[0].role: expected one of admin, viewer"],
        ),
        (
            f"{{tokn: {SECRET}}}",
            ['1: auth.tokens[0].tokn: unknown key, did you mean "token"?', ONE_SOURCE],
        ),
        (SECRET, ["1: auth.tokens[0]: expected a mapping"]),
    ],
)
def test_bad_tokens(entry: str, expected: list[str]) -> None:
    """Each is told with its place, and none shows what stands there: it may be a token."""
    found = problems(f"auth: {{tokens: [{entry}]}}")
    assert len(found) == len(expected)
    assert all(text in problem for text, problem in zip(expected, found, strict=True))


@pytest.mark.parametrize(
    "text", [f"auth: {SECRET}", f"auth: {{tokens: {SECRET}}}", f"auth: [{SECRET}]"]
)
def test_tokens_at_the_wrong_place_are_not_shown(text: str) -> None:
    """What was expected is told, not what came."""
    (problem,) = problems(text)
    assert "expected a" in problem


def test_tokens_and_names_are_unique() -> None:
    """One token could not be two clients, and one name in the log not two tokens."""
    text = f"""
name: 5
auth:
  tokens:
    - {{token: {SECRET}, name: a}}
    - {{token: {SECRET}-x, name: a}}
    - {{token_env: SAME}}
"""
    assert problems(text, SAME=SECRET) == [
        "2: name: expected text that is not empty, got 5",
        "6: auth.tokens[1]: has the same name as auth.tokens[0]",
        "7: auth.tokens[2]: has the same token as auth.tokens[0]",
    ]
