"""The rules for peers, Host and Origin (protocol.md section 1)."""

from typing import Any

import pytest

from overseer.core.access import AccessRules, Refusal, RequestHead, is_loopback

RULES = AccessRules(
    allowed_origins=[
        "https://dash.example.org",
        "HTTP://Tools.example:8080",
        "vscode-webview://abc",
    ],
    allowed_hosts=["Overseer.example.org"],
    own_names=["BuildBox"],
)


def head(
    host: str | None = "localhost:8080", origin: str | None = None, **other: Any
) -> RequestHead:
    """Return a request from this machine."""
    values: dict[str, Any] = {
        "peer": "127.0.0.1",
        "hosts": [] if host is None else [host],
        "origins": [] if origin is None else [origin],
    }
    return RequestHead(**(values | other))


def refused_with(request: RequestHead, rules: AccessRules = RULES) -> tuple[int, str] | None:
    """Return the status and the key that the text names, if any."""
    refusal = rules.refusal(request)
    if refusal is None:
        return None
    keys = [key for key in ("allowed_origins", "allowed_hosts") if key in refusal.reason]
    return refusal.status, keys[0] if keys else ""


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("127.0.0.1", True),
        ("127.200.0.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:192.0.2.1", False),
        ("192.168.1.2", False),
        ("fe80::1%eth0", False),
        ("0.0.0.0", False),
        ("", False),
        ("localhost", False),
    ],
)
def test_loopback(peer: str, expected: bool) -> None:
    """IPv4-mapped peers count as IPv4; what is no address is outside."""
    assert is_loopback(peer) is expected


def test_peers_beyond_loopback_are_refused_whatever_they_send() -> None:
    """Secure by default: no header lets them in."""
    refusal = RULES.refusal(head(peer="192.168.1.2"))
    assert refusal == Refusal(403, "peers beyond loopback are not in this version")


NO_BROWSER = [
    # Host, refused with: clients that are no browser may use any Host (Docker, ssh tunnels)
    ("localhost:8080", None),
    ("anything.example:1", None),
    ("my_service:8080", None),
    ("", None),  # RFC 9112 section 3.2: allowed where the target has no authority
    ("[::1]:8080", None),
    ("evil@localhost", (400, "")),
    ("a b", (400, "")),
    ("localhost/x", (400, "")),
    ("localhost:x", (400, "")),
    ("::1", (400, "")),
]


@pytest.mark.parametrize(("host", "expected"), NO_BROWSER)
def test_clients_that_are_no_browser(host: str, expected: tuple[int, str] | None) -> None:
    """Only a malformed Host is refused."""
    assert refused_with(head(host)) == expected


def test_missing_and_duplicate_headers() -> None:
    """They are how two readers of one request come to disagree about it."""
    assert refused_with(head(None)) == (400, "")
    assert refused_with(head(None, needs_host=False)) is None  # HTTP/1.0 health checks
    assert refused_with(head(None, "http://evil.example", needs_host=False)) == (
        403,
        "allowed_origins",
    )
    assert refused_with(head(None, needs_host=False, fetch_metadata=True)) == (403, "allowed_hosts")
    assert refused_with(head(hosts=["localhost", "localhost"])) == (400, "")
    same = "http://localhost:8080"
    assert refused_with(head(origins=[same, same])) == (400, "")
    assert refused_with(head(peer=None, hosts=["a", "b"])) == (400, "")


ORIGINS = [
    # Host, Origin, TLS, refused with
    ("localhost:8080", "http://localhost:8080", False, None),
    ("LOCALHOST:8080", "HTTP://LocalHost:8080", False, None),
    ("localhost", "http://localhost:80", False, None),
    ("localhost:80", "http://localhost", False, None),
    ("localhost:443", "https://localhost", True, None),
    ("127.0.0.1:8080", "http://127.0.0.1:8080", False, None),
    ("[::1]:8080", "http://[::1]:8080", False, None),
    ("buildbox:8080", "http://buildbox:8080", False, None),
    ("overseer.example.org", "http://overseer.example.org", False, None),
    # another scheme or port is another origin
    ("localhost:8080", "https://localhost:8080", False, (403, "allowed_origins")),
    ("localhost:8080", "http://localhost:8080", True, (403, "allowed_origins")),
    ("localhost:8080", "http://localhost:3000", False, (403, "allowed_origins")),
    ("localhost:8080", "http://localhost", False, (403, "allowed_origins")),
    # cross-site WebSocket hijacking: the browser says which page asks
    ("localhost:8080", "http://evil.example", False, (403, "allowed_origins")),
    ("127.0.0.1:8080", "https://evil.example", False, (403, "allowed_origins")),
    ("localhost:8080", "http://localhost.evil.example:8080", False, (403, "allowed_origins")),
    ("localhost:8080", "null", False, (403, "allowed_origins")),
    ("localhost:8080", "", False, (403, "allowed_origins")),
    ("localhost:8080", "file://", False, (403, "allowed_origins")),
    ("localhost:8080", "http://localhost:8080/", False, (403, "allowed_origins")),
    ("localhost:8080", "http://a@localhost:8080", False, (403, "allowed_origins")),
    ("localhost:8080", "http://localhost:8080 http://b", False, (403, "allowed_origins")),
    # DNS rebinding: the page's own name points at us, so its origin is the same as Host
    ("evil.example:8080", "http://evil.example:8080", False, (403, "allowed_hosts")),
    ("app.localhost:8080", "http://app.localhost:8080", False, (403, "allowed_hosts")),
    ("127.0.0.1.evil.example", "http://127.0.0.1.evil.example", False, (403, "allowed_hosts")),
    ("", "http://", False, (403, "allowed_hosts")),
    # listed origins, which must use a name we know just the same
    ("localhost:8080", "https://dash.example.org", False, None),
    ("localhost:8080", "https://dash.example.org:443", False, None),
    ("localhost:8080", "http://tools.example:8080", False, None),
    ("localhost:8080", "vscode-webview://abc", False, None),
    ("localhost:8080", "http://dash.example.org", False, (403, "allowed_origins")),
    ("localhost:8080", "https://x.dash.example.org", False, (403, "allowed_origins")),
    ("evil.example:8080", "https://dash.example.org", False, (403, "allowed_hosts")),
]


@pytest.mark.parametrize(("host", "origin", "tls", "expected"), ORIGINS)
def test_browsers(host: str, origin: str, tls: bool, expected: tuple[int, str] | None) -> None:
    """Same origin or listed, on a Host that can't be rebound; the text names the key to set."""
    assert refused_with(head(host, origin, tls=tls)) == expected


def test_fetch_metadata_shows_a_browser_without_an_origin() -> None:
    """A rebound page's same-origin GET carries no Origin."""
    assert refused_with(head("evil.example:8080", fetch_metadata=True)) == (403, "allowed_hosts")
    assert refused_with(head("127.0.0.1:8080", fetch_metadata=True)) is None
    assert refused_with(head("overseer.example.org", fetch_metadata=True)) is None


def test_unix_peers_are_trusted_by_file_permission() -> None:
    """No browser reaches a Unix socket."""
    assert refused_with(head("x", "http://evil.example", peer=None)) is None


@pytest.mark.parametrize("entry", ["*", "null", "dash.example.org", "https://a.example/", ""])
def test_entries_that_are_no_origin(entry: str) -> None:
    """There is no wildcard, and half an origin would silently match nothing."""
    with pytest.raises(ValueError, match=r"^allowed_origins: expected an origin"):
        AccessRules(allowed_origins=[entry])


@pytest.mark.parametrize("entry", ["*", "http://a.example", "a.example:80", ""])
def test_entries_that_are_no_host(entry: str) -> None:
    """A port would never match, as the Host is compared without one."""
    with pytest.raises(ValueError, match=r"^allowed_hosts: expected a host name"):
        AccessRules(allowed_hosts=[entry])
