"""``compress``: smaller or the same, never larger; and what it may not carry along."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat, PngImagePlugin

from convertd.engines.base import Product
from convertd.engines.pillow import ENGINE
from convertd.engines.pillow.stripping import without_metadata
from convertd.errors import InvalidRequest, LimitExceeded
from convertd.model.operations import PictureCompress
from convertd.model.parsing import parse_options
from tests.support.engines import run
from tests.support.pictures import BLUE, CODECS, GREEN, RED, YELLOW, frames, looks_like, quadrants, save

ITSELF = ["jpg", "png", "webp", "avif", "gif", "tiff", "jp2"]


def photo(size: tuple[int, int] = (240, 160)) -> Image.Image:
    noise = Image.effect_noise(size, 40).convert("RGB")
    return ImageChops.add(quadrants(size), noise, 2)


def compress(path: Path, target: str, out: Path, **options: object) -> tuple[Path, Product]:
    [made] = run(ENGINE, "compress", path.suffix[1:], target, path, out, **options)
    return made


@pytest.mark.parametrize("target", ITSELF)
def test_a_generous_file_becomes_smaller(target: str, tmp_path: Path) -> None:
    words: dict[str, object] = {"quality": 98} if target in ("jpg", "webp", "avif") else {}
    if target == "png":
        words = {"compress_level": 1}
    path = save(photo(), tmp_path / f"a.{target}", target, **words)
    made, product = compress(path, target, tmp_path / "out", quality=40)
    assert made.stat().st_size < path.stat().st_size
    assert Image.open(made, formats=[CODECS[target]]).size == (240, 160)
    assert product.facts == {"width": 240, "height": 160}


@pytest.mark.parametrize("target", ITSELF)
def test_quality_makes_the_size(target: str, tmp_path: Path) -> None:
    path = save(photo(), tmp_path / f"a.{target}", target, **({"quality": 100} if target == "jpg" else {}))
    sizes = [
        compress(path, target, tmp_path / str(quality), quality=quality)[0].stat().st_size
        for quality in (10, 60)
    ]
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize("target", ["jpg", "png", "webp", "gif"])
def test_nothing_to_gain_returns_the_input_and_says_so(target: str, tmp_path: Path) -> None:
    words: dict[str, object] = {
        "jpg": {"quality": 5, "optimize": True, "progressive": True},
        "webp": {"quality": 1},
        "png": {"optimize": True},
    }.get(target, {})
    image = quadrants().quantize(4) if target in ("png", "gif") else photo()
    path = save(image, tmp_path / f"a.{target}", target, **words)
    path.write_bytes(without_metadata(path.read_bytes(), target) or path.read_bytes())
    made, product = compress(path, target, tmp_path / "out", strip_metadata=False)
    assert made.stat().st_size <= path.stat().st_size
    if target in ("jpg", "webp"):
        assert made.read_bytes() == path.read_bytes()
        assert product.notes[-1].endswith("the input is returned unchanged.")


@pytest.mark.parametrize("source", ["jpg", "png", "webp"])
def test_a_returned_input_has_lost_its_metadata(source: str, tmp_path: Path) -> None:
    """The pixels are the input's, to the last bit; what told of the owner is gone."""
    exif = Image.Exif()
    exif[271] = "Tester"
    words: dict[str, object] = {"exif": exif, "icc_profile": b""}
    if source == "jpg":
        words |= {"quality": 3, "comment": b"secret", "optimize": True, "progressive": True}
    elif source == "webp":
        words |= {"quality": 1, "xmp": b"<x:xmpmeta>secret</x:xmpmeta>"}
    else:
        text = PngImagePlugin.PngInfo()
        text.add_text("Author", "secret")
        words |= {"pnginfo": text}
    path = save(photo(), tmp_path / f"a.{source}", source, **words)
    bare = without_metadata(path.read_bytes(), source)
    assert bare is not None
    assert b"Tester" in path.read_bytes()
    assert b"Tester" not in bare
    assert b"secret" not in bare
    stripped = tmp_path / f"b.{source}"
    stripped.write_bytes(bare)
    image = Image.open(stripped)
    assert ImageChops.difference(image.convert("RGB"), Image.open(path).convert("RGB")).getbbox() is None
    assert not image.getexif()
    if source != "png":
        made, product = compress(path, source, tmp_path / "out")
        assert made.read_bytes() == bare
        assert "without its metadata" in product.notes[-1]


def test_stripping_keeps_profile_and_cuts_what_follows_the_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    quadrants().save(path, "MPO", save_all=True, append_images=[photo()], icc_profile=b"profile" * 30)
    bare = without_metadata(path.read_bytes(), "jpg")
    assert bare is not None
    assert b"profile" in bare
    assert bare.count(b"\xff\xd8\xff") == 1
    (tmp_path / "b.jpg").write_bytes(bare)
    assert looks_like(Image.open(tmp_path / "b.jpg"), [RED, GREEN, BLUE, YELLOW])


@pytest.mark.parametrize("progressive", [False, True])
def test_stripping_walks_through_all_scans(progressive: bool, tmp_path: Path) -> None:
    path = save(photo(), tmp_path / "a.jpg", "jpg", progressive=progressive, comment=b"secret")
    bare = without_metadata(path.read_bytes(), "jpg")
    assert bare is not None
    (tmp_path / "b.jpg").write_bytes(bare)
    image = Image.open(tmp_path / "b.jpg")
    assert ImageChops.difference(image, Image.open(path)).getbbox() is None


@pytest.mark.parametrize("target", ITSELF)
@pytest.mark.parametrize("most", [12_000, 3_000])
def test_target_bytes_are_reached(target: str, most: int, tmp_path: Path) -> None:
    path = save(photo(), tmp_path / f"a.{target}", target, **({"quality": 98} if target == "jpg" else {}))
    made, product = compress(path, target, tmp_path / "out", target_bytes=most)
    assert most * 0.2 < made.stat().st_size <= most
    image = Image.open(made)
    assert product.facts["width"] == image.width


def test_target_bytes_prefer_quality_before_size(tmp_path: Path) -> None:
    path = save(photo(), tmp_path / "a.jpg", "jpg", quality=98)
    made, _ = compress(path, "jpg", tmp_path / "out", target_bytes=path.stat().st_size // 2)
    assert Image.open(made).size == (240, 160)


def test_unreachable_target_bytes_say_what_was_reached(tmp_path: Path) -> None:
    path = save(photo(), tmp_path / "a.jpg", "jpg")
    with pytest.raises(LimitExceeded, match=r"down to 256 bytes; the smallest that was reached is \d+"):
        compress(path, "jpg", tmp_path / "out", target_bytes=256)


def test_quality_and_target_bytes_exclude_each_other() -> None:
    with pytest.raises(InvalidRequest, match="either quality or target_bytes"):
        parse_options(PictureCompress, {"quality": 50, "target_bytes": "20kB"})


def test_a_photo_gets_no_palette_unless_nobody_sees_it(tmp_path: Path) -> None:
    path = save(Image.radial_gradient("L").convert("RGB"), tmp_path / "grey.png", "png")
    made, _ = compress(path, "png", tmp_path / "out")
    assert ImageChops.difference(Image.open(made).convert("RGB"), Image.open(path)).getbbox() is None
    noisy = save(
        Image.merge("RGB", [Image.effect_noise((200, 200), 90) for _ in "rgb"]), tmp_path / "a.png", "png"
    )
    made, _ = compress(noisy, "png", tmp_path / "out")
    error = ImageStat.Stat(ImageChops.difference(Image.open(made).convert("RGB"), Image.open(noisy))).rms
    assert max(error) < 6


def test_few_colours_are_kept_exactly(tmp_path: Path) -> None:
    path = save(quadrants(), tmp_path / "a.png", "png", compress_level=0)
    made, _ = compress(path, "png", tmp_path / "out", quality=100)
    image = Image.open(made)
    assert image.mode == "P"
    assert ImageChops.difference(image.convert("RGB"), quadrants()).getbbox() is None


def test_soft_alpha_survives_a_palette(tmp_path: Path) -> None:
    soft = quadrants((200, 200))
    soft.putalpha(Image.linear_gradient("L").resize((200, 200)))
    path = save(soft, tmp_path / "a.png", "png", compress_level=1)
    made, _ = compress(path, "png", tmp_path / "out", quality=60)
    image = Image.open(made).convert("RGBA")
    assert abs(image.getpixel((50, 100))[3] - soft.getpixel((50, 100))[3]) < 30


def test_an_animation_stays_one(tmp_path: Path) -> None:
    first, *rest = frames(4)
    path = save(
        first, tmp_path / "a.gif", "gif", save_all=True, append_images=rest, duration=100, optimize=False
    )
    for target in ("gif", "webp", "avif"):
        made, product = compress(path, target, tmp_path / "out", quality=30)
        assert Image.open(made).n_frames == 4
        assert product.facts["frames"] == 4


def test_width_comes_before_the_rest(tmp_path: Path) -> None:
    path = save(photo(), tmp_path / "a.jpg", "jpg")
    made, _ = compress(path, "jpg", tmp_path / "out", width=120)
    assert Image.open(made).size == (120, 80)


def test_a_larger_result_in_another_format_says_so(tmp_path: Path) -> None:
    path = save(photo(), tmp_path / "a.jpg", "jpg", quality=10)
    _, product = compress(path, "png", tmp_path / "out")
    assert product.notes == (
        "The result is not smaller than the input: keep that, or ask for another format.",
    )


def test_orientation_is_not_lost_with_the_metadata(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 3
    lying = photo().transpose(Image.Transpose.ROTATE_180)
    path = save(lying, tmp_path / "a.jpg", "jpg", quality=4, exif=exif)
    made, _ = compress(path, "jpg", tmp_path / "out")
    image = Image.open(made)
    assert image.getexif().get(274, 1) == 1
    assert (
        ImageStat.Stat(image.crop((0, 0, 100, 60))).mean[0]
        > ImageStat.Stat(image.crop((0, 90, 100, 150))).mean[0]
    )


# Never larger


def tagged(orientation: int = 1) -> Image.Exif:
    """With a camera, a time and a place."""
    exif = Image.Exif()
    exif[274], exif[271], exif[306] = orientation, "Tester", "2026:01:02 03:04:05"
    exif[0x8825] = {1: "N", 2: (51.0, 30.0, 0.0)}
    return exif


@pytest.mark.parametrize("source", ["jpg", "webp"])
def test_a_lying_picture_is_returned_without_what_tells_of_people(source: str, tmp_path: Path) -> None:
    """What makes it stand stays."""
    lying = photo().transpose(Image.Transpose.ROTATE_90)
    words = {"quality": 5, "optimize": True, "progressive": True} if source == "jpg" else {"quality": 1}
    path = save(lying, tmp_path / f"a.{source}", source, exif=tagged(6), **words)
    made, product = compress(path, source, tmp_path / "out", quality=90)
    assert made.stat().st_size < path.stat().st_size
    assert b"Tester" not in made.read_bytes()
    exif = Image.open(made).getexif()
    assert (exif[274], exif.get_ifd(0x8825)) == (6, {})
    assert (product.facts["width"], product.facts["height"]) == (240, 160)
    assert product.notes == (
        "The result would not have been smaller: the input is returned without its metadata.",
    )


def test_an_avif_that_only_lies_is_returned_as_it_is(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    path = save(photo(), tmp_path / "a.avif", "avif", quality=10, exif=exif)
    made, product = compress(path, "avif", tmp_path / "out")
    assert made.read_bytes() == path.read_bytes()
    assert product.facts == {"width": 160, "height": 240}
    assert product.notes[-1].endswith("the input is returned unchanged.")


def test_an_avif_that_tells_a_place_gets_less_quality_instead(tmp_path: Path) -> None:
    path = save(photo(), tmp_path / "a.avif", "avif", quality=40, exif=tagged())
    made, product = compress(path, "avif", tmp_path / "out", quality=90)
    assert made.stat().st_size < path.stat().st_size
    assert not Image.open(made).getexif()
    assert product.notes == ("The quality was lowered: else the result would be larger than the input.",)


def test_what_cannot_become_smaller_is_still_free_of_its_metadata(tmp_path: Path) -> None:
    path = save(photo(), tmp_path / "a.avif", "avif", quality=1, speed=0, exif=tagged())
    made, product = compress(path, "avif", tmp_path / "out")
    assert not Image.open(made).getexif()
    if made.stat().st_size >= path.stat().st_size:
        assert product.notes == ("The result is not smaller than the input, but free of its metadata.",)


def test_a_smaller_picture_has_no_more_bytes(tmp_path: Path) -> None:
    path = save(photo(), tmp_path / "a.jpg", "jpg", quality=20)
    made, product = compress(path, "jpg", tmp_path / "out", width=234, quality=98)
    assert Image.open(made).size == (234, 156)
    assert made.stat().st_size < path.stat().st_size
    assert product.notes == ("The quality was lowered: else the result would be larger than the input.",)


def test_a_box_that_is_no_smaller_than_the_picture_changes_nothing(tmp_path: Path) -> None:
    path = save(photo(), tmp_path / "a.jpg", "jpg", quality=5, optimize=True, progressive=True)
    made, product = compress(path, "jpg", tmp_path / "out", width=1920, quality=90)
    assert made.read_bytes() == without_metadata(path.read_bytes(), "jpg")
    assert "the input is returned" in product.notes[-1]


def test_metadata_that_goes_without_loss_is_not_made_up_for_by_loss(tmp_path: Path) -> None:
    """The result would be smaller than the input, but larger than the input without its metadata."""
    words: dict[str, object] = {"quality": 50, "optimize": True, "progressive": True}
    path = save(photo(), tmp_path / "a.jpg", "jpg", comment=b"x" * 60_000, **words)
    made, product = compress(path, "jpg", tmp_path / "out", quality=90)
    assert made.read_bytes() == without_metadata(path.read_bytes(), "jpg")
    assert product.notes[-1].endswith("returned without its metadata.")


def test_pages_of_few_colours_are_returned_without_what_tells_of_people(tmp_path: Path) -> None:
    first, second = (quadrants((10, 10)).quantize(2) for _ in range(2))
    words: dict[str, object] = {"save_all": True, "append_images": [second], "compression": "tiff_lzw"}
    path = save(first, tmp_path / "a.tiff", "tiff", software="Tester", **words)
    grown = path.read_bytes()
    assert b"Tester" in grown
    made, product = compress(path, "tiff", tmp_path / "out")
    assert made.stat().st_size < path.stat().st_size
    assert b"Tester" not in made.read_bytes()
    assert product.facts["frames"] == 2


def large_tiff(*pages: dict[int, tuple[int, ...]]) -> bytes:
    """A BigTIFF of pages of 8 × 8 pixels in two colours, each with tags of bytes of its own."""
    out = bytearray(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0) + bytes(range(8)))
    link = 8
    for page in pages:
        colours = len(out)
        out += struct.pack("<6H", 0, 0xFFFF, 0, 0, 0, 0xFFFF)
        tags = {256: (8, 1), 257: (8, 1), 258: (1, 1), 259: (1, 1), 262: (3, 1), 273: (16, 1), 277: (1, 1),
                278: (8, 1), 279: (8, 1), 320: (colours, 6)}  # fmt: skip
        entries = {tag: struct.pack("<HHQQ", tag, 3, count, value) for tag, (value, count) in tags.items()}
        for tag, text in page.items():
            entries[tag] = struct.pack("<HHQ8s", tag, 2, len(text), bytes(text))
        struct.pack_into("<Q", out, link, len(out))
        out += struct.pack("<Q", len(entries)) + b"".join(entries[tag] for tag in sorted(entries)) + bytes(8)
        link = len(out) - 8
    return bytes(out)


def test_a_tiff_of_the_large_kind_does_not_come_back_with_what_its_pages_tell(tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    path.write_bytes(large_tiff({}, {305: tuple(b"Tester\0")}))
    made, product = compress(path, "tiff", tmp_path / "out")
    assert Image.open(made).n_frames == 2
    assert b"Tester" not in made.read_bytes()
    assert product.notes == ("The result is not smaller than the input, but free of its metadata.",)


@pytest.mark.parametrize("suffix", ["jp2", "j2k"])
def test_a_jpeg_2000_loses_its_comment(suffix: str, tmp_path: Path) -> None:
    path = save(quadrants((4, 4)), tmp_path / f"a.{suffix}", "jp2", comment=b"Tester", no_jp2=suffix == "j2k")
    assert b"Tester" in path.read_bytes()
    [(made, _)] = run(ENGINE, "compress", "jp2", "jp2", path, tmp_path / "out", quality=100)
    assert made.stat().st_size < path.stat().st_size
    assert b"Tester" not in made.read_bytes()
    assert ImageChops.difference(Image.open(made), Image.open(path)).getbbox() is None


IMAGES = Path(os.environ["CONVERTD_CORPUS"], "image") if os.environ.get("CONVERTD_CORPUS") else None
GREW = ("rot1mir0.avif", "multipage.tiff", "jpeg2.jp2", "hopper_orientation_6.jpg", "g4_orientation_6.tif")


@pytest.mark.skipif(IMAGES is None, reason="CONVERTD_CORPUS names no folder")
@pytest.mark.parametrize("name", GREW)
@pytest.mark.parametrize("quality", [None, 82, 100])
def test_real_files_do_not_grow(name: str, quality: int | None, tmp_path: Path) -> None:
    assert IMAGES is not None
    path = IMAGES / name
    source = {"tif": "tiff"}.get(path.suffix[1:], path.suffix[1:])
    [(made, product)] = run(ENGINE, "compress", source, source, path, tmp_path / "out", quality=quality)
    assert made.stat().st_size <= path.stat().st_size, product.notes
