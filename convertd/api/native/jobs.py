"""Creating, reading and changing jobs."""

from __future__ import annotations

import base64
from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import msgspec
from aiohttp import web

from convertd.api.dialect import Services
from convertd.api.native import requests
from convertd.api.native.requests import Fields, Wanted
from convertd.api.native.views import DOWNLOADS, job_view
from convertd.api.reception import Desk, Order, check_result
from convertd.errors import InvalidRequest
from convertd.jobs.store import Cursor, Selection
from convertd.model.job import Callback, Job, State
from convertd.web.conditional import client_holds
from convertd.web.idempotency import key_of
from convertd.web.objects import json_object
from convertd.web.queries import page_size
from convertd.web.replies import json_response
from convertd.web.server import ACCOUNT

_POLL_AFTER: Final = "1"
"""``Retry-After`` of a job that has not ended, in seconds."""
_LINK_STEP: Final = 60
"""Links of one minute are the same, so that a job's document can be reused within it."""
_REMEMBERED: Final = 512
_NOTHING: Final[Mapping[str, Any]] = {}


class JobHandlers:
    """Handlers under ``/jobs`` and ``/convert``."""

    def __init__(self, services: Services, *, dialect: str) -> None:
        self._services = services
        self._jobs = services.jobs
        self._dialect = dialect
        self._documents: OrderedDict[tuple[str, str], tuple[str, bytes]] = OrderedDict()

    async def create(self, request: web.Request) -> web.StreamResponse:
        """POST (or PUT) /jobs."""
        job, replayed = await self._submit(request)
        wait = requests.preferred_wait(request)
        if wait is not None:
            job = await self._jobs.wait_terminal(job, wait)
        status = 200 if wait is not None and job.state.terminal else 202
        return await self._created(
            request, job, status=status, replayed=replayed, waited=wait, more=await self._secret_of(job)
        )

    async def convert(self, request: web.Request) -> web.StreamResponse:
        """POST (or PUT) /convert: the bytes come back, or a job where that takes too long."""
        job, replayed = await self._submit(request, single=True)
        wait = requests.preferred_wait(request)
        job = await self._jobs.wait_terminal(job, requests.MAX_WAIT if wait is None else wait)
        check_result(job)
        if job.state is not State.SUCCEEDED or len(job.outputs) != 1:
            secret = await self._secret_of(job)
            return await self._created(request, job, status=202, replayed=replayed, waited=wait, more=secret)
        response = await self._services.send(request, job.outputs[0].key)
        response.headers.update(self._creation_headers(request, job, replayed=replayed))
        return response

    async def list(self, request: web.Request) -> web.Response:
        """GET /jobs."""
        requests.check_parameters(request, "status", "limit", "cursor")
        state = _state(request.query.get("status"))
        limit = page_size(request)
        after = _cursor(request.query.get("cursor"))
        selection = Selection(account=request[ACCOUNT], states=() if state is None else (state,))
        found = await self._jobs.page(selection, after=after, limit=limit + 1)
        page = found[:limit]
        views = [msgspec.Raw(await self._document(request, job)) for job in page]
        last = page[-1] if len(found) > limit else None
        return json_response({"jobs": views, "next_cursor": _cursor_text(last) if last is not None else None})

    async def show(self, request: web.Request) -> web.StreamResponse:
        """GET /jobs/{id}; ``Prefer: wait=N`` waits for a change of state.

        A client that sends the ETag it knows misses no change between two such requests.
        """
        requests.check_parameters(request)
        account, job_id = request[ACCOUNT], request.match_info["id"]
        wait = requests.preferred_wait(request)
        if wait is None and (quick := await self._remembered(request, account, job_id)) is not None:
            return quick
        job = await self._jobs.get(account, job_id)
        if wait is not None and _is_known(request, job):
            job = await self._jobs.wait_change(job, wait)
        response = await self._answer(request, job, status=200)
        if wait is not None:
            response.headers["Preference-Applied"] = f"wait={wait:.0f}"
        return response

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        """DELETE /jobs/{id}."""
        requests.check_parameters(request)
        job = await self._jobs.cancel(request[ACCOUNT], request.match_info["id"])
        return await self._answer(request, job, status=200)

    async def retry(self, request: web.Request) -> web.StreamResponse:
        """POST /jobs/{id}/retry."""
        requests.check_parameters(request)
        job = await self._jobs.retry(request[ACCOUNT], request.match_info["id"])
        return await self._created(request, job, status=202)

    async def archive(self, request: web.Request) -> web.StreamResponse:
        """GET, HEAD /jobs/{id}/archive: all outputs as one ZIP."""
        requests.check_parameters(request)
        return await self._services.send_archive(request, request.match_info["id"], account=request[ACCOUNT])

    # Submitting

    async def _submit(self, request: web.Request, *, single: bool = False) -> tuple[Job, bool]:
        """The job that the request makes, or made when it came first (then true)."""
        services = self._services
        async with services.reception.desk(request, dialect=self._dialect, key=key_of(request)) as desk:
            fields = await self._read(request, desk)
            wanted = requests.read_fields(services.registry, fields)
            gathered = wanted.operation in services.registry.gathering
            _check_files(len(desk.files) + len(wanted.source_urls), several=gathered or not single)
            if single:
                _check_single(wanted)
            earlier = await desk.earlier(fields)
            if earlier is not None:
                return earlier, True
            callback = await self._callback(request, wanted)
            await desk.fetch(wanted.source_urls, field="source_url")
            order = Order(
                operation=wanted.operation,
                inputs=desk.artifacts(wanted.source, source_field="source"),
                tasks=wanted.tasks(len(desk.files), services.max_tasks, gathered=gathered),
                metadata=wanted.metadata,
                extras={"archive": True} if wanted.archive else {},
                callback=callback,
            )
            return await desk.submit(order), False

    async def _read(self, request: web.Request, desk: Desk) -> Fields:
        """The request's fields, its files stored, whichever of the three shapes it has."""
        query = requests.query_fields(request)
        if requests.is_json(request):
            return [*query, *json_object(await desk.text(limit=requests.JSON_BYTES)).items()]
        if requests.is_multipart(request):
            return [*query, *await desk.form(files=(requests.FILE_PART,))]
        if requests.is_urlencoded(request):
            raise InvalidRequest(
                "A url-encoded form cannot hold a file; send multipart/form-data (curl -F) "
                "or the file as the body (curl -T)."
            )
        wanted = requests.read_fields(self._services.registry, query)  # refuse before the body is read
        if request.body_exists or not wanted.source_urls:
            await desk.body(name=request.query.get("filename", ""))
        return query

    async def _callback(self, request: web.Request, wanted: Wanted) -> Callback | None:
        return await self._services.callback(
            request,
            wanted.callback_url,
            wanted.callback_secret,
            field="callback_url",
            key_field="callback_secret",
        )

    async def _secret_of(self, job: Job) -> dict[str, str]:
        """What the answers to the request that made the job tell besides: a secret that it did not bring."""
        if job.callback is None or job.callback.secret is not None:
            return {}
        return {"callback_secret": await self._services.deliveries.secret(job.account)}

    # Answering

    async def _answer(
        self, request: web.Request, job: Job, *, status: int, more: Mapping[str, Any] = _NOTHING
    ) -> web.StreamResponse:
        body = await self._document(request, job)
        etag = self._etag(job.version)
        if job.state is not State.QUEUED:
            self._remember(request, job, etag, body)
        if more:
            body = msgspec.json.encode(msgspec.json.decode(body) | more)
        return _job_response(request, body, etag, status=status, ended=job.state.terminal)

    async def _created(
        self,
        request: web.Request,
        job: Job,
        *,
        status: int,
        replayed: bool = False,
        waited: float | None = None,
        more: Mapping[str, Any] = _NOTHING,
    ) -> web.StreamResponse:
        response = await self._answer(request, job, status=status, more=more)
        response.headers.update(self._creation_headers(request, job, replayed=replayed))
        if waited is not None:
            response.headers["Preference-Applied"] = f"wait={waited:.0f}"
        return response

    def _creation_headers(self, request: web.Request, job: Job, *, replayed: bool) -> dict[str, str]:
        headers = {"Location": f"{self._services.origin(request)}/jobs/{job.id}"}
        return headers | ({"Idempotent-Replayed": "true"} if replayed else {})

    async def _document(self, request: web.Request, job: Job) -> bytes:
        services = self._services
        origin = services.origin(request)
        view = job_view(
            job,
            origin=origin,
            link=partial(services.link, origin + DOWNLOADS),
            links_until=services.links_until(job, self._link_minute() + _LINK_STEP),
            queue_position=await self._jobs.queue_position(job),
        )
        return msgspec.json.encode(view)

    def _link_minute(self) -> int:
        return int(self._services.clock()) // _LINK_STEP * _LINK_STEP

    def _etag(self, version: int) -> str:
        """Without quotes: changes with the row, and with the minute because a poll mints fresh links."""
        return f"{version}-{self._link_minute()}"

    def _remember(self, request: web.Request, job: Job, etag: str, body: bytes) -> None:
        """Keep the document for the next poll; a few hundred at most, and none that is large."""
        if len(body) > 16 * 1024:
            return
        self._documents[request.host, job.id] = (etag, body)
        self._documents.move_to_end((request.host, job.id))
        if len(self._documents) > _REMEMBERED:
            self._documents.popitem(last=False)

    async def _remembered(self, request: web.Request, account: str, job_id: str) -> web.StreamResponse | None:
        """The answer to a poll whose job has not changed since the last one."""
        etag = self._etag(await self._jobs.version(account, job_id))
        known = self._documents.get((request.host, job_id))
        if known is None or known[0] != etag:
            return None
        return _job_response(request, known[1], etag, status=200, ended=b'"finished_at":null' not in known[1])


def _job_response(
    request: web.Request, body: bytes, etag: str, *, status: int, ended: bool
) -> web.StreamResponse:
    headers = {"ETag": f'W/"{etag}"', "Cache-Control": "private, no-cache"}
    if not ended:
        headers["Retry-After"] = _POLL_AFTER
    if request.method in ("GET", "HEAD") and client_holds(request, etag.__eq__):
        return web.Response(status=304, headers=headers)
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


def _is_known(request: web.Request, job: Job) -> bool:
    """Whether the client has seen this version, as far as it says."""
    return client_holds(request, lambda etag: etag.startswith(f"{job.version}-")) is not False


def _check_files(count: int, *, several: bool) -> None:
    if count == 0:
        raise InvalidRequest(
            "There is no file: send it as the part 'file' or as the body, or its address as 'source_url'.",
            field="file",
        )
    if count > 1 and not several:
        raise InvalidRequest("/convert takes one file; POST /jobs takes several.", field="file")


def _check_single(wanted: Wanted) -> None:
    if len(wanted.targets) > 1:
        raise InvalidRequest("/convert makes one format; POST /jobs makes several.", field="to")


def _state(word: str | None) -> State | None:
    try:
        return State(word) if word else None
    except ValueError:
        allowed = ", ".join(state.value for state in State)
        raise InvalidRequest(f"'status' is one of {allowed}.", field="status") from None


def _cursor(text: str | None) -> Cursor | None:
    if not text:
        return None
    try:
        padded = text.encode() + b"=" * (-len(text) % 4)
        return msgspec.json.decode(base64.urlsafe_b64decode(padded), type=Cursor)
    except (ValueError, msgspec.MsgspecError):
        raise InvalidRequest("'cursor' takes the next_cursor of the page before.", field="cursor") from None


def _cursor_text(job: Job) -> str:
    cursor = Cursor(job.created_at, job.id)
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")
