"""Bringing pixels into a layout that the target stores, in colours a person recognises.

Colour profiles: kept where the target holds one and the pixels stay in its colour space; otherwise the pixels
are converted to sRGB, which is what everybody assumes of a picture without a profile.
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Final

from PIL import Image, ImageCms

from convertd.engines.pillow.targets import Target
from convertd.model.colours import Rgba

_SPACES: Final = {
    "1": "GRAY", "L": "GRAY", "LA": "GRAY", "I;16": "GRAY", "I": "GRAY", "F": "GRAY",
    "P": "RGB ", "RGB": "RGB ", "RGBA": "RGB ", "CMYK": "CMYK",
}  # fmt: skip
_PLAINER: Final = {"La": "LA", "RGBa": "RGBA", "RGBX": "RGB", "YCbCr": "RGB", "HSV": "RGB", "PA": "RGBA"}
"""Layouts that no target stores, and what holds the same."""
_DEEP: Final = ("I;16", "I", "F")
_DARKEST: Final = 4_096
"""Measurements of 10 or 12 bits often lie in 16, where all of them are black; from here a grey is meant."""


def detached(image: Image.Image) -> Image.Image:
    """The loaded pixels without the file's object: writers look there for tags nobody asked them to write.

    ``Image.copy`` would do it for the price of all pixels twice.
    """
    plain = image._new(image.im)
    keep = image.info.get("transparency")
    plain.info = {} if keep is None else {"transparency": keep}
    return plain


def to_layout(
    image: Image.Image, icc: bytes, target: Target, background: Rgba, notes: list[str]
) -> tuple[Image.Image, bytes]:
    """``image`` in one of the target's layouts, and the colour profile that is to be written with it."""
    image, icc = _without_oddities(image, icc)
    if icc and not (target.icc and _space(icc) == _SPACES[image.mode]):
        image, icc = _to_srgb(image, icc), b""
    while not _fits(image, target):
        image, icc = _step(image, icc, target, background, notes)
    return image, icc


def _fits(image: Image.Image, target: Target) -> bool:
    if "transparency" in image.info and image.mode != "P":
        return False
    if image.mode == "P" and "P" in target.modes:
        return _palette_alpha_fits(image, target)
    return image.mode in target.modes


def _palette_alpha_fits(image: Image.Image, target: Target) -> bool:
    if not image.has_transparency_data:
        return True
    if target.codec == "GIF":
        return isinstance(image.info.get("transparency"), int)
    return target.codec == "PNG"


def _step(
    image: Image.Image, icc: bytes, target: Target, background: Rgba, notes: list[str]
) -> tuple[Image.Image, bytes]:
    """One step from the image's layout towards what the target has."""
    if image.mode == "CMYK":
        return _to_srgb(image, icc).convert("RGB"), b""
    if image.mode in _DEEP:
        notes.append(f"The picture has more than 8 bits a channel; the {target.codec} was written with 8.")
        return to_eight_bits(image, notes), icc
    if image.has_transparency_data and image.mode not in ("RGBA", "LA"):
        return image.convert("LA" if image.mode in ("1", "L") else "RGBA"), icc
    if image.mode in ("LA", "RGBA"):
        return _without_alpha(image, icc, target, background)
    if image.mode == "P":
        return image.convert("RGB"), icc
    if image.mode == "1":
        return image.convert("L"), icc
    if image.mode == "L":
        return _to_srgb(image, icc).convert("RGB"), b""
    if "P" in target.modes:
        return to_palette(image, 256, dither=True), b""
    return image.convert("RGBA"), icc


def _without_alpha(
    image: Image.Image, icc: bytes, target: Target, background: Rgba
) -> tuple[Image.Image, bytes]:
    opaque = image.getextrema()[-1][0] == 255  # type: ignore[index]
    if not opaque:
        if image.mode == "LA" and "RGBA" in target.modes:
            return _to_srgb(image, icc).convert("RGBA"), b""
        if target.codec == "GIF":
            return to_palette(image.convert("RGBA"), 255, dither=True), b""
        return laid_on(image, background), icc
    return image.convert("L" if image.mode == "LA" else "RGB"), icc


def laid_on(image: Image.Image, background: Rgba) -> Image.Image:
    """A picture with alpha on ``background``; grey stays grey on grey."""
    red, green, blue = opaque(background)
    alpha = image.getchannel("A")
    if image.mode == "LA" and red == green == blue:
        canvas = Image.new("L", image.size, red)
        canvas.paste(image.getchannel("L"), mask=alpha)
        return canvas
    canvas = Image.new("RGB", image.size, (red, green, blue))
    canvas.paste(image.convert("RGB"), mask=alpha)
    return canvas


def opaque(colour: Rgba) -> tuple[int, int, int]:
    """What a colour looks like on white paper."""
    red, green, blue, alpha = colour
    return tuple((value * alpha + 255 * (255 - alpha)) // 255 for value in (red, green, blue))  # type: ignore[return-value]


def to_palette(image: Image.Image, colours: int, *, dither: bool) -> Image.Image:
    """At most ``colours`` colours. Alpha becomes all or nothing, with one more entry for nothing."""
    if image.mode == "RGBA":
        return _to_palette_with_hole(image, colours, dither=dither)
    palette = image.quantize(colours, method=Image.Quantize.MEDIANCUT)
    if not dither or image.getcolors(colours) is not None:
        return palette
    return image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)


def _to_palette_with_hole(image: Image.Image, colours: int, *, dither: bool) -> Image.Image:
    colours = min(colours, 255)
    reduced = to_palette(image.convert("RGB"), colours, dither=dither)
    entries = (reduced.getpalette() or [])[: colours * 3]
    hole = len(entries) // 3
    hidden = image.getchannel("A").point([255] * 128 + [0] * 128)
    reduced.putpalette([*entries, 0, 0, 0])
    reduced.paste(hole, mask=hidden)
    reduced.info = {"transparency": hole}
    return reduced


def to_eight_bits(image: Image.Image, notes: list[str]) -> Image.Image:
    """Grey of 16 or 32 bits or of floating point as grey of 8, by its scale and never by clipping."""
    # One see-through value of 16 bits would take its neighbours along after scaling.
    image.info.pop("transparency", None)
    low, high = image.getextrema()
    start, end = _range(image.mode, float(low), float(high), notes)  # type: ignore[arg-type]
    factor = 255 / (end - start)
    grey = image.convert("F") if image.mode == "I" else image
    return grey.point(lambda value: value * factor + (-start * factor)).convert("L")


def _range(mode: str, low: float, high: float, notes: list[str]) -> tuple[float, float]:
    """What is black and what is white: the ends of the number format, or of what the picture uses of it."""
    if mode == "F" and low >= 0 and high <= 1:
        return (0.0, 1.0)
    if mode != "I;16" and low >= 0 and high <= 255:
        return (0.0, 255.0)
    if mode != "F" and low >= 0 and _DARKEST <= high <= 65_535:
        return (0.0, 65_535.0)
    if mode == "I;16" and high < 256:
        return (0.0, 65_535.0)
    notes.append("The picture uses a small part of its range of brightness, which was stretched to be seen.")
    return (min(low, 0.0), high) if high > min(low, 0.0) else (high, high + 1)


def _without_oddities(image: Image.Image, icc: bytes) -> tuple[Image.Image, bytes]:
    if image.mode.startswith("I;16") and image.mode != "I;16":
        return image.convert("I").convert("I;16"), icc
    if image.mode == "LAB":
        return image.convert("RGB"), b""
    if image.mode in _PLAINER:
        return image.convert(_PLAINER[image.mode]), icc
    return image, icc


def _space(icc: bytes) -> str:
    return icc[16:20].decode("latin-1")


def _to_srgb(image: Image.Image, icc: bytes) -> Image.Image:
    """Through the profile to sRGB; unchanged if the profile is broken or of another colour space."""
    if not icc or image.mode in ("1", *_DEEP) or _space(icc) != _SPACES[image.mode]:
        return image
    base = image
    if image.mode == "P":
        base = image.convert("RGBA" if image.has_transparency_data else "RGB")
    alpha = base.getchannel("A") if base.mode in ("LA", "RGBA") else None
    bare = base.convert(base.mode[:-1]) if alpha else base
    transform = _transform(icc, bare.mode)
    if transform is None:
        return image
    converted = ImageCms.applyTransform(bare, transform)
    if converted is None:
        return image
    if alpha:
        converted.putalpha(alpha)
    converted.info = {}
    return converted


@lru_cache(maxsize=4)
def _transform(icc: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From the profile to sRGB; ``None`` if it is sRGB already or cannot be read."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        if ImageCms.getProfileDescription(profile).strip().startswith("sRGB"):
            return None
        return ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
