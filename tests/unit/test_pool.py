"""The worker pool, and the rhythm of housekeeping."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import pytest

from convertd.engines.base import Limits, Product
from convertd.errors import Unavailable, WorkerCrash
from convertd.jobs.store import Rule, Selection
from convertd.jobs.submission import TaskRequest
from convertd.model.job import Job, State
from convertd.sandbox.runner import Budget
from convertd.worker import pool as pool_module
from convertd.worker.executor import Executor, ExecutorSettings
from convertd.worker.housekeeping import Duty, Housekeeping
from convertd.worker.pool import WorkerPool
from tests.support.clock import FakeClock
from tests.support.fake_sandbox import Child, FakeSandbox, convert, hang
from tests.support.work import House

BUDGET = Budget(
    wall_seconds=600.0, cpu_seconds=600, memory_bytes=1 << 30, file_bytes=1 << 30, open_files=64, processes=8
)


class Works:
    """A house with a pool."""

    def __init__(self, workers: int = 2) -> None:
        self.house = House()
        self.sandbox = FakeSandbox()
        self.pool = WorkerPool(
            leases=self.house.leases,
            executor=Executor(
                leases=self.house.leases,
                registry=self.house.registry,
                blobs=self.house.blobs,
                sandbox=cast("Any", self.sandbox),
                settings=ExecutorSettings(limits=Limits(), budget=BUDGET, heartbeat=3600.0),
                clock=self.house.clock,
            ),
            dispatcher=self.house.dispatcher,
            workers=workers,
            clock=self.house.clock,
        )

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Let the loop turn until the condition holds."""
        for _ in range(2000):
            if await condition():
                return
            await asyncio.sleep(0)
        raise AssertionError("it never came to that")

    async def idle(self) -> bool:
        return self.pool.busy == 0

    async def until_running(self, count: int) -> None:
        async def reached() -> bool:
            return len(self.sandbox.calls) == count

        await self.until(reached)

    async def until_ended(self, job: Job) -> Job:
        async def reached() -> bool:
            return (await self.house.current(job)).state.terminal

        await self.until(reached)
        return await self.house.current(job)


@pytest.fixture
async def works() -> AsyncIterator[Works]:
    made = Works()
    yield made
    await made.pool.stop(0)


async def test_announced_work_is_done(works: Works) -> None:
    works.pool.start()
    await asyncio.sleep(0)
    job = await works.house.submit()
    assert (await works.until_ended(job)).state is State.SUCCEEDED


async def test_work_from_before_the_start_is_done(works: Works) -> None:
    job = await works.house.submit()
    works.pool.start()
    assert (await works.until_ended(job)).state is State.SUCCEEDED


async def test_a_lost_hint_delays_work_but_does_not_lose_it(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "POLL_SECONDS", 0.001)
    monkeypatch.setattr(works.house.dispatcher, "announce", lambda: None)
    works.pool.start()
    job = await works.house.submit()
    with works.house.bus.subscribe(job.id) as hints:
        while not (await works.house.current(job)).state.terminal:
            assert await hints.wait(5)


async def test_no_more_jobs_run_than_there_are_workers(works: Works) -> None:
    works.sandbox.act = hang
    for _ in range(3):
        await works.house.submit()
    works.pool.start()
    await works.until_running(2)
    for _ in range(50):
        await asyncio.sleep(0)
    assert works.pool.busy == 2
    assert len(works.sandbox.calls) == 2
    running = Selection(account="local", states=(State.RUNNING,))
    page = await works.house.service.page(running, limit=9)
    await works.house.service.cancel("local", page[0].id)
    await works.until_running(3)
    assert works.pool.busy == 2


# Large jobs


LARGE = tuple(
    TaskRequest(inputs=(0,), operation="convert", target=to) for to in ("jpg", "webp", "jpg", "webp")
)


class Children:
    """Children that end one by one, as the test says."""

    def __init__(self, works: Works) -> None:
        self.ends: list[asyncio.Event] = []
        works.sandbox.act = self.act

    async def act(self, child: Child) -> list[Product]:
        self.ends.append(end := asyncio.Event())
        await end.wait()
        return await convert(child)


async def crash(child: Child) -> list[Product]:
    raise WorkerCrash("It died.")


async def states(works: Works, job: Job) -> str:
    """The first letters of its tasks' states."""
    return "".join(task.state.value[0] for task in (await works.house.current(job)).tasks)


async def test_a_large_job_has_the_slots_that_nobody_needs(works: Works) -> None:
    children = Children(works)
    job = await works.house.submit(*LARGE)
    works.pool.start()
    await works.until_running(2)
    assert (await states(works, job), works.pool.busy, works.pool.well) == ("rrqq", 2, True)
    children.ends[0].set()
    await works.until_running(3)
    assert (await states(works, job), works.pool.busy) == ("srrq", 2)
    for end in children.ends:
        end.set()
    await works.until_running(4)
    children.ends[3].set()
    ended = await works.until_ended(job)
    assert (ended.state, ended.attempt, len(ended.outputs)) == (State.SUCCEEDED, 1, 4)
    await works.until(works.idle)


async def test_with_one_worker_tasks_run_one_after_the_other() -> None:
    works = Works(workers=1)
    children = Children(works)
    job = await works.house.submit(*LARGE)
    works.pool.start()
    for index in range(4):
        await works.until_running(index + 1)
        assert await states(works, job) == "s" * index + "r" + "q" * (3 - index)
        children.ends[index].set()
    await works.until_ended(job)
    await works.pool.stop(0)


@pytest.mark.parametrize("first", [0, 1])
async def test_a_job_that_arrives_has_the_first_slot_that_becomes_free(works: Works, first: int) -> None:
    """Whichever of the large job's lanes it is; and that job has the slot again when nobody waits."""
    children = Children(works)
    large = await works.house.submit(*LARGE)
    works.pool.start()
    await works.until_running(2)
    works.house.clock.advance(1)
    small = await works.house.submit()
    children.ends[first].set()
    await works.until_running(3)
    assert (await states(works, small), (await states(works, large)).count("r")) == ("r", 1)
    children.ends[1 - first].set()
    await works.until_running(4)
    assert await states(works, large) == "ssrq", "the last lane goes on though the job's other slot is gone"
    children.ends[2].set()
    await works.until_running(5)
    assert (await states(works, small), await states(works, large)) == ("s", "ssrr")


async def test_a_retry_that_is_not_due_leaves_the_slot_to_the_large_job(works: Works) -> None:
    works.sandbox.act = crash
    small = await works.house.submit()
    works.pool.start()

    async def waiting() -> bool:
        job = await works.house.current(small)
        return job.attempt == 1 and job.state is State.QUEUED

    await works.until(waiting)
    works.sandbox.act = hang
    large = await works.house.submit(*LARGE)
    await works.until_running(3)
    assert (await states(works, small), await states(works, large)) == ("q", "rrqq")


async def test_a_stop_gives_back_every_task_of_a_large_job(works: Works) -> None:
    works.sandbox.act = hang
    job = await works.house.submit(*LARGE)
    works.pool.start()
    await works.until_running(2)
    await works.pool.stop(0)
    back = await works.house.current(job)
    assert (back.state, back.attempt, [task.attempts for task in back.tasks]) == (State.QUEUED, 0, [0] * 4)
    assert (works.sandbox.killed, works.pool.busy) == (2, 0)


async def test_a_large_job_ends_within_the_grace_time_though_nobody_helps(works: Works) -> None:
    children = Children(works)
    job = await works.house.submit(*LARGE)
    works.pool.start()
    await works.until_running(2)
    stopping = asyncio.create_task(works.pool.stop(60))
    await asyncio.sleep(0)
    for index in range(4):
        await works.until_running(max(2, index + 1))
        children.ends[index].set()
    await stopping
    ended = await works.house.current(job)
    assert (ended.state, ended.attempt) == (State.SUCCEEDED, 1)


async def test_a_cancel_frees_every_slot_of_a_large_job(works: Works) -> None:
    works.sandbox.act = hang
    job = await works.house.submit(*LARGE)
    works.pool.start()
    await works.until_running(2)
    await works.house.service.cancel("local", job.id)
    await works.until(works.idle)
    works.sandbox.act = convert
    others = [await works.house.submit() for _ in range(2)]
    for other in others:
        assert (await works.until_ended(other)).state is State.SUCCEEDED


async def test_a_stop_lets_jobs_end_within_the_grace_time(works: Works) -> None:
    go_on = asyncio.Event()

    async def act(child: Any) -> Any:
        await go_on.wait()
        return child.make("out.jpg")

    works.sandbox.act = act
    job = await works.house.submit()
    works.pool.start()
    await works.until_running(1)
    stopping = asyncio.create_task(works.pool.stop(60))
    later = await works.house.submit()
    for _ in range(20):
        await asyncio.sleep(0)
    go_on.set()
    await stopping
    assert (await works.house.current(job)).state is State.SUCCEEDED
    assert (await works.house.current(later)).state is State.QUEUED


async def test_a_stop_gives_back_what_does_not_end(works: Works) -> None:
    works.sandbox.act = hang
    job = await works.house.submit()
    works.pool.start()
    await works.until_running(1)
    await works.pool.stop(0)
    back = await works.house.current(job)
    assert (back.state, back.attempt, back.tasks[0].attempts) == (State.QUEUED, 0, 0)
    assert works.sandbox.killed == 1


async def test_a_job_that_is_just_being_claimed_at_the_stop_is_given_back(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, committed = asyncio.Event(), asyncio.Event()
    claim = works.house.store.claim

    async def slow_claim(*asked: Any, **given: Any) -> Job | None:
        job = await claim(*asked, **given)
        entered.set()
        await committed.wait()
        return job

    monkeypatch.setattr(works.house.store, "claim", slow_claim)
    job = await works.house.submit()
    works.pool.start()
    await entered.wait()
    stopping = asyncio.create_task(works.pool.stop(0))
    await asyncio.sleep(0)
    committed.set()
    await stopping
    back = await works.house.current(job)
    assert (back.state, back.attempt) == (State.QUEUED, 0)
    assert works.sandbox.calls == []


async def test_a_database_that_is_away_is_asked_again(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "POLL_SECONDS", 0.001)
    claim, failures = works.house.store.claim, iter([Unavailable("away"), RuntimeError("a bug")])

    async def shaky_claim(*asked: Any, **given: Any) -> Job | None:
        if (failure := next(failures, None)) is not None:
            raise failure
        return await claim(*asked, **given)

    monkeypatch.setattr(works.house.store, "claim", shaky_claim)
    job = await works.house.submit()
    works.pool.start()
    with works.house.bus.subscribe(job.id) as hints:
        while not (await works.house.current(job)).state.terminal:
            assert await hints.wait(5)


async def test_a_run_that_breaks_frees_its_slot(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    works = Works(workers=1)
    update, failures = works.house.store.update, iter([Unavailable("away"), Unavailable("still away")])

    async def shaky_update(job_id: str, rule: Rule, *, durable: bool = True) -> Job | None:
        if durable and (failure := next(failures, None)) is not None:
            raise failure
        return await update(job_id, rule, durable=durable)

    monkeypatch.setattr(works.house.store, "update", shaky_update)
    await works.house.submit()
    works.house.clock.advance(1)
    second = await works.house.submit()
    works.pool.start()
    assert (await works.until_ended(second)).state is State.SUCCEEDED
    await works.pool.stop(0)


async def test_the_pool_is_well_while_its_loop_goes_round(works: Works) -> None:
    seen = [works.pool.well]
    works.pool.start()
    await asyncio.sleep(0)
    seen.append(works.pool.well)
    works.house.clock.advance(60)
    seen.append(works.pool.well)
    works.house.dispatcher.announce()
    for _ in range(20):
        await asyncio.sleep(0)
    seen.append(works.pool.well)
    await works.pool.stop(0)
    seen.append(works.pool.well)
    assert seen == [False, True, False, True, False]


async def test_a_pool_that_is_fully_at_work_is_well(works: Works) -> None:
    works.sandbox.act = hang
    for _ in range(2):
        await works.house.submit()
    works.pool.start()
    await works.until_running(2)
    works.house.clock.advance(3600)
    assert works.pool.well


async def test_a_pool_whose_last_slot_hangs_in_a_claim_is_not_well(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    works.sandbox.act = hang
    await works.house.submit()
    works.pool.start()
    await works.until_running(1)
    go_on = asyncio.Event()

    async def hanging_claim(*asked: Any, **given: Any) -> Job | None:
        await go_on.wait()
        return None

    monkeypatch.setattr(works.house.store, "claim", hanging_claim)
    works.house.dispatcher.announce()
    for _ in range(20):
        await asyncio.sleep(0)
    seen = [works.pool.well]
    works.house.clock.advance(60)
    seen.append(works.pool.well)
    go_on.set()  # before any assertion: stopping the pool waits for a claim
    assert seen == [True, False]


async def test_a_pool_is_well_when_a_slot_becomes_free_after_long_work(works: Works) -> None:
    works = Works(workers=1)
    seen: list[bool] = []
    go_on = asyncio.Event()

    async def act(child: Any) -> Any:
        await go_on.wait()
        return child.make("out.jpg")

    works.sandbox.act = act
    await works.house.submit()
    works.pool.start()
    await works.until_running(1)
    (running,) = works.pool._running
    running.add_done_callback(lambda _: seen.append(works.pool.well))
    works.house.clock.advance(3600)
    go_on.set()
    await asyncio.wait([running])
    assert seen == [True]
    await works.pool.stop(0)


# Housekeeping


class Rounds:
    """Duties that count how often they were done."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def duty(self, name: str, every: float, *, failing: bool = False) -> Duty:
        async def run() -> int:
            self.done.append(name)
            if failing:
                raise Unavailable("away")
            return 7

        return Duty(name=name, every=every, run=run)


async def test_each_duty_has_its_rhythm() -> None:
    rounds = Rounds()
    keeping = Housekeeping([rounds.duty("often", 5), rounds.duty("seldom", 60)], clock=FakeClock())
    assert await keeping.run_once(100.0) == {"often": 7, "seldom": 7}
    assert await keeping.run_once(104.0) == {}
    assert await keeping.run_once(105.0) == {"often": 7}
    assert await keeping.run_once(160.0) == {"often": 7, "seldom": 7}


async def test_a_duty_that_fails_is_done_again_and_stops_no_other() -> None:
    rounds = Rounds()
    keeping = Housekeeping([rounds.duty("ill", 5, failing=True), rounds.duty("well", 5)], clock=FakeClock())
    assert await keeping.run_once(100.0) == {"well": 7}
    await keeping.run_once(105.0)
    assert rounds.done == ["ill", "well", "ill", "well"]


async def test_the_rounds_begin_and_end() -> None:
    began = asyncio.Event()

    async def run() -> int:
        began.set()
        return 0

    keeping = Housekeeping([Duty(name="d", every=60, run=run)], clock=FakeClock())
    await keeping.stop()
    keeping.start()
    await began.wait()
    await keeping.stop()


async def test_a_clock_that_is_set_back_does_not_halt_the_duties() -> None:
    rounds = Rounds()
    keeping = Housekeeping([rounds.duty("rescue", 5)], clock=FakeClock())
    await keeping.run_once(10_000.0)
    await keeping.run_once(1_000.0)
    assert rounds.done == ["rescue", "rescue"]
