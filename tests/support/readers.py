"""Readers of files that are not the writers under test."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from shutil import which
from typing import Any

import pytest


def probe(path: Path) -> dict[str, Any]:
    """What ffprobe, which is not the writer, finds in a file."""
    if which("ffprobe") is None:
        pytest.skip("ffprobe is not here")
    command = ["ffprobe", "-v", "error", "-show_format", "-show_streams", "-of", "json", str(path)]
    return json.loads(subprocess.run(command, capture_output=True, check=True, timeout=30).stdout)
