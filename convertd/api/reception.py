"""Taking in a request for work, the same way for every dialect.

The order is the promise: the key is held before the body is read, files are stored while they come, and only
then is the job's row written. Whatever fails on the way leaves neither a file nor a burnt key behind.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec
from aiohttp import web

from convertd.api.unpacking import Unpacker
from convertd.errors import (
    Conflict,
    FetchFailed,
    FileInvalid,
    InvalidRequest,
    LimitExceeded,
    Timeout,
    Unavailable,
    from_code,
)
from convertd.jobs.service import JobService
from convertd.jobs.submission import Submission, TaskRequest
from convertd.model.formats import identify
from convertd.model.ids import new_job_id
from convertd.model.job import Artifact, Callback, Job, State
from convertd.model.sniffing import sniff
from convertd.net.outbound import Gate
from convertd.web.idempotency import Hold, fingerprint, held_key
from convertd.web.server import ACCOUNT
from convertd.web.uploads import Intake, Received, Upload, clean_name

_BUSY_SECONDS: Final = 10
"""When to come again to a server that is busy."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a dialect understood of a request, once its files are there."""

    operation: str
    inputs: tuple[Artifact, ...]
    tasks: tuple[TaskRequest, ...]
    metadata: dict[str, Any] = {}
    extras: dict[str, Any] = {}
    callback: Callback | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reception:
    """Where requests for work come in."""

    jobs: JobService
    intake: Intake
    gate: Gate
    unpacker: Unpacker
    _waiting: Counter[str] = field(default_factory=Counter, init=False)
    """How many requests wait for the result of each job: a repetition may wait beside the first."""

    @contextlib.asynccontextmanager
    async def desk(
        self, request: web.Request, *, dialect: str, key: str | None, key_may_follow: bool = False
    ) -> AsyncIterator[Desk]:
        """A place at which one request is dealt with, from its first byte to its job.

        ``key`` is its idempotency key, which may also follow in its body. Raises
        :class:`~convertd.errors.IdempotencyInFlight` and :class:`~convertd.errors.QueueFull`.
        """
        job_id = new_job_id()
        async with contextlib.AsyncExitStack() as stack:
            hold = await stack.enter_async_context(self.held(request, dialect, key))
            if hold.taken is None and not (key is None and key_may_follow):
                await self.jobs.check_room()  # before the body is read; a replay needs no room
            received = await stack.enter_async_context(self.intake.receiving(job_id))
            yield Desk(self, request, dialect=dialect, hold=hold, received=received, stack=stack)

    def held(
        self, request: web.Request, dialect: str, key: str | None
    ) -> contextlib.AbstractAsyncContextManager[Hold]:
        """The key among those of the request's account and dialect."""
        scoped = f"{dialect}:{key}" if key is not None else None
        seconds = self.intake.limits.seconds
        return held_key(self.jobs, request[ACCOUNT], scoped, upload_seconds=seconds)

    async def succeeded(
        self, job: Job, *, within: float, again: Collection[State] = (State.CANCELLED,)
    ) -> Job:
        """The job once it has succeeded, for those who wait for the result in one request.

        One that an earlier request made and that is in one of the states ``again`` runs anew. Raises what it
        failed with, :class:`~convertd.errors.Unavailable` when no worker has begun it within
        so many seconds, and :class:`~convertd.errors.Timeout` when it has not ended within so many more.
        The last that gives up so cancels the job; a repetition of such a request has it run again.
        """
        with self._waits(job):
            if job.state in again:
                job = await self._again(job)
            job = await self._awaited(job, within)
        check_result(job)
        return job

    @contextlib.contextmanager
    def _waits(self, job: Job) -> Iterator[None]:
        self._waiting[job.id] += 1
        try:
            yield
        finally:
            self._waiting[job.id] -= 1
            if not self._waiting[job.id]:
                del self._waiting[job.id]

    async def _awaited(self, job: Job, within: float) -> Job:
        """The job once it has ended."""
        if job.started_at is None:
            job = await self._begun(await self.jobs.wait_change(job, within), within)
        job = await self.jobs.wait_terminal(job, within)
        if not job.state.terminal and self.jobs.stopping:
            raise Unavailable(
                "The server is stopping; the same request again gives the result of this one if it has an "
                "Idempotency-Key.",
                retry_after=_BUSY_SECONDS,
            )
        if not job.state.terminal:
            with contextlib.suppress(Conflict):  # it has ended just now
                await self._give_up(job)
            raise Timeout(f"The conversion took longer than {within:g} seconds; submit it as a job.")
        return job

    async def _give_up(self, job: Job, *, only_queued: bool = False) -> None:
        """Cancel what nobody else waits for; raises :class:`Conflict` where it is too late for that."""
        if self._waiting[job.id] == 1:
            await self.jobs.cancel(job.account, job.id, only_queued=only_queued)

    async def _again(self, job: Job) -> Job:
        with contextlib.suppress(Conflict):  # another repetition was quicker
            return await self.jobs.retry(job.account, job.id)
        return await self.jobs.get(job.account, job.id)

    async def _begun(self, job: Job, within: float) -> Job:
        """``job``, unless it still waits for a worker: then nobody waits for it any more."""
        if job.started_at is not None or job.state.terminal or self.jobs.stopping:
            return job
        try:
            await self._give_up(job, only_queued=True)
        except Conflict:  # it has begun just now
            return job
        raise Unavailable(
            f"The server is busy: the conversion had not begun within {within:g} seconds; "
            "try again later, or submit it as a job.",
            retry_after=_BUSY_SECONDS,
        )


def check_result(job: Job) -> None:
    """Raises what the job failed with, and :class:`Conflict` where it was cancelled."""
    if job.error is not None:
        raise from_code(job.error.code, job.error.message)
    if job.state is State.CANCELLED:
        raise Conflict("The job was cancelled before it had a result.")


class Desk:
    """Dealing with one request."""

    def __init__(
        self,
        reception: Reception,
        request: web.Request,
        *,
        dialect: str,
        hold: Hold,
        received: Received,
        stack: contextlib.AsyncExitStack,
    ) -> None:
        """Made by :meth:`Reception.desk`."""
        self._reception = reception
        self._request = request
        self._dialect = dialect
        self._hold = hold
        self._received = received
        self._stack = stack
        self._digest = ""

    @property
    def files(self) -> Sequence[Upload]:
        """What has been stored so far, in order."""
        return self._received.files

    async def form(self, *, files: Sequence[str]) -> list[tuple[str, str]]:
        """Read a multipart body; its text fields. Parts named in ``files`` are stored as files."""
        await self._reception.intake.multipart(self._request, self._received, files=files)
        return self._received.fields

    async def body(self, *, name: str) -> None:
        """Store the whole body as one file called ``name``."""
        await self._reception.intake.raw(self._request, self._received, name=name)

    async def text(self, *, limit: int) -> bytes:
        """Read a small body that is no file."""
        return await self._reception.intake.whole(self._request, limit=limit)

    async def hold(self, key: str | None) -> None:
        """Hold an idempotency key that came inside the body, if one did and none came before it.

        To be called before :meth:`earlier` where a key may follow; raises what :meth:`Reception.desk` raises.
        """
        if self._hold.key is not None:
            return
        if key is not None:
            manager = self._reception.held(self._request, self._dialect, key)
            self._hold = await self._stack.enter_async_context(manager)
        if self._hold.taken is None:
            await self._reception.jobs.check_room()  # only now is it known that this is no replay

    async def earlier(self, fields: Iterable[tuple[str, Any]]) -> Job | None:
        """The job that this very request made when it came before; ``None`` the first time.

        To be asked once all that the request itself brings has been read, before anything is fetched or
        unpacked. Raises :class:`~convertd.errors.IdempotencyKeyReused` where another request had the key.
        """
        self._digest = fingerprint(self._request, fields, self.files)
        job_id = self._hold.replayed_job(self._digest)
        if job_id is None:
            return None
        return await self._reception.jobs.get(self._request[ACCOUNT], job_id)

    async def fetch(self, urls: Sequence[str], *, field: str) -> None:
        """Store what is at each address, one after the other.

        All of them together may take as long as the request's body. Raises
        :class:`~convertd.errors.FetchRefused`, :class:`~convertd.errors.FetchFailed` and what an upload
        raises.
        """
        limits = self._reception.intake.limits
        if len(self.files) + len(urls) > limits.files:
            raise InvalidRequest(
                f"More than {limits.files} files in one request (limits.files).", field=field
            )
        try:
            async with asyncio.timeout(limits.seconds) as together:
                for url in urls:
                    await self._fetch(url, field)
        except TimeoutError as error:
            if not together.expired():
                raise
            raise FetchFailed(
                f"The files took longer than {limits.seconds:g} seconds together (limits.upload_time).",
                field=field,
            ) from error

    async def _fetch(self, url: str, field: str) -> None:
        self._check_client()
        reception, account = self._reception, self._request[ACCOUNT]
        most = reception.intake.limits.file
        async with reception.gate.fetch(url, account=account, field=field, max_bytes=most) as fetched:
            await reception.intake.fetched(self._received, fetched, part=field, check=self._check_client)

    def _check_client(self) -> None:
        """Fetch nothing for somebody who has gone."""
        if self._request.transport is None or self._request.transport.is_closing():
            raise ConnectionResetError("the client has gone")

    def rename(self, upload: Upload, name: str) -> None:
        """Give a file another name than it came with."""
        files = self._received.files
        files[files.index(upload)] = replace(upload, name=clean_name(name))

    async def inline(self, data: bytes, *, field: str, name: str) -> None:
        """Store what stood in the request's own ``field`` as a file called ``name``."""
        await self._reception.intake.inline(self._received, data, part=field, name=name)

    async def discard(self, upload: Upload) -> None:
        """Do without a file that came."""
        await self._reception.intake.discard(self._received, upload)

    async def unpack(self, *, whole: Collection[Upload] = ()) -> list[int]:
        """Put the members of each ZIP among the files in its place, but for those that stay ``whole``.

        Returns for each file then there the index of the file, before, that it is or comes from. What is
        unpacked counts as if it had come so: by number, singly and together.
        """
        received, limits = self._received, self._reception.intake.limits
        origins = list(range(len(received.files)))
        for archive in [upload for upload in self.files if _is_zip(upload) and upload not in whole]:
            with _named(archive):
                members = await self._reception.unpacker.members(
                    archive,
                    job_id=received.job_id,
                    room=limits.files - len(received.files) + 1,
                    most_bytes=limits.request - received.size + archive.size,
                )
            place = received.files.index(archive)
            received.files[place:place] = members
            origins[place : place + 1] = [origins[place]] * len(members)
            await self._reception.intake.discard(received, archive)
            self._reception.intake.check_sizes(members)
        return origins

    def artifacts(
        self, source: str | None = None, *, source_field: str | None = None
    ) -> tuple[Artifact, ...]:
        """The files as inputs of a job, ``source`` overriding what name and content say.

        ``source_field`` is what the request calls that word, where it has one. Raises
        :class:`~convertd.errors.UnsupportedFormat` for what is no known format.
        """
        return self._received.artifacts(source, source_field=source_field)

    async def submit(self, order: Order) -> Job:
        """Make the job; the files are its own from now on."""
        submission = Submission(
            job_id=self._received.job_id,
            account=self._request[ACCOUNT],
            dialect=self._dialect,
            operation=order.operation,
            inputs=order.inputs,
            tasks=order.tasks,
            metadata=order.metadata,
            extras=order.extras,
            callback=order.callback,
        )
        with self._received.handed_over():
            return await self._reception.jobs.submit(submission, self._hold.record(self._digest))


@contextlib.contextmanager
def _named(archive: Upload) -> Iterator[None]:
    """Has a fault of the file say which of a request's archives it is about."""
    try:
        yield
    except (FileInvalid, LimitExceeded) as error:
        message = f"'{archive.name}': {error.message}"
        raise type(error)(message, field=archive.part or None, detail=error.detail) from error


def _is_zip(upload: Upload) -> bool:
    """Not what its name says to be a document, whose container may show nothing else at its start."""
    return sniff(upload.head) == "zip" and identify(upload.name, upload.head).name == "zip"
