"""Addresses of an overseer: what each form means, and what is no address."""

import pytest

from overseer.client.address import (
    StdioAddress,
    UnixSocketAddress,
    WebSocketAddress,
    parse_address,
)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ws://127.0.0.1:8080/ws", WebSocketAddress("127.0.0.1", 8080)),
        ("ws://127.0.0.1:8080", WebSocketAddress("127.0.0.1", 8080)),
        ("ws://localhost", WebSocketAddress("localhost", 80)),
        ("wss://example.org/", WebSocketAddress("example.org", 443, tls=True)),
        ("wss://example.org/a/ws?x=1", WebSocketAddress("example.org", 443, "/a/ws?x=1", tls=True)),
        ("ws://[::1]:8080/ws", WebSocketAddress("::1", 8080)),
        ("unix:/run/overseer.sock", UnixSocketAddress("/run/overseer.sock")),
        ("unix:o.sock", UnixSocketAddress("o.sock")),
        ("ws+unix:///run/my%20overseer.sock", UnixSocketAddress("/run/my overseer.sock")),
        ("/run/overseer.sock", UnixSocketAddress("/run/overseer.sock")),
        ("./overseer.sock", UnixSocketAddress("./overseer.sock")),
        ("stdio", StdioAddress()),
        ("stdio:config.yaml", StdioAddress("config.yaml")),
    ],
)
def test_every_form(text: str, address: object) -> None:
    """What the daemon logs of itself, and what one would type."""
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost:8080",
        "http://localhost",
        "ws://",
        "ws://:80",
        "ws://me:secret@host/",
        "unix:",
        "ws://host:port/",
        "ws://host:99999/",
        "ws+unix://host/path",
    ],
)
def test_what_is_no_address(text: str) -> None:
    """The error says what would be one."""
    with pytest.raises(ValueError, match="expected ws://HOST:PORT/ws"):
        parse_address(text)


@pytest.mark.parametrize(
    ("address", "authority"),
    [
        (WebSocketAddress("example.org", 443, tls=True), "example.org"),
        (WebSocketAddress("example.org", 443), "example.org:443"),
        (WebSocketAddress("::1", 8080), "[::1]:8080"),
        (UnixSocketAddress("/o.sock"), "localhost"),
    ],
)
def test_the_host_header(address: WebSocketAddress, authority: str) -> None:
    """A default port is left out (RFC 9110 section 7.2)."""
    assert address.authority == authority
