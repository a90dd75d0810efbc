"""Who asks: API keys, and the open mode of a server that only its own machine can reach."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from typing import Final, Protocol
from urllib.parse import urlsplit

from aiohttp import web

from convertd.errors import Unauthorized

LOCAL_ACCOUNT: Final = "local"
"""The account of everybody, while the server is open."""

_SCHEME = "bearer "
_OWN_SITES: Final = ("same-origin", "none")
"""What browsers say in ``Sec-Fetch-Site`` of a page of this server, and of an address that was typed in."""
_NO_OTHER_PAGE: Final = (
    "Without API keys this server answers only requests to its own address, from no other web "
    "page. Create a key with 'convertd keys create NAME' and send it."
)


class Keys(Protocol):
    """What is asked about API keys."""

    def account_of(self, key: str) -> str | None:
        """The account behind a valid key."""

    def is_empty(self) -> bool:
        """Whether no key is valid."""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address of this name."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_private(host: str, base_url: str) -> bool:
    """Whether a server that listens on ``host`` serves this machine alone.

    One that clients know under another machine's address, ``base_url``, is made public by a proxy.
    """
    return is_loopback(host) and (not base_url or is_loopback(urlsplit(base_url).hostname or ""))


class Authenticator:
    """Turns a request into an account."""

    def __init__(self, keys: Keys, *, loopback: bool) -> None:
        """``loopback``: nothing but this machine can connect, by a proxy neither."""
        self._keys = keys
        self._loopback = loopback
        self.own_hosts: Collection[str] = ()
        """Every ``host:port`` of this server, in lower case; set once the port is known."""

    def account(self, request: web.BaseRequest) -> str:
        """The account that the request acts for; raises :class:`Unauthorized`.

        A key in either header counts. While the server is open, what a browser says to come of another site's
        page is refused: such a page can make it send a GET without an origin, for a picture or a link.
        """
        keys = _given_keys(request)
        for key in keys:
            account = self._keys.account_of(key)
            if account is not None:
                return account
        if not self.open and keys:
            raise Unauthorized("The API key is not known or was revoked.")
        if not self.open:
            raise Unauthorized("An API key is needed: send 'Authorization: Bearer KEY' or 'X-API-Key: KEY'.")
        if request.headers.get("Sec-Fetch-Site", "none").lower() not in _OWN_SITES:
            raise Unauthorized(_NO_OTHER_PAGE)
        return LOCAL_ACCOUNT

    @property
    def open(self) -> bool:
        """Whether no key is needed: reachable from this machine alone, and no key exists."""
        return self._loopback and self._keys.is_empty()

    def check_origin(self, request: web.BaseRequest) -> None:
        """While the server is open, refuse what a web page elsewhere made a local browser send.

        Such a page reaches the server under its own host name (DNS rebinding) or tells its origin; both must
        be this server's. Raises :class:`Unauthorized`.
        """
        host = request.headers.get("Host", "").lower()
        origin = request.headers.get("Origin")
        if host in self.own_hosts and (origin is None or _host_of(origin) == host):
            return
        if self.open:
            raise Unauthorized(_NO_OTHER_PAGE)


def _given_keys(request: web.BaseRequest) -> list[str]:
    header = request.headers.get("Authorization", "")
    keys = [header[len(_SCHEME) :].strip()] if header[: len(_SCHEME)].lower() == _SCHEME else []
    return [*keys, *request.headers.getall("X-API-Key", ())]


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def own_hosts(host: str, port: int, base_url: str) -> set[str]:
    """Every ``host:port`` under which a loopback server may rightly be addressed."""
    names = {host if ":" not in host else f"[{host}]", "localhost", "127.0.0.1", "[::1]"}
    hosts = {f"{name}:{port}" for name in names} | (names if port == 80 else set())
    return {name.lower() for name in hosts} | ({urlsplit(base_url).netloc.lower()} if base_url else set())
