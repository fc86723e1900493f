"""The opening handshake of a WebSocket as a client does it (RFC 6455 section 4.1), and what a refusal says."""

import base64
import hashlib
from collections.abc import Mapping

import attrs
import msgspec

from overseer.client.errors import ConnectionRefused, Forbidden, Unauthorized
from overseer.core.subprotocols import SUBPROTOCOL

HEAD_LIMIT = 64 * 1024
"""Bytes of an answer's head and of a refusal's body that are looked at."""
_ACCEPT_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SWITCHING = 101
_UNAUTHORIZED = 401
_FORBIDDEN = 403
_NOT_NOW = frozenset({429, 500, 502, 503, 504})


@attrs.frozen
class Answer:
    """The head of an HTTP answer; the names of ``headers`` are in lower case."""

    status: int
    reason: str
    headers: Mapping[str, str]


def opening_request(*, path: str, authority: str, key: bytes, token: str | None) -> bytes:
    """Return the request that asks for a WebSocket; ``key`` are 16 random bytes."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {authority}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {base64.b64encode(key).decode()}",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Protocol: {SUBPROTOCOL}",
    ]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def parse_answer(head: bytes) -> Answer:
    """Read the head of an answer, without the empty line that ends it.

    :raises ConnectionRefused: when it is no HTTP.
    """
    first, *rest = head.decode("latin-1").split("\r\n")
    version, _, status = first.partition(" ")
    code, _, reason = status.partition(" ")
    if not version.startswith("HTTP/1.") or not code.isdecimal():
        raise ConnectionRefused("what listens there does not speak HTTP", permanent=True)
    headers = {}
    for line in rest:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return Answer(int(code), reason, headers)


def refusal(answer: Answer, body: bytes, *, token_given: bool) -> ConnectionRefused | None:
    """Return why the answer is no WebSocket, in the server's words where it has any; None when it is one."""
    if answer.status == _SWITCHING:
        return None
    words = _error_in(body)
    told = f"{answer.status}: {words or answer.reason or 'no reason given'}"
    if answer.status == _UNAUTHORIZED:
        hint = "the token is not one of auth.tokens" if token_given else "it wants a token"
        return Unauthorized(told if words else f"{told} ({hint})")
    if answer.status == _FORBIDDEN:
        return Forbidden(told)
    return ConnectionRefused(told, permanent=answer.status not in _NOT_NOW)


def check_accepted(answer: Answer, key: bytes) -> None:
    """Make sure that the other side speaks WebSocket and meant this request.

    :raises ConnectionRefused: when it does not.
    """
    digest = hashlib.sha1(base64.b64encode(key) + _ACCEPT_SUFFIX, usedforsecurity=False).digest()
    if answer.headers.get("sec-websocket-accept") != base64.b64encode(digest).decode():
        raise ConnectionRefused("what listens there does not speak WebSocket", permanent=True)


def _error_in(body: bytes) -> str:
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    error = value.get("error") if isinstance(value, dict) else None
    return error if isinstance(error, str) else ""
