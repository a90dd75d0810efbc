"""The Pillow engine: every route it declares, and everything that must be refused."""

from __future__ import annotations

import io
import os
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pypdfium2
import pytest
from PIL import Image

from convertd.engines.base import Capability, Limits
from convertd.engines.pillow import ENGINE
from convertd.engines.pillow.targets import SOURCES
from convertd.errors import FileInvalid, InvalidRequest, LimitExceeded
from convertd.model.formats import identify
from tests.support.engines import run
from tests.support.pictures import BLUE, CODECS, GREEN, RED, YELLOW, frames, looks_like, quadrants, save

CORPUS = Path(os.environ.get("CONVERTD_CORPUS", "")) if os.environ.get("CONVERTD_CORPUS") else None
IDENTIFY_WORDS = {"jpg": "JPEG", "bmp": "BMP3", "ico": "PNG"}


def name_of(capability: Capability) -> str:
    return f"{capability.operation}-{capability.source}-{capability.target}"


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("samples")
    return {source: save(quadrants(), folder / f"a.{source}", source) for source in SOURCES}


def is_conversion(capability: Capability) -> bool:
    """The other operations' own tests go over their routes."""
    return capability.operation in ("convert", "compress", "thumbnail")


@pytest.mark.parametrize(
    "capability", [route for route in ENGINE.capabilities if is_conversion(route)], ids=name_of
)
def test_every_route_gives_the_same_picture(
    capability: Capability, samples: dict[str, Path], tmp_path: Path
) -> None:
    route = (capability.operation, capability.source, capability.target)
    [(path, product)] = run(ENGINE, *route, samples[capability.source], tmp_path)

    assert identify(path.name, path.read_bytes()[:65536]).name == capability.target
    if capability.target == "pdf":
        image = pypdfium2.PdfDocument(path)[0].render().to_pil()
        expected: dict[str, object] = {"pages": 1}
    else:
        image = Image.open(path, formats=[CODECS[capability.target]])
        expected = {"width": image.width, "height": image.height}
    if capability.operation != "compress":
        with Image.open(samples[capability.source]) as source:
            expected["source"] = {"width": source.width, "height": source.height}
    assert product.facts == expected
    image.load()
    assert looks_like(image, [RED, GREEN, BLUE, YELLOW])


@pytest.mark.skipif(shutil.which("identify") is None, reason="ImageMagick is the second opinion")
@pytest.mark.parametrize("target", ["jpg", "png", "webp", "gif", "bmp", "tiff", "ico", "jp2", "tga", "ppm"])
def test_another_reader_agrees(target: str, samples: dict[str, Path], tmp_path: Path) -> None:
    [(path, _)] = run(ENGINE, "convert", "png", target, samples["png"], tmp_path)
    lines = subprocess.run(
        ["identify", "-format", "%m %wx%h\n", str(path)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert (
        lines[-1] == f"{IDENTIFY_WORDS.get(target, target.upper())} {'96x96' if target == 'ico' else '96x64'}"
    )


def test_importing_the_engine_does_not_import_the_library() -> None:
    code = (
        "import sys, convertd.engines.pillow, convertd.engines.pdfium;"
        "assert not {'PIL', 'pypdfium2'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_progress_is_told_frame_by_frame(tmp_path: Path) -> None:
    first, *rest = frames(4)
    path = save(first, tmp_path / "a.gif", "gif", save_all=True, append_images=rest, duration=50)
    told: list[float] = []
    run(ENGINE, "convert", "gif", "webp", path, tmp_path / "out", report=told.append)
    assert set(told) >= {0.0, 0.25, 0.5, 0.75, 1.0}


# ------------------------------------------------------------------------------------------ limits


def huge_png(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_a_picture_of_too_many_pixels_is_refused_from_its_header(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(huge_png(60_000, 60_000))
    with pytest.raises(LimitExceeded, match="3,600,000,000 pixels"):
        run(ENGINE, "convert", "png", "jpg", path, tmp_path / "out")


@pytest.mark.parametrize("source", sorted(set(SOURCES) - {"ico"}))
def test_the_pixel_limit_holds_for_every_source(
    source: str, samples: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(LimitExceeded, match="pixels"):
        run(ENGINE, "convert", source, "png", samples[source], tmp_path, limits=Limits(pixels=96 * 64 - 1))
    run(ENGINE, "convert", source, "png", samples[source], tmp_path, limits=Limits(pixels=96 * 64))


def test_a_gif_canvas_bomb_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gif"
    path.write_bytes(
        b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + b"\x80\x00\x00" + bytes(6)
        + b"\x2c" + struct.pack("<HHHH", 0, 0, 65_535, 65_535) + b"\x00\x02\x02\x44\x01\x00;"
    )  # fmt: skip
    with pytest.raises(LimitExceeded):
        run(ENGINE, "convert", "gif", "png", path, tmp_path / "out")


@pytest.mark.parametrize("source", ["gif", "webp", "png"])
def test_too_many_frames_are_refused(source: str, tmp_path: Path) -> None:
    first, *rest = frames(5)
    path = save(first, tmp_path / f"a.{source}", source, save_all=True, append_images=rest, duration=50)
    with pytest.raises(LimitExceeded, match="5 frames; at most 4"):
        run(ENGINE, "convert", source, "webp", path, tmp_path / "out", limits=Limits(frames=4))
    with pytest.raises(LimitExceeded, match="6,000 pixels together"):
        run(ENGINE, "convert", source, "webp", path, tmp_path / "out", limits=Limits(total_pixels=5_999))


def test_too_many_tiff_pages_are_refused(tmp_path: Path) -> None:
    pages = [quadrants()] * 5
    path = save(pages[0], tmp_path / "a.tiff", "tiff", save_all=True, append_images=pages[1:])
    with pytest.raises(LimitExceeded, match="more than 4"):
        run(ENGINE, "convert", "tiff", "pdf", path, tmp_path / "out", limits=Limits(frames=4))


def test_enlarging_beyond_the_limit_is_refused(samples: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(LimitExceeded, match="The result has 32000"):
        run(ENGINE, "convert", "png", "jpg", samples["png"], tmp_path, width=32_000, enlarge=True)


def test_a_target_that_cannot_hold_the_size_says_its_own(tmp_path: Path) -> None:
    path = save(Image.new("L", (17_000, 2)), tmp_path / "wide.png", "png")
    with pytest.raises(LimitExceeded, match="WEBP holds at most 16,383 pixels"):
        run(ENGINE, "convert", "png", "webp", path, tmp_path / "out")
    run(ENGINE, "convert", "png", "jpg", path, tmp_path / "out")


# ------------------------------------------------------------------------------------- broken files


@pytest.mark.parametrize("source", sorted(SOURCES))
@pytest.mark.parametrize("keep", [0.1, 0.6, 0.95])
def test_a_cut_off_file_is_the_files_fault(
    source: str, keep: float, samples: dict[str, Path], tmp_path: Path
) -> None:
    whole = samples[source].read_bytes()
    path = tmp_path / f"cut.{source}"
    path.write_bytes(whole[: max(4, int(len(whole) * keep))])
    if source == "tga" and keep > 0.9:
        pytest.skip("a TGA without its footer is a whole TGA of the first version")
    with pytest.raises(FileInvalid, match=r"cut off|damaged") as caught:
        run(ENGINE, "convert", source, "bmp", path, tmp_path / "out")
    assert str(tmp_path) not in caught.value.message


@pytest.mark.parametrize("source", ["jpg", "png", "webp", "avif"])
def test_the_last_bytes_missing_is_called_cut_off(
    source: str, samples: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / f"cut.{source}"
    path.write_bytes(samples[source].read_bytes()[:-4])
    with pytest.raises(FileInvalid, match="is cut off"):
        run(ENGINE, "convert", source, "jpg", path, tmp_path / "out")


def test_an_animation_cut_in_a_later_frame_is_refused(tmp_path: Path) -> None:
    first, *rest = frames(6, (200, 150))
    path = save(first, tmp_path / "a.gif", "gif", save_all=True, append_images=rest, duration=50)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(FileInvalid):
        run(ENGINE, "convert", "gif", "webp", path, tmp_path / "out")


@pytest.mark.parametrize("source", sorted(SOURCES))
def test_only_the_named_decoder_sees_the_file(source: str, samples: dict[str, Path], tmp_path: Path) -> None:
    other = "bmp" if source != "bmp" else "png"
    with pytest.raises(FileInvalid):
        run(ENGINE, "convert", source, "jpg", samples[other], tmp_path)


def test_a_text_chunk_bomb_is_refused(tmp_path: Path) -> None:
    text = zlib.compress(bytes(200_000_000), 9)
    data = b"key\x00\x00" + text
    chunk = struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))
    plain = io.BytesIO()
    quadrants().save(plain, "PNG")
    png = plain.getvalue()
    path = tmp_path / "bomb.png"
    path.write_bytes(png[:33] + chunk + png[33:])
    with pytest.raises(FileInvalid):
        run(ENGINE, "convert", "png", "jpg", path, tmp_path / "out")


def test_broken_metadata_never_stops_a_picture(tmp_path: Path) -> None:
    exif = b"Exif\x00\x00II*\x00\xff\xff\xff\x7f" + bytes(40)
    path = save(quadrants(), tmp_path / "a.jpg", "jpg", exif=exif, icc_profile=b"no profile" * 20)
    for target in ("png", "webp", "tiff", "gif", "jpg", "avif"):
        [(made, _)] = run(ENGINE, "convert", "jpg", target, path, tmp_path / target)
        assert looks_like(Image.open(made), [RED, GREEN, BLUE, YELLOW])


def test_an_unknown_colour_is_named(samples: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest) as caught:
        run(ENGINE, "convert", "png", "jpg", samples["png"], tmp_path, background="reddish")
    assert caught.value.field == "background"


# ------------------------------------------------------------------------------------------ corpus


def corpus_files(folder: str) -> list[Path]:
    return sorted((CORPUS / folder).iterdir()) if CORPUS else []


@pytest.mark.skipif(CORPUS is None, reason="CONVERTD_CORPUS names no folder")
@pytest.mark.parametrize("path", corpus_files("image"), ids=lambda path: path.name)
def test_every_real_picture_converts(path: Path, tmp_path: Path) -> None:
    source = identify(path.name, path.read_bytes()[:65536]).name
    if source not in SOURCES:
        pytest.skip(f"{source} is another engine's")
    for target in ("png", "webp", "pdf"):
        if path.name == "ultrahdr.jpg":
            # As it lies there it has a header and no pixels.
            with pytest.raises(FileInvalid, match="cut off"):
                run(ENGINE, "convert", source, target, path, tmp_path)
        else:
            [(made, _)] = run(ENGINE, "convert", source, target, path, tmp_path)
            assert made.stat().st_size > 40


@pytest.mark.skipif(CORPUS is None, reason="CONVERTD_CORPUS names no folder")
@pytest.mark.parametrize("path", corpus_files("hostile"), ids=lambda path: path.name)
@pytest.mark.parametrize("source", sorted(SOURCES))
def test_every_hostile_file_ends_well(path: Path, source: str, tmp_path: Path) -> None:
    """Whatever it is said to be: an honest success or a typed error."""
    try:
        run(ENGINE, "convert", source, "png", path, tmp_path)
    except (FileInvalid, LimitExceeded) as error:
        told = error.message
    else:
        told = ""
    assert "/" not in told
