"""Which formats LibreOffice reads here, and by which of its filters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

Module = Literal["writer", "calc", "impress"]


class Route(NamedTuple):
    """How one format is opened: by the part ``module``, with the import filter of that name.

    Without a filter LibreOffice looks which version of the format it is, which for the binary formats only it
    can tell; what the file is not has been seen before.
    """

    module: Module
    filter: str = ""


TEXT: Final = frozenset(("txt", "csv"))
"""Formats that are plain text, and handed over in UTF-8."""

ROUTES: Final[Mapping[str, Route]] = {
    "docx": Route("writer", "MS Word 2007 XML"),
    "doc": Route("writer"),
    "odt": Route("writer", "writer8"),
    "rtf": Route("writer", "Rich Text Format"),
    "wpd": Route("writer", "WordPerfect"),
    "txt": Route("writer", "Text (encoded):UTF8"),
    "pptx": Route("impress", "Impress MS PowerPoint 2007 XML"),
    "ppt": Route("impress"),
    "odp": Route("impress", "impress8"),
    "xlsx": Route("calc", "Calc MS Excel 2007 XML"),
    "xlsb": Route("calc", "Calc MS Excel 2007 Binary"),
    "xls": Route("calc"),
    "ods": Route("calc", "calc8"),
    "csv": Route("calc", "Text - txt - csv (StarCalc)"),
}
