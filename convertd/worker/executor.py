"""Running one claimed job: its tasks one after the other, each plan step in a sandboxed child."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from convertd.engines.base import Fidelity, Limits, Product
from convertd.engines.registry import Plan, Registry, Step
from convertd.errors import ConvertdError, EngineError, Timeout
from convertd.jobs.leases import Leases
from convertd.jobs.ledger import Clock
from convertd.model.formats import COMPRESSORS, FORMATS, stem_of
from convertd.model.job import Artifact, Job, Task
from convertd.model.operations import ARCHIVE, Options
from convertd.sandbox.protocol import fitting
from convertd.sandbox.runner import Budget, Sandbox, Work
from convertd.storage.base import BlobStore

T = TypeVar("T")

log = logging.getLogger(__name__)

_PROGRESS_SECONDS = 0.5
"""A task's progress is written at most this often."""


class Lost(Exception):
    """The job is no longer this worker's: cancelled, past its deadline, or claimed by another."""


class Hold:
    """A worker's view of its own hold on a job."""

    def __init__(self) -> None:
        self.reporting = False
        """Whether the worker is just telling of a task's end."""

    @contextlib.contextmanager
    def report(self) -> Iterator[None]:
        """Around telling of a task's end."""
        self.reporting = True
        try:
            yield
        finally:
            self.reporting = False


class Material(NamedTuple):
    """What one child works on, all three of one length: the files, their formats, their clients' names."""

    files: tuple[Path, ...]
    sources: tuple[str, ...]
    names: tuple[str, ...]


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
        """Run task after task until the job has ended or is queued again for those to be retried.

        Cancelling this coroutine kills the child and gives the job back without costing it an attempt.
        """
        try:
            async with self._hold(job) as hold:
                while (index := job.running_task) is not None:
                    job = await self._attempt(job, index, hold)
        except Lost:
            log.info("job %s was taken away while it ran", job.id)
            return
        except asyncio.CancelledError:
            await self._leases.drain(job)
            raise
        log.info("job %s is %s after attempt %d", job.id, job.state.value, job.attempt)

    @contextlib.asynccontextmanager
    async def _hold(self, job: Job) -> AsyncIterator[Hold]:
        """Keep the lease alive; interrupt the body with :class:`Lost` when the job is taken away."""
        hold = Hold()
        body = asyncio.current_task()
        lost = False

        async def guard() -> None:
            nonlocal lost
            await self._guard(job, hold)
            lost = True
            if body is not None:
                body.cancel()

        guardian = asyncio.create_task(guard())
        try:
            yield hold
        except asyncio.CancelledError:
            if lost and body is not None and body.uncancel() == 0:
                raise Lost from None
            raise
        finally:
            guardian.cancel()
            await asyncio.wait([guardian])

    async def _guard(self, job: Job, hold: Hold) -> None:
        """Return when the job is lost: seen at once by a hint, at the next heartbeat otherwise.

        The job's own progress is a hint as well, so the beats keep a time of their own. A report that is
        under way may have ended the job itself, and learns itself whether it was lost.
        """
        now = asyncio.get_running_loop().time
        beat_at = now() + self._settings.heartbeat
        held = True
        with self._leases.watch(job.id) as hints:
            while held or hold.reporting:
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

    async def _attempt(self, job: Job, index: int, hold: Hold) -> Job:
        """One attempt at the task that was started; the job with its result and what was started next."""
        try:
            changed = await self._convert(job, index, hold)
        except ConvertdError as error:
            log.info("job %s task %d failed: %s: %s", job.id, index, error.code, _for_log(error))
            changed = await self._fail(job, index, error, hold)
        except Exception:
            log.exception("job %s task %d failed unexpectedly", job.id, index)
            failure = EngineError("The conversion failed inside the server; its log says why.")
            changed = await self._fail(job, index, failure, hold)
        if changed is None:
            raise Lost
        return changed

    async def _fail(self, job: Job, index: int, error: ConvertdError, hold: Hold) -> Job | None:
        with hold.report():
            return await to_its_end(self._leases.fail_task(job, index, error))

    async def _convert(self, job: Job, index: int, hold: Hold) -> Job | None:
        """Run the plan and publish what it made; ``None`` when the job was lost."""
        task = job.tasks[index]
        promised = Fidelity(task.fidelity)
        plan = self._registry.plan(task.operation, task.source, task.target, min_fidelity=promised)
        async with self._blobs.scratch() as scratch:
            lent = [job.inputs[number] for number in task.inputs]
            files = [
                await self._lend(artifact, scratch, f"input-{number}") for number, artifact in enumerate(lent)
            ]
            material = Material(
                tuple(files),
                tuple(artifact.format for artifact in lent),
                tuple(artifact.name for artifact in lent),
            )
            products = await self._run_plan(job, index, plan, scratch, material)
            with hold.report():
                return await to_its_end(self._publish(job, index, products))

    async def _lend(self, artifact: Artifact, scratch: Path, stem: str) -> Path:
        path = scratch / f"{stem}.{FORMATS[artifact.format].extensions[0]}"
        await self._blobs.materialize(artifact.key, path)
        return path

    async def _run_plan(
        self, job: Job, index: int, plan: Plan, scratch: Path, material: Material
    ) -> list[tuple[Path, Product]]:
        """Every step in turn, fanned out over the files that the step before made."""
        report = self._reporter(job, index)
        batches: list[tuple[str | None, Material]] = [(None, material)]
        products: list[tuple[Path, Product]] = []
        steps = zip(plan.steps, plan.parse_options(job.tasks[index].options), strict=True)
        for number, (step, options) in enumerate(steps):
            products = []
            for part, (label, given) in enumerate(batches):
                room = scratch / f"step-{number}-{part}"
                _move_in(room, given.files)
                share = Share(number, len(plan.steps), part, len(batches))
                made = await self._sandbox.run(
                    self._work(step, options, given),
                    scratch=room,
                    budget=self._budget(job),
                    on_progress=partial(_report_share, report, share),
                )
                products += [(room / "out", _labelled(product, label)) for product in made]
            batches = [
                (
                    product.part,
                    Material((folder / product.name,), (step.capability.target,), material.names[:1]),
                )
                for folder, product in products
            ]
        return products

    def _work(self, step: Step, options: Options, given: Material) -> Work:
        return Work(
            engine=step.engine.name,
            operation=step.capability.operation,
            target=step.capability.target,
            options=msgspec.structs.asdict(options),
            inputs=tuple(path.name for path in given.files),
            sources=given.sources,
            names=fitting(given.names),
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

    async def _publish(self, job: Job, index: int, products: list[tuple[Path, Product]]) -> Job | None:
        """Store the products and record them with the task's success; if the job was lost, keep none."""
        # An attempt's number comes again after a drain or a retry, when another's output may bear it.
        prefix = f"{job.id}-{job.attempt}-{index}-{secrets.token_hex(4)}"
        keys = [f"{prefix}-{number}" for number in range(len(products))]
        published = None
        try:
            outputs = [
                await self._store(key, job, index, folder, product)
                for key, (folder, product) in zip(keys, products, strict=True)
            ]
            published = await self._leases.complete_task(job, index, outputs)
        finally:
            if published is None:
                await self._blobs.delete(keys)
        return published

    async def _store(self, key: str, job: Job, index: int, folder: Path, product: Product) -> Artifact:
        task = job.tasks[index]
        blob = await self._blobs.adopt(folder / product.name, key)
        return Artifact(
            key=key,
            name=_output_name(job.inputs[task.inputs[0]].name, product, task),
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


def _for_log(error: ConvertdError) -> str:
    return f"{error.message}\n{error.detail}" if error.detail else error.message


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


def _output_name(input_name: str, product: Product, task: Task) -> str:
    """The input's name with what distinguishes this output and the target's extension."""
    stem = stem_of(input_name)
    if task.target in COMPRESSORS:
        if task.operation == ARCHIVE:
            stem = input_name or stem
        elif task.source not in COMPRESSORS:
            stem += ".tar"
    part = f"-{product.part}" if product.part else ""
    return f"{stem}{part}.{FORMATS[task.target].extensions[0]}"
