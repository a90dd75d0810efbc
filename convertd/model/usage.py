"""What accounts have used: the jobs that have ended, counted by month."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from convertd.model.job import Job, State


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over ended jobs; sizes in bytes, of those that have succeeded."""

    jobs: int = 0
    succeeded: int = 0
    input_bytes: int = 0
    output_bytes: int = 0
    saved_bytes: int = 0
    """By how much the outputs of each task are smaller than its inputs; nothing where they are larger."""

    def __add__(self, other: Usage) -> Usage:
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in Usage.__struct_fields__})

    def __neg__(self) -> Usage:
        return Usage(**{name: -getattr(self, name) for name in Usage.__struct_fields__})


def usage_of(job: Job) -> Usage:
    """What an ended job counts for."""
    if job.state is not State.SUCCEEDED:
        return Usage(jobs=1)
    return Usage(
        jobs=1,
        succeeded=1,
        input_bytes=sum(blob.bytes for blob in job.inputs),
        output_bytes=sum(blob.bytes for blob in job.outputs),
        saved_bytes=sum(_saved(job, index) for index in range(len(job.tasks))),
    )


def _saved(job: Job, index: int) -> int:
    task = job.tasks[index]
    if task.state is not State.SUCCEEDED:
        return 0
    read = sum(job.inputs[number].bytes for number in task.inputs)
    made = sum(job.outputs[number].bytes for number in job.outputs_of(index))
    return max(0, read - made)


def counted(before: Job, after: Job) -> tuple[str, Usage] | None:
    """The month (``YYYY-MM``, UTC) whose sums the change concerns, and what it adds to them.

    A job that is run again is taken back, and counts anew when it ends: each job counts once, as what became
    of it last.
    """
    if before.finished_at is None and after.finished_at is not None:
        return month_of(after.finished_at), usage_of(after)
    if before.finished_at is not None and after.finished_at is None:
        return month_of(before.finished_at), -usage_of(before)
    return None


def month_of(time: float) -> str:
    """``YYYY-MM`` of a time, in UTC."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m")
