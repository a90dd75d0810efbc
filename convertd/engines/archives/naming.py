"""Names of members: safe to unpack anywhere."""

from __future__ import annotations

import re

_DRIVE = re.compile(r"[A-Za-z]:")
_LONGEST_PART = 200
"""Bytes in UTF-8; file systems take 255."""
_LONGEST_PATH = 1000
"""Bytes in UTF-8; systems take some 4096, with the folder that it is unpacked into."""


def safe_path(name: str) -> str | None:
    """A member's path with what is only odd put right; ``None`` if it would lead out of its folder."""
    name = name.replace("\\", "/")
    if name.startswith("/") or _DRIVE.match(name) or ".." in name.split("/"):
        return None
    parts = [_printable(part) for part in name.split("/") if part not in ("", ".")]
    path = "/".join(part for part in parts if part)
    return path if path and len(path.encode()) <= _LONGEST_PATH else None


def last_part(name: str) -> str:
    """A client's file name as the name of a member at the top."""
    last = _printable(name.replace("\\", "/").rsplit("/", 1)[-1])
    return last if last.strip(".") else "file"


def _printable(part: str) -> str:
    part = "".join(char if char.isprintable() else "_" for char in part).strip()
    raw = part.encode()
    return part if len(raw) <= _LONGEST_PART else raw[-_LONGEST_PART:].decode(errors="ignore")
