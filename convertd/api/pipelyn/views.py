"""Jobs and errors as the service shows them: camelCase, times in milliseconds since the epoch."""

from __future__ import annotations

import re
from typing import Any, Final

from convertd.api.pipelyn.presets import STRATEGIES
from convertd.model.formats import FORMATS
from convertd.model.job import Artifact, Failure, Job, State

STATUS: Final = {
    State.QUEUED: "pending",
    State.RUNNING: "processing",
    State.SUCCEEDED: "done",
    State.FAILED: "failed",
    State.CANCELLED: "failed",
}

ERRORS: Final = {
    "invalid_request": (400, "invalid-input"),
    "unauthorized": (401, "unauthorized"),
    "not_found": (404, "not-found"),
    "expired": (404, "not-found"),
    "conflict": (409, "not-ready"),
    "not_ready": (409, "not-ready"),
    "idempotency_in_flight": (409, "not-ready"),
    "idempotency_key_reused": (400, "invalid-input"),
    "too_large": (413, "too-large"),
    "unsupported_format": (415, "unsupported-type"),
    "engine_missing": (415, "unsupported-type"),
    "file_invalid": (422, "probe-failed"),
    "fetch_refused": (422, "probe-failed"),
    "fetch_failed": (422, "probe-failed"),
    "limit_exceeded": (422, "encode-failed"),
    "engine_error": (422, "encode-failed"),
    "timeout": (504, "encode-timeout"),
    "worker_crash": (500, "unknown"),
    "storage_full": (500, "unknown"),
    "unavailable": (503, "unknown"),
    "queue_full": (429, "unknown"),
    "rate_limited": (429, "unknown"),
}
"""Status and code of each of convertd's own codes."""

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")


def milliseconds(seconds: float | None) -> int | None:
    """A time as the service writes it."""
    return None if seconds is None else int(seconds * 1000)


def safe_name(name: str) -> str:
    """A name with every unsafe character replaced, as the service names its outputs."""
    return _UNSAFE.sub("_", name)


def status_view(job: Job, *, download_url: str | None) -> dict[str, Any]:
    """The status object."""
    return {
        "jobId": job.id,
        "status": STATUS[job.state],
        "preset": job.extras["preset"],
        "filename": job.extras["filename"],
        "inputBytes": job.inputs[0].bytes,
        "createdAt": milliseconds(job.created_at),
        "updatedAt": milliseconds(job.changed_at),
        "completedAt": milliseconds(job.finished_at),
        "downloadUrl": download_url,
    } | _outcome(job)


def _outcome(job: Job) -> dict[str, Any]:
    if job.state is State.SUCCEEDED:
        return {"result": result_view(job)}
    if job.state is State.FAILED and job.error is not None:
        return {"error": _error(job.error)}
    if job.state is State.CANCELLED:
        return {"error": {"message": "The job was cancelled.", "code": "unknown"}}
    return {}


def _error(error: Failure) -> dict[str, str]:
    return {"message": error.message, "code": ERRORS[error.code][1]}


def result_view(job: Job) -> dict[str, Any]:
    """What became of the file; the job has succeeded."""
    media, output = job.inputs[0], job.outputs[0]
    saved = max(0, media.bytes - output.bytes)
    source: dict[str, Any] = output.facts.get("source", {})
    return {
        "kind": job.extras["kind"],
        "strategy": STRATEGIES[output.format],
        "contentType": FORMATS[output.format].media_type,
        "filename": output.name,
        "outputBytes": output.bytes,
        "savedBytes": saved,
        "savedPercent": saved_percent(media, saved),
        "inputDurationSec": source.get("duration"),
        "outputDurationSec": output.facts.get("duration"),
        "inputWidth": source.get("width"),
        "outputWidth": output.facts.get("width"),
    }


def saved_percent(media: Artifact, saved: int) -> float:
    """To two decimals."""
    return round(saved / media.bytes * 100, 2)
