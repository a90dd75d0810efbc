"""What gives the same picture, changed: ``transform``, ``adjust``, ``watermark``, ``strip-metadata``."""

from __future__ import annotations

from typing import Final

from PIL import Image

from convertd.engines.base import Call, Product
from convertd.engines.pillow.adjusting import Adjustment
from convertd.engines.pillow.metadata import orientation, upright_size
from convertd.engines.pillow.options import (
    LossyPictureAdjust,
    LossyPictureTransform,
    LossyPictureWatermark,
    PictureAdjust,
    PictureTransform,
    PictureWatermark,
)
from convertd.engines.pillow.reading import count_frames, faults_of_the_file, open_picture
from convertd.engines.pillow.rendering import Rendering, Wish
from convertd.engines.pillow.shaping import Shape
from convertd.engines.pillow.stripping import without_metadata
from convertd.engines.pillow.targets import TARGETS, Target
from convertd.engines.pillow.watermarking import Watermark
from convertd.engines.pillow.work import output_path, rendered
from convertd.errors import InvalidRequest
from convertd.model.colours import parse_colour

_OVERLAY: Final = Target(codec="PNG", modes=("RGBA",), longest_side=2**31 - 1)
"""What a picture becomes that is laid on another: with alpha, in sRGB."""
_ANEW: Final = 90
"""Quality at which a lossy file is encoded anew whose metadata cannot be taken out otherwise."""


def transform(call: Call) -> Product:
    """Cut, mirrored, turned and scaled."""
    options = call.options
    if not isinstance(options, PictureTransform):
        raise TypeError(f"no options for transform: {options!r}")
    shape = Shape(
        left=options.crop_left,
        top=options.crop_top,
        width=options.crop_width,
        height=options.crop_height,
        flip=options.flip,
        flop=options.flop,
        rotate=options.rotate,
    )
    wish = Wish(
        width=options.width,
        height=options.height,
        fit=options.fit,
        enlarge=options.enlarge,
        background=parse_colour(options.background),
        strip_metadata=options.strip_metadata,
        shape=None if shape == Shape() else shape,
    )
    return rendered(call, wish, quality=_quality(call))


def adjust(call: Call) -> Product:
    """In another light."""
    options = call.options
    if not isinstance(options, PictureAdjust):
        raise TypeError(f"no options for adjust: {options!r}")
    wish = Wish(
        background=parse_colour(options.background),
        strip_metadata=options.strip_metadata,
        paint=Adjustment(options),
    )
    return rendered(call, wish, quality=_quality(call))


def watermark(call: Call) -> Product:
    """With a text, or the second input, laid on it; raises :class:`InvalidRequest` for neither and both."""
    options = call.options
    if not isinstance(options, PictureWatermark):
        raise TypeError(f"no options for watermark: {options!r}")
    if (options.text is None) == (len(call.inputs) == 1):
        raise InvalidRequest(
            "A watermark is either a text or a second picture: give one of the two.", field="text"
        )
    wish = Wish(
        background=parse_colour(options.background),
        strip_metadata=options.strip_metadata,
        paint=Watermark(options, None if options.text is not None else _overlay(call)),
    )
    return rendered(call, wish, quality=_quality(call))


def _quality(call: Call) -> int | None:
    options = call.options
    lossy = (LossyPictureTransform, LossyPictureAdjust, LossyPictureWatermark)
    return options.quality if isinstance(options, lossy) else None


def _overlay(call: Call) -> Image.Image:
    """The second input's first picture, upright, with alpha and in sRGB."""
    path, source = call.inputs[1], call.sources[1]
    with open_picture(path, source, call.limits) as image:
        rendering = Rendering(image, source, _OVERLAY, Wish(strip_metadata=True), call.limits)
        return rendering.still()[0]


def strip_metadata(call: Call) -> Product:
    """Without what tells of people, places and programs; the pixels stay as they are, where that can be."""
    with open_picture(call.input, call.source, call.limits) as image:
        with faults_of_the_file(call.source):
            lying = orientation(image)
            width, height = upright_size(image, call.source)
            image.load()
        frames = count_frames(image, call.source, call.limits)
        bare = without_metadata(call.input.read_bytes(), call.source, lying)
    if bare is None:
        return _encoded_anew(call)
    path = output_path(call)
    path.write_bytes(bare)
    call.report(1.0)
    facts = {"width": width, "height": height} | ({"frames": frames} if frames > 1 else {})
    return Product(name=path.name, facts=facts)


def _encoded_anew(call: Call) -> Product:
    target = TARGETS[call.target]
    wish = Wish(strip_metadata=True)
    if target.quality is None or target.lossless:
        return rendered(call, wish, quality=None, lossless=target.lossless)
    made = rendered(call, wish, quality=_ANEW)
    note = f"The picture was encoded anew, with quality {_ANEW}: {call.target} cannot be stripped otherwise."
    return Product(name=made.name, facts=made.facts, notes=(*made.notes, note))
