"""Taking the metadata out of a file without touching its pixels.

For a file that is to be returned as it came, where nothing was to be gained by encoding it anew.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Final

from convertd.errors import FileInvalid

_PNG_PRIVATE: Final = frozenset((b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"tIME"))
_WEBP_PRIVATE: Final = {b"EXIF": 0x08, b"XMP ": 0x04}
"""Chunks and the bits that announce them in the header."""


def without_metadata(data: bytes, source: str) -> bytes | None:
    """``data`` less what tells of people, places and programs; colour profile and density stay.

    ``None`` for formats this is not known for. The file must have been decoded before: a broken structure is
    :class:`FileInvalid`.
    """
    strip = _STRIPPERS.get(source)
    if strip is None:
        return None
    try:
        return strip(data)
    except (struct.error, IndexError) as error:
        raise FileInvalid(f"The {source} picture is damaged.", detail=repr(error)) from error


def _jpeg(data: bytes) -> bytes:
    """Segments up to the end of the image; what follows it (pictures with metadata of their own) goes."""
    kept = [data[:2]]
    position = 2
    while position < len(data):
        marker = data[position + 1]
        if data[position] != 0xFF or marker == 0xFF:
            position += 1
        elif marker == 0xD9:
            break
        else:
            end = position + 2 + struct.unpack_from(">H", data, position + 2)[0]
            if marker == 0xDA:
                end = _end_of_scan(data, end)
            if not _is_private(marker, data[position + 4 : position + 18]):
                kept.append(data[position:end])
            position = end
    return b"".join((*kept, b"\xff\xd9"))


def _end_of_scan(data: bytes, position: int) -> int:
    """Where the entropy-coded bytes stop: at the first marker that is neither stuffing nor a restart."""
    while True:
        position = data.find(b"\xff", position)
        if position < 0 or position + 1 >= len(data):
            return len(data)
        if data[position + 1] not in (0x00, 0xFF, *range(0xD0, 0xD8)):
            return position
        position += 1 if data[position + 1] == 0xFF else 2


def _is_private(marker: int, start: bytes) -> bool:
    if marker == 0xE2:
        return not start.startswith(b"ICC_PROFILE\x00")
    return marker == 0xFE or (0xE1 <= marker <= 0xEF and not (marker == 0xEE and start.startswith(b"Adobe")))


def _png(data: bytes) -> bytes:
    return data[:8] + b"".join(chunk for name, chunk in _png_chunks(data) if name not in _PNG_PRIVATE)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position, name = 8, b""
    while name != b"IEND":
        length, name = struct.unpack_from(">I4s", data, position)
        yield name, data[position : position + 12 + length]
        position += 12 + length


def _webp(data: bytes) -> bytes:
    body = bytearray()
    cleared = 0
    position, end = 12, 8 + struct.unpack_from("<I", data, 4)[0]
    while position + 8 <= end:
        name, length = struct.unpack_from("<4sI", data, position)
        following = position + 8 + length + length % 2
        if name in _WEBP_PRIVATE:
            cleared |= _WEBP_PRIVATE[name]
        else:
            body += data[position:following]
        position = following
    if body.startswith(b"VP8X"):
        body[8] &= ~cleared
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + bytes(body)


_STRIPPERS: Final[dict[str, Callable[[bytes], bytes]]] = {"jpg": _jpeg, "png": _png, "webp": _webp}
