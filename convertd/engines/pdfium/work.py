"""The engine's operations, as the sandboxed child runs them."""

from __future__ import annotations

from collections.abc import Iterator

from pypdfium2 import PdfDocument

from convertd.engines.base import Call, Limits, Product
from convertd.engines.pdfium.document import draw, opened, page_numbers, page_of, size_of
from convertd.engines.pdfium.inspecting import inspect
from convertd.engines.pillow.colour import opaque
from convertd.engines.pillow.geometry import Placement, place
from convertd.engines.pillow.metadata import Metadata
from convertd.engines.pillow.reading import check_pixels
from convertd.engines.pillow.targets import TARGETS
from convertd.engines.pillow.writing import Settings, check_longest_side, encode
from convertd.errors import InvalidRequest, LimitExceeded
from convertd.model.colours import Rgba, parse_colour
from convertd.model.formats import FORMATS
from convertd.model.operations import (
    INSPECT,
    DocumentThumbnail,
    EitherPdfPictures,
    LossyPdfPictures,
    PdfPictures,
    PdfText,
    PlainDocumentThumbnail,
    PlainThumbnail,
)

_POINTS = 72
"""Units of a page in an inch."""
_DPI = 150
"""Density of a page for which no size is asked."""


def run(call: Call) -> list[Product]:
    """Do what ``call`` says. Raises the errors imported here, ``FileInvalid`` and ``EngineError``."""
    options = call.options
    if call.operation == INSPECT:
        return [inspect(call)]
    with opened(call.input) as document:
        if isinstance(options, PdfText):
            return [_text(call, document, options)]
        if isinstance(options, PdfPictures):
            return list(_pictures(call, document, options))
        if isinstance(options, PlainThumbnail):
            return [_thumbnail(call, document, options)]
    raise TypeError(f"no options for pdfium: {options!r}")


def _pictures(call: Call, document: PdfDocument, options: PdfPictures) -> Iterator[Product]:
    count = len(document)
    numbers = page_numbers(options.pages, count)
    placements = _placements(document, numbers, options, call)
    settings = Settings(
        quality=options.quality if isinstance(options, LossyPdfPictures) else None,
        lossless=options.lossless if isinstance(options, EitherPdfPictures) else False,
    )
    dpi = None if options.width or options.height else float(options.dpi or _DPI)
    metadata = Metadata(dpi=(dpi, dpi) if dpi else None)
    for done, number in enumerate(numbers):
        call.report(done / len(numbers))
        part = f"p{number:0{len(str(count))}}"
        name = f"{part}.{FORMATS[call.target].extensions[0]}"
        yield _draw_page(
            call, document, number, placements[number], options.background, settings, metadata, name, part
        )
    call.report(1.0)


def _placements(
    document: PdfDocument, numbers: list[int], options: PdfPictures, call: Call
) -> dict[int, Placement]:
    """Where every page will lie, all limits checked before the first is drawn."""
    limits = call.limits
    _check_pages(len(numbers), limits)
    placements: dict[int, Placement] = {}
    total = 0
    for number in numbers:
        width, height = size_of(document, number)
        scale = _scale(width, height, options)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        check_pixels(size, limits, f"Page {number}")
        check_longest_side(TARGETS[call.target], size)
        total += size[0] * size[1]
        placements[number] = Placement(box=(0, 0, *size), size=size, canvas=size)
    if total > limits.total_pixels:
        raise LimitExceeded(
            f"The {len(numbers)} pages would have {total:,} pixels together; at most "
            f"{limits.total_pixels:,} are allowed. Ask for fewer pages or a lower dpi."
        )
    return placements


def _scale(width: float, height: float, options: PdfPictures) -> float:
    if options.width is None and options.height is None:
        return (options.dpi or _DPI) / _POINTS
    return min(
        options.width / width if options.width else float("inf"),
        options.height / height if options.height else float("inf"),
    )


def _check_pages(count: int, limits: Limits) -> None:
    if count > limits.pages:
        raise LimitExceeded(
            f"These are {count:,} pages; at most {limits.pages:,} are converted at once. "
            "Choose some with 'pages'."
        )


def _thumbnail(call: Call, document: PdfDocument, options: PlainThumbnail) -> Product:
    number = options.page if isinstance(options, (DocumentThumbnail, PlainDocumentThumbnail)) else 1
    if number > len(document):
        raise InvalidRequest(
            f"Option 'page' is {number}, but the document has {len(document)} pages.", field="page"
        )
    width, height = size_of(document, number)
    scale = _DPI / _POINTS
    natural = (max(1, round(width * scale)), max(1, round(height * scale)))
    placement = place(natural, *options.box, options.fit, options.enlarge)
    check_pixels(placement.canvas, call.limits, "The thumbnail")
    settings = Settings(quality=options.quality if isinstance(options, DocumentThumbnail) else None)
    name = f"output.{FORMATS[call.target].extensions[0]}"
    made = _draw_page(call, document, number, placement, options.background, settings, Metadata(), name, None)
    call.report(1.0)
    return made


def _draw_page(
    call: Call,
    document: PdfDocument,
    number: int,
    placement: Placement,
    background: str,
    settings: Settings,
    metadata: Metadata,
    name: str,
    part: str | None,
) -> Product:
    target = TARGETS[call.target]
    left, top, right, bottom = placement.box
    across, down = placement.size[0] / (right - left), placement.size[1] / (bottom - top)
    # The whole page in the scale of its visible part; what stands over the canvas is not drawn.
    size = (round((right + left) * across), round((bottom + top) * down))
    origin = (
        (placement.canvas[0] - placement.size[0]) // 2 - round(left * across),
        (placement.canvas[1] - placement.size[1]) // 2 - round(top * down),
    )
    with page_of(document, number) as page:
        picture = draw(page, placement.canvas, origin, size, _paper(background, call.target))
        with (call.output_dir / name).open("w+b") as out:
            notes = encode(picture, target, metadata, settings, out)
    facts = {"width": picture.width, "height": picture.height}
    return Product(name=name, part=part, facts=facts, notes=tuple(notes))


def _paper(background: str, target: str) -> Rgba:
    colour = parse_colour(background)
    return colour if "RGBA" in TARGETS[target].modes else (*opaque(colour), 255)


def _text(call: Call, document: PdfDocument, options: PdfText) -> Product:
    """Every page ends with a line break, so that a document of empty pages is still a file with a byte."""
    numbers = page_numbers(options.pages, len(document))
    _check_pages(len(numbers), call.limits)
    empty = True
    path = call.output_dir / "output.txt"
    with path.open("w", encoding="utf-8", newline="\n", errors="replace") as out:
        for done, number in enumerate(numbers):
            call.report(done / len(numbers))
            text = _text_of(document, number)
            empty = empty and not text
            out.write(("\f" if done else "") + text + "\n")
    call.report(1.0)
    note = "No text was found in the PDF: its pages may be pictures or drawings, which need OCR."
    return Product(name=path.name, facts={"pages": len(numbers)}, notes=(note,) if empty else ())


def _text_of(document: PdfDocument, number: int) -> str:
    with page_of(document, number) as page:
        page_text = page.get_textpage()
        try:
            text: str = page_text.get_text_bounded()
        finally:
            page_text.close()
    # A form feed inside a page would look like its end.
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n").strip("\n")
