"""Replies that every dialect makes."""

from __future__ import annotations

import msgspec
from aiohttp import web


def json_response(document: object) -> web.Response:
    """The document as JSON, with status 200."""
    return web.Response(body=msgspec.json.encode(document), content_type="application/json")
