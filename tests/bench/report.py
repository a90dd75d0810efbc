"""The table for people, and the document with the versions of everything."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from tests.bench.rows import Bench, Line, Row

_PACKAGES = ("convertd", "aiohttp", "aiosqlite", "pillow", "av", "pypdfium2", "msgspec", "pyvips")
_PROGRAMS = {"ffmpeg": "-version", "nginx": "-v", "gcc": "--version"}


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a row gave: lines, or why there are none."""

    row: Row
    lines: list[Line]
    skipped: str
    error: str
    seconds: float


def table(results: Sequence[Result]) -> str:
    """Columns: what, ours, peer or limit, ratio, bar, met or not; notes below each line."""
    heading = ("what", "ours", "peer", "ratio", "bar", "met")
    body: list[tuple[tuple[str, ...], str]] = []
    for result in results:
        if why := result.skipped or result.error:
            said = "skipped" if result.skipped else "FAILED"
            body.append(((result.row.name, said, "", "", "", "–"), why))
        body += [(_cells(line), line.note) for line in result.lines]
    widths = [max(len(cells[i]) for cells in (heading, *(cells for cells, _ in body))) for i in range(6)]
    text = [_joined(heading, widths), "  ".join("-" * width for width in widths)]
    for cells, note in body:
        text.append(_joined(cells, widths))
        if note:
            text.append(f"    {note}")
    return "\n".join(text)


def _joined(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return "  ".join((first, *others)).rstrip()


def _cells(line: Line) -> tuple[str, ...]:
    met = {True: "yes", False: "NO", None: "–"}[line.met]
    ratio = f"{line.ratio:.2f}×" if line.ratio is not None else ""
    peer = f"{_number(line.peer)} {line.unit}" if line.peer is not None else ""
    unit = "×" if line.ratio is not None else f" {line.unit}"
    bar = f"{line.bar}{unit}" if line.bar is not None else ""
    return (line.what, f"{_number(line.ours)} {line.unit}", peer, ratio, bar, met)


def _number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def document(results: Sequence[Result], bench: Bench) -> str:
    """All of it as JSON."""
    rows = {
        result.row.name: {
            "lines": [
                asdict(line) | {"bar": str(line.bar) if line.bar else None, "met": line.met}
                for line in result.lines
            ],
            "skipped": result.skipped or None,
            "error": result.error or None,
            "seconds": round(result.seconds, 1),
        }
        for result in results
    }
    return json.dumps(
        {
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "rounds": bench.rounds,
            "quick": bench.quick,
            "machine": _machine(),
            "versions": _versions(),
            "rows": rows,
        },
        indent=2,
        ensure_ascii=False,
    )


def _machine() -> dict[str, Any]:
    cpuinfo, meminfo = (Path(f"/proc/{name}").read_text() for name in ("cpuinfo", "meminfo"))
    model = re.search(r"model name\s*:\s*(.+)", cpuinfo)
    memory = re.search(r"MemTotal:\s*(\d+)", meminfo)
    return {
        "system": platform.platform(),
        "processor": model[1] if model else platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_mib": int(memory[1]) // 1024 if memory else None,
        "load_average": os.getloadavg(),
    }


def _versions() -> dict[str, Any]:
    found: dict[str, Any] = {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found | _library_versions() | {name: _program_version(name) for name in _PROGRAMS}


def _library_versions() -> dict[str, Any]:
    import av
    from PIL import features

    libraries = {name: ".".join(map(str, version)) for name, version in av.library_versions.items()}
    codecs = {name: features.version(name) for name in ("webp", "libjpeg_turbo", "zlib", "zlib_ng")}
    return {"libraries of av": libraries, "libraries of pillow": codecs}


def _program_version(name: str) -> str | None:
    if shutil.which(name) is None:
        return None
    told = subprocess.run([name, _PROGRAMS[name]], capture_output=True, text=True, check=False)
    return (told.stdout or told.stderr).splitlines()[0]
