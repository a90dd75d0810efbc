"""What time does to jobs: rescue, deadlines, retention, and the sweep at start."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from convertd.jobs.ledger import Ledger
from convertd.jobs.store import Due, Rule
from convertd.model import job as rules
from convertd.model.job import Job
from convertd.storage.base import BlobStore

log = logging.getLogger(__name__)

_SWEEP_BATCH = 200


class Upkeep:
    """Everything here may be called at any time and does what is due now."""

    def __init__(self, ledger: Ledger, blobs: BlobStore) -> None:
        self._ledger = ledger
        self._blobs = blobs

    async def rescue(self, *, all_running: bool = False) -> int:
        """Requeue (or fail) jobs whose lease ran out; all running ones at start, when no worker is alive."""
        now = self._ledger.clock()
        lapsed_before = math.inf if all_running else now
        rule = partial(
            rules.orphaned,
            now=now,
            lapsed_before=lapsed_before,
            max_attempts=self._ledger.policy.attempts,
            retention=self._ledger.policy.retention,
        )
        rescued = await self._change_due(Due.LEASE, lapsed_before, rule)
        if rescued:
            log.warning("rescued %d jobs whose worker had died", rescued)
            self._ledger.work.announce()
        return rescued

    async def expire_deadlines(self) -> int:
        """Fail jobs that have not ended within their deadline."""
        now = self._ledger.clock()
        rule = partial(rules.overdue, now=now, retention=self._ledger.policy.retention)
        return await self._change_due(Due.DEADLINE, now, rule)

    async def expire_files(self) -> int:
        """Delete the files that are past their retention: row first, then bytes."""
        now = self._ledger.clock()
        return await self._change_due(Due.EXPIRY, now, partial(rules.emptied, now=now), self._delete_gone)

    async def _delete_gone(self, job: Job) -> None:
        await self._blobs.delete([blob.key for blob in (*job.inputs, *job.outputs) if blob.gone])

    async def remove_rows(self) -> int:
        """Delete the rows (and what files are left) of jobs that ended long ago, the deliveries that did, and
        expired keys; how many jobs."""
        now = self._ledger.clock()
        await self._ledger.store.forget(before=now)
        removed = 0
        before = now - self._ledger.policy.keep_rows
        await self._ledger.store.forget_deliveries(before=before)
        while ids := await self._ledger.store.due(Due.REMOVAL, before=before, limit=_SWEEP_BATCH):
            gone = [
                job for job_id in ids if (job := await self._ledger.store.delete(job_id, ended_by=before))
            ]
            await self._blobs.delete([key for job in gone for key in job.keys_kept])
            removed += len(gone)
            if len(gone) < len(ids):
                break  # the rest was run again under us
        return removed

    async def sweep_strays(self) -> int:
        """At start, before anything is accepted: void reservations, delete files that belong to no row."""
        await self._ledger.store.void()
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
        strays = set(keys) - await self._ledger.store.known(keys)
        await self._blobs.delete(sorted(strays))
        return len(strays)

    async def _change_due(
        self, what: Due, before: float, rule: Rule, then: Callable[[Job], Awaitable[None]] | None = None
    ) -> int:
        """Apply ``rule`` to all jobs that are due; how many it changed."""
        changed_jobs = 0
        while ids := await self._ledger.store.due(what, before=before, limit=_SWEEP_BATCH):
            changed = [job for job_id in ids if (job := await self._ledger.change(job_id, rule)) is not None]
            if then is not None:
                for job in changed:
                    await then(job)
            changed_jobs += len(changed)
            if len(changed) < len(ids):
                break  # the rest changed under us and is seen again next time
        return changed_jobs
