"""The routes, and errors in the service's form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from aiohttp import web

from convertd.api.changethisfile import requests, views
from convertd.api.changethisfile.callback import DOWNLOADS, TEST_EVENT, ChangeThisFileForm, download_url
from convertd.api.dialect import Services, result_key
from convertd.api.reception import Desk, Order
from convertd.errors import InvalidRequest, NotFound
from convertd.jobs.store import Selection
from convertd.model.callback import CallbackForm
from convertd.model.formats import identify_as
from convertd.model.job import Job, State
from convertd.model.operations import CONVERT
from convertd.model.usage import month_of
from convertd.web.negotiation import prefers_json
from convertd.web.objects import json_object
from convertd.web.problems import STATUS, Problem
from convertd.web.queries import page_offset, page_size
from convertd.web.replies import json_response
from convertd.web.server import ACCOUNT, Handler, Route

_EXACT: Final = "/v1/convert"
_PATHS: Final = (
    *("/v1/jobs", "/v1/usage", "/v1/webhooks"),
    *("/v1/keys", "/v1/billing", "/v1/plans", "/mcp"),
)
_INSTEAD: Final = {
    "/v1/keys": "Keys of this server are made on its machine: 'convertd keys create NAME'.",
    "/v1/billing": "This server is not billed: it has neither plans nor payments.",
    "/v1/plans": "This server has no plans; GET /v1/usage tells what was used.",
    "/mcp": "This server has no MCP endpoint; POST files to /v1/convert or /v1/jobs.",
}
"""What to say of the service's paths that have no place here."""

WAIT_SECONDS: Final = 120.0
"""How long ``/v1/convert`` waits for its result."""
_ANEW: Final = (State.FAILED, State.CANCELLED)
"""What a repetition of ``/v1/convert`` runs anew: only a success is answered again."""


class ChangeThisFileDialect:
    """Implements :class:`convertd.api.dialect.Dialect`."""

    name = "changethisfile"
    guide = (
        "This API has /v1/jobs, /v1/jobs/{job_id}, /v1/convert, /v1/usage, /v1/webhooks/secret and "
        "/v1/webhooks/test."
    )

    def __init__(self, services: Services) -> None:
        self.callback_form: CallbackForm | None = ChangeThisFileForm(services)
        self._services = services
        self._jobs = services.jobs

    def routes(self) -> Sequence[Route]:
        return (
            self._route("POST", "/v1/jobs", self._create, accepts_work=True),
            self._route("GET", "/v1/jobs", self._list),
            self._route("GET", "/v1/jobs/{job_id}", self._show),
            Route(method="GET", path=f"{DOWNLOADS}/{{token}}", handler=self._download, public=True),
            self._route("POST", "/v1/convert", self._convert, accepts_work=True),
            self._route("GET", "/v1/usage", self._usage),
            self._route("POST", "/v1/webhooks/secret", self._new_secret),
            self._route("POST", "/v1/webhooks/test", self._send_test, accepts_work=True),
        )

    def _route(self, method: str, path: str, handler: Handler, *, accepts_work: bool = False) -> Route:
        told = self._services.with_rate_headers(handler)
        return Route(method=method, path=path, handler=told, accepts_work=accepts_work)

    def owns(self, path: str) -> bool:
        return path == _EXACT or any(path == own or path.startswith(f"{own}/") for own in _PATHS)

    def error(self, request: web.BaseRequest, problem: Problem) -> web.StreamResponse:
        status, code = views.ERRORS[problem.code]
        if problem.status != STATUS[problem.code]:
            status = problem.status  # the framework's own: 405, 417 …
        if problem.late_upload:  # 504 is for conversions, and 408 is not in the service's list
            status, code = views.ERRORS[InvalidRequest.code]
        details: dict[str, Any] = {"field": problem.field} if problem.field is not None else {}
        if status == 429 and "Retry-After" in problem.headers:
            details["retry_after"] = int(problem.headers["Retry-After"])
        error = {"code": code, "message": _message(request, problem), "details": details}
        headers = {**problem.headers, **self._services.rate_headers(request)}
        return json_response({"error": error}, status=status, headers=headers)

    # Jobs

    async def _create(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/jobs."""
        job = await self._submit(request)
        status_url = f"{self._services.origin(request)}/v1/jobs/{job.id}"
        created = {"job_id": job.id, **views.WORDS[State.QUEUED], "status_url": status_url}
        return json_response(created, status=202, headers={"Location": status_url})

    async def _submit(self, request: web.Request) -> Job:
        """The job that the request makes, or made when it came first."""
        services, key = self._services, requests.key_of(request)
        async with services.reception.desk(request, dialect=self.name, key=key) as desk:
            fields = await self._read(request, desk)
            wanted = requests.read_fields(fields)
            if len(desk.files) != 1:
                empty = "" if requests.is_form(request) else "The body is empty. "
                raise InvalidRequest(
                    f"{empty}Send one file: as the form's part 'file', or as the body.",
                    field=requests.FILE_PART,
                )
            if wanted.filename:
                desk.rename(desk.files[0], wanted.filename)
            earlier = await desk.earlier(fields)
            if earlier is not None:
                return earlier
            [upload] = desk.files
            claimed = None if wanted.source is None else identify_as(wanted.source, upload.head)
            inputs = desk.artifacts(claimed, source_field="source")
            task = requests.task_of(services.registry, inputs[0], wanted)
            callback = await services.callback(request, wanted.webhook_url, field="webhook_url")
            order = Order(
                operation=CONVERT, inputs=inputs, tasks=(task,), metadata=wanted.metadata, callback=callback
            )
            return await desk.submit(order)

    async def _read(self, request: web.Request, desk: Desk) -> list[tuple[str, str]]:
        """The request's fields, its file stored, whichever of the two shapes it has."""
        query = list(request.query.items())
        if requests.is_form(request):
            return [*query, *await desk.form(files=(requests.FILE_PART,))]
        if request.body_exists:
            await desk.body(name="")
        return query

    async def _show(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/jobs/{job_id}: with a fresh link each time."""
        job = await self._jobs.get(request[ACCOUNT], request.match_info["job_id"], dialect=self.name)
        return json_response(self._view(request, job))

    def _view(self, request: web.Request, job: Job) -> dict[str, Any]:
        services = self._services
        return views.job_view(job, url=download_url(services, services.origin(request), job))

    async def _list(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/jobs: newest first."""
        limit = page_size(request)
        offset = page_offset(request, limit)
        selection = Selection(account=request[ACCOUNT], dialect=self.name, states=_states(request))
        total = await self._jobs.count(selection)
        found = await self._jobs.page(selection, limit=limit, offset=offset)
        return json_response(
            {
                "jobs": [self._view(request, job) for job in found],
                "limit": limit,
                "offset": offset,
                "total": total,
                "has_more": offset + len(found) < total,
            }
        )

    async def _download(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/jobs/download/{token}."""
        return await self._services.download(request, request.match_info["token"])

    async def _convert(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/convert: the bytes in one request, or where they are for those who ask for JSON."""
        job = await self._submit(request)
        job = await self._services.reception.succeeded(job, within=WAIT_SECONDS, again=_ANEW)
        if prefers_json(request):
            response: web.StreamResponse = json_response(self._view(request, job))
        else:
            response = await self._services.send(request, result_key(job))
        response.headers["X-Conversion-Time"] = f"{views.duration_ms(job)}ms"
        return response

    # The account

    async def _usage(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/usage: of this month, through this API."""
        period = month_of(self._services.clock())
        usage = await self._jobs.usage(request[ACCOUNT], dialect=self.name, since_month=period)
        return json_response(views.usage_view(usage, period=period))

    async def _new_secret(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/webhooks/secret: a new one each time, which signs from now on."""
        secret = await self._services.deliveries.rotate(request[ACCOUNT])
        return json_response({"secret": secret}, headers={"Cache-Control": "no-store"})

    async def _send_test(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/webhooks/test."""
        services = self._services
        body = await services.reception.intake.whole(request, limit=requests.JSON_BYTES)
        given = json_object(body)
        field = "url" if "url" in given else "webhook_url"
        url = given.get(field)
        if not isinstance(url, str) or not url:
            raise InvalidRequest("'url' is missing: the address to send a test event to.", field="url")
        callback = await services.callback(request, url, field=field)
        assert callback is not None  # noqa: S101 - there is a URL
        delivery = await services.deliveries.send_test(request[ACCOUNT], self.name, callback)
        queued = {"ok": True, "event": TEST_EVENT, "delivery_id": delivery.id, "url": url}
        return json_response(queued, status=202)


def _message(request: web.BaseRequest, problem: Problem) -> str:
    """The problem's sentence, or what to do instead of asking for what has no place here."""
    if problem.code == NotFound.code:
        for own, instead in _INSTEAD.items():
            if request.path == own or request.path.startswith(f"{own}/"):
                return instead
    return problem.message


def _states(request: web.Request) -> tuple[State, ...]:
    field = "status" if request.query.get("status") else "state"  # each document has its own
    word = request.query.get(field, "").lower()
    states = views.states_of(word)
    if word and not states:
        raise InvalidRequest(
            f"{field!r} is one of queued, processing, completed (or done), failed.", field=field
        )
    return states
