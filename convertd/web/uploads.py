"""Receiving files: streamed to the storage's own volume while they are hashed, never into memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

import msgspec
from aiohttp import BodyPartReader, MultipartReader, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from convertd.errors import FileInvalid, InvalidRequest, TooLarge, UploadTimeout
from convertd.model.formats import identify
from convertd.model.job import Artifact
from convertd.net.outbound import Fetched
from convertd.storage.base import BlobStore
from convertd.web.disposition import shortened
from convertd.web.forms import decoded, next_part, plain_name, text_of

T = TypeVar("T")
NextChunk = Callable[[], Awaitable[bytes]]
"""Reads on; an empty chunk is the end."""

IDLE_SECONDS: Final = 60.0
"""A client that sends nothing for this long is cut off."""

TEXT_BYTES: Final = 1024 * 1024
"""All text fields of a form together, names included; they are held in memory."""

_FIELDS: Final = 1000
_FRAMING_BYTES: Final = 8 * 1024 * 1024
"""More than the boundaries and heads of a form's parts may well take."""
_PATH_BYTES: Final = 1024


class UploadLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes in bytes, ``seconds`` for a whole body to arrive."""

    file: int
    request: int
    files: int
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """One received file, stored under ``key``."""

    key: str
    part: str
    """Name of its form field; empty for a raw body."""
    media_type: str
    """What the client says it is, in lower case and without parameters; empty where it does not."""
    name: str
    size: int
    sha256: str
    head: bytes

    def artifact(self, source: str | None = None, *, source_field: str | None = None) -> Artifact:
        """The file as an input of a job; raises what :func:`identify` raises."""
        return Artifact(
            key=self.key,
            name=self.name,
            format=identify(self.name, self.head, source=source, source_field=source_field).name,
            bytes=self.size,
            sha256=self.sha256,
        )


class _Source(NamedTuple):
    """Where a file comes from, in its sender's words."""

    part: str
    name: str
    media_type: str


@dataclass(kw_only=True, slots=True)
class Received:
    """A request's files and text fields, in the order they came."""

    job_id: str
    files: list[Upload] = field(default_factory=list)
    fields: list[tuple[str, str]] = field(default_factory=list)
    _keys: int = 0
    _kept: bool = False

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(upload.size for upload in self.files)

    def next_key(self) -> str:
        """A key for the next file to be stored."""
        self._keys += 1
        return f"{self.job_id}-in-{self._keys - 1}"

    @contextlib.contextmanager
    def handed_over(self) -> Iterator[None]:
        """Around the submission of the job that takes the files.

        They are deleted when it fails, but not when it is cancelled: its row may have been committed, and a
        file that belongs to no row is found at the next start.
        """
        self._kept = True
        try:
            yield
        except Exception:
            self._kept = False
            raise

    def artifacts(self, source: str | None, *, source_field: str | None) -> tuple[Artifact, ...]:
        """The files as inputs of a job; raises what :func:`identify` raises."""
        return tuple(upload.artifact(source, source_field=source_field) for upload in self.files)


class Intake:
    """Reads request bodies into the blob store."""

    def __init__(self, blobs: BlobStore, limits: UploadLimits) -> None:
        """Holds nothing between requests."""
        self._blobs = blobs
        self.limits = limits

    @contextlib.asynccontextmanager
    async def receiving(self, job_id: str) -> AsyncIterator[Received]:
        """What a request brings; files that are not handed over inside the context are deleted at its end."""
        received = Received(job_id=job_id)
        try:
            yield received
        finally:
            if not received._kept:
                await self._blobs.delete([upload.key for upload in received.files])

    async def multipart(self, request: web.Request, received: Received, *, files: Sequence[str]) -> None:
        """The parts of a form: those named in ``files``, or so with an index (``files[0]``), are files, the
        others text."""
        _check_head(request, self.limits.request + _FRAMING_BYTES, "limits.request")
        try:
            reader = await request.multipart()
        except (AssertionError, KeyError, ValueError) as error:  # aiohttp's, where there is no Content-Type
            raise InvalidRequest("The multipart body has no usable boundary.", detail=str(error)) from error
        await self._guarded(self._parts(reader, received, files))

    async def raw(self, request: web.Request, received: Received, *, name: str) -> None:
        """The whole body as one file called ``name``."""
        _check_head(request, self.limits.file, "limits.upload")
        source = _Source(part="", name=name, media_type=request.content_type)
        await self._guarded(self._file(received, source, request.content.readany))

    async def fetched(
        self, received: Received, fetched: Fetched, *, part: str, check: Callable[[], None]
    ) -> None:
        """The file that an address gave; ``check`` is called between its chunks, and may raise."""
        chunks = fetched.chunks()

        async def next_chunk() -> bytes:
            check()
            async for chunk in chunks:
                if chunk:
                    return chunk
            return b""

        source = _Source(part=part, name=fetched.name, media_type=fetched.media_type)
        await self._file(received, source, next_chunk)

    async def inline(self, received: Received, data: bytes, *, part: str, name: str) -> None:
        """A file that stood in one of the request's fields."""
        chunks = iter((data,))

        async def next_chunk() -> bytes:
            return next(chunks, b"")

        await self._file(received, _Source(part=part, name=name, media_type=""), next_chunk)

    async def discard(self, received: Received, upload: Upload) -> None:
        """Take back one file."""
        received.files.remove(upload)
        await self._blobs.delete([upload.key])

    def check_sizes(self, files: Iterable[Upload]) -> None:
        """Raises :class:`TooLarge` for a file that came within another and is larger than any may be."""
        if any(upload.size > self.limits.file for upload in files):
            raise _too_large(self.limits.file, "limits.upload")

    async def whole(self, request: web.Request, *, limit: int) -> bytes:
        """A small body that is no file, of at most ``limit`` bytes."""
        _check_head(request, limit, "a body without a file")
        body = bytearray()

        async def read() -> None:
            while chunk := await _soon(request.content.readany()):
                body.extend(chunk)
                if len(body) > limit:
                    raise _too_large(limit, "a body without a file")

        await self._guarded(read())
        return bytes(body)

    async def _guarded(self, reading: Awaitable[None]) -> None:
        """Bound the whole body's time, and give the connection's own failures their names."""
        try:
            async with asyncio.timeout(self.limits.seconds) as whole:
                await reading
        except (ConnectionError, web.RequestPayloadError) as error:
            # The connection's reader keeps its error, whose traceback keeps all frames that read from it.
            error.__traceback__ = None
            raise InvalidRequest("The upload broke off before its end.", detail=repr(error)) from error
        except TimeoutError as error:
            if whole.expired():
                took = f"took longer than {self.limits.seconds:g} seconds (limits.upload_time)"
            else:
                took = f"stood still for {IDLE_SECONDS:.0f} seconds"
            raise UploadTimeout(f"The upload {took}.") from error
        except (HttpProcessingError, ValueError) as error:
            raise InvalidRequest("The multipart body is malformed.", detail=repr(error)) from error

    async def _parts(self, reader: MultipartReader, received: Received, files: Sequence[str]) -> None:
        left = TEXT_BYTES
        while part := await _soon(next_part(reader)):
            name = part.name or ""
            next_chunk = decoded(part)
            if part.filename == "":
                first = await _soon(next_chunk())
                if not first:
                    continue  # a field of a form in which no file was chosen
                next_chunk = _continued(first, next_chunk)
            if plain_name(name) in files:
                await self._part_file(part, received, next_chunk)
            elif part.filename is not None:
                raise InvalidRequest(
                    f"A file came in the part {name[:40]!r}; send it in a part named {files[0]!r}.",
                    field=name[:40] or None,
                )
            else:
                text = await _soon(text_of(part, name))
                received.fields.append((name, text))
                left -= len(name) + len(text.encode())
            if left < 0:
                raise _too_large(TEXT_BYTES, "all text fields together")
            if len(received.fields) > _FIELDS:
                raise InvalidRequest(f"More than {_FIELDS} form fields.")

    async def _part_file(self, part: BodyPartReader, received: Received, next_chunk: NextChunk) -> None:
        name = part.name or ""
        media_type = part.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()
        source = _Source(part=name, name=part.filename or "", media_type=media_type)
        await self._file(received, source, next_chunk)
        if part.filename is None and _may_be_path(received.files[-1]):
            raise InvalidRequest(
                f"The part {name!r} has no file name and holds one line of text, perhaps a path: "
                f"send the file itself with its name (curl -F {name}=@PATH, with an '@').",
                field=name,
            )

    async def _file(self, received: Received, source: _Source, next_chunk: NextChunk) -> None:
        """Store one file; an empty chunk ends it.

        Its bytes count against the limit of the whole request as they come.
        """
        if len(received.files) >= self.limits.files:
            raise InvalidRequest(
                f"More than {self.limits.files} files in one request (limits.files).",
                field=source.part or None,
            )
        left = self.limits.request - received.size
        key = received.next_key()
        shown = clean_name(source.name)
        async with self._blobs.writer() as writer:
            while chunk := await _soon(next_chunk()):
                await writer.write(chunk)
                if writer.size > self.limits.file:
                    raise _too_large(self.limits.file, "limits.upload")
                if writer.size > left:
                    raise _too_large(self.limits.request, "limits.request")
            if writer.size == 0:
                raise FileInvalid(
                    f"'{shown}' is empty: there is nothing to convert.", field=source.part or None
                )
            blob = await writer.commit(key)
            received.files.append(
                Upload(
                    key=key,
                    part=source.part,
                    media_type=source.media_type,
                    name=shown,
                    size=blob.size,
                    sha256=blob.sha256,
                    head=bytes(writer.head),
                )
            )


def _check_head(request: web.Request, limit: int, setting: str) -> None:
    """Refuse early what says itself that it is too large, or packed: nothing is unpacked here."""
    if request.content_length is not None and request.content_length > limit:
        raise _too_large(limit, setting)
    encoding = ",".join(request.headers.getall(hdrs.CONTENT_ENCODING, ())).strip().lower()
    if encoding not in ("", "identity"):
        raise InvalidRequest(f"The body has the Content-Encoding {encoding[:40]!r}; send it unpacked.")


def _continued(first: bytes, rest: NextChunk) -> NextChunk:
    read = iter((first,))

    async def next_chunk() -> bytes:
        return next(read, b"") or await rest()

    return next_chunk


def _may_be_path(upload: Upload) -> bool:
    """Whether the content is one short line of text, as a path is where the '@' was forgotten."""
    if upload.size > _PATH_BYTES:
        return False
    try:
        return upload.head.decode().isprintable()
    except UnicodeDecodeError:
        return False


def _too_large(limit: int, what: str) -> TooLarge:
    return TooLarge(f"More than the {limit} bytes that this server accepts ({what}).")


async def _soon(reading: Awaitable[T]) -> T:
    """What the client sends next; raises ``TimeoutError`` if that takes too long."""
    async with asyncio.timeout(IDLE_SECONDS):
        return await reading


def clean_name(name: str) -> str:
    """A client's file name as it is kept and shown: its last part, printable; never a path."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    printable = "".join(char for char in last if char.isprintable()).strip()
    return shortened(printable) or "upload"
