"""The only writer of state: everything that happens to a job happens through here."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial

import msgspec

from convertd.engines.registry import Registry
from convertd.errors import (
    Conflict,
    ConvertdError,
    Expired,
    IdempotencyInFlight,
    NotFound,
    QueueFull,
)
from convertd.jobs.hints import Bus, Subscription, WorkDispatcher
from convertd.jobs.store import Cursor, Due, IdempotencyKey, Reservation, Rule, Store
from convertd.jobs.submission import Submission, plan_task
from convertd.model import job as rules
from convertd.model.ids import new_token
from convertd.model.job import Artifact, Failure, Job, Retention, State
from convertd.storage.base import BlobStore

Clock = Callable[[], float]

log = logging.getLogger(__name__)

_SWEEP_BATCH = 200
_LOOK_AGAIN = 2.0


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The figures by which jobs live; durations in seconds."""

    queue: int
    attempts: int
    deadline: float
    lease: float
    retry_delay: float
    retention: Retention
    keep_rows: float
    keep_keys: float


class JobService:
    """Submitting, reading, claiming, finishing, cancelling, retrying and clearing away jobs."""

    def __init__(
        self,
        *,
        store: Store,
        blobs: BlobStore,
        registry: Registry,
        bus: Bus,
        dispatcher: WorkDispatcher,
        policy: Policy,
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        """``jitter`` gives numbers from 0 to 1 that spread retries."""
        self._store = store
        self._blobs = blobs
        self._registry = registry
        self._bus = bus
        self._dispatcher = dispatcher
        self._policy = policy
        self._clock = clock
        self._jitter = jitter

    # For those who submit and read

    async def check_room(self) -> None:
        """Raises :class:`QueueFull` when the queue has reached its limit."""
        if await self._store.waiting() >= self._policy.queue:
            raise QueueFull("The queue is full; try again later.", retry_after=10)

    async def submit(self, submission: Submission, key: IdempotencyKey | None = None) -> Job:
        """Check the submission against what this machine can do and keep it as a queued job.

        On return the job survives a power cut. On any error nothing is kept; the stored inputs remain the
        caller's to delete.
        """
        tasks = tuple(plan_task(self._registry, submission.inputs, request) for request in submission.tasks)
        await self.check_room()
        now = self._clock()
        job = Job(
            id=submission.job_id,
            account=submission.account,
            dialect=submission.dialect,
            operation=submission.operation,
            created_at=now,
            run_after=now,
            deadline=now + self._policy.deadline,
            metadata=submission.metadata,
            extras=submission.extras,
            inputs=submission.inputs,
            tasks=tasks,
        )
        await self._store.insert(job, key)
        self._dispatcher.announce()
        return job

    async def get(self, account: str, job_id: str) -> Job:
        """The account's job; raises :class:`NotFound`."""
        job = await self._store.get(job_id)
        if job is None or job.account != account:
            raise NotFound("There is no such job; it may have been removed after its retention.")
        return job

    async def version(self, account: str, job_id: str) -> int:
        """The job's row version, at the least cost; raises :class:`NotFound`."""
        found = await self._store.version(job_id)
        if found is None or found[1] != account:
            raise NotFound("There is no such job; it may have been removed after its retention.")
        return found[0]

    async def page(self, account: str, *, state: State | None, after: Cursor | None, limit: int) -> list[Job]:
        """Jobs of the account, newest first."""
        return await self._store.page(account, state=state, after=after, limit=limit)

    async def queue_position(self, job: Job) -> int | None:
        """1 for the job that will be claimed next; ``None`` when it is not queued."""
        return await self._store.ahead_of(job) + 1 if job.state is State.QUEUED else None

    async def output(self, key: str) -> Artifact:
        """The output with this key; raises :class:`NotFound`, or :class:`Expired` when its file is gone."""
        found = await self._store.output(key)
        if found is None:
            raise NotFound("There is no such file.")
        if found.gone:
            raise Expired("The file was removed after its retention; convert it again.")
        return found

    async def cancel(self, account: str, job_id: str) -> Job:
        """Cancel a queued or running job; raises :class:`Conflict` when it has ended."""
        job = await self.get(account, job_id)
        rule = partial(rules.cancelled, now=self._clock(), retention=self._policy.retention)
        changed = await self._change(job_id, rule)
        if changed is None:
            job = await self.get(account, job_id)
            raise Conflict(
                f"The job has ended as {job.state.value}; only queued and running jobs can be cancelled."
            )
        return changed

    async def retry(self, account: str, job_id: str) -> Job:
        """Run a failed or cancelled job again from its stored inputs."""
        job = await self.get(account, job_id)
        if any(blob.gone for blob in job.inputs):
            raise Expired("The job's inputs were removed after their retention; submit them again.")
        await self.check_room()
        now = self._clock()
        changed = await self._change(
            job_id, partial(rules.retried, now=now, deadline=now + self._policy.deadline)
        )
        if changed is None:
            job = await self.get(account, job_id)
            raise Conflict(f"The job is {job.state.value}; only failed and cancelled jobs can be run again.")
        self._dispatcher.announce()
        return changed

    def watch(self, job_id: str) -> AbstractContextManager[Subscription]:
        """Hints about changes of the job, for as long as the context lasts."""
        return self._bus.subscribe(job_id)

    async def wait_terminal(self, job: Job, seconds: float) -> Job:
        """The job once it has ended, or as it is after ``seconds``."""
        return await self._wait(job, seconds, lambda current: current.state.terminal)

    async def wait_change(self, job: Job, seconds: float) -> Job:
        """The job once its state differs from ``job``'s (at once if that is terminal), or after ``seconds``."""
        return await self._wait(
            job, seconds, lambda current: current.state.terminal or current.state is not job.state
        )

    async def _wait(self, job: Job, seconds: float, done: Callable[[Job], bool]) -> Job:
        """Hints are lossy, so the row is looked at now and then as well."""
        until = self._clock() + seconds
        with self._bus.subscribe(job.id) as hints:
            job = await self.get(job.account, job.id)
            while not done(job) and (left := until - self._clock()) > 0:
                await hints.wait(min(left, _LOOK_AGAIN))
                job = await self.get(job.account, job.id)
        return job

    # Idempotency

    async def reserve(self, account: str, key: str, *, seconds: float) -> Reservation | None:
        """Take an idempotency key for a request in flight, for at most ``seconds``.

        Returns ``None`` when the caller holds it now, else what it stands for: the job that it made. Raises
        :class:`IdempotencyInFlight` while the first request is still being received.
        """
        now = self._clock()
        taken = await self._store.reserve(account, key, now=now, until=now + seconds)
        if taken is not None and taken.job_id is None:
            raise IdempotencyInFlight(
                "The first request with this Idempotency-Key is still being received; try again shortly.",
                retry_after=2,
            )
        return taken

    async def release(self, account: str, key: str) -> None:
        """Give back a key whose request made no job."""
        await self._store.release(account, key)

    def key_record(self, account: str, key: str, fingerprint: str) -> IdempotencyKey:
        """The record to submit with the job."""
        return IdempotencyKey(
            account=account,
            key=key,
            fingerprint=fingerprint,
            expires_at=self._clock() + self._policy.keep_keys,
        )

    # For workers

    async def claim(self) -> Job | None:
        """The job that waited longest, now held by the caller under ``job.token``."""
        now = self._clock()
        job = await self._store.claim(now=now, token=new_token(), lease_until=now + self._policy.lease)
        if job is not None:
            self._bus.publish(job.id)
        return job

    async def beat(self, job: Job) -> bool:
        """Renew the lease; false when the job is no longer the caller's."""
        lease_until = self._clock() + self._policy.lease
        rule = partial(rules.beaten, token=_token(job), lease_until=lease_until)
        return await self._store.update(job.id, rule) is not None

    async def holds(self, job: Job) -> bool:
        """Whether the job is still the caller's."""
        current = await self._store.get(job.id)
        return current is not None and current.state is State.RUNNING and current.token == job.token

    async def start_task(self, job: Job, index: int) -> Job | None:
        """Begin an attempt at a task; ``None`` when the job was lost."""
        return await self._change(job.id, partial(rules.task_started, token=_token(job), index=index))

    async def progress(self, job: Job, index: int, progress: float) -> None:
        """Tell how far the running task is."""
        rule = partial(rules.task_progressed, token=_token(job), index=index, progress=progress)
        await self._change(job.id, rule)

    async def complete_task(self, job: Job, index: int, outputs: Sequence[Artifact]) -> bool:
        """Publish the task's stored outputs; false when the job was lost and they must be deleted."""
        rule = partial(rules.task_succeeded, token=_token(job), index=index, outputs=outputs)
        return await self._change(job.id, rule) is not None

    async def fail_task(self, job: Job, index: int, error: ConvertdError) -> None:
        """Record a failed attempt; the task is queued again if that makes sense."""
        rule = partial(
            rules.task_failed,
            token=_token(job),
            index=index,
            failure=Failure(error.code, error.message),
            max_attempts=self._policy.attempts,
        )
        await self._change(job.id, rule)

    async def settle(self, job: Job) -> Job | None:
        """End the job, or queue it again for the tasks that are to be retried, after a back-off."""
        now = self._clock()
        rule = partial(
            rules.settled,
            token=_token(job),
            now=now,
            retention=self._policy.retention,
            retry_at=now + self._back_off(job.attempt),
        )
        changed = await self._change(job.id, rule)
        if changed is not None and changed.state is State.QUEUED:
            self._dispatcher.announce()
        return changed

    def _back_off(self, attempt: int) -> float:
        """Doubling from ``retry_delay``, at most five minutes, with up to a quarter of jitter."""
        delay = self._policy.retry_delay * 2.0 ** (attempt - 1)
        return min(delay, 300.0) * (1 + self._jitter() / 4)

    async def drain(self, job: Job) -> None:
        """Give a job back because the server stops; costs no attempt."""
        await self._change(job.id, partial(rules.drained, token=_token(job), now=self._clock()))

    # Housekeeping

    async def rescue(self, *, all_running: bool = False) -> int:
        """Requeue (or fail) jobs whose lease ran out; ``all_running`` at start, when no worker can be alive."""
        now = self._clock()
        lapsed_before = math.inf if all_running else now
        rule = partial(
            rules.orphaned,
            now=now,
            lapsed_before=lapsed_before,
            max_attempts=self._policy.attempts,
            retention=self._policy.retention,
        )
        rescued = await self._change_due(Due.LEASE, lapsed_before, rule)
        if rescued:
            log.warning("rescued %d jobs whose worker had died", rescued)
            self._dispatcher.announce()
        return rescued

    async def expire_deadlines(self) -> int:
        """Fail jobs that have not ended within their deadline."""
        now = self._clock()
        rule = partial(rules.overdue, now=now, retention=self._policy.retention)
        return await self._change_due(Due.DEADLINE, now, rule)

    async def expire_files(self) -> int:
        """Delete the files that are past their retention: row first, then bytes."""
        now = self._clock()
        return await self._change_due(Due.EXPIRY, now, partial(rules.emptied, now=now), self._delete_gone)

    async def _delete_gone(self, job: Job) -> None:
        await self._blobs.delete([blob.key for blob in (*job.inputs, *job.outputs) if blob.gone])

    async def remove_rows(self) -> int:
        """Delete the rows (and what files are left) of jobs that ended long ago, and expired keys."""
        now = self._clock()
        await self._store.forget(before=now)
        removed = 0
        while ids := await self._store.due(
            Due.REMOVAL, before=now - self._policy.keep_rows, limit=_SWEEP_BATCH
        ):
            keys = await self._store.keys_of(ids)
            for job_id in ids:
                await self._store.delete(job_id)
            await self._blobs.delete(keys)
            removed += len(ids)
        return removed

    async def sweep_strays(self) -> int:
        """At start, before anything is accepted: void reservations, delete files that belong to no row."""
        await self._store.void()
        removed = 0
        batch: list[str] = []
        async for blob in self._blobs.blobs():
            batch.append(blob.key)
            if len(batch) == _SWEEP_BATCH:
                removed += await self._delete_unknown(batch)
                batch = []
        removed += await self._delete_unknown(batch)
        if removed:
            log.warning("removed %d files that belonged to no job", removed)
        return removed

    async def _delete_unknown(self, keys: Sequence[str]) -> int:
        strays = set(keys) - await self._store.known(keys)
        await self._blobs.delete(sorted(strays))
        return len(strays)

    async def _change_due(
        self, what: Due, before: float, rule: Rule, then: Callable[[Job], Awaitable[None]] | None = None
    ) -> int:
        """Apply ``rule`` to all jobs that are due; how many it changed."""
        changed_jobs = 0
        while ids := await self._store.due(what, before=before, limit=_SWEEP_BATCH):
            changed = [job for job_id in ids if (job := await self._change(job_id, rule)) is not None]
            if then is not None:
                for job in changed:
                    await then(job)
            changed_jobs += len(changed)
            if len(changed) < len(ids):
                break  # the rest changed under us and is seen again next time
        return changed_jobs

    async def _change(self, job_id: str, rule: Rule) -> Job | None:
        changed = await self._store.update(job_id, rule)
        if changed is not None:
            self._bus.publish(job_id)
        return changed


def _token(job: Job) -> str:
    if job.token is None:
        raise ValueError("only a claimed job has a token")
    return job.token
