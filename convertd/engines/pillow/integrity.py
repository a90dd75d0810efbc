"""Whether a file ends where its own structure says.

The decoders tell most cut-off files by themselves; here is what they let pass (a PNG without its end) or call
by a word that helps nobody ("could not create decoder object").
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final


def is_cut_off(path: Path, source: str) -> bool:
    """Whether ``path``, of the format ``source``, stops too early. ``False`` where it cannot be told."""
    check = _CHECKS.get(source)
    if check is None:
        return False
    with path.open("rb") as file:
        return check(file, path.stat().st_size)


def _png(file: BinaryIO, size: int) -> bool:
    """Chunks are length, name, data, checksum; the last one is IEND."""
    position = 8
    while position + 12 <= size:
        file.seek(position)
        length, name = struct.unpack(">I4s", file.read(8))
        position += 12 + length
        if name == b"IEND":
            return False
    return True


def _webp(file: BinaryIO, size: int) -> bool:
    head = file.read(8)
    return len(head) < 8 or int.from_bytes(head[4:], "little") + 8 > size


def _boxes(file: BinaryIO, size: int) -> bool:
    """Boxes of the ISO base media file format: length, name; 1 says a 64-bit length follows, 0 to the end."""
    position = 0
    while position + 8 <= size:
        file.seek(position)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1 and len(head) == 16:
            length = int.from_bytes(head[8:], "big")
        if length == 0:
            return False
        if length < 8:
            return False
        position += length
    return position > size


def _jp2(file: BinaryIO, size: int) -> bool:
    if file.read(4) == b"\xff\x4f\xff\x51":
        file.seek(max(0, size - 2))
        return file.read(2) != b"\xff\xd9"
    return _boxes(file, size)


_CHECKS: Final[dict[str, Callable[[BinaryIO, int], bool]]] = {
    "png": _png,
    "webp": _webp,
    "avif": _boxes,
    "jp2": _jp2,
}
