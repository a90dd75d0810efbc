"""Taking the metadata out of a file without touching its pixels."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Final

from convertd.engines.pillow.tiff_stripping import stripped_tiff

_PNG_HARMLESS: Final = frozenset(
    b"gAMA cHRM sRGB iCCP cICP mDCV cLLI sBIT bKGD tRNS pHYs hIST sPLT acTL fcTL fdAT".split()
)
"""Chunks beside the critical ones that say how the pixels look; any other may say anything."""
_CRITICAL: Final = 0x20
"""Bit of a PNG chunk's first letter that is unset where no reader can do without the chunk."""
_WEBP_PICTURE: Final = frozenset((b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP"))
_WEBP_EXIF: Final = 0x08
_WEBP_XMP: Final = 0x04
_GIF_LOOPS: Final = (b"NETSCAPE2.0", b"ANIMEXTS1.0")
"""Application blocks that say how often an animation runs."""
_JP2_PICTURE: Final = frozenset((b"jP  ", b"ftyp", b"jp2h", b"jp2c"))
_JP2_COMMENT: Final = 0xFF64


def without_metadata(data: bytes, source: str, orientation: int = 1) -> bytes | None:
    """``data`` less what tells of people, places and programs; colour profile and density stay, and an
    ``orientation`` other than 1, without which the picture would lie.

    ``None`` for formats this is not known for, and for files that are not as their format says though they
    could be decoded.
    """
    strip = _STRIPPERS.get(source)
    if strip is None:
        return None
    exif = b"" if orientation == 1 else _exif_of(orientation)
    try:
        return strip(data, exif)
    except (struct.error, LookupError, ValueError):
        return None


def _exif_of(orientation: int) -> bytes:
    """A TIFF structure that says this and nothing else."""
    return struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def _jpeg(data: bytes, exif: bytes) -> bytes:
    """Segments up to the end of the image; what follows it (pictures with metadata of their own) goes."""
    kept = [data[:2]]
    if exif:
        kept.append(struct.pack(">HH", 0xFFE1, len(exif) + 8) + b"Exif\x00\x00" + exif)
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
    if marker == 0xE0:
        return not start.startswith(b"JFIF\x00")
    if marker == 0xE2:
        return not start.startswith(b"ICC_PROFILE\x00")
    return marker == 0xFE or (0xE1 <= marker <= 0xEF and not (marker == 0xEE and start.startswith(b"Adobe")))


def _png(data: bytes, exif: bytes) -> bytes:
    kept = [chunk for name, chunk in _png_chunks(data) if not name[0] & _CRITICAL or name in _PNG_HARMLESS]
    if exif:
        named = b"eXIf" + exif
        kept.insert(1, struct.pack(">I", len(exif)) + named + struct.pack(">I", zlib.crc32(named)))
    return data[:8] + b"".join(kept)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position, name = 8, b""
    while name != b"IEND":
        length, name = struct.unpack_from(">I4s", data, position)
        yield name, data[position : position + 12 + length]
        position += 12 + length


def _webp(data: bytes, exif: bytes) -> bytes:
    body = bytearray()
    position, end = 12, 8 + struct.unpack_from("<I", data, 4)[0]
    while position + 8 <= end:
        name, length = struct.unpack_from("<4sI", data, position)
        following = position + 8 + length + length % 2
        if name in _WEBP_PICTURE:
            body += data[position:following]
        position = following
    if body.startswith(b"VP8X"):
        body[8] &= ~(_WEBP_EXIF | _WEBP_XMP)
        if exif:
            body[8] |= _WEBP_EXIF
            body += struct.pack("<4sI", b"EXIF", len(exif)) + exif
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + bytes(body)


def _gif(data: bytes, exif: bytes) -> bytes:
    """Without comments and foreign application blocks; the format knows no orientation."""
    position = 13 + _gif_colours(data[10])
    kept = [data[:position]]
    while position < len(data) and data[position] != 0x3B:
        if data[position] == 0x2C:
            end = _gif_blocks_end(data, position + 11 + _gif_colours(data[position + 9]))
            kept.append(data[position:end])
        elif data[position] == 0x21:
            end = _gif_blocks_end(data, position + 2)
            if not _is_private_in_gif(data[position + 1], data[position + 3 : position + 14]):
                kept.append(data[position:end])
        else:
            end = position + 1
        position = end
    return b"".join((*kept, b"\x3b"))


def _gif_colours(flags: int) -> int:
    """Bytes of the colour table that follows."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _gif_blocks_end(data: bytes, position: int) -> int:
    while data[position]:
        position += 1 + data[position]
    return position + 1


def _is_private_in_gif(label: int, start: bytes) -> bool:
    return label == 0xFE or (label == 0xFF and start not in _GIF_LOOPS)


def _jp2(data: bytes, exif: bytes) -> bytes:
    """Without boxes and comments about the picture; the format knows no orientation."""
    if data.startswith(b"\xff\x4f"):
        return _jp2_codestream(data)
    kept, position = bytearray(), 0
    while position + 8 <= len(data):  # some writers pad the end
        length, name = struct.unpack_from(">I4s", data, position)
        start = position + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, start)
            start += 8
        end = position + length if length else len(data)
        if end < start:
            raise struct.error("a box is shorter than its head")
        if name in _JP2_PICTURE:
            box = _jp2_codestream(data[start:end]) if name == b"jp2c" else data[start:end]
            kept += struct.pack(">I4s", len(box) + 8, name) + box
        position = end
    return bytes(kept)


def _jp2_codestream(data: bytes) -> bytes:
    """Its main header, up to the first part of the picture, without comments."""
    kept, position = bytearray(data[:2]), 2
    while not data.startswith(b"\xff\x90", position):
        marker, length = struct.unpack_from(">HH", data, position)
        if marker != _JP2_COMMENT:
            kept += data[position : position + 2 + length]
        position += 2 + length
    if _has_late_comments(data, position):
        raise ValueError("comments among the parts of the picture, whose lengths would change without them")
    return bytes(kept + data[position:])


def _has_late_comments(data: bytes, position: int) -> bool:
    """Whether the head of a tile-part, the first of which is at ``position``, holds a comment."""
    while data.startswith(b"\xff\x90", position):
        (length,) = struct.unpack_from(">I", data, position + 6)
        head = position + 12
        while not data.startswith(b"\xff\x93", head):
            marker, size = struct.unpack_from(">HH", data, head)
            if marker == _JP2_COMMENT:
                return True
            head += 2 + size
        if length < head - position:  # 0: the last part, up to the end
            break
        position += length
    return False


def _tiff(data: bytes, exif: bytes) -> bytes | None:
    """With the orientation where it is: a tag like others."""
    return stripped_tiff(data)


_STRIPPERS: Final[dict[str, Callable[[bytes, bytes], bytes | None]]] = {
    "jpg": _jpeg,
    "png": _png,
    "webp": _webp,
    "gif": _gif,
    "jp2": _jp2,
    "tiff": _tiff,
}
