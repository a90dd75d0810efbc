"""Text or a second picture laid on a picture."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from convertd.engines.pillow.geometry import Size
from convertd.engines.pillow.options import PictureWatermark
from convertd.errors import InvalidRequest
from convertd.model.colours import parse_colour

_OVERLAY_SHARE: Final = 0.25
"""Of the picture's width, for a second picture where no width is asked for."""
_TEXT_SHARE: Final = 0.05
"""Of the picture's shorter side, for the height of letters where no width is asked for."""
_SMALLEST_TEXT: Final = 12.0
_TRIAL: Final = 100.0
"""Size of letters at which a text is measured."""
_OUTLINE: Final = 24
"""How many times thinner than the letters' size their outline is."""
_UNKNOWN: Final = "\U0010ffff"
"""A character that no font has."""


class Watermark:
    """Lays the same mark on every picture that it is given."""

    modes = ("RGB", "RGBA")
    in_srgb = False

    def __init__(self, options: PictureWatermark, overlay: Image.Image | None) -> None:
        """With ``overlay`` (RGBA) or, where it is ``None``, with the options' text; raises
        :class:`InvalidRequest` for letters that the font does not have."""
        self._options = options
        self._mark: Callable[[Size, Size], Image.Image]
        if overlay is not None:
            self._mark = cache(lambda picture, room: _scaled(overlay, options, picture, room))
        else:
            text = unicodedata.normalize("NFC", options.text or "")
            _check_letters(text)
            self._mark = cache(lambda picture, room: _written(text, options, picture, room))

    def __call__(self, image: Image.Image) -> Image.Image:
        """A copy of ``image`` (RGB or RGBA) with the mark on it."""
        options = self._options
        margin = min(options.margin, (min(image.size) - 1) // 4)
        mark = self._mark(image.size, (image.width - 2 * margin, image.height - 2 * margin))
        where = _spot(options.position, image.size, mark.size, margin)
        marked = image.copy()
        if marked.mode == "RGBA":
            marked.alpha_composite(mark, where)
        else:
            marked.paste(mark, where, mask=mark)
        return marked


def _spot(position: str, picture: Size, mark: Size, margin: int) -> tuple[int, int]:
    free = (picture[0] - mark[0], picture[1] - mark[1])
    across = margin if "left" in position else free[0] - margin if "right" in position else free[0] // 2
    down = margin if "top" in position else free[1] - margin if "bottom" in position else free[1] // 2
    return across, down


def _scaled(overlay: Image.Image, options: PictureWatermark, picture: Size, room: Size) -> Image.Image:
    width = options.watermark_width or min(overlay.width, picture[0] * _OVERLAY_SHARE)
    scale = min(width / overlay.width, room[0] / overlay.width, room[1] / overlay.height)
    size = (max(1, round(overlay.width * scale)), max(1, round(overlay.height * scale)))
    mark = overlay if size == overlay.size else overlay.resize(size, Image.Resampling.LANCZOS)
    return _faded(mark, options.opacity)


def _written(text: str, options: PictureWatermark, picture: Size, room: Size) -> Image.Image:
    """The text in the largest letters that its width, or the picture's size, and the room allow."""
    left, top, right, bottom = _measured(text, _TRIAL)
    if options.watermark_width is not None:
        size = _TRIAL * options.watermark_width / (right - left)
    else:
        size = max(_SMALLEST_TEXT, min(picture) * _TEXT_SHARE)
    size = max(1.0, min(size, _TRIAL * room[0] / (right - left), _TRIAL * room[1] / (bottom - top)))
    left, top, right, bottom = _measured(text, size)
    red, green, blue, alpha = parse_colour(options.color or "white")
    mark = Image.new(
        "RGBA", (max(1, round(right - left)), max(1, round(bottom - top))), (red, green, blue, 0)
    )
    dark = 2 * red + 5 * green + blue < 8 * 128
    ImageDraw.Draw(mark).multiline_text(
        (-left, -top), text, font=_font(size), fill=(red, green, blue, 255), stroke_width=size / _OUTLINE,
        stroke_fill="white" if dark else "black", align="center",
    )  # fmt: skip
    return _faded(mark, options.opacity * alpha / 255)


def _measured(text: str, size: float) -> tuple[float, float, float, float]:
    canvas = ImageDraw.Draw(Image.new("L", (1, 1)))
    return canvas.multiline_textbbox(
        (0, 0), text, font=_font(size), stroke_width=size / _OUTLINE, align="center"
    )


def _faded(mark: Image.Image, opacity: float) -> Image.Image:
    faded = mark.copy()
    faded.putalpha(mark.getchannel("A").point([round(value * opacity) for value in range(256)]))
    return faded


def _check_letters(text: str) -> None:
    """The font writes Latin, Greek and Cyrillic; boxes in the place of other letters would help nobody."""
    font = _font(_TRIAL)
    unknown = _looks(_UNKNOWN, font)
    missing = [
        letter for letter in dict.fromkeys(text) if not letter.isspace() and _looks(letter, font) == unknown
    ]
    if missing:
        raise InvalidRequest(
            f"There are no letters here to write {''.join(missing[:10])!r} with: a text may be in Latin, "
            "Greek and Cyrillic. Send it as a picture instead.",
            field="text",
        )


def _looks(letter: str, font: ImageFont.FreeTypeFont) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(letter)
    return mask.size, bytes(mask)


@cache
def _font_file() -> bytes:
    return resources.files("ttf_opensans").joinpath("ttf", "OpenSans-SemiBold.ttf").read_bytes()


def _font(size: float) -> ImageFont.FreeTypeFont:
    # The basic layout: the other one would load a library of the system in the child.
    return ImageFont.truetype(io.BytesIO(_font_file()), size, layout_engine=ImageFont.Layout.BASIC)
