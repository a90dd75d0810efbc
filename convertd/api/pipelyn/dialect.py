"""The routes of the media API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from aiohttp import hdrs, web
from msgspec.structs import replace

from convertd.api.dialect import Services
from convertd.api.pipelyn import views
from convertd.api.pipelyn.presets import DEFAULT, IMAGE, PRESETS, kind_of, preset_named, task_of
from convertd.api.reception import Desk, Order
from convertd.errors import FileInvalid, InvalidRequest, NotReady, UnsupportedFormat
from convertd.model.callback import CallbackForm
from convertd.model.formats import identify_content
from convertd.model.job import Job, State
from convertd.model.operations import CONVERT
from convertd.web.idempotency import key_of
from convertd.web.problems import Problem
from convertd.web.replies import json_response
from convertd.web.server import ACCOUNT, Route

_PATHS: Final = ("/api/media/jobs", "/api/media/optimize", "/api/media/presets", "/api/media/limits")
_PUBLIC_PATHS: Final = ("/api/usage", "/api/health")
_DOWNLOADS: Final = "/api/media/jobs/download"
_FILE_PART: Final = "media"
_MEGABYTE: Final = 1024 * 1024

_WAIT_SECONDS: Final = {True: 30.0, False: 240.0}
"""How long a request waits for its picture (or else its video); the service's own limits."""


class PipelynDialect:
    """Implements :class:`convertd.api.dialect.Dialect`."""

    name = "pipelyn"
    guide = (
        "This API has /api/media/jobs, /api/media/jobs/{id}, /api/media/jobs/{id}/download, "
        "/api/media/optimize, /api/media/presets, /api/media/limits, /api/usage and /api/health."
    )
    callback_form: CallbackForm | None = None

    def __init__(self, services: Services) -> None:
        self._services = services
        self._jobs = services.jobs

    def routes(self) -> Sequence[Route]:
        return (
            Route(method="POST", path="/api/media/jobs", handler=self._create, accepts_work=True),
            Route(method="GET", path="/api/media/jobs/{id}", handler=self._show),
            Route(method="GET", path="/api/media/jobs/{id}/download", handler=self._download),
            Route(method="GET", path=f"{_DOWNLOADS}/{{token}}", handler=self._linked, public=True),
            Route(method="POST", path="/api/media/optimize", handler=self._optimize, accepts_work=True),
            Route(method="GET", path="/api/media/presets", handler=self._presets),
            Route(method="GET", path="/api/media/limits", handler=self._limits),
            Route(method="GET", path="/api/usage", handler=self._usage),
            Route(method="GET", path="/api/health", handler=self._health, public=True),
        )

    def owns(self, path: str) -> bool:
        return path in _PUBLIC_PATHS or any(path == own or path.startswith(f"{own}/") for own in _PATHS)

    def error(self, request: web.BaseRequest, problem: Problem) -> web.StreamResponse:
        status, code = views.ERRORS[problem.code]
        if problem.code == "file_invalid" and problem.field is not None:
            status, code = views.ERRORS[InvalidRequest.code]  # what is wrong with the upload as such
        if problem.late_upload:
            status, code = 408, "invalid-input"
        if problem.status in (405, 412, 416, 417):
            status = problem.status
        return json_response({"error": problem.message, "code": code}, status=status, headers=problem.headers)

    # Jobs

    async def _create(self, request: web.Request) -> web.StreamResponse:
        """POST /api/media/jobs."""
        job = await self._submit(request)
        created = {
            "jobId": job.id,
            "status": views.STATUS[State.QUEUED],
            "createdAt": views.milliseconds(job.created_at),
        }
        return json_response(created, status=202)

    async def _submit(self, request: web.Request) -> Job:
        services = self._services
        if request.content_type != "multipart/form-data":
            raise InvalidRequest("Send a multipart form with the file as its part 'media'.", field=_FILE_PART)
        async with services.reception.desk(request, dialect=self.name, key=key_of(request)) as desk:
            fields = await desk.form(files=(_FILE_PART,))
            if len(desk.files) != 1:
                raise InvalidRequest("Send one file as the form's part 'media'.", field=_FILE_PART)
            return await desk.earlier(fields) or await desk.submit(self._order(desk, dict(fields)))

    def _order(self, desk: Desk, fields: dict[str, str]) -> Order:
        [upload] = desk.files
        preset = preset_named(fields.get("preset"))
        kind = kind_of(upload.media_type)
        try:
            [media] = desk.artifacts(identify_content(upload.head))  # whatever it is called
        except UnsupportedFormat as error:  # the kind is served; it is this file that cannot be read
            raise FileInvalid(error.message) from error
        return Order(
            operation=CONVERT,
            inputs=(replace(media, name=views.safe_name(media.name)),),
            tasks=(task_of(self._services.registry, preset, kind, media),),
            extras={"preset": preset.name, "kind": kind, "filename": media.name},
        )

    async def _show(self, request: web.Request) -> web.StreamResponse:
        """GET /api/media/jobs/{id}."""
        job = await self._own(request)
        url = None
        if job.state is State.SUCCEEDED and not job.outputs[0].gone:
            services = self._services
            place = f"{services.origin(request)}{_DOWNLOADS}"
            url = services.link(place, job.outputs[0].key, services.links_until(job))
        return json_response(views.status_view(job, download_url=url))

    async def _own(self, request: web.Request) -> Job:
        """The job of the address."""
        return await self._jobs.get(request[ACCOUNT], request.match_info["id"], dialect=self.name)

    async def _download(self, request: web.Request) -> web.StreamResponse:
        """GET /api/media/jobs/{id}/download."""
        job = await self._own(request)
        if job.state is not State.SUCCEEDED:
            raise NotReady(f"The job is {views.STATUS[job.state]}; there is nothing to download.")
        response = await self._services.send(request, job.outputs[0].key)
        response.headers[hdrs.CACHE_CONTROL] = "no-store"
        return response

    async def _linked(self, request: web.Request) -> web.StreamResponse:
        """GET /api/media/jobs/download/{token}: where a ``downloadUrl`` leads."""
        return await self._services.download(request, request.match_info["token"])

    async def _optimize(self, request: web.Request) -> web.StreamResponse:
        """POST /api/media/optimize: the same in one request."""
        job = await self._submit(request)
        within = _WAIT_SECONDS[job.extras["kind"] == IMAGE]
        job = await self._services.reception.succeeded(job, within=within)
        response = await self._services.send(request, job.outputs[0].key)
        disposition = response.headers[hdrs.CONTENT_DISPOSITION]
        response.headers[hdrs.CONTENT_DISPOSITION] = disposition.replace("attachment", "inline", 1)
        response.headers[hdrs.CACHE_CONTROL] = "no-store"
        response.headers.update(await self._result_headers(job))
        return response

    async def _result_headers(self, job: Job) -> dict[str, str]:
        result = views.result_view(job)
        total = await self._jobs.usage(job.account, dialect=self.name)
        values = {
            "kind": result["kind"],
            "preset": job.extras["preset"],
            "strategy": result["strategy"],
            "input-bytes": job.inputs[0].bytes,
            "output-bytes": result["outputBytes"],
            "saved-bytes": result["savedBytes"],
            "saved-percent": result["savedPercent"],
            "input-duration": result["inputDurationSec"],
            "output-duration": result["outputDurationSec"],
            "input-width": result["inputWidth"],
            "output-width": result["outputWidth"],
            "total-jobs": total.succeeded,
            "total-bytes-saved": total.saved_bytes,
        }
        return {f"x-pipelyn-{name}": _header(value) for name, value in values.items()}

    # Facts

    async def _presets(self, request: web.Request) -> web.StreamResponse:
        """GET /api/media/presets."""
        return json_response({"defaultPreset": DEFAULT, "presets": list(PRESETS.values())})

    async def _limits(self, request: web.Request) -> web.StreamResponse:
        """GET /api/media/limits: this server's own."""
        most = self._services.reception.intake.limits.file
        return json_response({"maxInputBytes": most, "maxInputMegabytes": -(-most // _MEGABYTE)})

    async def _usage(self, request: web.Request) -> web.StreamResponse:
        """GET /api/usage: of the account, through this API."""
        total = await self._jobs.usage(request[ACCOUNT], dialect=self.name)
        return json_response(
            {
                "totalJobs": total.succeeded,
                "totalInputBytes": total.input_bytes,
                "totalOutputBytes": total.output_bytes,
                "totalSavedBytes": total.saved_bytes,
            }
        )

    async def _health(self, request: web.Request) -> web.StreamResponse:
        """GET /api/health."""
        return json_response({"ok": True})


def _header(value: Any) -> str:
    """Empty where it is not known."""
    return "" if value is None else str(value)
