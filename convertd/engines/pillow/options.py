"""Options of the operations that change a picture, or bind several into a document."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from convertd.errors import InvalidRequest
from convertd.model.operations import Colour, Height, Options, Quality, Width, check_box, check_colour

AnyFit = Literal["inside", "contain", "cover", "fill", "outside"]
Position = Literal[
    "top-left", "top", "top-right", "left", "center", "right", "bottom-left", "bottom", "bottom-right"
]
PageSize = Literal["auto", "letter", "a4"]

Offset = Annotated[int, Meta(ge=0, le=1_000_000, description="Pixels from the upright picture's edge.")]
Degrees = Annotated[float, Meta(ge=-3600, le=3600, description="Degrees clockwise.")]
Factor = Annotated[float, Meta(ge=0, le=4, description="Factor; 1 changes nothing.")]
Gamma = Annotated[float, Meta(ge=0.1, le=10, description="Above 1 lightens the middle tones, below darkens.")]
Radius = Annotated[float, Meta(ge=0, le=250, description="Radius in pixels; 0 changes nothing.")]
Opacity = Annotated[float, Meta(ge=0, le=1, description="0 is invisible, 1 hides what lies beneath.")]
Text = Annotated[str, Meta(min_length=1, max_length=200, description="Text; a line break begins a line.")]


class PictureEdit(Options, frozen=True, kw_only=True):
    """What all edits share. Pictures are edited for others to see: what tells of places and people goes."""

    strip_metadata: bool = True


class PictureTransform(PictureEdit, frozen=True, kw_only=True):
    """``transform`` a picture, stood upright first: cut, mirror, turn, then scale, in this order."""

    crop_left: Offset = 0
    crop_top: Offset = 0
    crop_width: Width | None = None
    crop_height: Height | None = None
    """What is kept, to the picture's edges where absent."""
    flip: bool = False
    """Whether top and bottom change places."""
    flop: bool = False
    """Whether left and right change places."""
    rotate: Degrees = 0.0
    width: Width | None = None
    height: Height | None = None
    fit: AnyFit = "inside"
    """How width × height is meant: inside (keep the ratio, no larger than the box), contain (the same, padded
    with ``background`` to the box), cover (fill the box, cut what stands over), fill (distort to the box),
    outside (keep the ratio, no smaller than the box)."""
    enlarge: bool = False
    """Whether a smaller picture may be scaled up."""
    background: Colour = "white"
    """What transparent parts are laid on where the target has no alpha, the padding of ``contain``, and the
    corners of a slanted picture."""

    def __post_init__(self) -> None:
        """Raise :class:`InvalidRequest` for a colour nobody knows and a box with one side."""
        check_colour(self.background)
        check_box(self.fit, self.width, self.height, self.enlarge)


class LossyPictureTransform(PictureTransform, frozen=True, kw_only=True):
    """The same, to a target with loss."""

    quality: Quality | None = None


class PictureAdjust(PictureEdit, frozen=True, kw_only=True):
    """``adjust`` a picture's light and colours."""

    brightness: Factor = 1.0
    contrast: Factor = 1.0
    saturation: Factor = 1.0
    sharpness: Factor = 1.0
    gamma: Gamma = 1.0
    blur: Radius = 0.0
    grayscale: bool = False
    background: Colour = "white"
    """What transparent parts are laid on where the target has no alpha."""

    def __post_init__(self) -> None:
        """Raise :class:`InvalidRequest` for a colour nobody knows."""
        check_colour(self.background)


class LossyPictureAdjust(PictureAdjust, frozen=True, kw_only=True):
    """The same, to a target with loss."""

    quality: Quality | None = None


class PictureWatermark(PictureEdit, frozen=True, kw_only=True):
    """``watermark`` a picture with ``text``, or with a second picture that comes along."""

    text: Text | None = None
    color: Colour | None = None
    """Of the text, white if absent; it is outlined so that it is read on any ground."""
    position: Position = "bottom-right"
    opacity: Opacity = 0.72
    margin: Annotated[int, Meta(ge=0, le=32767, description="Pixels; less on small pictures.")] = 32
    watermark_width: Width | None = None
    """Of the text or the second picture, in pixels, as far as the picture has room for it."""
    background: Colour = "white"
    """What transparent parts are laid on where the target has no alpha."""

    def __post_init__(self) -> None:
        """Raise :class:`InvalidRequest` for text that shows nothing and a colour that nobody knows."""
        check_colour(self.background)
        if self.color is not None:
            check_colour(self.color, field="color")
            if self.text is None:
                raise InvalidRequest("Option 'color' is the text's: it needs 'text'.", field="color")
        if self.text is not None and not _is_readable(self.text):
            raise InvalidRequest(
                "Option 'text' takes printable characters and line breaks, and at least one to be seen.",
                field="text",
            )


def _is_readable(text: str) -> bool:
    return bool(text.strip()) and all(character.isprintable() or character == "\n" for character in text)


class LossyPictureWatermark(PictureWatermark, frozen=True, kw_only=True):
    """The same, to a target with loss."""

    quality: Quality | None = None


class PictureMerge(Options, frozen=True, kw_only=True):
    """``merge`` pictures into one document, in their order, a page each."""

    page_size: PageSize = "auto"
    """auto makes each page as large as its picture; the others turn to the picture's side, and a picture that
    is too large is scaled down."""
    margin: Annotated[float, Meta(ge=0, le=200, description="White on all sides, in 1/72 inch.")] = 0.0
    background: Colour = "white"
    """What transparent parts are laid on."""

    def __post_init__(self) -> None:
        """Raise :class:`InvalidRequest` for a colour nobody knows."""
        check_colour(self.background)
