"""The routes of the Convert API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

from aiohttp import hdrs, web
from msgspec.structs import replace

from convertd.api.dialect import Services, has_all_outputs, result_key
from convertd.api.reception import Desk, Order, check_result
from convertd.api.toolkitapi import requests, views
from convertd.api.toolkitapi.endpoints import (
    CATEGORIES,
    MEDIA_INFO,
    UNSERVED,
    VIDEO_THUMBNAIL,
    Endpoint,
    formats_view,
)
from convertd.api.toolkitapi.requests import Wanted
from convertd.errors import InvalidRequest, NotFound, UnsupportedFormat
from convertd.jobs.submission import TaskRequest
from convertd.model.callback import CallbackForm
from convertd.model.formats import FORMATS, identify_as
from convertd.model.job import Artifact, Job, State
from convertd.web.idempotency import key_of
from convertd.web.negotiation import prefers_json
from convertd.web.objects import json_object
from convertd.web.problems import Problem
from convertd.web.replies import json_response
from convertd.web.server import ACCOUNT, Handler, Route

_DOWNLOADS: Final = "/v1/convert/download"
_BODY_BYTES: Final = 4 * 1024 * 1024
"""Longest JSON body, with the source that may stand in it."""
_SMALL_BYTES: Final = 10 * 1024 * 1024
_SMALL_SECONDS: Final = 10.0
"""A source of at most so many bytes is waited for so long; clients give up after 30 seconds."""
_STREAM_SECONDS: Final = 240.0
_INFO_SECONDS: Final = 14.0
"""For the file to be begun, and as long for it to end."""
_POLL_AFTER: Final = "2"
_LIVENESS: Final = ("/v1/status", "/v1")


class ToolkitDialect:
    """Implements :class:`convertd.api.dialect.Dialect`."""

    name = "toolkitapi"
    guide = (
        "This API has /v1/convert/media, /v1/convert/document, /v1/convert/spreadsheet, "
        "/v1/convert/presentation, /v1/convert/ebook, /v1/convert/data, /v1/convert/markup, "
        "/v1/convert/video-thumbnail, /v1/convert/media-info, /v1/convert/formats and "
        "/v1/convert/jobs/{job_id}."
    )
    callback_form: CallbackForm | None = None

    def __init__(self, services: Services) -> None:
        self._services = services
        self._jobs = services.jobs
        self._listed: dict[tuple[str, ...], dict[str, Any]] = {}

    def routes(self) -> Sequence[Route]:
        # A variable without a pattern matches no braces, which a published client sends as they stand.
        poll = "jobs/{job_id:[^/]+}"
        return (
            self._route("GET", f"/v1/convert/{poll}", self._show),
            self._route("GET", f"/convert/{poll}", self._show),
            self._route("GET", f"{_DOWNLOADS}/{{object_name:.+}}", self._download, public=True),
            *(route for endpoint in CATEGORIES.values() for route in self._both(endpoint)),
            self._work("POST", VIDEO_THUMBNAIL, self._convert),
            self._work("POST", MEDIA_INFO, self._media_info),
            *(
                self._route("POST", f"/v1/convert/{name}", partial(_unserved, about))
                for name, about in UNSERVED.items()
            ),
            self._route("GET", "/v1/convert/supported-media-formats", self._media_formats),
            self._route("GET", "/v1/convert/formats", self._formats),
            self._route("GET", "/v1/convert/formats/{category:[^/]+}", self._category),
            *(self._route("GET", path, self._status, public=True) for path in _LIVENESS),
        )

    def _both(self, endpoint: Endpoint) -> tuple[Route, Route]:
        return self._work("POST", endpoint, self._convert), self._work("GET", endpoint, self._stream)

    def _work(
        self,
        method: str,
        endpoint: Endpoint,
        handler: Callable[[Endpoint, web.Request], Awaitable[web.StreamResponse]],
    ) -> Route:
        return self._route(method, endpoint.path, partial(handler, endpoint), accepts_work=True)

    def _route(
        self,
        method: str,
        path: str,
        handler: Handler,
        *,
        public: bool = False,
        accepts_work: bool = False,
    ) -> Route:
        told = self._services.with_rate_headers(handler)
        return Route(method=method, path=path, handler=told, public=public, accepts_work=accepts_work)

    def owns(self, path: str) -> bool:
        return path.startswith(("/v1/convert/", "/convert/jobs/")) or path in _LIVENESS

    def error(self, request: web.BaseRequest, problem: Problem) -> web.StreamResponse:
        status = views.error_status(problem)
        headers = views.error_headers(problem, status) | self._services.rate_headers(request)
        return json_response(views.error_view(problem), status=status, headers=headers)

    # Converting

    async def _convert(self, endpoint: Endpoint, request: web.Request) -> web.StreamResponse:
        """POST: the finished job where that takes but a moment, else the job to poll."""
        job = await self._submit(endpoint, request)
        if job.inputs[0].bytes <= _SMALL_BYTES:
            job = await self._jobs.wait_terminal(job, _SMALL_SECONDS)
        check_result(job)
        view = self._view(request, job)
        if job.state is State.SUCCEEDED:
            return json_response(view)
        poll_url = f"{self._services.origin(request)}/v1/convert/jobs/{job.id}"
        headers: dict[str, str] = {hdrs.LOCATION: poll_url, hdrs.RETRY_AFTER: _POLL_AFTER}
        return json_response(view | {"poll_url": poll_url}, status=202, headers=headers)

    async def _stream(self, endpoint: Endpoint, request: web.Request) -> web.StreamResponse:
        """GET: the result itself, or where it is for those who can read nothing but JSON."""
        job = await self._submit(endpoint, request)
        job = await self._services.reception.succeeded(job, within=_STREAM_SECONDS)
        if prefers_json(request):
            return json_response(self._view(request, job))
        return await self._services.send(request, result_key(job))

    async def _media_info(self, endpoint: Endpoint, request: web.Request) -> web.StreamResponse:
        """POST /v1/convert/media-info."""
        job = await self._submit(endpoint, request)
        job = await self._services.reception.succeeded(job, within=_INFO_SECONDS)
        return json_response(views.media_view(job.inputs[0], job.outputs[0].facts))

    async def _submit(self, endpoint: Endpoint, request: web.Request) -> Job:
        services = self._services
        async with services.reception.desk(request, dialect=self.name, key=key_of(request)) as desk:
            fields = await _fields(request, desk)
            wanted = requests.read(endpoint, fields)
            if wanted.source is not None:  # refuse before anything is fetched
                wanted.check_route(services.registry, endpoint, wanted.source)
            earlier = await desk.earlier(fields.items())
            if earlier is not None:
                return earlier
            source = await _bring(desk, wanted)
            options = wanted.check_route(services.registry, endpoint, source.format)
            return await desk.submit(_order(endpoint, wanted, source, options))

    # Jobs

    async def _show(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/convert/jobs/{job_id}."""
        job = await self._jobs.get(request[ACCOUNT], _variable(request, "job_id"), dialect=self.name)
        return json_response(self._view(request, job))

    def _view(self, request: web.Request, job: Job) -> dict[str, Any]:
        services = self._services
        url = None
        if job.state is State.SUCCEEDED and has_all_outputs(job):
            place = f"{services.origin(request)}{_DOWNLOADS}"
            url = services.link(place, result_key(job), services.links_until(job))
        return views.job_view(job, file_url=url)

    async def _download(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/convert/download/{object_name}: the last part of a ``file_url`` is such a name."""
        services = self._services
        token = _variable(request, "object_name")
        if request.match_info["object_name"] != token and prefers_json(request):
            # The published client, which sends the path's own pattern, can read nothing else.
            services.signer.verify(token, services.clock())
            return json_response({"file_url": f"{services.origin(request)}{_DOWNLOADS}/{token}"})
        return await services.download(request, token)

    # Facts

    async def _media_formats(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/convert/supported-media-formats."""
        return json_response(self._formats_of("media"))

    async def _formats(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/convert/formats."""
        categories = {name: self._formats_of(name) for name in CATEGORIES}
        return json_response(self._formats_of(*CATEGORIES) | {"categories": categories})

    async def _category(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/convert/formats/{category}."""
        category = _variable(request, "category")
        if category not in CATEGORIES:
            raise NotFound(f"There is no such category; there are {', '.join(CATEGORIES)}.")
        return json_response({"category": category} | self._formats_of(category))

    def _formats_of(self, *categories: str) -> dict[str, Any]:
        """Engines do not change while the server runs."""
        if categories not in self._listed:
            endpoints = [CATEGORIES[name] for name in categories]
            self._listed[categories] = formats_view(self._services.registry, endpoints)
        return self._listed[categories]

    async def _status(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/status, and where the published client looks for the root."""
        return json_response({"status": "ok"})


async def _unserved(about: str, request: web.Request) -> web.StreamResponse:
    raise UnsupportedFormat(
        f"convertd has no engine for {about}; GET /v1/convert/formats lists what it converts."
    )


async def _fields(request: web.Request, desk: Desk) -> dict[str, Any]:
    if request.method != hdrs.METH_POST:
        return {name: request.query[name] for name in request.query}
    return json_object(await desk.text(limit=_BODY_BYTES))


async def _bring(desk: Desk, wanted: Wanted) -> Artifact:
    """The source, fetched or taken from the request itself."""
    if wanted.url is not None:
        await desk.fetch((wanted.url,), field=requests.URL)
    elif wanted.inline is not None and wanted.source is not None:
        name = f"{wanted.inline_field}.{FORMATS[wanted.source].extensions[0]}"
        await desk.inline(wanted.inline, field=wanted.inline_field, name=name)
    [upload] = desk.files
    try:
        claimed = None if wanted.source is None else identify_as(wanted.source, upload.head)
        [source] = desk.artifacts(claimed, source_field=wanted.source_field)
    except UnsupportedFormat as error:
        raise UnsupportedFormat(error.message, field=wanted.source_field) from error
    return source


def _order(endpoint: Endpoint, wanted: Wanted, source: Artifact, options: dict[str, Any]) -> Order:
    task = TaskRequest(
        inputs=(0,),
        operation=endpoint.operation,
        target=wanted.target,
        options=options,
    )
    name = wanted.output_name()
    return Order(
        operation=endpoint.operation,
        inputs=(source if name is None else replace(source, name=name),),
        tasks=(task,),
        extras={"original_filename": source.name},
    )


def _variable(request: web.Request, name: str) -> str:
    """A variable of the path, or the query's where a client left the path's own pattern as it was."""
    value = request.match_info[name]
    if value != f"{{{name}}}":
        return value
    if not request.query.get(name):
        raise InvalidRequest(f"{name!r} is missing in the address.", field=name)
    return request.query[name]
