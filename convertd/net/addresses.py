"""Which addresses are on the public internet, and which hosts of a URL are addresses in disguise.

``ipaddress`` alone is not asked: its ``is_global`` is true for multicast, site-local, NAT64 and 6to4
addresses, and changes with Python's patch releases.
"""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

Address = IPv4Address | IPv6Address

_NUMBER: Final = re.compile(r"\d+|0x[\da-f]*", re.ASCII)

_NOT_PUBLIC_V4: Final = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",
        "100.64.0.0/10",  # carriers' shared space; a cloud keeps its metadata at 100.100.100.200
        "127.0.0.0/8",
        "168.63.129.16/32",  # a cloud's agent: public by number, reached from within only
        "169.254.0.0/16",  # link-local, most clouds' metadata
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments; a cloud's metadata at 192.0.0.192
        "192.0.2.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_UNICAST_V6: Final = IPv6Network("2000::/3")
"""All of IPv6 that has been given out for global unicast. Outside it lie loopback, ``::/96``, local-use NAT64
(``64:ff9b:1::/48``), unique local (with metadata services), link-local, site-local and multicast."""
_NOT_PUBLIC_V6: Final = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, Teredo (2001::/32) among them
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "3fff::/20",
    )
)
_NAT64: Final = IPv6Network("64:ff9b::/96")
_ISATAP: Final = 0x5EFE


def literal(host: str) -> Address | None:
    """The address that a URL's host spells, ``None`` for a name; ValueError where it is neither.

    ``host`` is in ASCII and lower case, without brackets. IPv4 may come in every form that system libraries
    take: ``2130706433``, ``0x7f.1``, ``0177.0.0.1``, ``127.1``, each also with trailing dots.
    """
    if "%" in host:  # a zone: only this machine knows what it stands for
        raise ValueError(host)
    if ":" in host:
        return plain(IPv6Address(host))
    host = host.rstrip(".")
    if not _NUMBER.fullmatch(host.rpartition(".")[2]):
        return None
    try:
        return IPv4Address(socket.inet_aton(host))
    except OSError:
        raise ValueError(host) from None


def plain(address: Address) -> Address:
    """IPv4 where it came dressed as IPv6 (``::ffff:127.0.0.1``): a socket makes no difference."""
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def public(address: Address | str) -> bool:
    """Whether it is a global unicast address, and leads to no other where it carries one inside.

    6to4 and Teredo are refused whole: they carry the IPv4 address that packets go to, and nobody serves files
    there since their public relays were retired. A translator's address is judged by what it stands for.
    """
    address = plain(ip_address(address))
    if isinstance(address, IPv4Address):
        return address.is_global and not any(address in network for network in _NOT_PUBLIC_V4)
    inner = IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _NAT64:
        return public(inner)
    if address not in _UNICAST_V6 or not address.is_global:
        return False
    if any(address in network for network in _NOT_PUBLIC_V6):
        return False
    return not _is_isatap(address) or public(inner)


def _is_isatap(address: IPv6Address) -> bool:
    """Whether the last 64 bits are an IPv4 address inside a site (RFC 5214): ``0:5efe`` or ``200:5efe``."""
    return (int(address) >> 32) & 0xFDFF_FFFF == _ISATAP
