"""The members of an archive, one after the other; nothing is ever unpacked to a name that it holds."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import shutil
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import IO, BinaryIO, Final, cast

from convertd.engines.base import Call
from convertd.errors import FileInvalid, LimitExceeded
from convertd.model.formats import stem_of

CHUNK: Final = 256 * 1024
_SMALL_PIECE: Final = 4096
"""Packed bytes at a time where :mod:`zipfile` bounds only these, not what becomes of them."""
_MOST_MEMBERS: Final = 10_000
_LARGEST_READ: Final = _MOST_MEMBERS * 800
"""Bytes; a member's line in a ZIP's directory has 46 and its name."""
_RATIO: Final = 500
_LARGEST_HEADER: Final = 1024**2
"""Bytes that a tar may tell about a member before it begins."""
_READ_WHOLE: Final = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
_UNSUSPICIOUS: Final = 64 * 1024**2
"""So many bytes may come of any archive, however small it is."""


class Kind(Enum):
    """What a member is; ``OTHER`` for links, devices and pipes, which are never taken along."""

    FILE = "file"
    FOLDER = "folder"
    OTHER = "other"


class Content:
    """A member's ``size`` bytes, to be read before the next member is asked for."""

    def __init__(
        self, read: Callable[[int], bytes], size: int, tick: Callable[[int], None], piece: int = CHUNK
    ) -> None:
        """``tick`` is told how many bytes have come each time."""
        self._read = read
        self._left = size
        self._tick = tick
        self._piece = piece

    def read(self, count: int) -> bytes:
        """The next ``count`` bytes; fewer only at the end."""
        wanted = min(count, self._left)
        parts = []
        while wanted:
            with understood():
                part = self._read(min(wanted, self._piece))
            if not part:
                raise _damaged("a member ends before its end")
            wanted -= len(part)
            self._left -= len(part)
            self._tick(len(part))
            parts.append(part)
        return b"".join(parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """``time`` in seconds since 1970; ``content`` for files alone; ``dense``: cannot be made much smaller."""

    name: str
    kind: Kind
    size: int = 0
    time: float = 0.0
    executable: bool = False
    dense: bool = False
    content: Content | None = None


def members(call: Call) -> Iterator[Member]:
    """What ``call.input`` holds, in order; an archive within it is a file like any other.

    Raises :class:`FileInvalid` for a damaged or encrypted archive, :class:`LimitExceeded` for a bomb.
    """
    with _Careful(io.FileIO(call.input)) as file:
        found = _of_zip(file, call) if call.source == "zip" else _of_stream(file, call)
        for number, member in enumerate(found):
            _check_count(number + 1)
            yield member


def inflated(file: BinaryIO, call: Call) -> io.BufferedReader:
    """What ``file``, the input, holds when it is decompressed.

    Reading raises :class:`FileInvalid` and :class:`LimitExceeded`.
    """
    return io.BufferedReader(_Unpacked(_decompressor(file, call.source), _meter(call)), CHUNK)


def _decompressor(file: BinaryIO, source: str) -> BinaryIO:
    match source:
        case "gz" | "tgz":
            return cast("BinaryIO", gzip.GzipFile(fileobj=file, mode="rb"))
        case "bz2":
            return cast("BinaryIO", bz2.BZ2File(file))
        case "xz":
            return cast("BinaryIO", lzma.LZMAFile(file))
        case _:
            return file


class _Careful(io.BufferedReader):
    """A file of which nobody reads very much at once, as :mod:`zipfile` does with a directory of any size."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _LARGEST_READ:
            raise LimitExceeded(f"The archive has more than the {_MOST_MEMBERS} members allowed; split it.")
        return super().read(size)


class _Unpacked(io.RawIOBase):
    """The decompressed bytes of a file, metered."""

    def __init__(self, stream: BinaryIO, meter: _Meter) -> None:
        self._stream = stream
        self._meter = meter

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        with understood():
            data = self._stream.read(len(buffer))
        self._meter.spend(len(data))
        buffer[: len(data)] = data
        return len(data)


class _Meter:
    """Counts what comes out of an archive of ``packed`` bytes, and stops a bomb."""

    def __init__(self, packed: int, limit: int) -> None:
        self._packed = max(packed, 1)
        self._limit = limit
        self._spent = 0

    def spend(self, count: int) -> None:
        """Raises :class:`LimitExceeded`."""
        self._spent += count
        if self._spent > self._limit:
            raise LimitExceeded(f"The archive holds more than the {self._limit} bytes allowed; split it.")
        if self._spent > _UNSUSPICIOUS and self._spent > self._packed * _RATIO:
            raise LimitExceeded(f"The archive holds more than {_RATIO} times its own size; unpack it first.")


@contextmanager
def understood() -> Iterator[None]:
    """Tell what the archive modules raise over a file's faults as such."""
    try:
        yield
    except NotImplementedError as error:
        raise FileInvalid(
            "The archive is encrypted or compressed in a way that convertd does not know; pack it anew.",
            detail=repr(error),
        ) from error
    except (
        *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error),
        *(EOFError, ValueError, OverflowError, RuntimeError, IndexError),
    ) as error:
        raise _damaged(repr(error)) from error
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # EINVAL: it points to before its start
            raise
        raise _damaged(repr(error)) from error


def _damaged(detail: str) -> FileInvalid:
    return FileInvalid("The archive is damaged or incomplete.", detail=detail)


def _check_count(count: int) -> None:
    if count > _MOST_MEMBERS:
        raise LimitExceeded(f"The archive has more than the {_MOST_MEMBERS} members allowed; split it.")


def _progress(file: BinaryIO, call: Call) -> Callable[[int], None]:
    """A tick that tells how much of the archive has been read."""
    size = max(call.input.stat().st_size, 1)
    return lambda count: call.report(file.tell() / size)


def _meter(call: Call) -> _Meter:
    return _Meter(call.input.stat().st_size, call.limits.output_bytes)


def _of_zip(file: BinaryIO, call: Call) -> Iterator[Member]:
    with understood():
        archive = zipfile.ZipFile(file)
    infos = archive.infolist()
    _check_count(len(infos))
    if any(info.flag_bits & 0x1 for info in infos):
        raise FileInvalid("The archive is encrypted; unlock it and send it again.")
    _meter(call).spend(sum(info.file_size for info in infos))
    tick = _progress(file, call)
    for info in infos:
        kind = _kind_in_zip(info)
        content = None
        if kind is Kind.FILE:
            with understood():
                opened = archive.open(info)
            bounded = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
            content = Content(opened.read, info.file_size, tick, CHUNK if bounded else _SMALL_PIECE)
        yield Member(
            name=info.filename,
            kind=kind,
            size=info.file_size if content else 0,
            time=_time_in_zip(info),
            executable=bool(info.external_attr >> 16 & 0o111),
            content=content,
        )


def _kind_in_zip(info: zipfile.ZipInfo) -> Kind:
    mode = stat.S_IFMT(info.external_attr >> 16)
    if info.filename.endswith("/") or mode == stat.S_IFDIR:
        return Kind.FOLDER
    return Kind.FILE if mode in (0, stat.S_IFREG) else Kind.OTHER


def _time_in_zip(info: zipfile.ZipInfo) -> float:
    """Such times have no zone."""
    try:
        return datetime(*info.date_time, tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0


def _of_stream(file: BinaryIO, call: Call) -> Iterator[Member]:
    """A tar, compressed or not; or else the one file that a compressor holds."""
    with inflated(file, call) as stream:
        tick = _progress(file, call)
        if call.source in ("tar", "tgz") or stream.peek(512)[257:262] == b"ustar":
            yield from _of_tar(stream, _meter(call), tick)
        else:
            yield from _single(stream, stem_of(call.names[0]), tick)


class _Strict(tarfile.TarInfo):
    """Ends at a bad header with an error, not as if the archive ended there; reads no large one."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Strict:
        header = super().frombuf(buf, encoding, errors)
        if header.type in _READ_WHOLE and header.size > _LARGEST_HEADER:
            raise LimitExceeded("The archive tells more about one member than is allowed; pack it anew.")
        return header

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> _Strict:
        try:
            return super().fromtarfile(archive)
        except (tarfile.EOFHeaderError, tarfile.EmptyHeaderError):  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise _damaged(repr(error)) from error


def _of_tar(stream: IO[bytes], meter: _Meter, tick: Callable[[int], None]) -> Iterator[Member]:
    with understood():
        archive = tarfile.open(fileobj=stream, mode="r|", tarinfo=_Strict)  # noqa: SIM115
    while (info := _next(archive)) is not None:
        kind = Kind.FILE if info.isreg() else Kind.FOLDER if info.isdir() else Kind.OTHER
        content = None
        if kind is Kind.FILE:
            meter.spend(info.size)  # a sparse file has more bytes than were read for it
            opened = archive.extractfile(info)
            assert opened is not None  # noqa: S101
            content = Content(opened.read, info.size, tick)
        yield Member(
            name=info.name,
            kind=kind,
            size=info.size if content else 0,
            time=info.mtime,
            executable=bool(info.mode & 0o111),
            content=content,
        )
        # Otherwise it keeps every member that it has seen.
        archive.members.clear()  # type: ignore[attr-defined]


def _next(archive: tarfile.TarFile) -> tarfile.TarInfo | None:
    with understood():
        return archive.next()


def _single(stream: IO[bytes], name: str, tick: Callable[[int], None]) -> Iterator[Member]:
    """Spooled, because an archive tells a member's size before its bytes."""
    with tempfile.TemporaryFile() as spool:
        shutil.copyfileobj(stream, spool, CHUNK)
        size = spool.tell()
        spool.seek(0)
        yield Member(name=name, kind=Kind.FILE, size=size, content=Content(spool.read, size, tick))
