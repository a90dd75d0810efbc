"""Converting, compressing and the media tools, at once or as jobs; reading and cancelling jobs."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Final

from aiohttp import web

from convertd.api.convertly import views
from convertd.api.convertly.conversions import read_compression, read_conversion
from convertd.api.convertly.forms import Fields
from convertd.api.convertly.submitting import Submitter
from convertd.api.convertly.tasks import Wish
from convertd.api.convertly.tools import file_parts, known_tool, read_tool
from convertd.api.dialect import Services
from convertd.errors import Conflict, InvalidRequest
from convertd.jobs.store import Selection
from convertd.model.formats import FORMATS
from convertd.model.job import Job, State
from convertd.model.operations import COMPRESS, CONVERT, INSPECT
from convertd.web.queries import page_offset, page_size
from convertd.web.replies import json_response
from convertd.web.server import ACCOUNT

SYNC_SECONDS: Final = 120.0
"""How long a request waits for its result."""
INLINE_BYTES: Final = 8 * 1024 * 1024
"""Results of up to so many bytes together come back in the answer itself, as ``data:`` URLs."""
_STATES: Final = {
    word: tuple(state for state in State if views.STATUS[state] == word)
    for word in dict.fromkeys(views.STATUS.values())
}


class AnotherService(InvalidRequest):
    """A request that is meant for another service's anonymous conversion, which has this very path."""


class JobHandlers:
    """Handlers under ``/api/jobs``, ``/api/convert``, ``/api/compress`` and ``/api/media``."""

    def __init__(self, services: Services, *, dialect: str) -> None:
        self._services = services
        self._jobs = services.jobs
        self._dialect = dialect
        self._submitter = Submitter(services, dialect=dialect)

    # Jobs

    async def create(self, request: web.Request) -> web.Response:
        """POST /api/jobs."""
        job, _ = await self._submitter.job(request, _read_job)
        return json_response(views.created_view(job))

    async def show(self, request: web.Request) -> web.Response:
        """GET /api/jobs/{id}."""
        return json_response(self._view(request, await self._job(request)))

    async def list(self, request: web.Request) -> web.Response:
        """GET /api/jobs, newest first."""
        limit = page_size(request)
        offset = page_offset(request, limit)
        status = request.query.get("status", "").lower()
        if status and status not in _STATES:
            raise InvalidRequest(f"'status' is one of {', '.join(_STATES)}.", field="status")
        states = _STATES.get(status, ())
        selection = Selection(account=request[ACCOUNT], dialect=self._dialect, states=states)
        total = await self._jobs.count(selection)
        jobs = await self._jobs.page(selection, offset=offset, limit=limit)
        pagination = {
            "limit": limit,
            "offset": offset,
            "total": total,
            "hasMore": offset + len(jobs) < total,
        }
        return json_response({"jobs": [self._view(request, job) for job in jobs], "pagination": pagination})

    async def cancel(self, request: web.Request) -> web.Response:
        """DELETE /api/jobs/{id}, which the service allows only while nothing has begun."""
        job = await self._job(request)
        try:
            job = await self._jobs.cancel(request[ACCOUNT], job.id, only_queued=True)
        except Conflict:
            status = views.STATUS[(await self._job(request)).state]
            raise Conflict(f"The job is {status}; only a pending job can be cancelled.") from None
        return json_response(self._view(request, job))

    async def _job(self, request: web.Request) -> Job:
        return await self._jobs.get(request[ACCOUNT], request.match_info["id"], dialect=self._dialect)

    def _view(self, request: web.Request, job: Job) -> dict[str, Any]:
        return views.job_view(job, self._link(request, job))

    def _link(self, request: web.Request, job: Job) -> views.Link:
        return views.link_maker(self._services, self._services.origin(request), job)

    async def download(self, request: web.Request) -> web.StreamResponse:
        """GET /api/jobs/download/{token}: where a ``downloadUrl`` leads; it needs no key."""
        return await self._services.download(request, request.match_info["token"])

    # At once

    async def convert(self, request: web.Request) -> web.Response:
        """POST /api/convert."""
        try:
            job, fields = await self._submitter.job(request, _read_convert)
        except AnotherService as error:
            body = {"error": {"code": "bad_request", "message": error.message}}
            return json_response(body, status=400)
        return await self._stored(request, job, fields)

    async def compress(self, request: web.Request) -> web.Response:
        """POST /api/compress."""
        job, fields = await self._submitter.job(request, lambda fields, parts: read_compression(fields))
        return await self._stored(request, job, fields)

    async def tool(self, request: web.Request) -> web.Response:
        """POST /api/media/{tool}; with ``async`` (or ``background``) it becomes a job."""
        name = request.match_info["tool"]
        known_tool(name)  # before the body is read
        job, fields = await self._submitter.job(
            request, lambda fields, parts: read_tool(name, fields, parts), parts=file_parts(name)
        )
        if fields.flag("async") or fields.flag("background"):
            return json_response(views.created_view(job))
        return await self._worked(request, job, fields)

    async def _stored(self, request: web.Request, job: Job, fields: Fields) -> web.Response:
        """The service's answer to a conversion that was waited for."""
        job = await self._services.reception.succeeded(job, within=SYNC_SECONDS)
        saved = fields.flag("saveToStorage") is True
        link, notice = await self._links(request, job, saved=saved)
        return json_response(
            {
                "files": views.file_views(job, link),
                "storage": {"saved": saved, "notice": notice},
                "failures": views.failures(job),
            }
        )

    async def _worked(self, request: web.Request, job: Job, fields: Fields) -> web.Response:
        """The service's answer to a media tool that was waited for."""
        job = await self._services.reception.succeeded(job, within=SYNC_SECONDS)
        link, _ = await self._links(request, job, saved=fields.flag("saveToStorage") is True)
        answer: dict[str, Any] = {
            "files": views.tool_file_views(job, link),
            "failures": views.failures(job),
        }
        if job.operation == INSPECT:
            answer["media"] = views.media_view(job, job.outputs[0])
        return json_response(answer)

    async def _links(self, request: web.Request, job: Job, *, saved: bool) -> tuple[views.Link, str | None]:
        """Signed links, or without storage the bytes themselves; and a word on it where that is too much."""
        link = self._link(request, job)
        if saved:
            return link, None
        if sum(output.bytes for output in job.outputs) > INLINE_BYTES:
            return link, "The results are too large for data: URLs; the links to them expire."
        inline = {output.key: await self._data_url(output.key, output.format) for output in job.outputs}
        return lambda key: inline.get(key) or link(key), None

    async def _data_url(self, key: str, fmt: str) -> str:
        reader = await self._services.blobs.open(key)
        try:
            data = b"".join([chunk async for chunk in reader.chunks(0, reader.size)])
        finally:
            reader.close()
        media_type = FORMATS[fmt].media_type.replace(" ", "")
        return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def _read_job(fields: Fields, parts: Sequence[str]) -> Wish:
    operation = fields.word("jobType", (CONVERT, COMPRESS)) or CONVERT
    return read_conversion(fields, len(parts), operation=operation)


def _read_convert(fields: Fields, parts: Sequence[str]) -> Wish:
    if "target" in fields and "format" not in fields and "formats" not in fields:
        raise AnotherService(
            "Conversions by 'file' and 'target' are at POST /v1/convert here; "
            "POST /api/convert takes 'files' and 'format'."
        )
    return read_conversion(fields, len(parts))
