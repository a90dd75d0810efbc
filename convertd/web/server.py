"""The aiohttp application: routes of all dialects behind one authentication and one error path."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from convertd.errors import ConvertdError, EngineError, Unavailable
from convertd.web.auth import Authenticator
from convertd.web.problems import Problem

log = logging.getLogger(__name__)

ACCOUNT: Final = web.RequestKey("account", str)
"""The account that a request acts for, on every route that is not public."""

ErrorRenderer = Callable[[web.Request, Problem], web.StreamResponse]

KEEPALIVE_SECONDS: Final = 75.0
SHUTDOWN_SECONDS: Final = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """One method and path."""

    method: str
    path: str
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    public: bool = False
    """Needs no key."""
    accepts_work: bool = False
    """Refused while the server stops."""


async def _name_server(request: web.Request, response: web.StreamResponse) -> None:
    """Say who answers, but not on which versions of which libraries."""
    response.headers["Server"] = "convertd"


class Server:
    """Listens, authenticates, and turns every error into the form of the dialect that was addressed."""

    def __init__(
        self, *, routes: Iterable[Route], authenticator: Authenticator, render_error: ErrorRenderer
    ) -> None:
        """Does not listen before :meth:`start`."""
        self._authenticator = authenticator
        self._render_error = render_error
        self._draining = False
        self.app = web.Application(middlewares=[self._errors])
        self.app.on_response_prepare.append(_name_server)
        for route in routes:
            self.app.router.add_route(route.method, route.path, self._guarded(route))
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port. Raises ``OSError`` when the address cannot be had."""
        self._runner = web.AppRunner(
            self.app,
            access_log=None,
            keepalive_timeout=KEEPALIVE_SECONDS,
            shutdown_timeout=SHUTDOWN_SECONDS,
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, backlog=1024)
        await site.start()
        return int(self._runner.addresses[0][1])

    def drain(self) -> None:
        """From now on refuse new work with 503, while polls and downloads go on."""
        self._draining = True

    async def stop(self) -> None:
        """Close every connection."""
        if self._runner is not None:
            await self._runner.cleanup()

    def _guarded(self, route: Route) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            if not route.public:
                request[ACCOUNT] = self._authenticator.account(request)
            if route.accepts_work and self._draining:
                raise Unavailable("The server is stopping; try again shortly.", retry_after=10)
            return await route.handler(request)

        return handle

    @web.middleware
    async def _errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            self._authenticator.check_origin(request)
            return await handler(request)
        except ConvertdError as error:
            if error.detail:
                log.info("%s %s: %s: %s", request.method, request.path, error.message, error.detail)
            problem = Problem.of(error)
        except web.HTTPException as exception:
            if exception.status < 400:
                raise
            problem = Problem.of_http(exception)
        except ConnectionError:
            raise  # nobody is left to be told
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            problem = Problem.of(EngineError("Something went wrong inside the server; its log says what."))
        return self._render_error(request, problem)
