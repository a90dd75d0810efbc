"""Running claimed jobs: one or several tasks of each at a time, each plan step in a sandboxed child."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from convertd.engines.base import Fidelity, Limits, Product
from convertd.engines.registry import Plan, Registry, Step
from convertd.errors import ConvertdError, EngineError, Timeout
from convertd.jobs.leases import Leases, Turn
from convertd.jobs.ledger import Clock
from convertd.model.formats import COMPRESSORS, FORMATS, stem_of
from convertd.model.job import Artifact, Job, State, Task
from convertd.model.operations import ARCHIVE, Options
from convertd.sandbox.protocol import fitting
from convertd.sandbox.runner import Budget, Sandbox, Work
from convertd.storage.base import BlobStore
from convertd.worker.hold import Hold, Lost

T = TypeVar("T")

log = logging.getLogger(__name__)

_PROGRESS_SECONDS = 0.5
"""A task's progress is written at most this often."""


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
    """Runs jobs that were claimed, each in a lane for every slot that it is given."""

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
        self._holds: set[Hold] = set()

    async def run(self, job: Job, freed: Callable[[], None]) -> None:
        """Run task after task until the job has ended or is queued again for those to be retried.

        The task that was started with the claim has the caller's slot; ``freed`` is called when its lane has
        ended, which may be long before the job does. Cancelling this coroutine kills all children and gives
        the job back without costing it an attempt.
        """
        try:
            await self._run_held(job, freed)
        except asyncio.CancelledError:
            await self._leases.drain(job)
            raise

    async def _run_held(self, job: Job, freed: Callable[[], None]) -> None:
        hold = Hold(job, self._leases, heartbeat=self._settings.heartbeat)
        self._holds.add(hold)
        try:
            async with hold.kept():
                hold.open_lane(self._lane(hold, job.running_tasks[0]), freed)
        except* Lost:
            log.info("job %s was taken away while it ran", job.id)
        finally:
            self._holds.discard(hold)

    def help(self, freed: Callable[[], None]) -> bool:
        """Give a slot to a job that runs here already; false when none has a task left to start.

        ``freed`` is called as in :meth:`run`.
        """
        helpable = (hold for hold in self._holds if hold.held and hold.more)
        hold = min(helpable, key=lambda hold: hold.working, default=None)
        if hold is None:
            return False
        hold.open_lane(self._further_lane(hold), freed)
        return True

    async def _further_lane(self, hold: Hold) -> None:
        index = None
        try:
            index = await self._leases.start_task(hold.job)
        except ConvertdError as error:  # of no concern to the lanes that are at work
            log.warning("job %s: cannot start a task: %s (%s)", hold.job.id, error.message, error.detail)
        if index is None:
            hold.more = False
        await self._lane(hold, index)

    async def _lane(self, hold: Hold, index: int | None) -> None:
        """Run a task that was started, and those that were started each with the end of the one before."""
        while index is not None:
            with hold.work():
                index = await self._attempt(hold, index)

    async def _attempt(self, hold: Hold, index: int) -> int | None:
        """One attempt at a task that was started; the task that was started with its end."""
        job = hold.job
        try:
            turn = await self._convert(hold, index)
        except ConvertdError as error:
            log.info("job %s task %d failed: %s: %s", job.id, index, error.code, _for_log(error))
            turn = await self._fail(hold, index, error)
        except Exception:
            log.exception("job %s task %d failed unexpectedly", job.id, index)
            failure = EngineError("The conversion failed inside the server; its log says why.")
            turn = await self._fail(hold, index, failure)
        if turn is None:
            raise Lost
        if turn.job.next_task is None:
            hold.more = False
        if turn.job.state is not State.RUNNING:
            log.info("job %s is %s after attempt %d", job.id, turn.job.state.value, job.attempt)
        return turn.task

    async def _fail(self, hold: Hold, index: int, error: ConvertdError) -> Turn | None:
        with hold.report():
            return await to_its_end(self._leases.fail_task(hold.job, index, error))

    async def _convert(self, hold: Hold, index: int) -> Turn | None:
        """Run the plan and publish what it made; ``None`` when the job was lost."""
        job = hold.job
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

    async def _publish(self, job: Job, index: int, products: list[tuple[Path, Product]]) -> Turn | None:
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
