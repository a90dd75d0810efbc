"""Office documents through the whole server, next to LibreOffice alone."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from shutil import which
from statistics import median

from tests.bench.measuring import in_turn, run_program
from tests.bench.rows import Bench, Line, Skipped, at_most, row
from tests.bench.server import Server, serving
from tests.support.office import docx

_WORDS = "The quick brown fox jumps over the lazy dog. " * 60
_WAIT = 30


@row("office", "docx of 1 and of 12 pages → PDF, sent, converted, known; against soffice --convert-to")
def office(bench: Bench) -> list[Line]:
    """LibreOffice alone keeps its profile between runs, as a person's would; ours begins with a fresh one."""
    program = which("soffice")
    if program is None:
        raise Skipped("soffice is not here")
    lines = []
    with bench.room() as room, serving(room / "data") as server:
        for pages in (1, 12):
            source = room / f"pages-{pages}.docx"
            source.write_bytes(docx(*[_WORDS] * pages))
            served, alone = partial(_served, server, source), partial(_alone, program, source)
            served(), alone()
            ours, peer = map(median, in_turn(bench.pick(3 * bench.rounds, 1), served, alone))
            lines.append(
                Line(
                    what=f"docx → PDF, {pages} pages",
                    unit="s",
                    ours=ours,
                    peer=peer,
                    ratio=ours / peer,
                    bar=at_most(1.15),
                    note="peer: soffice alone",
                )
            )
    return lines


def _served(server: Server, source: Path) -> float:
    """Seconds until the result is known."""
    began = time.perf_counter()
    job = server.put("/jobs?to=pdf", source.read_bytes(), wait=_WAIT)
    if job["status"] != "succeeded":
        raise RuntimeError(job["error"])
    return time.perf_counter() - began


def _alone(program: str, source: Path) -> float:
    room = source.parent
    profile = f"-env:UserInstallation={(room / 'profile').as_uri()}"
    return run_program(
        [program, "--headless", profile, "--convert-to", "pdf", "--outdir", room / "out", source]
    ).wall
