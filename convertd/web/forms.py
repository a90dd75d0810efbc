"""The parts of a multipart form, one after the other, with every fault of theirs named."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import BodyPartReader, MultipartReader, hdrs

from convertd.errors import InvalidRequest

_FIELD_BYTES: Final = 64 * 1024
_CHUNK: Final = 256 * 1024
_INDEX: Final = re.compile(r"\[\d*\]$")
_PLAIN: Final = ("", "7bit", "8bit", "binary")


def plain_name(name: str) -> str:
    """A part's name without the index that PHP and others append to those of a list: ``files[0]``."""
    return _INDEX.sub("", name)


async def next_part(reader: MultipartReader) -> BodyPartReader | None:
    """The next part, or ``None`` after the last; raises :class:`InvalidRequest`."""
    try:
        part = await reader.next()
    except (AssertionError, RuntimeError) as error:  # aiohttp's answer to a strange '_charset_' field
        raise InvalidRequest("The multipart body is malformed.", detail=repr(error)) from error
    if isinstance(part, MultipartReader):
        raise InvalidRequest("A multipart body inside a multipart body is not accepted.")
    if part is not None:
        _check_encoding(part)
    return part


def _check_encoding(part: BodyPartReader) -> None:
    """Parts come as they are, or in base64: what is packed is a file of that format, not an encoding."""
    transfer = part.headers.get(hdrs.CONTENT_TRANSFER_ENCODING, "").strip().lower()
    content = part.headers.get(hdrs.CONTENT_ENCODING, "").strip().lower()
    if transfer not in (*_PLAIN, "base64"):
        raise InvalidRequest(
            f"A part has the Content-Transfer-Encoding {transfer[:40]!r}; send it as binary.", field=part.name
        )
    if content not in ("", "identity"):
        raise InvalidRequest(
            f"A part has the Content-Encoding {content[:40]!r}; send it unpacked.", field=part.name
        )


def decoded(part: BodyPartReader) -> Callable[[], Awaitable[bytes]]:
    """Reads the part's content chunk by chunk; an empty one ends it."""
    encoded = part.headers.get(hdrs.CONTENT_TRANSFER_ENCODING, "").strip().lower() not in _PLAIN

    async def next_chunk() -> bytes:
        while not part.at_eof():
            chunk = await part.read_chunk(_CHUNK)
            if content := part.decode(chunk) if encoded else chunk:
                return bytes(content)
        return b""

    return next_chunk


async def text_of(part: BodyPartReader, name: str) -> str:
    """The text of the field ``name``; raises :class:`InvalidRequest` where it is too long or not UTF-8."""
    next_chunk = decoded(part)
    data = b""
    while chunk := await next_chunk():
        data += chunk
        if len(data) > _FIELD_BYTES:
            raise InvalidRequest(
                f"Form field {name[:40]!r} is longer than {_FIELD_BYTES} bytes; "
                "a file needs the part name 'file'.",
                field=name[:40],
            )
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise InvalidRequest(f"Form field {name[:40]!r} is not UTF-8 text.", field=name[:40]) from None
