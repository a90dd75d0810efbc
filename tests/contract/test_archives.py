"""The archives engine: packing, re-packing, unpacking, and what it refuses."""

from __future__ import annotations

import contextlib
import io
import itertools
import random
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from convertd.engines.archives import CONTAINERS, ENGINE, Unpack
from convertd.engines.archives.naming import safe_path
from convertd.engines.base import Call, Limits
from convertd.errors import FileInvalid, InvalidRequest, LimitExceeded
from convertd.model.formats import COMPRESSORS, FORMATS, identify
from convertd.model.operations import ANY, UNPACK
from convertd.model.parsing import parse_options
from tests.support.archives import (
    COMPRESS,
    FILES,
    TEXT,
    checked,
    contents,
    encrypted,
    packed,
    special,
    tarred,
    zipped,
    zipped_link,
)
from tests.support.engines import capability, run

ARCHIVES = (*CONTAINERS, *sorted(COMPRESSORS))


def write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def convert(folder: Path, source: str, target: str, data: bytes, **more: object) -> tuple[Path, list[str]]:
    """The output and its notes."""
    path = write(folder, f"input.{source}", data)
    ((out, product),) = run(ENGINE, "convert", source, target, path, folder / "out", **more)  # type: ignore[arg-type]
    return out, list(product.notes)


def unpack(folder: Path, data: bytes, *, most: int = 100, limits: Limits | None = None) -> dict[str, bytes]:
    """What the server gets of an archive: names and bytes."""
    (folder / "unpacked").mkdir()
    call = Call(
        operation=UNPACK,
        target=ANY,
        options=Unpack(members=most),
        inputs=(write(folder, "input.zip", data),),
        sources=("zip",),
        names=("input.zip",),
        output_dir=folder / "unpacked",
        limits=limits or Limits(),
        report=lambda done: None,
    )
    products = ENGINE.run(call)
    assert len({product.name for product in products}) == len(products)
    return {product.facts["name"]: (call.output_dir / product.name).read_bytes() for product in products}


# Packing


@pytest.mark.parametrize("target", CONTAINERS)
def test_files_of_any_format_are_packed(target: str, tmp_path: Path) -> None:
    first, second = write(tmp_path, "one.txt", TEXT), write(tmp_path, "two.png", b"\x89PNG" * 100)
    others = [("png", second), ("txt", first)]
    ((out, product),) = run(ENGINE, "archive", "txt", target, first, tmp_path / "out", others=others)
    checked(out, target)
    assert contents(out, target) == {"one.txt": TEXT, "two.png": b"\x89PNG" * 100, "one (2).txt": TEXT}
    assert product.facts == {"members": 3}
    assert identify(out.name, out.read_bytes()).name == target


@pytest.mark.parametrize("target", sorted(COMPRESSORS))
def test_one_file_is_compressed(target: str, tmp_path: Path) -> None:
    path = write(tmp_path, "one.txt", TEXT)
    ((out, _),) = run(ENGINE, "archive", "txt", target, path, tmp_path / "out")
    checked(out, target)
    assert contents(out, target) == {"": TEXT}
    assert out.stat().st_size < len(TEXT) / 2


def test_every_format_can_be_packed_and_a_compressor_takes_one_file() -> None:
    for source in FORMATS:
        assert capability(ENGINE, "archive", source, "zip").most_inputs == 1000
        assert capability(ENGINE, "archive", source, "xz").most_inputs == 1


@pytest.mark.parametrize("target", ARCHIVES)
def test_the_same_files_make_the_same_archive(target: str, tmp_path: Path) -> None:
    path = write(tmp_path, "one.txt", TEXT)
    ((first, _),) = run(ENGINE, "archive", "txt", target, path, tmp_path / "1")
    path.touch()
    ((second, _),) = run(ENGINE, "archive", "txt", target, path, tmp_path / "2")
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("target", [target for target in ARCHIVES if target != "tar"])
def test_the_level_is_heeded(target: str, tmp_path: Path) -> None:
    data = random.Random(1).choices([b"word ", b"other ", b"third\n", b"x"], k=60_000)
    path = write(tmp_path, "one.txt", b"".join(data) * 3)
    sizes = []
    for level in (1, 9):
        ((out, _),) = run(ENGINE, "archive", "txt", target, path, tmp_path / str(level), level=level)
        sizes.append(out.stat().st_size)
    assert sizes[1] < sizes[0]


def test_a_tar_has_no_level() -> None:
    with pytest.raises(InvalidRequest, match="allowed here: none"):
        parse_options(capability(ENGINE, "archive", "txt", "tar").options, {"level": 3})


def test_media_are_stored_as_they_are(tmp_path: Path) -> None:
    first, second = write(tmp_path, "a.txt", TEXT), write(tmp_path, "b.jpg", TEXT)
    ((out, _),) = run(
        ENGINE, "archive", "txt", "zip", first, tmp_path / "out", others=[("jpg", second), ("bmp", second)]
    )
    with zipfile.ZipFile(out) as archive:
        methods = [info.compress_type for info in archive.infolist()]
    assert methods == [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]


def test_names_of_clients_are_made_safe(tmp_path: Path) -> None:
    names = ("../../etc/passwd", "C:\\x\\a\x00b\n.txt", "\u202egpj.exe", "..", "ü" * 300 + ".txt")
    call = Call(
        operation="archive",
        target="zip",
        options=parse_options(capability(ENGINE, "archive", "txt", "zip").options, {}),
        inputs=tuple(write(tmp_path, f"{number}.txt", TEXT) for number in range(len(names))),
        sources=("txt",) * len(names),
        names=names,
        output_dir=tmp_path,
        limits=Limits(),
        report=lambda done: None,
    )
    (product,) = ENGINE.run(call)
    with zipfile.ZipFile(tmp_path / product.name) as archive:
        found = archive.namelist()
    assert found[:4] == ["passwd", "a_b_.txt", "_gpj.exe", "file"]
    assert found[4].endswith("ü.txt")
    assert len(found[4].encode()) <= 200


# Re-packing


@pytest.mark.parametrize(
    ("source", "target"), [pair for pair in itertools.product(ARCHIVES, ARCHIVES) if pair[0] != pair[1]]
)
def test_each_archive_becomes_each_other(source: str, target: str, tmp_path: Path) -> None:
    out, notes = convert(tmp_path, source, target, packed(source))
    checked(out, target)
    assert identify(out.name, out.read_bytes()).name == target
    name = "" if target in COMPRESSORS else "input"
    assert contents(out, target) == (FILES if source in CONTAINERS else {name: TEXT})
    assert notes == []


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
@pytest.mark.parametrize("source", ["tar", "tgz"])
def test_a_tar_tells_no_more_of_a_member_than_is_kept_in_memory(
    kind: bytes, source: str, tmp_path: Path
) -> None:
    header = special("x", kind)
    header.size = 1024**3
    data = header.tobuf(tarfile.GNU_FORMAT) + bytes(4096)
    with pytest.raises(LimitExceeded, match="about one member"):
        convert(tmp_path, source, "zip", COMPRESS[source](data) if source == "tgz" else data)


def test_a_member_without_a_name_is_left_out(tmp_path: Path) -> None:
    out, notes = convert(tmp_path, "zip", "tar", zipped({"": b"nameless", "a.txt": b"named"}))
    assert contents(out, "tar") == {"a.txt": b"named"}
    assert len(notes) == 1


@pytest.mark.parametrize("source", sorted(COMPRESSORS))
def test_a_compressed_tar_is_taken_apart(source: str, tmp_path: Path) -> None:
    out, _ = convert(tmp_path, source, "zip", COMPRESS[source](tarred(FILES)))
    assert contents(out, "zip") == FILES


@pytest.mark.parametrize(("source", "target"), [("zip", "tar"), ("tar", "zip"), ("tgz", "zip")])
def test_times_modes_and_folders_are_kept(source: str, target: str, tmp_path: Path) -> None:
    files = {"run.sh": b"#!/bin/sh\n", "a.txt": b"words"}
    data = (
        zipped({**files, "empty/": b""})
        if source == "zip"
        else tarred(files, special("empty", tarfile.DIRTYPE))
    )
    out, _ = convert(tmp_path, source, target, COMPRESS["tgz"](data) if source == "tgz" else data)
    if target == "zip":
        with zipfile.ZipFile(out) as archive:
            found = [
                (info.filename, info.date_time, info.external_attr >> 16 & 0o777)
                for info in archive.infolist()
            ]
        assert found[:2] == [
            ("run.sh", (2001, 2, 3, 4, 5, 6), 0o755),
            ("a.txt", (2001, 2, 3, 4, 5, 6), 0o644),
        ]
        assert found[2][0] == "empty/"
    else:
        with tarfile.open(out) as archive:
            members = archive.getmembers()
        assert [(info.name, info.mtime, info.mode) for info in members[:2]] == [
            ("run.sh", 981_173_106, 0o755),
            ("a.txt", 981_173_106, 0o644),
        ]
        assert members[2].isdir()


def test_progress_rises_to_the_end(tmp_path: Path) -> None:
    noise = random.Random(2).randbytes(3_000_000)
    seen: list[float] = []
    convert(tmp_path, "zip", "tgz", zipped({"a": noise, "b": noise}), report=seen.append)
    assert seen == sorted(seen)
    assert len({round(done, 1) for done in seen}) > 5
    assert seen[-1] == 1.0


# What is left out, and what is refused

EVIL = ("../up.txt", "/etc/absolute", "C:/drive", "a/../../b", "..\\windows", "\\\\server\\share")


@pytest.mark.parametrize("source", CONTAINERS)
def test_paths_that_lead_out_are_left_out(source: str, tmp_path: Path) -> None:
    files = dict.fromkeys(EVIL, b"evil") | {"./good//a.txt": b"good", "odd\x07\x1b.txt": b"odd"}
    out, (note,) = convert(tmp_path, source, "tgz" if source == "zip" else "zip", packed(source, files))
    found = contents(out, "tgz" if source == "zip" else "zip")
    assert found == {"good/a.txt": b"good", "odd__.txt": b"odd"}
    assert f"{len(EVIL)} of its members" in note


def test_links_and_devices_are_left_out(tmp_path: Path) -> None:
    hostile = (
        special("link", tarfile.SYMTYPE, "/etc/passwd"),
        special("hard", tarfile.LNKTYPE, "a.txt"),
        special("null", tarfile.CHRTYPE),
        special("pipe", tarfile.FIFOTYPE),
    )
    out, (note,) = convert(tmp_path, "tar", "zip", tarred({"a.txt": TEXT}, *hostile))
    assert contents(out, "zip") == {"a.txt": TEXT}
    assert "4 of its members" in note


def test_a_link_in_a_zip_is_left_out(tmp_path: Path) -> None:
    out, (note,) = convert(tmp_path, "zip", "tar", zipped_link("link", "/etc/passwd"))
    assert contents(out, "tar") == {"plain.txt": b"plain"}
    assert "1 of its members" in note


def test_names_that_come_twice_are_told_apart(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.txt", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.txt", b"2")
        archive.writestr("A.TXT", b"3")
    path, _ = convert(tmp_path, "zip", "tar", out.getvalue())
    assert contents(path, "tar") == {"a.txt": b"1", "a (2).txt": b"2", "A (3).TXT": b"3"}


@pytest.mark.parametrize("source", ARCHIVES)
def test_a_cut_archive_is_invalid(source: str, tmp_path: Path) -> None:
    data = packed(source)
    target = "tar" if source == "zip" else "zip"
    for kept in (len(data) // 3, len(data) * 2 // 3):
        with pytest.raises(FileInvalid, match="damaged or incomplete"):
            convert(tmp_path, source, target, data[:kept])


def test_a_wrong_checksum_is_seen(tmp_path: Path) -> None:
    data = bytearray(zipped({"a": b"some words"}, method=zipfile.ZIP_STORED))
    data[data.index(b"words")] ^= 1
    with pytest.raises(FileInvalid):
        convert(tmp_path, "zip", "tar", bytes(data))


def test_a_bad_header_within_a_tar_is_not_its_end(tmp_path: Path) -> None:
    data = bytearray(tarred({"a": b"1", "b": b"2", "c": b"3"}))
    data[1024 + 148] ^= 1
    with pytest.raises(FileInvalid):
        convert(tmp_path, "tar", "zip", bytes(data))


def test_a_zip_with_a_password_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileInvalid, match="encrypted"):
        convert(tmp_path, "zip", "tar", encrypted(zipped(FILES)))


@pytest.mark.parametrize("data", [zipped({}), zipped({"folder/": b""}), zipped({"../a": b"1"})])
def test_an_archive_without_files_is_refused(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(FileInvalid, match="no files"):
        convert(tmp_path, "zip", "tar", data)


@pytest.mark.parametrize("source", ARCHIVES)
def test_no_more_is_unpacked_than_an_output_may_have(source: str, tmp_path: Path) -> None:
    limits = Limits(output_bytes=100_000)
    for target in ("tgz" if source == "zip" else "zip", "bz2" if source == "xz" else "xz"):
        if target != source:
            with pytest.raises(LimitExceeded, match="more than the 100000 bytes"):
                convert(tmp_path, source, target, packed(source), limits=limits)


@pytest.mark.parametrize("source", ["zip", "tgz", "bz2"])
def test_a_bomb_is_refused_by_its_ratio(source: str, tmp_path: Path) -> None:
    zeros = bytes(70_000_000)
    data = COMPRESS["bz2"](zeros) if source == "bz2" else packed(source, {"zeros": zeros})
    with pytest.raises(LimitExceeded, match="500 times"):
        convert(tmp_path, source, "tar", data)


def test_a_sparse_file_counts_in_full(tmp_path: Path) -> None:
    info = tarfile.TarInfo("sparse")
    info.size = 512
    info.pax_headers = {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.name": "sparse",
        "GNU.sparse.size": str(1 << 40),
        "GNU.sparse.map": f"0,512,{1 << 40},0",
    }
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(bytes(512)))
    with pytest.raises(LimitExceeded):
        convert(tmp_path, "tar", "zip", out.getvalue())


def test_too_many_members_are_refused(tmp_path: Path) -> None:
    many = {f"{number}": b"" for number in range(10_001)}
    with pytest.raises(LimitExceeded, match="10000 members"):
        convert(tmp_path, "zip", "tar", zipped(many, method=zipfile.ZIP_STORED))
    with pytest.raises(LimitExceeded, match="10000 members"):
        convert(tmp_path, "tar", "zip", tarred(many))


def test_a_directory_of_very_many_members_is_not_even_read(tmp_path: Path) -> None:
    data = zipped({"a": b"1"})
    start, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    lines = data[start:end] * 200_000
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, len(lines), start, 0)
    with pytest.raises(LimitExceeded, match="10000 members"):
        convert(tmp_path, "zip", "tar", data[:start] + lines + tail)


@pytest.mark.parametrize("source", ARCHIVES)
def test_a_mutated_archive_is_converted_or_refused(source: str, tmp_path: Path) -> None:
    data = packed(source, {"a.txt": TEXT[:2000], "b/c.bin": bytes(range(256))})
    chance = random.Random(source)
    for _ in range(60):
        mutant = bytearray(data)
        for _ in range(chance.randint(1, 6)):
            mutant[chance.randrange(len(mutant))] = chance.randrange(256)
        with contextlib.suppress(FileInvalid, LimitExceeded):
            convert(tmp_path, source, "tar" if source == "zip" else "zip", bytes(mutant))


# Unpacking for the server


def test_members_are_unpacked_under_numbers(tmp_path: Path) -> None:
    inner = zipped({"deep.txt": b"deep"})
    files = FILES | {
        "folder/inner.zip": inner,
        "../evil.txt": b"evil",
        "__MACOSX/._a.txt": b"x",
        ".DS_Store": b"x",
    }
    found = unpack(tmp_path, zipped(files))
    assert found == {"a.txt": TEXT, "b.bin": FILES["folder/b.bin"], "inner.zip": inner, "evil.txt": b"evil"}
    assert not (tmp_path / "evil.txt").exists()


def test_links_are_not_unpacked(tmp_path: Path) -> None:
    assert unpack(tmp_path, zipped_link("link.txt", "/etc/passwd")) == {"plain.txt": b"plain"}


def test_unpacking_has_its_limits(tmp_path: Path) -> None:
    for number, (data, more, error, words) in enumerate(
        (
            (zipped({"a": b"1", "b": b"2", "c": b"3"}), {"most": 2}, LimitExceeded, "more than the 2 files"),
            (zipped(FILES), {"limits": Limits(output_bytes=10_000)}, LimitExceeded, "10000 bytes"),
            (encrypted(zipped(FILES)), {}, FileInvalid, "encrypted"),
            (zipped({"empty": b"", "__MACOSX/x": b"1"}), {}, FileInvalid, "no files"),
            (zipped(FILES)[:1000], {}, FileInvalid, "damaged"),
        )
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        with pytest.raises(error, match=words):
            unpack(folder, data, **more)  # type: ignore[arg-type]


def test_no_client_can_ask_for_it() -> None:
    assert all(found.operation != UNPACK for found in ENGINE.capabilities)


# Names


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a/b.txt", "a/b.txt"),
        ("./a//b/", "a/b"),
        ("a\\b", "a/b"),
        ("a/\x00\x1f/b", "a/__/b"),
        ("..a/b..", "..a/b.."),
        ("", None),
        ("./", None),
        ("../a", None),
        ("a/..", None),
        ("/a", None),
        ("c:a", None),
        ("x/" * 600, None),
        ("a\udcff", "a_"),
    ],
)
def test_paths_are_made_safe_or_refused(name: str, path: str | None) -> None:
    assert safe_path(name) == path
