"""What a client would like to have (RFC 9110, 12.5.1)."""

from __future__ import annotations

import re
from typing import Final

from aiohttp import web

_JSON: Final = "application/json"
_QUALITY: Final = re.compile(r";\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*(?:;|$)", re.IGNORECASE)


def prefers_json(request: web.Request) -> bool:
    """Whether ``Accept`` names JSON, and nothing else as gladly.

    Some libraries name JSON first among all types in every request, and yet want the file.
    """
    wishes = [_wish(part) for part in request.headers.get("Accept", "").split(",") if part.strip()]
    json = max((quality for kind, quality in wishes if kind == _JSON), default=0.0)
    other = max((quality for kind, quality in wishes if kind != _JSON), default=0.0)
    return json > other


def _wish(part: str) -> tuple[str, float]:
    """A media type and how gladly it is taken, from 0 to 1."""
    kind = part.partition(";")[0].strip().lower()
    quality = _QUALITY.search(part)
    return kind, min(float(quality[1]), 1.0) if quality else 1.0
