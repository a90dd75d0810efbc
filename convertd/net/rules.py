"""What may be reached: the public internet, and what the operator lists under ``outbound.allow``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, NamedTuple

from yarl import URL

from convertd.net.addresses import Address, literal, plain, public

_NAME: Final = re.compile(
    r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*"
)

_LOCALHOST: Final = "localhost"


class Rule(NamedTuple):
    """One entry of ``outbound.allow``: a host name or a network, on one port or on all."""

    name: str | None
    network: IPv4Network | IPv6Network | None
    port: int | None

    def holds(self, address: Address) -> bool:
        """Whether the entry means the address itself: the name ``localhost`` means this machine's."""
        if self.network is not None:
            return address in self.network
        return self.name == _LOCALHOST and address.is_loopback


class AddressPolicy:
    """Judges addresses."""

    def __init__(self, allow: Iterable[str]) -> None:
        """Raises ValueError for an entry that :func:`parse_rule` does not take."""
        self._rules = tuple(parse_rule(entry) for entry in allow)

    def trusts(self, host: str, port: int) -> bool:
        """Whether the operator listed this name: then it may lead anywhere."""
        return any(rule.name == host for rule in self._on(port))

    def admits(self, address: Address | str, *, host: str, port: int) -> bool:
        """Whether a connection for the URL host ``host`` may go to ``address`` and ``port``."""
        try:
            address = plain(ip_address(address))
        except ValueError:
            return False
        listed = any(rule.holds(address) for rule in self._on(port))
        return listed or self.trusts(host, port) or public(address)

    def _on(self, port: int) -> Iterable[Rule]:
        return (rule for rule in self._rules if rule.port in (None, port))


def parse_rule(entry: str) -> Rule:
    """A network (``10.0.0.0/8``), an address or a host name, the latter two also with a port.

    Raises ValueError otherwise: also for a network with bits set behind its prefix, which is mostly an
    address with the wrong prefix.
    """
    if "/" in entry:
        return Rule(None, ip_network(entry), None)
    host, port = _parted(entry)
    if host.startswith("["):
        return Rule(None, ip_network(plain(IPv6Address(host[1:-1]))), port)
    name = host_name(host)
    address = literal(name)
    return Rule(None, ip_network(address), port) if address else Rule(name, None, port)


def host_name(host: str) -> str:
    """``host`` as all comparisons take it: ASCII, lower case, no dot at the end. ValueError if it is none."""
    if ":" in host:
        return host
    name = (URL.build(scheme="http", host=host).raw_host or "").lower().rstrip(".")
    if not _NAME.fullmatch(name):
        raise ValueError(host)
    return name


def _parted(entry: str) -> tuple[str, int | None]:
    """Host and port; an IPv6 address needs brackets only where a port follows."""
    if entry.count(":") > 1 and not entry.startswith("["):
        return entry, None
    match = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::(\d{1,5}))?", entry, re.ASCII)
    if match is None or (match[2] and not 0 < int(match[2]) < 65536):
        raise ValueError(entry)
    return match[1], int(match[2]) if match[2] else None
