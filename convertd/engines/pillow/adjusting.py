"""Light and colours."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageEnhance, ImageFilter

from convertd.engines.pillow.options import PictureAdjust

_MIDDLE: Final = 127.5
"""The grey that a change of contrast leaves as it is: the same in all frames of an animation."""
_PREMULTIPLIED: Final = {"LA": "La", "RGBA": "RGBa"}


@dataclass(frozen=True)
class Adjustment:
    """Changes a picture's light and colours; its alpha stays, but for the blur."""

    options: PictureAdjust

    modes = ("L", "LA", "RGB", "RGBA")

    @property
    def in_srgb(self) -> bool:
        """A colour profile does not fit the grey that is made of its colours."""
        return self.options.grayscale

    def __call__(self, image: Image.Image) -> Image.Image:
        """``image``, in one of :attr:`modes`, changed."""
        options = self.options
        image = self._toned(image)
        if options.grayscale and image.mode in ("RGB", "RGBA"):
            image = image.convert("LA" if image.mode == "RGBA" else "L")
        elif options.saturation != 1 and image.mode in ("RGB", "RGBA"):
            image = ImageEnhance.Color(image).enhance(options.saturation)
        if options.blur:
            image = _blurred(image, options.blur)
        if options.sharpness != 1:
            image = ImageEnhance.Sharpness(image).enhance(options.sharpness)
        return image

    def _toned(self, image: Image.Image) -> Image.Image:
        options = self.options
        if options.brightness == options.contrast == options.gamma == 1:
            return image
        table = [self._tone(value) for value in range(256)]
        colours = len(image.getbands()) - (image.mode in _PREMULTIPLIED)
        return image.point(table * colours + list(range(256)) * (image.mode in _PREMULTIPLIED))

    def _tone(self, value: int) -> int:
        options = self.options
        level = (value * options.brightness - _MIDDLE) * options.contrast + _MIDDLE
        share = min(max(level / 255, 0.0), 1.0)
        return round(255 * math.pow(share, 1 / options.gamma))


def _blurred(image: Image.Image, radius: float) -> Image.Image:
    """What shows nothing must not lend its colour to its neighbours."""
    blur = ImageFilter.GaussianBlur(radius)
    premultiplied = _PREMULTIPLIED.get(image.mode)
    if premultiplied is None:
        return image.filter(blur)
    return image.convert(premultiplied).filter(blur).convert(image.mode)
