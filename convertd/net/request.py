"""One request to an address that a client named: its target, its sockets, and its errors in words."""

from __future__ import annotations

import errno
import socket
from typing import Final

import aiohttp
from aiohttp import ClientResponse, hdrs
from aiohttp.abc import AbstractResolver

from convertd.errors import ConvertdError, FetchFailed, FetchRefused, InvalidRequest
from convertd.net.rules import AddressPolicy
from convertd.net.targets import Target, parse_target

NO_ANSWER: Final = (aiohttp.ClientError, TimeoutError, OSError)
"""What is raised where no answer comes, or not the whole of it."""


class OutboundRequest:
    """One request's target, the sockets that it opens, and its errors in words."""

    def __init__(
        self, policy: AddressPolicy, target: Target, field: str | None, names: AbstractResolver
    ) -> None:
        self._policy = policy
        self.target = target
        self.field = field
        self.names = names
        self._refused: list[str] = []
        self._opened = False

    def towards(self, target: Target) -> OutboundRequest:
        """The request that follows a redirect to ``target``."""
        return OutboundRequest(self._policy, target, self.field, self.names)

    def open_socket(self, info: aiohttp.AddrInfoType) -> socket.socket:
        """The connector's socket factory. An OSError makes it go on to the name's next address."""
        family, kind, protocol, _, place = info
        address, port = str(place[0]), int(place[1])
        if not self._policy.admits(address, host=self.target.host, port=port):
            self._refused.append(address)
            raise PermissionError(errno.EACCES, "refused by the outbound policy")
        self._opened = True
        return socket.socket(family, kind, protocol)

    def failure(self, error: BaseException) -> ConvertdError:
        """``error`` for the one who named the address."""
        if self._refused and not self._opened:
            return refusal(self.target, self.field, addresses=self._refused)
        return FetchFailed(
            f"{self.target.host} {_reason(error)}.",
            field=self.field,
            detail=f"{type(error).__name__}: {error}",
        )


def refusal(target: Target, field: str | None, *, addresses: tuple[str, ...] | list[str]) -> FetchRefused:
    """The client learns that the host is forbidden, the log which addresses it has."""
    return FetchRefused(
        f"{target.host} is not on the public internet, and this server calls no other address; "
        f"its operator may list the host under outbound.allow.",
        field=field,
        detail=f"{target.host} port {target.port}: {', '.join(addresses)}",
    )


def next_target(target: Target, location: str, field: str | None) -> Target:
    """Where ``location`` leads from ``target``; ``FetchFailed`` if nowhere, ``FetchRefused`` out of TLS."""
    try:
        following = parse_target(location, field=field, base=target.url)
    except InvalidRequest as error:
        raise FetchFailed(
            f"{target.host} redirects to an address that cannot be used.", field=field, detail=error.message
        ) from error
    if target.url.scheme == "https" and following.url.scheme != "https":
        raise FetchRefused(
            f"{target.host} redirects from https to http; give the http address itself if that is meant.",
            field=field,
        )
    return following


def check_whole(request: OutboundRequest, response: ClientResponse) -> None:
    """Refuse an answer that is not the file as it is."""
    if response.status != 200:
        raise FetchFailed(
            f"{request.target.host} answered with status {response.status} instead of the file.",
            field=request.field,
        )
    if response.headers.get(hdrs.CONTENT_ENCODING, "identity").strip().lower() not in ("", "identity"):
        raise FetchFailed(
            f"{request.target.host} sends the file in a compressed transfer that was not asked for.",
            field=request.field,
        )


def _reason(error: BaseException) -> str:
    """Why there is no answer, as what follows the host's name."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "was not found"
        case aiohttp.ClientConnectorCertificateError():
            return "has no valid TLS certificate"
        case aiohttp.ClientSSLError():
            return "could not be reached over TLS"
        case TimeoutError():
            return "did not answer in time"
        case aiohttp.ClientConnectorError():
            return "did not accept the connection"
        case aiohttp.ClientResponseError():
            return "sent an answer that is not HTTP"
    return "broke off the connection"
