"""PDF pages as pictures and as text, and what a PDF tells of itself, by pdfium."""

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
    INSPECT,
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
    "avif": (LossyPdfPictures, DocumentThumbnail),
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
    facts = Capability(operation=INSPECT, source="pdf", target="json", options=Options)
    return (*pages, *thumbnails, text, facts)


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
