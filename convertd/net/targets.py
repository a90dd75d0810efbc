"""A URL that a client named, read once: what is checked is what is asked for."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from yarl import URL

from convertd.errors import InvalidRequest
from convertd.net.addresses import Address, literal
from convertd.net.rules import host_name

_LONGEST: Final = 8192
# Programs differ in what they take these for, and so in where the host ends.
_AMBIGUOUS: Final = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]")


class Target(NamedTuple):
    """Where a request goes. ``address`` is set where the host is no name; ``url`` then has its usual form."""

    url: URL
    host: str
    port: int
    address: Address | None

    @property
    def is_local_name(self) -> bool:
        """Whether the host is a name for this machine (RFC 6761)."""
        return self.host == "localhost" or self.host.endswith(".localhost")


def parse_target(text: str, *, field: str | None, base: URL | None = None) -> Target:
    """``text`` as a place to go; relative to ``base`` if that is given. Raises ``InvalidRequest``."""
    if len(text) > _LONGEST:
        raise InvalidRequest(f"The URL is longer than {_LONGEST} characters.", field=field)
    if _AMBIGUOUS.search(text):
        raise InvalidRequest("The URL holds characters that must be percent-encoded.", field=field)
    try:
        url = URL(text.strip())
        return _read(base.join(url) if base else url, field)
    except (ValueError, IndexError):  # the latter of yarl's own, over brackets
        raise InvalidRequest("The URL is not valid; give one like https://host/file.", field=field) from None


def _read(url: URL, field: str | None) -> Target:
    if url.scheme not in ("http", "https"):
        raise InvalidRequest("The URL must begin with http:// or https://.", field=field)
    if url.user is not None or url.password is not None:
        raise InvalidRequest("The URL must not hold a user name or password.", field=field)
    port = url.port
    if not url.raw_host or not port:
        raise InvalidRequest("The URL needs a host, and a port from 1 to 65535 if any.", field=field)
    host = host_name(url.raw_host)
    address = literal(host)
    if address is not None:
        host = str(address)
        url = url.with_host(host)
    return Target(url, host, port, address)
