"""What one ``listen`` string means: a TCP address, a Unix socket, stdio, or a Twisted endpoint.

The forms are those of protocol.md section 1, row "listeners". A string that could be read in two
ways is read as that row says: ``unix:`` is overseer's own Unix socket (private by default), never
Twisted's.
"""

import ipaddress
import re
from typing import TypeAlias

import attrs

_TCP = re.compile(r"(?:(?:\[(?P<v6>[^\]]*)\]|(?P<name>[\w.-]*)):)?(?P<port>[0-9]+)", re.ASCII)
_ENDPOINT = re.compile(r"[a-z][a-z0-9_+]*:.+", re.ASCII)
_UNIX_OPTION = re.compile(r"(?<!\\):(\w+=[^:=/]*)$")

_ENDPOINTS_LIKE_HOSTS = frozenset({"tcp", "tcp6", "ssl"})
"""Endpoint types whose shortest form, ``tcp:8080``, looks like ``host:port``."""


@attrs.frozen
class TcpAddress:
    """A TCP port on one host, or on every interface when ``host`` is None. Port 0 = any free."""

    host: str | None
    port: int

    def __str__(self) -> str:
        host = self.host or ""
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


@attrs.frozen
class UnixAddress:
    """A Unix socket at ``path``; ``mode`` are its permissions, None = what ``unix_mode`` says."""

    path: str
    mode: int | None = None

    def __str__(self) -> str:
        mode = "" if self.mode is None else f":mode={self.mode:o}"
        return f"unix:{self.path}{mode}"


@attrs.frozen
class EndpointAddress:
    """A Twisted server endpoint string, passed through as it is."""

    description: str

    def __str__(self) -> str:
        return self.description


@attrs.frozen
class StdioAddress:
    """Standard input and output: one client, the one who started the daemon."""

    def __str__(self) -> str:
        return "stdio"


SocketAddress: TypeAlias = TcpAddress | UnixAddress | EndpointAddress
Address: TypeAlias = SocketAddress | StdioAddress


def parse_listen(text: str) -> Address:
    """Read one ``listen`` string.

    :raises ValueError: with a message that starts with ``listen:`` and names the string.
    """
    if text == "stdio":
        return StdioAddress()
    if text.startswith("stdio:"):
        raise ValueError(f'listen: stdio takes no options, got "{text}"')
    if text.startswith(("/", "./", "../")):
        return UnixAddress(text)
    if text.startswith("unix:"):
        return _parse_unix(text)
    tcp = _TCP.fullmatch(text)
    if tcp is not None and tcp["name"] not in _ENDPOINTS_LIKE_HOSTS:
        return _parse_tcp(text, tcp)
    if _ENDPOINT.fullmatch(text):
        return _parse_endpoint(text)
    raise ValueError(
        f'listen: expected a port, host:port, [IPv6]:port, unix:/path or an endpoint, got "{text}"'
    )


def reaches_beyond_loopback(address: Address) -> bool:
    """Whether other machines can reach ``address``, as far as its text tells.

    A host name other than ``localhost`` and an endpoint that names no interface count as reachable:
    the answer decides about a warning, so it errs on that side.
    """
    match address:
        case UnixAddress() | StdioAddress():
            return False
        case TcpAddress(host=host):
            return not _is_loopback(host)
        case EndpointAddress(description=description):
            options = _endpoint_options(description)
            return options.get("domain") != "UNIX" and not _is_loopback(options.get("interface"))


def _is_loopback(host: str | None) -> bool:
    if host is None:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _parse_tcp(text: str, match: re.Match[str]) -> TcpAddress:
    port = int(match["port"])
    if port > 65535:
        raise ValueError(f'listen: a port is at most 65535, got "{text}"')
    if match["v6"] is None:
        return TcpAddress(match["name"] or None, port)
    try:
        ipaddress.IPv6Address(match["v6"])
    except ValueError:
        raise ValueError(f'listen: expected an IPv6 address in brackets, got "{text}"') from None
    return TcpAddress(match["v6"], port)


def _parse_unix(text: str) -> UnixAddress:
    path = text.removeprefix("unix:")
    mode: int | None = None
    option = _UNIX_OPTION.search(path)
    if option is not None:
        path = path[: option.start()]
        if not re.fullmatch(r"mode=0?[0-7]{3}", option[1]) or _UNIX_OPTION.search(path):
            raise ValueError(f'listen: unix: takes one octal mode=, as in mode=660, got "{text}"')
        mode = int(option[1].removeprefix("mode="), 8)
    path = path.replace("\\:", ":")  # Twisted's way to write a colon that starts no option
    if path.startswith("//"):  # unix:///run/x.sock is how Docker and others write /run/x.sock
        path = "/" + path.lstrip("/")
    if not path or "\0" in path:
        raise ValueError(f'listen: unix: expected a path, got "{text}"')
    return UnixAddress(path, mode)


def _parse_endpoint(text: str) -> EndpointAddress:
    # Twisted opens a Unix socket that it adopts, or makes without mode=, to every user of the
    # machine (mode 666), and whoever reaches one is an admin here (protocol.md section 1).
    if _endpoint_options(text).get("domain") == "UNIX" or ":unix:" in text:
        raise ValueError(f'listen: a Unix socket is written unix:/path, got "{text}"')
    return EndpointAddress(text)


def _endpoint_options(description: str) -> dict[str, str]:
    """Return the ``key=value`` fields of an endpoint string; ``\\:`` in it stands for a colon."""
    fields = [field.replace("\\:", ":") for field in re.split(r"(?<!\\):", description)]
    return {key: value for key, equals, value in (f.partition("=") for f in fields) if equals}
