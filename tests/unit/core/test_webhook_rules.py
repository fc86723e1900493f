"""Which events go where, how they are signed, and when a delivery is tried again."""

import pytest

from overseer.core.webhooks import (
    ATTEMPTS,
    LONGEST_DELAY,
    Webhook,
    check_url,
    delay_after,
    event_of,
    signature,
    verdict,
)


@pytest.mark.parametrize(
    ("message", "event"),
    [
        ({"type": "exited"}, "exited"),
        ({"type": "errored"}, "errored"),
        ({"type": "dequeued", "reason": "expired"}, "expired"),
        ({"type": "dequeued", "reason": "purged"}, None),
        ({"type": "started"}, None),
        ({}, None),
    ],
)
def test_which_messages_are_events(message: dict[str, object], event: str | None) -> None:
    assert event_of(message) == event


def test_a_webhook_wants_its_events_and_actions() -> None:
    every, some = Webhook(url="u"), Webhook(url="u", events=("errored",), actions=("build",))
    assert every.wants("expired", "whatever")
    assert some.wants("errored", "build")
    assert not some.wants("exited", "build")
    assert not some.wants("errored", "deploy")


def test_the_signature_is_the_one_of_the_rfc() -> None:
    """The second test case of RFC 4231."""
    assert signature(b"Jefe", b"what do ya want for nothing?") == (
        "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        *((200, "delivered"), (204, "delivered"), (302, "refused"), (404, "refused")),
        *((408, "again"), (429, "again"), (500, "again"), (503, "again")),
    ],
)
def test_what_a_status_means(status: int, meaning: str) -> None:
    assert verdict(status) == meaning


def test_the_wait_grows_up_to_a_limit_and_ends() -> None:
    longest = [delay_after(attempt, 1.0) for attempt in range(1, ATTEMPTS)]
    assert longest == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, LONGEST_DELAY]
    assert delay_after(1, 0.0) == 0.5
    assert delay_after(ATTEMPTS, 0.0) is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.org/hooks/secret?key=secret", "https://example.org/…"),
        ("http://[::1]:8080/", "http://::1:8080/…"),
    ],
)
def test_what_follows_the_host_is_not_shown(url: str, shown: str) -> None:
    check_url(url)
    hook = Webhook(url=url, secret=b"secret")
    assert hook.shown == shown
    assert "secret" not in repr(hook)


@pytest.mark.parametrize(
    "url",
    ["example.org", "ftp://example.org", "http://", "http://a:b@example.org", "http://a:99999"],
)
def test_what_is_no_url_for_this(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        check_url(url)
