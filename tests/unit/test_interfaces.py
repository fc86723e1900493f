"""The networks of this host, as its interfaces tell them."""

from ipaddress import ip_network

import attrs
import ifaddr
import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from overseer.interfaces import FRESH_FOR, OwnNetworks


@attrs.frozen
class Host:
    """Interfaces whose addresses a test gives; counts how often it is asked."""

    addresses: list[tuple[str | tuple[str, int, int], int]]
    asked: list[None] = attrs.field(factory=list)

    def get_adapters(self) -> list[ifaddr.Adapter]:
        self.asked.append(None)
        ips = [ifaddr.IP(address, prefix, "eth0") for address, prefix in self.addresses]
        return [ifaddr.Adapter("eth0", "eth0", ips)]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host([("192.168.1.7", 24), (("fe80::1", 0, 2), 64), (("2001:db8::5", 0, 0), 128)])
    monkeypatch.setattr(ifaddr, "get_adapters", host.get_adapters)
    return host


def test_every_network_once(host: Host) -> None:
    """IPv4 and IPv6; several addresses of one network are one."""
    host.addresses.append(("192.168.1.8", 24))
    expected = ["192.168.1.0/24", "fe80::/64", "2001:db8::5/128"]
    assert OwnNetworks(Clock())() == tuple(map(ip_network, expected))


def test_an_interface_without_a_netmask_is_not_the_whole_internet(host: Host) -> None:
    """Some tunnels are such; only the address itself is trusted."""
    host.addresses[:] = [("10.8.0.6", 0), (("fd00::6", 0, 0), 0)]
    assert OwnNetworks(Clock())() == (ip_network("10.8.0.6/32"), ip_network("fd00::6/128"))


def test_interfaces_that_come_up_later(host: Host) -> None:
    """They are seen within seconds, without asking the system for every request."""
    clock = Clock()
    networks = OwnNetworks(clock)
    before = networks()
    host.addresses.append(("172.16.0.1", 12))
    clock.advance(FRESH_FOR - 1)
    assert networks() == before
    assert len(host.asked) == 1
    clock.advance(1)
    assert networks() == (*before, ip_network("172.16.0.0/12"))
    host.addresses.clear()
    clock.advance(FRESH_FOR)
    assert networks() == ()


def test_a_system_that_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then no network is trusted, and the log says so."""

    def fail() -> list[ifaddr.Adapter]:
        raise OSError("no netlink here")

    monkeypatch.setattr(ifaddr, "get_adapters", fail)
    with capturedLogs() as logged:
        assert OwnNetworks(Clock())() == ()
    assert "only loopback is trusted" in logged[0]["log_format"]


def test_this_very_host() -> None:
    """The real library finds at least loopback."""
    assert ip_network("127.0.0.0/8") in OwnNetworks(Clock())()
