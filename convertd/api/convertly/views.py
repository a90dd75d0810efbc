"""Jobs, files and deliveries as the service shows them."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, Final

from convertd.api.dialect import Services, archive_key, archive_name, has_all_outputs
from convertd.model.callback import Delivery, DeliveryState
from convertd.model.formats import FORMATS
from convertd.model.job import Artifact, Job, State, Task
from convertd.model.naming import Names
from convertd.model.operations import WATERMARK
from convertd.web.archives import size_of
from convertd.web.replies import timestamp

Link = Callable[[str], str]
"""Makes the signed address of what has this key."""

DOWNLOADS: Final = "/api/jobs/download"

STATUS: Final = {
    State.QUEUED: "pending",
    State.RUNNING: "processing",
    State.SUCCEEDED: "completed",
    State.FAILED: "failed",
    State.CANCELLED: "failed",
}
"""The service's four words."""
PASSED_OVER: Final = "passed_over"
"""Among a job's extras: files that came with it and that no task is for, as ``failures`` tells them."""
_CANCELLED: Final = "Cancelled."
_FILES: Final = uuid.UUID("6f0ff4a4-6cf4-5a5b-9c0e-2f3d2c1b7e55")
"""Namespace of the ids that outputs are shown with."""
_DELIVERY: Final = {
    DeliveryState.PENDING: "pending",
    DeliveryState.DELIVERED: "delivered",
    DeliveryState.DEAD: "failed",
}


def link_maker(services: Services, origin: str, job: Job) -> Link:
    """For the outputs of the job, of the server under this scheme, host and port."""
    place, until = origin + DOWNLOADS, services.links_until(job)
    return lambda key: services.link(place, key, until)


def created_view(job: Job) -> dict[str, Any]:
    """What is answered to those who made the job."""
    view = {"jobId": job.id, "status": STATUS[job.state]}
    return view | ({"tool": job.extras["tool"]} if "tool" in job.extras else {})


def job_view(job: Job, link: Link) -> dict[str, Any]:
    """The service's JobDetail. A file counts with the task that works on it."""
    results = file_views(job, link)
    passed_over = len(job.extras.get(PASSED_OVER, ()))
    view = created_view(job) | {
        "jobType": job.extras["jobType"],
        "errorMessage": _error_message(job),
        "totalFiles": sum(len(_worked_on(task)) for task in job.tasks) + passed_over,
        "completedFiles": _files(job, State.SUCCEEDED),
        "failedFiles": _files(job, State.FAILED) + _files(job, State.CANCELLED) + passed_over,
        "progress": int(job.progress * 100),
        "results": results or None,
        "failures": failures(job),
        "createdAt": timestamp(job.created_at),
        "updatedAt": timestamp(job.changed_at),
        "completedAt": timestamp(job.finished_at),
    }
    if job.extras.get("archive"):
        view["archiveUrl"] = link(archive_key(job.id)) if has_all_outputs(job) else None
    return view


def _files(job: Job, state: State) -> int:
    return sum(len(_worked_on(task)) for task in job.tasks if task.state is state)


def _worked_on(task: Task) -> tuple[int, ...]:
    """The inputs that the task is for: not the picture that it marks another with."""
    return task.inputs[:1] if task.operation == WATERMARK else task.inputs


def _error_message(job: Job) -> str | None:
    if job.state is State.CANCELLED:
        return _CANCELLED
    return job.error.message if job.error is not None else None


def failures(job: Job) -> list[dict[str, str]]:
    """Which files came to nothing, and why."""
    return [
        *job.extras.get(PASSED_OVER, ()),
        *(
            {
                "filename": _first_input(job, task).name,
                "error": task.error.message if task.error else _CANCELLED,
            }
            for task in job.tasks
            if task.state in (State.FAILED, State.CANCELLED)
        ),
    ]


def file_views(job: Job, link: Link) -> list[dict[str, Any]]:
    """Every output, and the archive of them all where one was asked for."""
    names = Names()
    views = _output_views(job, link, names)
    if job.extras.get("archive") and has_all_outputs(job):
        views.append(_archive_view(job, link) | {"filename": names.unique(archive_name(job))})
    return views


def _output_views(job: Job, link: Link, names: Names) -> list[dict[str, Any]]:
    """Under names that differ, as in the archive: clients save files by them."""
    return [_file_view(job, output, link) | {"filename": names.unique(output.name)} for output in job.outputs]


def _file_view(job: Job, output: Artifact, link: Link) -> dict[str, Any]:
    """One output; ``downloadUrl`` is ``None`` once its file is gone."""
    task = job.tasks[output.task or 0]
    original = sum(job.inputs[index].bytes for index in _worked_on(task))
    return {
        "filename": output.name,
        "originalSize": original,
        "finalSize": output.bytes,
        "savedPercent": round(100 * (original - output.bytes) / original, 1),
        "mimeType": FORMATS[output.format].media_type,
        "downloadUrl": None if output.gone else link(output.key),
        "appliedQuality": task.options.get("quality"),
        "storedFileId": _file_id(output.key),
    }


def _archive_view(job: Job, link: Link) -> dict[str, Any]:
    original = sum(artifact.bytes for artifact in job.inputs)
    size = size_of(job.outputs)
    return {
        "originalSize": original,
        "finalSize": size,
        "savedPercent": round(100 * (original - size) / original, 1),
        "mimeType": FORMATS["zip"].media_type,
        "downloadUrl": link(archive_key(job.id)),
        "appliedQuality": None,
        "storedFileId": _file_id(archive_key(job.id)),
    }


def tool_file_views(job: Job, link: Link) -> list[dict[str, Any]]:
    """Every output of a media tool that was waited for."""
    told = ("filename", "mimeType", "originalSize", "finalSize", "downloadUrl")
    return [{name: view[name] for name in told} for view in _output_views(job, link, Names())]


def media_view(job: Job, output: Artifact) -> dict[str, Any]:
    """What ``inspect`` found out; ``None`` for what the file does not tell."""
    source, facts = job.inputs[job.tasks[output.task or 0].inputs[0]], output.facts
    rate = facts.get("bit_rate")
    return {
        "filename": source.name,
        "mimeType": FORMATS[source.format].media_type,
        "sizeBytes": source.bytes,
        "kind": facts.get("kind"),
        "format": source.format,
        "width": facts.get("width"),
        "height": facts.get("height"),
        "duration": facts.get("duration"),
        "bitrateKbps": round(rate / 1000, 1) if rate else None,
        "streams": facts.get("streams", []),
    }


def delivery_view(delivery: Delivery, event: str) -> dict[str, Any]:
    """One callback; ``bodyPreview`` is the beginning of what the receiver answered."""
    last = delivery.attempts[-1] if delivery.attempts else None
    return {
        "id": delivery.id,
        "eventId": event_id(delivery),
        "jobId": delivery.job.id if delivery.job is not None else None,
        "endpoint": delivery.callback.url,
        "eventType": event,
        "status": _DELIVERY[delivery.state],
        "httpStatus": last.status if last is not None else None,
        "bodyPreview": last.body if last is not None else None,
        "error": last.error if last is not None else None,
        "attemptCount": len(delivery.attempts),
        "createdAt": timestamp(delivery.created_at),
        "lastAttemptAt": timestamp(last.at) if last is not None else None,
        "nextAttemptAt": timestamp(delivery.next_at),
        "completedAt": timestamp(delivery.finished_at),
    }


def event_id(delivery: Delivery) -> str:
    """The same on every attempt."""
    return f"evt_{delivery.id}"


def first_name(job: Job) -> str:
    """The file name that stands for the job."""
    return job.outputs[0].name if job.outputs else job.inputs[0].name


def _first_input(job: Job, task: Task) -> Artifact:
    return job.inputs[task.inputs[0]]


def _file_id(key: str) -> str:
    return str(uuid.uuid5(_FILES, key))
