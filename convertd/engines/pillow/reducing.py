"""Fewer colours where nobody sees it: what makes PNG and GIF smaller."""

from __future__ import annotations

from typing import Final

from PIL import Image, ImageChops, ImageStat

from convertd.engines.pillow.colour import to_palette

_FULL_PALETTE_FROM: Final = 70
"""Quality from which all 256 colours of a palette are used."""
_SEEN_FROM: Final = 0.3
"""Root mean square error of a channel that is seen: levels of 255 for each point of quality below 100."""


def plain(image: Image.Image) -> Image.Image:
    """The same pixels in the smallest layout that holds them all."""
    if image.mode in ("RGBA", "LA") and image.getextrema()[-1][0] == 255:  # type: ignore[index]
        image = image.convert(image.mode[:-1])
    if image.mode == "RGB" and _is_grey(image):
        return image.getchannel("R")
    return image


def reduced(image: Image.Image, quality: int, *, visibly: bool) -> Image.Image:
    """``image`` with a palette of as many colours as ``quality`` (1 to 100) is worth, 100 changing nothing.

    Unless ``visibly``, it comes back as it was where the difference would show.
    """
    if image.mode == "P" and visibly:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if image.mode not in ("RGB", "RGBA"):
        return image
    if image.mode == "RGB" and image.getcolors(256) is not None:
        return to_palette(image, 256, dither=False)
    if quality >= 100:
        return image
    colours = colours_of(quality)
    if image.mode == "RGBA":
        candidate = image.quantize(colours, method=Image.Quantize.FASTOCTREE)
    else:
        candidate = to_palette(image, colours, dither=True)
    if visibly or _error(image, candidate) <= (100 - quality) * _SEEN_FROM:
        return candidate
    return image


def colours_of(quality: int) -> int:
    """Size of the palette."""
    return max(2, min(256, round(256 * quality / _FULL_PALETTE_FROM)))


def with_colours(frame: Image.Image, colours: int) -> Image.Image:
    """A frame of a GIF with at most so many colours."""
    if frame.mode != "P":
        return frame
    return to_palette(frame.convert("RGBA" if frame.has_transparency_data else "RGB"), colours, dither=False)


def _is_grey(image: Image.Image) -> bool:
    red, green, blue = image.split()
    return (
        not ImageChops.difference(red, green).getbbox() and not ImageChops.difference(green, blue).getbbox()
    )


def _error(image: Image.Image, candidate: Image.Image) -> float:
    """The worst channel's root mean square difference; where nothing shows, colour does not count."""
    pair = [each.convert(image.mode) for each in (image, candidate)]
    if image.mode == "RGBA":
        pair = [each.convert("RGBa") for each in pair]
        pair = [Image.merge("RGB", each.split()[:3]) for each in pair] + pair
        alpha = ImageChops.difference(pair[2].getchannel("a"), pair[3].getchannel("a"))
        return max(*ImageStat.Stat(ImageChops.difference(pair[0], pair[1])).rms, *ImageStat.Stat(alpha).rms)
    return max(ImageStat.Stat(ImageChops.difference(*pair)).rms)
