"""Options of documents on their way to PDF."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from convertd.errors import InvalidRequest
from convertd.model.operations import Options, Pages

_EARLIEST_NONSENSE = 1_000_000


class OfficePdf(Options, frozen=True, kw_only=True):
    """``convert`` an office document to PDF."""

    pages: Pages | None = None
    pdfa: Annotated[Literal["1b", "2b", "3b"], Meta(description="Conformance level of PDF/A.")] | None = None

    def __post_init__(self) -> None:
        for first, last in page_ranges(self.pages):
            if not 1 <= first <= (last or first) < _EARLIEST_NONSENSE:
                raise InvalidRequest(
                    f"Option 'pages' has a wrong value ({self.pages!r}): pages are counted from 1, and a "
                    "range names the lower one first.",
                    field="pages",
                )


def page_ranges(pages: str | None) -> list[tuple[int, int | None]]:
    """First and last page of each part; a part without an end has ``None`` for its last."""
    ranges: list[tuple[int, int | None]] = []
    for part in pages.split(",") if pages else ():
        first, dash, last = part.partition("-")
        end = (int(last) if last else None) if dash else int(first)
        ranges.append((int(first), end))
    return ranges
