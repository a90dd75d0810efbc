"""Every option of the Pillow engine does something, and what a target cannot take is refused at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageChops

from convertd.engines.pillow import ENGINE
from convertd.errors import InvalidRequest, LimitExceeded
from convertd.model.parsing import parse_options
from tests.support.engines import capability, run
from tests.support.pictures import BLUE, GREEN, RED, YELLOW, close, frames, looks_like, quadrants, save

LOSSY = ["jpg", "webp", "avif", "jp2", "pdf"]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """With enough in it for a quality to make a difference."""
    return save(
        ImageChops.add(quadrants((192, 128)), Image.effect_noise((192, 128), 60).convert("RGB"), 2),
        tmp_path / "a.png",
        "png",
    )


def convert(path: Path, target: str, out: Path, **options: object) -> Image.Image:
    [(made, _)] = run(ENGINE, "convert", path.suffix[1:], target, path, out, **options)
    return Image.open(made)


@pytest.mark.parametrize("target", LOSSY)
def test_quality_makes_the_size(target: str, photo: Path, tmp_path: Path) -> None:
    sizes = [
        run(ENGINE, "convert", "png", target, photo, tmp_path / str(quality), quality=quality)[0][0]
        .stat()
        .st_size
        for quality in (20, 60, 95)
    ]
    assert sizes == sorted(sizes)
    assert sizes[0] * 1.5 < sizes[2]


@pytest.mark.parametrize("target", ["webp", "jp2"])
def test_lossless_is_without_loss(target: str, photo: Path, tmp_path: Path) -> None:
    image = convert(photo, target, tmp_path / "out", lossless=True)
    assert ImageChops.difference(image.convert("RGB"), Image.open(photo)).getbbox() is None
    lossy = convert(photo, target, tmp_path / "out").convert("RGB")
    assert ImageChops.difference(lossy, Image.open(photo)).getbbox() is not None


@pytest.mark.parametrize(
    ("target", "option"),
    [("png", "quality"), ("bmp", "quality"), ("gif", "quality"), ("jpg", "lossless"), ("avif", "lossless")],
)
def test_an_option_without_meaning_for_the_target_is_refused(target: str, option: str) -> None:
    options = capability(ENGINE, "convert", "png", target).options
    with pytest.raises(InvalidRequest, match="allowed here: width") as caught:
        parse_options(options, {option: 1})
    assert caught.value.field == option


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"lossless": True, "quality": 80}, "lossless"),
        ({"fit": "cover", "width": 10}, "fit"),
        ({"fit": "contain"}, "fit"),
        ({"enlarge": True}, "enlarge"),
        ({"background": "octarine"}, "background"),
        ({"background": "12"}, "background"),
    ],
)
def test_options_that_contradict_each_other_are_refused(given: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_options(capability(ENGINE, "convert", "png", "webp").options, given)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"width": 96}, (96, 64)),
        ({"height": 32}, (48, 32)),
        ({"width": 100, "height": 32}, (48, 32)),
        ({"width": 500}, (192, 128)),
        ({"width": 384, "enlarge": True}, (384, 256)),
        ({"width": 60, "height": 60, "fit": "contain"}, (60, 60)),
        ({"width": 60, "height": 60, "fit": "cover"}, (60, 60)),
        ({"width": 300, "height": 300, "fit": "cover"}, (128, 128)),
        ({"width": 300, "height": 300, "fit": "cover", "enlarge": True}, (300, 300)),
        ({"width": 300, "height": 300, "fit": "contain"}, (300, 300)),
    ],
)
@pytest.mark.parametrize("source", ["png", "jpg"])
def test_sizes(source: str, options: dict[str, object], size: tuple[int, int], tmp_path: Path) -> None:
    path = save(quadrants((192, 128)), tmp_path / f"a.{source}", source)
    assert convert(path, "png", tmp_path / "out", **options).size == size


def test_a_large_jpeg_is_scaled_from_its_draft_to_the_very_size(tmp_path: Path) -> None:
    path = save(quadrants((1603, 1201)), tmp_path / "a.jpg", "jpg")
    for options in ({"width": 100}, {"width": 90, "height": 90, "fit": "cover"}, {"height": 33}):
        image = convert(path, "png", tmp_path / "out", **options)
        assert looks_like(image, [RED, GREEN, BLUE, YELLOW])
    assert convert(path, "png", tmp_path / "out", width=100).size == (100, 75)


def test_cover_cuts_the_sides_and_contain_pads_them(tmp_path: Path) -> None:
    wide = Image.new("RGB", (300, 100), GREEN)
    wide.paste(RED, (0, 0, 100, 100))
    wide.paste(BLUE, (200, 0, 300, 100))
    path = save(wide, tmp_path / "a.png", "png")
    cover = convert(path, "png", tmp_path / "out", width=50, height=50, fit="cover")
    assert close(cover.getpixel((2, 25)), GREEN)
    assert close(cover.getpixel((47, 25)), GREEN)
    contain = convert(path, "png", tmp_path / "out", width=60, height=60, fit="contain", background="#102030")
    assert close(contain.getpixel((30, 2)), (16, 32, 48), 2)
    assert close(contain.getpixel((5, 30)), RED)


def test_padding_may_be_see_through(tmp_path: Path) -> None:
    path = save(quadrants(), tmp_path / "a.png", "png")
    for target in ("png", "webp", "gif"):
        image = convert(
            path, target, tmp_path / "out", width=90, height=90, fit="contain", background="transparent"
        )
        assert image.convert("RGBA").getpixel((45, 3))[3] == 0
    jpeg = convert(
        path, "jpg", tmp_path / "out", width=90, height=90, fit="contain", background="transparent"
    )
    assert close(jpeg.getpixel((45, 3)), (255, 255, 255))


@pytest.mark.parametrize("mode", ["1", "L", "P", "I;16", "CMYK"])
def test_every_layout_can_be_scaled_and_padded(mode: str, tmp_path: Path) -> None:
    source = "tiff" if mode == "CMYK" else "png"
    path = save(
        quadrants().convert("L").convert(mode) if mode == "I;16" else quadrants(mode=mode),
        tmp_path / f"a.{source}",
        source,
    )
    for target in ("jpg", "png", "gif", "tiff"):
        assert convert(path, target, tmp_path / "out", width=48, height=48, fit="contain").size == (48, 48)


def test_an_animation_is_scaled_as_a_whole(tmp_path: Path) -> None:
    first, *rest = frames(4)
    path = save(first, tmp_path / "a.gif", "gif", save_all=True, append_images=rest, duration=100)
    image = convert(path, "webp", tmp_path / "out", width=20)
    image.seek(3)
    assert image.size == (20, 15)
    assert close(image.convert("RGB").getpixel((14, 7)), RED, 60)


@pytest.mark.parametrize("target", ["jpg", "png", "webp", "avif", "gif"])
def test_a_thumbnail_is_small_upright_still_and_bare(target: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274], exif[271] = 3, "Tester"
    path = save(
        quadrants((1200, 800)).transpose(Image.Transpose.ROTATE_180), tmp_path / "a.jpg", "jpg", exif=exif
    )
    [(made, product)] = run(ENGINE, "thumbnail", "jpg", target, path, tmp_path / "out")
    image = Image.open(made)
    assert image.size == (320, 213)
    assert looks_like(image, [RED, GREEN, BLUE, YELLOW])
    assert b"Tester" not in made.read_bytes()
    assert product.notes == ()


def test_thumbnail_options(tmp_path: Path) -> None:
    path = save(quadrants((400, 300)), tmp_path / "a.png", "png")
    options = {"width": 50, "height": 50, "fit": "cover", "quality": 30, "background": "black"}
    [(made, _)] = run(ENGINE, "thumbnail", "png", "jpg", path, tmp_path, **options)
    assert Image.open(made).size == (50, 50)
    [(made, _)] = run(ENGINE, "thumbnail", "png", "jpg", path, tmp_path, height=120)
    assert Image.open(made).size == (160, 120)
    [(made, _)] = run(ENGINE, "thumbnail", "png", "jpg", path, tmp_path, width=380)
    assert Image.open(made).size == (380, 285)
    with pytest.raises(InvalidRequest, match="quality"):
        run(ENGINE, "thumbnail", "png", "png", path, tmp_path, quality=30)


def test_an_icon_larger_than_icons_are_is_refused(tmp_path: Path) -> None:
    path = save(quadrants((600, 600)), tmp_path / "a.png", "png")
    with pytest.raises(LimitExceeded, match="ICO holds at most 256"):
        run(ENGINE, "convert", "png", "ico", path, tmp_path / "out", width=512, height=512)
