"""URLs that are told how tasks end, as they are configured."""

import pytest

from overseer.core.config import Config, ConfigError, load_config
from overseer.core.webhooks import Webhook

SECRET = "0123456789abcdef"


def read_file(name: str) -> str:
    if name != "/run/secret":
        raise FileNotFoundError(2, "No such file or directory", name)
    return f"{SECRET} of a file\n"


def load(text: str) -> Config:
    text = (
        f"actions: {{build: {{type: exec, config: {{entrypoint: make}}}}}}\nwebhooks:\n- {text}\n"
    )
    environment = {"HOOK": f"{SECRET} of a variable"}
    return load_config(text, "config.yaml", environment, read_file=read_file)


def problem(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(text)
    (found,) = caught.value.problems
    assert SECRET not in str(found)
    return str(found).removeprefix("config.yaml:3: webhooks[0]")


def test_defaults() -> None:
    assert load("url: https://example.org/hook").webhooks == (
        Webhook(
            url="https://example.org/hook",
            events=("exited", "errored", "expired"),
            actions=(),
            secret=b"",
            timeout=10.0,
        ),
    )
    assert load_config("", "config.yaml").webhooks == ()


@pytest.mark.parametrize(
    ("source", "secret"),
    [
        (f"secret: {SECRET}", SECRET),
        ("secret_file: /run/secret", f"{SECRET} of a file"),
        ("secret_env: HOOK", f"{SECRET} of a variable"),
    ],
)
def test_everything(source: str, secret: str) -> None:
    """A variable with a secret is no child's business."""
    text = f"{{url: 'http://h', events: [errored], actions: [build], timeout: 1s, {source}}}"
    config = load(text)
    assert config.webhooks == (
        Webhook(
            url="http://h",
            events=("errored",),
            actions=("build",),
            secret=secret.encode(),
            timeout=1.0,
        ),
    )
    assert config.token_variables == ({"HOOK"} if "env" in source else set())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("events: [exited]", ".url: is required"),
        (f"url: {SECRET}", ".url: expected a URL that begins with http:// or https://, without a password"),
        ("{url: 'http://h', events: []}", ".events: expected a list of events, got an empty list"),
        ("{url: 'http://h', events: [started]}",
         ".events[0]: expected one of exited, errored, expired"),
        ("{url: 'http://h', actions: [bild]}", ".actions[0]: there is no such action"),
        (f"{{url: 'http://h', secret: {SECRET}, secret_env: HOOK}}",
         ": expected at most one of secret, secret_file, secret_env"),
        ("{url: 'http://h', secret_env: GONE}",
         ".secret_env: there is no such environment variable, or it is empty"),
        ("{url: 'http://h', secret_file: /run/gone}",
         ".secret_file: the file cannot be read: No such file or directory"),
        (f"{{url: 'http://h', timeout: {SECRET}}}",
         '.timeout: expected a duration such as "5s" or "1m30s"' ),
        ("{url: 'http://h', timeout: 0s}",
         ".timeout: expected a duration above 0s: nothing answers in none"),
        (SECRET, ": expected a mapping"),
    ],
)  # fmt: skip
def test_mistakes_are_told_without_what_may_be_secret(text: str, message: str) -> None:
    assert problem(text) == message
