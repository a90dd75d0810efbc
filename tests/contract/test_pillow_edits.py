"""Pictures cut, turned, scaled, adjusted and marked: what a person asked for is what is seen."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageDraw, ImageStat

from convertd.engines.base import Capability, Limits
from convertd.engines.pillow import ENGINE
from convertd.engines.pillow.targets import SOURCES
from convertd.errors import InvalidRequest, LimitExceeded
from convertd.model.formats import identify
from convertd.model.parsing import parse_options
from tests.support.engines import capability, run
from tests.support.pictures import (
    BLUE,
    CODECS,
    GREEN,
    RED,
    YELLOW,
    close,
    corners,
    frames,
    looks_like,
    quadrants,
    save,
)

WHITE = (255, 255, 255)
EDITS = {
    "transform": {"rotate": 180},
    "adjust": {"grayscale": True},
    "watermark": {"text": "©", "position": "center"},
}
POSITIONS = {
    "top-left": (0, 0), "top": (1, 0), "top-right": (2, 0), "left": (0, 1), "center": (1, 1),
    "right": (2, 1), "bottom-left": (0, 2), "bottom": (1, 2), "bottom-right": (2, 2),
}  # fmt: skip
"""Column and row of a picture's ninths."""


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    return save(quadrants(), tmp_path / "a.png", "png")


def edit(operation: str, path: Path, target: str = "png", **words: object) -> Image.Image:
    source, out = path.suffix[1:], path.parent / "out"
    image = Image.open(run(ENGINE, operation, source, target, path, out, **words)[0][0])  # type: ignore[arg-type]
    image.load()
    return image


def representative(route: Capability) -> bool:
    """From PNG to everything, from everything to PNG."""
    return route.operation in EDITS and "png" in (route.source, route.target)


@pytest.mark.parametrize(
    "route",
    [route for route in ENGINE.capabilities if representative(route)],
    ids=lambda c: f"{c.operation}-{c.source}-{c.target}",
)
def test_every_edit_gives_a_file_of_its_format(route: Capability, tmp_path: Path) -> None:
    path = save(quadrants(), tmp_path / f"a.{route.source}", route.source)
    words = EDITS[route.operation]
    [(made, product)] = run(ENGINE, route.operation, route.source, route.target, path, tmp_path, **words)
    assert identify(made.name, made.read_bytes()[:65536]).name == route.target
    image = Image.open(made, formats=[CODECS[route.target]])
    assert (product.facts["width"], product.facts["height"]) == image.size
    if route.operation == "transform":
        assert looks_like(image, [YELLOW, BLUE, GREEN, RED])
    if route.operation == "adjust":
        assert all(max(colour) - min(colour) < 12 for colour in corners(image))
    if route.operation == "watermark":
        assert looks_like(image, [RED, GREEN, BLUE, YELLOW])
        assert max(min(pixel) for pixel in image.convert("RGB").get_flattened_data()) > 120


# --------------------------------------------------------------------------------------- transform


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ({"rotate": 90}, [BLUE, RED, YELLOW, GREEN]),
        ({"rotate": -90}, [GREEN, YELLOW, RED, BLUE]),
        ({"rotate": 270}, [GREEN, YELLOW, RED, BLUE]),
        ({"rotate": 720}, [RED, GREEN, BLUE, YELLOW]),
        ({"flip": True}, [BLUE, YELLOW, RED, GREEN]),
        ({"flop": True}, [GREEN, RED, YELLOW, BLUE]),
        ({"flop": True, "rotate": 90}, [YELLOW, GREEN, BLUE, RED]),
    ],
)
def test_quarters_and_mirrors_move_pixels_and_change_none(
    options: dict[str, object], seen: list[tuple[int, ...]], sample: Path
) -> None:
    assert corners(edit("transform", sample, **options)) == seen


@pytest.mark.parametrize("target", ["png", "jpg", "gif"])
def test_a_slanted_picture_has_its_corners_in_the_background(target: str, sample: Path) -> None:
    image = edit("transform", sample, target, rotate=45, background="#102030").convert("RGB")
    assert image.size == (114, 114)
    assert close(image.getpixel((3, 3)), (16, 32, 48))
    assert close(image.getpixel((57, 10)), GREEN, 60) or close(image.getpixel((50, 20)), RED, 60)
    middle = [image.getpixel(place) for place in ((57, 30), (84, 57), (30, 57), (57, 84))]
    assert all(close(one, other, 40) for one, other in zip(middle, [RED, GREEN, BLUE, YELLOW], strict=True))


def test_a_slanted_picture_has_no_dark_seam(tmp_path: Path) -> None:
    path = save(Image.new("RGB", (80, 60), "white"), tmp_path / "a.png", "png")
    assert edit("transform", path, rotate=33).getextrema() == ((255, 255),) * 3
    clear = edit("transform", path, rotate=33, background="transparent")
    seen = [pixel for pixel in clear.get_flattened_data() if pixel[3]]
    assert {pixel[3] for pixel in seen} > {255}
    assert all(min(pixel[:3]) >= 250 for pixel in seen if pixel[3] > 60)


def test_the_cut_comes_first_and_of_the_upright_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    path = save(quadrants().transpose(Image.Transpose.ROTATE_90), tmp_path / "a.jpg", "jpg", exif=exif)
    cut = {"crop_left": 48, "crop_top": 0, "crop_width": 40, "crop_height": 32}
    image = edit("transform", path, **cut)
    assert image.size == (40, 32)
    assert looks_like(image, [GREEN] * 4)
    assert edit("transform", path, **cut, width=20).size == (20, 16)
    assert edit("transform", path, **cut, rotate=90, width=16).size == (16, 20)
    assert edit("transform", path, crop_left=90).size == (6, 64)


@pytest.mark.parametrize(
    ("cut", "field"),
    [
        ({"crop_left": 96}, "crop_left"),
        ({"crop_width": 97}, "crop_left"),
        ({"crop_top": 60, "crop_height": 5}, "crop_top"),
    ],
)
def test_a_cut_beyond_the_picture_is_refused_with_its_size(
    cut: dict[str, object], field: str, sample: Path
) -> None:
    with pytest.raises(InvalidRequest, match="96 × 64") as caught:
        edit("transform", sample, **cut)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"width": 30, "height": 30}, (30, 20)),
        ({"width": 30, "height": 30, "fit": "contain"}, (30, 30)),
        ({"width": 30, "height": 30, "fit": "cover"}, (30, 30)),
        ({"width": 30, "height": 30, "fit": "fill"}, (30, 30)),
        ({"width": 30, "height": 30, "fit": "outside"}, (45, 30)),
        ({"width": 200, "height": 100, "fit": "outside"}, (96, 64)),
        ({"width": 192, "height": 32, "fit": "fill"}, (96, 16)),
        ({"width": 192, "height": 32, "fit": "fill", "enlarge": True}, (192, 32)),
        ({"width": 192, "height": 100, "fit": "outside", "enlarge": True}, (192, 128)),
        ({"width": 500}, (96, 64)),
    ],
)
def test_fits(options: dict[str, object], size: tuple[int, int], sample: Path) -> None:
    image = edit("transform", sample, **options)
    assert image.size == size
    if options.get("fit") in ("fill", "outside"):
        assert looks_like(image, [RED, GREEN, BLUE, YELLOW])


@pytest.mark.parametrize("mode", ["1", "L", "P", "I;16", "CMYK", "RGBA"])
def test_every_layout_can_be_edited(mode: str, tmp_path: Path) -> None:
    source = "tiff" if mode == "CMYK" else "png"
    drawn = quadrants().convert("L").convert(mode) if mode == "I;16" else quadrants(mode=mode)
    path = save(drawn, tmp_path / f"a.{source}", source)
    for target in ("jpg", "png", "gif", "tiff"):
        assert edit("transform", path, target, rotate=45, crop_width=64).size == (91, 91)
        assert edit("adjust", path, target, contrast=1.5, blur=1).size == (96, 64)
        assert edit("watermark", path, target, text="x").size == (96, 64)


@pytest.mark.parametrize(
    ("operation", "words"),
    [("transform", {"rotate": 90}), ("adjust", {"brightness": 0.9}), ("watermark", {"text": "Ab"})],
)
def test_an_animation_stays_one(operation: str, words: dict[str, object], tmp_path: Path) -> None:
    first, *rest = frames(4)
    path = save(first, tmp_path / "a.gif", "gif", save_all=True, append_images=rest, duration=100)
    for target in ("gif", "webp", "png"):
        image = edit(operation, path, target, **words)
        assert image.n_frames == 4
        image.seek(3)
        bar = (15, 28) if operation == "transform" else (28, 3)
        assert close(image.convert("RGB").getpixel(bar), RED, 60)
        assert image.convert("RGB").getpixel((3, 3)) != RED
    still = edit(operation, path, "jpg", **words)
    assert getattr(still, "n_frames", 1) == 1


def test_a_turned_result_beyond_the_limit_is_refused(sample: Path) -> None:
    with pytest.raises(LimitExceeded, match="The result has"):
        run(
            ENGINE, "transform", "png", "png", sample, sample.parent, rotate=45,
            limits=Limits(pixels=96 * 64),
        )  # fmt: skip


def test_what_tells_of_people_goes_unless_it_is_to_stay(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[271] = "Tester"
    small = quadrants((32, 32))
    preview = tmp_path / "preview.jpg"
    small.save(preview)
    data = exif.tobytes()
    # A second directory with a small picture, as cameras write it.
    at = len(data) - 6
    links = b"\x00\x02" + b"\x02\x01\x00\x04\x00\x00\x00\x01" + (at + 30).to_bytes(4, "big")
    links += b"\x02\x02\x00\x04\x00\x00\x00\x01" + preview.stat().st_size.to_bytes(4, "big") + bytes(4)
    if data[6:8] == b"II":
        links = (
            b"\x02\x00" + b"\x01\x02\x04\x00\x01\x00\x00\x00" + (at + 30).to_bytes(4, "little")
            + b"\x02\x02\x04\x00\x01\x00\x00\x00" + preview.stat().st_size.to_bytes(4, "little") + bytes(4)
        )  # fmt: skip
    order = "little" if data[6:8] == b"II" else "big"
    pointer = 6 + 8 + 2 + 12
    data = data[:pointer] + at.to_bytes(4, order) + data[pointer + 4 :] + links + preview.read_bytes()
    path = save(quadrants(), tmp_path / "a.jpg", "jpg", exif=data)
    assert path.read_bytes().count(preview.read_bytes()) == 1

    bare, full = ({"rotate": 180}, {"rotate": 180, "strip_metadata": False})
    assert "exif" not in edit("transform", path, "jpg", **bare).info
    [(made, _)] = run(ENGINE, "transform", "jpg", "jpg", path, tmp_path / "out", **full)
    assert Image.open(made).getexif()[271] == "Tester"
    assert not Image.open(made).getexif().get_ifd(1)
    assert preview.read_bytes()[-60:] not in made.read_bytes()


# ------------------------------------------------------------------------------------------ adjust


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (200, 100, 40)),
        ({"brightness": 0.5}, (100, 50, 20)),
        ({"brightness": 4}, (255, 255, 160)),
        ({"contrast": 0}, (128, 128, 128)),
        ({"contrast": 2}, (255, 72, 0)),
        ({"gamma": 2}, (226, 160, 101)),
        ({"saturation": 0}, (123, 123, 123)),
        ({"grayscale": True}, (123, 123, 123)),
        ({"blur": 3}, (200, 100, 40)),
        ({"sharpness": 3}, (200, 100, 40)),
    ],
)
def test_light_and_colour_of_an_even_ground(
    options: dict[str, object], expected: tuple[int, ...], tmp_path: Path
) -> None:
    path = save(Image.new("RGB", (20, 20), (200, 100, 40)), tmp_path / "a.png", "png")
    assert close(edit("adjust", path, **options).convert("RGB").getpixel((10, 10)), expected, 1)


def test_blur_softens_and_sharpness_hardens_an_edge(sample: Path) -> None:
    def steepness(image: Image.Image) -> float:
        row = [image.convert("L").getpixel((x, 16)) for x in range(40, 56)]
        return max(abs(b - a) for a, b in pairwise(row))  # type: ignore[operator]

    plain, soft = edit("adjust", sample), edit("adjust", sample, blur=3)
    assert steepness(soft) * 3 < steepness(plain)
    noise = save(Image.effect_noise((64, 64), 30), sample.parent / "n.png", "png")
    spread = [ImageStat.Stat(edit("adjust", noise, sharpness=factor)).stddev[0] for factor in (0, 1, 3)]
    assert spread == sorted(set(spread))


def test_alpha_stays_and_what_is_hidden_lends_no_colour(tmp_path: Path) -> None:
    image = Image.new("RGBA", (60, 60), (0, 255, 0, 0))
    image.paste((255, 0, 0, 255), (20, 20, 40, 40))
    path = save(image, tmp_path / "a.png", "png")
    brighter = edit("adjust", path, brightness=0.5, contrast=1.2)
    assert ImageChops.difference(brighter.getchannel("A"), image.getchannel("A")).getbbox() is None
    blurred = edit("adjust", path, blur=5)
    assert all(pixel[1] < 20 for pixel in blurred.get_flattened_data() if pixel[3] > 20)
    assert edit("adjust", path, grayscale=True).mode == "LA"


# --------------------------------------------------------------------------------------- watermark


def where(before: Image.Image, after: Image.Image) -> tuple[int, int, int, int]:
    box = ImageChops.difference(before.convert("RGB"), after.convert("RGB")).getbbox()
    assert box is not None
    return box


@pytest.mark.parametrize("position", sorted(POSITIONS))
@pytest.mark.parametrize("kind", ["text", "overlay"])
def test_positions(kind: str, position: str, tmp_path: Path) -> None:
    ground = Image.new("RGB", (300, 240), (90, 90, 90))
    path = save(ground, tmp_path / "a.png", "png")
    logo = save(Image.new("RGBA", (40, 20), RED), tmp_path / "logo.webp", "webp", lossless=True)
    words = {"text": "Mark"} if kind == "text" else {"others": [("webp", logo)]}
    left, top, right, bottom = where(
        ground, edit("watermark", path, position=position, margin=10, opacity=1, **words)
    )
    column, row = POSITIONS[position]
    near = 2 if kind == "text" else 0
    assert (left - 10, (left + right) / 2 - 150, 290 - right)[column] == pytest.approx(0, abs=near)
    assert (top - 10, (top + bottom) / 2 - 120, 230 - bottom)[row] == pytest.approx(0, abs=near)
    if kind == "overlay":
        assert (right - left, bottom - top) == (40, 20)


def test_default_place_margin_and_opacity(tmp_path: Path) -> None:
    ground = Image.new("RGB", (400, 300), "black")
    path = save(ground, tmp_path / "a.png", "png")
    logo = save(Image.new("RGB", (50, 50), "white"), tmp_path / "logo.jpg", "jpg")
    image = edit("watermark", path, others=[("jpg", logo)])
    assert where(ground, image) == (318, 218, 368, 268)
    assert close(image.getpixel((340, 240)), (184, 184, 184), 2)


@pytest.mark.parametrize("kind", ["text", "overlay"])
def test_the_mark_is_as_wide_as_asked_and_as_there_is_room_for(kind: str, tmp_path: Path) -> None:
    ground = Image.new("RGB", (400, 300), "black")
    path = save(ground, tmp_path / "a.png", "png")
    logo = save(Image.new("RGB", (500, 50), "white"), tmp_path / "logo.png", "png")
    words = {"text": "A watermark"} if kind == "text" else {"others": [("png", logo)]}
    for asked, width in ((200, 200), (4000, 336)):
        left, top, right, bottom = where(ground, edit("watermark", path, watermark_width=asked, **words))
        assert right - left == pytest.approx(width, abs=4)
        assert left >= 30
        assert top >= 30
        assert bottom <= 270
    small = save(Image.new("RGB", (3, 2), "black"), tmp_path / "small.png", "png")
    assert edit("watermark", small, **words).size == (3, 2)


def test_text_is_read_on_any_ground_and_in_any_colour(tmp_path: Path) -> None:
    for ground in ("white", "black"):
        path = save(Image.new("RGB", (400, 200), ground), tmp_path / "a.png", "png")
        for colour in ("white", "black", "#ff0000"):
            image = edit(
                "watermark", path, text="Łódź Ελλάς\nПривет", color=colour, opacity=1, watermark_width=300
            )
            shades = ImageStat.Stat(image.convert("L"))
            assert shades.stddev[0] > 15
    assert any(close(pixel, (255, 0, 0), 5) for pixel in image.get_flattened_data())


def test_a_transparent_picture_stays_so_beside_the_mark(tmp_path: Path) -> None:
    path = save(Image.new("RGBA", (200, 100), (0, 0, 0, 0)), tmp_path / "a.png", "png")
    image = edit("watermark", path, text="Here")
    assert image.getpixel((5, 5))[3] == 0
    assert image.getchannel("A").getextrema()[1] == round(255 * 0.72)


def test_an_overlay_is_stood_upright(tmp_path: Path) -> None:
    ground = Image.new("RGB", (400, 400), "black")
    path = save(ground, tmp_path / "a.png", "png")
    exif = Image.Exif()
    exif[274] = 6
    logo = save(quadrants((40, 80)), tmp_path / "logo.jpg", "jpg", exif=exif, quality=95)
    image = edit("watermark", path, others=[("jpg", logo)], opacity=1, position="top-left", margin=0)
    box = image.crop((0, 0, 80, 40))
    assert looks_like(box, [BLUE, RED, YELLOW, GREEN])


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"text": "   "}, "text"),
        ({"text": "a\x00b"}, "text"),
        ({"text": ""}, "text"),
        ({"text": "x" * 201}, "text"),
        ({"text": "x", "color": "octarine"}, "color"),
        ({"color": "red"}, "color"),
        ({"position": "middle"}, "position"),
        ({"opacity": 1.1}, "opacity"),
    ],
)
def test_wrong_options_are_refused_at_once(given: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_options(capability(ENGINE, "watermark", "png", "png").options, given)
    assert caught.value.field == field


def test_neither_text_nor_picture_and_both_are_refused(sample: Path) -> None:
    with pytest.raises(InvalidRequest, match="either a text or a second picture"):
        edit("watermark", sample)
    with pytest.raises(InvalidRequest, match="either a text or a second picture"):
        edit("watermark", sample, text="x", others=[("png", sample)])


def test_letters_that_the_font_lacks_are_named(sample: Path) -> None:
    with pytest.raises(InvalidRequest, match="'中😀'") as caught:
        edit("watermark", sample, text="a中😀 中")
    assert caught.value.field == "text"


@pytest.mark.parametrize("source", sorted(SOURCES))
def test_any_picture_may_come_along_to_any_target(source: str) -> None:
    """The planner asks for the second input's own capability."""
    for target in ("jpg", "png", "webp", "avif", "gif", "tiff"):
        assert capability(ENGINE, "watermark", source, target).most_inputs == 2


def test_drawing_on_a_frame_leaves_later_frames_alone(tmp_path: Path) -> None:
    """Decoders build a frame on the one before it."""
    still = [Image.new("P", (60, 40)) for _ in range(3)]
    for number, frame in enumerate(still):
        frame.putpalette([255, 255, 255, 220, 30, 30])
        ImageDraw.Draw(frame).point((number, 0), 1)
    path = save(still[0], tmp_path / "a.gif", "gif", save_all=True, append_images=still[1:], duration=100)
    image = edit("watermark", path, "webp", text="m", opacity=0.2)
    shades = []
    for index in range(3):
        image.seek(index)
        shades.append(ImageStat.Stat(image.convert("L")).mean[0])
    assert max(shades) - min(shades) < 1
