"""Jobs as the native API shows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from convertd.api.dialect import archive_key, has_all_outputs
from convertd.model.formats import FORMATS
from convertd.model.job import Artifact, Failure, Job, State, Task
from convertd.web.replies import timestamp

DOWNLOADS: Final = "/download"
"""Where links to outputs lead, which need no key."""
LinkMaker = Callable[[str, int], str]
"""Makes the signed address of the output with this key, good until this second."""


def job_view(
    job: Job, *, origin: str, link: LinkMaker, links_until: int, queue_position: int | None
) -> dict[str, Any]:
    """The job document. ``links_until`` is when the fresh links end."""
    view: dict[str, Any] = {
        "id": job.id,
        "status": job.state.value,
        "operation": job.operation,
        "progress": _percent(job.progress),
        "created_at": timestamp(job.created_at),
        "started_at": timestamp(job.started_at),
        "finished_at": timestamp(job.finished_at),
        "expires_at": timestamp(job.outputs_expire_at),
    }
    if queue_position is not None:
        view["queue_position"] = queue_position
    view |= {
        "attempts": job.attempt,
        "metadata": job.metadata,
        "inputs": [_file(blob) for blob in job.inputs],
        "tasks": _tasks(job),
        "outputs": [_output(blob, link, links_until) for blob in job.outputs],
        "counts": _counts(job),
        "error": _error(job.error),
        "links": _links(job, origin),
    }
    if job.extras.get("archive") and has_all_outputs(job):
        view["archive_url"] = link(archive_key(job.id), links_until)
    return view


def _percent(progress: float) -> float:
    return round(progress * 100, 1)


def _counts(job: Job) -> dict[str, int]:
    counts = {state.value: 0 for state in State}
    for task in job.tasks:
        counts[task.state.value] += 1
    return {"tasks": len(job.tasks)} | counts


def _error(error: Failure | None) -> dict[str, str] | None:
    return {"code": error.code, "message": error.message} if error is not None else None


def _file(blob: Artifact) -> dict[str, Any]:
    return {
        "name": blob.name,
        "format": blob.format,
        "media_type": FORMATS[blob.format].media_type,
        "bytes": blob.bytes,
        "sha256": blob.sha256,
    }


def _tasks(job: Job) -> list[dict[str, Any]]:
    made: list[list[int]] = [[] for _ in job.tasks]
    for number, blob in enumerate(job.outputs):
        if blob.task is not None:
            made[blob.task].append(number)
    return [_task(index, task, made[index]) for index, task in enumerate(job.tasks)]


def _task(index: int, task: Task, outputs: list[int]) -> dict[str, Any]:
    return {
        "id": index,
        "input": task.inputs[0],
        "inputs": list(task.inputs),
        "operation": task.operation,
        "target": task.target,
        "status": task.state.value,
        "progress": _percent(task.progress),
        "engine": task.engine,
        "fidelity": task.fidelity,
        "attempts": task.attempts,
        "error": _error(task.error),
        "output": outputs[0] if outputs else None,
        "outputs": outputs,
    }


def _output(blob: Artifact, link: LinkMaker, until: int) -> dict[str, Any]:
    view = {
        "task": blob.task,
        **_file(blob),
        "url": None if blob.gone else link(blob.key, until),
        "url_expires_at": None if blob.gone else timestamp(until),
    }
    facts = {name: value for name, value in blob.facts.items() if name not in view}
    return view | facts | {"notes": list(blob.notes)}


def _links(job: Job, origin: str) -> dict[str, str]:
    self_link = f"{origin}/jobs/{job.id}"
    links = {"self": self_link}
    if not job.state.terminal:
        links["cancel"] = self_link
    if has_all_outputs(job):
        links["archive"] = f"{self_link}/archive"
    if job.state in (State.FAILED, State.CANCELLED):
        links["retry"] = f"{self_link}/retry"
    return links
