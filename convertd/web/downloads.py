"""Serving stored files: conditional, resumable, by ``sendfile`` where possible, and never as a page."""

from __future__ import annotations

import asyncio
import os
import re
from email.utils import formatdate
from typing import Final

from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter

from convertd.storage.base import BlobReader
from convertd.web import conditional
from convertd.web.conditional import Answer, File
from convertd.web.disposition import attachment

PIECE_BYTES: Final = 8 * 1024 * 1024
PIECE_SECONDS: Final = 900.0
"""A client that takes longer for a piece (9 kB/s) has stalled, and its connection is cut."""

SHIELD: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Were a browser ever to show the file, it must not act in the server's name."""

_MEDIA_TYPE = re.compile(
    r"([a-z0-9][a-z0-9.+-]*/[a-z0-9][a-z0-9.+_-]*)(; *charset=[a-z0-9_-]+)?", re.IGNORECASE
)
_PAGES: Final = frozenset({"text/html", "application/xhtml+xml"})
_OCTETS: Final = "application/octet-stream"


def send_file(
    request: web.Request,
    *,
    reader: BlobReader,
    sha256: str,
    media_type: str,
    filename: str,
    last_modified: float | None = None,
) -> web.StreamResponse:
    """The answer to a GET or HEAD for a file that never changes: 200, 206 or 304 (RFC 9110).

    Takes over ``reader`` and closes it in every case. ``sha256`` in hexadecimal becomes the strong ETag;
    ``filename`` may be any text; ``last_modified`` is in seconds since 1970. Raises ``HTTPException`` for
    412 and 416.
    """
    modified = None if last_modified is None else int(last_modified)
    answer = conditional.answer(request, File(size=reader.size, etag=sha256, last_modified=modified))
    headers = {hdrs.ETAG: f'"{sha256}"', hdrs.CACHE_CONTROL: "private, no-transform"}
    if modified is not None:
        headers[hdrs.LAST_MODIFIED] = formatdate(modified, usegmt=True)
    if answer.status in (200, 206):
        return _Download(reader, answer, headers | _content_headers(reader, answer, media_type, filename))
    reader.close()
    match answer.status:
        case 304:
            return web.Response(status=304, headers=headers)
        case 412:
            raise web.HTTPPreconditionFailed(
                text="The file is not the one that If-Match or If-Unmodified-Since asks for."
            )
    raise web.HTTPRequestRangeNotSatisfiable(
        text=f"The range lies outside the file, which has {reader.size} bytes.",
        headers={hdrs.CONTENT_RANGE: f"bytes */{reader.size}", hdrs.ACCEPT_RANGES: "bytes"},
    )


def _content_headers(reader: BlobReader, answer: Answer, media_type: str, filename: str) -> dict[str, str]:
    known = _MEDIA_TYPE.fullmatch(media_type)
    headers = {
        hdrs.CONTENT_TYPE: media_type if known and known[1].lower() not in _PAGES else _OCTETS,
        hdrs.CONTENT_LENGTH: str(answer.count),
        hdrs.CONTENT_DISPOSITION: attachment(filename),
        hdrs.ACCEPT_RANGES: "bytes",
        **SHIELD,
    }
    if answer.status == 206:
        last = answer.start + answer.count - 1
        headers[hdrs.CONTENT_RANGE] = f"bytes {answer.start}-{last}/{reader.size}"
    return headers


class _Download(web.StreamResponse):
    """Sends its file when it is prepared, so that middlewares may still add headers before."""

    def __init__(self, reader: BlobReader, answer: Answer, headers: dict[str, str]) -> None:
        super().__init__(status=answer.status, headers=headers)
        self._reader = reader
        self._start_at = answer.start
        self._count = answer.count

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        if self.prepared:
            return await super().prepare(request)
        try:
            writer = await super().prepare(request)
            if request.method != hdrs.METH_HEAD:
                await self._send(request)
            await self.write_eof()
            return writer
        finally:
            self._reader.close()

    async def _send(self, request: web.BaseRequest) -> None:
        offset, end = self._start_at, self._start_at + self._count
        while offset < end:
            count = min(PIECE_BYTES, end - offset)
            transport = request.transport
            if transport is None or transport.is_closing():
                raise ConnectionResetError("the client has gone")
            try:
                async with asyncio.timeout(PIECE_SECONDS):
                    sent = await self._send_piece(transport, offset, count)
            except TimeoutError:
                transport.abort()
                raise ConnectionResetError("the client has stalled") from None
            if sent != count:
                transport.abort()
                raise ConnectionResetError("the stored file is shorter than recorded")
            offset += count

    async def _send_piece(self, transport: asyncio.Transport, offset: int, count: int) -> int:
        file = self._reader.file
        if file is not None and transport.get_extra_info("sslcontext") is None:
            os.posix_fadvise(file.fileno(), offset + count, PIECE_BYTES, os.POSIX_FADV_WILLNEED)
            try:
                loop = asyncio.get_running_loop()
                return await loop.sendfile(transport, file, offset, count, fallback=False)
            except (NotImplementedError, asyncio.SendfileNotAvailableError):
                pass
        sent = 0
        async for chunk in self._reader.chunks(offset, count):
            await self.write(chunk)
            sent += len(chunk)
        return sent
