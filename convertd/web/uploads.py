"""Receiving files: streamed to the storage's own volume while they are hashed, never into memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, TypeVar

import msgspec
from aiohttp import BodyPartReader, MultipartReader, web

from convertd.errors import FileInvalid, InvalidRequest, Timeout, TooLarge
from convertd.model.formats import identify
from convertd.model.job import Artifact
from convertd.storage.base import BlobStore

T = TypeVar("T")

IDLE_SECONDS: Final = 60.0
"""A client that sends nothing for this long is cut off."""

_FIELD_BYTES: Final = 64 * 1024
_FIELDS: Final = 1000
_NAME_LENGTH: Final = 255
_CHUNK: Final = 256 * 1024


class UploadLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes in bytes."""

    file: int
    request: int
    files: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """One received file, stored under ``key``."""

    key: str
    part: str
    """Name of its form field; empty for a raw body."""
    name: str
    size: int
    sha256: str
    head: bytes


@dataclass(kw_only=True, slots=True)
class Received:
    """A request's files and text fields, in the order they came."""

    job_id: str
    files: list[Upload] = field(default_factory=list)
    fields: list[tuple[str, str]] = field(default_factory=list)
    _kept: bool = False

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

    def artifacts(self, source: str | None) -> tuple[Artifact, ...]:
        """The files as inputs of a job; raises what :func:`identify` raises."""
        return tuple(
            Artifact(
                key=upload.key,
                name=upload.name,
                format=identify(upload.name, upload.head, source=source).name,
                bytes=upload.size,
                sha256=upload.sha256,
            )
            for upload in self.files
        )


class Intake:
    """Reads request bodies into the blob store."""

    def __init__(self, blobs: BlobStore, limits: UploadLimits) -> None:
        """Holds nothing between requests."""
        self._blobs = blobs
        self._limits = limits

    @contextlib.asynccontextmanager
    async def multipart(self, request: web.Request, job_id: str, *, files: str) -> AsyncIterator[Received]:
        """The parts of a form; parts named ``files`` (or with a file name) are files, the others text.

        Files that are not kept inside the context are deleted at its end.
        """
        async with self._received(job_id) as received:
            self._check_length(request, self._limits.request + _FIELDS * _FIELD_BYTES)
            try:
                reader = await request.multipart()
            except (AssertionError, ValueError) as error:
                raise InvalidRequest(
                    "The multipart body has no usable boundary.", detail=str(error)
                ) from error
            await self._guarded(self._parts(reader, received, files), request)
            yield received

    @contextlib.asynccontextmanager
    async def raw(self, request: web.Request, job_id: str, *, name: str) -> AsyncIterator[Received]:
        """The whole body as one file called ``name``."""
        async with self._received(job_id) as received:
            self._check_length(request, self._limits.file)
            await self._guarded(self._file(received, "", name, request.content.readany), request)
            yield received

    async def whole(self, request: web.Request, *, limit: int) -> bytes:
        """A small body that is no file, of at most ``limit`` bytes."""
        body = bytearray()

        async def read() -> None:
            while chunk := await _soon(request.content.readany()):
                body.extend(chunk)
                if len(body) > limit:
                    raise self._too_large(limit)

        await self._guarded(read(), request)
        return bytes(body)

    @contextlib.asynccontextmanager
    async def _received(self, job_id: str) -> AsyncIterator[Received]:
        received = Received(job_id=job_id)
        try:
            yield received
        finally:
            if not received._kept:
                await self._blobs.delete([upload.key for upload in received.files])

    async def _guarded(self, reading: Awaitable[None], request: web.Request) -> None:
        """Give the connection's own failures their names."""
        try:
            await reading
        except (ConnectionError, web.RequestPayloadError) as error:
            raise InvalidRequest("The upload broke off before its end.", detail=repr(error)) from error
        except TimeoutError as error:
            raise Timeout(f"The upload stood still for {IDLE_SECONDS:.0f} seconds.") from error
        except ValueError as error:
            raise InvalidRequest("The multipart body is malformed.", detail=repr(error)) from error

    def _check_length(self, request: web.Request, limit: int) -> None:
        """Refuse early what says itself that it is too large."""
        if request.content_length is not None and request.content_length > limit:
            raise self._too_large(limit)

    async def _parts(self, reader: MultipartReader, received: Received, files: str) -> None:
        total = 0
        while True:
            part = await _soon(reader.next())
            if part is None:
                return
            if not isinstance(part, BodyPartReader):
                raise InvalidRequest("A multipart body inside a multipart body is not accepted.")
            if part.name == files or part.filename is not None:
                upload = await self._part_file(part, received)
                total += upload.size
                if total > self._limits.request:
                    raise self._too_large(self._limits.request)
            else:
                received.fields.append((part.name or "", await self._text(part)))
            if len(received.fields) > _FIELDS:
                raise InvalidRequest(f"More than {_FIELDS} form fields.")

    async def _part_file(self, part: BodyPartReader, received: Received) -> Upload:
        async def chunks() -> bytes:
            return part.decode(await part.read_chunk(_CHUNK))

        await self._file(received, part.name or "", part.filename or "", chunks)
        return received.files[-1]

    async def _file(
        self, received: Received, part: str, name: str, next_chunk: Callable[[], Awaitable[bytes]]
    ) -> None:
        """Store one file; an empty chunk ends it."""
        if len(received.files) >= self._limits.files:
            raise InvalidRequest(
                f"More than {self._limits.files} files in one request (limits.files).", field="file"
            )
        key = f"{received.job_id}-in-{len(received.files)}"
        shown = clean_name(name)
        async with self._blobs.writer() as writer:
            while chunk := await _soon(next_chunk()):
                await writer.write(chunk)
                if writer.size > self._limits.file:
                    raise self._too_large(self._limits.file)
            if writer.size == 0:
                raise FileInvalid(f"'{shown}' is empty: there is nothing to convert.", field=part or None)
            blob = await writer.commit(key)
            received.files.append(
                Upload(
                    key=key,
                    part=part,
                    name=shown,
                    size=blob.size,
                    sha256=blob.sha256,
                    head=bytes(writer.head),
                )
            )

    async def _text(self, part: BodyPartReader) -> str:
        async with asyncio.timeout(IDLE_SECONDS):
            data = b""
            while chunk := await part.read_chunk(_CHUNK):
                data += chunk
                if len(data) > _FIELD_BYTES:
                    raise InvalidRequest(
                        f"Form field {part.name!r} is longer than {_FIELD_BYTES} bytes; "
                        "a file needs the part name 'file' or a file name.",
                        field=part.name,
                    )
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise InvalidRequest(f"Form field {part.name!r} is not UTF-8 text.", field=part.name) from None

    def _too_large(self, limit: int) -> TooLarge:
        return TooLarge(f"More than the {limit} bytes that this server accepts.")


async def _soon(reading: Awaitable[T]) -> T:
    """What the client sends next; raises ``TimeoutError`` if that takes too long."""
    async with asyncio.timeout(IDLE_SECONDS):
        return await reading


def clean_name(name: str) -> str:
    """A client's file name as it is kept and shown: its last part, printable; never a path."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    printable = "".join(char for char in last if char.isprintable()).strip()
    return printable[-_NAME_LENGTH:] if printable.strip(".") else "upload"
