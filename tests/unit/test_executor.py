"""One claimed job, run with children that are coroutines of the test."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from convertd.engines.base import Limits, Product
from convertd.errors import (
    Conflict,
    ConvertdError,
    EngineError,
    FileInvalid,
    LimitExceeded,
    StorageFull,
    Timeout,
    Unavailable,
    WorkerCrash,
)
from convertd.jobs.submission import TaskRequest
from convertd.model.job import Job, State
from convertd.sandbox.runner import Budget
from convertd.worker.executor import Executor, ExecutorSettings
from tests.support.blobs import FakeBlobs
from tests.support.fake_sandbox import Child, FakeSandbox, convert, hang
from tests.support.work import House

BUDGET = Budget(
    wall_seconds=600.0, cpu_seconds=600, memory_bytes=1 << 30, file_bytes=1 << 30, open_files=64, processes=8
)
TO_WEBP = TaskRequest(inputs=(0,), operation="convert", target="webp")
TO_JPG = TaskRequest(inputs=(0,), operation="convert", target="jpg", options={"quality": 80})


class Bench:
    """A house with an executor."""

    def __init__(self, *, heartbeat: float = 3600.0) -> None:
        self.house = House()
        self.sandbox = FakeSandbox()
        self.executor = Executor(
            leases=self.house.leases,
            registry=self.house.registry,
            blobs=self.house.blobs,
            sandbox=cast("Any", self.sandbox),
            settings=ExecutorSettings(limits=Limits(), budget=BUDGET, heartbeat=heartbeat),
            clock=self.house.clock,
        )

    async def run(self, job: Job) -> Job:
        await self.executor.run(job)
        return await self.house.current(job)

    async def begin(self, job: Job) -> asyncio.Task[None]:
        """Run the job until its child is at work."""
        self.sandbox.entered.clear()
        running = asyncio.create_task(self.executor.run(job))
        await self.sandbox.entered.wait()
        return running

    @property
    def outputs(self) -> list[str]:
        return [key for key in self.house.blobs.stored if "-in-" not in key]


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def settle_down() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


def failing(error: Exception) -> Any:
    async def act(child: Child) -> list[Product]:
        raise error

    return act


async def test_a_job_gets_its_output(bench: Bench) -> None:
    job = await bench.run(await bench.house.claimed(TO_JPG))
    assert job.state is State.SUCCEEDED
    (output,) = job.outputs
    assert (output.name, output.format, output.bytes) == ("file-0.jpg", "jpg", len(b"made out.jpg"))
    assert bench.house.blobs.stored[output.key] == b"made out.jpg"
    assert bench.house.blobs.scratches == 0


async def test_the_child_is_told_what_was_asked_for(bench: Bench) -> None:
    await bench.run(await bench.house.claimed(TO_JPG))
    work = bench.sandbox.calls[0].work
    assert (work.engine, work.operation, work.sources, work.target) == ("picture", "convert", ("png",), "jpg")
    assert work.options["quality"] == 80
    assert work.inputs == ("input-0.png",)
    assert str(bench.sandbox.calls[0].scratch / "input-0.png") in bench.house.blobs.files


async def test_every_task_runs_though_one_fails(bench: Bench) -> None:
    async def act(child: Child) -> list[Product]:
        if child.work.target == "jpg":
            raise FileInvalid("The file is damaged.")
        return await convert(child)

    bench.sandbox.act = act
    job = await bench.run(await bench.house.claimed(TO_JPG, TO_WEBP))
    assert job.state is State.SUCCEEDED
    assert [task.state for task in job.tasks] == [State.FAILED, State.SUCCEEDED]
    assert [output.format for output in job.outputs] == ["webp"]


@pytest.mark.parametrize(
    "error",
    [FileInvalid("m"), LimitExceeded("m"), Timeout("m"), EngineError("m"), Conflict("m")],
    ids=lambda error: error.code,
)
async def test_what_cannot_get_better_fails_at_once(bench: Bench, error: ConvertdError) -> None:
    bench.sandbox.act = failing(error)
    job = await bench.run(await bench.house.claimed(TO_JPG))
    assert job.state is State.FAILED
    assert job.error is not None
    assert (job.error.code, job.error.message) == (error.code, "m")
    assert len(bench.sandbox.calls) == 1


@pytest.mark.parametrize(
    "error", [WorkerCrash("m"), StorageFull("m"), Unavailable("m")], ids=lambda error: error.code
)
async def test_what_may_get_better_is_tried_again_three_times_in_all(
    bench: Bench, error: ConvertdError
) -> None:
    bench.sandbox.act = failing(error)
    claimed: Job | None = await bench.house.claimed(TO_JPG)
    states = []
    while claimed is not None:
        states.append((await bench.run(claimed)).state)
        bench.house.clock.advance(400)
        claimed = await bench.house.leases.claim()
    assert states == [State.QUEUED, State.QUEUED, State.FAILED]


async def test_only_the_failed_task_is_run_again(bench: Bench) -> None:
    crashes = iter([WorkerCrash("m")])

    async def act(child: Child) -> list[Product]:
        if child.work.target == "webp" and (crash := next(crashes, None)):
            raise crash
        return await convert(child)

    bench.sandbox.act = act
    assert (await bench.run(await bench.house.claimed(TO_JPG, TO_WEBP))).state is State.QUEUED
    bench.house.clock.advance(10)
    again = await bench.house.leases.claim()
    assert again is not None
    job = await bench.run(again)
    assert job.state is State.SUCCEEDED
    assert [call.work.target for call in bench.sandbox.calls] == ["jpg", "webp", "webp"]
    assert sorted(bench.outputs) == sorted(output.key for output in job.outputs)


async def test_an_unforeseen_error_is_told_without_its_words(bench: Bench) -> None:
    bench.sandbox.act = failing(RuntimeError("/secret/path"))
    job = await bench.run(await bench.house.claimed(TO_JPG))
    assert job.error is not None
    assert job.error.code == "engine_error"
    assert "secret" not in job.error.message


async def test_a_chain_runs_each_step_and_fans_out(bench: Bench) -> None:
    async def act(child: Child) -> list[Product]:
        if child.work.target == "pdf":
            return child.make("out.pdf")
        return child.make("page.p1.png", "page.p2.png")

    bench.sandbox.act = act
    to_png = TaskRequest(inputs=(0,), operation="convert", target="png")
    job = await bench.run(await bench.house.claimed(to_png, formats=("docx",)))
    assert job.state is State.SUCCEEDED
    assert [call.work.engine for call in bench.sandbox.calls] == ["office", "pages"]
    assert bench.sandbox.calls[1].work.inputs == ("out.pdf",)
    assert [output.name for output in job.outputs] == ["file-0-p1.png", "file-0-p2.png"]


async def test_the_deadline_bounds_the_time_of_an_attempt(bench: Bench) -> None:
    job = await bench.house.claimed(TO_JPG)
    bench.house.clock.now = job.deadline - 60
    await bench.run(job)
    assert bench.sandbox.calls[0].budget.wall_seconds == 60


async def test_nothing_is_begun_after_the_deadline(bench: Bench) -> None:
    job = await bench.house.claimed(TO_JPG)
    bench.house.clock.now = job.deadline
    ended = await bench.run(job)
    assert bench.sandbox.calls == []
    assert ended.error is not None
    assert ended.error.code == "timeout"


# Losing the job


async def test_a_cancel_kills_the_child_at_once(bench: Bench) -> None:
    bench.sandbox.act = hang
    job = await bench.house.claimed(TO_JPG, TO_WEBP)
    running = await bench.begin(job)
    await bench.house.service.cancel("local", job.id)
    await running
    assert bench.sandbox.killed == 1
    assert len(bench.sandbox.calls) == 1
    assert (await bench.house.current(job)).state is State.CANCELLED
    assert bench.house.blobs.scratches == 0


async def test_a_lease_that_another_worker_took_is_noticed_at_the_next_beat() -> None:
    bench = Bench(heartbeat=0.01)
    bench.sandbox.act = hang
    job = await bench.house.claimed(TO_JPG)
    running = await bench.begin(job)
    await bench.house.store.update(job.id, lambda j: None if j.token is None else _taken(j))
    await running
    assert bench.sandbox.killed == 1
    assert (await bench.house.current(job)).token == "another"


def _taken(job: Job) -> Job:
    from msgspec.structs import replace

    return replace(job, token="another")


async def test_a_worker_that_wakes_too_late_publishes_nothing(bench: Bench) -> None:
    """Its lease ran out, another worker has the job: no hint came, no beat was due."""

    async def act(child: Child) -> list[Product]:
        await bench.house.store.update(child_job.id, _taken)
        return await convert(child)

    bench.sandbox.act = act
    child_job = await bench.house.claimed(TO_JPG)
    job = await bench.run(child_job)
    assert (job.state, job.token, job.outputs) == (State.RUNNING, "another", ())
    assert bench.outputs == []


async def test_a_job_cancelled_while_its_output_is_stored_leaves_no_file(bench: Bench) -> None:
    bench.house.blobs.adopting = asyncio.Event()
    job = await bench.house.claimed(TO_JPG)
    running = await bench.begin(job)
    await bench.house.service.cancel("local", job.id)
    await asyncio.sleep(0)
    bench.house.blobs.adopting.set()
    await running
    await settle_down()
    assert (await bench.house.current(job)).outputs == ()
    assert bench.outputs == []


async def test_a_late_worker_does_not_touch_the_output_of_the_one_after_it(bench: Bench) -> None:
    """A retry counts attempts from one again, so the number alone would not tell their files apart."""

    async def act(child: Child) -> list[Product]:
        products = await convert(child)
        (child.scratch / "out" / "out.jpg").write_bytes(f"call {len(bench.sandbox.calls)}".encode())
        return products

    bench.sandbox.act = act
    slow_disk = bench.house.blobs.adopting = asyncio.Event()
    first = await bench.house.claimed(TO_JPG)
    late = await bench.begin(first)
    await bench.house.service.cancel("local", first.id)
    await bench.house.service.retry("local", first.id)
    bench.house.blobs.adopting = None
    second = await bench.house.leases.claim()
    assert second is not None
    assert second.attempt == first.attempt
    job = await bench.run(second)
    slow_disk.set()
    await late
    await settle_down()
    assert job.state is State.SUCCEEDED
    assert bench.outputs == [output.key for output in job.outputs]
    assert bench.house.blobs.stored[job.outputs[0].key] == b"call 2"


async def test_a_file_that_cannot_be_stored_takes_its_siblings_with_it(bench: Bench) -> None:
    async def act(child: Child) -> list[Product]:
        return [*child.make("page.p1.png"), Product(name="never-written.png")]

    bench.sandbox.act = act
    to_png = TaskRequest(inputs=(0,), operation="convert", target="png")
    job = await bench.run(await bench.house.claimed(to_png, formats=("pdf",)))
    assert job.state is State.FAILED
    assert bench.outputs == []


# Holding it


async def test_beats_go_on_while_the_child_reports_progress() -> None:
    """Progress is a hint on the job's own topic: it must not put off the renewal of the lease."""
    bench = Bench(heartbeat=0.1)
    job = await bench.house.claimed(TO_JPG)
    now = asyncio.get_running_loop().time

    async def act(child: Child) -> list[Product]:
        bench.house.clock.advance(10)
        until = now() + 0.25
        while now() < until:
            bench.house.bus.publish(job.id)
            await asyncio.sleep(0)
        assert (await bench.house.current(job)).lease_until == bench.house.clock() + 30
        return await convert(child)

    bench.sandbox.act = act
    assert (await bench.run(job)).state is State.SUCCEEDED


async def test_a_database_that_is_away_does_not_end_the_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(heartbeat=0.001)
    tried = asyncio.Event()
    job = await bench.house.claimed(TO_JPG)

    async def away(job: Job) -> bool:
        tried.set()
        raise Unavailable("The job database cannot be used just now.")

    async def act(child: Child) -> list[Product]:
        monkeypatch.setattr(bench.house.leases, "beat", away)
        await tried.wait()
        return await convert(child)

    bench.sandbox.act = act
    assert (await bench.run(job)).state is State.SUCCEEDED


async def test_progress_is_written(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convertd.worker.executor._PROGRESS_SECONDS", 0.0)
    seen: list[float] = []

    async def act(child: Child) -> list[Product]:
        with bench.house.bus.subscribe(job.id) as hints:
            child.report(0.5)
            assert await hints.wait(5)
        seen.append((await bench.house.current(job)).progress)
        return await convert(child)

    job = await bench.house.claimed(TO_JPG)
    bench.sandbox.act = act
    await bench.run(job)
    assert seen == [0.5]


# Stopping


async def test_a_stop_gives_the_job_back_without_cost(bench: Bench) -> None:
    bench.sandbox.act = hang
    job = await bench.house.claimed(TO_JPG)
    running = await bench.begin(job)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    back = await bench.house.current(job)
    assert (back.state, back.attempt, back.tasks[0].attempts) == (State.QUEUED, 0, 0)
    assert bench.sandbox.killed == 1


async def test_a_stop_while_the_output_is_stored_keeps_what_was_done(bench: Bench) -> None:
    bench.house.blobs.adopting = asyncio.Event()
    job = await bench.house.claimed(TO_JPG)
    running = await bench.begin(job)
    running.cancel()
    await asyncio.sleep(0)
    bench.house.blobs.adopting.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    back = await bench.house.current(job)
    assert (back.state, back.tasks[0].state) == (State.SUCCEEDED, State.SUCCEEDED)
    assert bench.outputs == [output.key for output in back.outputs]


async def test_an_input_that_is_gone_fails_the_task() -> None:
    bench = Bench()
    job = await bench.house.claimed(TO_JPG)
    blobs: FakeBlobs = bench.house.blobs
    blobs.stored.clear()
    ended = await bench.run(job)
    assert ended.error is not None
    assert ended.error.code == "expired"
