"""What workers do with jobs: claim, hold, and report task by task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import NamedTuple

from convertd.errors import ConvertdError
from convertd.jobs.hints import Subscription
from convertd.jobs.ledger import Ledger
from convertd.jobs.store import Rule
from convertd.model import job as rules
from convertd.model.ids import new_token
from convertd.model.job import Artifact, Failure, Job, State


class Turn(NamedTuple):
    """What came of a report."""

    job: Job
    task: int | None
    """Index of the task that was started with it, which the caller has to run."""


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
        """The job that waited longest, now held under ``job.token``, its first queued task started."""
        now = self._ledger.clock()
        token, lease_until = new_token(), now + self._ledger.policy.lease

        def rule(job: Job) -> Job | None:
            claimed = rules.claimed(job, now=now, token=token, lease_until=lease_until)
            return self._advanced(claimed, token) if claimed is not None else None

        job = await self._ledger.store.claim(rule, now=now)
        if job is not None:
            self._ledger.tell(job)
        return job

    async def beat(self, job: Job) -> bool:
        """Renew the lease; false when the job is no longer the caller's."""
        lease_until = self._ledger.clock() + self._ledger.policy.lease
        rule = partial(rules.beaten, token=_token(job), lease_until=lease_until)
        return await self._ledger.store.update(job.id, rule, durable=False) is not None

    async def holds(self, job: Job) -> bool:
        """Whether the job is still the caller's."""
        brief = await self._ledger.store.brief(job.id)
        return brief is not None and brief.state is State.RUNNING and brief.token == job.token

    async def start_task(self, job: Job) -> int | None:
        """Start another task beside those that run; its index, ``None`` when none is left or the job lost."""
        token = _token(job)

        def rule(current: Job) -> Job | None:
            index = current.next_task
            return rules.task_started(current, token=token, index=index) if index is not None else None

        turn = await self._report(job, rule, durable=False)
        return turn.task if turn is not None else None

    async def progress(self, job: Job, index: int, progress: float) -> None:
        """Tell how far a running task is."""
        rule = partial(rules.task_progressed, token=_token(job), index=index, progress=progress)
        await self._ledger.change(job.id, rule, durable=False)

    async def complete_task(self, job: Job, index: int, outputs: Sequence[Artifact]) -> Turn | None:
        """Publish the task's stored outputs; if no other runs, go on to the next or to the end of the job.

        ``None`` when the job was lost: then the outputs must be deleted.
        """
        token = _token(job)

        def rule(current: Job) -> Job | None:
            done = rules.task_succeeded(current, token=token, index=index, outputs=outputs)
            return self._advanced(done, token) if done is not None else None

        return await self._report(job, rule)

    async def fail_task(self, job: Job, index: int, error: ConvertdError) -> Turn | None:
        """Record a failed attempt, to be tried again if that makes sense, and go on; ``None`` when lost."""
        token = _token(job)
        failure = Failure(error.code, error.message)
        most = self._ledger.policy.attempts

        def rule(current: Job) -> Job | None:
            failed = rules.task_failed(current, token=token, index=index, failure=failure, max_attempts=most)
            return self._advanced(failed, token) if failed is not None else None

        return await self._report(job, rule)

    def _advanced(self, job: Job, token: str) -> Job | None:
        """If no task runs: the next started, or the job ended, or queued again for what is to be retried."""
        now = self._ledger.clock()
        return rules.advanced(
            job,
            token=token,
            now=now,
            retention=self._ledger.policy.retention,
            retry_at=now + self._back_off(job.attempt),
        )

    async def _report(self, job: Job, rule: Rule, *, durable: bool = True) -> Turn | None:
        ran_before: list[int] = []

        def watched(current: Job) -> Job | None:
            ran_before[:] = current.running_tasks
            return rule(current)

        changed = await self._ledger.change(job.id, watched, durable=durable)
        if changed is None:
            return None
        if changed.state is State.QUEUED:
            self._ledger.work.announce()
        started = (index for index in changed.running_tasks if index not in ran_before)
        return Turn(changed, next(started, None))

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
