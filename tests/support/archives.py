"""Archives made for tests, with names and members that no good program writes."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import stat
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

TEXT = b"".join(b"line %d\n" % number for number in range(20_000))
FILES = {"a.txt": TEXT, "folder/b.bin": bytes(range(256)) * 50, "empty": b""}
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gz": lambda data: gzip.compress(data, mtime=0),
    "tgz": lambda data: gzip.compress(data, mtime=0),
    "bz2": bz2.compress,
    "xz": lzma.compress,
}


def zipped(files: Mapping[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name, (2001, 2, 3, 4, 5, 6))
            info.external_attr = (stat.S_IFREG | (0o755 if name.endswith(".sh") else 0o644)) << 16
            archive.writestr(info, data, method)
    return out.getvalue()


def zipped_link(name: str, to: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, to)
        archive.writestr("plain.txt", "plain")
    return out.getvalue()


def encrypted(archive: bytes) -> bytes:
    """As if every member had a password: the flag is all that tells."""
    data = bytearray(archive)
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(magic)
        while at >= 0:
            data[at + offset] |= 1
            at = data.find(magic, at + 4)
    return bytes(data)


def tarred(files: Mapping[str, bytes], *others: tarfile.TarInfo) -> bytes:
    """The files, then members without content."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 981_173_106
            info.mode = 0o755 if name.endswith(".sh") else 0o644
            archive.addfile(info, io.BytesIO(data))
        for info in others:
            archive.addfile(info)
    return out.getvalue()


def special(name: str, kind: bytes, to: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


def packed(source: str, files: Mapping[str, bytes] = FILES) -> bytes:
    """An archive of this format; a compressor holds the first file."""
    if source == "zip":
        return zipped(files)
    if source in ("tar", "tgz"):
        data = tarred(files)
        return COMPRESS[source](data) if source == "tgz" else data
    return COMPRESS[source](next(iter(files.values())))


def checked(path: Path, target: str) -> None:
    """Tested by the usual program for the format, which is not the writer."""
    commands = {
        "zip": ["unzip", "-tqq"],
        "tar": ["tar", "-tf"],
        "tgz": ["tar", "-tzf"],
        "gz": ["gzip", "-tS", path.suffix],
        "bz2": ["bzip2", "-t"],
        "xz": ["xz", "-t"],
    }
    command = commands[target]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not here")
    done = subprocess.run([*command, str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def contents(path: Path, target: str) -> dict[str, bytes]:
    """What the archive holds, by name; a compressor's file, or the members of its tar."""
    if target == "zip":
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            return {info.filename: archive.read(info) for info in archive.infolist() if not info.is_dir()}
    openers = {"gz": gzip.open, "bz2": bz2.open, "xz": lzma.open}
    if target in openers:
        with openers[target](path) as file:  # type: ignore[operator]
            data = file.read()
        if data[257:262] != b"ustar":
            return {"": data}
        source = io.BytesIO(data)
    else:
        source = io.BytesIO(path.read_bytes())
    with tarfile.open(fileobj=source) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar if info.isreg()}  # type: ignore[union-attr]
