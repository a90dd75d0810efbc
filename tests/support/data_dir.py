"""Looking into the data directory of a server that was stopped, or has nothing to do."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path
from typing import Any


def rows(data_dir: Path, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(data_dir / "convertd.sqlite3")
    try:
        return connection.execute(sql, parameters).fetchall()
    finally:
        connection.close()


def blobs(data_dir: Path) -> dict[str, Path]:
    """Every stored file by its key."""
    return {path.name: path for path in (data_dir / "files" / "blobs").glob("*/*")}


def working_files(data_dir: Path) -> list[Path]:
    """What uploads and conversions have lying about: none when nothing is under way."""
    return list((data_dir / "files" / "work").glob("*/*"))


def check_files_and_rows(data_dir: Path) -> None:
    """No file without a row, no row without its file, and every file as its row says."""
    kept = {
        key: (size, sha256)
        for key, size, sha256 in rows(data_dir, "SELECT key, bytes, sha256 FROM artifacts WHERE NOT gone")
    }
    found = blobs(data_dir)
    assert set(found) - set(kept) == set(), "files without a row"
    assert set(kept) - set(found) == set(), "rows without their file"
    for key, path in found.items():
        data = path.read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == kept[key]
