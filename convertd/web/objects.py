"""JSON objects that come in requests."""

from __future__ import annotations

from typing import Any

import msgspec

from convertd.errors import InvalidRequest


def json_object(text: bytes, what: str = "The body", *, field: str | None = None) -> dict[str, Any]:
    """The JSON object in ``text``; raises :class:`InvalidRequest` that calls it ``what``."""
    if not text.strip():
        raise InvalidRequest(f"{what} is empty; it must be a JSON object.", field=field)
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"{what} is not JSON: {error}.", field=field) from error
    except RecursionError as error:
        raise InvalidRequest(f"{what} is nested too deeply.", field=field) from error
    if not isinstance(found, dict):
        raise InvalidRequest(f"{what} must be a JSON object.", field=field)
    return found
