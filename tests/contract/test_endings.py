"""Every end of a job owes its callback one delivery, and counts once; nothing else does. On every store."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from convertd.errors import Conflict, ConvertdError, Expired, FileInvalid, WorkerCrash
from convertd.jobs.sqlite import SqliteStore
from convertd.jobs.store import Store
from convertd.jobs.submission import TaskRequest
from convertd.model.callback import Event
from convertd.model.job import Callback, Job, State
from convertd.model.usage import Usage, usage_of
from tests.support.jobs import make_artifact
from tests.support.work import POLICY, House

CALLBACK = Callback(url="https://hooks.example/", secret="s")
TWO = tuple(TaskRequest(inputs=(0,), operation="convert", target=target) for target in ("jpg", "jpg"))


@pytest.fixture
def house(store: Store) -> House:
    return House(store=store)


async def complete(house: House, job: Job, index: int = 0) -> None:
    made = [make_artifact(f"{job.id}-{job.attempt}-{job.token}-{index}", task=index, bytes=4)]
    await house.leases.complete_task(job, index, made)


async def fail(house: House, job: Job, index: int = 0, error: ConvertdError | None = None) -> None:
    await house.leases.fail_task(job, index, error or FileInvalid("It is damaged."))


# Each way to an end


async def success(house: House, job: Job) -> None:
    await complete(house, job)
    await complete(house, job, 1)


async def success_at_once(house: House, job: Job) -> None:
    assert await house.leases.start_task(job) == 1
    assert await house.leases.start_task(job) is None
    await complete(house, job, 1)
    await complete(house, job)


async def success_in_part(house: House, job: Job) -> None:
    await fail(house, job)
    await complete(house, job, 1)


async def failure(house: House, job: Job) -> None:
    await fail(house, job)
    await fail(house, job, 1)


async def failure_at_once(house: House, job: Job) -> None:
    """Both fail while both run; the first is not tried again while the second runs."""
    for _ in range(POLICY.attempts):
        assert await house.leases.start_task(job) == 1
        await fail(house, job, 0, WorkerCrash("It died."))
        assert (await house.current(job)).running_tasks == [1]
        await fail(house, job, 1, WorkerCrash("It died."))
        house.clock.advance(300.0)
        job = await house.leases.claim() or job


async def cancelling(house: House, job: Job) -> None:
    await house.service.cancel("local", job.id)


async def deadline(house: House, job: Job) -> None:
    house.clock.advance(POLICY.deadline)
    assert await house.upkeep.expire_deadlines() == 1


async def deadline_in_the_queue(house: House, job: Job) -> None:
    await house.leases.drain(job)
    await deadline(house, job)


async def orphans(house: House, job: Job) -> None:
    """Its worker dies at the first task, then at the second, as often as that is borne."""
    for _ in range(2 * POLICY.attempts - 1):
        house.clock.advance(POLICY.lease)
        assert await house.upkeep.rescue() == 1
        assert await house.leases.claim() is not None
    assert await house.upkeep.rescue(all_running=True) == 1


async def orphans_at_once(house: House, job: Job) -> None:
    """Its worker dies at both tasks, as often as that is borne."""
    for _ in range(POLICY.attempts - 1):
        await house.leases.start_task(job)
        house.clock.advance(POLICY.lease)
        assert await house.upkeep.rescue() == 1
        job = await house.leases.claim() or job
    await house.leases.start_task(job)
    assert await house.upkeep.rescue(all_running=True) == 1


async def crashes(house: House, job: Job) -> None:
    """Both tasks are tried as often as crashes are, the last time to the end."""
    for _ in range(POLICY.attempts):
        await fail(house, job, 0, WorkerCrash("It died."))
        await fail(house, job, 1, WorkerCrash("It died."))
        house.clock.advance(300.0)
        job = await house.leases.claim() or job


WAYS: dict[Callable[[House, Job], Awaitable[None]], Event] = {
    success: Event.SUCCEEDED,
    success_at_once: Event.SUCCEEDED,
    success_in_part: Event.SUCCEEDED,
    failure: Event.FAILED,
    failure_at_once: Event.FAILED,
    cancelling: Event.CANCELLED,
    deadline: Event.FAILED,
    deadline_in_the_queue: Event.FAILED,
    orphans: Event.FAILED,
    orphans_at_once: Event.FAILED,
    crashes: Event.FAILED,
}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_every_way_to_an_end_owes_one_delivery(
    house: House, way: Callable[[House, Job], Awaitable[None]]
) -> None:
    job = await house.claimed(*TWO, callback=CALLBACK)
    assert await house.store.deliveries_of_job(job.id) == []
    await way(house, job)
    ended = await house.current(job)
    assert ended.state.terminal
    (delivery,) = await house.store.deliveries_of_job(job.id)
    assert (delivery.event, delivery.callback) == (WAYS[way], CALLBACK)
    assert delivery.job == replace(ended, callback=None)
    assert delivery.next_at == ended.finished_at
    assert await house.deliveries.wait(0), "the dispatcher is woken"
    used = await house.store.count_usage("local", dialect=None, since_month=None)
    assert used == usage_of(ended)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_a_job_without_callback_owes_nothing_however_it_ends(
    house: House, way: Callable[[House, Job], Awaitable[None]]
) -> None:
    job = await house.claimed(*TWO)
    await way(house, job)
    assert (await house.current(job)).state.terminal
    assert await house.store.next_delivery_at() is None
    assert not await house.deliveries.wait(0)


async def test_a_retry_that_ends_owes_another_and_counts_once(house: House) -> None:
    job = await house.claimed(callback=CALLBACK)
    await fail(house, job)
    await house.service.retry("local", job.id)
    assert len(await house.store.deliveries_of_job(job.id)) == 1
    assert await house.store.count_usage("local", dialect=None, since_month=None) == Usage()
    house.clock.advance(1)
    await complete(house, await house.leases.claim() or job)
    deliveries = await house.store.deliveries_of_job(job.id)
    assert [delivery.event for delivery in deliveries] == [Event.FAILED, Event.SUCCEEDED]
    used = await house.store.count_usage("local", dialect=None, since_month=None)
    assert (used.jobs, used.succeeded) == (1, 1)


async def test_what_happens_after_the_end_owes_nothing_more(house: House) -> None:
    job = await house.claimed(callback=CALLBACK)
    await complete(house, job)
    with pytest.raises(Conflict):
        await house.service.cancel("local", job.id)
    await complete(house, job)
    house.clock.advance(POLICY.retention.outputs)
    assert await house.upkeep.expire_files() == 1
    assert await house.upkeep.expire_deadlines() == 0
    assert len(await house.store.deliveries_of_job(job.id)) == 1


# Any of it, in any order


class Walk:
    """A job to which things happen, and a record of its ends."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.held: list[Job] = []
        """Every hold that a worker ever had: those of long ago report, too."""

    async def submit(self) -> None:
        self.job = await self.house.submit(*TWO, TWO[0], callback=CALLBACK)

    async def step(self, action: str, index: int) -> None:
        house, now = self.house, await self.house.current(self.job)
        holder = self.held[-1 - index % len(self.held)] if self.held else replace(now, token="nobody")
        if action == "claim":
            self.held += [job for job in [await house.leases.claim()] if job is not None]
        elif action == "complete":
            await complete(house, holder, index % 3)
        elif action == "fail":
            await fail(house, holder, index % 3, (FileInvalid, WorkerCrash)[index // 3 % 2]("It failed."))
        elif action == "help":
            await house.leases.start_task(holder)
        elif action == "drain":
            await house.leases.drain(holder)
        elif action == "wait":
            house.clock.advance((10.0, 31.0, 200.0, 1000.0)[index % 4])
        else:
            await self.interfere(action)

    async def interfere(self, action: str) -> None:
        house = self.house
        try:
            if action == "cancel":
                await house.service.cancel("local", self.job.id)
            elif action == "retry":
                await house.service.retry("local", self.job.id)
        except (Conflict, Expired):
            pass
        if action == "tidy":
            await house.upkeep.rescue()
            await house.upkeep.expire_deadlines()
            await house.upkeep.expire_files()

    async def run(self, steps: list[tuple[str, int]]) -> None:
        await self.submit()
        ends: list[Job] = []
        before = await self.house.current(self.job)
        for action, index in steps:
            self.house.clock.advance(0.001)
            await self.step(action, index)
            after = await self.house.current(self.job)
            assert bool(after.running_tasks) == (after.state is State.RUNNING)
            if after.state.terminal and not before.state.terminal:
                ends.append(after)
            before = after
        owed = [delivery.job for delivery in await self.house.store.deliveries_of_job(self.job.id)]
        assert owed == [replace(end, callback=None) for end in ends]
        used = await self.house.store.count_usage("local", dialect=None, since_month=None)
        assert used == (usage_of(before) if before.state.terminal else Usage())


ACTIONS = (
    ["claim"] * 3 + ["complete"] * 4 + ["fail", "help"] * 2 + ["drain", "wait", "cancel", "retry", "tidy"]
)
STEPS = st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 7)), min_size=5, max_size=40)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_in_any_order_each_end_owes_one_in_memory(steps: list[tuple[str, int]]) -> None:
    asyncio.run(Walk(House()).run(steps))


@settings(max_examples=15, deadline=None)
@given(STEPS)
def test_in_any_order_each_end_owes_one_in_the_database(steps: list[tuple[str, int]]) -> None:
    async def walk(path: Path) -> None:
        store = await SqliteStore.open(path)
        try:
            await Walk(House(store=store)).run(steps)
        finally:
            await store.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(walk(Path(folder) / "jobs.db"))
