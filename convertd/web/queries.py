"""Whole numbers in a request's query, those of listings above all."""

from __future__ import annotations

import re
from typing import Final

from aiohttp import web

from convertd.errors import InvalidRequest

MOST_ON_PAGE: Final = 100
_MOST_OFFSET: Final = 10**9
_NUMBER: Final = re.compile(r"\d{1,12}", re.ASCII)


def whole_number(text: str, field: str, *, least: int, most: int) -> int:
    """The number that ``text`` writes; raises :class:`InvalidRequest` that names ``field``."""
    if not _NUMBER.fullmatch(text) or not least <= int(text) <= most:
        raise InvalidRequest(f"'{field}' is a whole number from {least} to {most}.", field=field)
    return int(text)


def page_size(request: web.Request, default: int = 20) -> int:
    """``limit``; an empty one counts as absent."""
    text = request.query.get("limit")
    return whole_number(text, "limit", least=1, most=MOST_ON_PAGE) if text else default


def page_offset(request: web.Request, limit: int) -> int:
    """``offset``, or what ``page``, counted from 1, comes to; empty ones count as absent."""
    text, page = request.query.get("offset"), request.query.get("page")
    if page and not text:
        return (whole_number(page, "page", least=1, most=_MOST_OFFSET // limit) - 1) * limit
    return whole_number(text, "offset", least=0, most=_MOST_OFFSET) if text else 0
