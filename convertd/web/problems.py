"""Errors as HTTP: what every dialect renders in its own form, and the native form of RFC 9457."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web

from convertd.errors import ConvertdError, EngineError, InvalidRequest, Unauthorized, UploadTimeout

STATUS: Final[Mapping[str, int]] = {
    "invalid_request": 400,
    "unauthorized": 401,
    "not_found": 404,
    "conflict": 409,
    "idempotency_in_flight": 409,
    "not_ready": 409,
    "expired": 410,
    "too_large": 413,
    "unsupported_format": 415,
    "engine_missing": 415,
    "idempotency_key_reused": 422,
    "file_invalid": 422,
    "limit_exceeded": 422,
    "fetch_refused": 422,
    "fetch_failed": 422,
    "queue_full": 429,
    "rate_limited": 429,
    "engine_error": 500,
    "worker_crash": 500,
    "unavailable": 503,
    "timeout": 504,
    "storage_full": 507,
}
"""The HTTP status of each error code."""

_CODE_OF_STATUS: Final = {401: "unauthorized", 404: "not_found", 410: "expired", 413: "too_large"}
_KEPT_HEADERS: Final = ("Allow", "Retry-After", "Content-Range", "Accept-Ranges")


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """An error on its way out."""

    status: int
    code: str
    message: str
    field: str | None = None
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    late_upload: bool = False
    """Whether the request's own body did not arrive in time."""
    unrouted: bool = False
    """Whether no dialect has the address."""

    @classmethod
    def of(cls, error: ConvertdError) -> Problem:
        """For one of our errors."""
        headers = {}
        if error.retry_after is not None:
            headers["Retry-After"] = str(error.retry_after)
        if error.code == Unauthorized.code:
            headers["WWW-Authenticate"] = 'Bearer realm="convertd"'
        return cls(
            status=STATUS[error.code],
            code=error.code,
            message=error.message,
            field=error.field,
            headers=headers,
            late_upload=isinstance(error, UploadTimeout),
        )

    @classmethod
    def of_http(cls, exception: web.HTTPException) -> Problem:
        """For an HTTPException (404, 405, 412, 416, 417 …), with its status kept."""
        status = exception.status
        fallback = InvalidRequest.code if status < 500 else EngineError.code
        return cls(
            status=status,
            code=_CODE_OF_STATUS.get(status, fallback),
            message=_sentence(exception),
            headers={name: exception.headers[name] for name in _KEPT_HEADERS if name in exception.headers},
            unrouted=status == 404,
        )


def _sentence(exception: web.HTTPException) -> str:
    if isinstance(exception, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(exception.allowed_methods))
        return f"{exception.method} is not possible here; allowed: {allowed}."
    if exception.status == 404:
        return "There is nothing at this address."
    if exception.status in (412, 416):
        return exception.text or ""  # by our own downloads
    return f"{HTTPStatus(exception.status).phrase}."


def problem_response(problem: Problem) -> web.Response:
    """The problem as the native API answers it."""
    document: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "code": problem.code,
        "detail": problem.message,
    }
    if problem.field is not None:
        document["field"] = problem.field
    return web.Response(
        status=problem.status,
        body=msgspec.json.encode(document),
        content_type="application/problem+json",
        headers=problem.headers,
    )
