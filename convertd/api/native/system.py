"""Downloads, formats, health and the API's own description."""

from __future__ import annotations

import platform
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property

import msgspec
from aiohttp import web

from convertd.api.dialect import Services
from convertd.api.native.capabilities import formats_document
from convertd.api.native.openapi import openapi_document
from convertd.api.native.requests import check_parameters, format_named
from convertd.errors import Unavailable
from convertd.web.replies import json_response

Readiness = Callable[[], Awaitable[Mapping[str, bool]]]
"""Checks by name, and whether each part is well."""


class SystemHandlers:
    """Handlers of everything that is not a job."""

    def __init__(self, services: Services, *, version: str, readiness: Readiness) -> None:
        self._services = services
        self._version = version
        self._readiness = readiness
        self._openapi = msgspec.json.encode(openapi_document(version))

    async def download(self, request: web.Request) -> web.StreamResponse:
        """GET, HEAD /download/{token}: an output, or all of a job, by signed link, without a key."""
        return await self._services.download(request, request.match_info["token"])

    async def formats(self, request: web.Request) -> web.Response:
        """GET /formats, narrowed by ``operation``, ``source`` and ``target``."""
        check_parameters(request, "operation", "source", "target")
        if not request.query:
            return web.Response(body=self._all_formats, content_type="application/json")
        document = formats_document(
            self._services.registry,
            operation=request.query.get("operation"),
            source=_format_name(request, "source"),
            target=_format_name(request, "target"),
        )
        return json_response(document)

    @cached_property
    def _all_formats(self) -> bytes:
        """Thousands of routes, which take longer to write than a small picture to convert."""
        return msgspec.json.encode(formats_document(self._services.registry))

    async def health(self, request: web.Request) -> web.Response:
        """GET /healthz, and / for programs that try whether a server is there: the process answers."""
        return json_response({"status": "ok"})

    async def ready(self, request: web.Request) -> web.Response:
        """GET /readyz: database, disk, sandbox and claim loop are well."""
        checks = await self._readiness()
        ill = sorted(name for name, well in checks.items() if not well)
        if ill:
            raise Unavailable(f"Not ready: {', '.join(ill)}.", retry_after=5)
        return json_response({"status": "ok", "checks": dict.fromkeys(checks, "ok")})

    async def show_version(self, request: web.Request) -> web.Response:
        """GET /version."""
        check_parameters(request)
        engines = {
            name: availability.version
            for name, availability in self._services.registry.availability.items()
            if availability.ok
        }
        return json_response(
            {"version": self._version, "python": platform.python_version(), "engines": engines}
        )

    async def openapi(self, request: web.Request) -> web.Response:
        """GET /openapi.json."""
        check_parameters(request)
        return web.Response(body=self._openapi, content_type="application/json")


def _format_name(request: web.Request, name: str) -> str | None:
    word = request.query.get(name)
    return format_named(word, field=name).name if word else None
