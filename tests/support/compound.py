"""Compound files (OLE), as far as their directory goes."""

from __future__ import annotations

from convertd.model.compound import MAGIC

_NONE = 0xFFFF_FFFF
_END = 0xFFFF_FFFE
_FAT = 0xFFFF_FFFD


def _u32(number: int) -> bytes:
    return number.to_bytes(4, "little")


def _entry(name: str, *, kind: int, right: int = _NONE, child: int = _NONE) -> bytes:
    text = name.encode("utf-16-le") + b"\0\0"
    links = _u32(_NONE) + _u32(right) + _u32(child)
    head = text.ljust(64, b"\0") + len(text).to_bytes(2, "little") + bytes((kind, 1)) + links
    return head.ljust(128, b"\0")


def compound(*streams: str, inside: tuple[str, ...] = (), gap: int = 0) -> bytes:
    """A compound file with empty ``streams`` in its root and others ``inside`` a folder there.

    ``gap`` sectors lie between the header and the directory.
    """
    names = [*streams, "Folder"] if inside else list(streams)
    entries = [_entry("Root Entry", kind=5, child=1)]
    for number, name in enumerate(names, start=1):
        right = number + 1 if number < len(names) else _NONE
        is_folder = bool(inside) and number == len(names)
        kind, child = (1, len(names) + 1) if is_folder else (2, _NONE)
        entries.append(_entry(name, kind=kind, right=right, child=child))
    for number, name in enumerate(inside, start=len(names) + 1):
        right = number + 1 if number < len(names) + len(inside) else _NONE
        entries.append(_entry(name, kind=2, right=right))
    directory = b"".join(entries)
    directory += b"\0" * (-len(directory) % 512)
    sectors = len(directory) // 512
    first = gap + 1
    chain = [_FAT, *([_NONE] * gap), *range(first + 1, first + sectors), _END]
    table = b"".join(map(_u32, chain)).ljust(512, b"\xff")
    header = MAGIC + bytes(16) + bytes.fromhex("3e000300feff09000600") + bytes(10)
    header += _u32(1) + _u32(first) + bytes(4) + _u32(4096) + 2 * (_u32(_END) + _u32(0)) + _u32(0)
    return header.ljust(512, b"\xff") + table + bytes(512 * gap) + directory
