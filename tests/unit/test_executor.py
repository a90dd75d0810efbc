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
        self.freed = 0
        self.executor = Executor(
            leases=self.house.leases,
            registry=self.house.registry,
            blobs=self.house.blobs,
            sandbox=cast("Any", self.sandbox),
            settings=ExecutorSettings(limits=Limits(), budget=BUDGET, heartbeat=heartbeat),
            clock=self.house.clock,
        )

    async def run(self, job: Job) -> Job:
        await self.executor.run(job, self.free)
        return await self.house.current(job)

    async def begin(self, job: Job) -> asyncio.Task[None]:
        """Run the job until its child is at work."""
        self.sandbox.entered.clear()
        running = asyncio.create_task(self.executor.run(job, self.free))
        await self.sandbox.entered.wait()
        return running

    async def help(self) -> None:
        """Give a further slot; until its child is at work."""
        self.sandbox.entered.clear()
        assert self.executor.help(self.free)
        await self.sandbox.entered.wait()

    def free(self) -> None:
        self.freed += 1

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


# Several tasks at once


class Acts:
    """Children that end when the test says so, each told from the others by its task's target."""

    def __init__(self, bench: Bench, *targets: str) -> None:
        self.ends = {target: asyncio.get_running_loop().create_future() for target in targets}
        bench.sandbox.act = self.act

    async def act(self, child: Child) -> list[Product]:
        await self.ends[child.work.target]
        return await convert(child)

    def end(self, target: str, error: ConvertdError | None = None) -> None:
        if error is None:
            self.ends[target].set_result(None)
        else:
            self.ends[target].set_exception(error)


TO_PDF = TaskRequest(inputs=(1,), operation="convert", target="pdf")
TO_TXT = TaskRequest(inputs=(2,), operation="convert", target="txt")
FOUR = (TO_JPG, TO_WEBP, TO_PDF, TO_TXT)
FORMATS = ("png", "docx", "pdf")


async def states(bench: Bench, job: Job) -> str:
    """The first letters of its tasks' states."""
    return "".join(task.state.value[0] for task in (await bench.house.current(job)).tasks)


async def test_a_further_slot_runs_a_further_task(bench: Bench) -> None:
    acts = Acts(bench, "jpg", "webp")
    job = await bench.house.claimed(TO_JPG, TO_WEBP)
    running = await bench.begin(job)
    await bench.help()
    assert await states(bench, job) == "rr"
    acts.end("webp")
    await settle_down()
    assert (await states(bench, job), bench.freed, running.done()) == ("rs", 1, False)
    acts.end("jpg")
    await running
    ended = await bench.house.current(job)
    assert (ended.state, ended.attempt, bench.freed) == (State.SUCCEEDED, 1, 2)
    assert [output.format for output in ended.outputs] == ["jpg", "webp"]
    assert bench.house.blobs.scratches == 0


async def test_a_slot_is_given_back_at_each_tasks_end_but_for_the_last_that_runs(bench: Bench) -> None:
    """So that another job may have it; the lane that was opened first has no privilege."""
    acts = Acts(bench, "jpg", "webp", "pdf", "txt")
    job = await bench.house.claimed(*FOUR, formats=FORMATS)
    running = await bench.begin(job)
    await bench.help()
    acts.end("jpg")
    await settle_down()
    assert (await states(bench, job), bench.freed) == ("srqq", 1)
    acts.end("webp")
    await settle_down()
    assert (await states(bench, job), bench.freed) == ("ssrq", 1)
    await bench.help()
    assert await states(bench, job) == "ssrr"
    acts.end("pdf")
    acts.end("txt")
    await running
    assert (await states(bench, job), bench.freed) == ("ssss", 3)
    assert len(bench.sandbox.calls) == 4


async def test_no_job_is_helped_that_has_no_task_left_to_start(bench: Bench) -> None:
    bench.sandbox.act = hang
    assert not bench.executor.help(bench.free)
    job = await bench.house.claimed(TO_JPG, TO_WEBP)
    await bench.begin(job)
    await bench.help()
    assert bench.executor.help(bench.free), "what is left is known to the database alone"
    await settle_down()
    assert (await states(bench, job), bench.freed) == ("rr", 1)
    assert not bench.executor.help(bench.free)


async def test_the_job_with_the_fewest_slots_is_helped(bench: Bench) -> None:
    bench.sandbox.act = hang
    large = await bench.house.claimed(*FOUR, formats=FORMATS)
    await bench.begin(large)
    await bench.help()
    bench.house.clock.advance(1)
    small = await bench.house.claimed(TO_JPG, TO_WEBP)
    await bench.begin(small)
    await bench.help()
    assert (await states(bench, large), await states(bench, small)) == ("rrqq", "rr")


@pytest.mark.parametrize("order", [("jpg", "webp"), ("webp", "jpg")])
async def test_of_tasks_that_ran_at_once_only_the_failed_is_run_again(
    bench: Bench, order: tuple[str, str]
) -> None:
    acts = Acts(bench, "jpg", "webp")
    job = await bench.house.claimed(TO_JPG, TO_WEBP)
    running = await bench.begin(job)
    await bench.help()
    for target in order:
        acts.end(target, WorkerCrash("m") if target == "jpg" else None)
        await settle_down()
    await running
    back = await bench.house.current(job)
    assert (back.state, await states(bench, job), back.run_after) == (
        State.QUEUED,
        "qs",
        bench.house.clock() + 5,
    )
    bench.sandbox.act = convert
    bench.house.clock.advance(5)
    again = await bench.house.leases.claim()
    assert again is not None
    ended = await bench.run(again)
    assert (ended.state, [task.attempts for task in ended.tasks]) == (State.SUCCEEDED, [2, 1])
    assert [call.work.target for call in bench.sandbox.calls] == ["jpg", "webp", "jpg"]
    assert sorted(bench.outputs) == sorted(output.key for output in ended.outputs)


async def test_a_cancel_kills_every_child(bench: Bench) -> None:
    bench.sandbox.act = hang
    job = await bench.house.claimed(*FOUR, formats=FORMATS)
    running = await bench.begin(job)
    await bench.help()
    await bench.help()
    await bench.house.service.cancel("local", job.id)
    await running
    assert (bench.sandbox.killed, len(bench.sandbox.calls), bench.freed) == (3, 3, 3)
    assert bench.house.blobs.scratches == 0
    assert not bench.executor.help(bench.free)


@pytest.mark.parametrize("moment", range(12))
async def test_a_slot_may_come_at_any_moment_of_a_cancel(bench: Bench, moment: int) -> None:
    bench.sandbox.act = hang
    job = await bench.house.claimed(*FOUR, formats=FORMATS)
    running = await bench.begin(job)
    await bench.house.service.cancel("local", job.id)
    for _ in range(moment):
        await asyncio.sleep(0)
    given = 1 + bench.executor.help(bench.free)
    await running
    assert (bench.freed, len(bench.sandbox.calls)) == (given, 1)


async def test_a_slot_may_come_just_when_the_last_task_has_ended(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.house.bus, "publish", lambda topic: None)
    job = await bench.house.claimed(TO_JPG, TO_WEBP)
    helped: list[bool] = []
    await bench.executor.run(job, lambda: helped.append(bench.executor.help(bench.free)))
    assert helped == [False]


async def test_a_cancel_kills_a_child_though_another_lane_is_storing(bench: Bench) -> None:
    slow_disk = bench.house.blobs.adopting = asyncio.Event()
    acts = Acts(bench, "jpg", "webp")
    job = await bench.house.claimed(*FOUR, formats=FORMATS)
    running = await bench.begin(job)
    await bench.help()
    acts.end("jpg")
    await settle_down()
    await bench.house.service.cancel("local", job.id)
    await settle_down()
    assert bench.sandbox.killed == 1, "it does not wait for the disk"
    assert not bench.executor.help(bench.free)
    slow_disk.set()
    await running
    assert ((await bench.house.current(job)).outputs, bench.outputs) == ((), [])


async def test_a_cancel_just_after_the_next_task_began_kills_its_child(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hint comes while the lane is still being told of what it has to do next."""
    complete = bench.house.leases.complete_task
    bench.sandbox.act = convert

    async def slowly_told(*report: Any) -> Any:
        turn = await complete(*report)
        bench.sandbox.act = hang
        await bench.house.service.cancel("local", job.id)
        await settle_down()
        return turn

    monkeypatch.setattr(bench.house.leases, "complete_task", slowly_told)
    job = await bench.house.claimed(TO_JPG, TO_WEBP)
    running = asyncio.create_task(bench.executor.run(job, bench.free))
    await asyncio.wait_for(running, 10)
    assert ((await bench.house.current(job)).state, len(bench.sandbox.calls)) == (State.CANCELLED, 1)


async def test_the_deadline_kills_every_child(bench: Bench) -> None:
    bench.sandbox.act = hang
    job = await bench.house.claimed(TO_JPG, TO_WEBP)
    running = await bench.begin(job)
    await bench.help()
    bench.house.clock.now = job.deadline
    assert await bench.house.upkeep.expire_deadlines() == 1
    await running
    assert (bench.sandbox.killed, await states(bench, job)) == (2, "ff")


async def test_lanes_that_wake_too_late_publish_nothing(bench: Bench) -> None:
    """The lease ran out while both were frozen, and another worker has the job."""
    acts = Acts(bench, "jpg", "webp")
    job = await bench.house.claimed(TO_JPG, TO_WEBP)
    running = await bench.begin(job)
    await bench.help()
    await bench.house.store.update(job.id, _taken)
    acts.end("webp")
    acts.end("jpg")
    await running
    assert ((await bench.house.current(job)).outputs, bench.outputs) == ((), [])


async def test_a_slot_that_comes_too_late_starts_nothing(bench: Bench) -> None:
    bench.sandbox.act = hang
    job = await bench.house.claimed(TO_JPG, TO_WEBP)
    await bench.begin(job)
    await bench.house.store.update(job.id, _taken)
    assert bench.executor.help(bench.free)
    await settle_down()
    assert (await states(bench, job), bench.freed) == ("rq", 1)


async def test_a_stop_gives_back_every_task_without_cost(bench: Bench) -> None:
    bench.sandbox.act = hang
    job = await bench.house.claimed(TO_JPG, TO_WEBP)
    running = await bench.begin(job)
    await bench.help()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    back = await bench.house.current(job)
    assert (back.state, back.attempt, [task.attempts for task in back.tasks]) == (State.QUEUED, 0, [0, 0])
    assert bench.sandbox.killed == 2


async def test_a_stop_keeps_what_one_lane_stores_and_gives_back_the_rest(bench: Bench) -> None:
    slow_disk = bench.house.blobs.adopting = asyncio.Event()
    acts = Acts(bench, "jpg", "webp")
    job = await bench.house.claimed(TO_JPG, TO_WEBP)
    running = await bench.begin(job)
    await bench.help()
    acts.end("jpg")
    await settle_down()
    running.cancel()
    await settle_down()
    slow_disk.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    back = await bench.house.current(job)
    assert (back.state, await states(bench, job), back.attempt) == (State.QUEUED, "sq", 0)
    assert bench.outputs == [output.key for output in back.outputs]


async def test_a_lane_that_cannot_report_ends_the_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job is rescued as a whole; while it was held, the unreported task would seem to run for ever."""
    acts = Acts(bench, "jpg", "webp", "pdf")
    job = await bench.house.claimed(*FOUR, formats=FORMATS)
    running = await bench.begin(job)
    await bench.help()
    await bench.help()
    slow_disk = bench.house.blobs.adopting = asyncio.Event()
    acts.end("jpg")
    await settle_down()
    bench.house.blobs.adopting = None

    async def away(*report: Any) -> None:
        raise Unavailable("The job database cannot be used just now.")

    monkeypatch.setattr(bench.house.leases, "complete_task", away)
    monkeypatch.setattr(bench.house.leases, "fail_task", away)
    acts.end("webp")
    await settle_down()
    assert (bench.sandbox.killed, bench.freed, running.done()) == (1, 2, False)
    assert not bench.executor.help(bench.free), "one that still stores keeps the job from being over"
    slow_disk.set()
    with pytest.raises(ExceptionGroup):
        await running
    assert (bench.freed, bench.outputs) == (3, [])
    bench.house.clock.advance(30)
    assert await bench.house.upkeep.rescue() == 1


async def test_a_lane_that_cannot_begin_leaves_the_others_at_work(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    acts = Acts(bench, "jpg", "webp")
    acts.end("webp")
    job = await bench.house.claimed(TO_JPG, TO_WEBP)
    running = await bench.begin(job)

    async def away(job: Job) -> int:
        raise Unavailable("The job database cannot be used just now.")

    monkeypatch.setattr(bench.house.leases, "start_task", away)
    assert bench.executor.help(bench.free)
    await settle_down()
    assert (bench.freed, await states(bench, job)) == (1, "rq")
    assert not bench.executor.help(bench.free), "or the pool would try without pause"
    acts.end("jpg")
    await running
    assert await states(bench, job) == "ss"


async def test_a_job_that_ends_by_its_own_report_was_not_taken_away(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Though whoever guards the lease sees its end before the lane is told of it."""
    complete = bench.house.leases.complete_task

    async def slowly_told(*report: Any) -> Any:
        turn = await complete(*report)
        await settle_down()
        return turn

    monkeypatch.setattr(bench.house.leases, "complete_task", slowly_told)
    with caplog.at_level("INFO", "convertd.worker"):
        job = await bench.run(await bench.house.claimed(TO_JPG, TO_WEBP))
    assert caplog.messages == [f"job {job.id} is succeeded after attempt 1"]


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
