"""Small office documents, written by hand: each says its words, and no more than readers need."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_TYPES = "application/vnd.openxmlformats-officedocument"
_ODF = "urn:oasis:names:tc:opendocument:xmlns"

Relation = tuple[str, str, str]
"""Identity, type (the last part of its URI) and target; a target with ``://`` is outside the package."""

Parts = dict[str, tuple[str, str | bytes]]
"""Content type and content of a package's parts, by path."""


def archive(members: dict[str, str | bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content in members.items():
            stored = zipfile.ZIP_STORED if name == "mimetype" else zipfile.ZIP_DEFLATED
            package.writestr(name, content, stored)
    return out.getvalue()


def docx(*pages: str, extra: str = "", relations: Sequence[Relation] = ()) -> bytes:
    """A page for each of ``pages``, then the paragraphs ``extra`` (WordprocessingML)."""
    breaking = '<w:p><w:r><w:br w:type="page"/></w:r></w:p>'
    body = breaking.join(f"<w:p><w:r><w:t>{escape(page)}</w:t></w:r></w:p>" for page in pages)
    document = (
        '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main" '
        f'xmlns:r="{_OFFICE}"><w:body>{body}{extra}</w:body></w:document>'
    )
    return _openxml(
        "word/document.xml", f"{_TYPES}.wordprocessingml.document.main+xml", document, relations=relations
    )


def xlsx(*rows: Sequence[str | float]) -> bytes:
    """One sheet."""
    lines = "".join(f"<row>{''.join(map(_cell, row))}</row>" for row in rows)
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    book = (
        f'<workbook xmlns="{main}" xmlns:r="{_OFFICE}">'
        '<sheets><sheet name="Sheet" sheetId="1" r:id="r1"/></sheets></workbook>'
    )
    sheet = f'<worksheet xmlns="{main}"><sheetData>{lines}</sheetData></worksheet>'
    parts: Parts = {"xl/worksheets/sheet1.xml": (f"{_TYPES}.spreadsheetml.worksheet+xml", sheet)}
    return _openxml(
        "xl/workbook.xml",
        f"{_TYPES}.spreadsheetml.sheet.main+xml",
        book,
        parts=parts,
        relations=[("r1", "worksheet", "worksheets/sheet1.xml")],
    )


def xlsb(*rows: Sequence[str]) -> bytes:
    """One sheet of text cells, in the binary records of [MS-XLSB]."""
    lines = b""
    for row, cells in enumerate(rows):
        lines += _record(0, struct.pack("<IIHBBBI", row, 0, 300, 0, 0, 0, 0))
        lines += b"".join(
            _record(6, struct.pack("<II", column, 0) + _wide(text)) for column, text in enumerate(cells)
        )
    sheet = struct.pack("<II", 0, 1) + _wide("r1") + _wide("Sheet")
    book = _record(131) + _record(143) + _record(156, sheet) + _record(144) + _record(132)
    parts: Parts = {
        "xl/worksheets/sheet1.bin": (
            "application/vnd.ms-excel.worksheet",
            _record(129) + _record(145) + lines + _record(146) + _record(130),
        )
    }
    return _openxml(
        "xl/workbook.bin",
        "application/vnd.ms-excel.sheet.binary.macroEnabled.main",
        book,
        parts=parts,
        relations=[("r1", "worksheet", "worksheets/sheet1.bin")],
    )


def pptx(*slides: str) -> bytes:
    """A slide for each text."""
    spaces = (
        'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" '
        'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main" '
        f'xmlns:r="{_OFFICE}"'
    )
    numbers = range(1, len(slides) + 1)
    listed = "".join(f'<p:sldId id="{255 + number}" r:id="r{number}"/>' for number in numbers)
    main = (
        f'<p:presentation {spaces}><p:sldIdLst>{listed}</p:sldIdLst><p:sldSz cx="9144000" cy="5143500"/>'
        "</p:presentation>"
    )
    parts: Parts = {
        f"ppt/slides/slide{number}.xml": (
            f"{_TYPES}.presentationml.slide+xml",
            f"<p:sld {spaces}><p:cSld><p:spTree>{_GROUP}{_shape(text)}</p:spTree></p:cSld></p:sld>",
        )
        for number, text in zip(numbers, slides, strict=True)
    }
    return _openxml(
        "ppt/presentation.xml",
        f"{_TYPES}.presentationml.presentation.main+xml",
        main,
        parts=parts,
        relations=[(f"r{number}", "slide", f"slides/slide{number}.xml") for number in numbers],
    )


def odt(text: str, *, extra: str = "", manifest: str = "") -> bytes:
    """One paragraph, then ``extra`` (content of office:text)."""
    return _opendocument("text", f"<text:p>{escape(text)}</text:p>{extra}", manifest)


def ods(*rows: Sequence[str]) -> bytes:
    """One sheet of text cells."""
    lines = "".join(
        "<table:table-row>"
        + "".join(
            f'<table:table-cell office:value-type="string"><text:p>{escape(cell)}</text:p></table:table-cell>'
            for cell in row
        )
        + "</table:table-row>"
        for row in rows
    )
    return _opendocument("spreadsheet", f'<table:table table:name="Sheet">{lines}</table:table>')


def odp(*slides: str) -> bytes:
    """A slide for each text."""
    pages = "".join(
        f'<draw:page draw:name="p{number}"><draw:frame svg:x="2cm" svg:y="2cm" svg:width="20cm" '
        f'svg:height="5cm"><draw:text-box><text:p>{escape(text)}</text:p></draw:text-box></draw:frame>'
        "</draw:page>"
        for number, text in enumerate(slides, start=1)
    )
    return _opendocument("presentation", pages)


def wpd(text: str) -> bytes:
    """A WordPerfect file: the prefix with an empty index, then the text."""
    prefix = b"\xffWPC" + struct.pack("<I", 64) + b"\x01\x0a\x02\x01\0\0" + struct.pack("<HHH", 16, 2, 1)
    return prefix.ljust(64, b"\0") + text.encode("ascii")


def rtf(text: str) -> bytes:
    return (r"{\rtf1\ansi " + text + "}").encode("ascii")


_GROUP = (
    '<p:nvGrpSpPr><p:cNvPr id="1" name=""/><p:cNvGrpSpPr/><p:nvPr/></p:nvGrpSpPr>'
    '<p:grpSpPr><a:xfrm><a:off x="0" y="0"/><a:ext cx="0" cy="0"/></a:xfrm></p:grpSpPr>'
)


def _shape(text: str) -> str:
    return (
        '<p:sp><p:nvSpPr><p:cNvPr id="2" name="t"/><p:cNvSpPr/><p:nvPr/></p:nvSpPr><p:spPr><a:xfrm>'
        '<a:off x="900000" y="900000"/><a:ext cx="7000000" cy="1500000"/></a:xfrm>'
        '<a:prstGeom prst="rect"><a:avLst/></a:prstGeom></p:spPr>'
        f"<p:txBody><a:bodyPr/><a:p><a:r><a:t>{escape(text)}</a:t></a:r></a:p></p:txBody></p:sp>"
    )


def _cell(value: str | float) -> str:
    if isinstance(value, str):
        return f'<c t="inlineStr"><is><t>{escape(value)}</t></is></c>'
    return f"<c><v>{value}</v></c>"


def _record(number: int, data: bytes = b"") -> bytes:
    kind = bytes((number,)) if number < 128 else bytes((number & 127 | 128, number >> 7))
    return kind + bytes((len(data),)) + data


def _wide(text: str) -> bytes:
    return struct.pack("<I", len(text)) + text.encode("utf-16-le")


def _openxml(
    main: str,
    kind: str,
    document: str | bytes,
    *,
    parts: Parts | None = None,
    relations: Sequence[Relation] = (),
) -> bytes:
    folder, _, name = main.rpartition("/")
    contents: Parts = {main: (kind, document)} | (parts or {})
    overrides = "".join(
        f'<Override PartName="/{path}" ContentType="{kind}"/>' for path, (kind, _) in contents.items()
    )
    types = (
        f'<Types xmlns="{_PACKAGE}/content-types"><Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f"{overrides}</Types>"
    )
    return archive(
        {
            "[Content_Types].xml": _XML + types,
            "_rels/.rels": _relations([("r1", "officeDocument", main)]),
            f"{folder}/_rels/{name}.rels": _relations(relations),
        }
        | {
            path: _XML + content if isinstance(content, str) else content
            for path, (_, content) in contents.items()
        }
    )


def _relations(relations: Sequence[Relation]) -> str:
    lines = "".join(
        f"<Relationship Id={quoteattr(name)} Type={quoteattr(f'{_OFFICE}/{kind}')} Target={quoteattr(target)}"
        + (' TargetMode="External"/>' if ":/" in target else "/>")
        for name, kind, target in relations
    )
    return f'{_XML}<Relationships xmlns="{_PACKAGE}/relationships">{lines}</Relationships>'


def _opendocument(kind: str, body: str, manifest: str = "") -> bytes:
    media = f"application/vnd.oasis.opendocument.{kind}"
    spaces = " ".join(
        [
            *(f'xmlns:{word}="{_ODF}:{word}:1.0"' for word in ("office", "text", "table")),
            f'xmlns:draw="{_ODF}:drawing:1.0"',
            f'xmlns:svg="{_ODF}:svg-compatible:1.0"',
            'xmlns:xlink="http://www.w3.org/1999/xlink"',
        ]
    )
    content = (
        f'<office:document-content {spaces} office:version="1.3"><office:body><office:{kind}>{body}'
        f"</office:{kind}></office:body></office:document-content>"
    )
    listed = (
        f'<manifest:manifest xmlns:manifest="{_ODF}:manifest:1.0">'
        f'<manifest:file-entry manifest:full-path="/" manifest:media-type="{media}"/>'
        '<manifest:file-entry manifest:full-path="content.xml" manifest:media-type="text/xml">'
        f"{manifest}</manifest:file-entry></manifest:manifest>"
    )
    return archive({"mimetype": media, "content.xml": _XML + content, "META-INF/manifest.xml": _XML + listed})
