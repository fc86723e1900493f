"""What the address of an overseer means: ``ws://…``, ``wss://…``, ``unix:/path`` or ``stdio``.

What the daemon logs and shows of itself, ``ws+unix:///path`` for one, is understood as it stands.
"""

from typing import TypeAlias
from urllib.parse import unquote, urlsplit

import attrs

_DEFAULT_PORTS = {"ws": 80, "wss": 443}
_EXPECTED = "expected ws://HOST:PORT/ws, wss://HOST:PORT/ws, unix:/PATH or stdio"


@attrs.frozen
class WebSocketAddress:
    """A WebSocket over TCP, with ``tls`` or without; ``path`` may have a query."""

    host: str
    port: int
    path: str = "/ws"
    tls: bool = False

    @property
    def authority(self) -> str:
        """What the ``Host`` header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = _DEFAULT_PORTS["wss" if self.tls else "ws"]
        return host if self.port == default else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{'wss' if self.tls else 'ws'}://{self.authority}{self.path}"


@attrs.frozen
class UnixSocketAddress:
    """A WebSocket over the Unix socket at ``socket``."""

    socket: str
    path = "/ws"
    authority = "localhost"

    def __str__(self) -> str:
        return f"unix:{self.socket}"


@attrs.frozen
class StdioAddress:
    """An overseer of one's own on stdin and stdout, with the configuration ``config`` if not None."""

    config: str | None = None

    def __str__(self) -> str:
        return "stdio" if self.config is None else f"stdio:{self.config}"


ServerAddress: TypeAlias = WebSocketAddress | UnixSocketAddress | StdioAddress


def parse_address(text: str) -> ServerAddress:
    """Read the address of an overseer.

    :raises ValueError: with what was expected and what came.
    """
    scheme, colon, rest = text.partition(":")
    if text == "stdio" or (scheme == "stdio" and rest):
        return StdioAddress(rest or None)
    if text.startswith(("/", "./", "../")):
        return UnixSocketAddress(text)
    if colon and scheme == "unix" and rest:
        return UnixSocketAddress(rest)
    if scheme == "ws+unix" and rest.startswith("///"):
        return UnixSocketAddress(unquote(rest[2:]))
    if scheme not in _DEFAULT_PORTS:
        raise ValueError(f'{_EXPECTED}, got "{text}"')
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f'{_EXPECTED}, got "{text}": {error}') from None
    if not host or parts.username is not None:
        raise ValueError(f'{_EXPECTED}, got "{text}"')
    path = parts.path if parts.path not in ("", "/") else "/ws"
    return WebSocketAddress(
        host,
        _DEFAULT_PORTS[scheme] if port is None else port,
        f"{path}?{parts.query}" if parts.query else path,
        tls=scheme == "wss",
    )
