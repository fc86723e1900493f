"""The rules for peers, Host and Origin (protocol.md section 1)."""

from typing import Any

import pytest

from overseer.core.access import AccessRules, Refusal, RequestHead
from overseer.core.networks import is_loopback, parse_network
from overseer.core.tokens import LOCAL_ADMIN, Identity, Token, digest_of, identify

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
        "path": "/ws",
        "peer": "127.0.0.1",
        "hosts": [] if host is None else [host],
        "origins": [] if origin is None else [origin],
    }
    return RequestHead(**(values | other))


def refused_with(request: RequestHead, rules: AccessRules = RULES) -> tuple[int, str] | None:
    """Return the status and the key that the text names, if any."""
    refusal = rules.admit(request)
    if isinstance(refusal, Identity):
        return None
    keys = ("allowed_origins", "allowed_hosts", "trusted_cidrs")
    named = [key for key in keys if key in refusal.reason]
    return refusal.status, named[0] if named else ""


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


def test_peers_outside_are_refused_whatever_they_send() -> None:
    """The text names the key to set; no header and no path lets them in, malformed or not."""
    text = 'peer "192.168.1.2" is refused: it is outside trusted_cidrs'
    for other in ({}, {"path": "/healthz"}, {"hosts": ["a", "b"]}, {"authorizations": [BEARER]}):
        assert RULES.admit(head(peer="192.168.1.2", **other)) == Refusal(403, text)


PRIVATE = [
    "10.0.0.0/8",
    "192.168.1.7/24",
    "203.0.113.9",
    "2001:db8::/32",
    "::ffff:198.51.100.0/120",
]
PEERS = [
    # peer, let in by trusted_cidrs, let in where it is empty and this host is in 172.16.5.0/24
    ("10.1.2.3", True, False),
    ("::ffff:10.1.2.3", True, False),
    ("192.168.1.200", True, False),
    ("192.168.2.1", False, False),
    ("203.0.113.9", True, False),
    ("203.0.113.8", False, False),
    ("2001:db8:1::1", True, False),
    ("2001:db9::1", False, False),
    ("198.51.100.77", True, False),
    ("::ffff:198.51.100.77", True, False),
    ("172.16.5.9", False, True),
    ("172.16.6.9", False, False),
    ("fe80::1%eth0", False, True),
    ("127.0.0.1", False, True),
    ("::1", False, True),
    ("::ffff:127.0.0.1", False, True),
    ("unknown", False, False),
]


@pytest.mark.parametrize(("peer", "listed", "own"), PEERS)
def test_trusted_networks(peer: str, listed: bool, own: bool) -> None:
    """What is listed is trusted and nothing else; where nothing is, this host's own networks are."""
    networks = [parse_network("172.16.5.0/24"), parse_network("fe80::/64")]
    outside = (403, "trusted_cidrs")
    given = AccessRules(trusted_cidrs=PRIVATE, own_networks=lambda: networks)
    assert refused_with(head(peer=peer), given) == (None if listed else outside)
    empty = AccessRules(own_networks=lambda: networks)
    assert refused_with(head(peer=peer), empty) == (None if own else outside)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.json", "/ws/manifest"])
def test_health_checks_always_answer_loopback(path: str) -> None:
    """A list without loopback does not break them; nobody else gains by it."""
    rules = AccessRules(trusted_cidrs=["10.0.0.0/8"])
    assert rules.admit(head(path=path)) == LOCAL_ADMIN
    assert rules.admit(head(path=path, peer="::1")) == LOCAL_ADMIN
    assert refused_with(head(path=path, peer="192.0.2.1"), rules) == (403, "trusted_cidrs")
    assert refused_with(head(path=f"{path}/"), rules) == (403, "trusted_cidrs")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10",
        "10.0.0.0/33",
        "::/129",
        "10.0.0.0/255.0.0.0",
        "10.0.0.0/0.255.255.255",
        "10.0.0.0/",
        "10.0.0.0 /8",
        "10.0.0.1-9",
        "fe80::1%eth0",
        "example.org",
        "*",
    ],
)
def test_entries_that_are_no_network(text: str) -> None:
    """Netmasks are refused as well: they are easily taken for their opposite."""
    with pytest.raises(ValueError, match=r"^trusted_cidrs: expected an IP address or a network"):
        AccessRules(trusted_cidrs=[text])


SECRET, LOOKER = "0123456789abcdef", "look-only.0123456789~"
BEARER = f"Bearer {SECRET}"
ADMIN, VIEWER = Identity("ops", "admin"), Identity("wall", "viewer")
TOKENS = (Token(ADMIN, digest_of(SECRET)), Token(VIEWER, digest_of(LOOKER)))
GUARDED = AccessRules(tokens=TOKENS, allowed_origins=["https://dash.example.org"])

SENT = [
    # what is sent, who it is
    ({"authorizations": [BEARER]}, ADMIN),
    ({"authorizations": [f"bearer  {SECRET} "]}, ADMIN),
    ({"authorizations": [f"Bearer {LOOKER}"]}, VIEWER),
    ({"subprotocols": [f"overseer.v1, bearer.{SECRET}"]}, ADMIN),
    ({"subprotocols": [f"bearer.{LOOKER}", "overseer.v1"]}, VIEWER),
    (
        {"subprotocols": [f"overseer.v1,bearer.{SECRET}"], "origins": ["http://localhost:8080"]},
        ADMIN,
    ),
    ({}, None),
    ({"path": f"/ws?token={SECRET}"}, None),
    ({"authorizations": [""]}, None),
    ({"authorizations": ["Bearer"]}, None),
    ({"authorizations": [SECRET]}, None),
    ({"authorizations": [f"Basic {SECRET}"]}, None),
    ({"authorizations": [f"Bearer {SECRET[:-1]}"]}, None),
    ({"authorizations": [f"Bearer {SECRET}x"]}, None),
    ({"authorizations": [f"Bearer {SECRET.upper()}"]}, None),
    ({"authorizations": ["Bearer \xe4\xf6\xfc"]}, None),
    ({"authorizations": ["Basic x"], "subprotocols": [f"overseer.v1, bearer.{SECRET}"]}, None),
    ({"subprotocols": ["overseer.v1"]}, None),
    ({"subprotocols": [f"bearer.{SECRET}"]}, None),
    ({"subprotocols": [f"overseer.v1, bearer.{SECRET}, bearer.{LOOKER}"]}, None),
    ({"subprotocols": [f"overseer.v1, bearer.{SECRET}x"]}, None),
]


@pytest.mark.parametrize(("sent", "expected"), SENT)
@pytest.mark.parametrize("path", ["/ws", "/ws/manifest", "/readyz", "/metrics", "/"])
def test_tokens(path: str, sent: dict[str, Any], expected: Identity | None) -> None:
    """With tokens every request needs one, from loopback too, by header or by subprotocol only."""
    answer = GUARDED.admit(head(**{"path": path, **sent}))
    if expected is None:
        assert isinstance(answer, Refusal)
        assert answer.status == 401
        assert SECRET not in answer.reason
    else:
        assert answer == expected


def test_what_needs_no_token() -> None:
    """The health check, and who comes by a Unix socket: its file mode is the permission."""
    assert GUARDED.admit(head(path="/healthz")) == LOCAL_ADMIN
    assert GUARDED.admit(head(peer=None)) == LOCAL_ADMIN
    assert GUARDED.admit(head(peer=None, authorizations=["Bearer wrong"])) == LOCAL_ADMIN
    assert refused_with(head(authorizations=[BEARER] * 2), GUARDED) == (400, "")


def test_a_token_opens_neither_networks_nor_origins() -> None:
    """It is asked for after both; only the rule about Host, which guards those without, is not needed."""
    token = {"authorizations": [BEARER]}
    assert refused_with(head(peer="192.0.2.1", **token), GUARDED) == (403, "trusted_cidrs")
    foreign = head(origin="http://evil.example", **token)
    assert refused_with(foreign, GUARDED) == (403, "allowed_origins")
    assert GUARDED.admit(head("box.example", "http://box.example", **token)) == ADMIN
    assert GUARDED.admit(head("box.example", "https://dash.example.org", **token)) == ADMIN
    assert refused_with(head("evil.example", "http://evil.example"), GUARDED) == (401, "")


def test_every_token_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long it takes tells nothing about where a token stands, or how much of a guess is right."""
    compared = []

    def compare(mine: bytes, theirs: bytes) -> bool:
        compared.append(theirs)
        return mine == theirs

    monkeypatch.setattr("hmac.compare_digest", compare)
    assert identify(SECRET, TOKENS) == ADMIN
    assert compared == [token.digest for token in TOKENS]


def test_tokens_are_never_shown() -> None:
    """Neither by what is kept of them, nor by a request that carries one."""
    request = head(authorizations=[BEARER], subprotocols=[f"bearer.{SECRET}"])
    assert SECRET not in repr((GUARDED, TOKENS, request))
    assert repr(digest_of(SECRET)) not in repr(TOKENS)


@pytest.mark.parametrize("text", ["", "x" * 15, "0123456789 abcdef", "0123456789abcdé", "====" * 4])
def test_texts_that_are_no_token(text: str) -> None:
    """Too short, or of characters that no header takes; the error does not show it."""
    with pytest.raises(ValueError, match="expected") as caught:
        digest_of(text)
    assert not text or text not in str(caught.value)


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
    assert refused_with(head(subprotocols=["overseer.v1", "a, overseer.v1"])) == (400, "")


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
