"""The file before LibreOffice sees it: really of its format, not encrypted, under a name it may show."""

from __future__ import annotations

import codecs
import mmap
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Final

from convertd.engines.soffice.routes import TEXT
from convertd.errors import ConvertdError, FileInvalid
from convertd.model.compound import ENCRYPTED_STREAMS, stream_names
from convertd.model.formats import FORMATS, HEAD_BYTES, identify

_CHUNK: Final = 1024 * 1024
_LONGEST_STEM: Final = 60
_SEPARATORS: Final = ",;\t|"
_COLUMNS: Final = 1024
"""So many columns of a CSV file are shown as they are written; in further ones numbers become numbers."""
_AS_TEXT: Final = 2
_QUOTE: Final = 34
_UTF8: Final = 76
"""LibreOffice's number for the encoding."""


def prepare(path: Path, source: str, name: str, folder: Path) -> Path:
    """The file to open, in ``folder``, under what is harmless of the client's ``name``: headers and fields of
    the document may show it. Raises :class:`FileInvalid`."""
    document = folder / f"{_stem(name)}.{FORMATS[source].extensions[0]}"
    if source in TEXT:
        _write_utf8(path, document)
    else:
        _check(path, source)
        document.symlink_to(path)
    return document


def csv_options(document: Path) -> str:
    """LibreOffice's token list for a CSV file in UTF-8: its separator, and every cell as it is written.

    As numbers, 00123 would lose its zeros and 123456789012345678 its last digits.
    """
    with document.open(encoding="utf-8-sig", newline="") as lines:
        first = lines.readline(_CHUNK)
    unquoted = re.sub(r'"[^"]*"?', "", first)
    separator = max(_SEPARATORS, key=unquoted.count)
    columns = "/".join(f"{number}/{_AS_TEXT}" for number in range(1, _COLUMNS + 1))
    return f"{ord(separator)},{_QUOTE},{_UTF8},1,{columns}"


def _stem(name: str) -> str:
    """Letters, digits and a few signs of a file name without its extension."""
    kept = re.sub(r"[^\w .()-]+", "_", Path(name).stem)
    return kept[:_LONGEST_STEM].strip(" .-") or "document"


def _check(path: Path, source: str) -> None:
    """Refuse what LibreOffice would take for something else (HTML and SVG it would open as well), and what it
    could only ask a password for."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    try:
        actual = identify(f"document.{source}", head).name
    except ConvertdError as error:
        raise FileInvalid(f"The file's content is not {source}.", detail=error.message) from error
    if actual != source:
        raise FileInvalid(f"The file's content is not {source}, but {actual}.")
    if _is_encrypted(path):
        raise FileInvalid("The file is protected by a password; send it unprotected.")


def _is_encrypted(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive, archive.open("META-INF/manifest.xml") as manifest:
            return b"encryption-data" in manifest.read(_CHUNK)
    except (
        *(zipfile.BadZipFile, zlib.error, struct.error, KeyError, ValueError),
        *(OSError, EOFError, RuntimeError, NotImplementedError),
    ):
        pass
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return not ENCRYPTED_STREAMS.isdisjoint(stream_names(content))


def _write_utf8(path: Path, document: Path) -> None:
    """UTF-8 is kept, UTF-16 known by its mark; everything else is taken for Windows' Latin letters."""
    encoding = _encoding(path)
    with (
        path.open(encoding=encoding, errors="replace", newline="") as text,
        document.open("w", encoding="utf-8", newline="") as out,
    ):
        while part := text.read(_CHUNK):
            if "\0" in part:
                raise FileInvalid("The file is not text: it holds bytes that no text has.")
            out.write(part)


def _encoding(path: Path) -> str:
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        chunk = file.read(_CHUNK)
        if chunk.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16"
        try:
            while chunk:
                decoder.decode(chunk)
                chunk = file.read(_CHUNK)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "cp1252"
    return "utf-8-sig"
