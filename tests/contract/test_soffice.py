"""The office engine, through the sandbox that it runs in: every route, what it refuses, what it leaves."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import zipfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pypdfium2
import pytest
import pytest_asyncio

from convertd.engines.base import Product
from convertd.engines.registry import Registry, discover
from convertd.engines.soffice import ENGINE, installation, work
from convertd.engines.soffice.options import OfficePdf
from convertd.engines.soffice.source import prepare
from convertd.errors import EngineMissing, FileInvalid, InvalidRequest, LimitExceeded, Timeout
from convertd.model.operations import CONVERT
from convertd.model.parsing import parse_options
from convertd.sandbox import processes
from convertd.sandbox.runner import Budget, Sandbox, Work
from tests.support import office
from tests.support.archives import zipped
from tests.support.compound import compound
from tests.support.engines import run

CORPUS = Path(os.environ["CONVERTD_CORPUS"]) if os.environ.get("CONVERTD_CORPUS") else None
AVAILABLE = ENGINE.probe().ok


def needs_office(test: Any) -> Any:
    """For a test that converts: skipped without LibreOffice, and in the loop of the module's sandbox."""
    test = pytest.mark.asyncio(loop_scope="module")(test)
    return pytest.mark.skipif(not AVAILABLE, reason="LibreOffice is not here")(test)


FILES: dict[str, tuple[bytes, str, int]] = {
    "docx": (office.docx("First page", "Second page", "Grüße, third"), "Grüße, third", 3),
    "odt": (office.odt("Words in an odt"), "Words in an odt", 1),
    "rtf": (office.rtf("Words in an rtf"), "Words in an rtf", 1),
    "wpd": (office.wpd("Perfect"), "Perfect", 1),
    "txt": ("Grüße <html> & Co\n".encode("utf-16"), "Grüße <html> & Co", 1),
    "pptx": (office.pptx("First slide", "Second slide"), "Second slide", 2),
    "odp": (office.odp("Eins", "Zwei"), "Zwei", 2),
    "xlsx": (office.xlsx(["Name", "Number"], ["Müller", 2.5]), "Müller", 1),
    "xlsb": (office.xlsb(["Name", "Town"], ["Müller", "Bern"]), "Bern", 1),
    "ods": (office.ods(["Name", "Town"], ["Müller", "Bern"]), "Bern", 1),
    "csv": ("Name;Zip\nMüller;00123\n".encode("cp1252"), "00123", 1),
}
"""A file of each format that can be written by hand, words in its PDF, and its pages."""

BINARY = {"doc": "testWORD.doc", "xls": "testEXCEL.xls", "ppt": "testPPT.ppt"}
"""Files that only a real office writes."""


class Bench:
    """A sandbox, and short ways to use it."""

    def __init__(self, sandbox: Sandbox, root: Path) -> None:
        self._sandbox = sandbox
        self._root = root
        self._count = 0

    def scratch(self, data: bytes, source: str) -> Path:
        self._count += 1
        scratch = self._root / str(self._count)
        (scratch / "out").mkdir(parents=True)
        (scratch / f"input-0.{source}").write_bytes(data)
        return scratch

    async def convert(
        self,
        data: bytes,
        source: str,
        *,
        scratch: Path | None = None,
        began: asyncio.Event | None = None,
        budget: Budget | None = None,
        **options: Any,
    ) -> tuple[Path, Product]:
        scratch = scratch or self.scratch(data, source)
        order = Work(
            engine=ENGINE.name,
            operation=CONVERT,
            target="pdf",
            options=options,
            inputs=(f"input-0.{source}",),
            sources=(source,),
            names=(f"Quarterly report.{source}",),
        )
        try:
            [product] = await self._sandbox.run(
                order,
                scratch=scratch,
                budget=budget or Budget(wall_seconds=60),
                on_progress=lambda fraction: began.set() if began else None,
            )
        finally:
            assert programs(scratch) == []
        return scratch / "out" / product.name, product


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def bench(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    sandbox = Sandbox()
    await sandbox.start()
    yield Bench(sandbox, tmp_path_factory.mktemp("office"))
    await sandbox.close()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def results(bench: Bench) -> dict[str, tuple[Path, Product]]:
    """Every file of :data:`FILES` as PDF, made two at a time."""
    pair = asyncio.Semaphore(2)

    async def convert(source: str) -> tuple[Path, Product]:
        async with pair:
            return await bench.convert(FILES[source][0], source)

    made = await asyncio.gather(*map(convert, FILES))
    return dict(zip(FILES, made, strict=True))


def programs(scratch: Path) -> list[int]:
    """Living processes that were started with a path in ``scratch``."""
    found = []
    for process in processes.everybody():
        try:
            command = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        except OSError:
            continue
        if os.fsencode(f"{scratch}/") in command and not process.zombie:
            found.append(process.pid)
    return found


def words(path: Path) -> str:
    """The text of a PDF, by a reader that is neither LibreOffice nor the engine's own, where there is one."""
    if shutil.which("pdftotext"):
        command = ["pdftotext", "-layout", str(path), "-"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    with pypdfium2.PdfDocument(path) as document:
        return "\f".join(page.get_textpage().get_text_bounded() for page in document)


def page_count(path: Path) -> int:
    if not shutil.which("pdfinfo"):
        with pypdfium2.PdfDocument(path) as document:
            return len(document)
    told = subprocess.run(
        ["pdfinfo", str(path)], capture_output=True, text=True, check=True, timeout=30
    ).stdout
    return int(next(line for line in told.splitlines() if line.startswith("Pages:")).split()[1])


# --- routes


@needs_office
@pytest.mark.parametrize("source", FILES)
async def test_the_words_and_pages_are_in_the_pdf(
    results: dict[str, tuple[Path, Product]], source: str
) -> None:
    path, product = results[source]
    _, expected, pages = FILES[source]
    assert expected in words(path)
    assert page_count(path) == product.facts["pages"] == pages
    assert product.facts["width"] > 100 < product.facts["height"]


@needs_office
async def test_a_csv_file_is_shown_as_it_is_written_under_its_own_name(
    results: dict[str, tuple[Path, Product]],
) -> None:
    lines = [line.split() for line in words(results["csv"][0]).splitlines() if line.strip()]
    assert lines[:3] == [["Quarterly", "report"], ["Name", "Zip"], ["Müller", "00123"]]


@needs_office
@pytest.mark.skipif(CORPUS is None, reason="CONVERTD_CORPUS names no folder")
@pytest.mark.parametrize("source", BINARY)
async def test_binary_files_of_a_real_office(bench: Bench, source: str) -> None:
    assert CORPUS is not None
    path, product = await bench.convert((CORPUS / "document" / BINARY[source]).read_bytes(), source)
    assert page_count(path) == product.facts["pages"] >= 1
    assert words(path).strip()


def test_every_route_is_tried_somewhere() -> None:
    assert {capability.source for capability in ENGINE.capabilities} == {*FILES, *BINARY}


# --- options


@needs_office
async def test_some_pages_as_an_archive_document(bench: Bench) -> None:
    path, product = await bench.convert(FILES["docx"][0], "docx", pages="2-", pdfa="2b")
    assert product.facts["pages"] == page_count(path) == 2
    assert "First" not in words(path)
    assert b"pdfaid:part>2<" in path.read_bytes()


@needs_office
@pytest.mark.parametrize("pages", ["2-5", "7"])
async def test_pages_that_are_not_there_are_told(bench: Bench, pages: str) -> None:
    with pytest.raises(InvalidRequest, match="fewer pages") as raised:
        await bench.convert(FILES["docx"][0], "docx", pages=pages)
    assert raised.value.field == "pages"


@pytest.mark.parametrize("pages", ["0", "3-2", "1-2,9-4", "1-99999999999"])
def test_pages_that_cannot_be_are_refused_at_once(pages: str) -> None:
    with pytest.raises(InvalidRequest, match="pages"):
        parse_options(OfficePdf, {"pages": pages})


def test_in_a_chain_the_pages_are_chosen_once() -> None:
    plan = next(plan for plan in Registry(discover(()))._plans(CONVERT, "pptx", "png"))
    first, last = plan.parse_options({"pages": "2"})
    assert plan.engine_names == "soffice+pdfium"
    assert (first.pages, last.pages) == (None, "2")  # type: ignore[attr-defined]


# --- refusals


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
HTML = b"<!doctype html><html><body>words</body></html>"
ENCRYPTED_ODT = office.odt("words", manifest="<manifest:encryption-data/>")


@needs_office
@pytest.mark.parametrize(
    ("data", "source", "sentence"),
    [
        (HTML, "doc", "not doc, but html"),
        (HTML, "docx", "not docx, but html"),
        (SVG, "odt", "not odt"),
        (SVG, "ppt", "not ppt"),
        (b"just words", "rtf", "not rtf"),
        (b"words\0and more", "txt", "not text"),
        (compound("EncryptionInfo", "EncryptedPackage"), "xlsx", "password"),
        (compound("PowerPoint Document", "EncryptedSummary"), "ppt", "password"),
        (ENCRYPTED_ODT, "odt", "password"),
        (FILES["docx"][0][:600], "docx", "damaged"),
        (compound("WordDocument", gap=40), "doc", "damaged"),
    ],
)
async def test_what_is_no_such_document_is_invalid(
    bench: Bench, data: bytes, source: str, sentence: str
) -> None:
    with pytest.raises(FileInvalid, match=sentence) as raised:
        await bench.convert(data, source)
    assert "/" not in raised.value.message


def test_without_it_the_hint_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "_folders", lambda: iter(()))
    with pytest.raises(EngineMissing, match=r"LibreOffice.*apt-get install.*libreoffice-writer-nogui"):
        Registry(discover(())).plan(CONVERT, "docx", "pdf")


def test_half_of_it_is_not_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "soffice.bin").touch(mode=0o755)
    (tmp_path / "libswlo.so").touch()
    monkeypatch.setattr(installation, "_folders", lambda: iter((tmp_path,)))
    assert installation.find() is None
    for library in ("libsclo.so", "libsdlo.so"):
        (tmp_path / library).touch()
    (tmp_path / "bootstraprc").write_text("[Bootstrap]\nProductKey=LibreOffice 24.2\n")
    assert installation.probe().version == "24.2"


# --- curiosity


@contextmanager
def canary() -> Iterator[str]:
    """The address of a listener that nobody may reach."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(BlockingIOError):
            listener.accept()


def reaching_docx(url: str, secret: Path) -> bytes:
    """A picture and a template from elsewhere, and a field that includes a file."""
    drawing = "http://schemas.openxmlformats.org/drawingml/2006"
    picture = (
        f'<w:p><w:r><w:drawing xmlns:wp="{drawing}/wordprocessingDrawing" xmlns:a="{drawing}/main" '
        f'xmlns:pic="{drawing}/picture"><wp:inline><wp:extent cx="900000" cy="900000"/>'
        f'<wp:docPr id="1" name="x"/><a:graphic><a:graphicData uri="{drawing}/picture"><pic:pic>'
        '<pic:nvPicPr><pic:cNvPr id="1" name="x"/><pic:cNvPicPr/></pic:nvPicPr><pic:blipFill>'
        '<a:blip r:link="r1"/></pic:blipFill><pic:spPr/></pic:pic></a:graphicData></a:graphic>'
        "</wp:inline></w:drawing></w:r></w:p>"
    )
    field = (
        f"<w:p><w:fldSimple w:instr='INCLUDETEXT \"{secret.as_uri()}\"'><w:r><w:t>kept</w:t></w:r>"
        "</w:fldSimple></w:p>"
    )
    relations = [("r1", "image", f"{url}/picture.png"), ("r2", "attachedTemplate", f"{url}/t.dotm")]
    return office.docx("words", extra=picture + field, relations=relations)


def reaching_odt(url: str, secret: Path) -> bytes:
    """Sections from a file and from elsewhere, and a picture from there."""
    sections = "".join(
        f'<text:section text:name="{name}"><text:section-source xlink:href="{href}" xlink:type="simple" '
        'text:filter-name="writer8"/></text:section>'
        for name, href in (("a", secret.as_uri()), ("b", f"{url}/section.odt"))
    )
    frame = (
        '<text:p><draw:frame text:anchor-type="as-char" svg:width="3cm" svg:height="3cm">'
        f'<draw:image xlink:href="{url}/picture.png" xlink:type="simple" xlink:actuate="onLoad"/>'
        "</draw:frame></text:p>"
    )
    return office.odt("words", extra=sections + frame)


@needs_office
@pytest.mark.parametrize(("source", "reaching"), [("docx", reaching_docx), ("odt", reaching_odt)])
async def test_even_without_a_sandbox_links_are_not_followed(
    source: str, reaching: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Only one that ends by itself takes its socket from /tmp, which in the sandbox it never has.
    monkeypatch.setattr(work, "_is_whole", lambda path: False)
    secret = tmp_path / "secret.odt"
    secret.write_bytes(office.odt("canary"))
    with canary() as url:
        document = tmp_path / f"a.{source}"
        document.write_bytes(reaching(url, secret))
        [(path, _)] = run(ENGINE, CONVERT, source, "pdf", document, tmp_path / "out")
    assert "words" in words(path)
    assert "canary" not in words(path)


# --- ends


def long_document() -> bytes:
    """Some seconds of work."""
    return office.docx(*(f"Page {number} " + "many words " * 300 for number in range(1500)))


@needs_office
async def test_cancelling_leaves_no_process(bench: Bench) -> None:
    scratch, began = bench.scratch(long_document(), "docx"), asyncio.Event()
    call = asyncio.create_task(bench.convert(b"", "docx", scratch=scratch, began=began))
    await asyncio.wait_for(began.wait(), 20)
    assert programs(scratch) != []
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(call, 2)
    assert programs(scratch) == []


@needs_office
async def test_too_little_time_or_memory_is_told(bench: Bench) -> None:
    data = long_document()
    with pytest.raises(Timeout):
        await bench.convert(data, "docx", budget=Budget(wall_seconds=1))
    with pytest.raises(Timeout, match="processor"):
        await bench.convert(data, "docx", budget=Budget(cpu_seconds=1))
    with pytest.raises(LimitExceeded, match="memory"):
        await bench.convert(data, "docx", budget=Budget(memory_bytes=60_000_000))


def test_a_container_that_is_damaged_is_left_to_the_office_to_judge(tmp_path: Path) -> None:
    data = zipped(
        {"mimetype": b"application/vnd.oasis.opendocument.text", "ü": b""}, method=zipfile.ZIP_STORED
    )
    path = tmp_path / "input.odt"
    path.write_bytes(data.replace("ü".encode(), b"\xff\xff"))
    assert prepare(path, "odt", "a.odt", tmp_path).name == "a.odt"
