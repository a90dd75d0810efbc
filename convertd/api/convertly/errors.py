"""Errors as the service tells them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from convertd.web.problems import STATUS as NATIVE_STATUS
from convertd.web.problems import Problem
from convertd.web.replies import json_response

STATUS: Final[Mapping[str, int]] = {
    "invalid_request": 400,
    "unauthorized": 401,
    "not_found": 404,
    "conflict": 409,
    "idempotency_in_flight": 409,
    "idempotency_key_reused": 409,
    "not_ready": 409,
    "expired": 404,
    "too_large": 413,
    "limit_exceeded": 413,
    "unsupported_format": 415,
    "engine_missing": 415,
    "file_invalid": 400,
    "fetch_refused": 400,
    "fetch_failed": 400,
    "rate_limited": 429,
    "queue_full": 503,
    "storage_full": 503,
    "unavailable": 503,
    "engine_error": 500,
    "worker_crash": 500,
    "timeout": 500,
}
"""The service knows 400, 401, 402, 403, 404, 409, 413, 415, 429, 500 and 503; 408 is for uploads that come
too slowly, which its clients then send again."""

_ELSEWHERE: Final = (
    ("files", "convertd keeps no library of files: outputs are downloaded from a job's results."),
    ("folders", "convertd keeps no library of files: outputs are downloaded from a job's results."),
    ("uploads", "Files are sent with the request: POST /api/jobs with 'files', or with 'sourceUrl'."),
    ("transfer", "A file is fetched where it is converted: POST /api/jobs with 'sourceUrl'."),
    ("workflows", "Workflows are not offered; POST /api/jobs, and go on when its callback comes."),
    ("currency", "Currencies are not converted here; POST /api/convert converts files."),
    ("video", "Streaming video is not offered; POST /api/jobs converts videos."),
    (
        "webhooks",
        "Callbacks are asked for job by job with 'callbackUrl'; GET /api/webhooks/deliveries lists them.",
    ),
)


def error_response(request: web.BaseRequest, problem: Problem) -> web.Response:
    """The problem in the service's form: ``error`` is the sentence, ``detail`` names the field."""
    ours = problem.status == NATIVE_STATUS.get(problem.code)  # else it is the framework's own
    status = STATUS[problem.code] if ours else problem.status
    if problem.late_upload:
        status = 408
    message = problem.message
    if status in (404, 405) and (elsewhere := _elsewhere(request.path)) is not None:
        status, message = 404, elsewhere
    body: dict[str, Any] = {"error": message, "code": problem.code}
    if problem.field is not None:
        body["detail"] = f"Field: {problem.field}"
    return json_response(body, status=status, headers=problem.headers)


def _elsewhere(path: str) -> str | None:
    """What convertd has instead of a part of the service that it does not offer."""
    match = re.match(r"/api/([a-z]+)(/|$)", path)
    if match is None or path.startswith("/api/webhooks/deliveries"):
        return None
    return dict(_ELSEWHERE).get(match[1])
