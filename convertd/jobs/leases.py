"""What workers do with jobs: claim, hold, and report task by task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial

from convertd.errors import ConvertdError
from convertd.jobs.hints import Subscription
from convertd.jobs.ledger import Ledger
from convertd.model import job as rules
from convertd.model.ids import new_token
from convertd.model.job import Artifact, Failure, Job, State


class Leases:
    """Claiming jobs and reporting on those that are held; every report carries the claim's token."""

    def __init__(self, ledger: Ledger, *, jitter: Callable[[], float]) -> None:
        """``jitter`` gives numbers from 0 to 1 that spread retries."""
        self._ledger = ledger
        self._jitter = jitter

    def watch(self, job_id: str) -> AbstractContextManager[Subscription]:
        """Hints about changes of the job, for as long as the context lasts."""
        return self._ledger.bus.subscribe(job_id)

    async def claim(self) -> Job | None:
        """The job that waited longest, now held by the caller under ``job.token``."""
        now = self._ledger.clock()
        job = await self._ledger.store.claim(
            now=now, token=new_token(), lease_until=now + self._ledger.policy.lease
        )
        if job is not None:
            self._ledger.bus.publish(job.id)
        return job

    async def beat(self, job: Job) -> bool:
        """Renew the lease; false when the job is no longer the caller's."""
        lease_until = self._ledger.clock() + self._ledger.policy.lease
        rule = partial(rules.beaten, token=_token(job), lease_until=lease_until)
        return await self._ledger.store.update(job.id, rule) is not None

    async def holds(self, job: Job) -> bool:
        """Whether the job is still the caller's."""
        current = await self._ledger.store.get(job.id)
        return current is not None and current.state is State.RUNNING and current.token == job.token

    async def start_task(self, job: Job, index: int) -> Job | None:
        """Begin an attempt at a task; ``None`` when the job was lost."""
        return await self._ledger.change(job.id, partial(rules.task_started, token=_token(job), index=index))

    async def progress(self, job: Job, index: int, progress: float) -> None:
        """Tell how far the running task is."""
        rule = partial(rules.task_progressed, token=_token(job), index=index, progress=progress)
        await self._ledger.change(job.id, rule)

    async def complete_task(self, job: Job, index: int, outputs: Sequence[Artifact]) -> bool:
        """Publish the task's stored outputs; false when the job was lost and they must be deleted."""
        rule = partial(rules.task_succeeded, token=_token(job), index=index, outputs=outputs)
        return await self._ledger.change(job.id, rule) is not None

    async def fail_task(self, job: Job, index: int, error: ConvertdError) -> None:
        """Record a failed attempt; the task is queued again if that makes sense."""
        rule = partial(
            rules.task_failed,
            token=_token(job),
            index=index,
            failure=Failure(error.code, error.message),
            max_attempts=self._ledger.policy.attempts,
        )
        await self._ledger.change(job.id, rule)

    async def settle(self, job: Job) -> Job | None:
        """End the job, or queue it again for the tasks that are to be retried, after a back-off."""
        now = self._ledger.clock()
        rule = partial(
            rules.settled,
            token=_token(job),
            now=now,
            retention=self._ledger.policy.retention,
            retry_at=now + self._back_off(job.attempt),
        )
        changed = await self._ledger.change(job.id, rule)
        if changed is not None and changed.state is State.QUEUED:
            self._ledger.dispatcher.announce()
        return changed

    def _back_off(self, attempt: int) -> float:
        """Doubling from ``retry_delay``, at most five minutes, with up to a quarter of jitter."""
        delay = self._ledger.policy.retry_delay * 2.0 ** (attempt - 1)
        return min(delay, 300.0) * (1 + self._jitter() / 4)

    async def drain(self, job: Job) -> None:
        """Give a job back because the server stops; costs no attempt."""
        await self._ledger.change(job.id, partial(rules.drained, token=_token(job), now=self._ledger.clock()))


def _token(job: Job) -> str:
    if job.token is None:
        raise ValueError("only a claimed job has a token")
    return job.token
