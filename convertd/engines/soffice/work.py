"""One conversion, as the sandboxed child runs it: check the file, start LibreOffice, believe only the PDF."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from convertd.engines.base import Call, Product
from convertd.engines.pdfium.document import opened, size_of
from convertd.engines.soffice import installation, profile
from convertd.engines.soffice.installation import Installation
from convertd.engines.soffice.options import OfficePdf, page_ranges
from convertd.engines.soffice.routes import ROUTES, Route
from convertd.engines.soffice.source import csv_options, prepare
from convertd.errors import (
    ConvertdError,
    EngineError,
    EngineMissing,
    FileInvalid,
    InvalidRequest,
    LimitExceeded,
    Timeout,
)

_SWITCHES: Final = ("--headless", "--norestore", "--nolockcheck", "--nodefault", "--nologo")
_AGAIN: Final = (79, 81)
"""Exit codes by which it asks to be started again, because it has changed its profile."""
_STARTS: Final = 3
_STARTED: Final = 0.1
"""The progress that is told once it runs; of its own it tells nothing."""
_POLL_SECONDS: Final = 0.02
_TAIL: Final = 32
_KEPT_WORDS: Final = 4096
_TICKS: Final = 0.2
"""Seconds by which what the kernel tells of a process may lag behind what it holds against its limit."""
_PDFA: Final = {"1b": 1, "2b": 2, "3b": 3}


def run(call: Call) -> list[Product]:
    """Do what ``call`` says. Raises the errors imported here."""
    options, office = call.options, installation.find()
    if not isinstance(options, OfficePdf):
        raise TypeError(f"no options for LibreOffice: {options!r}")
    if office is None:
        raise EngineMissing("LibreOffice is not on this server any more; ask the server's operator for it.")
    folder = Path(tempfile.mkdtemp(prefix="office-"))
    document = prepare(call.input, call.source, call.names[0], folder)
    made = folder / "made"
    said = _start(_command(office, call.source, options, document, made), folder, made, call.report)
    written = _written(made)
    if written is None:
        raise _nothing_written(said, options)
    facts = _facts(written, options)
    result = call.output_dir / "output.pdf"
    written.rename(result)
    call.report(1.0)
    return [Product(name=result.name, facts=facts)]


def _command(office: Installation, source: str, options: OfficePdf, document: Path, made: Path) -> list[str]:
    route = ROUTES[source]
    importing = f"{route.filter}:{csv_options(document)}" if source == "csv" else route.filter
    return [
        *(str(office.program), *profile.write(document.parent / "profile", office), *_SWITCHES),
        *((f"--infilter={importing}",) if importing else ()),
        *("--convert-to", _exporting(route, options), "--outdir", str(made), str(document)),
    ]


def _exporting(route: Route, options: OfficePdf) -> str:
    """The name that LibreOffice has for its way to write a PDF, and its settings as JSON."""
    settings: dict[str, object] = {}
    if options.pages is not None:
        settings["PageRange"] = {"type": "string", "value": options.pages}
    if options.pdfa is not None:
        settings["SelectPdfVersion"] = {"type": "long", "value": str(_PDFA[options.pdfa])}
    name = f"pdf:{route.module}_pdf_Export"
    return f"{name}:{json.dumps(settings)}" if settings else name


def _start(command: list[str], folder: Path, made: Path, report: Callable[[float], None]) -> str:
    """Run the program until it has written or ended; the end of what it has said.

    Raises :class:`ConvertdError` if it died.
    """
    words = folder / "said"
    code: int | None = _AGAIN[0]
    for _ in range(_STARTS):
        if code not in _AGAIN:
            break
        with words.open("wb") as out:
            process = subprocess.Popen(  # noqa: S603
                command,
                cwd=folder,
                env=_environment(folder),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        report(_STARTED)
        code = _end(process, made)
    with words.open("rb") as out:
        out.seek(max(0, words.stat().st_size - _KEPT_WORDS))
        said = f"exit code {code}: {out.read().decode(errors='replace')}"
    if code:
        raise _death(said)
    return said


def _end(process: subprocess.Popen[bytes], made: Path) -> int | None:
    """The exit code, or ``None`` if it was ended as soon as the PDF was there: it takes its time to leave."""
    while True:
        try:
            return process.wait(_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            if (path := _written(made)) is not None and _is_whole(path):
                process.kill()
                process.wait()
                return None


def _written(made: Path) -> Path | None:
    return next(made.glob("*.pdf"), None) if made.exists() else None


def _is_whole(path: Path) -> bool:
    """Whether the last thing that is ever written to a PDF is there: it is copied from a whole one."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL))
        return file.read().rstrip().endswith(b"%%EOF")


def _environment(folder: Path) -> dict[str, str]:
    """Its home is its own folder, and it finds no programs: one that it asks knows this machine's paper."""
    kept = {name: value for name, value in os.environ.items() if name in ("TZ", "LANG", "LC_ALL")}
    own = {"HOME": str(folder), "TMPDIR": str(folder), "PATH": "/nonexistent"}
    return kept | own | {"SAL_USE_VCLPLUGIN": "svp", "SAL_DISABLE_OPENCL": "1", "MALLOC_ARENA_MAX": "2"}


def _death(said: str) -> ConvertdError:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = resource.getrlimit(resource.RLIMIT_CPU)[0]
    if seconds != resource.RLIM_INFINITY and used.ru_utime + used.ru_stime >= seconds - _TICKS:
        return Timeout(
            f"The conversion used more than the {seconds} s of processor time allowed.", detail=said
        )
    if "bad_alloc" in said:
        return LimitExceeded(
            "The conversion needed more memory than is allowed; use a smaller file.", detail=said
        )
    return EngineError("LibreOffice failed on this file; it may be damaged.", detail=said)


def _nothing_written(said: str, options: OfficePdf) -> ConvertdError:
    """LibreOffice ends well whether it wrote or not; its words tell reading and writing apart."""
    if "impl_store" not in said:
        return FileInvalid(
            "LibreOffice cannot open the file: it is damaged, or protected by a password.", detail=said
        )
    if options.pages is not None:
        return _no_such_pages(options, said)
    return EngineError("LibreOffice opened the file but could not write it as PDF.", detail=said)


def _facts(path: Path, options: OfficePdf) -> dict[str, int | float]:
    """Pages, and the first one's size in points. Raises :class:`EngineError` if it is no whole PDF, and
    :class:`InvalidRequest` if it has fewer pages than were asked for."""
    try:
        with opened(path) as document:
            count = len(document)
            width, height = size_of(document, 1)
    except FileInvalid as error:
        told = "LibreOffice wrote a broken PDF; the file may be damaged."
        raise EngineError(told, detail=error.detail) from error
    wanted = sum(1 if last is None else last - first + 1 for first, last in page_ranges(options.pages))
    if count < wanted:
        raise _no_such_pages(options, f"{count} pages written")
    return {"pages": count, "width": round(width, 2), "height": round(height, 2)}


def _no_such_pages(options: OfficePdf, detail: str) -> InvalidRequest:
    return InvalidRequest(
        f"Option 'pages' asks for {options.pages!r}, but the document has fewer pages.",
        field="pages",
        detail=detail,
    )
