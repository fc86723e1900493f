"""Which requests are refused before anything else looks at them, and with what words.

The rules are those of protocol.md section 1, rows "who may connect", "browsers" and "tokens". A web page runs
on the user's own machine, so where a request comes from says nothing about who asks: a page of
another site (cross-site WebSocket hijacking) is told by its ``Origin``, and a site whose name was
pointed at this machine (DNS rebinding, where the origin looks the same) by its ``Host``.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import attrs

from overseer.core.networks import (
    Network,
    is_inside,
    is_loopback,
    parse_address,
    parse_network,
)
from overseer.core.subprotocols import SUBPROTOCOL, TOKEN_SUBPROTOCOL
from overseer.core.tokens import LOCAL_ADMIN, Identity, Token, identify

LOOPBACK_PATHS = frozenset({"/healthz", "/readyz", "/openapi.json", "/ws/manifest"})
"""What loopback may ask whatever ``trusted_cidrs`` says."""
OPEN_PATHS = frozenset({"/healthz"})
"""What needs no token."""

_AUTHORITY = re.compile(  # RFC 3986 section 3.2 without user names
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[\w.~%!$&'()*+,;=-]*))(?::(?P<port>[0-9]{0,5}))?",
    re.ASCII,
)
_ORIGIN = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<authority>.*)", re.ASCII | re.IGNORECASE)
_HOST_NAME = re.compile(r"[\w.-]+", re.ASCII)
_DEFAULT_PORTS = {"http": 80, "https": 443}

_Authority: TypeAlias = tuple[str, int | None]
"""Host in lower case and without brackets, and port."""

_Origin: TypeAlias = tuple[str, str, int | None]
"""Scheme, host, port with the scheme's default filled in (RFC 6454 section 4)."""


@attrs.frozen
class Refusal:
    """The answer to a request that is not let in: an HTTP status and the text for the client."""

    status: int
    reason: str


@attrs.frozen(kw_only=True)
class RequestHead:
    """What the rules look at.

    ``peer`` is the client's IP address, None over a Unix socket. ``hosts``, ``origins``,
    ``authorizations`` and ``subprotocols`` are the values of every Host, Origin, Authorization and
    Sec-WebSocket-Protocol header. ``fetch_metadata`` tells whether any ``Sec-Fetch-*`` header was
    there, ``needs_host`` whether the HTTP version is one that demands a Host (1.1), ``tls`` whether
    the request came encrypted.
    """

    path: str
    peer: str | None
    hosts: Sequence[str]
    origins: Sequence[str]
    authorizations: Sequence[str] = attrs.field(default=(), repr=False)
    subprotocols: Sequence[str] = attrs.field(default=(), repr=False)
    fetch_metadata: bool = False
    needs_host: bool = True
    tls: bool = False


def parse_allowed_origin(text: str) -> _Origin:
    """Read one entry of ``allowed_origins``.

    :raises ValueError: when it is no origin; a wildcard is none.
    """
    origin = _parse_origin(text)
    if origin is None:
        raise ValueError(f'expected an origin such as https://example.org, got "{text}"')
    return origin


def parse_allowed_host(text: str) -> str:
    """Read one entry of ``allowed_hosts``.

    :raises ValueError: when it is no host name.
    """
    name = text.lower()
    if not _HOST_NAME.fullmatch(name):
        raise ValueError(f'expected a host name without scheme and port, got "{text}"')
    return name


def _to_origins(texts: Iterable[str]) -> frozenset[_Origin]:
    try:
        return frozenset(map(parse_allowed_origin, texts))
    except ValueError as error:
        raise ValueError(f"allowed_origins: {error}") from None


def _to_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    try:
        return tuple(map(parse_network, texts))
    except ValueError as error:
        raise ValueError(f"trusted_cidrs: {error}") from None


def _to_lower_case(texts: Iterable[str]) -> frozenset[str]:
    return frozenset(text.lower() for text in texts)


def _to_host_names(texts: Iterable[str]) -> frozenset[str]:
    try:
        return frozenset(map(parse_allowed_host, texts))
    except ValueError as error:
        raise ValueError(f"allowed_hosts: {error}") from None


@attrs.frozen(kw_only=True)
class AccessRules:
    """Decides about requests by the keys of the configuration that are called like the fields here.

    Where ``trusted_cidrs`` is empty, loopback and what ``own_networks`` returns are trusted.
    ``own_names`` are the names of this machine. There is no wildcard for origins and hosts: ``*``
    would let any web page start processes.

    :raises ValueError: for an entry that is none; the message names the key.
    """

    trusted_cidrs: tuple[Network, ...] = attrs.field(default=(), converter=_to_networks)
    own_networks: Callable[[], Iterable[Network]] = tuple
    tokens: tuple[Token, ...] = ()

    allowed_origins: frozenset[_Origin] = attrs.field(default=frozenset(), converter=_to_origins)
    allowed_hosts: frozenset[str] = attrs.field(default=frozenset(), converter=_to_host_names)
    own_names: frozenset[str] = attrs.field(default=frozenset(), converter=_to_lower_case)

    def admit(self, head: RequestHead) -> Identity | Refusal:
        """Say who sent the request, or why it may not come in."""
        if head.peer is not None and not self._trusts(head.peer, head.path):
            return Refusal(403, f'peer "{head.peer}" is refused: it is outside trusted_cidrs')
        fault = _header_fault(head)
        if fault is not None:
            return Refusal(400, fault)
        if head.peer is None:
            return LOCAL_ADMIN  # trusted by file permission, and no browser opens a Unix socket
        # Without either it is no browser: nobody but the client itself chose the Host.
        if head.origins or head.fetch_metadata:
            refusal = self._browser_refusal(head)
            if refusal is not None:
                return refusal
        if not self.tokens or head.path in OPEN_PATHS:
            return LOCAL_ADMIN
        token = _sent_token(head)
        if token is None:
            return Refusal(401, "a token is needed: Authorization: Bearer TOKEN")
        return identify(token, self.tokens) or Refusal(401, "this token is not known")

    def _trusts(self, peer: str, path: str) -> bool:
        if is_loopback(peer) and (not self.trusted_cidrs or path in LOOPBACK_PATHS):
            return True
        return is_inside(peer, self.trusted_cidrs or self.own_networks())

    def _browser_refusal(self, head: RequestHead) -> Refusal | None:
        host = (_split_authority(head.hosts[0]) if head.hosts else None) or ("", None)
        for origin in head.origins:
            if not self._allows_origin(origin, host, tls=head.tls):
                reason = f'origin "{origin}" is refused: allowed_origins does not list it'
                return Refusal(403, reason)
        # With tokens a rebound name gains nothing: its page knows none.
        if not self.tokens and not self._allows_host(host[0]):
            reason = f'host "{host[0]}" is refused to browsers: allowed_hosts does not list it'
            return Refusal(403, reason)
        return None

    def _allows_origin(self, text: str, host: _Authority, *, tls: bool) -> bool:
        origin = _parse_origin(text)  # None for "null", which therefore equals nothing
        own = _to_origin("https" if tls else "http", host)
        return origin is not None and (origin == own or origin in self.allowed_origins)

    def _allows_host(self, host: str) -> bool:
        # An IP literal can't be rebound: no name was looked up.
        named = {"localhost", *self.own_names, *self.allowed_hosts}
        return host in named or parse_address(host) is not None


def _offered_subprotocols(head: RequestHead) -> list[str]:
    return [name.strip() for value in head.subprotocols for name in value.split(",")]


def _sent_token(head: RequestHead) -> str | None:
    """Return the token by its header, or from a browser by its subprotocol (RFC 6455 section 11.3.4)."""
    for value in head.authorizations:
        scheme, _, token = value.partition(" ")
        return token.strip() if scheme.lower() == "bearer" else None
    offered = _offered_subprotocols(head)
    tokens = [name for name in offered if name.startswith(TOKEN_SUBPROTOCOL)]
    if len(tokens) != 1 or SUBPROTOCOL not in offered:
        return None  # nothing could be selected that shows no token
    return tokens[0].removeprefix(TOKEN_SUBPROTOCOL)


def _header_fault(head: RequestHead) -> str | None:
    """Tell what makes the request malformed (RFC 9112 section 3.2, RFC 6455 section 4.1), or None."""
    single = {"Host": head.hosts, "Origin": head.origins, "Authorization": head.authorizations}
    for name, values in single.items():
        if len(values) > 1:
            return f"more than one {name} header"
    if not head.hosts and head.needs_host:
        return "no Host header"
    if head.hosts and _split_authority(head.hosts[0]) is None:
        return f'malformed Host header "{head.hosts[0]}"'
    offered = _offered_subprotocols(head)
    if len(set(offered)) < len(offered):
        # Autobahn would refuse it too, and show it, even where it holds a token.
        return "a subprotocol is offered more than once"
    return None


def _split_authority(text: str) -> _Authority | None:
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        return None
    host = (match["v6"] or match["name"] or "").lower()
    return host, int(match["port"]) if match["port"] else None


def _parse_origin(text: str) -> _Origin | None:
    match = _ORIGIN.fullmatch(text)
    authority = _split_authority(match["authority"]) if match else None
    return _to_origin(match["scheme"].lower(), authority) if match and authority else None


def _to_origin(scheme: str, authority: _Authority) -> _Origin:
    host, port = authority
    return scheme, host, _DEFAULT_PORTS.get(scheme) if port is None else port
