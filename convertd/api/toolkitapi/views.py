"""Jobs, media and errors as the service shows them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from convertd.api.dialect import archive_name
from convertd.model.formats import FORMATS
from convertd.model.job import Artifact, Job, State
from convertd.web.archives import size_of
from convertd.web.problems import Problem

STATUS: Final = {
    State.QUEUED: "queued",
    State.RUNNING: "running",
    State.SUCCEEDED: "completed",
    State.FAILED: "failed",
    State.CANCELLED: "failed",
}

ERRORS: Final = {
    "invalid_request": 400,
    "unauthorized": 401,
    "not_found": 404,
    "conflict": 400,
    "idempotency_in_flight": 429,
    "idempotency_key_reused": 422,
    "not_ready": 404,
    "expired": 404,
    "too_large": 413,
    "unsupported_format": 422,
    "engine_missing": 422,
    "file_invalid": 422,
    "limit_exceeded": 422,
    "fetch_refused": 400,
    "fetch_failed": 422,
    "queue_full": 429,
    "rate_limited": 429,
    "engine_error": 500,
    "worker_crash": 500,
    "storage_full": 503,
    "unavailable": 503,
    "timeout": 504,
}
"""Status of each of convertd's own codes. 403 is not among them: its clients take it for a wrong key."""

_FRAMEWORK: Final = (405, 412, 413, 416, 417)
"""Statuses that stay what they are."""
_RETRY_AFTER: Final = "10"


def error_status(problem: Problem) -> int:
    """The status of an error; a field that is wrong makes it a failed validation."""
    if problem.status in _FRAMEWORK:
        return problem.status
    if problem.late_upload:
        return 400
    if problem.code == "invalid_request" and problem.field is not None:
        return 422
    return ERRORS[problem.code]


def error_view(problem: Problem) -> dict[str, Any]:
    """The error's body."""
    if problem.field is None:
        return {"detail": problem.message}
    return {
        "detail": problem.message,
        "errors": [{"field": problem.field, "message": problem.message}],
    }


def error_headers(problem: Problem, status: int) -> dict[str, str]:
    """Those of the problem, and when to come again where the server is not well."""
    return ({"Retry-After": _RETRY_AFTER} if status == 503 else {}) | dict(problem.headers)


def job_view(job: Job, *, file_url: str | None) -> dict[str, Any]:
    """The job object."""
    media = job.inputs[0]
    name, media_type, size = _result(job)
    return {
        "job_id": job.id,
        "status": STATUS[job.state],
        "conversion": {
            "source_format": media.format,
            "target_format": job.tasks[0].target,
            "source_size_bytes": media.bytes,
            "original_filename": job.extras["original_filename"],
        },
        "file_name": name,
        "file_type": media_type,
        "file_size_bytes": size,
        "created_at": _time(job.created_at),
        "updated_at": _time(job.changed_at),
        "file_url": file_url,
        "error": _error(job),
    }


def _result(job: Job) -> tuple[str | None, str | None, int | None]:
    """Name, media type and size of what the job made."""
    if job.state is not State.SUCCEEDED:
        return None, None, None
    if len(job.outputs) == 1:
        [output] = job.outputs
        return output.name, FORMATS[output.format].media_type, output.bytes
    size = size_of(job.outputs)
    return archive_name(job), FORMATS["zip"].media_type, size


def _error(job: Job) -> str | None:
    if job.state is State.CANCELLED:
        return "The job was cancelled."
    return None if job.error is None else job.error.message


def _time(seconds: float) -> str:
    """To the second, as the service writes it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_STREAM_FIELDS: Final = {
    "video": ("type", "codec", "width", "height", "duration"),
    "audio": ("type", "codec", "channels", "sample_rate", "duration"),
}
_OTHER_FIELDS: Final = ("type", "codec", "duration")


def media_view(source: Artifact, facts: dict[str, Any]) -> dict[str, Any]:
    """What a media file holds; ``facts`` are those of an inspection. A picture is one stream of video."""
    whole = {
        "format": source.format,
        "duration": facts.get("duration"),
        "size": source.bytes,
        "bit_rate": facts.get("bit_rate"),
    }
    streams = facts.get("streams", [{"type": "video", "codec": source.format, **facts}])
    return {name: value for name, value in whole.items() if value is not None} | {
        "streams": [_stream(stream) for stream in streams]
    }


def _stream(facts: dict[str, Any]) -> dict[str, Any]:
    names = _STREAM_FIELDS.get(facts["type"], _OTHER_FIELDS)
    return {name: facts[name] for name in names if name in facts}
