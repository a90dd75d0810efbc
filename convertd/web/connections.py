"""A client's connection: aiohttp's, with errors in our form and a deadline for the first request's head."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from convertd.errors import EngineError, InvalidRequest
from convertd.web.problems import Problem, problem_response

log = logging.getLogger(__name__)

HEAD_SECONDS: Final = 20.0
"""A client that has not sent a whole request head by then is cut off."""

SERVER_NAME: Final = "convertd"
_NO_REQUEST: Final = "UNKNOWN"
"""The method of what aiohttp puts in the place of bytes that are no request."""

ErrorRenderer = Callable[[web.BaseRequest, Problem], web.StreamResponse]


class Connection(RequestHandler):
    """One TCP connection."""

    def __init__(
        self,
        manager: web.Server,
        *,
        loop: asyncio.AbstractEventLoop,
        render_error: ErrorRenderer,
        **options: Any,
    ) -> None:
        super().__init__(manager, loop=loop, **options)
        self._render_error = render_error
        self._head_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._head_deadline = asyncio.get_running_loop().call_later(HEAD_SECONDS, self._check_head)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
        super().connection_lost(exc)

    def _check_head(self) -> None:
        if self._request_count == 0 and self.transport is not None:
            self.transport.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What aiohttp answers to bytes that are no request, and to failures outside every handler."""
        if status >= 500:
            super().handle_error(request, status, exc, message)  # for its log entry
            text, code = "Something went wrong inside the server; its log says what.", EngineError.code
        else:
            # One short line: whoever sends rubbish must not fill the log with tracebacks.
            log.info("malformed request from %s: %s", request.remote, type(exc).__name__)
            text, code = "The request is no well-formed HTTP, or its head is too long.", InvalidRequest.code
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun already")
        problem = Problem(status=status, code=code, message=text)
        known = request.method != _NO_REQUEST
        rendered = self._render_error(request, problem) if known else problem_response(problem)
        rendered.headers["Server"] = SERVER_NAME
        rendered.force_close()
        return rendered
