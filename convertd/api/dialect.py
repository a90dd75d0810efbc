"""What a dialect is: one API's requests, replies and errors, translated to and from convertd's own words.

Adding one is adding a module here that implements :class:`Dialect`, and naming it in ``app.py``. Dialects
share the services below and never import one another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from aiohttp import web

from convertd.api.reception import Reception
from convertd.engines.registry import Registry
from convertd.errors import InvalidRequest
from convertd.jobs.deliveries import DeliveryService
from convertd.jobs.ledger import Clock
from convertd.jobs.service import JobService
from convertd.model.callback import CallbackForm
from convertd.model.formats import FORMATS, stem_of
from convertd.model.job import Callback, Job
from convertd.net.outbound import Gate
from convertd.storage.base import BlobStore
from convertd.web.archives import send_archive
from convertd.web.downloads import send_file
from convertd.web.problems import Problem
from convertd.web.rates import RateLimiter
from convertd.web.server import ACCOUNT, Handler, Route
from convertd.web.signing import LinkSigner

_ARCHIVE: Final = "archive-"
"""No output's key begins so."""
_SECRET_LENGTH: Final = 256


def archive_key(job_id: str) -> str:
    """What stands in a link for all outputs of a job as one ZIP, where a blob key stands for one."""
    return _ARCHIVE + job_id


def archive_name(job: Job) -> str:
    """The file name of that ZIP: as that of the job's one file, where it is one."""
    return f"{stem_of(job.inputs[0].name) if len(job.inputs) == 1 else job.id}.zip"


def result_key(job: Job) -> str:
    """What stands for the result of a job that has succeeded: its output, or all of them as one ZIP."""
    return job.outputs[0].key if len(job.outputs) == 1 else archive_key(job.id)


def has_all_outputs(job: Job) -> bool:
    """Whether the job has ended with outputs, all of which are still there."""
    return job.state.terminal and bool(job.outputs) and not any(output.gone for output in job.outputs)


def check_secret(url: str | None, secret: str | None, *, field: str, key_field: str) -> None:
    """Refuse a secret that nothing would be signed with, and one that nobody could write down; raises
    :class:`~convertd.errors.InvalidRequest` that names ``key_field``."""
    if secret is None:
        return
    if len(secret) > _SECRET_LENGTH or not secret.isprintable():
        raise InvalidRequest(
            f"'{key_field}' takes up to {_SECRET_LENGTH} printable characters.", field=key_field
        )
    if url is None:
        raise InvalidRequest(f"'{key_field}' goes with a '{field}'.", field=key_field)


@dataclass(frozen=True, kw_only=True, slots=True)
class Services:
    """What every dialect works with."""

    jobs: JobService
    registry: Registry
    blobs: BlobStore
    reception: Reception
    deliveries: DeliveryService
    gate: Gate
    signer: LinkSigner
    rates: RateLimiter
    clock: Clock
    base_url: str
    """Address under which clients reach the server, or empty: taken from each request."""
    link_seconds: float
    max_tasks: int

    def link(self, place: str, key: str, expires_at: int) -> str:
        """A signed address for the output with this blob key; ``place`` is that of a dialect's downloads."""
        return f"{place}/{self.signer.sign(key, expires_at)}"

    def links_until(self, job: Job, now: float | None = None) -> int:
        """When links end that are made at this time (now) for the job's outputs: not after the files."""
        until = int((self.clock() if now is None else now) + self.link_seconds)
        return min(until, int(job.outputs_expire_at)) if job.outputs_expire_at is not None else until

    async def download(self, request: web.Request, token: str) -> web.StreamResponse:
        """What a signed link stands for; it needs no key. Raises what :meth:`send` does."""
        return await self.send(request, self.signer.verify(token, self.clock()))

    async def send(self, request: web.Request, key: str) -> web.StreamResponse:
        """The output with this blob key, as a download; all outputs of a job for :func:`archive_key`.

        Raises :class:`~convertd.errors.NotFound`, :class:`~convertd.errors.NotReady` and
        :class:`~convertd.errors.Expired`.
        """
        if key.startswith(_ARCHIVE):
            return await self.send_archive(request, key.removeprefix(_ARCHIVE))
        output = await self.jobs.output(key)
        return send_file(
            request,
            reader=await self.blobs.open(key),
            sha256=output.sha256,
            media_type=FORMATS[output.format].media_type,
            filename=output.name,
        )

    async def send_archive(
        self, request: web.Request, job_id: str, *, account: str | None = None
    ) -> web.StreamResponse:
        """All outputs of a job as one ZIP; ``account`` ``None`` where a signed link stands for it."""
        job = await self.jobs.with_outputs(job_id, account=account)
        return await send_archive(request, blobs=self.blobs, outputs=job.outputs, filename=archive_name(job))

    async def callback(
        self,
        request: web.Request,
        url: str | None,
        secret: str | None = None,
        *,
        field: str,
        key_field: str = "",
    ) -> Callback | None:
        """The callback to register with a job, its address checked; ``None`` without a URL.

        Without a ``secret``, the account's signs. Raises :class:`~convertd.errors.InvalidRequest` and
        :class:`~convertd.errors.FetchRefused` that name ``field`` or ``key_field``.
        """
        check_secret(url, secret, field=field, key_field=key_field)
        if url is None:
            return None
        await self.gate.resolve_check(url, account=request[ACCOUNT], field=field)
        return Callback(url=url, secret=secret, origin=self.origin(request))

    def rate_headers(self, request: web.BaseRequest) -> dict[str, str]:
        """How the account's rate stands, as hosted services tell it.

        Empty where there is no limit, and for requests without an account.
        """
        rate = self.rates.look(request[ACCOUNT]) if ACCOUNT in request else None
        if rate is None:
            return {}
        return {
            "X-RateLimit-Limit": str(rate.limit),
            "X-RateLimit-Remaining": str(rate.remaining),
            "X-RateLimit-Reset": str(rate.resets_at),
        }

    def with_rate_headers(self, handler: Handler) -> Handler:
        """``handler``, of which every answer tells how the account's rate stands."""

        async def handle(request: web.Request) -> web.StreamResponse:
            response = await handler(request)
            response.headers.update(self.rate_headers(request))
            return response

        return handle

    def origin(self, request: web.Request) -> str:
        """Scheme, host and port for absolute addresses in replies, without a slash at the end."""
        return self.base_url or f"{request.scheme}://{request.host}"


class Dialect(Protocol):
    """One API."""

    name: str
    """Kept with each job that came through it."""
    guide: str
    """A sentence for those who ask for an address that it does not have."""
    callback_form: CallbackForm | None
    """How its jobs are called back; ``None`` where it knows no callbacks."""

    def routes(self) -> Sequence[Route]:
        """Every method and path that it answers; no other dialect has any of them."""

    def owns(self, path: str) -> bool:
        """Whether an error on this path, routed or not, is told in this dialect's form."""

    def error(self, request: web.BaseRequest, problem: Problem) -> web.StreamResponse:
        """The error in this dialect's form."""
