"""``compress``: smaller or the same, never larger; and what it may not carry along."""

from __future__ import annotations

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
    assert product.notes == ("The result is not smaller than the input.",)


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
