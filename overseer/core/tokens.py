"""Bearer tokens: what one must look like, and whose it is (protocol.md section 1, row "tokens").

Only digests are kept, so no log line and no traceback can show a token. A plain SHA-256 does: a token is
random and long, not a password that somebody could guess.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable
from typing import Literal, TypeAlias

import attrs

Role: TypeAlias = Literal["admin", "viewer"]
"""What a client may do: everything, or only look."""

SHORTEST_TOKEN = 16

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 section 2.1


@attrs.frozen
class Identity:
    """Who a client is: the ``name`` of its token, and its role."""

    name: str
    role: Role


LOCAL_ADMIN = Identity("", "admin")
"""A client that showed no token and needs none."""


@attrs.frozen
class Token:
    """A token that is let in, as the SHA-256 of its text."""

    identity: Identity
    digest: bytes = attrs.field(repr=False)


def digest_of(text: str) -> bytes:
    """Return what is kept of a token.

    :raises ValueError: when it is none; the message does not show it.
    """
    if len(text) < SHORTEST_TOKEN:
        raise ValueError(f"expected at least {SHORTEST_TOKEN} characters")
    if not _TOKEN.fullmatch(text):
        raise ValueError("expected letters, digits and - . _ ~ + /, with = at its end only")
    return _digest(text)


def identify(text: str, tokens: Iterable[Token]) -> Identity | None:
    """Return whose token ``text`` is, after the same time wherever it stands among ``tokens``."""
    digest = _digest(text)
    found = None
    for token in tokens:
        if hmac.compare_digest(digest, token.digest):
            found = token.identity
    return found


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
