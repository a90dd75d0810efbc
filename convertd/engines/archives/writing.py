"""Writing archives. The same members make the same bytes, whenever it is done."""

from __future__ import annotations

import bz2
import gzip
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final, cast

from convertd.engines.archives.reading import CHUNK, Kind, Member

EPOCH: Final = datetime(1980, 1, 1, tzinfo=UTC).timestamp()
"""The first time that a ZIP can tell, and that of every member that has none."""
_LAST: Final = datetime(2107, 12, 31, tzinfo=UTC).timestamp()


@contextmanager
def packer(path: Path, target: str, level: int) -> Iterator[Callable[[Member], None]]:
    """Adds members to a new archive at ``path``: a ZIP, or a tar in whatever compressor ``target`` is."""
    if target == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            yield lambda member: _add_to_zip(archive, member, level)
    else:
        with (
            deflated(path, target, level) as stream,
            tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar,
        ):
            yield lambda member: _add_to_tar(tar, member)


@contextmanager
def deflated(path: Path, target: str, level: int) -> Iterator[IO[bytes]]:
    """A stream whose bytes are compressed into ``path``; plain where ``target`` is tar."""
    with ExitStack() as stack:
        file = stack.enter_context(path.open("wb"))
        match target:
            case "gz" | "tgz":
                # Neither name nor time in the header: they would differ from run to run.
                stream = gzip.GzipFile(filename="", mode="wb", compresslevel=level, fileobj=file, mtime=0)
                yield cast("IO[bytes]", stack.enter_context(stream))
            case "bz2":
                yield stack.enter_context(bz2.BZ2File(file, "wb", compresslevel=level))
            case "xz":
                yield stack.enter_context(lzma.LZMAFile(file, "wb", preset=level))
            case _:
                yield file


def _add_to_zip(archive: zipfile.ZipFile, member: Member, level: int) -> None:
    folder = member.kind is Kind.FOLDER
    moment = datetime.fromtimestamp(min(max(member.time, EPOCH), _LAST), UTC)
    info = zipfile.ZipInfo(member.name + "/" * folder, moment.timetuple()[:6])
    info.create_system = 3  # Unix, whose modes these are
    info.external_attr = ((stat.S_IFDIR if folder else stat.S_IFREG) | _mode(member)) << 16 | 0x10 * folder
    info.file_size = member.size
    if member.size and not member.dense:
        info.compress_type = zipfile.ZIP_DEFLATED
        # What ZipFile.write() sets; nothing public does for a member that is streamed.
        info._compresslevel = level  # type: ignore[attr-defined]
    with archive.open(info, "w") as out:
        if member.content is not None:
            while chunk := member.content.read(CHUNK):
                out.write(chunk)


def _add_to_tar(archive: tarfile.TarFile, member: Member) -> None:
    info = tarfile.TarInfo(member.name)
    info.type = tarfile.DIRTYPE if member.kind is Kind.FOLDER else tarfile.REGTYPE
    info.size = member.size
    info.mode = _mode(member)
    info.mtime = int(min(max(member.time, 0), _LAST))
    archive.addfile(info, cast("IO[bytes] | None", member.content))
    # It keeps them all, for nobody.
    archive.members.clear()  # type: ignore[attr-defined]


def _mode(member: Member) -> int:
    return 0o755 if member.executable or member.kind is Kind.FOLDER else 0o644
