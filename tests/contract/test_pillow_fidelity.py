"""What "exact" means for pictures: each rule with a picture made to break it."""

from __future__ import annotations

import io
from pathlib import Path

import pypdfium2
import pytest
from PIL import ExifTags, Image, ImageCms, PngImagePlugin
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from convertd.engines.pillow import ENGINE
from tests.support.engines import run
from tests.support.pictures import (
    BLUE,
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

UPRIGHT: list[tuple[int, ...]] = [RED, GREEN, BLUE, YELLOW]
UNTURN = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}  # fmt: skip


def convert(path: Path, target: str, out: Path, **options: object) -> Image.Image:
    source = {"jpeg": "jpg", "tif": "tiff"}.get(path.suffix[1:], path.suffix[1:])
    [(made, _)] = run(ENGINE, "convert", source, target, path, out, **options)
    return Image.open(made)


def notes_of(path: Path, target: str, out: Path, **options: object) -> tuple[str, ...]:
    [(_, product)] = run(ENGINE, "convert", path.suffix[1:], target, path, out, **options)
    return product.notes


def tagged(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Make] = "Tester"
    place = exif.get_ifd(ExifTags.IFD.GPSInfo)
    place |= {1: "N", 2: (52.0, 30.0, 0.0)}
    exif[ExifTags.IFD.GPSInfo] = place
    return exif


# ------------------------------------------------------------------------------------- orientation


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("target", ["jpg", "png", "webp", "avif", "tiff", "bmp"])
def test_orientation_is_applied_and_the_tag_reset(orientation: int, target: str, tmp_path: Path) -> None:
    lying = quadrants().transpose(UNTURN[orientation])
    path = save(lying, tmp_path / "a.jpg", "jpg", exif=tagged(orientation), quality=95)
    image = convert(path, target, tmp_path / "out")
    assert image.size == (96, 64)
    assert looks_like(image, UPRIGHT)
    assert image.getexif().get(ExifTags.Base.Orientation, 1) == 1


@pytest.mark.parametrize("source", ["png", "webp", "avif", "tiff"])
def test_orientation_of_other_sources(source: str, tmp_path: Path) -> None:
    path = save(quadrants().transpose(UNTURN[6]), tmp_path / f"a.{source}", source, exif=tagged(6))
    image = convert(path, "png", tmp_path / "out")
    assert image.size == (96, 64)
    assert looks_like(image, UPRIGHT)
    assert image.getexif().get(ExifTags.Base.Orientation, 1) == 1


@pytest.mark.parametrize("source", ["jpg", "tiff"])
@pytest.mark.parametrize("target", ["jpg", "png", "webp", "tiff"])
def test_orientation_stays_a_tag_where_that_is_asked(source: str, target: str, tmp_path: Path) -> None:
    path = save(quadrants().transpose(UNTURN[6]), tmp_path / f"a.{source}", source, exif=tagged(6))
    [(made, _)] = run(ENGINE, "convert", source, target, path, tmp_path / "out", auto_orient=False)
    image = Image.open(made)
    assert image.getexif()[ExifTags.Base.Orientation] == 6
    if target != "tiff":  # the library turns TIFF while reading
        assert image.size == (64, 96)


def test_a_resize_speaks_of_the_upright_picture(tmp_path: Path) -> None:
    path = save(quadrants((960, 640)).transpose(UNTURN[8]), tmp_path / "a.jpg", "jpg", exif=tagged(8))
    assert convert(path, "png", tmp_path / "out", width=96).size == (96, 64)


# ------------------------------------------------------------------------------------------ colours


def swapped_profile() -> bytes:
    """A profile in which red and blue change places with sRGB, so that nobody can miss a conversion."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for index in range(int.from_bytes(profile[128:132], "big")):
        entry = 132 + 12 * index
        name = bytes(profile[entry : entry + 4])
        if name in (b"rXYZ", b"bXYZ"):
            profile[entry : entry + 4] = b"bXYZ" if name == b"rXYZ" else b"rXYZ"
        if name == b"desc":
            profile[entry : entry + 4] = b"dscx"
    return bytes(profile)


@pytest.mark.parametrize("target", ["jpg", "png", "webp", "avif", "tiff"])
@pytest.mark.parametrize("strip", [False, True])
def test_the_colour_profile_survives(target: str, strip: bool, tmp_path: Path) -> None:
    path = save(quadrants(), tmp_path / "a.png", "png", icc_profile=swapped_profile())
    image = convert(path, target, tmp_path / "out", strip_metadata=strip)
    assert image.info["icc_profile"] == swapped_profile()
    assert looks_like(image, UPRIGHT)


@pytest.mark.parametrize("target", ["bmp", "gif", "jp2", "ppm", "tga"])
def test_without_a_place_for_the_profile_the_colours_are_converted(target: str, tmp_path: Path) -> None:
    path = save(quadrants(), tmp_path / "a.png", "png", icc_profile=swapped_profile())
    image = convert(path, target, tmp_path / "out")
    red, _, blue = corners(image)[0]
    assert blue > 180 > 90 > red, "red through this profile is blue"


def test_cmyk_of_a_printer_is_not_a_negative(tmp_path: Path) -> None:
    path = save(quadrants(mode="CMYK"), tmp_path / "a.jpg", "jpg", quality=95)
    for target in ("png", "jpg", "webp", "pdf"):
        [(made, _)] = run(ENGINE, "convert", "jpg", target, path, tmp_path / target)
        image = pypdfium2.PdfDocument(made)[0].render().to_pil() if target == "pdf" else Image.open(made)
        assert image.mode == "RGB"
        assert looks_like(image, UPRIGHT)


def test_lab_becomes_the_colours_it_means(tmp_path: Path) -> None:
    path = save(quadrants(mode="LAB"), tmp_path / "a.tiff", "tiff")
    assert looks_like(convert(path, "png", tmp_path / "out"), UPRIGHT)


def ramp16() -> Image.Image:
    return Image.frombytes(
        "I;16", (256, 4), b"".join((x * 257).to_bytes(2, "little") for x in range(256)) * 4
    )


@pytest.mark.parametrize("source", ["png", "tiff", "ppm", "jp2"])
def test_grey_of_16_bits_is_scaled_and_never_clipped(source: str, tmp_path: Path) -> None:
    path = save(ramp16(), tmp_path / f"a.{source}", source)
    image = convert(path, "bmp", tmp_path / "out")
    assert [abs(image.getpixel((x, 1)) - x) <= 1 for x in range(0, 256, 15)] == [True] * 18
    assert any("8 bits" in note for note in notes_of(path, "bmp", tmp_path / "out"))


@pytest.mark.parametrize("target", ["png", "tiff", "ppm", "jp2"])
def test_grey_of_16_bits_stays_so_where_it_can(target: str, tmp_path: Path) -> None:
    path = save(ramp16(), tmp_path / "a.png", "png")
    options = {"lossless": True} if target == "jp2" else {}
    image = convert(path, target, tmp_path / "out", **options)
    assert image.getpixel((200, 1)) == 200 * 257
    assert notes_of(path, target, tmp_path / "out", **options) == ()


def test_measurements_in_the_lowest_bits_become_visible(tmp_path: Path) -> None:
    dark = Image.frombytes("I;16", (256, 1), b"".join((x * 4).to_bytes(2, "little") for x in range(256)))
    path = save(dark, tmp_path / "a.tiff", "tiff")
    assert convert(path, "jpg", tmp_path / "out").getpixel((255, 0)) > 240
    assert any("stretched" in note for note in notes_of(path, "jpg", tmp_path / "out"))


def test_floating_point_from_0_to_1_is_a_picture(tmp_path: Path) -> None:
    floats = Image.linear_gradient("L").convert("F").point(lambda value: value * (1 / 255) + 0)
    image = convert(save(floats, tmp_path / "a.tiff", "tiff"), "png", tmp_path / "out")
    assert abs(image.getpixel((0, 200)) - 200) <= 1


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "PA", "YCbCr", "I", "F"])
@pytest.mark.parametrize(
    "target", ["jpg", "png", "webp", "avif", "gif", "bmp", "tiff", "ico", "jp2", "tga", "ppm"]
)
def test_every_layout_becomes_a_picture(mode: str, target: str, tmp_path: Path) -> None:
    whole = quadrants().convert("P", palette=Image.Palette.ADAPTIVE) if mode == "P" else quadrants(mode=mode)
    image = convert(save(whole, tmp_path / "a.tiff", "tiff"), target, tmp_path / "out")
    expected = corners(quadrants().convert("L") if mode in ("L", "LA", "I", "F") else quadrants())
    if mode != "1":
        assert looks_like(image, expected, by=45)
    else:
        assert (
            40
            < sum(image.convert("L").resize((1, 1), Image.Resampling.BOX).getpixel((0, 0)) for _ in "a")
            < 220
        )


def test_black_and_white_keeps_its_one_bit(tmp_path: Path) -> None:
    path = save(quadrants(mode="1"), tmp_path / "a.png", "png")
    for target in ("png", "tiff", "bmp", "ppm"):
        assert convert(path, target, tmp_path / target).mode == "1"


def test_deep_colours_are_told(tmp_path: Path) -> None:
    import struct
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    row = b"\x00" + struct.pack(">3H", 0xFFFF, 0x8000, 0) * 4
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0))
    path = tmp_path / "a.png"
    path.write_bytes(png + chunk(b"IDAT", zlib.compress(row * 4)) + chunk(b"IEND", b""))
    assert close(convert(path, "bmp", tmp_path / "out").getpixel((1, 1)), (255, 128, 0), 1)
    assert "read with 8" in notes_of(path, "bmp", tmp_path / "out")[0]


# -------------------------------------------------------------------------------------------- alpha


def holed() -> Image.Image:
    image = quadrants(mode="RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 48, 32))
    return image


@pytest.mark.parametrize("target", ["png", "webp", "avif", "gif", "tiff", "ico", "tga", "jp2"])
def test_alpha_is_kept(target: str, tmp_path: Path) -> None:
    image = convert(save(holed(), tmp_path / "a.png", "png"), target, tmp_path / "out").convert("RGBA")
    middle = (image.width // 4, image.height // 3)
    assert image.getpixel(middle)[3] < 20
    assert image.getpixel((3 * image.width // 4, middle[1]))[3] > 235


@pytest.mark.parametrize("target", ["jpg", "bmp", "ppm", "pdf"])
@pytest.mark.parametrize(("background", "colour"), [("white", (255, 255, 255)), ("#204060", (32, 64, 96))])
def test_alpha_lies_on_the_background(
    target: str, background: str, colour: tuple[int, int, int], tmp_path: Path
) -> None:
    path = save(holed(), tmp_path / "a.png", "png")
    [(made, _)] = run(ENGINE, "convert", "png", target, path, tmp_path, background=background)
    image = pypdfium2.PdfDocument(made)[0].render().to_pil() if target == "pdf" else Image.open(made)
    assert looks_like(image, [colour, GREEN, BLUE, YELLOW])


def test_transparency_of_palettes_and_single_colours(tmp_path: Path) -> None:
    palette = holed().quantize(8, method=Image.Quantize.FASTOCTREE)
    single = quadrants()
    single_path = save(single, tmp_path / "b.png", "png", transparency=RED)
    for path in (save(palette, tmp_path / "a.png", "png"), single_path):
        for target in ("webp", "png", "gif"):
            image = convert(path, target, tmp_path / "out").convert("RGBA")
            assert image.getpixel((10, 10))[3] == 0, (path.name, target)
            assert image.getpixel((80, 10))[3] == 255
        assert close(convert(path, "jpg", tmp_path / "out").getpixel((10, 10)), (255, 255, 255))


# ---------------------------------------------------------------------------------------- animation

MOVING = ["gif", "png", "webp", "avif"]


def animated(source: str, folder: Path, **words: object) -> Path:
    first, *rest = frames(4)
    return save(
        first, folder / f"a.{source}", source, save_all=True, append_images=rest,
        **({"duration": [50, 100, 150, 200], "loop": 0} | words),
    )  # fmt: skip


def delays(path: Path) -> list[int]:
    image = Image.open(path)
    found = []
    for index in range(image.n_frames):
        image.seek(index)
        image.load()
        found.append(int(image.info["duration"]))
    return found


@pytest.mark.parametrize("source", MOVING)
@pytest.mark.parametrize("target", MOVING)
def test_animation_keeps_frames_delays_and_content(source: str, target: str, tmp_path: Path) -> None:
    path = animated(source, tmp_path)
    [(made, product)] = run(ENGINE, "convert", source, target, path, tmp_path / "out")
    assert product.facts["frames"] == 4
    assert delays(made) == [50, 100, 150, 200]
    image = Image.open(made)
    for index in range(4):
        image.seek(index)
        frame = image.convert("RGB")
        assert close(frame.getpixel((index * 8 + 4, 15)), RED, 60)
        assert close(frame.getpixel((36, 15)), (255, 255, 255), 60)


@pytest.mark.parametrize("source", ["gif", "png", "webp"])
@pytest.mark.parametrize("target", ["gif", "png", "webp"])
@pytest.mark.parametrize("plays", [0, 1, 3])
def test_animation_plays_as_often(source: str, target: str, plays: int, tmp_path: Path) -> None:
    """A GIF counts the repetitions after the first run, the others count runs."""
    words = {"loop": plays}
    if source == "gif":
        words = {"loop": plays - 1} if plays > 1 else {"loop": None} if plays else {"loop": 0}
    first, *rest = frames(4)
    words = {key: value for key, value in words.items() if value is not None}
    path = save(
        first, tmp_path / f"a.{source}", source, save_all=True, append_images=rest, duration=80, **words
    )
    info = convert(path, target, tmp_path / "out").info
    if target == "gif":
        assert info.get("loop") == {0: 0, 1: None, 3: 2}[plays]
    else:
        assert info["loop"] == plays


@pytest.mark.parametrize("target", MOVING)
def test_what_a_frame_disposes_of_does_not_stay(target: str, tmp_path: Path) -> None:
    first, *rest = frames(4, alpha=True)
    path = save(
        first, tmp_path / "a.gif", "gif", save_all=True, append_images=rest, duration=100, disposal=2, loop=0
    )
    image = convert(path, target, tmp_path / "out")
    for index in range(4):
        image.seek(index)
        frame = image.convert("RGBA")
        assert frame.getpixel((index * 8 + 4, 15))[3] > 200
        if index:
            assert frame.getpixel((4, 15))[3] < 60, f"frame {index} still shows frame 0"


def test_hurried_gif_frames_take_the_time_browsers_give_them(tmp_path: Path) -> None:
    first, *rest = frames(3)
    path = save(first, tmp_path / "a.gif", "gif", save_all=True, append_images=rest, duration=10)
    [(made, _)] = run(ENGINE, "convert", "gif", "webp", path, tmp_path / "out")
    assert delays(made) == [100, 100, 100]


def test_rounding_to_hundredths_does_not_add_up(tmp_path: Path) -> None:
    first, *rest = frames(4)
    path = save(first, tmp_path / "a.webp", "webp", save_all=True, append_images=rest, duration=33)
    [(made, _)] = run(ENGINE, "convert", "webp", "gif", path, tmp_path / "out")
    assert delays(made) == [30, 40, 30, 30]


@pytest.mark.parametrize(("target", "longest"), [("png", 700_000), ("gif", 655_350)])
def test_very_long_delays_are_written_as_well_as_can_be(target: str, longest: int, tmp_path: Path) -> None:
    first, *rest = frames(3)
    path = save(
        first, tmp_path / "a.webp", "webp", save_all=True, append_images=rest, duration=[700_001, 90, 90]
    )
    [(made, _)] = run(ENGINE, "convert", "webp", target, path, tmp_path / "out")
    assert delays(made)[0] == longest


def test_a_still_target_takes_the_first_frame_and_says_so(tmp_path: Path) -> None:
    path = animated("gif", tmp_path)
    assert close(convert(path, "jpg", tmp_path / "out").getpixel((4, 15)), RED)
    assert "the first was taken" in notes_of(path, "jpg", tmp_path / "out")[0]


def test_the_default_picture_of_an_apng_is_no_frame(tmp_path: Path) -> None:
    moving = frames(3)
    path = save(
        quadrants((40, 30)), tmp_path / "a.png", "png", save_all=True, append_images=moving,
        default_image=True, duration=100,
    )  # fmt: skip
    [(made, product)] = run(ENGINE, "convert", "png", "webp", path, tmp_path / "out")
    assert product.facts["frames"] == 3
    assert close(Image.open(made).convert("RGB").getpixel((36, 15)), (255, 255, 255))


# -------------------------------------------------------------------------------------------- pages


def pages_tiff(folder: Path) -> Path:
    pages = [
        Image.new("RGB", (100 + 50 * index, 80), colour) for index, colour in enumerate((RED, GREEN, BLUE))
    ]
    return save(pages[0], folder / "a.tiff", "tiff", save_all=True, append_images=pages[1:], dpi=(100, 100))


def test_tiff_pages_become_pdf_pages_of_their_size(tmp_path: Path) -> None:
    [(made, product)] = run(ENGINE, "convert", "tiff", "pdf", pages_tiff(tmp_path), tmp_path / "out")
    document = pypdfium2.PdfDocument(made)
    assert product.facts["pages"] == 3
    assert [round(page.get_width()) for page in document] == [72, 108, 144]
    for page, colour in zip(document, (RED, GREEN, BLUE), strict=True):
        assert close(page.render().to_pil().getpixel((20, 20)), colour)


def test_tiff_pages_stay_in_a_tiff(tmp_path: Path) -> None:
    image = convert(pages_tiff(tmp_path), "tiff", tmp_path / "out", width=50)
    assert image.n_frames == 3
    image.seek(2)
    assert image.size == (50, 20)
    assert close(image.getpixel((5, 5)), BLUE)


def test_elsewhere_the_first_page_is_taken_and_told(tmp_path: Path) -> None:
    assert close(convert(pages_tiff(tmp_path), "png", tmp_path / "out").getpixel((5, 5)), RED)
    assert "the first was taken" in notes_of(pages_tiff(tmp_path), "png", tmp_path / "out")[0]


def test_a_reduced_copy_inside_a_tiff_is_no_page(tmp_path: Path) -> None:
    small = ImageFileDirectory_v2()
    small[254] = 1
    preview = quadrants((12, 8))
    preview.encoderinfo = {"tiffinfo": small}
    path = save(quadrants(), tmp_path / "a.tiff", "tiff", save_all=True, append_images=[preview])
    assert Image.open(path).n_frames == 2
    [(_, product)] = run(ENGINE, "convert", "tiff", "pdf", path, tmp_path / "out")
    assert product.facts["pages"] == 1


def test_a_multi_picture_jpeg_gives_its_primary_picture(tmp_path: Path) -> None:
    other = Image.new("RGB", (96, 64), BLUE)
    path = tmp_path / "a.jpg"
    quadrants().save(path, "MPO", save_all=True, append_images=[other])
    assert looks_like(convert(path, "png", tmp_path / "out"), UPRIGHT)


# ----------------------------------------------------------------------------------------- metadata

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


@pytest.mark.parametrize("source", ["jpg", "png", "webp", "tiff", "avif"])
@pytest.mark.parametrize("target", ["jpg", "png", "webp", "tiff", "avif"])
def test_exif_with_its_directories_and_xmp_are_kept(source: str, target: str, tmp_path: Path) -> None:
    words: dict[str, object] = {"exif": tagged(1), "xmp": XMP}
    if source == "png":
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", XMP.decode())
        words = {"exif": tagged(1), "pnginfo": text}
    if source == "tiff":
        tags = tagged(1)
        tags[700] = XMP
        words = {"exif": tags}
    path = save(quadrants(), tmp_path / f"a.{source}", source, **words)
    image = convert(path, target, tmp_path / "out")
    exif = image.getexif()
    assert exif[ExifTags.Base.Make] == "Tester"
    assert exif.get_ifd(ExifTags.IFD.GPSInfo)[2] == (52.0, 30.0, 0.0)
    assert b"xmpmeta" in bytes(image.info["xmp"])
    assert b'tiff:Orientation="1"' in bytes(image.info["xmp"])


@pytest.mark.parametrize("target", ["jpg", "png", "webp", "tiff", "avif"])
def test_strip_metadata_takes_all_of_it(target: str, tmp_path: Path) -> None:
    path = save(
        quadrants(), tmp_path / "a.jpg", "jpg", exif=tagged(1), xmp=XMP, comment=b"secret", dpi=(300, 300)
    )
    [(made, _)] = run(ENGINE, "convert", "jpg", target, path, tmp_path / "out", strip_metadata=True)
    data = made.read_bytes()
    assert b"Tester" not in data
    assert b"secret" not in data
    assert b"xmpmeta" not in data
    assert not Image.open(made).getexif().get_ifd(ExifTags.IFD.GPSInfo)


def test_png_text_and_jpeg_comment_are_kept(tmp_path: Path) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", "Ünal")
    path = save(quadrants(), tmp_path / "a.png", "png", pnginfo=text)
    assert convert(path, "png", tmp_path / "out").text["Author"] == "Ünal"
    path = save(quadrants(), tmp_path / "a.jpg", "jpg", comment=b"hello")
    assert convert(path, "jpg", tmp_path / "out").info["comment"] == b"hello"


@pytest.mark.parametrize("target", ["jpg", "png", "bmp", "tiff"])
def test_density_is_kept(target: str, tmp_path: Path) -> None:
    path = save(quadrants(), tmp_path / "a.png", "png", dpi=(300, 300))
    assert convert(path, target, tmp_path / "out").info["dpi"] == pytest.approx((300, 300), abs=0.1)


@pytest.mark.parametrize("target", ["webp", "avif"])
def test_density_goes_into_exif_where_there_is_no_other_place(target: str, tmp_path: Path) -> None:
    path = save(quadrants(), tmp_path / "a.png", "png", dpi=(300, 300))
    assert convert(path, target, tmp_path / "out").getexif()[ExifTags.Base.XResolution] == pytest.approx(
        300, abs=0.1
    )


def test_metadata_too_long_for_a_jpeg_is_left_out_and_told(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = "x" * 70_000
    path = save(quadrants(), tmp_path / "a.png", "png", exif=exif)
    assert "EXIF metadata is too long" in notes_of(path, "jpg", tmp_path / "out")[0]


# ----------------------------------------------------------------------------------------- the rest


def test_an_icon_has_several_square_sizes(tmp_path: Path) -> None:
    path = save(quadrants((600, 400)), tmp_path / "a.png", "png")
    image = convert(path, "ico", tmp_path / "out")
    assert image.info["sizes"] == {(side, side) for side in (16, 24, 32, 48, 64, 128, 256)}
    assert image.getpixel((128, 2))[3] == 0, "what is missing to a square is see-through"
    assert close(image.getpixel((30, 80))[:3], RED)


def test_a_small_icon_is_not_enlarged(tmp_path: Path) -> None:
    path = save(quadrants((20, 20)), tmp_path / "a.png", "png")
    assert convert(path, "ico", tmp_path / "out").info["sizes"] == {(16, 16), (20, 20)}


def test_a_jpeg_keeps_its_quality_when_none_is_asked(tmp_path: Path) -> None:
    path = save(quadrants(), tmp_path / "a.jpg", "jpg", quality=33)
    assert convert(path, "jpg", tmp_path / "out").quantization == Image.open(path).quantization


def test_a_huge_picture_fits_a_pdf_page(tmp_path: Path) -> None:
    path = save(Image.new("L", (30_000, 10)), tmp_path / "a.png", "png")
    [(made, _)] = run(ENGINE, "convert", "png", "pdf", path, tmp_path / "out")
    assert max(pypdfium2.PdfDocument(made)[0].get_size()) <= 14_400


def test_a_pdf_page_has_the_size_that_the_density_says(tmp_path: Path) -> None:
    path = save(quadrants((300, 150)), tmp_path / "a.png", "png", dpi=(150, 150))
    [(made, _)] = run(ENGINE, "convert", "png", "pdf", path, tmp_path / "out")
    assert pypdfium2.PdfDocument(made)[0].get_size() == (
        pytest.approx(144, abs=0.1),
        pytest.approx(72, abs=0.1),
    )
    assert b"output" not in io.BytesIO(made.read_bytes()).read(), "no name of a file inside"
