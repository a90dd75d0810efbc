"""EXIF and GPS directories in a TIFF that is already written.

The library's compressing TIFF writer cannot write nested directories. TIFF lets a directory lie anywhere, so
they are appended, together with a new first directory that points at them.
"""

from __future__ import annotations

import struct
from typing import IO, Any, Final

from PIL import ExifTags, Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

_GROUPS: Final = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
_LONG: Final = 4


def append_directories(file: IO[bytes], exif: bytes) -> bool:
    """Add the nested directories of ``exif`` (a TIFF structure) to ``file``, a classic TIFF open for reading
    and writing. Returns whether that went well; a directory that cannot be read or packed is left out."""
    source = Image.Exif()
    source.load(exif)
    file.seek(0)
    prefix = file.read(2)
    pointers: dict[int, int] = {}
    complete = True
    for group in _GROUPS:
        try:
            position = _append_even(file, _packed(source.get_ifd(group), group, prefix, file))
        except Exception:
            # Any value of a hostile or careless camera may be the one that cannot be packed again.
            complete = False
        else:
            pointers |= {int(group): position} if position else {}
    if pointers:
        _point_at(file, "<" if prefix == b"II" else ">", pointers)
    return complete


def _packed(tags: dict[int, Any], group: int, prefix: bytes, file: IO[bytes]) -> bytes:
    if not tags:
        return b""
    order = "<" if prefix == b"II" else ">"
    directory = ImageFileDirectory_v2(prefix + struct.pack(order + "HI", 42, 8), group=group)
    for tag, value in tags.items():
        directory[tag] = value
    return directory.tobytes(_even_end(file))


def _append_even(file: IO[bytes], data: bytes) -> int:
    """Where ``data`` was written; 0 for nothing."""
    if not data:
        return 0
    position = _even_end(file)
    file.seek(position)
    file.write(data)
    return position


def _even_end(file: IO[bytes]) -> int:
    end = file.seek(0, 2)
    return end + end % 2


def _point_at(file: IO[bytes], order: str, pointers: dict[int, int]) -> None:
    """Copy the first directory to the end, with one entry more for each pointer."""
    file.seek(4)
    (first,) = struct.unpack(order + "I", file.read(4))
    file.seek(first)
    (count,) = struct.unpack(order + "H", file.read(2))
    entries = [file.read(12) for _ in range(count)]
    following = file.read(4)
    entries += [struct.pack(order + "HHII", tag, _LONG, 1, position) for tag, position in pointers.items()]
    entries.sort(key=lambda entry: struct.unpack(order + "H", entry[:2]))
    moved = _append_even(file, struct.pack(order + "H", len(entries)) + b"".join(entries) + following)
    file.seek(4)
    file.write(struct.pack(order + "I", moved))
