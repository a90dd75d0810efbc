"""A worker's hold on the job that it claimed: the lease that it renews, and the lanes that work under it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

from convertd.errors import ConvertdError
from convertd.jobs.leases import Leases
from convertd.model.job import Job

log = logging.getLogger(__name__)


class Lost(Exception):
    """The job is no longer this worker's: cancelled, past its deadline, or claimed by another."""


class Hold:
    """One claim of a job, and the lanes that run its tasks, each one at a time."""

    def __init__(self, job: Job, leases: Leases, *, heartbeat: float) -> None:
        """``job`` as it was claimed; its lease is renewed every ``heartbeat`` seconds."""
        self.job = job
        self.held = True
        """False once the job was seen to be another's, or nobody's."""
        self.more = job.next_task is not None
        """Whether one more lane may find a task to start."""
        self.working = 0
        """How many lanes run a task and are not just telling of its end."""
        self._leases = leases
        self._heartbeat = heartbeat
        self._lanes = asyncio.TaskGroup()

    def open_lane(self, lane: Coroutine[Any, Any, None], freed: Callable[[], None]) -> None:
        """Run ``lane`` beside the others; ``freed`` is called when it has ended. Its error ends them all."""

        def ended(task: asyncio.Task[None]) -> None:
            if task.cancelled() or task.exception() is not None:
                self.more = False
            freed()

        self._lanes.create_task(lane).add_done_callback(ended)

    @contextlib.contextmanager
    def work(self) -> Iterator[None]:
        """Around an attempt at a task. Raises :class:`Lost` where it would be in vain."""
        if not self.held:
            raise Lost
        self.working += 1
        try:
            yield
        finally:
            self.working -= 1

    @contextlib.contextmanager
    def report(self) -> Iterator[None]:
        """Within :meth:`work`, around telling of the attempt's end."""
        self.working -= 1
        try:
            yield
        finally:
            self.working += 1

    @contextlib.asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Keep the lease alive until the body and all lanes have ended.

        Raises :class:`Lost`, alone or in a group, when the job is taken away; no lane is alive any more then.
        """
        body = asyncio.current_task()
        lost = False

        async def guard() -> None:
            nonlocal lost
            await self._until_lost()
            lost = True
            if body is not None:
                body.cancel()

        guardian = asyncio.create_task(guard())
        try:
            async with self._lanes:
                yield
        except asyncio.CancelledError:
            if lost and body is not None and body.uncancel() == 0:
                raise Lost from None
            raise
        finally:
            guardian.cancel()
            await asyncio.wait([guardian])

    async def _until_lost(self) -> None:
        """Return when the job is lost: seen at once by a hint, at the next heartbeat otherwise.

        The job's own progress is a hint as well, so the beats keep a time of their own. While no lane works,
        one may just have ended the job itself; each of them learns from its report whether it was lost.
        """
        now = asyncio.get_running_loop().time
        beat_at = now() + self._heartbeat
        with self._leases.watch(self.job.id) as hints:
            while self.held or not self.working:
                await hints.wait(max(beat_at - now(), 0))
                try:
                    if now() < beat_at:
                        self.held = await self._leases.holds(self.job)
                    else:
                        beat_at = now() + self._heartbeat
                        self.held = await self._leases.beat(self.job)
                except ConvertdError as error:
                    log.warning(
                        "job %s: cannot renew the lease: %s (%s)", self.job.id, error.message, error.detail
                    )
