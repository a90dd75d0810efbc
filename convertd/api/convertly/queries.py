"""Parameters of listings."""

from __future__ import annotations

from aiohttp import web

from convertd.errors import InvalidRequest

MOST_ON_PAGE = 100


def integer(request: web.Request, name: str, default: int, *, least: int, most: int | None) -> int:
    """A whole number of the query, an empty text counting as absent; raises :class:`InvalidRequest`."""
    text = request.query.get(name)
    if not text:
        return default
    if (
        text.isascii()
        and text.isdigit()
        and least <= int(text[:9])
        and (most is None or int(text[:9]) <= most)
    ):
        return int(text[:9])
    upto = f" from {least} to {most}" if most is not None else f" of at least {least}"
    raise InvalidRequest(f"'{name}' is a whole number{upto}.", field=name)
