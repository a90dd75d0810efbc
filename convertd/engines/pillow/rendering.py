"""From an opened file to the pixels that are written: upright, scaled, in the target's layout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Protocol

from PIL import Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from convertd.engines.base import Limits
from convertd.engines.pillow.colour import detached, opaque, to_layout
from convertd.engines.pillow.geometry import Placement, Size, place
from convertd.engines.pillow.metadata import Metadata, collect, is_deep, orientation, upright_size
from convertd.engines.pillow.options import AnyFit
from convertd.engines.pillow.reading import check_pixels, faults_of_the_file
from convertd.engines.pillow.shaping import Shape
from convertd.engines.pillow.targets import Target
from convertd.model.colours import Rgba

_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BACK: Final = {**_TURNS, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}

_DRAFT_GAP: Final = 1.5
"""How much larger than needed the JPEG decoder's own scaled picture must be to leave no trace."""


class Paint(Protocol):
    """A change of the finished pixels, before they come into the target's layout."""

    @property
    def modes(self) -> tuple[str, ...]:
        """The layouts that it takes."""

    @property
    def in_srgb(self) -> bool:
        """Whether the picture's own colour profile cannot stay."""

    def __call__(self, image: Image.Image) -> Image.Image:
        """A new picture; the given one stays as it is, because later frames may be built on it."""


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is asked of a picture, whatever operation asks."""

    width: int | None = None
    height: int | None = None
    fit: AnyFit = "inside"
    enlarge: bool = False
    background: Rgba = (255, 255, 255, 255)
    strip_metadata: bool
    auto_orient: bool = True
    shape: Shape | None = None
    paint: Paint | None = None


class Rendering:
    """One opened file on its way to one target."""

    def __init__(
        self, image: ImageFile.ImageFile, source: str, target: Target, wish: Wish, limits: Limits
    ) -> None:
        """Decides size and orientation from the header alone; raises :class:`LimitExceeded`."""
        self.image = image
        self.source = source
        self.target = target
        self.wish = wish
        self.notes: list[str] = []
        with faults_of_the_file(source):
            if is_deep(image):
                self.notes.append("The picture has more than 8 bits a channel; its colours were read with 8.")
            self._orientation = orientation(image)
        self.source_size = upright_size(image, source)
        """Width and height of the input, upright."""
        self._turn = self._turn_needed()
        self._limits = limits
        self.placement = self._place(image.size)
        for size in (self.placement.size, self.placement.canvas):
            check_pixels(size, limits, "The result")
        self._icc = b""

    def still(self) -> tuple[Image.Image, Metadata]:
        """The first (or only) picture, and what is written beside it."""
        box = self._draft() if self.source == "jpg" else self.placement.box
        with faults_of_the_file(self.source):
            self.image.load()
            metadata = self._metadata()
            pixels = _native_depth(detached(self.image), self.source)
        finished, icc = self._finish(pixels, replace(self.placement, box=box), metadata.icc)
        return finished, replace(metadata, icc=icc)

    def frames(self, first: int, count: int) -> Iterator[tuple[Image.Image, int]]:
        """Each of the ``count`` frames from ``first``, composed, with its time in milliseconds."""
        icc = self._icc
        for index in range(first, first + count):
            with faults_of_the_file(self.source):
                self.image.seek(index)
                self.image.load()
                time = int(self.image.info.get("duration") or 0)
                pixels = detached(self.image)
                if pixels.mode not in ("RGB", "RGBA"):
                    pixels = pixels.convert("RGBA" if pixels.has_transparency_data else "RGB")
            yield self._finish(pixels, self.placement, icc)[0], time

    def pages(self, numbers: tuple[int, ...]) -> Iterator[tuple[Image.Image, int]]:
        """The TIFF pages with these indices, each in its own size; the time is 0."""
        for index in numbers:
            with faults_of_the_file(self.source):
                self.image.seek(index)
                self._orientation = orientation(self.image)
                self._turn = self._turn_needed()
                placement = self._place(self.image.size)
                self.image.load()
                icc = collect(self.image).icc
                pixels = detached(self.image)
            yield self._finish(pixels, placement, icc)[0], 0

    def metadata(self) -> Metadata:
        """What is written beside an animation or a series of pages, its first one being decoded."""
        with faults_of_the_file(self.source):
            self.image.load()
            found = self._metadata()
        self._icc = found.icc
        return found

    def _turn_needed(self) -> Image.Transpose | None:
        """The library turns TIFF pages by itself: there, being upright is not to be asked for but undone."""
        if self.source == "tiff":
            return None if self.wish.auto_orient else _BACK.get(self._orientation)
        return _TURNS.get(self._orientation) if self.wish.auto_orient else None

    def _place(self, size: Size) -> Placement:
        if self._turn is not None and self._orientation >= 5:
            size = (size[1], size[0])
        wish = self.wish
        if wish.shape is not None:
            size = wish.shape.size(size)
            check_pixels(size, self._limits, "The result")
        return place(size, wish.width, wish.height, wish.fit, wish.enlarge)

    def _draft(self) -> tuple[float, float, float, float]:
        """Let the JPEG decoder skip what scaling would throw away; the box in the smaller picture."""
        box, size = self.placement.box, self.placement.size
        if self.wish.shape is not None:
            return box
        seen = (box[2] - box[0], box[3] - box[1])
        shrink = min(seen[0] / size[0], seen[1] / size[1])
        if shrink < 2 * _DRAFT_GAP or not isinstance(self.image, JpegImageFile):
            return box
        whole = self.image.size
        wanted = tuple(max(1, round(side / shrink * _DRAFT_GAP)) for side in whole)
        drafted = self.image.draft(None, (wanted[0], wanted[1]))
        if drafted is None:
            return box
        factor = drafted[1][2] / whole[0]
        return (box[0] * factor, box[1] * factor, box[2] * factor, box[3] * factor)

    def _metadata(self) -> Metadata:
        found = collect(self.image, lying=1 if self.wish.auto_orient else self._orientation)
        if self.wish.strip_metadata:
            return found.stripped()
        if self.wish.shape is not None or self.wish.paint is not None:
            found = found.without_preview()
        if self.wish.auto_orient:
            return found.upright(turned=self._orientation >= 5)
        return found

    def _finish(self, image: Image.Image, placement: Placement, icc: bytes) -> tuple[Image.Image, bytes]:
        wish = self.wish
        if self._turn is not None:
            image = image.transpose(self._turn)
        if wish.shape is not None:
            image = wish.shape.cut(image)
            if wish.shape.slanted:
                image, icc = self._coloured(image, icc)
                image = wish.shape.slant(image, self._ground)
        image = _scaled(image, placement)
        if placement.padding:
            image, icc = self._coloured(image, icc)
            image = self._padded(image, placement)
        if wish.paint is not None:
            layout = replace(
                self.target, modes=wish.paint.modes, icc=self.target.icc and not wish.paint.in_srgb
            )
            image, icc = to_layout(image, icc, layout, wish.background, self.notes)
            image = wish.paint(image)
        return to_layout(image, icc, self.target, wish.background, self.notes)

    @property
    def _see_through(self) -> bool:
        return "RGBA" in self.target.modes or self.target.codec == "GIF"

    @property
    def _ground(self) -> Rgba:
        """The background as far as the target can show it."""
        colour = self.wish.background
        return colour if self._see_through else (*opaque(colour), 255)

    def _coloured(self, image: Image.Image, icc: bytes) -> tuple[Image.Image, bytes]:
        """In a layout that takes a background of any colour beside it."""
        layout = replace(self.target, modes=("RGB", "RGBA" if self._see_through else "RGB"))
        return to_layout(image, icc, layout, self.wish.background, self.notes)

    def _padded(self, image: Image.Image, placement: Placement) -> Image.Image:
        if self._ground[3] < 255 or image.mode == "RGBA":
            canvas = Image.new("RGBA", placement.canvas, self._ground)
        else:
            canvas = Image.new("RGB", placement.canvas, self._ground[:3])
        left = (placement.canvas[0] - image.width) // 2
        canvas.paste(image, (left, (placement.canvas[1] - image.height) // 2))
        return canvas


def _native_depth(image: Image.Image, source: str) -> Image.Image:
    """PGM of more than 8 bits comes in 32-bit integers, always on the scale of 16."""
    return image.convert("I;16") if source == "ppm" and image.mode == "I" else image


def _scaled(image: Image.Image, placement: Placement) -> Image.Image:
    left, top, right, bottom = placement.box
    width, height = image.size
    if placement.size == (width, height) and (right - left, bottom - top) == (width, height):
        return image
    image = _smooth(image)
    return image.resize(
        placement.size,
        Image.Resampling.LANCZOS,
        box=(left, top, min(right, width), min(bottom, height)),
        reducing_gap=None if image.mode.startswith("I;16") else 2.0,
    )


def _smooth(image: Image.Image) -> Image.Image:
    """In a layout whose values may be averaged."""
    if image.mode in ("P", "PA", "HSV"):
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    if "transparency" in image.info and image.mode in ("1", "L", "RGB"):
        return image.convert("RGBA" if image.mode == "RGB" else "LA")
    return image.convert("L") if image.mode == "1" else image
