"""Jobs made up for tests, with what a test does not care about filled in."""

from __future__ import annotations

from typing import Any

from convertd.model.ids import new_job_id
from convertd.model.job import Artifact, Job, Retention, Task

NOW = 1_000_000.0
RETENTION = Retention(inputs=100.0, outputs=200.0)


def make_artifact(key: str, **changes: Any) -> Artifact:
    given: dict[str, Any] = {"name": "photo.png", "format": "png", "bytes": 10, "sha256": "ab" * 32} | changes
    return Artifact(key=key, **given)


def make_task(**changes: Any) -> Task:
    given: dict[str, Any] = {
        "inputs": (0,),
        "operation": "convert",
        "source": "png",
        "target": "jpg",
        "options": {},
        "engine": "fake",
        "fidelity": "exact",
    }
    return Task(**(given | changes))


def make_job(*, tasks: int = 1, **changes: Any) -> Job:
    job_id = changes.pop("id", None) or new_job_id()
    given: dict[str, Any] = {
        "account": "local",
        "dialect": "native",
        "operation": "convert",
        "created_at": NOW,
        "deadline": NOW + 1000,
        "run_after": NOW,
        "inputs": (make_artifact(f"{job_id}-in-0"),),
        "tasks": tuple(make_task() for _ in range(tasks)),
    }
    return Job(id=job_id, **(given | changes))
