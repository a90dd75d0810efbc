"""``convert`` and ``thumbnail``, and what every operation needs: how much of the file is taken."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import msgspec
from PIL import Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile, get_sampling
from PIL.TiffImagePlugin import TiffImageFile

from convertd.engines.base import Call, Product
from convertd.engines.pillow.animation import Frames, Sequence, plays, retimed
from convertd.engines.pillow.metadata import Metadata
from convertd.engines.pillow.reading import count_frames, faults_of_the_file, open_picture
from convertd.engines.pillow.rendering import Rendering, Wish
from convertd.engines.pillow.targets import ANIMATED, TARGETS
from convertd.engines.pillow.writing import Settings, encode
from convertd.model.colours import parse_colour
from convertd.model.formats import FORMATS
from convertd.model.operations import (
    THUMBNAIL,
    EitherPictureConvert,
    LossyPictureConvert,
    PictureConvert,
    PlainThumbnail,
    Thumbnail,
)

_NOT_A_PICTURE_OF_ITS_OWN: Final = 0b101
"""Bits of a TIFF page's NewSubfileType: a smaller copy of another page, a mask."""
_SUBFILE_TYPE: Final = 254
_LARGEST_ICON: Final = 256


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is going to be encoded."""

    image: Image.Image
    metadata: Metadata
    settings: Settings
    frames: int = 1
    notes: tuple[str, ...] = ()


def convert(call: Call) -> Product:
    """One picture, animation or document of pages in, one out; a thumbnail is of the first picture."""
    options = call.options
    return rendered(
        call,
        _wish(call),
        quality=options.quality if isinstance(options, (LossyPictureConvert, Thumbnail)) else None,
        lossless=options.lossless if isinstance(options, EitherPictureConvert) else False,
        still=call.operation == THUMBNAIL,
    )


def rendered(
    call: Call, wish: Wish, *, quality: int | None, lossless: bool = False, still: bool = False
) -> Product:
    """The input as ``wish`` says: all of it that the target holds, or ``still`` the first picture."""
    target = TARGETS[call.target]
    with open_picture(call.input, call.source, call.limits) as image:
        rendering = Rendering(image, call.source, target, wish, call.limits)
        settings = Settings(
            quality=quality,
            lossless=lossless,
            threads=call.limits.threads,
            tables=_tables(image) if call.target == "jpg" else None,
        )
        subject = _still(rendering, settings) if still else take(rendering, call, settings)
        path = output_path(call)
        with path.open("w+b") as out:
            notes = encode(subject.image, target, subject.metadata, subject.settings, out)
    call.report(1.0)
    made = product(path, call, subject, notes + rendering.notes)
    width, height = rendering.source_size
    return msgspec.structs.replace(made, facts=made.facts | {"source": {"width": width, "height": height}})


def _wish(call: Call) -> Wish:
    options = call.options
    if not isinstance(options, (PictureConvert, PlainThumbnail)):
        raise TypeError(f"no options for {call.operation}: {options!r}")
    width, height = options.box if isinstance(options, PlainThumbnail) else (options.width, options.height)
    wish = Wish(
        width=width,
        height=height,
        fit=options.fit,
        enlarge=options.enlarge,
        background=parse_colour(options.background),
        strip_metadata=options.strip_metadata,
        auto_orient=options.auto_orient if isinstance(options, PictureConvert) else True,
    )
    if call.target == "ico":
        return replace(wish, width=wish.width or _LARGEST_ICON, height=wish.height or _LARGEST_ICON)
    return wish


def _tables(image: ImageFile.ImageFile) -> tuple[dict[int, list[int]], int] | None:
    if not isinstance(image, JpegImageFile) or image.mode not in ("L", "RGB"):
        return None
    return image.quantization, get_sampling(image)


def take(rendering: Rendering, call: Call, settings: Settings) -> Subject:
    """As much of the file as the target holds: all frames, all pages, or the first picture and a note."""
    target = TARGETS[call.target]
    if call.source in ANIMATED and target.animated:
        return _animation(rendering, call, settings)
    if call.source == "tiff" and target.paged:
        return _pages(rendering, call, settings)
    subject = _still(rendering, settings)
    if call.source != "psd" and getattr(rendering.image, "is_animated", False):
        note = f"The file has several pictures and {call.target} holds one: the first was taken."
        return replace(subject, notes=(note,))
    return subject


def _still(rendering: Rendering, settings: Settings) -> Subject:
    image, metadata = rendering.still()
    if rendering.target.codec == "ICO":
        image = _square(image)
    return Subject(image=image, metadata=metadata, settings=settings)


def _square(image: Image.Image) -> Image.Image:
    """Icons are square: what is missing is see-through."""
    side = max(image.size)
    if image.size == (side, side):
        return image
    canvas = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    canvas.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return canvas


def _animation(rendering: Rendering, call: Call, settings: Settings) -> Subject:
    image = rendering.image
    count = count_frames(image, call.source, call.limits)
    # An APNG may begin with a picture for readers that know no animation: it is none of the frames.
    first = 1 if getattr(image, "default_image", False) else 0
    if count - first < 2:
        return _still(rendering, settings)
    metadata = rendering.metadata()
    settings = replace(settings, plays=plays(image, call.source), see_through=image.has_transparency_data)
    moving = Sequence(
        lambda: _reporting(
            retimed(rendering.frames(first, count - first), call.source, call.target), count - first, call
        ),
        count - first,
    )
    metadata = replace(metadata, icc=metadata.icc if rendering.target.icc else b"")
    return Subject(image=moving, metadata=metadata, settings=settings, frames=count - first)


def _pages(rendering: Rendering, call: Call, settings: Settings) -> Subject:
    image = rendering.image
    count = count_frames(image, call.source, call.limits)
    numbers = tuple(index for index in range(count) if _is_a_page(image, index)) or (0,)
    with faults_of_the_file(call.source):
        image.seek(numbers[0])
    if len(numbers) == 1:
        return _still(rendering, settings)
    metadata = rendering.metadata()
    pages = Sequence(lambda: _reporting(rendering.pages(numbers), len(numbers), call), len(numbers))
    return Subject(image=pages, metadata=metadata, settings=settings, frames=len(numbers))


def _is_a_page(image: ImageFile.ImageFile, index: int) -> bool:
    with faults_of_the_file("tiff"):
        image.seek(index)
        kind = image.tag_v2.get(_SUBFILE_TYPE, 0) if isinstance(image, TiffImageFile) else 0
    return not (isinstance(kind, int) and kind & _NOT_A_PICTURE_OF_ITS_OWN)


def _reporting(frames: Frames, count: int, call: Call) -> Frames:
    for index, frame in enumerate(frames):
        call.report(index / count)
        yield frame


def output_path(call: Call) -> Path:
    """Where the only output of a call goes."""
    return call.output_dir / f"output.{FORMATS[call.target].extensions[0]}"


def product(path: Path, call: Call, subject: Subject, notes: list[str]) -> Product:
    """The finished file, with each note once."""
    facts: dict[str, Any] = {"width": subject.image.width, "height": subject.image.height}
    if call.target == "pdf":
        facts = {"pages": subject.frames}
    elif subject.frames > 1:
        facts["frames"] = subject.frames
    return Product(name=path.name, facts=facts, notes=tuple(dict.fromkeys((*subject.notes, *notes))))
