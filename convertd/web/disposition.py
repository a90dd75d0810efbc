"""File names that are safe to send: ``Content-Disposition`` of RFC 6266, beyond ASCII by RFC 8187."""

from __future__ import annotations

import re
import unicodedata
from typing import Final
from urllib.parse import quote

LONGEST_BYTES: Final = 200
"""Longest name in UTF-8: file systems take 255 bytes, and browsers add " (1)" or ".part"."""

_NAMELESS: Final = "download"
# Controls, bidi and zero-width marks, lone surrogates, private and unassigned characters, line separators.
_UNSAFE_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_RESERVED_CHARACTERS = re.compile(r'[<>:"|?*]')
_RESERVED_NAMES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE | re.ASCII)
# Without %: some browsers decode %41 in the plain form too.
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9 ._()+,=@~!#$&^{}\[\]-]")
_ATTR_CHARS: Final = "!#$&+-.^_`|~"


def attachment(name: str) -> str:
    """The header value that makes a browser save the file under a safe form of ``name``."""
    name = safe_name(name)
    letters = (c for c in unicodedata.normalize("NFKD", name) if unicodedata.category(c) != "Mn")
    fallback = _NOT_PLAIN.sub("_", "".join(letters)).strip(". ") or _NAMELESS
    header = f'attachment; filename="{fallback}"'
    return header if fallback == name else f"{header}; filename*=UTF-8''{quote(name, safe=_ATTR_CHARS)}"


def safe_name(name: str) -> str:
    """``name`` without folders, controls, bidi marks and characters that some system forbids; never empty."""
    name = "".join(c for c in name if unicodedata.category(c) not in _UNSAFE_CATEGORIES)
    name = re.split(r"[/\\]", name.rstrip("/\\"))[-1]
    name = _RESERVED_CHARACTERS.sub("_", unicodedata.normalize("NFC", name)).strip(". ")
    name = shortened(name)
    if _RESERVED_NAMES.fullmatch(name):
        name = f"_{name}"
    return name or _NAMELESS


def shortened(name: str) -> str:
    """``name`` in at most :data:`LONGEST_BYTES`, cut from the stem so that a short extension stays; empty
    where there is nothing in it but dots and blanks."""
    raw = name.encode()
    if len(raw) <= LONGEST_BYTES:
        return name if name.strip(". ") else ""
    stem, dot, extension = name.rpartition(".")
    tail = (dot + extension).encode() if stem and len(extension) <= 16 else b""
    return (raw[: LONGEST_BYTES - len(tail)] + tail).decode(errors="ignore").strip(". ")
