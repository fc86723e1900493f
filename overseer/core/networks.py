"""IP addresses and networks: who is inside one (protocol.md section 1, row "who may connect").

An IPv4-mapped IPv6 address (RFC 4291 section 2.5.5.2) counts as the IPv4 address that it holds: that is how
a listener for both shows its IPv4 peers.
"""

import ipaddress
import re
from collections.abc import Iterable
from typing import TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

# Without netmasks, which the ipaddress module would take too: 10.0.0.0/0.0.0.255 is easily misread.
_NETWORK = re.compile(r"[0-9A-Fa-f:.]+(?:/[0-9]{1,3})?", re.ASCII)
_MAPPED_PREFIX = 96


def parse_address(text: str) -> Address | None:
    """Return the address in ``text``, None when there is none."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def parse_network(text: str) -> Network:
    """Return the network in ``text``: ``10.0.0.0/8``, or one address.

    ``192.168.1.7/24`` is the network that this address is in, as Go reads it for sticky-overseer v2.

    :raises ValueError: when it is no network.
    """
    try:
        if not _NETWORK.fullmatch(text):
            raise ValueError
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(
            f'expected an IP address or a network such as 10.0.0.0/8, got "{text}"'
        ) from None
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= _MAPPED_PREFIX:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((mapped, network.prefixlen - _MAPPED_PREFIX))
    return network


def is_inside(text: str, networks: Iterable[Network]) -> bool:
    """Whether ``text`` is an address inside one of ``networks``."""
    address = parse_address(text)
    return address is not None and any(address in network for network in networks)


def is_loopback(text: str) -> bool:
    """Whether ``text`` is an address of this machine that no other can send from.

    What is no address is not: what is unknown stays outside.
    """
    address = parse_address(text)
    return address is not None and address.is_loopback
