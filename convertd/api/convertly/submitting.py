"""From a request to its job."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from aiohttp import web

from convertd.api.convertly.forms import FILE_PARTS, Fields, read_pairs
from convertd.api.convertly.tasks import Wish
from convertd.api.convertly.tools import WATERMARK_PART
from convertd.api.convertly.views import PASSED_OVER
from convertd.api.dialect import Services
from convertd.api.reception import Desk, Order
from convertd.errors import ConvertdError, EngineMissing, FileInvalid, InvalidRequest, UnsupportedFormat
from convertd.model.job import Artifact, Callback, Job
from convertd.web.forms import plain_name
from convertd.web.idempotency import checked_key, key_of
from convertd.web.uploads import Upload

_URL: Final = "sourceUrl"
_KEY: Final = "idempotencyKey"
_FLAGS: Final = ("createArchive", "saveToStorage", "async", "background")

Read = Callable[[Fields, Sequence[str]], Wish]
"""Understands the fields of a request that brings files under these part names."""


class Submitter:
    """Takes in requests for work."""

    def __init__(self, services: Services, *, dialect: str) -> None:
        self._services = services
        self._dialect = dialect

    async def job(
        self, request: web.Request, read: Read, *, parts: Sequence[str] = FILE_PARTS
    ) -> tuple[Job, Fields]:
        """The job that the request makes, or made when it came first, and what the request says."""
        reception = self._services.reception
        async with reception.desk(
            request, dialect=self._dialect, key=key_of(request), key_may_follow=True
        ) as desk:
            pairs = await read_pairs(request, desk, files=parts)
            fields = Fields(pairs)
            key = fields.text(_KEY)
            await desk.hold(None if key is None else checked_key(key, field=_KEY))
            await _drop_doubles(desk)
            for name in _FLAGS:
                fields.flag(name)  # refused before there is a job
            urls = fields.all(_URL)
            wish = read(fields, _parts(desk, len(urls)))
            earlier = await desk.earlier(pairs)
            if earlier is not None:
                return earlier, fields
            callback = await self._callback(request, fields)
            await desk.fetch(urls, field=_URL)
            return await desk.submit(await self._order(desk, fields, wish, callback)), fields

    async def _order(self, desk: Desk, fields: Fields, wish: Wish, callback: Callback | None) -> Order:
        sent = list(desk.files)
        origins = await desk.unpack(whole=wish.whole(sent))
        passed = await self._pass_over(desk, wish, sent, origins)
        inputs = _mark_last(desk)
        tasks = wish.tasks(self._services.registry, inputs, origins)
        most = self._services.max_tasks
        if len(tasks) > most:
            raise InvalidRequest(
                f"{len(tasks)} files are too many for one job, which takes {most} (limits.tasks).",
                field="files",
            )
        archive = {"archive": True} if fields.flag("createArchive") else {}
        return Order(
            operation=wish.operation,
            inputs=inputs,
            tasks=tasks,
            extras=wish.label | archive | ({PASSED_OVER: passed} if passed else {}),
            callback=callback,
        )

    async def _pass_over(
        self, desk: Desk, wish: Wish, sent: Sequence[Upload], origins: list[int]
    ) -> list[dict[str, str]]:
        """Do without the members of archives of which nothing can be made; what is told of them.

        They leave ``origins``, too. Raises what is wrong with the first where no file would be left.
        """
        refused: list[tuple[Upload, ConvertdError]] = []
        for upload, origin in zip(desk.files, origins, strict=True):
            if upload is not sent[origin] and (error := self._refusal(wish, upload, origin)) is not None:
                refused.append((upload, error))
        if refused and len(refused) == len(desk.files):
            raise refused[0][1]
        for upload, _ in refused:
            del origins[desk.files.index(upload)]
            await desk.discard(upload)
        return [{"filename": upload.name, "error": error.message} for upload, error in refused]

    def _refusal(self, wish: Wish, upload: Upload, origin: int) -> ConvertdError | None:
        """Why nothing can be made of the one file."""
        try:
            wish.tasks(self._services.registry, (upload.artifact(),), (origin,))
        except (UnsupportedFormat, EngineMissing, FileInvalid) as error:
            return error
        return None

    async def _callback(self, request: web.Request, fields: Fields) -> Callback | None:
        return await self._services.callback(
            request,
            fields.text("callbackUrl"),
            fields.text("callbackSecret"),
            field="callbackUrl",
            key_field="callbackSecret",
        )


async def _drop_doubles(desk: Desk) -> None:
    """Some clients send the same file as ``files`` and as ``file``."""
    plural = {upload.sha256 for upload in desk.files if plain_name(upload.part) == "files"}
    doubles = [each for each in desk.files if plain_name(each.part) == "file" and each.sha256 in plural]
    for upload in doubles:
        await desk.discard(upload)


def _parts(desk: Desk, urls: int) -> list[str]:
    """The part names of all files, those included that are yet to be fetched."""
    parts = [plain_name(upload.part) for upload in desk.files] + [_URL] * urls
    marks = parts.count(WATERMARK_PART)
    if marks > 1:
        raise InvalidRequest(f"'{WATERMARK_PART}' is given more than once.", field=WATERMARK_PART)
    if len(parts) == marks:
        raise InvalidRequest(
            "There is no file: send it as the part 'files' of a form, or its address as 'sourceUrl'.",
            field="files",
        )
    return parts


def _mark_last(desk: Desk) -> tuple[Artifact, ...]:
    """The inputs, the picture that marks the others behind them."""
    pairs = zip(desk.files, desk.artifacts(), strict=True)
    ordered = sorted(pairs, key=lambda pair: plain_name(pair[0].part) == WATERMARK_PART)
    return tuple(artifact for _, artifact in ordered)
