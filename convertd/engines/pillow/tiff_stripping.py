"""A TIFF put together anew from its own strips or tiles and the tags that say how their pixels look."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

_ORDERS: Final = {b"II*\x00": "<", b"MM\x00*": ">"}
_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
"""Bytes of one value of each kind (TIFF 6.0, section 2)."""
_SHORT, _LONG = 3, 4
_PIXELS: Final = {273: 279, 324: 325}
"""Where the strips or tiles are → how many bytes each has."""
_ABOUT_PIXELS: Final = frozenset((
    *range(254, 260), *range(262, 267), 274, *range(277, 285), *range(290, 294), 296, 297, 301,
    *range(317, 324), 332, 334, 336, *range(338, 342), 347, *range(529, 533), 34675,
    *_PIXELS, *_PIXELS.values(),
))  # fmt: skip
"""Tags that say how the pixels look and lie, colour profile and density among them; any other may say
anything."""
_COMPRESSION: Final = 259
_OLD_JPEG: Final = 6
"""Its tables lie where tags of their own point to."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One tag of a directory."""

    kind: int
    count: int
    value: memoryview

    def numbers(self, order: str) -> tuple[int, ...]:
        """The values, which are whole numbers."""
        return struct.unpack(f"{order}{self.count}{ {_SHORT: 'H', _LONG: 'I'}[self.kind] }", self.value)


_Directory = dict[int, _Entry]


def stripped_tiff(data: bytes) -> bytes | None:
    """``data`` less all that is not about pixels, page by page, the pixels' bytes as they are.

    ``None`` for what is not known (BigTIFF, JPEG of the old kind) or not as the format says.
    """
    order = _ORDERS.get(data[:4])
    if order is None:
        return None
    try:
        return _rebuilt(memoryview(data), order)
    except (struct.error, KeyError, ValueError):
        return None


def _rebuilt(data: memoryview, order: str) -> bytes | None:
    out = bytearray(data[:4]) + bytes(4)
    link, seen = 4, {0}
    (position,) = struct.unpack_from(order + "I", data, 4)
    while position not in seen:
        seen.add(position)
        directory, position = _read(data, position, order)
        pixels = _pixels(data, directory, order)
        values = sum(len(entry.value) for entry in directory.values())
        if pixels is None or len(out) + values + sum(map(len, pixels)) > 2 * len(data):
            # Pages that share their bytes could grow without bound.
            return None
        link = _write(out, link, directory, pixels, order)
    return bytes(out)


def _read(data: memoryview, position: int, order: str) -> tuple[_Directory, int]:
    """The directory at ``position`` without what is not about pixels, and where the next one is."""
    (count,) = struct.unpack_from(order + "H", data, position)
    directory = {}
    for at in range(position + 2, position + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack_from(order + "HHI", data, at)
        if tag in _ABOUT_PIXELS:
            size = _SIZES[kind] * number
            start = at + 8 if size <= 4 else struct.unpack_from(order + "I", data, at + 8)[0]
            directory[tag] = _Entry(kind, number, _slice(data, start, size))
    return directory, struct.unpack_from(order + "I", data, position + 2 + 12 * count)[0]


def _pixels(data: memoryview, directory: _Directory, order: str) -> list[memoryview] | None:
    """The strips or tiles; ``None`` where they are not all that a reader needs."""
    compression = directory[_COMPRESSION].numbers(order)[0] if _COMPRESSION in directory else 1
    places = [tag for tag in _PIXELS if tag in directory]
    if compression == _OLD_JPEG or len(places) != 1:
        return None
    starts, sizes = (directory[tag].numbers(order) for tag in (places[0], _PIXELS[places[0]]))
    return [_slice(data, start, size) for start, size in zip(starts, sizes, strict=True)]


def _slice(data: memoryview, start: int, size: int) -> memoryview:
    if start + size > len(data):
        raise ValueError("something lies beyond the end")
    return data[start : start + size]


def _write(out: bytearray, link: int, directory: _Directory, pixels: list[memoryview], order: str) -> int:
    """Append a page that the four bytes at ``link`` lead to; returns where the next one is to be linked."""
    place = next(tag for tag in _PIXELS if tag in directory)
    starts = struct.pack(f"{order}{len(pixels)}I", *(_append(out, piece) for piece in pixels))
    directory = directory | {place: _Entry(_LONG, len(pixels), memoryview(starts))}
    entries = bytearray()
    for tag, entry in sorted(directory.items()):
        value = bytes(entry.value)
        if len(value) > 4:
            value = struct.pack(order + "I", _append(out, value))
        entries += struct.pack(order + "HHI4s", tag, entry.kind, entry.count, value)
    position = _append(out, struct.pack(order + "H", len(directory)) + entries + bytes(4))
    struct.pack_into(order + "I", out, link, position)
    return len(out) - 4


def _append(out: bytearray, piece: bytes | bytearray | memoryview) -> int:
    """Where ``piece`` was put: at an even place, as the format wants."""
    out += bytes(len(out) % 2)
    position = len(out)
    out += piece
    return position
