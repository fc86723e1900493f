"""The keys of ``webhooks``, and how what is written there becomes webhooks."""

from collections.abc import Mapping
from typing import Any

import attrs

from overseer.core.config.kinds import Group, Key, ListOf
from overseer.core.config.scalars import DURATION, NAME, WRITTEN_NAME, choice, fitting
from overseer.core.config.secrets import ReadFile, check_sources, entries, read_secret, variables
from overseer.core.config.section import Report, Section
from overseer.core.webhooks import EVENTS, Webhook, check_url

_check_secret = check_sources("secret", required=False)


def _check(section: Section, values: Mapping[str, Any], report: Report) -> None:
    _check_secret(section, values, report)
    if values["timeout"] == 0:
        report.refuse(
            section.at("timeout"), "expected a duration above 0s: nothing answers in none"
        )


_URL = attrs.evolve(
    fitting(check_url), expected="a URL that begins with http:// or https://, without a password"
)

WEBHOOKS = ListOf(
    item=Group(
        check=_check,
        keys=(
            Key("url", _URL, required=True, description="where events are sent"),
            Key(
                "events",
                ListOf(item=choice(*EVENTS), expected="a list of events", may_be_empty=False),
                default=EVENTS,
                description="which events",
            ),
            Key(
                "actions",
                ListOf(item=WRITTEN_NAME, expected="a list of actions"),
                default=(),
                description="of which actions; of all when empty",
            ),
            Key("secret", NAME, description="what deliveries are signed with"),
            Key("secret_file", NAME, description="file of the secret, read with the configuration"),
            Key("secret_env", NAME, description="environment variable of the secret"),
            Key("timeout", DURATION, default=10.0, description="how long an answer may take"),
        ),
    ),
    expected="a list of mappings",
)


def read_webhooks(
    section: Section,
    values: tuple[Mapping[str, Any] | None, ...],
    environment: Mapping[str, str],
    read_file: ReadFile,
    report: Report,
) -> tuple[Webhook, ...]:
    """Return the webhooks; ``values`` is what WEBHOOKS has read in ``section``."""
    hooks = []
    for place, keys in zip(entries(section), values, strict=True):
        if keys is None or keys["url"] is None:
            continue  # told already
        found = read_secret(place, "secret", environment, read_file, report)
        hooks.append(
            Webhook(
                url=keys["url"],
                events=keys["events"],
                actions=keys["actions"],
                secret=b"" if found is None else found[1].encode(),
                timeout=keys["timeout"],
            )
        )
    return tuple(hooks)


def webhook_variables(section: Section) -> frozenset[str]:
    """Return the names of the environment variables that hold secrets of webhooks."""
    return variables(entries(section), "secret")
