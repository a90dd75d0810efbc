"""Cutting, mirroring and turning an upright picture, before it is scaled."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageChops

from convertd.engines.pillow.geometry import Size
from convertd.errors import InvalidRequest
from convertd.model.colours import Rgba

_QUARTERS: Final = {
    90: Image.Transpose.ROTATE_270,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_90,
}
"""By degrees clockwise; the library counts the other way round."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What is done, in this order: cut, mirror, turn."""

    left: int = 0
    top: int = 0
    width: int | None = None
    height: int | None = None
    flip: bool = False
    flop: bool = False
    rotate: float = 0.0
    """Degrees clockwise."""

    @property
    def slanted(self) -> bool:
        """Whether it turns by something else than quarters."""
        return self.rotate % 90 != 0

    def size(self, size: Size) -> Size:
        """What a picture of ``size`` will have; raises :class:`InvalidRequest` for a cut beyond it."""
        left, top, right, bottom = self._box(size)
        width, height = right - left, bottom - top
        if self.rotate % 180 == 90:
            return height, width
        if not self.slanted:
            return width, height
        return self._bounds((width, height))

    def cut(self, image: Image.Image) -> Image.Image:
        """The part that is kept, mirrored and turned by whole quarters: no pixel is changed."""
        box = self._box(image.size)
        if box != (0, 0, *image.size):
            keep = image.info.get("transparency")
            image = image.crop(box)
            image.info = {} if keep is None else {"transparency": keep}
        if self.flip:
            image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        if self.flop:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        quarter = None if self.slanted else _QUARTERS.get(round(self.rotate % 360))
        return image if quarter is None else image.transpose(quarter)

    def slant(self, image: Image.Image, background: Rgba) -> Image.Image:
        """An RGB or RGBA picture turned by the angle, ``background`` in the corners.

        Where something is see-through, both are added up with their alpha multiplied in, so that the edges
        are smooth on any ground.
        """
        if image.mode == "RGB" and background[3] == 255:
            return self._turned(image, background[:3])
        coverage = self._turned(Image.new("L", image.size, 255), 0)
        picture = self._turned(image.convert("RGBA").convert("RGBa"), (0, 0, 0, 0))
        corners = Image.new("RGBA", picture.size, background)
        corners.putalpha(
            ImageChops.invert(coverage).point([value * background[3] // 255 for value in range(256)])
        )
        return ImageChops.add(picture, corners.convert("RGBa")).convert("RGBA")

    def _box(self, size: Size) -> tuple[int, int, int, int]:
        right = size[0] if self.width is None else self.left + self.width
        bottom = size[1] if self.height is None else self.top + self.height
        for field, first, last, side in (
            ("crop_left", self.left, right, size[0]),
            ("crop_top", self.top, bottom, size[1]),
        ):
            if first >= side or last > side:
                raise InvalidRequest(
                    f"The part to be cut out reaches beyond the picture, which has {size[0]} × {size[1]} "
                    "pixels; ask for less.",
                    field=field,
                )
        return self.left, self.top, right, bottom

    def _direction(self) -> tuple[float, float]:
        angle = math.radians(self.rotate)
        return math.sin(angle), math.cos(angle)

    def _bounds(self, size: Size) -> Size:
        """The least canvas for a picture of ``size`` when it is turned."""
        sine, cosine = (abs(part) for part in self._direction())
        across, down = size[0] * cosine + size[1] * sine, size[0] * sine + size[1] * cosine
        return math.ceil(across - 1e-6), math.ceil(down - 1e-6)

    def _turned(self, image: Image.Image, ground: int | tuple[int, ...]) -> Image.Image:
        """About the middle, on a canvas that takes all of it."""
        sine, cosine = self._direction()
        width, height = image.size
        canvas = self._bounds(image.size)
        # The ring is what the interpolation fades into.
        ringed = Image.new(image.mode, (width + 2, height + 2), ground)
        ringed.paste(image, (1, 1))
        matrix = (
            cosine, sine, ringed.width / 2 - cosine * canvas[0] / 2 - sine * canvas[1] / 2,
            -sine, cosine, ringed.height / 2 + sine * canvas[0] / 2 - cosine * canvas[1] / 2,
        )  # fmt: skip
        return ringed.transform(
            canvas, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC, fillcolor=ground
        )
