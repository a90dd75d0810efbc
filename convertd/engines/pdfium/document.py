"""A PDF as pdfium sees it: opened with every fault named, pages drawn where they are wanted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pypdfium2
from PIL import Image
from pypdfium2 import PdfBitmap, PdfDocument, PdfiumError, PdfPage
from pypdfium2 import raw as pdfium

from convertd.errors import FileInvalid, InvalidRequest
from convertd.model.colours import Rgba

__all__ = ["Locked", "draw", "opened", "page_numbers", "page_of", "size_of"]


@contextmanager
def opened(path: Path) -> Iterator[PdfDocument]:
    """The document, its form fields ready to be drawn. Raises :class:`FileInvalid`."""
    try:
        document = pypdfium2.PdfDocument(path)
    except PdfiumError as error:
        raise _fault(error.err_code) from error
    try:
        document.init_forms()
        yield document
    except PdfiumError as error:
        raise FileInvalid("The PDF is damaged.", detail=repr(error)) from error
    finally:
        document.close()


class Locked(FileInvalid):
    """The document opens with a password only."""


def _fault(code: int | None) -> FileInvalid:
    if code in (pdfium.FPDF_ERR_PASSWORD, pdfium.FPDF_ERR_SECURITY):
        return Locked("The PDF is protected by a password; send it unprotected.", detail=f"pdfium {code}")
    return FileInvalid("The PDF is damaged, cut off or empty and cannot be opened.", detail=f"pdfium {code}")


def page_numbers(pages: str | None, count: int) -> list[int]:
    """Page numbers from 1, each once, in the order asked for (``"1-3,7,9-"``); all if ``None``.

    Raises :class:`InvalidRequest` for a page that a document of ``count`` pages does not have.
    """
    if pages is None:
        return list(range(1, count + 1))
    numbers: dict[int, None] = {}
    for part in pages.split(","):
        first, dash, last = part.partition("-")
        start = int(first)
        end = (int(last) if last else count) if dash else start
        if not 1 <= start <= end <= count:
            raise InvalidRequest(
                f"Option 'pages' asks for {part!r}, but the pages of this document are 1 to {count}.",
                field="pages",
            )
        numbers |= dict.fromkeys(range(start, end + 1))
    return list(numbers)


@contextmanager
def page_of(document: PdfDocument, number: int) -> Iterator[PdfPage]:
    """The page ``number``, counted from 1. Raises :class:`FileInvalid` if it cannot be read."""
    try:
        page = document[number - 1]
    except PdfiumError as error:
        raise FileInvalid(f"Page {number} of the PDF is damaged.", detail=repr(error)) from error
    try:
        yield page
    finally:
        page.close()


def size_of(document: PdfDocument, number: int) -> tuple[float, float]:
    """Width and height of a page in 1/72 inch as it is shown, without loading its content."""
    try:
        width, height = document.get_page_size(number - 1)
    except PdfiumError as error:
        raise FileInvalid(f"Page {number} of the PDF is damaged.", detail=repr(error)) from error
    if not (0 < width < 1e7 and 0 < height < 1e7):
        raise FileInvalid(f"Page {number} of the PDF has no size.", detail=f"{width} × {height}")
    return width, height


def draw(
    page: PdfPage, canvas: tuple[int, int], origin: tuple[int, int], size: tuple[int, int], background: Rgba
) -> Image.Image:
    """The page with its annotations and form fields, scaled to ``size`` pixels, with its upper left corner at
    ``origin`` of a ``canvas``; RGBA where ``background`` is see-through, RGB otherwise."""
    layout = pdfium.FPDFBitmap_BGR if background[3] == 255 else pdfium.FPDFBitmap_BGRA
    bitmap = PdfBitmap.new_native(*canvas, format=layout, rev_byteorder=True)
    bitmap.fill_rect(background, 0, 0, *canvas)
    flags = pdfium.FPDF_ANNOT | pdfium.FPDF_REVERSE_BYTE_ORDER
    where = (*origin, *size, 0, flags)
    pdfium.FPDF_RenderPageBitmap(bitmap, page, *where)
    if page.formenv:
        pdfium.FPDF_FFLDraw(page.formenv, bitmap, page, *where)
    picture: Image.Image = bitmap.to_pil()
    return picture
