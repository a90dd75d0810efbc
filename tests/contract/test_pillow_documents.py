"""Pictures bound into a document, described, and freed of their metadata."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any

import pypdfium2
import pytest
from PIL import Image, ImageChops, ImageCms

from convertd.engines.base import Limits
from convertd.engines.pillow import ENGINE
from convertd.engines.pillow.stripping import without_metadata
from convertd.engines.pillow.targets import EDITED, SOURCES
from convertd.engines.pillow.tiff_stripping import stripped_tiff
from convertd.errors import FileInvalid, LimitExceeded
from convertd.model.formats import identify
from tests.support.engines import run
from tests.support.pictures import BLUE, CODECS, GREEN, RED, YELLOW, frames, looks_like, quadrants, save

UPRIGHT = [RED, GREEN, BLUE, YELLOW]
LAID = {
    1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
}  # fmt: skip
"""How a picture lies in a file that says it has the orientation."""
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif(orientation: int = 1) -> Image.Exif:
    """With a camera, a time and a place."""
    made = Image.Exif()
    made[274], made[271], made[272], made[306] = orientation, "Tester", "Model 1", "2026:01:02 03:04:05"
    made[0x8825] = {1: "N", 2: (51.0, 30.0, 0.0)}
    return made


def lying(path: Path, orientation: int, **words: object) -> Path:
    if path.suffix == ".tiff":
        # The library writes no nested directories in a TIFF, the engine does.
        jpeg = lying(path.with_suffix(".jpg"), orientation, **words)
        [(made, _)] = run(ENGINE, "convert", "jpg", "tiff", jpeg, path.parent / "made", auto_orient=False)
        return made.rename(path)
    turn = LAID[orientation]
    image = quadrants((120, 80)) if turn is None else quadrants((120, 80)).transpose(turn)
    return save(image, path, path.suffix[1:], exif=exif(orientation), **words)


# ------------------------------------------------------------------------------------------- merge


def merge(paths: list[Path], out: Path, **options: Any) -> tuple[pypdfium2.PdfDocument, dict[str, Any]]:
    first, *others = [(path.suffix[1:], path) for path in paths]
    [(made, product)] = run(ENGINE, "merge", first[0], "pdf", first[1], out, others=others, **options)
    assert identify(made.name, made.read_bytes()[:65536]).name == "pdf"
    return pypdfium2.PdfDocument(made), product.facts


def test_every_format_gets_its_page_in_order(tmp_path: Path) -> None:
    sources = sorted(SOURCES)
    paths = [
        save(quadrants((40 + 10 * n, 60)), tmp_path / f"a.{source}", source)
        for n, source in enumerate(sources)
    ]
    document, facts = merge(paths, tmp_path)
    assert facts == {"pages": len(sources)} == {"pages": len(document)}
    for number, source in enumerate(sources):
        if source != "ico":
            assert document.get_page_size(number) == pytest.approx(((40 + 10 * number) * 0.75, 45), abs=0.01)
        assert looks_like(document[number].render(scale=2).to_pil(), UPRIGHT)


@pytest.mark.parametrize("orientation", sorted(LAID))
def test_a_jpeg_goes_in_as_it_is_stands_upright_and_tells_nothing(orientation: int, tmp_path: Path) -> None:
    path = lying(tmp_path / "a.jpg", orientation, dpi=(144, 144), quality=91)
    document, _ = merge([path], tmp_path / "out")
    data = (tmp_path / "out" / "output.pdf").read_bytes()
    scan = path.read_bytes()
    assert scan[scan.index(b"\xff\xda") :] in data
    assert b"Tester" not in data
    assert document.get_page_size(0) == pytest.approx((60, 40))
    assert looks_like(document[0].render(scale=3).to_pil(), UPRIGHT)


def test_a_profile_stays_with_its_jpeg_once_for_all_pages(tmp_path: Path) -> None:
    paths = [lying(tmp_path / f"{n}.jpg", 1, icc_profile=SRGB) for n in range(3)]
    document, _ = merge(paths, tmp_path / "out")
    data = (tmp_path / "out" / "output.pdf").read_bytes()
    assert (data.count(b"/ICCBased"), data.count(b"/Alternate /DeviceRGB")) == (3, 1)
    assert looks_like(document[2].render().to_pil(), UPRIGHT)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "CMYK"])
def test_every_layout_is_drawn(mode: str, tmp_path: Path) -> None:
    path = save(quadrants(mode=mode), tmp_path / "a.tiff", "tiff")
    shown = merge([path], tmp_path / "out")[0][0].render(scale=96 / 72).to_pil().convert("L")
    expected = quadrants().convert("1" if mode == "1" else "L").convert("L")
    assert shown.size == (96, 64)
    difference = ImageChops.difference(shown.resize((4, 4)), expected.resize((4, 4)))
    assert difference.getextrema()[1] < 40


def test_few_colours_come_through_without_loss(tmp_path: Path) -> None:
    path = save(quadrants(), tmp_path / "a.png", "png")
    shown = merge([path], tmp_path / "out")[0][0].render(scale=96 / 72).to_pil()
    assert ImageChops.difference(shown, quadrants()).getbbox() is None


def test_what_is_see_through_is_laid_on_the_background(tmp_path: Path) -> None:
    path = save(Image.new("RGBA", (30, 30), (0, 0, 0, 0)), tmp_path / "a.png", "png")
    for words, colour in (({}, (255, 255, 255)), ({"background": "#102030"}, (16, 32, 48))):
        page = merge([path], tmp_path / "out", **words)[0][0]
        assert page.render().to_pil().getpixel((10, 10)) == colour


@pytest.mark.parametrize(("name", "short", "long"), [("a4", 595.276, 841.89), ("letter", 612, 792)])
def test_paper_turns_to_the_picture_which_is_not_enlarged(
    name: str, short: float, long: float, tmp_path: Path
) -> None:
    sizes = ((1500, 1000), (1000, 1500), (96, 64))
    paths = [save(quadrants(size), tmp_path / f"{size[0]}.png", "png") for size in sizes]
    document, _ = merge(paths, tmp_path / "out", page_size=name, margin=36)
    pages = [document.get_page_size(number) for number in range(3)]
    assert pages[0] == pytest.approx((long, short), abs=0.1)
    assert pages[1] == pytest.approx((short, long), abs=0.1)
    wide = document[0].render().to_pil()
    assert wide.getpixel((20, wide.height // 2)) == (255, 255, 255)
    assert wide.getpixel((45, wide.height // 2 - 10)) != (255, 255, 255)
    small = ImageChops.invert(document[2].render().to_pil()).getbbox()
    assert small is not None
    assert (small[2] - small[0], small[3] - small[1]) == pytest.approx((72, 48), abs=2)


def test_a_margin_surrounds_a_page_of_the_pictures_size(tmp_path: Path) -> None:
    path = save(quadrants(), tmp_path / "a.png", "png", dpi=(72, 72))
    assert merge([path], tmp_path / "out", margin=10)[0].get_page_size(0) == pytest.approx((116, 84), abs=0.1)


def test_all_pages_of_a_tiff_and_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    pages = save(
        quadrants(), tmp_path / "a.tiff", "tiff", save_all=True, append_images=[quadrants((64, 96))] * 2
    )
    first, *rest = frames(3)
    moving = save(first, tmp_path / "b.gif", "gif", save_all=True, append_images=rest)
    [(_, product)] = run(ENGINE, "merge", "tiff", "pdf", pages, tmp_path / "out", others=[("gif", moving)])
    assert product.facts == {"pages": 4}
    assert "several pictures" in product.notes[0]


@pytest.mark.parametrize("source", ["jpg", "png"])
def test_a_broken_picture_is_named(source: str, tmp_path: Path) -> None:
    whole = save(quadrants((300, 300)), tmp_path / f"a.{source}", source)
    cut = tmp_path / f"cut.{source}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(FileInvalid, match=rf"File 2 \('cut.{source}'\): .*(cut off|damaged)"):
        merge([whole, cut], tmp_path / "out")


def test_limits_of_pages_and_pixels_hold_for_all_together(tmp_path: Path) -> None:
    path = save(quadrants(), tmp_path / "a.jpg", "jpg")
    words = {"others": [("jpg", path)] * 2}
    for limits in (Limits(pages=2), Limits(total_pixels=3 * 96 * 64 - 1)):
        with pytest.raises(LimitExceeded, match="together"):
            run(ENGINE, "merge", "jpg", "pdf", path, tmp_path, limits=limits, **words)  # type: ignore[arg-type]
    run(
        ENGINE, "merge", "jpg", "pdf", path, tmp_path,
        limits=Limits(pages=3, total_pixels=3 * 96 * 64), **words,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.skipif(shutil.which("pdfimages") is None, reason="poppler is the second opinion")
def test_another_reader_agrees(tmp_path: Path) -> None:
    jpeg, png = lying(tmp_path / "a.jpg", 6), save(quadrants(), tmp_path / "b.png", "png")
    merge([jpeg, png], tmp_path / "out", page_size="a4")
    made = str(tmp_path / "out" / "output.pdf")
    info = subprocess.run(["pdfinfo", made], capture_output=True, text=True, check=True)
    listed = subprocess.run(["pdfimages", "-list", made], capture_output=True, text=True, check=True)
    assert "A4" in info.stdout
    assert not info.stderr + listed.stderr
    rows = [line.split() for line in listed.stdout.splitlines()[2:]]
    assert [(row[3], row[4], row[8]) for row in rows] == [("80", "120", "jpeg"), ("96", "64", "image")]


# ----------------------------------------------------------------------------------------- inspect


def inspect(path: Path, source: str) -> dict[str, Any]:
    [(made, product)] = run(ENGINE, "inspect", source, "json", path, path.parent / "out")
    assert json.loads(made.read_text("utf-8")) == product.facts
    return product.facts


@pytest.mark.parametrize("source", sorted(SOURCES))
def test_every_format_is_described(source: str, tmp_path: Path) -> None:
    facts = inspect(save(quadrants(), tmp_path / f"a.{source}", source), source)
    size = Image.open(tmp_path / f"a.{source}").size
    assert facts["kind"] == "image"
    assert facts["format"] == source
    assert (facts["width"], facts["height"]) == size
    assert facts["size_bytes"] == (tmp_path / f"a.{source}").stat().st_size
    assert (facts["frames"], facts["bit_depth"], facts["orientation"]) == (1, 8, 1)


@pytest.mark.parametrize("source", ["jpg", "png", "webp", "tiff"])
def test_what_a_photo_tells(source: str, tmp_path: Path) -> None:
    path = lying(tmp_path / f"a.{source}", 6, icc_profile=SRGB, dpi=(300, 300))
    facts = inspect(path, source)
    assert (facts["width"], facts["height"], facts["orientation"]) == (120, 80, 6)
    assert facts["exif"] == {
        "make": "Tester", "model": "Model 1", "date": "2026:01:02 03:04:05", "gps": True,
    }  # fmt: skip
    assert "sRGB" in facts["icc_profile"]
    assert "51" not in json.dumps(facts["exif"])
    if source != "webp":
        assert facts["dpi"] == pytest.approx([300, 300], abs=0.1)


@pytest.mark.parametrize(
    ("mode", "space", "depth", "alpha"),
    [
        ("1", "gray", 1, False),
        ("L", "gray", 8, False),
        ("I;16", "gray", 16, False),
        ("P", "indexed", 8, False),
        ("LA", "gray", 8, True),
        ("RGBA", "rgb", 8, True),
        ("CMYK", "cmyk", 8, False),
    ],
)
def test_layouts(mode: str, space: str, depth: int, alpha: bool, tmp_path: Path) -> None:
    drawn = quadrants().convert("L").convert(mode) if mode == "I;16" else quadrants(mode=mode)
    facts = inspect(save(drawn, tmp_path / "a.tiff", "tiff"), "tiff")
    assert (facts["color_space"], facts["bit_depth"], facts["has_alpha"]) == (space, depth, alpha)


@pytest.mark.parametrize("source", ["gif", "webp", "png", "avif"])
def test_an_animation_has_frames_and_a_duration(source: str, tmp_path: Path) -> None:
    first, *rest = frames(3)
    path = save(first, tmp_path / f"a.{source}", source, save_all=True, append_images=rest, duration=200)
    facts = inspect(path, source)
    assert (facts["frames"], facts["duration"]) == (3, 0.6)


def test_a_broken_file_is_not_described(tmp_path: Path) -> None:
    path = save(quadrants(), tmp_path / "a.png", "png")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(FileInvalid):
        inspect(path, "png")


# ---------------------------------------------------------------------------------- strip-metadata


def strip(path: Path, source: str) -> tuple[Path, Any]:
    [made] = run(ENGINE, "strip-metadata", source, source, path, path.parent / "out")
    return made


@pytest.mark.parametrize("source", sorted(EDITED))
def test_every_format_loses_what_tells_of_people(source: str, tmp_path: Path) -> None:
    words: dict[str, Any] = {"comment": b"Tester"} if source in ("gif", "jpg") else {}
    if source in ("jpg", "png", "webp", "avif", "tiff"):
        words |= {"exif": exif(), "icc_profile": SRGB}
    if source in ("jpg", "webp", "avif"):
        words["xmp"] = b"<x:xmpmeta>Tester</x:xmpmeta>"
    if source == "tiff":
        path = lying(tmp_path / "a.tiff", 1, icc_profile=SRGB)
    else:
        path = save(quadrants((120, 80)), tmp_path / f"a.{source}", source, **words)
    assert b"Tester" in path.read_bytes() or not words
    made, product = strip(path, source)
    assert b"Tester" not in made.read_bytes()
    after = Image.open(made, formats=[CODECS[source]])
    assert looks_like(after, UPRIGHT)
    assert ("icc_profile" in after.info) == ("icc_profile" in words)
    size = {"width": 120, "height": 80}
    assert product.facts in (size, size | {"source": size})
    assert (source == "avif") == any("anew" in note for note in product.notes)
    if source != "avif":
        before = Image.open(path, formats=[CODECS[source]])
        assert ImageChops.difference(before.convert("RGB"), after.convert("RGB")).getbbox() is None


@pytest.mark.parametrize("orientation", sorted(LAID))
@pytest.mark.parametrize("source", ["jpg", "png", "webp", "tiff", "avif"])
def test_a_picture_keeps_standing_upright(source: str, orientation: int, tmp_path: Path) -> None:
    made, product = strip(lying(tmp_path / f"a.{source}", orientation), source)
    assert b"Tester" not in made.read_bytes()
    facts = inspect(made, source)
    assert (facts["width"], facts["height"]) == (120, 80) == (product.facts["width"], product.facts["height"])
    assert "gps" not in facts.get("exif", {}) or not facts["exif"]["gps"]
    [(shown, _)] = run(ENGINE, "convert", source, "png", made, tmp_path / "shown")
    assert looks_like(Image.open(shown), UPRIGHT)


def test_a_jpeg_keeps_its_very_scan(tmp_path: Path) -> None:
    path = lying(tmp_path / "a.jpg", 6)
    made, _ = strip(path, "jpg")
    scan = path.read_bytes()
    assert scan[scan.index(b"\xff\xda") :] in made.read_bytes()


def test_unknown_chunks_go_and_an_animation_goes_on(tmp_path: Path) -> None:
    first, *rest = frames(3)
    for source in ("gif", "png", "webp"):
        path = save(
            first, tmp_path / f"a.{source}", source, save_all=True, append_images=rest, duration=80, loop=2
        )
        if source == "png":
            data = path.read_bytes()
            chunk = b"caBXTester"
            path.write_bytes(
                data[:33] + struct.pack(">I", 6) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]
            )
        made, product = strip(path, source)
        after = Image.open(made)
        assert product.facts["frames"] == after.n_frames == 3  # type: ignore[attr-defined]
        assert after.info["loop"] == 2
        assert b"Tester" not in made.read_bytes()


def test_a_broken_file_is_not_given_back(tmp_path: Path) -> None:
    path = save(quadrants((300, 300)), tmp_path / "a.jpg", "jpg")
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(FileInvalid):
        strip(path, "jpg")


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiff_keeps_its_very_strips(order: str, tmp_path: Path) -> None:
    """16 bits a channel, which the library cannot even read in full."""
    pixels = bytes(range(200)) * 3
    tags = {
        256: (3, 20), 257: (3, 5), 258: (3, 16, 16, 16), 259: (3, 1), 262: (3, 2), 273: (4, 0),
        274: (3, 6), 277: (3, 3), 278: (3, 5), 279: (4, len(pixels)), 305: (2, *b"Tester\0"),
        700: (1, *b"<x:xmpmeta>Tester</x:xmpmeta>"), 34377: (7, *b"Tester"),
    }  # fmt: skip
    path = tmp_path / "a.tiff"
    path.write_bytes(_tiff(order, tags, pixels))
    made, product = strip(path, "tiff")
    data = made.read_bytes()
    assert b"Tester" not in data
    assert pixels in data
    assert product.facts == {"width": 5, "height": 20}
    assert product.notes == ()
    assert Image.open(made).tobytes() == Image.open(path).tobytes()


def test_a_tiff_that_points_beyond_its_end_is_encoded_anew(tmp_path: Path) -> None:
    pixels = bytes(12)
    tags = {256: (3, 4), 257: (3, 3), 258: (3, 8), 259: (3, 1), 262: (3, 1), 273: (4, 0), 277: (3, 1),
            278: (3, 3), 279: (4, 4000)}  # fmt: skip
    path = tmp_path / "a.tiff"
    path.write_bytes(_tiff("<", tags, pixels))
    made, _ = strip(path, "tiff")
    assert Image.open(made).size == (4, 3)


def test_a_padded_jp2_is_stripped_and_compressed(tmp_path: Path) -> None:
    path = save(quadrants((300, 300)), tmp_path / "a.jp2", "jp2")
    whole, bare = path.read_bytes(), strip(path, "jp2")[0].read_bytes()
    path.write_bytes(whole + b"\n")
    assert strip(path, "jp2")[0].read_bytes() == bare
    [(made, _)] = run(ENGINE, "compress", "jp2", "jp2", path, tmp_path / "small")
    assert made.stat().st_size <= path.stat().st_size


def test_comments_among_the_parts_of_a_jp2_do_not_stay(tmp_path: Path) -> None:
    path = save(quadrants((300, 300)), tmp_path / "a.jp2", "jp2")
    data = path.read_bytes()
    comment = struct.pack(">HHH", 0xFF64, 16, 1) + b"Tester: here"
    start = data.index(b"\xff\x90")
    (length,) = struct.unpack_from(">I", data, start + 6)
    part = data[start : start + 6] + struct.pack(">I", length + len(comment)) + data[start + 10 : start + 12]
    told = data[:start] + part + comment + data[start + 12 :]
    box = told.index(b"jp2c") - 4
    if size := struct.unpack_from(">I", told, box)[0]:
        told = told[:box] + struct.pack(">I", size + len(comment)) + told[box + 4 :]
    path.write_bytes(told)
    made, _ = strip(path, "jp2")
    assert b"Tester" not in made.read_bytes()
    assert Image.open(made).size == (300, 300)


def test_a_tiff_with_an_empty_tag_is_encoded_anew(tmp_path: Path) -> None:
    tags = {256: (3, 4), 257: (3, 3), 258: (3, 8), 259: (3,), 262: (3, 1), 273: (4, 0), 277: (3, 1),
            278: (3, 3), 279: (4, 12)}  # fmt: skip
    assert without_metadata(_tiff("<", tags, bytes(12)), "tiff") is None


def test_a_tiff_in_which_pages_share_their_strips_does_not_grow(tmp_path: Path) -> None:
    pixels = bytes(4000)
    tags = {256: (3, 80), 257: (3, 50), 258: (3, 8), 259: (3, 1), 262: (3, 1), 273: (4, 0), 277: (3, 1),
            278: (3, 50), 279: (4, 4000)}  # fmt: skip
    assert stripped_tiff(_tiff("<", tags, pixels)) is not None
    assert stripped_tiff(_tiff("<", tags, pixels, pages=200)) is None


def _tiff(order: str, tags: dict[int, tuple[int, ...]], pixels: bytes, pages: int = 1) -> bytes:
    """``pages`` directories with ``tags`` (kind and values each), all of the one strip ``pixels``."""
    words = {1: "B", 2: "B", 3: "H", 4: "I", 7: "B"}
    out = bytearray({"<": b"II*\0", ">": b"MM\0*"}[order]) + bytes(4) + pixels
    link = 4
    for _ in range(pages):
        entries = b""
        for tag, (kind, *values) in sorted((tags | {273: (4, 8)}).items()):
            value = struct.pack(f"{order}{len(values)}{words[kind]}", *values)
            if len(value) > 4:
                place = len(out)
                out += value + bytes(len(value) % 2)
                value = struct.pack(order + "I", place)
            entries += struct.pack(order + "HHI4s", tag, kind, len(values), value)
        struct.pack_into(order + "I", out, link, len(out))
        out += struct.pack(order + "H", len(tags)) + entries + bytes(4)
        link = len(out) - 4
    return bytes(out)


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_tiff_tells_its_upright_size(orientation: int, tmp_path: Path) -> None:
    [(_, product)] = run(
        ENGINE, "convert", "tiff", "png", lying(tmp_path / "a.tiff", orientation), tmp_path / "out"
    )
    size = {"width": 120, "height": 80}
    assert product.facts == size | {"source": size}
