"""The networks that this host is in, asked of its network interfaces."""

import ipaddress
from collections.abc import Iterator, Sequence

import ifaddr
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from overseer.core.networks import Network

FRESH_FOR = 10.0
"""Seconds for which an answer of the operating system is believed: Wi-Fi and VPNs come up later."""


class OwnNetworks:
    """Returns the networks of this host's interfaces when called.

    They are asked for when somebody wants to know, at most every :data:`FRESH_FOR` seconds.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._networks: Sequence[Network] = ()
        self._stale_at = float("-inf")

    def __call__(self) -> Sequence[Network]:
        """Return the networks as they are now."""
        now = self._clock.seconds()
        if now >= self._stale_at:
            self._stale_at = now + FRESH_FOR
            try:
                self._networks = tuple(dict.fromkeys(_detect()))
            except OSError:
                self._networks = ()
                self._log.failure("cannot ask for the network interfaces: only loopback is trusted")
        return self._networks


def _detect() -> Iterator[Network]:
    for adapter in ifaddr.get_adapters():
        for entry in adapter.ips:
            # An IPv6 address comes with its flow and its scope.
            text = entry.ip if isinstance(entry.ip, str) else entry.ip[0]
            address = ipaddress.ip_address(text.partition("%")[0])
            # Some tunnels have no netmask; taken at its word, that is the whole internet.
            prefix = entry.network_prefix or address.max_prefixlen
            yield ipaddress.ip_network((address, prefix), strict=False)
