"""PDF pages as pictures and as text, by pdfium."""

from __future__ import annotations

from convertd.engines.base import (
    Availability,
    Call,
    Capability,
    Engine,
    Fidelity,
    Product,
    package_availability,
)
from convertd.model.operations import (
    CONVERT,
    THUMBNAIL,
    DocumentThumbnail,
    EitherPdfPictures,
    LossyPdfPictures,
    Options,
    PdfPictures,
    PdfText,
    PlainDocumentThumbnail,
)

_PICTURES: dict[str, tuple[type[Options], type[Options]]] = {
    "png": (PdfPictures, PlainDocumentThumbnail),
    "jpg": (LossyPdfPictures, DocumentThumbnail),
    "webp": (EitherPdfPictures, DocumentThumbnail),
}


def _capabilities() -> tuple[Capability, ...]:
    pages = [
        Capability(operation=CONVERT, source="pdf", target=target, options=kinds[0])
        for target, kinds in _PICTURES.items()
    ]
    thumbnails = [
        Capability(operation=THUMBNAIL, source="pdf", target=target, options=kinds[1])
        for target, kinds in _PICTURES.items()
    ]
    text = Capability(
        operation=CONVERT, source="pdf", target="txt", options=PdfText, fidelity=Fidelity.TEXT_ONLY
    )
    return (*pages, *thumbnails, text)


def _probe() -> Availability:
    return package_availability("pypdfium2", "pip install pypdfium2")


def _run(call: Call) -> list[Product]:
    from convertd.engines.pdfium.work import run

    return run(call)


ENGINE = Engine(
    name="pdfium",
    title="pdfium",
    capabilities=_capabilities(),
    probe=_probe,
    run=_run,
    preload=("convertd.engines.pdfium.work",),
)
