"""Running one claimed job: its tasks one after the other, each plan step in a sandboxed child."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeVar

import msgspec

from convertd.engines.base import Fidelity, Limits, Product
from convertd.engines.registry import Plan, Registry, Step
from convertd.errors import ConvertdError, EngineError, Timeout
from convertd.jobs.leases import Leases
from convertd.jobs.ledger import Clock
from convertd.model.formats import FORMATS
from convertd.model.job import Artifact, Job, State, Task
from convertd.model.operations import Options
from convertd.sandbox.runner import Budget, Sandbox, Work
from convertd.storage.base import BlobStore

T = TypeVar("T")

log = logging.getLogger(__name__)

_PROGRESS_SECONDS = 0.5
"""A task's progress is written at most this often."""


class Lost(Exception):
    """The job is no longer this worker's: cancelled, past its deadline, or claimed by another."""


class Share(NamedTuple):
    """Which part of a task's work one child does."""

    step: int
    steps: int
    part: int
    parts: int


class ExecutorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What an attempt may use; seconds and bytes."""

    limits: Limits
    budget: Budget
    heartbeat: float


class Executor:
    """Runs jobs that a slot has claimed."""

    def __init__(
        self,
        *,
        leases: Leases,
        registry: Registry,
        blobs: BlobStore,
        sandbox: Sandbox,
        settings: ExecutorSettings,
        clock: Clock,
    ) -> None:
        """All collaborators are started already."""
        self._leases = leases
        self._registry = registry
        self._blobs = blobs
        self._sandbox = sandbox
        self._settings = settings
        self._clock = clock

    async def run(self, job: Job) -> None:
        """Run every task that is queued, then end the job or queue it again.

        Cancelling this coroutine kills the child and gives the job back without costing it an attempt.
        """
        try:
            async with self._hold(job):
                for index, task in enumerate(job.tasks):
                    if task.state is State.QUEUED:
                        await self._attempt(job, index, task)
        except Lost:
            log.info("job %s was taken away while it ran", job.id)
            return
        except asyncio.CancelledError:
            await self._leases.drain(job)
            raise
        ended = await self._leases.settle(job)
        if ended is not None:
            log.info("job %s is %s after attempt %d", job.id, ended.state.value, job.attempt)

    @contextlib.asynccontextmanager
    async def _hold(self, job: Job) -> AsyncIterator[None]:
        """Keep the lease alive; interrupt the body with :class:`Lost` when the job is taken away."""
        body = asyncio.current_task()
        lost = False

        async def guard() -> None:
            nonlocal lost
            await self._guard(job)
            lost = True
            if body is not None:
                body.cancel()

        guardian = asyncio.create_task(guard())
        try:
            yield
        except asyncio.CancelledError:
            if lost and body is not None and body.uncancel() == 0:
                raise Lost from None
            raise
        finally:
            guardian.cancel()
            await asyncio.wait([guardian])

    async def _guard(self, job: Job) -> None:
        """Return when the job is lost: seen at once by a hint, at the next heartbeat otherwise.

        The job's own progress is a hint as well, so the beats keep a time of their own.
        """
        now = asyncio.get_running_loop().time
        beat_at = now() + self._settings.heartbeat
        held = True
        with self._leases.watch(job.id) as hints:
            while held:
                await hints.wait(max(beat_at - now(), 0))
                try:
                    if now() < beat_at:
                        held = await self._leases.holds(job)
                    else:
                        beat_at = now() + self._settings.heartbeat
                        held = await self._leases.beat(job)
                except ConvertdError as error:
                    log.warning(
                        "job %s: cannot renew the lease: %s (%s)", job.id, error.message, error.detail
                    )

    async def _attempt(self, job: Job, index: int, task: Task) -> None:
        """One attempt at one task; its failure is recorded, not raised."""
        if await self._leases.start_task(job, index) is None:
            raise Lost
        try:
            published = await self._convert(job, index, task)
        except ConvertdError as error:
            log.info(
                "job %s task %d failed: %s: %s%s",
                job.id,
                index,
                error.code,
                error.message,
                f"\n{error.detail}" if error.detail else "",
            )
            await self._leases.fail_task(job, index, error)
            return
        except Exception:
            log.exception("job %s task %d failed unexpectedly", job.id, index)
            failure = EngineError("The conversion failed inside the server; its log says why.")
            await self._leases.fail_task(job, index, failure)
            return
        if not published:
            raise Lost

    async def _convert(self, job: Job, index: int, task: Task) -> bool:
        """Run the plan and publish what it made; false when the job was lost."""
        promised = Fidelity(task.fidelity)
        plan = self._registry.plan(task.operation, task.source, task.target, min_fidelity=promised)
        async with self._blobs.scratch() as scratch:
            files = [
                await self._lend(job.inputs[number], scratch, f"input-{number}") for number in task.inputs
            ]
            products = await self._run_plan(job, index, task, plan, scratch, files)
            return await to_its_end(self._publish(job, index, products))

    async def _lend(self, artifact: Artifact, scratch: Path, stem: str) -> Path:
        path = scratch / f"{stem}.{FORMATS[artifact.format].extensions[0]}"
        await self._blobs.materialize(artifact.key, path)
        return path

    async def _run_plan(
        self, job: Job, index: int, task: Task, plan: Plan, scratch: Path, files: list[Path]
    ) -> list[tuple[Path, Product]]:
        """Every step in turn, fanned out over the files that the step before made."""
        report = self._reporter(job, index)
        batches: list[tuple[str | None, tuple[Path, ...]]] = [(None, tuple(files))]
        products: list[tuple[Path, Product]] = []
        steps = zip(plan.steps, plan.parse_options(task.options), strict=True)
        for number, (step, options) in enumerate(steps):
            products = []
            for part, (label, inputs) in enumerate(batches):
                room = scratch / f"step-{number}-{part}"
                _move_in(room, inputs)
                share = Share(number, len(plan.steps), part, len(batches))
                made = await self._sandbox.run(
                    self._work(step, options, inputs),
                    scratch=room,
                    budget=self._budget(job),
                    on_progress=partial(_report_share, report, share),
                )
                products += [(room / "out", _labelled(product, label)) for product in made]
            batches = [(product.part, (folder / product.name,)) for folder, product in products]
        return products

    def _work(self, step: Step, options: Options, inputs: tuple[Path, ...]) -> Work:
        return Work(
            engine=step.engine.name,
            operation=step.capability.operation,
            source=step.capability.source,
            target=step.capability.target,
            options=msgspec.structs.asdict(options),
            inputs=tuple(path.name for path in inputs),
            limits=self._settings.limits,
        )

    def _budget(self, job: Job) -> Budget:
        """The attempt's wall time ends with the job's deadline."""
        left = job.deadline - self._clock()
        if left <= 0:
            raise Timeout("The job did not end within its time; submit it again or in smaller parts.")
        budget = self._settings.budget
        return msgspec.structs.replace(budget, wall_seconds=min(budget.wall_seconds, left))

    def _reporter(self, job: Job, index: int) -> Callable[[float], None]:
        """A progress callback that writes now and then."""
        loop = asyncio.get_running_loop()
        written_at = loop.time()
        writing: asyncio.Task[None] | None = None

        async def tell(progress: float) -> None:
            with contextlib.suppress(ConvertdError):  # the next one may get through
                await self._leases.progress(job, index, progress)

        def report(progress: float) -> None:
            nonlocal written_at, writing
            if loop.time() - written_at < _PROGRESS_SECONDS or (writing is not None and not writing.done()):
                return
            written_at = loop.time()
            writing = loop.create_task(tell(progress))

        return report

    async def _publish(self, job: Job, index: int, products: list[tuple[Path, Product]]) -> bool:
        """Store the products and record them with the task's success; if the job was lost, keep none."""
        # An attempt's number comes again after a drain or a retry, when another's output may bear it.
        prefix = f"{job.id}-{job.attempt}-{index}-{secrets.token_hex(4)}"
        keys = [f"{prefix}-{number}" for number in range(len(products))]
        published = False
        try:
            outputs = [
                await self._store(key, job, index, folder, product)
                for key, (folder, product) in zip(keys, products, strict=True)
            ]
            published = await self._leases.complete_task(job, index, outputs)
        finally:
            if not published:
                await self._blobs.delete(keys)
        return published

    async def _store(self, key: str, job: Job, index: int, folder: Path, product: Product) -> Artifact:
        task = job.tasks[index]
        blob = await self._blobs.adopt(folder / product.name, key)
        return Artifact(
            key=key,
            name=_output_name(job.inputs[task.inputs[0]].name, product, task.target),
            format=task.target,
            bytes=blob.size,
            sha256=blob.sha256,
            task=index,
            facts=product.facts,
            notes=product.notes,
        )


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``; a cancellation waits until it has ended, so that it is never left half done."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _move_in(room: Path, inputs: tuple[Path, ...]) -> None:
    """Lay out a child's scratch directory: its inputs, and ``out`` for what it makes."""
    (room / "out").mkdir(parents=True, mode=0o700)
    for path in inputs:
        path.rename(room / path.name)


def _labelled(product: Product, label: str | None) -> Product:
    """The product with the name that the step before gave its input: page 3 stays page 3."""
    if label is None:
        return product
    part = f"{label}-{product.part}" if product.part else label
    return msgspec.structs.replace(product, part=part)


def _report_share(report: Callable[[float], None], share: Share, progress: float) -> None:
    """Turn a child's progress into the task's."""
    report((share.step + (share.part + progress) / share.parts) / share.steps)


def _output_name(input_name: str, product: Product, target: str) -> str:
    """The input's name with what distinguishes this output and the target's extension."""
    stem = PurePosixPath(input_name).stem or "file"
    part = f"-{product.part}" if product.part else ""
    return f"{stem}{part}.{FORMATS[target].extensions[0]}"
