"""Magic bytes: what the first bytes of a file prove about it.

Sources: the formats' own specifications and the freedesktop.org shared MIME database. Only names of
:data:`convertd.model.formats.FORMATS`, :data:`TEXT`, :data:`COMPOUND` and :data:`ENCRYPTED` are returned.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from typing import Final

from convertd.model import compound

HEAD_BYTES: Final = 64 * 1024
"""How much of a file's start :func:`sniff` wants to see."""

TEXT: Final = "text"
"""Returned for text in UTF-8 or UTF-16 that is nothing more special."""

COMPOUND: Final = "compound"
"""Returned for a compound file of which the head does not show what it holds."""

ENCRYPTED: Final = "encrypted"
"""Returned for an encrypted docx, pptx or xlsx: which of them, only its password tells."""

_PREFIXES: Final[tuple[tuple[bytes, str], ...]] = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"II+\x00", "tiff"),
    (b"MM\x00+", "tiff"),
    (b"8BPS\x00\x01", "psd"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "jp2"),
    (b"\xff\x4f\xff\x51", "jp2"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "jxl"),
    (b"\xff\x0a", "jxl"),
    (b"fLaC", "flac"),
    (b"FLV\x01", "flv"),
    (b"#!AMR", "amr"),
    (b"\x00\x00\x01\xba", "mpg"),
    (b"\x00\x00\x01\xb3", "mpg"),
    (b"{\\rtf", "rtf"),
    (b"\xffWPC", "wpd"),
    (b"\x1f\x8b\x08", "gz"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
)

_BRANDS: Final[dict[bytes, str]] = {
    b"avif": "avif", b"avis": "avif",
    b"heic": "heif", b"heix": "heif", b"hevc": "heif", b"heim": "heif", b"heis": "heif",
    b"mif1": "heif", b"msf1": "heif",
    b"qt  ": "mov", b"M4A ": "m4a", b"M4B ": "m4a", b"M4P ": "m4a", b"M4V ": "m4v",
}  # fmt: skip

_ASF_HEADER: Final = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_VIDEO: Final = bytes.fromhex("c0ef19bc4d5bcf11a8fd00805f5c442b")

_OGG_CODECS: Final[tuple[tuple[bytes, str], ...]] = (
    (b"\x80theora", "ogv"),
    (b"OVP80", "ogv"),
    (b"OpusHead", "opus"),
)

_ZIP_MEMBERS: Final[tuple[tuple[bytes, str], ...]] = (
    (b"mimetypeapplication/epub+zip", "epub"),
    (b"mimetypeapplication/vnd.oasis.opendocument.text", "odt"),
    (b"mimetypeapplication/vnd.oasis.opendocument.spreadsheet", "ods"),
    (b"mimetypeapplication/vnd.oasis.opendocument.presentation", "odp"),
    (b"xl/workbook.bin", "xlsb"),
    (b"word/", "docx"),
    (b"xl/", "xlsx"),
    (b"ppt/", "pptx"),
)

_STREAMS: Final[tuple[tuple[str, str], ...]] = (
    ("EncryptedPackage", ENCRYPTED),
    ("WordDocument", "doc"),
    ("PowerPoint Document", "ppt"),
    ("Workbook", "xls"),
    ("Book", "xls"),
)
_FIRST_SECTORS: Final[tuple[tuple[bytes, str], ...]] = (
    (b"\xec\xa5", "doc"),
    (b"\x09\x08\x10\x00\x00\x06", "xls"),
)
"""How the main streams of Word and Excel begin, which often lie first in the file."""


def sniff(head: bytes) -> str | None:
    """Name of the format that ``head`` proves, one of the words above, or ``None`` if it proves nothing."""
    for prefix, name in _PREFIXES:
        if head.startswith(prefix):
            return name
    for test in _TESTS:
        found = test(head)
        if found is not None:
            return found
    return None


def _riff(head: bytes) -> str | None:
    if head[:4] in (b"RIFF", b"RF64"):
        return {b"WAVE": "wav", b"AVI ": "avi", b"WEBP": "webp"}.get(head[8:12])
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    return None


def _iso_media(head: bytes) -> str | None:
    box = head[4:8]
    if box == b"ftyp":
        brand = head[8:12]
        size = min(int.from_bytes(head[:4], "big"), 256)
        compatible = [head[i : i + 4] for i in range(16, size, 4)]
        if brand in (b"mif1", b"msf1") and (b"avif" in compatible or b"avis" in compatible):
            return "avif"
        if brand[:3] in (b"3gp", b"3g2"):
            return "3gp"
        return _BRANDS.get(brand, "mp4")
    # QuickTime files of before 2001 start with any of these instead of a brand.
    return "mov" if box in (b"moov", b"mdat", b"wide", b"pnot") else None


def _matroska(head: bytes) -> str | None:
    if not head.startswith(b"\x1a\x45\xdf\xa3"):
        return None
    return "webm" if b"webm" in head[:64] else "mkv"


def _ogg(head: bytes) -> str | None:
    if not head.startswith(b"OggS"):
        return None
    return next((name for magic, name in _OGG_CODECS if magic in head[:512]), "ogg")


def _asf(head: bytes) -> str | None:
    if not head.startswith(_ASF_HEADER):
        return None
    return "wmv" if _ASF_VIDEO in head else "wma"


def _transport_stream(head: bytes) -> str | None:
    for offset, packet in ((0, 188), (4, 192)):
        positions = range(offset, min(len(head), offset + packet * 5), packet)
        if len(positions) == 5 and all(head[i] == 0x47 for i in positions):
            return "ts"
    return None


def _mpeg_audio(head: bytes) -> str | None:
    if len(head) < 4:
        return None
    if head.startswith(b"ID3") and head[3] < 0x10:
        return "mp3"
    if head[0] != 0xFF:
        return None
    if head[1] & 0xF6 == 0xF0:
        return "aac"
    # Layers III and II; with I allowed, the byte order mark of UTF-16 would be a frame.
    frame_sync = head[1] & 0xE0 == 0xE0 and head[1] & 0x06 in (0x02, 0x04)
    usable = head[2] & 0xF0 != 0xF0 and head[2] & 0x0C != 0x0C
    return "mp3" if frame_sync and usable else None


def _tar(head: bytes) -> str | None:
    """POSIX and GNU archives; those of before 1988 have no magic."""
    return "tar" if head[257:262] == b"ustar" else None


def _bzip2(head: bytes) -> str | None:
    """The level, then the magic of the first block or, where there is none, of the end."""
    block = head[4:10] in (b"1AY&SY", b"\x17rE8P\x90")
    return "bz2" if head.startswith(b"BZh") and block else None


def _zip(head: bytes) -> str | None:
    if not head.startswith(b"PK\x03\x04"):
        return "zip" if head.startswith(b"PK\x05\x06") else None
    if head[30:].startswith(b"mimetype"):
        return next((name for magic, name in _ZIP_MEMBERS[:4] if head[30:].startswith(magic)), "zip")
    if b"[Content_Types].xml" in head or b"_rels/.rels" in head:
        return next((name for magic, name in _ZIP_MEMBERS[4:] if magic in head), "zip")
    return "zip"


def _compound(head: bytes) -> str | None:
    if not head.startswith(compound.MAGIC):
        return None
    names = compound.stream_names(head)
    found = next((fmt for stream, fmt in _STREAMS if stream in names), None)
    return found or next((fmt for magic, fmt in _FIRST_SECTORS if head[512:].startswith(magic)), COMPOUND)


def _bitmap(head: bytes) -> str | None:
    """BMP has two letters of magic: its info header's size (12 to 124 in practice) must fit as well."""
    if head.startswith(b"BM") and len(head) >= 26:
        return "bmp" if int.from_bytes(head[14:18], "little") in (12, 16, 40, 52, 56, 64, 108, 124) else None
    return None


def _icon(head: bytes) -> str | None:
    is_icon = head.startswith(b"\x00\x00\x01\x00") and len(head) >= 22
    return "ico" if is_icon and 0 < int.from_bytes(head[4:6], "little") <= 256 and head[9] == 0 else None


def _netpbm(head: bytes) -> str | None:
    return "ppm" if re.match(rb"P[1-6]\s+[0-9#]", head) else None


def _pdf(head: bytes) -> str | None:
    """Readers accept the header anywhere in the first 1024 bytes (ISO 32000-1, annex H)."""
    return "pdf" if b"%PDF-" in head[:1024] else None


def _targa(head: bytes) -> str | None:
    """Only TGA 2.0 can be proved, and only where its footer fits into what is seen."""
    return "tga" if head.endswith(b"TRUEVISION-XFILE.\x00") else None


def _text(head: bytes) -> str | None:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return TEXT
    try:
        # The cut at the end of the head may split a character.
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return None
    if any(ord(char) < 32 and char not in "\t\n\r\f\x1b" for char in text[:4096]):
        return None
    start = text.removeprefix("\ufeff").lstrip()[:2048].lower()
    if "<svg" in start and (start.startswith(("<svg", "<?xml", "<!--", "<!doctype svg"))):
        return "svg"
    if start.startswith(("<!doctype html", "<html")):
        return "html"
    return TEXT


_TESTS: Final[tuple[Callable[[bytes], str | None], ...]] = (
    _tar, _bzip2, _riff, _iso_media, _matroska, _ogg, _asf, _zip, _compound, _pdf, _mpeg_audio,
    _transport_stream, _bitmap, _icon, _netpbm, _targa, _text,
)  # fmt: skip
