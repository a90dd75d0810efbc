"""``inspect``: what a PDF tells of itself."""

from __future__ import annotations

from typing import Any

from pypdfium2 import PdfDocument
from pypdfium2 import raw as pdfium

from convertd.engines.base import Call, Product
from convertd.engines.pdfium.document import Locked, opened, size_of
from convertd.engines.pillow.inspecting import clean, write_facts


def inspect(call: Call) -> Product:
    """A JSON file and, the same, as facts. A document that needs a password is told as such."""
    facts: dict[str, Any] = {
        "kind": "document",
        "format": call.source,
        "size_bytes": call.input.stat().st_size,
    }
    try:
        with opened(call.input) as document:
            facts |= _facts(document)
    except Locked:
        facts |= {"encrypted": True}
    call.report(1.0)
    return write_facts(call, facts)


def _facts(document: PdfDocument) -> dict[str, Any]:
    told = document.get_metadata_dict()
    width, height = size_of(document, 1) if len(document) else (None, None)
    return {
        "pages": len(document),
        "page_width": None if width is None else round(width, 2),
        "page_height": None if height is None else round(height, 2),
        "encrypted": pdfium.FPDF_GetSecurityHandlerRevision(document) >= 0,
        "title": clean(told.get("Title") or ""),
        "author": clean(told.get("Author") or ""),
        "subject": clean(told.get("Subject") or ""),
        "producer": clean(told.get("Producer") or ""),
    }
