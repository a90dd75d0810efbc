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
        """The account that the request acts for; raises :class:`Unauthorized`."""
        key = _given_key(request)
        if key is not None:
            account = self._keys.account_of(key)
            if account is not None:
                return account
            if not self.open:
                raise Unauthorized("The API key is not known or was revoked.")
        if not self.open:
            raise Unauthorized("An API key is needed: send 'Authorization: Bearer KEY' or 'X-API-Key: KEY'.")
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
            raise Unauthorized(
                "Without API keys this server answers only requests to its own address, from no other web "
                "page. Create a key with 'convertd keys create NAME' and send it."
            )


def _given_key(request: web.BaseRequest) -> str | None:
    header = request.headers.get("Authorization", "")
    if header[: len(_SCHEME)].lower() == _SCHEME:
        return header[len(_SCHEME) :].strip()
    return request.headers.get("X-API-Key")


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
