"""Which events are told to which URL, how a delivery is signed, and when it is tried again."""

import hashlib
import hmac
from typing import Literal, get_args
from urllib.parse import urlsplit

import attrs

Event = Literal["exited", "errored", "expired"]
EVENTS: tuple[Event, ...] = get_args(Event)

QUEUE_SIZE = 1000
"""Events that may wait for one URL; the oldest are dropped for newer ones."""
ATTEMPTS = 8
"""How often one event is sent at most."""
FIRST_DELAY, LONGEST_DELAY = 1.0, 60.0
"""Seconds before the second attempt, doubled for each further one, and the most that this comes to."""

Verdict = Literal["delivered", "again", "refused"]
_TOO_EARLY_OR_TOO_MANY = (408, 425, 429)


@attrs.frozen(kw_only=True)
class Webhook:
    """One URL that events are sent to. ``timeout`` is in seconds; no ``actions`` means all of them."""

    url: str = attrs.field(repr=False)
    events: tuple[Event, ...] = EVENTS
    actions: tuple[str, ...] = ()
    secret: bytes = attrs.field(default=b"", repr=False)
    timeout: float = 10.0

    @property
    def shown(self) -> str:
        """The URL as a log may show it: what comes after the host may be a secret."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}/…"

    def wants(self, event: Event, action: str) -> bool:
        """Return whether an event of an action is sent there."""
        return event in self.events and (not self.actions or action in self.actions)


def check_url(text: str) -> None:
    """Check the URL of a webhook.

    :raises ValueError: when nothing can be sent there.
    """
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("expected a URL that begins with http:// or https://")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL with a user or a password is not supported: use secret")
    _ = parts.port  # raises for one out of range


def event_of(message: dict[str, object]) -> Event | None:
    """Return which event a message of the protocol is; most are none."""
    kind = message.get("type")
    if kind == "exited":
        return "exited"
    if kind == "errored":
        return "errored"
    return "expired" if kind == "dequeued" and message.get("reason") == "expired" else None


def signature(secret: bytes, body: bytes) -> str:
    """Return what proves that ``body`` comes from who knows the secret: HMAC-SHA256 (RFC 2104)."""
    return f"sha256={hmac.new(secret, body, hashlib.sha256).hexdigest()}"


def verdict(status: int) -> Verdict:
    """Return what an HTTP status means for a delivery: a redirection is not followed."""
    if 200 <= status < 300:
        return "delivered"
    return "again" if status >= 500 or status in _TOO_EARLY_OR_TOO_MANY else "refused"


def delay_after(attempt: int, random: float) -> float | None:
    """Return the seconds before the next attempt, None when there is none; ``random`` is in [0, 1).

    Between half and all of the doubled delay, so that daemons which lost a receiver do not come back as one.
    """
    if attempt >= ATTEMPTS:
        return None
    delay = min(FIRST_DELAY * 2.0 ** (attempt - 1), LONGEST_DELAY)
    return delay * (0.5 + random / 2)
