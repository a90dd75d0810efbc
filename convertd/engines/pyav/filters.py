"""Which of FFmpeg's filters turn a decoded frame into one that the encoder takes: words, no FFmpeg."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from convertd.engines.pyav.source import FULL_RANGE, UNSPECIFIED, Colour, Picture

Filters = tuple[tuple[str, str], ...]
"""Names of filters with their arguments, applied one after the other."""

_TV_RANGE = 1
_BT709 = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What the filters make of a frame."""

    steps: Filters
    width: int
    height: int
    aspect: Fraction
    colour: Colour


def upright_size(picture: Picture) -> tuple[int, int]:
    """Width and height as shown: turned upright, with square pixels."""
    width, height = max(1, round(picture.width * picture.aspect)), picture.height
    return (height, width) if picture.turns % 2 else (width, height)


def frame_steps(
    picture: Picture,
    pix_fmt: str,
    *,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    keep_hdr: bool = False,
    even: bool = True,
) -> Shape:
    """From frames like ``picture`` to upright ones in ``pix_fmt``.

    ``size`` is the shown size to scale to; without it the stored pixels stay, less one row or column where
    the size is odd and ``even`` asked for.
    """
    steps: list[tuple[str, str]] = []
    if picture.interlaced:
        steps.append(("bwdif", "mode=send_frame:deint=interlaced"))
    if fps is not None:
        steps.append(("fps", f"fps={fps}:eof_action=pass"))
    if picture.alpha and not pix_fmt.endswith("a") and "yuva" not in pix_fmt:
        steps += [("format", "gbrap"), ("premultiply", "inplace=1")]
    width, height, aspect, scale = _sized(picture, size, even, steps)
    colour, conversion = _coloured(picture, pix_fmt, keep_hdr)
    if scale or conversion or pix_fmt != picture.pix_fmt:
        arguments = [*scale, "flags=bicubic", *conversion]
        steps += [("scale", ":".join(arguments)), ("format", pix_fmt)]
    steps += _turned(picture)
    if picture.turns % 2:
        width, height, aspect = height, width, 1 / aspect
    return Shape(steps=tuple(steps), width=width, height=height, aspect=aspect, colour=colour)


def _sized(
    picture: Picture, size: tuple[int, int] | None, even: bool, steps: list[tuple[str, str]]
) -> tuple[int, int, Fraction, list[str]]:
    """Stored width, height and pixel aspect before the turn, and the scaler's size arguments."""
    if size is not None:
        width, height = size[::-1] if picture.turns % 2 else size
        if even:
            width, height = _even(width), _even(height)
        return width, height, Fraction(1), [f"w={width}", f"h={height}"]
    width, height = picture.width, picture.height
    if even and min(width, height) < 2:
        return _even(width), _even(height), picture.aspect, [f"w={_even(width)}", f"h={_even(height)}"]
    if even and (width % 2 or height % 2):
        width, height = width - width % 2, height - height % 2
        steps.append(("crop", f"w={width}:h={height}:x=0:y=0:exact=1"))
    return width, height, picture.aspect, []


def _even(side: int) -> int:
    return max(2, side - side % 2)


def _coloured(picture: Picture, pix_fmt: str, keep_hdr: bool) -> tuple[Colour, list[str]]:
    """The colour that comes out, and the scaler's arguments that make it so."""
    colour = picture.colour
    bt709 = Colour(primaries=_BT709, transfer=_BT709, matrix=_BT709, range=_TV_RANGE)
    mapped = ["out_primaries=bt709", "out_transfer=bt709"] if colour.hdr and not keep_hdr else []
    if pix_fmt.startswith(("rgb", "bgr")):
        return bt709, mapped
    if picture.rgb or mapped:
        return bt709, [*mapped, "out_color_matrix=bt709", "out_range=tv"]
    if colour.range == FULL_RANGE:
        return replace(colour, range=_TV_RANGE), ["in_range=pc", "out_range=tv"]
    return colour if colour.matrix else replace(colour, matrix=UNSPECIFIED), []


def _turned(picture: Picture) -> list[tuple[str, str]]:
    steps = [("hflip", "")] if picture.mirrored else []
    if picture.turns == 2:
        return [*steps, ("hflip", ""), ("vflip", "")]
    if picture.turns:
        steps.append(("transpose", f"dir={'clock' if picture.turns == 1 else 'cclock'}"))
    return steps
