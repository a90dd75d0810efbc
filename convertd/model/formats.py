"""The formats convertd knows, and what a file really is.

A format is decided by content first and by name second. Sniffing reads magic bytes only; nothing is
decoded here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Final

from convertd.errors import FileInvalid, InvalidRequest, UnsupportedFormat
from convertd.model.sniffing import COMPOUND, ENCRYPTED, HEAD_BYTES, TEXT, sniff

__all__ = [
    "COMPRESSORS",
    "FORMATS",
    "HEAD_BYTES",
    "Family",
    "Format",
    "find_format",
    "identify",
    "known_format",
    "stem_of",
]


class Family(StrEnum):
    """What a person would call the file."""

    PICTURE = "picture"
    VIDEO = "video"
    SOUND = "sound"
    DOCUMENT = "document"
    SPREADSHEET = "spreadsheet"
    PRESENTATION = "presentation"
    TEXT = "text"
    ARCHIVE = "archive"


@dataclass(frozen=True, slots=True)
class Format:
    """A canonical type. ``extensions[0]`` is the one that outputs get, without the dot."""

    name: str
    media_type: str
    extensions: tuple[str, ...]
    family: Family
    aliases: tuple[str, ...] = ()


def _table(rows: Iterable[tuple[str, str, str, Family, str]]) -> Mapping[str, Format]:
    return {
        name: Format(name, media_type, tuple(extensions.split()), family, tuple(aliases.split()))
        for name, media_type, extensions, family, aliases in rows
    }


_P, _V, _S, _D = Family.PICTURE, Family.VIDEO, Family.SOUND, Family.DOCUMENT
_X, _O, _T, _A = Family.SPREADSHEET, Family.PRESENTATION, Family.TEXT, Family.ARCHIVE

FORMATS: Final = _table(
    (
        ("jpg", "image/jpeg", "jpg jpeg jpe jfif mpo", _P, ""),
        ("png", "image/png", "png apng", _P, ""),
        ("webp", "image/webp", "webp", _P, ""),
        ("avif", "image/avif", "avif avifs", _P, ""),
        ("gif", "image/gif", "gif", _P, ""),
        ("bmp", "image/bmp", "bmp dib", _P, ""),
        ("tiff", "image/tiff", "tiff tif", _P, ""),
        ("ico", "image/vnd.microsoft.icon", "ico", _P, ""),
        ("psd", "image/vnd.adobe.photoshop", "psd", _P, ""),
        ("jp2", "image/jp2", "jp2 j2k jpf jpx j2c jpc", _P, "jpeg2000"),
        ("tga", "image/x-tga", "tga", _P, "targa"),
        ("ppm", "image/x-portable-anymap", "ppm pgm pbm pnm", _P, ""),
        ("heif", "image/heif", "heic heif hif", _P, ""),
        ("jxl", "image/jxl", "jxl", _P, ""),
        ("svg", "image/svg+xml", "svg", _P, ""),
        ("mp4", "video/mp4", "mp4", _V, ""),
        ("m4v", "video/x-m4v", "m4v", _V, ""),
        ("mov", "video/quicktime", "mov qt", _V, "quicktime"),
        ("mkv", "video/x-matroska", "mkv mka", _V, "matroska"),
        ("webm", "video/webm", "webm", _V, ""),
        ("avi", "video/x-msvideo", "avi", _V, ""),
        ("wmv", "video/x-ms-wmv", "wmv asf", _V, ""),
        ("flv", "video/x-flv", "flv", _V, ""),
        ("mpg", "video/mpeg", "mpg mpeg m2v vob", _V, ""),
        ("ts", "video/mp2t", "ts m2ts mts", _V, "mpegts"),
        ("3gp", "video/3gpp", "3gp 3g2", _V, ""),
        ("ogv", "video/ogg", "ogv", _V, ""),
        ("mp3", "audio/mpeg", "mp3 mp2", _S, ""),
        ("wav", "audio/wav", "wav", _S, ""),
        ("flac", "audio/flac", "flac", _S, ""),
        ("ogg", "audio/ogg", "ogg oga spx", _S, "vorbis"),
        ("opus", "audio/opus", "opus", _S, ""),
        ("m4a", "audio/mp4", "m4a m4b", _S, ""),
        ("aac", "audio/aac", "aac", _S, "adts"),
        ("aiff", "audio/aiff", "aiff aif aifc", _S, ""),
        ("wma", "audio/x-ms-wma", "wma", _S, ""),
        ("amr", "audio/amr", "amr", _S, ""),
        ("pdf", "application/pdf", "pdf", _D, ""),
        (
            *("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
            *("docx docm dotx dotm", _D, ""),
        ),
        ("doc", "application/msword", "doc dot", _D, ""),
        ("odt", "application/vnd.oasis.opendocument.text", "odt ott", _D, ""),
        ("rtf", "application/rtf", "rtf", _D, ""),
        ("wpd", "application/vnd.wordperfect", "wpd", _D, "wordperfect"),
        ("epub", "application/epub+zip", "epub", _D, ""),
        ("html", "text/html", "html htm xhtml", _D, ""),
        (
            *("pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
            *("pptx ppsx pptm ppsm potx potm", _O, ""),
        ),
        ("ppt", "application/vnd.ms-powerpoint", "ppt pps pot", _O, ""),
        ("odp", "application/vnd.oasis.opendocument.presentation", "odp otp", _O, ""),
        (
            *("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
            *("xlsx xlsm xltx xltm", _X, ""),
        ),
        ("xlsb", "application/vnd.ms-excel.sheet.binary.macroenabled.12", "xlsb", _X, ""),
        ("xls", "application/vnd.ms-excel", "xls xlt", _X, ""),
        ("ods", "application/vnd.oasis.opendocument.spreadsheet", "ods ots", _X, ""),
        ("csv", "text/csv", "csv", _X, ""),
        ("txt", "text/plain; charset=utf-8", "txt text log", _T, "text"),
        ("json", "application/json", "json", _T, ""),
        ("xml", "application/xml", "xml", _T, ""),
        ("md", "text/markdown", "md markdown", _T, "markdown"),
        ("zip", "application/zip", "zip", _A, ""),
        ("tar", "application/x-tar", "tar", _A, ""),
        ("gz", "application/gzip", "gz", _A, "gzip"),
        ("tgz", "application/gzip", "tgz", _A, "tar.gz"),
        ("bz2", "application/x-bzip2", "bz2", _A, "bzip2"),
        ("xz", "application/x-xz", "xz", _A, ""),
        ("7z", "application/x-7z-compressed", "7z", _A, ""),
        ("rar", "application/vnd.rar", "rar", _A, ""),
    )
)

COMPRESSORS: Final = frozenset(("gz", "bz2", "xz"))
"""Archive formats that hold one file; several go into them as a tar."""

_BY_WORD: Final[Mapping[str, Format]] = {
    word: fmt for fmt in FORMATS.values() for word in (fmt.name, *fmt.extensions, *fmt.aliases)
}

_TEXTUAL: Final = frozenset(("txt", "csv", "json", "xml", "md", "html", "svg"))
"""Formats that are plain text to a sniffer, so that only the name tells them apart."""

_WITHOUT_MAGIC: Final = frozenset(("tga",))
"""Binary formats that content cannot prove: the name is believed where content says nothing."""

_AMBIGUOUS: Final[Mapping[str, frozenset[str]]] = {
    "zip": frozenset(("docx", "pptx", "xlsx", "xlsb", "odt", "odp", "ods", "epub")),
    "xlsx": frozenset(("xlsb",)),
    "mp4": frozenset(("m4v", "m4a", "mov", "3gp")),
    "ogg": frozenset(("ogv", "opus")),
    "wmv": frozenset(("wma",)),
    "mp3": frozenset(("aac",)),
    "gz": frozenset(("tgz",)),
}
"""Containers whose magic bytes several formats share: among these, the name may say which."""

_COMPOUNDS: Final[Mapping[str, frozenset[str]]] = {
    COMPOUND: frozenset(("doc", "ppt", "xls")),
    ENCRYPTED: frozenset(("docx", "pptx", "xlsx", "xlsb")),
}
"""What a compound file may be of which content does not say it."""


def find_format(word: str) -> Format | None:
    """The format that a name, extension (with or without a dot), alias or media type means, or ``None``."""
    key = word.strip().lower().removeprefix(".")
    if key in _BY_WORD:
        return _BY_WORD[key]
    base = key.split(";", 1)[0]
    return next((fmt for fmt in FORMATS.values() if fmt.media_type.split(";", 1)[0] == base), None)


def known_format(word: str, *, field: str) -> Format:
    """The same, for the request's ``field``; raises :class:`InvalidRequest` for a word nobody knows."""
    found = find_format(word)
    if found is None:
        raise InvalidRequest(
            f"{field} {word[:40]!r} is not a format that convertd knows.",
            field=field,
        )
    return found


def format_of_name(name: str) -> Format | None:
    """The format that a file name's extension claims, if it claims one."""
    suffixes = PurePosixPath(name.lower()).suffixes
    if suffixes[-2:] == [".tar", ".gz"]:
        return FORMATS["tgz"]
    return _BY_WORD.get(suffixes[-1][1:]) if suffixes else None


def stem_of(name: str) -> str:
    """A file name without its extension, of which ``.tar.gz`` is one; never empty."""
    path = PurePosixPath(name)
    last_two = "".join(path.suffixes[-2:])
    return (name[: -len(last_two)] if last_two.lower() == ".tar.gz" else path.stem) or "file"


def identify(name: str, head: bytes, *, source: str | None = None, source_field: str | None = None) -> Format:
    """What the file ``name`` that starts with ``head`` (:data:`HEAD_BYTES` of it) is.

    ``source`` (a format word from the client) overrides name and content; ``source_field`` is what the
    request calls it, told to those whom it would help. Content decides over the name
    within a family (a JPEG named .png is a JPEG); across families, or where a name promises magic bytes that
    are not there, the disagreement is an :class:`UnsupportedFormat` that says both. An empty file, and an
    encrypted one whose name does not tell its format, is :class:`FileInvalid`.
    """
    if not head:
        raise FileInvalid(f"{_quoted(name)} is empty: there is nothing to convert.")
    if source is not None:
        return known_format(source, field=source_field or "source")
    claimed = format_of_name(name)
    found = sniff(head)
    if found is None:
        return _unrecognised(name, claimed)
    if found == TEXT:
        return _textual(name, claimed)
    if found in _COMPOUNDS:
        return _compound(name, claimed, found)
    actual = FORMATS[found]
    if claimed is None or claimed is actual:
        return actual
    if claimed.name in _AMBIGUOUS.get(found, ()):
        return claimed
    if _disagree(claimed, actual):
        hint = f", or say which is right with '{source_field}'" if source_field is not None else ""
        raise UnsupportedFormat(
            f"{_quoted(name)} is named as {claimed.name} but its content is {actual.name}; rename it{hint}."
        )
    return actual


def identify_as(claimed: str, head: bytes) -> str:
    """What a file is whose sender says that it is ``claimed``, with the weight of a file name's extension.

    Where that word cannot be right it is kept all the same: the engine for it says what is wrong.
    """
    try:
        return identify(f"file.{FORMATS[claimed].extensions[0]}", head).name
    except (FileInvalid, UnsupportedFormat):
        return claimed


def identify_content(head: bytes) -> str | None:
    """What a file is by its content alone; ``None`` where only its name, if anything, tells it."""
    try:
        return identify("", head).name
    except (FileInvalid, UnsupportedFormat):
        return None


def _disagree(claimed: Format, actual: Format) -> bool:
    """Whether the name promised another kind of thing; sound and video share their containers."""
    audiovisual = (Family.VIDEO, Family.SOUND)
    if claimed.family in audiovisual and actual.family in audiovisual:
        return False
    return claimed.family is not actual.family


def _unrecognised(name: str, claimed: Format | None) -> Format:
    if claimed is not None and claimed.name in _WITHOUT_MAGIC:
        return claimed
    if claimed is None:
        raise UnsupportedFormat(f"The content of {_quoted(name)} is of no format that convertd knows.")
    raise UnsupportedFormat(
        f"{_quoted(name)} is named as {claimed.name} but its content is of no known format."
    )


def _textual(name: str, claimed: Format | None) -> Format:
    if claimed is None:
        return FORMATS["txt"]
    if claimed.name in _TEXTUAL:
        return claimed
    raise UnsupportedFormat(f"{_quoted(name)} is named as {claimed.name} but its content is plain text.")


def _compound(name: str, claimed: Format | None, found: str) -> Format:
    """What can only be believed of the name."""
    if claimed is not None and claimed.name in _COMPOUNDS[found]:
        return claimed
    if found == ENCRYPTED:
        raise FileInvalid(f"{_quoted(name)} is protected by a password; send it unprotected.")
    return _unrecognised(name, claimed)


def _quoted(name: str) -> str:
    shown = name if len(name) <= 80 else name[:77] + "..."
    return f"'{shown}'" if shown else "The file"
