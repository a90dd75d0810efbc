"""Which streams a compound file (OLE: Office before 2007, and encrypted Office files) holds.

Source: [MS-CFB] Compound File Binary File Format. Only the directory is read, and of it only what lies in the
bytes at hand.
"""

from __future__ import annotations

import mmap
from typing import Final, NamedTuple

MAGIC: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"

ENCRYPTED_STREAMS: Final = frozenset(("EncryptedPackage", "EncryptedSummary"))
"""Office 2007 and later put the whole encrypted file into the first; PowerPoint before it has the second."""

_ENTRY: Final = 128
_NO_SECTOR: Final = 0xFFFF_FFFA
"""Sector and entry numbers from here on mean none."""
_FAT_SECTORS: Final = 109
"""Those that the header itself names: files of 7 MB and more have further ones, which are not followed."""
_MOST_SECTORS: Final = 4096

Bytes = bytes | mmap.mmap


class _Entry(NamedTuple):
    name: str
    left: int
    right: int
    child: int


def stream_names(data: Bytes) -> frozenset[str]:
    """Names in the root directory of the compound file that starts with ``data``, as far as it is seen."""
    if data[:8] != MAGIC or len(data) < 512:
        return frozenset()
    entries = _directory(data)
    names: set[str] = set()
    ahead, met = [entries[0].child] if entries else [], set[int]()
    while ahead:
        number = ahead.pop()
        if number in met or number >= len(entries):
            continue
        met.add(number)
        names.add(entries[number].name)
        ahead += (entries[number].left, entries[number].right)
    return frozenset(names)


def _directory(data: Bytes) -> list[_Entry]:
    shift = _number(data, 30, 2)
    if shift not in (9, 12):
        return []
    size = 1 << shift
    entries: list[_Entry] = []
    sector, met = _number(data, 48), set[int]()
    while sector < _NO_SECTOR and sector not in met and len(met) < _MOST_SECTORS:
        met.add(sector)
        start = (sector + 1) * size
        found = data[start : start + size]
        if len(found) < size:
            break
        entries += (_entry(found[at : at + _ENTRY]) for at in range(0, size, _ENTRY))
        sector = _next(data, sector, size)
    return entries


def _next(data: Bytes, sector: int, size: int) -> int:
    """The sector that the allocation table has after this one."""
    table, place = divmod(sector, size // 4)
    if table >= _FAT_SECTORS:
        return _NO_SECTOR
    start = _number(data, 76 + 4 * table)
    return _number(data, (start + 1) * size + 4 * place) if start < _NO_SECTOR else _NO_SECTOR


def _entry(raw: bytes) -> _Entry:
    length = min(max(_number(raw, 64, 2) - 2, 0), 64)
    name = raw[:length].decode("utf-16-le", errors="replace")
    return _Entry(name, _number(raw, 68), _number(raw, 72), _number(raw, 76))


def _number(data: Bytes, at: int, width: int = 4) -> int:
    """A little-endian number; :data:`_NO_SECTOR` where the bytes at hand end before it."""
    raw = data[at : at + width]
    return int.from_bytes(raw, "little") if len(raw) == width else _NO_SECTOR
