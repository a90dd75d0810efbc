"""``merge``: pictures bound into one PDF, a page each."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from PIL import Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from convertd.engines.base import Call, Limits, Product
from convertd.engines.pillow.animation import Sequence
from convertd.engines.pillow.colour import to_palette
from convertd.engines.pillow.metadata import Metadata, collect, orientation
from convertd.engines.pillow.options import PictureMerge
from convertd.engines.pillow.pdf_pages import Figure, PdfWriter, Rect
from convertd.engines.pillow.reading import faults_of_the_file, open_picture
from convertd.engines.pillow.rendering import Rendering, Wish
from convertd.engines.pillow.stripping import without_metadata
from convertd.engines.pillow.targets import TARGETS
from convertd.engines.pillow.work import take
from convertd.engines.pillow.writing import PAGE_DPI, PAGE_UNITS, Settings, encode
from convertd.errors import ConvertdError, LimitExceeded
from convertd.model.colours import parse_colour

_PAPER: Final = {"a4": (595.276, 841.89), "letter": (612.0, 792.0)}
"""In 1/72 inch, upright (ISO 216, ANSI Y14.1)."""
_DRAFT: Final = 8
_FEW_COLOURS: Final = 256
"""Drawings and texts have fewer: JPEG would smear them, and deflate makes them smaller."""
_QUALITY: Final = 90

Page = tuple[Figure, tuple[float, float]]
"""With its density in dots per inch."""


def merge(call: Call) -> Product:
    """One picture after the other; raises what reading them raises, with the file named."""
    options = call.options
    if not isinstance(options, PictureMerge):
        raise TypeError(f"no options for merge: {options!r}")
    path = call.output_dir / "output.pdf"
    notes: list[str] = []
    pixels = 0
    with path.open("wb") as out:
        writer = PdfWriter(out)
        for number in range(len(call.inputs)):
            call.report(number / len(call.inputs))
            with _naming(call, number):
                for figure, dpi in _pages(_only(call, number), notes):
                    pixels += figure.width * figure.height
                    _check(writer.pages + 1, pixels, call.limits)
                    writer.add(figure, *_laid_out(figure, dpi, options))
        writer.close()
    call.report(1.0)
    return Product(name=path.name, facts={"pages": writer.pages}, notes=tuple(dict.fromkeys(notes)))


def _only(call: Call, number: int) -> Call:
    """The call as if this were its only input."""
    return replace(
        call,
        inputs=(call.inputs[number],),
        sources=(call.sources[number],),
        names=(call.names[number],),
        report=lambda done: call.report((number + done) / len(call.inputs)),
    )


@contextmanager
def _naming(call: Call, number: int) -> Iterator[None]:
    """Errors inside say which of several files they are about."""
    try:
        yield
    except ConvertdError as error:
        if len(call.inputs) == 1:
            raise
        raise type(error)(
            f"File {number + 1} ({call.names[number][:80]!r}): {error.message}", detail=error.detail
        ) from error


def _check(pages: int, pixels: int, limits: Limits) -> None:
    if pages > limits.pages:
        raise LimitExceeded(f"The pictures have more than {limits.pages:,} pages together; merge fewer.")
    if pixels > limits.total_pixels:
        raise LimitExceeded(
            f"The pictures have more than {limits.total_pixels:,} pixels together; merge fewer of them."
        )


def _pages(call: Call, notes: list[str]) -> Iterator[Page]:
    with open_picture(call.input, call.source, call.limits) as image:
        ready = _as_it_is(call, image)
        if ready is not None:
            yield ready
            return
    with open_picture(call.input, call.source, call.limits) as image:
        options = call.options
        ground = parse_colour(options.background) if isinstance(options, PictureMerge) else (255,) * 4
        wish = Wish(background=ground, strip_metadata=True)
        rendering = Rendering(image, call.source, TARGETS["pdf"], wish, call.limits)
        subject = take(rendering, call, Settings())
        notes += subject.notes
        for index in range(subject.frames):
            if isinstance(subject.image, Sequence):
                subject.image.seek(index)
            yield _encoded(subject.image), subject.metadata.dpi or (PAGE_DPI, PAGE_DPI)
        notes += rendering.notes


def _as_it_is(call: Call, image: ImageFile.ImageFile) -> Page | None:
    """A JPEG that every reader of PDF draws as it is, less its metadata; decoded once, small, to see that it
    is whole."""
    if not isinstance(image, JpegImageFile) or image.mode not in ("L", "RGB") or _is_plain_rgb(image):
        return None
    with faults_of_the_file(call.source):
        lying = orientation(image)
        size, space = image.size, "DeviceGray" if image.mode == "L" else "DeviceRGB"
        found = collect(image).upright(turned=lying >= 5)
        image.draft(None, (max(1, size[0] // _DRAFT), max(1, size[1] // _DRAFT)))
        image.load()
    data = without_metadata(call.input.read_bytes(), call.source)
    if data is None:
        return None
    icc = found.icc if found.icc[16:20] == (b"GRAY" if space == "DeviceGray" else b"RGB ") else b""
    figure = Figure(
        width=size[0], height=size[1], data=data, filter="DCTDecode", space=space, icc=icc, orientation=lying
    )
    return figure, found.dpi or (PAGE_DPI, PAGE_DPI)


def _is_plain_rgb(image: JpegImageFile) -> bool:
    """Without a marker that says so, PDF takes three channels for YCbCr; the library goes by their names."""
    return [layer[0] for layer in image.layer] == list(b"RGB")


def _encoded(image: Image.Image) -> Figure:
    """A picture in a layout of a PDF's: few colours without loss, many as JPEG."""
    image = image.copy()
    width, height = image.size
    if image.mode == "1":
        return _deflated(image, "DeviceGray", bits=1)
    if image.mode == "RGB" and image.getcolors(_FEW_COLOURS) is not None:
        indexed = to_palette(image, _FEW_COLOURS, dither=False)
        return _deflated(indexed, "DeviceRGB", palette=bytes(indexed.getpalette() or ()))
    out = io.BytesIO()
    encode(image, TARGETS["jpg"], Metadata(), Settings(quality=_QUALITY), out)
    space = "DeviceGray" if image.mode == "L" else "DeviceRGB"
    return Figure(width=width, height=height, data=out.getvalue(), filter="DCTDecode", space=space)


def _deflated(image: Image.Image, space: str, *, bits: int = 8, palette: bytes = b"") -> Figure:
    data = zlib.compress(image.tobytes(), 6)
    return Figure(
        width=image.width, height=image.height, data=data, filter="FlateDecode", space=space, bits=bits,
        palette=palette,
    )  # fmt: skip


def _laid_out(
    figure: Figure, dpi: tuple[float, float], options: PictureMerge
) -> tuple[tuple[float, float], Rect]:
    """The page, and where on it the picture lies: in its own size, unless it is too large."""
    natural = (figure.shown[0] * 72 / dpi[0], figure.shown[1] * 72 / dpi[1])
    both = 2 * options.margin
    if options.page_size == "auto":
        scale = min(1.0, *((PAGE_UNITS - both) / side for side in natural))
        width, height = natural[0] * scale, natural[1] * scale
        return (width + both, height + both), (options.margin, options.margin, width, height)
    short, long = _PAPER[options.page_size]
    page = (long, short) if natural[0] > natural[1] else (short, long)
    scale = min(1.0, (page[0] - both) / natural[0], (page[1] - both) / natural[1])
    width, height = natural[0] * scale, natural[1] * scale
    return page, ((page[0] - width) / 2, (page[1] - height) / 2, width, height)
