"""Where LibreOffice lies on this machine."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Final

from convertd.engines.base import Availability

_COMMANDS: Final = ("soffice", "libreoffice")
_FOLDERS: Final = (
    "/usr/lib/libreoffice/program",
    "/usr/lib64/libreoffice/program",
    "/opt/libreoffice*/program",
)
_LIBRARIES: Final = ("libswlo.so", "libsclo.so", "libsdlo.so")
"""Writer, Calc and Impress: each comes in a package of its own."""
_HINT: Final = (
    "install it; on Debian and Ubuntu: apt-get install --no-install-recommends libreoffice-writer-nogui "
    "libreoffice-calc-nogui libreoffice-impress-nogui fonts-liberation fonts-crosextra-carlito "
    "fonts-crosextra-caladea"
)


@dataclass(frozen=True, slots=True)
class Installation:
    """A LibreOffice: the folder that holds ``soffice.bin``."""

    folder: Path

    @property
    def program(self) -> Path:
        """The program itself; the ``soffice`` script before it only restarts it, which the caller can do."""
        return self.folder / "soffice.bin"

    @property
    def version(self) -> str:
        """``7.4``, or nothing where it does not tell."""
        return _setting(self.folder / "bootstraprc", "ProductKey").rpartition(" ")[2]

    @property
    def build(self) -> str:
        """What it writes into a profile to know it again."""
        return _setting(self.folder / "versionrc", "buildid")

    @property
    def complete(self) -> bool:
        """Whether it has all parts that the routes need."""
        return all((self.folder / library).exists() for library in _LIBRARIES)


def find() -> Installation | None:
    """The first LibreOffice with all its parts: the one on the PATH, else where packages put it."""
    return next((found for found in map(Installation, _folders()) if _usable(found)), None)


def probe() -> Availability:
    """Whether there is one, without starting it."""
    found = find()
    if found is None:
        return Availability(ok=False, hint=_HINT)
    return Availability(ok=True, version=found.version)


def _usable(found: Installation) -> bool:
    return os.access(found.program, os.X_OK) and found.complete


def _folders() -> Iterator[Path]:
    for command in _COMMANDS:
        if path := shutil.which(command):
            yield Path(path).resolve().parent
    for pattern in _FOLDERS:
        yield from map(Path, sorted(glob(pattern), reverse=True))  # noqa: PTH207 -- absolute patterns


def _setting(path: Path, name: str) -> str:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    match = re.search(rf"^{name}=(.*)$", text, re.MULTILINE)
    return match[1].strip() if match else ""
