"""Jobs and errors as the service shows them.

Two of its documents describe jobs differently. Every view holds the words of both.
"""

from __future__ import annotations

from typing import Any, Final

from convertd.model.job import Job, State
from convertd.model.usage import Usage
from convertd.web import archives
from convertd.web.replies import timestamp

WORDS: Final = {
    State.QUEUED: {"state": "queued", "status": "queued"},
    State.RUNNING: {"state": "processing", "status": "processing"},
    State.SUCCEEDED: {"state": "done", "status": "completed"},
    State.FAILED: {"state": "failed", "status": "failed"},
    State.CANCELLED: {"state": "failed", "status": "failed"},
}

ERRORS: Final = {
    "invalid_request": (400, "bad_request"),
    "unauthorized": (401, "invalid_api_key"),
    "not_found": (404, "not_found"),
    "expired": (404, "not_found"),
    "conflict": (409, "bad_request"),
    "not_ready": (409, "bad_request"),
    "idempotency_in_flight": (409, "bad_request"),
    "idempotency_key_reused": (422, "bad_request"),
    "too_large": (413, "file_too_large"),
    "unsupported_format": (422, "unsupported_route"),
    "engine_missing": (422, "unsupported_route"),
    "file_invalid": (422, "file_invalid"),
    "limit_exceeded": (422, "file_invalid"),
    "fetch_refused": (400, "bad_request"),
    "fetch_failed": (400, "bad_request"),
    "queue_full": (429, "rate_limited"),
    "rate_limited": (429, "rate_limited"),
    "engine_error": (500, "engine_error"),
    "worker_crash": (500, "engine_error"),
    "storage_full": (502, "service_unavailable"),
    "unavailable": (502, "service_unavailable"),
    "timeout": (504, "timeout"),
}
"""Status and code of each of convertd's own codes."""

_FILES_FAULT: Final = frozenset(
    ("file_invalid", "unsupported_format", "limit_exceeded", "invalid_request", "too_large")
)


def states_of(word: str) -> tuple[State, ...]:
    """The states that a word of either document means; none for a word of neither."""
    return tuple(state for state, words in WORDS.items() if word in words.values())


def failure_code(code: str) -> str:
    """Which of the three codes of failed jobs stands for one of convertd's own."""
    if code in _FILES_FAULT:
        return "file_invalid"
    return "timeout" if code == "timeout" else "engine_error"


def job_view(job: Job, *, url: str | None) -> dict[str, Any]:
    """The job; ``url`` is where its result is, once and as long as there is one."""
    return {
        "job_id": job.id,
        **WORDS[job.state],
        "progress_pct": int(job.progress * 100),
        "source_format": job.tasks[0].source,
        "target_format": job.tasks[0].target,
        "created_at": timestamp(job.created_at),
        "updated_at": timestamp(job.changed_at),
        "download_url": url,
        "result": result_view(job, url=url),
        "error": error_view(job),
        "duration_ms": duration_ms(job),
        "metadata": job.metadata,
    }


def result_view(job: Job, *, url: str | None) -> dict[str, Any] | None:
    """What the job made; ``None`` unless it has succeeded."""
    if job.state is not State.SUCCEEDED:
        return None
    return {
        "file_url": url,
        "size": _size(job),
        "duration_ms": duration_ms(job),
        "source_format": job.tasks[0].source,
        "target_format": job.tasks[0].target,
    }


def _size(job: Job) -> int:
    """Bytes of the one output, or of the ZIP of several."""
    return job.outputs[0].bytes if len(job.outputs) == 1 else archives.size_of(job.outputs)


def error_view(job: Job) -> dict[str, str] | None:
    """Why the job failed; ``None`` unless it has."""
    if job.state is State.CANCELLED:
        # Of the service's three codes the one that blames neither the file nor the time.
        return {"code": "engine_error", "message": "The job was cancelled."}
    if job.error is None:
        return None
    return {"code": failure_code(job.error.code), "message": job.error.message}


def duration_ms(job: Job) -> int | None:
    """How long the conversion took; ``None`` before its end."""
    if job.finished_at is None:
        return None
    return round((job.finished_at - (job.started_at or job.finished_at)) * 1000)


def usage_view(usage: Usage, *, period: str) -> dict[str, Any]:
    """What the account has used in a month; there is no quota."""
    return {
        "plan": "self-hosted",
        "period": period,
        "used": usage.succeeded,
        "limit": None,
        "remaining": None,
        "jobs": usage.jobs,
        "input_bytes": usage.input_bytes,
        "output_bytes": usage.output_bytes,
    }
