"""The worker pool: fills slots with queued jobs, else with tasks of running ones; drains in a grace time."""

from __future__ import annotations

import asyncio
import logging

from convertd.errors import ConvertdError
from convertd.jobs.hints import WorkDispatcher
from convertd.jobs.leases import Leases
from convertd.jobs.ledger import Clock
from convertd.model.job import State
from convertd.worker.executor import Executor

log = logging.getLogger(__name__)

POLL_SECONDS = 2.0
"""The floor under lost hints, and how soon a retry whose time has come is seen."""


class WorkerPool:
    """``workers`` slots over one executor; each runs one task at a time.

    A slot that becomes free goes to the job that has waited longest. Only when none waits does it go to a
    running one for a further task; so a large job keeps one slot and has the others while nobody needs them.
    """

    def __init__(
        self,
        *,
        leases: Leases,
        executor: Executor,
        dispatcher: WorkDispatcher,
        workers: int,
        clock: Clock,
    ) -> None:
        """Does nothing before :meth:`start`."""
        self._leases = leases
        self._executor = executor
        self._dispatcher = dispatcher
        self._free = asyncio.Semaphore(workers)
        self._clock = clock
        self._running: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None
        self.workers = workers
        self.busy = 0
        """How many slots are at work now."""
        self.beat_at: float = clock()
        """When the claim loop last went round; readiness looks at it."""

    def start(self) -> None:
        """Begin to claim."""
        self._loop = asyncio.create_task(self._claim_forever(), name="claims")

    async def stop(self, grace: float) -> None:
        """Claim no more; let running jobs end for ``grace`` seconds, then give them back to the queue."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.wait([self._loop])
        if self._running:
            log.info("waiting up to %g s for %d running jobs", grace, len(self._running))
            _, late = await asyncio.wait(self._running, timeout=grace)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    @property
    def well(self) -> bool:
        """Whether the claim loop goes round."""
        alive = self._loop is not None and not self._loop.done()
        # With all at work nothing is claimed. A slot that is only being filled is not at work.
        return alive and (self.busy >= self.workers or self._clock() - self.beat_at < 5 * POLL_SECONDS)

    async def _claim_forever(self) -> None:
        while True:
            await self._free.acquire()
            filled = False
            try:
                self.beat_at = self._clock()
                filled = await self._claim_one() or self._executor.help(self._freed)
                self.busy += filled
            except ConvertdError as error:
                log.error("cannot claim jobs: %s (%s)", error.message, error.detail)
            except Exception:
                log.exception("the claim loop stumbled")
            finally:
                if not filled:
                    self._free.release()
            if not filled:
                await self._dispatcher.wait(POLL_SECONDS)

    async def _claim_one(self) -> bool:
        claim = asyncio.ensure_future(self._leases.claim())
        try:
            job = await asyncio.shield(claim)
        except asyncio.CancelledError:
            # The claim may be committed already: nobody would run the job.
            late = await claim
            if late is not None:
                await self._leases.drain(late)
            raise
        if job is None or job.state is not State.RUNNING:
            return False  # nothing was left to run of it, and the claim has ended it
        task = asyncio.create_task(self._executor.run(job, self._freed), name=f"job {job.id}")
        self._running.add(task)
        task.add_done_callback(self._ended)
        return True

    def _freed(self) -> None:
        if self.busy >= self.workers:
            self.beat_at = self._clock()  # the loop stood still with reason, and goes on only now
        self.busy -= 1
        self._free.release()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # The lease runs out and housekeeping requeues the job.
            log.error("%s ended with an error", task.get_name(), exc_info=error)
