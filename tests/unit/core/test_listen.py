"""What each form of a listen string means (protocol.md section 1, row "listeners")."""

import pytest

from overseer.core.listen import (
    Address,
    EndpointAddress,
    StdioAddress,
    TcpAddress,
    UnixAddress,
    parse_listen,
    reaches_beyond_loopback,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (":8080", TcpAddress(None, 8080)),
        ("8080", TcpAddress(None, 8080)),
        (":0", TcpAddress(None, 0)),
        ("127.0.0.1:8080", TcpAddress("127.0.0.1", 8080)),
        ("0.0.0.0:8080", TcpAddress("0.0.0.0", 8080)),
        ("localhost:1", TcpAddress("localhost", 1)),
        ("my_host.example:65535", TcpAddress("my_host.example", 65535)),
        ("[::1]:8080", TcpAddress("::1", 8080)),
        ("[::]:8080", TcpAddress("::", 8080)),
        ("[fe80::1%eth0]:8080", TcpAddress("fe80::1%eth0", 8080)),
        ("unix:/run/x.sock", UnixAddress("/run/x.sock")),
        ("unix:///run/x.sock", UnixAddress("/run/x.sock")),
        ("unix:x.sock", UnixAddress("x.sock")),
        ("unix:/run/x.sock:mode=660", UnixAddress("/run/x.sock", 0o660)),
        ("unix:/run/x.sock:mode=0600", UnixAddress("/run/x.sock", 0o600)),
        ("unix:/run/a:b.sock", UnixAddress("/run/a:b.sock")),
        ("unix:/run/a\\:mode=1", UnixAddress("/run/a:mode=1")),
        ("/run/x.sock", UnixAddress("/run/x.sock")),
        ("./x.sock", UnixAddress("./x.sock")),
        ("../x.sock", UnixAddress("../x.sock")),
        ("tcp:8080", EndpointAddress("tcp:8080")),
        ("tcp6:8080", EndpointAddress("tcp6:8080")),
        ("tcp:8080:interface=127.0.0.1", EndpointAddress("tcp:8080:interface=127.0.0.1")),
        ("ssl:443:privateKey=k.pem", EndpointAddress("ssl:443:privateKey=k.pem")),
        ("systemd:domain=INET:index=0", EndpointAddress("systemd:domain=INET:index=0")),
        ("stdio", StdioAddress()),
    ],
)
def test_parsed(text: str, expected: Address) -> None:
    """Each form gives its address, and the address's own text gives it again."""
    assert parse_listen(text) == expected
    if "\\" not in text:
        assert parse_listen(str(expected)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stdio:", "listen: stdio takes no options"),
        ("", "expected a port"),
        ("localhost", "expected a port"),
        ("::1:8080", "expected a port"),
        ("[::1]", "expected a port"),
        (" :8080", "expected a port"),
        (":8080\n", "expected a port"),
        (":65536", "at most 65535"),
        ("[1.2.3.4]:8080", "IPv6 address in brackets"),
        ("unix:", "expected a path"),
        ("unix:/x:mode=888", "one octal mode="),
        ("unix:/x:mode=600:mode=666", "one octal mode="),
        ("unix:/x:lockfile=0", "one octal mode="),
        ("systemd:domain=UNIX:index=0", "written unix:/path"),
        ("haproxy:unix:/x", "written unix:/path"),
    ],
)
def test_refused(text: str, message: str) -> None:
    """What is no listen string is refused with words that start with the key."""
    with pytest.raises(ValueError, match=r"^listen: ") as problem:
        parse_listen(text)
    assert message in str(problem.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (":8080", True),
        ("0.0.0.0:8080", True),
        ("[::]:8080", True),
        ("192.0.2.1:8080", True),
        ("build.example:8080", True),
        ("127.0.0.1:8080", False),
        ("127.9.9.9:8080", False),
        ("[::1]:8080", False),
        ("LocalHost:8080", False),
        ("unix:/run/x.sock", False),
        ("tcp:8080", True),
        ("tcp:8080:interface=127.0.0.1", False),
        ("tcp6:8080:interface=\\:\\:1", False),
        ("tcp:8080:interface=192.0.2.1", True),
        ("systemd:domain=INET:index=0", True),
    ],
)
def test_reach(text: str, expected: bool) -> None:
    """Only what surely stays on this machine counts as loopback."""
    assert reaches_beyond_loopback(parse_listen(text)) is expected
