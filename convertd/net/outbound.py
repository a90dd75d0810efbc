"""The one gate for every request to an address that a client named: source files and callbacks.

The policy stands in the socket factory: it sees the final address of each connection, whatever the URL
spelled and however its name resolves this time. Every request has a connector of its own, so that the factory
knows for which host it works and no connection serves another. No proxy, cookies or credentials of this
machine are used.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import aiohttp
import msgspec
from aiohttp import ClientResponse, hdrs
from aiohttp.abc import AbstractResolver
from multidict import CIMultiDict

from convertd import __version__
from convertd.errors import FetchFailed, TooLarge, Unavailable
from convertd.net.answers import beginning, file_name, retry_after
from convertd.net.request import NO_ANSWER, OutboundRequest, check_whole, next_target, refusal
from convertd.net.resolver import Lookups
from convertd.net.rules import AddressPolicy
from convertd.net.targets import Target, parse_target

FETCHES: Final = 128
"""Files that are fetched at a time; each holds an open file and two connections."""
FETCHES_PER_ACCOUNT: Final = 32
"""Of these, for one account."""
_REDIRECTS: Final = 5
_REDIRECTING: Final = frozenset({301, 302, 303, 307, 308})
_ANSWER_BYTES: Final = 64 * 1024
_ANSWER_CHARACTERS: Final = 1000
_LOOPBACK: Final = ("127.0.0.1", "::1")


class OutboundPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Where requests may go and how long they may take."""

    allow: tuple[str, ...] = ()
    """Hosts, addresses and networks that are open besides the public internet; see ``parse_rule``."""
    fetch_seconds: float = 300.0
    """For a whole file, redirects and the caller's own work on it included."""
    connect_seconds: float = 10.0
    """For finding the name and connecting."""
    idle_seconds: float = 30.0
    """For the next bytes of a file to come."""
    turn_seconds: float = 30.0
    """For others' fetches to make room."""
    answer_seconds: float = 2.0
    """For the rest of the answer to a POST, once its status is there."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a POST brought back."""

    status: int
    body: str
    """Its beginning, printable."""
    retry_after: float | None
    """Seconds that the receiver asks to be left alone."""


class Fetched:
    """A file on its way."""

    def __init__(self, request: OutboundRequest, response: ClientResponse, *, max_bytes: int) -> None:
        """Raises ``TooLarge`` if the file announces more than ``max_bytes``."""
        self._request = request
        self._response = response
        self._max_bytes = max_bytes
        self.name = file_name(response.headers.get(hdrs.CONTENT_DISPOSITION), response.url)
        """One printable path segment; never empty."""
        self.media_type = response.content_type
        """``application/octet-stream`` where the far side does not say."""
        self.length = response.content_length
        """Bytes to come; ``None`` if not known."""
        self._check_size(self.length or 0)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The content, never empty-handed; raises ``FetchFailed`` if it breaks off, ``TooLarge``."""
        seen = 0
        while chunk := await self._next():
            seen += len(chunk)
            self._check_size(seen)
            yield chunk

    async def _next(self) -> bytes:
        try:
            return await self._response.content.readany()
        except NO_ANSWER as error:
            raise self._request.failure(error) from error

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            raise TooLarge(
                f"The file at this address has more bytes than this server accepts ({self._max_bytes}).",
                field=self._request.field,
            )


class Gate:
    """Fetches and posts. Many may use it at once.

    An ``account`` is who wants it: names are looked up for each apart.
    """

    def __init__(
        self,
        policy: OutboundPolicy,
        *,
        resolver: AbstractResolver | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """``resolver`` is for tests, and stays the caller's to close. Raises ValueError for a wrong
        ``policy.allow``."""
        self._limits = policy
        self._policy = AddressPolicy(policy.allow)
        self._resolver = resolver
        self._lookups = Lookups()
        self._fetches = asyncio.Semaphore(FETCHES)
        self._fetches_of: dict[str, asyncio.Semaphore] = {}
        self._now = now

    def target(self, url: str, *, field: str | None) -> Target:
        """Where the URL leads; what can be seen without the network is refused: ``InvalidRequest`` or
        ``FetchRefused``."""
        return self._judged(parse_target(url, field=field), field)

    async def resolve_check(self, url: str, *, account: str, field: str) -> None:
        """:meth:`target`, and ``FetchRefused`` too if the name leads to forbidden addresses only.

        A name that cannot be found now is no error: it may be by the time it is needed.
        """
        target = self.target(url, field=field)
        if target.address is not None:
            return
        try:
            async with asyncio.timeout(self._limits.connect_seconds):
                found = await self._names(account).resolve(target.host, target.port, socket.AF_UNSPEC)
        except (OSError, TimeoutError):
            return
        addresses = [result["host"] for result in found]
        if addresses and not any(self._admits(target, address) for address in addresses):
            raise refusal(target, field, addresses=addresses)

    @asynccontextmanager
    async def fetch(self, url: str, *, account: str, field: str, max_bytes: int) -> AsyncIterator[Fetched]:
        """GET a file of at most ``max_bytes``, following redirects, each judged like the first address.

        Raises ``InvalidRequest``, ``FetchRefused``, ``FetchFailed`` (any status but 200, and a time cap that
        covers the body of the ``async with`` as well), ``TooLarge``, and ``Unavailable`` where too many other
        files are being fetched. A redirect from https to http is
        refused: it would show the world what the client took care to hide. Compressed transfer is not asked
        for and not taken, so that what is measured is what comes.
        """
        request = self._request(account, self.target(url, field=field), field)
        try:
            async with (
                self._turn(account),
                asyncio.timeout(self._limits.fetch_seconds) as cap,
                AsyncExitStack() as stack,
            ):
                request, response = await self._follow(request, stack)
                check_whole(request, response)
                yield Fetched(request, response, max_bytes=max_bytes)
        except TimeoutError as error:
            if not cap.expired():
                raise
            raise FetchFailed(
                f"The file took longer than {self._limits.fetch_seconds:g} seconds (outbound.fetch_time).",
                field=field,
            ) from error

    @asynccontextmanager
    async def _turn(self, account: str) -> AsyncIterator[None]:
        """Room for one fetch."""
        mine = self._fetches_of.setdefault(account, asyncio.Semaphore(FETCHES_PER_ACCOUNT))
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self._limits.turn_seconds):
                    await stack.enter_async_context(mine)
                    await stack.enter_async_context(self._fetches)
            except TimeoutError as error:
                raise Unavailable(
                    "The server is fetching as many files as it may; try again shortly.", retry_after=10
                ) from error
            yield

    async def post(
        self,
        url: str,
        *,
        account: str,
        headers: Mapping[str, str],
        body: bytes,
        timeout: float,  # noqa: ASYNC109 - the caller's to choose
    ) -> Answer:
        """POST ``body``; the answer counts from its status line on, its text is for the record.

        Redirects are not followed. Raises ``InvalidRequest`` and ``FetchRefused`` for the address, and
        ``FetchFailed`` when no status came within ``timeout`` seconds.
        """
        request = self._request(account, self.target(url, field=None), None)
        response: ClientResponse | None = None
        text = bytearray()
        try:
            async with (
                asyncio.timeout(timeout) as patience,
                self._send(request, hdrs.METH_POST, headers, idle=None, data=body) as response,
            ):
                _shorten(patience, self._limits.answer_seconds)
                while len(text) < _ANSWER_BYTES and (chunk := await response.content.readany()):
                    text += chunk
        except NO_ANSWER as error:
            if response is None:
                raise request.failure(error) from error
        return Answer(
            status=response.status,
            body=beginning(bytes(text[:_ANSWER_BYTES]), length=_ANSWER_CHARACTERS),
            retry_after=retry_after(response.headers.get(hdrs.RETRY_AFTER), now=self._now()),
        )

    def _names(self, account: str) -> AbstractResolver:
        return self._resolver or self._lookups.of(account)

    def _request(self, account: str, target: Target, field: str | None) -> OutboundRequest:
        return OutboundRequest(self._policy, target, field, self._names(account))

    def _admits(self, target: Target, address: str) -> bool:
        return self._policy.admits(address, host=target.host, port=target.port)

    def _judged(self, target: Target, field: str | None) -> Target:
        """``target``, unless its host alone says that it is forbidden."""
        addresses: tuple[str, ...] = ()
        if target.address is not None:
            addresses = (str(target.address),)
        elif target.is_local_name:
            addresses = _LOOPBACK
        if addresses and not any(self._admits(target, address) for address in addresses):
            raise refusal(target, field, addresses=addresses)
        return target

    async def _follow(
        self, request: OutboundRequest, stack: AsyncExitStack
    ) -> tuple[OutboundRequest, ClientResponse]:
        """The first answer that is no redirect; what was opened is left to ``stack``."""
        for _ in range(_REDIRECTS + 1):
            try:
                response = await stack.enter_async_context(
                    self._send(request, hdrs.METH_GET, {}, idle=self._limits.idle_seconds)
                )
            except NO_ANSWER as error:
                raise request.failure(error) from error
            location = response.headers.get(hdrs.LOCATION)
            if response.status not in _REDIRECTING or not location:
                return request, response
            await stack.aclose()
            target = next_target(request.target, location, request.field)
            request = request.towards(self._judged(target, request.field))
        raise FetchFailed(f"The address leads through more than {_REDIRECTS} redirects.", field=request.field)

    @asynccontextmanager
    async def _send(
        self,
        request: OutboundRequest,
        method: str,
        headers: Mapping[str, str],
        *,
        idle: float | None,
        **options: Any,
    ) -> AsyncIterator[ClientResponse]:
        """One request over a connection of its own; at most ``idle`` seconds for the next bytes to come."""
        connector = aiohttp.TCPConnector(
            resolver=request.names,
            use_dns_cache=False,
            force_close=True,
            socket_factory=request.open_socket,
        )
        head = CIMultiDict({hdrs.USER_AGENT: f"convertd/{__version__}", hdrs.ACCEPT_ENCODING: "identity"})
        head.update(headers)
        async with (
            aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                timeout=aiohttp.ClientTimeout(connect=self._limits.connect_seconds, sock_read=idle),
            ) as session,
            session.request(
                method, request.target.url, headers=head, allow_redirects=False, **options
            ) as response,
        ):
            yield response


def _shorten(patience: asyncio.Timeout, seconds: float) -> None:
    """Let it end within so many seconds from now, if not before."""
    until = asyncio.get_running_loop().time() + seconds
    patience.reschedule(min(until, patience.when() or until))
