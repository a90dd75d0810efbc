"""The aiohttp application: routes of all dialects behind one authentication and one error path."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from aiohttp.http_parser import RawRequestMessage

from convertd.errors import ConvertdError, EngineError, InvalidRequest, Unavailable
from convertd.web.auth import Authenticator
from convertd.web.connections import SERVER_NAME, Connection, ErrorRenderer
from convertd.web.problems import Problem
from convertd.web.rates import RateLimiter

log = logging.getLogger(__name__)

ACCOUNT: Final = web.RequestKey("account", str)
"""The account that a request acts for, on every route that is not public."""

KEEPALIVE_SECONDS: Final = 75.0
SHUTDOWN_SECONDS: Final = 2.0
BACKLOG: Final = 1024
TARGET_BYTES: Final = 32 * 1024
"""Longest address: where the file is the body, all else stands in the query, JSON included."""
_HOST: Final = re.compile(r"([\w.~%-]{0,255}|\[[0-9a-f:.]{2,45}\])(:\d{1,5})?", re.ASCII | re.IGNORECASE)


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """One method and path."""

    method: str
    path: str
    handler: Handler
    public: bool = False
    """Needs no key."""
    accepts_work: bool = False
    """Refused while the server stops."""


_SLASHES: Final = re.compile("//+")


def _tidied(message: RawRequestMessage) -> RawRequestMessage:
    """The request without slashes too many in its address, as come of a base URL that ends in one.

    No redirect does that: many clients do not send their body again. An address that is sent whole counts
    as its path: the host that this server has is that of the Host header, which is checked.
    """
    url = message.url
    if url.absolute:
        url = url.relative()
    tidy = _SLASHES.sub("/", url.raw_path).rstrip("/") or "/"
    if tidy != url.raw_path:
        url = url.with_path(tidy, encoded=True, keep_query=True)
    return message if url is message.url else message._replace(url=url)


def _check_host(request: web.Request) -> None:
    """Addresses in replies and callbacks begin with what the client calls the server."""
    if not _HOST.fullmatch(request.host):
        raise InvalidRequest("The Host header is not a host, with a port or without.")


async def _name_server(request: web.Request, response: web.StreamResponse) -> None:
    """Say who answers, but not on which versions of which libraries."""
    response.headers["Server"] = SERVER_NAME


class Server:
    """Listens, authenticates, and turns every error into the form of the dialect that was addressed."""

    def __init__(
        self,
        *,
        routes: Iterable[Route],
        authenticator: Authenticator,
        rates: RateLimiter,
        render_error: ErrorRenderer,
    ) -> None:
        """Does not listen before :meth:`start`."""
        self._authenticator = authenticator
        self._rates = rates
        self._render_error = render_error
        self._draining = False
        self.app = web.Application(middlewares=[self._farewell, self._errors])
        self.app.on_response_prepare.append(_name_server)
        self._add(routes)
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None

    def _add(self, routes: Iterable[Route]) -> None:
        """Register the routes; whatever answers GET answers HEAD as well (RFC 9110, 9.1), but for a GET that
        converts: nobody wants all that work for its headers."""
        table: dict[tuple[str, str], Handler] = {}
        heads: dict[tuple[str, str], Handler] = {}
        for route in routes:
            table[route.method, route.path] = handler = self._guarded(route)
            if route.method == "GET" and not route.accepts_work:
                heads["HEAD", route.path] = handler
        # By path: aiohttp joins only neighbours into one resource, and tries resource after resource.
        for (method, path), handler in sorted((heads | table).items(), key=lambda item: item[0][1]):
            self.app.router.add_route(method, path, handler, expect_handler=self._expect)

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port. Raises ``OSError`` when the address cannot be had."""
        self._runner = web.AppRunner(self.app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
        await self._runner.setup()
        manager = self._runner.server
        assert manager is not None  # noqa: S101 - there is one after setup
        make = manager.request_factory
        manager.request_factory = lambda message, *rest: make(_tidied(message), *rest)
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            lambda: Connection(
                manager,
                loop=loop,
                render_error=self._render_error,
                access_log=None,
                keepalive_timeout=KEEPALIVE_SECONDS,
                max_line_size=TARGET_BYTES,
                auto_decompress=False,  # or it unpacks what nobody reads, too; see Intake
            ),
            host,
            port,
            backlog=BACKLOG,
        )
        return int(self._listener.sockets[0].getsockname()[1])

    def drain(self) -> None:
        """From now on refuse new work with 503, while polls and downloads go on.

        Each answer ends its connection: a request that is sent into one that waits might be lost at the stop.
        """
        self._draining = True

    async def stop(self) -> None:
        """Close every connection."""
        if self._listener is not None:
            self._listener.close()
        if self._runner is not None:
            await self._runner.cleanup()

    def _guarded(self, route: Route) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            if not route.public:
                request[ACCOUNT] = self._authenticator.account(request)
            if route.accepts_work and self._draining:
                raise Unavailable("The server is stopping; try again shortly.", retry_after=10)
            if route.accepts_work:
                self._rates.take(request[ACCOUNT])
            return await route.handler(request)

        return handle

    async def _expect(self, request: web.Request) -> web.StreamResponse | None:
        """Invite the body that a client holds back; refuse any other expectation."""
        if request.headers["Expect"].lower() != "100-continue":
            problem = Problem(
                status=417, code=InvalidRequest.code, message="Only 'Expect: 100-continue' is met."
            )
            return self._render_error(request, problem)
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # or aiohttp takes it for a part of the answer
        return None

    @web.middleware
    async def _farewell(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        if self._draining:
            response.force_close()
        return response

    @web.middleware
    async def _errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            _check_host(request)
            self._authenticator.check_origin(request)
            return await handler(request)
        except ConvertdError as error:
            if error.detail:  # without the query, which may hold a callback's secret
                log.info(
                    "%s %s: %s: %s", request.method, request.rel_url.raw_path, error.message, error.detail
                )
            problem = Problem.of(error)
        except web.HTTPException as exception:
            if exception.status < 400:
                raise
            problem = Problem.of_http(exception)
        except ConnectionError:
            raise  # nobody is left to be told
        except Exception:
            log.exception("%s %s failed", request.method, request.rel_url.raw_path)
            problem = Problem.of(EngineError("Something went wrong inside the server; its log says what."))
        return self._render_error(request, problem)
