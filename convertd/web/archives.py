"""Several stored files as one ZIP, made while it is sent: nothing is compressed, nothing held in memory.

The files do not change and are stored as they are, so the length is known before the first byte. Checksums
are not: each follows its file, in a data descriptor. Records as in APPNOTE.TXT 6.3.10 of PKWARE.
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter

from convertd.errors import Expired
from convertd.model.job import Artifact
from convertd.model.naming import Names
from convertd.storage.base import BlobStore
from convertd.web.disposition import attachment, safe_name
from convertd.web.downloads import SHIELD

STALL_SECONDS: Final = 60.0
"""A client that takes none of what waits for it for this long has stalled, and its connection is cut."""

_STREAMED_UTF8: Final = 0x0808
"""Flags: checksum and sizes follow the data; names are UTF-8."""
_UNIX_FILE: Final = 0o100644 << 16
_DATE: Final = 0x0021
"""1 January 1980, the first day that there is: the same files make the same archive."""
_FULL_16: Final = 0xFFFF
_FULL_32: Final = 0xFFFFFFFF
"""A field with this value, or a greater one to tell, is told in a ZIP64 field instead."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One file: ``name`` in the archive, ``size`` in bytes, and where its local header begins."""

    name: str
    size: int
    offset: int

    @property
    def large(self) -> bool:
        """Whether its size takes more than 32 bits."""
        return self.size >= _FULL_32

    @property
    def end(self) -> int:
        """Where the next entry begins."""
        return self.offset + len(self.header()) + self.size + len(self.descriptor(0))

    def header(self) -> bytes:
        """What comes before the file's bytes."""
        name = self.name.encode()
        extra = struct.pack("<HHQQ", 1, 16, 0, 0) if self.large else b""
        later = _FULL_32 if self.large else 0
        return (
            struct.pack(
                *("<4s5H3I2H", b"PK\x03\x04", _version(self.large), _STREAMED_UTF8, 0, 0, _DATE),
                *(0, later, later, len(name), len(extra)),
            )
            + name
            + extra
        )

    def descriptor(self, checksum: int) -> bytes:
        """What comes after them."""
        sizes = "QQ" if self.large else "II"
        return struct.pack(f"<4sI{sizes}", b"PK\x07\x08", checksum, self.size, self.size)

    def record(self, checksum: int) -> bytes:
        """Its line in the central directory."""
        name = self.name.encode()
        far = self.offset >= _FULL_32
        values = [self.size, self.size] * self.large + [self.offset] * far
        extra = struct.pack(f"<HH{len(values)}Q", 1, 8 * len(values), *values) if values else b""
        size = _FULL_32 if self.large else self.size
        version = _version(self.large or far)
        return (
            struct.pack(
                *("<4s6H3I5H2I", b"PK\x01\x02", 3 << 8 | version, version, _STREAMED_UTF8, 0, 0, _DATE),
                *(checksum, size, size, len(name), len(extra), 0, 0, 0),
                *(_UNIX_FILE, _FULL_32 if far else self.offset),
            )
            + name
            + extra
        )


def _version(large: bool) -> int:
    """What a reader must know: ZIP64, or folders (the least that all expect)."""
    return 45 if large else 20


def entries(files: Sequence[tuple[str, int]]) -> list[Entry]:
    """Where each file, of this name and size, lies in the archive; names are made safe and unique."""
    placed: list[Entry] = []
    names = Names()
    offset = 0
    for name, size in files:
        placed.append(Entry(name=names.unique(safe_name(name)), size=size, offset=offset))
        offset = placed[-1].end
    return placed


def directory(placed: Sequence[Entry], checksums: Sequence[int]) -> bytes:
    """The end of the archive: the central directory and what leads to it."""
    start = placed[-1].end if placed else 0
    records = b"".join(map(Entry.record, placed, checksums))
    count, size, extended = len(placed), len(records), b""
    if count >= _FULL_16 or size >= _FULL_32 or start >= _FULL_32:
        rest = struct.pack("<2H2I4Q", 3 << 8 | 45, 45, 0, 0, count, count, size, start)
        extended = struct.pack("<4sQ", b"PK\x06\x06", len(rest)) + rest
        extended += struct.pack("<4sIQI", b"PK\x06\x07", 0, start + size, 1)
        count, size, start = min(count, _FULL_16), min(size, _FULL_32), min(start, _FULL_32)
    return records + extended + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, size, start, 0)


def length(placed: Sequence[Entry]) -> int:
    """Bytes of the whole archive."""
    return (placed[-1].end if placed else 0) + len(directory(placed, [0] * len(placed)))


async def send_archive(
    request: web.Request, *, blobs: BlobStore, outputs: Sequence[Artifact], filename: str
) -> web.StreamResponse:
    """The answer to a GET or HEAD for ``outputs`` as one ZIP called ``filename``.

    Raises :class:`Expired` where a file is gone; one that goes while the archive is sent breaks it off.
    """
    for found in await asyncio.gather(*(blobs.stat(output.key) for output in outputs)):
        if found is None:
            raise Expired("A file of the job was removed after its retention; convert it again.")
    return _Archive(blobs, outputs, filename)


def entries_of(outputs: Sequence[Artifact]) -> list[Entry]:
    """Where each output of a job lies in their archive."""
    return entries([(output.name, output.bytes) for output in outputs])


def size_of(outputs: Sequence[Artifact]) -> int:
    """Bytes of the archive of a job's outputs, known before it is made."""
    return length(entries_of(outputs))


class _Archive(web.StreamResponse):
    """Sends the files when it is prepared, so that middlewares may still add headers before."""

    def __init__(self, blobs: BlobStore, outputs: Sequence[Artifact], filename: str) -> None:
        self._blobs = blobs
        self._keys = [output.key for output in outputs]
        self._entries = entries_of(outputs)
        headers = {
            hdrs.CONTENT_TYPE: "application/zip",
            hdrs.CONTENT_LENGTH: str(length(self._entries)),
            hdrs.CONTENT_DISPOSITION: attachment(filename),
            hdrs.CACHE_CONTROL: "private, no-transform",
            hdrs.ACCEPT_RANGES: "none",
        }
        super().__init__(headers=headers | SHIELD)

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        if self.prepared:
            return await super().prepare(request)
        writer = await super().prepare(request)
        if request.method != hdrs.METH_HEAD:
            try:
                await self._send()
            except BaseException:
                # Without its end, the answer must not pass for a whole one, nor the connection be used again.
                if request.transport is not None:
                    request.transport.abort()
                raise
        await self.write_eof()
        return writer

    async def _send(self) -> None:
        checksums = []
        for entry, key in zip(self._entries, self._keys, strict=True):
            await self._put(entry.header())
            checksums.append(await self._send_file(key, entry.size))
            await self._put(entry.descriptor(checksums[-1]))
        await self._put(directory(self._entries, checksums))

    async def _send_file(self, key: str, size: int) -> int:
        """The file's checksum."""
        checksum = sent = 0
        try:
            reader = await self._blobs.open(key)
        except Expired as error:
            raise ConnectionResetError("a file of the archive is gone") from error
        try:
            async for chunk in reader.chunks(0, size):
                checksum = zlib.crc32(chunk, checksum)
                sent += len(chunk)
                await self._put(chunk)
        finally:
            reader.close()
        if sent != size:
            raise ConnectionResetError("the stored file is shorter than recorded")
        return checksum

    async def _put(self, data: bytes) -> None:
        try:
            async with asyncio.timeout(STALL_SECONDS):
                await self.write(data)
        except TimeoutError:
            raise ConnectionResetError("the client has stalled") from None
