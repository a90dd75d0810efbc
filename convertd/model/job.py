"""Jobs, and every rule by which they change.

A :class:`Job` is an immutable value with its tasks and artifacts. Each rule is a function from a job to the
changed job, or to ``None`` where the rule does not apply any more (the attempt was superseded, the job has
ended). Stores run a rule inside a transaction, so whoever gets a job back has won.

Times are seconds since the epoch (UTC), sizes bytes, progress 0.0 to 1.0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

import msgspec
from msgspec.structs import replace

from convertd.errors import Timeout, WorkerCrash, from_code


class State(StrEnum):
    """Where a job or task stands."""

    QUEUED = "queued"
    """Waits for a worker; nothing of the current attempt has begun."""
    RUNNING = "running"
    """A worker holds it under a lease."""
    SUCCEEDED = "succeeded"
    """Ended; at least one task has its output."""
    FAILED = "failed"
    """Ended without any output."""
    CANCELLED = "cancelled"
    """Ended by its owner."""

    @property
    def terminal(self) -> bool:
        """Whether it can change no more (but by a retry, which its owner asks for)."""
        return self in (State.SUCCEEDED, State.FAILED, State.CANCELLED)


class Failure(msgspec.Struct, frozen=True):
    """Why a task or job failed: a code of the closed list and a sentence fit for the client."""

    code: str
    message: str


# gc=False: nothing that it holds leads back to it, and the collector has less to walk through in listings.
class Artifact(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A stored file. ``name`` is the client's word and never becomes a path; ``key`` addresses the bytes."""

    key: str
    name: str
    format: str
    bytes: int
    sha256: str
    task: int | None = None
    """Index of the task that made it; ``None`` for an input."""
    facts: dict[str, Any] = {}
    notes: tuple[str, ...] = ()
    gone: bool = False
    """The file was deleted after its retention."""


class Task(msgspec.Struct, frozen=True, kw_only=True, gc=False):  # as above
    """One operation on its inputs toward one target format."""

    inputs: tuple[int, ...]
    """Indices into the job's inputs."""
    operation: str
    source: str
    target: str
    options: dict[str, Any]
    """As the client gave them, already validated."""
    engine: str
    fidelity: str
    state: State = State.QUEUED
    progress: float = 0.0
    attempts: int = 0
    error: Failure | None = None
    """Of its last attempt. A queued task with one failed in the job's attempt and waits for the next."""


class Callback(msgspec.Struct, frozen=True, kw_only=True):
    """Where a job's owner wants to be told of its end."""

    url: str
    secret: str | None = None
    """What to sign with; ``None`` for the account's own."""
    origin: str = ""
    """Scheme, host and port under which the owner reached this server: links in callbacks begin with it."""

    def __repr__(self) -> str:
        return f"Callback(url={self.url!r}, …)"  # or a log could tell the secret


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What a client submits, polls and cancels."""

    id: str
    account: str
    dialect: str
    operation: str
    created_at: float
    deadline: float
    run_after: float
    """Not claimed before this time: the retry back-off; also the order of the queue."""
    metadata: dict[str, Any] = {}
    extras: dict[str, Any] = {}
    """What the dialect that took the job wants to remember for its replies."""
    callback: Callback | None = None
    state: State = State.QUEUED
    state_since: float | None = None
    """When it last changed its state; ``None`` as long as it never did, and where that is not known."""
    version: int = 1
    attempt: int = 0
    token: str | None = None
    lease_until: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    inputs_expire_at: float | None = None
    outputs_expire_at: float | None = None
    error: Failure | None = None
    inputs: tuple[Artifact, ...]
    tasks: tuple[Task, ...]
    outputs: tuple[Artifact, ...] = ()
    """In the order of the tasks that made them."""

    @property
    def progress(self) -> float:
        """Mean of what the tasks reached, failed and cancelled ones too; 1 once the job has succeeded."""
        if self.state is State.SUCCEEDED:
            return 1.0
        return sum(task.progress for task in self.tasks) / len(self.tasks)

    @property
    def changed_at(self) -> float:
        """When it came to its state, as hosted services tell it; of jobs from before version 2 of the
        database, what is known of that."""
        return self.state_since or self.finished_at or self.started_at or self.created_at

    @property
    def next_expiry(self) -> float | None:
        """When the next of its files is due for deletion."""
        inputs = self.inputs_expire_at if any(not blob.gone for blob in self.inputs) else None
        outputs = self.outputs_expire_at if any(not blob.gone for blob in self.outputs) else None
        return min((time for time in (inputs, outputs) if time is not None), default=None)

    @property
    def keys_kept(self) -> list[str]:
        """Blob keys of its files that have not been deleted."""
        return [blob.key for blob in (*self.inputs, *self.outputs) if not blob.gone]

    @property
    def running_tasks(self) -> list[int]:
        """Indices of the tasks that its worker runs now."""
        return [index for index, task in enumerate(self.tasks) if task.state is State.RUNNING]

    @property
    def next_task(self) -> int | None:
        """Index of the first task that was not tried yet in the present attempt."""
        untried = (i for i, task in enumerate(self.tasks) if task.state is State.QUEUED and not task.error)
        return next(untried, None)

    def outputs_of(self, task: int) -> list[int]:
        """Indices of the outputs that the task made."""
        return [index for index, output in enumerate(self.outputs) if output.task == task]


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """How long the files of an ended job stay, in seconds."""

    inputs: float
    outputs: float


def _held(job: Job, token: str) -> bool:
    return job.state is State.RUNNING and job.token == token


def _with_task(job: Job, index: int, task: Task) -> Job:
    return replace(job, tasks=(*job.tasks[:index], task, *job.tasks[index + 1 :]))


def claimed(job: Job, *, now: float, token: str, lease_until: float) -> Job | None:
    """A worker takes the job; each task that is left may be tried once."""
    if job.state is not State.QUEUED or job.run_after > now:
        return None
    tasks = (replace(task, error=None) if task.state is State.QUEUED else task for task in job.tasks)
    return replace(
        job,
        tasks=tuple(tasks),
        state=State.RUNNING,
        state_since=now,
        attempt=job.attempt + 1,
        token=token,
        lease_until=lease_until,
        started_at=job.started_at or now,
    )


def beaten(job: Job, *, token: str, lease_until: float) -> Job | None:
    """The worker that holds the job renews its lease."""
    return replace(job, lease_until=lease_until) if _held(job, token) else None


def task_started(job: Job, *, token: str, index: int) -> Job | None:
    """The worker begins an attempt at a task."""
    task = job.tasks[index]
    if not _held(job, token) or task.state is not State.QUEUED:
        return None
    started = replace(task, state=State.RUNNING, attempts=task.attempts + 1, progress=0.0)
    return _with_task(job, index, started)


def task_progressed(job: Job, *, token: str, index: int, progress: float) -> Job | None:
    """Progress within an attempt; it never falls."""
    task = job.tasks[index]
    risen = task.progress < progress and task.progress < 1.0  # false for what is no number, too
    if not _held(job, token) or task.state is not State.RUNNING or not risen:
        return None
    return _with_task(job, index, replace(task, progress=min(progress, 1.0)))


def task_succeeded(job: Job, *, token: str, index: int, outputs: Sequence[Artifact]) -> Job | None:
    """The task's outputs are stored and become visible with this."""
    task = job.tasks[index]
    if not _held(job, token) or task.state is not State.RUNNING:
        return None
    done = replace(task, state=State.SUCCEEDED, progress=1.0, error=None)
    at = sum((output.task or 0) < index for output in job.outputs)
    merged = (*job.outputs[:at], *outputs, *job.outputs[at:])
    return replace(_with_task(job, index, done), outputs=merged)


def task_failed(job: Job, *, token: str, index: int, failure: Failure, max_attempts: int) -> Job | None:
    """An attempt failed: again in the queue where the error is retryable and attempts are left."""
    task = job.tasks[index]
    if not _held(job, token) or task.state is not State.RUNNING:
        return None
    return _with_task(job, index, _after_failure(task, failure, max_attempts))


def _after_failure(task: Task, failure: Failure, max_attempts: int) -> Task:
    again = from_code(failure.code, "").retryable and task.attempts < max_attempts
    if again:
        return replace(task, state=State.QUEUED, progress=0.0, error=failure)
    return replace(task, state=State.FAILED, error=failure)


def advanced(job: Job, *, token: str, now: float, retention: Retention, retry_at: float) -> Job | None:
    """What follows a claim or the end of an attempt at a task.

    While other tasks run nothing does, so that another job may have the slot. Else the next task starts, or
    the job is settled.
    """
    if job.running_tasks:
        return job
    if job.next_task is not None:
        return task_started(job, token=token, index=job.next_task)
    return settled(job, token=token, now=now, retention=retention, retry_at=retry_at)


def settled(
    job: Job, *, token: str, now: float, retention: Retention, retry_at: float | None = None
) -> Job | None:
    """The worker has run every task it could: the job ends, or waits until ``retry_at`` for those left."""
    if not _held(job, token):
        return None
    if all(task.state.terminal for task in job.tasks):
        return _ended(job, now, retention)
    return _requeued(job, now, now if retry_at is None else retry_at)


def _requeued(job: Job, now: float, run_after: float) -> Job:
    tasks = tuple(
        replace(task, state=State.QUEUED, progress=0.0) if task.state is State.RUNNING else task
        for task in job.tasks
    )
    return replace(
        job,
        state=State.QUEUED,
        state_since=now,
        token=None,
        lease_until=None,
        run_after=run_after,
        tasks=tasks,
    )


def _ended(job: Job, now: float, retention: Retention, state: State | None = None) -> Job:
    won = any(task.state is State.SUCCEEDED for task in job.tasks)
    state = state or (State.SUCCEEDED if won else State.FAILED)
    return replace(
        job,
        state=state,
        state_since=now,
        token=None,
        lease_until=None,
        finished_at=now,
        inputs_expire_at=now + retention.inputs,
        outputs_expire_at=now + retention.outputs,
        error=_summary(job.tasks) if state is State.FAILED else None,
    )


def _summary(tasks: Sequence[Task]) -> Failure:
    """The one error of a failed job: that of its first failed task, with a count where there are several."""
    failures = [task.error for task in tasks if task.error is not None]
    first = failures[0]
    if len(failures) == 1:
        return first
    return Failure(first.code, f"All {len(failures)} tasks failed; the first: {first.message}")


def drained(job: Job, *, token: str, now: float) -> Job | None:
    """The server stops and gives the job back; this costs neither the job nor its tasks an attempt."""
    if not _held(job, token):
        return None
    tasks = tuple(
        replace(task, attempts=task.attempts - 1) if task.state is State.RUNNING else task
        for task in job.tasks
    )
    return _requeued(replace(job, tasks=tasks, attempt=job.attempt - 1), now, min(job.run_after, now))


def orphaned(
    job: Job, *, now: float, lapsed_before: float, max_attempts: int, retention: Retention
) -> Job | None:
    """The lease ran out before ``lapsed_before``: the worker died with the job.

    Each running task has used up an attempt.
    """
    if job.state is not State.RUNNING or job.lease_until is None or job.lease_until > lapsed_before:
        return None
    crash = Failure(WorkerCrash.code, "The converting process died on this file again and again.")
    tasks = tuple(
        _after_failure(task, crash, max_attempts) if task.state is State.RUNNING else task
        for task in job.tasks
    )
    job = replace(job, tasks=tasks)
    if all(task.state.terminal for task in tasks):
        return _ended(job, now, retention)
    return _requeued(job, now, now)


def overdue(job: Job, *, now: float, retention: Retention) -> Job | None:
    """The deadline passed: what has not ended fails with ``timeout``."""
    if job.state.terminal or job.deadline > now:
        return None
    late = Failure(Timeout.code, "The job did not end within its time; submit it again or in smaller parts.")
    return _ended(replace(job, tasks=_stopped(job.tasks, State.FAILED, late)), now, retention)


def _stopped(tasks: Iterable[Task], state: State, failure: Failure | None) -> tuple[Task, ...]:
    return tuple(task if task.state.terminal else replace(task, state=state, error=failure) for task in tasks)


def cancelled(job: Job, *, now: float, retention: Retention, only_queued: bool = False) -> Job | None:
    """The owner cancels it, queued or (unless ``only_queued``) running; the worker loses its hold at once."""
    if job.state.terminal or (only_queued and job.state is not State.QUEUED):
        return None
    stopped = replace(job, tasks=_stopped(job.tasks, State.CANCELLED, None))
    return _ended(stopped, now, retention, State.CANCELLED)


def retried(job: Job, *, now: float, deadline: float) -> Job | None:
    """The owner runs a failed or cancelled job again; what has succeeded stays."""
    gone = any(blob.gone for blob in (*job.inputs, *job.outputs))
    if job.state not in (State.FAILED, State.CANCELLED) or gone:
        return None
    tasks = tuple(
        task
        if task.state is State.SUCCEEDED
        else replace(task, state=State.QUEUED, progress=0.0, attempts=0, error=None)
        for task in job.tasks
    )
    return replace(
        job,
        state=State.QUEUED,
        state_since=now,
        tasks=tasks,
        attempt=0,
        error=None,
        run_after=now,
        deadline=deadline,
        started_at=None,
        finished_at=None,
        inputs_expire_at=None,
        outputs_expire_at=None,
    )


def emptied(job: Job, *, now: float) -> Job | None:
    """Files past their retention are marked gone; the caller deletes the bytes once this is committed."""
    if not job.state.terminal or job.next_expiry is None or job.next_expiry > now:
        return None
    drop_inputs = job.inputs_expire_at is not None and job.inputs_expire_at <= now
    drop_outputs = job.outputs_expire_at is not None and job.outputs_expire_at <= now
    return replace(
        job,
        inputs=_gone(job.inputs) if drop_inputs else job.inputs,
        outputs=_gone(job.outputs) if drop_outputs else job.outputs,
    )


def _gone(artifacts: Iterable[Artifact]) -> tuple[Artifact, ...]:
    return tuple(replace(artifact, gone=True) for artifact in artifacts)
