"""What clients do with jobs: submit, read, wait, cancel, retry."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from convertd.engines.registry import Registry
from convertd.errors import Conflict, Expired, IdempotencyInFlight, NotFound, NotReady, QueueFull
from convertd.jobs.ledger import Ledger
from convertd.jobs.store import Brief, Cursor, IdempotencyKey, Reservation, Selection
from convertd.jobs.submission import Submission, plan_task
from convertd.model import job as rules
from convertd.model.job import Artifact, Job, State
from convertd.model.usage import Usage

_LOOK_AGAIN = 2.0
"""A waiting client's floor under lost hints, in seconds."""


class JobService:
    """Submitting, reading, waiting for, cancelling and retrying jobs."""

    def __init__(self, ledger: Ledger, registry: Registry) -> None:
        self._ledger = ledger
        self._registry = registry
        self.stopping = False
        """Whether waits end at once."""

    async def check_room(self) -> None:
        """Raises :class:`QueueFull` when the queue has reached its limit."""
        if await self._ledger.store.waiting() >= self._ledger.policy.queue:
            raise QueueFull("The queue is full; try again later.", retry_after=10)

    async def submit(self, submission: Submission, key: IdempotencyKey | None = None) -> Job:
        """Check the submission against what this machine can do and keep it as a queued job.

        On return the job survives a power cut. On any error nothing is kept; the stored inputs remain the
        caller's to delete.
        """
        tasks = tuple(plan_task(self._registry, submission.inputs, request) for request in submission.tasks)
        await self.check_room()
        now = self._ledger.clock()
        job = Job(
            id=submission.job_id,
            account=submission.account,
            dialect=submission.dialect,
            operation=submission.operation,
            created_at=now,
            run_after=now,
            deadline=now + self._ledger.policy.deadline,
            metadata=submission.metadata,
            extras=submission.extras,
            callback=submission.callback,
            inputs=submission.inputs,
            tasks=tasks,
        )
        await self._ledger.store.insert(job, key)
        self._ledger.work.announce()
        return job

    async def get(self, account: str, job_id: str, *, dialect: str | None = None) -> Job:
        """The account's job, only one that came through the ``dialect`` if that is given: others' jobs can
        be such that it has no words for them. Raises :class:`NotFound`."""
        job = await self._ledger.store.get(job_id)
        if job is None or job.account != account or dialect not in (job.dialect, None):
            raise _no_such_job()
        return job

    async def version(self, account: str, job_id: str) -> int:
        """The job's row version, at the least cost; raises :class:`NotFound`."""
        return (await self._brief(account, job_id)).version

    async def _brief(self, account: str, job_id: str) -> Brief:
        found = await self._ledger.store.brief(job_id)
        if found is None or found.account != account:
            raise _no_such_job()
        return found

    async def page(
        self, selection: Selection, *, after: Cursor | None = None, offset: int = 0, limit: int
    ) -> list[Job]:
        """Jobs of the selection, newest first."""
        return await self._ledger.store.page(selection, after=after, offset=offset, limit=limit)

    async def count(self, selection: Selection) -> int:
        """How many jobs the selection has."""
        return await self._ledger.store.count(selection)

    async def usage(self, account: str, *, dialect: str | None, since_month: str | None = None) -> Usage:
        """What the account's ended jobs sum up to; ``since_month`` is ``YYYY-MM`` in UTC."""
        return await self._ledger.store.count_usage(account, dialect=dialect, since_month=since_month)

    async def queue_position(self, job: Job) -> int | None:
        """1 for the job that will be claimed next; ``None`` when it is not queued."""
        return await self._ledger.store.ahead_of(job) + 1 if job.state is State.QUEUED else None

    async def with_outputs(self, job_id: str, *, account: str | None = None) -> Job:
        """The account's ended job, all of whose outputs are there; anybody's where a signed link stands for
        the account.

        Raises :class:`NotFound`, also where it has none, :class:`NotReady` before its end, and
        :class:`Expired` when the file of one is gone.
        """
        job = await self._ledger.store.get(job_id)
        if job is None or account not in (job.account, None):
            raise _no_such_job()
        if not job.state.terminal:
            raise NotReady("The job has not ended; wait for it.", retry_after=1)
        if not job.outputs:
            raise NotFound(f"The job is {job.state.value} and has no outputs.")
        if any(blob.gone for blob in job.outputs):
            raise _gone()
        return job

    async def output(self, key: str) -> Artifact:
        """The output with this key; raises :class:`NotFound`, or :class:`Expired` when its file is gone."""
        found = await self._ledger.store.output(key)
        if found is None:
            raise NotFound("There is no such file.")
        if found.gone:
            raise _gone()
        return found

    async def cancel(self, account: str, job_id: str, *, only_queued: bool = False) -> Job:
        """Cancel a queued or running job; raises :class:`Conflict` when it has ended.

        With ``only_queued`` it is a conflict, too, when the job runs.
        """
        job = await self.get(account, job_id)
        rule = partial(
            rules.cancelled,
            now=self._ledger.clock(),
            retention=self._ledger.policy.retention,
            only_queued=only_queued,
        )
        changed = await self._ledger.change(job_id, rule)
        if changed is None:
            job = await self.get(account, job_id)
            if not job.state.terminal:
                raise Conflict(f"The job is {job.state.value}; only a queued one can be cancelled.")
            raise Conflict(
                f"The job has ended as {job.state.value}; only queued and running ones can be cancelled."
            )
        return changed

    async def retry(self, account: str, job_id: str) -> Job:
        """Run a failed or cancelled job again from its stored inputs."""
        job = await self.get(account, job_id)
        if any(blob.gone for blob in (*job.inputs, *job.outputs)):
            raise Expired("The job's files were removed after their retention; submit them again.")
        await self.check_room()
        now = self._ledger.clock()
        changed = await self._ledger.change(
            job_id, partial(rules.retried, now=now, deadline=now + self._ledger.policy.deadline)
        )
        if changed is None:
            job = await self.get(account, job_id)
            raise Conflict(f"The job is {job.state.value}; only failed and cancelled jobs can be run again.")
        self._ledger.work.announce()
        return changed

    def end_waits(self) -> None:
        """The server stops: whoever waits for a job, now or later, has it as it is."""
        self.stopping = True
        self._ledger.bus.publish_all()

    async def wait_terminal(self, job: Job, seconds: float) -> Job:
        """The job once it has ended, or as it is after ``seconds``."""
        return await self._wait(job, seconds, lambda state: state.terminal)

    async def wait_change(self, job: Job, seconds: float) -> Job:
        """The job once its state differs from ``job``'s, at once if terminal, or after ``seconds``."""
        return await self._wait(job, seconds, lambda state: state.terminal or state is not job.state)

    async def _wait(self, job: Job, seconds: float, done: Callable[[State], bool]) -> Job:
        """Hints are lossy, so the row is looked at now and then as well."""
        until = self._ledger.clock() + seconds
        with self._ledger.bus.subscribe(job.id) as hints:
            while not done((await self._brief(job.account, job.id)).state):
                left = until - self._ledger.clock()
                if left <= 0 or self.stopping:
                    break
                await hints.wait(min(left, _LOOK_AGAIN))
        return await self.get(job.account, job.id)

    async def reserve(self, account: str, key: str, *, seconds: float) -> Reservation | None:
        """Take an idempotency key for a request in flight, for at most ``seconds``.

        Returns ``None`` when the caller holds it now, else what it stands for: the job that it made. Raises
        :class:`IdempotencyInFlight` while the first request is still being received.
        """
        now = self._ledger.clock()
        taken = await self._ledger.store.reserve(account, key, now=now, until=now + seconds)
        if taken is not None and taken.job_id is None:
            raise IdempotencyInFlight(
                "The first request with this Idempotency-Key is still being received; try again shortly.",
                retry_after=2,
            )
        return taken

    async def release(self, account: str, key: str) -> None:
        """Give back a key whose request made no job."""
        await self._ledger.store.release(account, key)

    def key_record(self, account: str, key: str, fingerprint: str) -> IdempotencyKey:
        """The record to submit with the job."""
        return IdempotencyKey(
            account=account,
            key=key,
            fingerprint=fingerprint,
            expires_at=self._ledger.clock() + self._ledger.policy.keep_keys,
        )


def _gone() -> Expired:
    return Expired("The file was removed after its retention; convert it again.")


def _no_such_job() -> NotFound:
    return NotFound("There is no such job; it may have been removed after its retention.")
