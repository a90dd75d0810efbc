"""The streamed ZIP's records, read by programs that did not write them."""

from __future__ import annotations

import io
import os
import subprocess
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from shutil import which
from typing import BinaryIO

import pytest

from convertd.web.archives import directory, entries, length

GB = 1024**3


def write(out: BinaryIO, files: Sequence[tuple[str, bytes | int]]) -> None:
    """The archive; a file of which only the size is given is a hole."""
    placed = entries([(name, data if isinstance(data, int) else len(data)) for name, data in files])
    checksums = []
    for entry, (_, data) in zip(placed, files, strict=True):
        assert out.tell() == entry.offset
        out.write(entry.header())
        if isinstance(data, int):
            out.seek(data, os.SEEK_CUR)
        else:
            out.write(data)
        checksums.append(0 if isinstance(data, int) else zlib.crc32(data))
        out.write(entry.descriptor(checksums[-1]))
    out.write(directory(placed, checksums))
    assert out.tell() == length(placed)


def test_a_reader_finds_every_file() -> None:
    files = [("a.txt", b"words"), ("empty", b""), ("ü €.bin", bytes(range(256)) * 99)]
    out = io.BytesIO()
    write(out, files)
    with zipfile.ZipFile(out) as archive:
        assert archive.testzip() is None
        assert [(info.filename, archive.read(info)) for info in archive.infolist()] == files


def test_names_are_safe_and_differ() -> None:
    names = ["../up.txt", "a/up.txt", "UP.TXT", "x\x00\n.txt", "", "con", ".."]
    found = [entry.name for entry in entries([(name, 1) for name in names])]
    assert found == ["up.txt", "up (2).txt", "UP (3).TXT", "x.txt", "download", "_con", "download (2)"]


@pytest.mark.parametrize(
    "files",
    [
        [("large", 5 * GB), ("after", b"words")],
        [("nearly", 4 * GB - 2), ("after", b"words")],
        [("just", 4 * GB - 1), ("after", b"words")],
        [("half", 3 * GB), ("other half", 3 * GB), ("after", b"words")],
    ],
)
def test_beyond_4_gigabytes_it_is_a_zip64(files: list[tuple[str, bytes | int]], tmp_path: Path) -> None:
    path = tmp_path / "large.zip"
    with path.open("wb") as out:
        write(out, files)
    if path.stat().st_blocks * 512 > GB:
        pytest.skip("the file system has no holes")
    with zipfile.ZipFile(path) as archive:
        sizes = [data if isinstance(data, int) else len(data) for _, data in files]
        assert [info.file_size for info in archive.infolist()] == sizes
        assert archive.read("after") == b"words"
    # unzip 6.0 takes a size that is itself 0xFFFFFFFF for one that is still to be looked up.
    if which("unzip") is not None and 4 * GB - 1 not in sizes:
        done = subprocess.run(["unzip", "-p", path, "after"], capture_output=True, timeout=30, check=False)
        assert (done.returncode, done.stdout) == (0, b"words"), done.stderr


def test_more_than_65535_files_take_a_zip64() -> None:
    out = io.BytesIO()
    write(out, [(f"{number}", b"") for number in range(65_536)])
    with zipfile.ZipFile(out) as archive:
        assert len(archive.infolist()) == 65_536
