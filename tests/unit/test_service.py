"""Jobs from submission to the end of their retention, on nothing but memory."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from convertd.engines.base import Fidelity
from convertd.errors import (
    Conflict,
    ConvertdError,
    EngineMissing,
    Expired,
    FileInvalid,
    IdempotencyInFlight,
    IdempotencyKeyReused,
    InvalidRequest,
    NotFound,
    QueueFull,
    UnsupportedFormat,
    WorkerCrash,
)
from convertd.jobs.leases import Turn
from convertd.jobs.store import Cursor, Selection
from convertd.jobs.submission import TaskRequest
from convertd.model.job import Job, State
from convertd.web.idempotency import Hold, held_key
from tests.support.jobs import make_artifact
from tests.support.work import POLICY, House


def asked(operation: str = "convert", target: str | None = "jpg", **changes: object) -> TaskRequest:
    return replace(TaskRequest(inputs=(0,), operation=operation, target=target), **changes)


@pytest.fixture
def house() -> House:
    return House()


async def finish(house: House, job: Job) -> Job:
    """The held job, ended with one stored output."""
    output = make_artifact(f"{job.id}-out", task=0)
    house.blobs.stored[output.key] = b"output"
    ended = await house.leases.complete_task(job, 0, [output])
    assert ended is not None
    return ended.job


async def crash(house: House, job: Job, error: ConvertdError | None = None) -> Job:
    """The held job, after an attempt that failed."""
    settled = await house.leases.fail_task(job, 0, error or WorkerCrash("It died."))
    assert settled is not None
    return settled.job


async def claim(house: House) -> Job:
    job = await house.leases.claim()
    assert job is not None
    return job


# Submitting


async def test_a_submission_becomes_a_queued_job(house: House) -> None:
    request = asked(target="JPEG", options={"quality": "80"})
    job = await house.submit(request, metadata={"order": 7})
    assert (job.state, job.created_at, job.run_after) == (State.QUEUED, house.clock(), house.clock())
    assert job.deadline == house.clock() + POLICY.deadline
    assert job.metadata == {"order": 7}
    (task,) = job.tasks
    assert (task.operation, task.source, task.target) == ("convert", "png", "jpg")
    assert (task.engine, task.fidelity, task.options) == ("picture", "exact", {"quality": "80"})
    assert await house.service.get("local", job.id) == job


async def test_a_submission_wakes_a_worker(house: House) -> None:
    await house.submit()
    assert await house.dispatcher.wait(0)


@pytest.mark.parametrize(
    ("request_", "error", "field", "said"),
    [
        (asked("fry"), InvalidRequest, "operation", "compress, convert, thumbnail"),
        (asked(target=None), InvalidRequest, "to", "'to' is missing"),
        (asked(target="jpgg"), InvalidRequest, "to", "'jpgg'"),
        (asked(options={"quality": 900}), InvalidRequest, "quality", "from 1 to 100"),
        (asked(options={"speed": 1}), InvalidRequest, "speed", "Unknown option"),
        (asked(target="mp4"), UnsupportedFormat, None, "possible targets: jpg, webp"),
    ],
)
async def test_what_cannot_work_is_refused_before_there_is_a_job(
    house: House, request_: TaskRequest, error: type[ConvertdError], field: str | None, said: str
) -> None:
    with pytest.raises(error, match=said) as caught:
        await house.submit(request_)
    assert caught.value.field == field
    assert await house.store.waiting() == 0


async def test_one_wrong_task_refuses_the_whole_submission(house: House) -> None:
    with pytest.raises(UnsupportedFormat):
        await house.submit(asked(), asked(target="mp4"))
    assert await house.store.waiting() == 0


async def test_a_missing_engine_is_an_error_of_the_request(house: House) -> None:
    with pytest.raises(EngineMissing, match="install the sound extra"):
        await house.submit(asked(target="mp3"), formats=("wav",))


async def test_a_fidelity_that_nobody_has_is_an_error_of_the_request(house: House) -> None:
    with pytest.raises(UnsupportedFormat, match="min_fidelity=exact"):
        await house.submit(asked(target="pdf", min_fidelity=Fidelity.EXACT), formats=("docx",))


@pytest.mark.parametrize(
    ("operation", "source", "target"),
    [("compress", "png", "png"), ("compress", "psd", "jpg"), ("thumbnail", "png", "jpg")],
)
async def test_operations_have_a_target_of_their_own(
    house: House, operation: str, source: str, target: str
) -> None:
    job = await house.submit(asked(operation, None), formats=(source,))
    assert job.tasks[0].target == target


async def test_a_full_queue_takes_no_more(house: House) -> None:
    for _ in range(POLICY.queue):
        await house.submit()
    with pytest.raises(QueueFull) as caught:
        await house.submit()
    assert caught.value.retry_after
    await claim(house)
    await house.submit()


# Reading


async def test_jobs_of_others_do_not_exist(house: House) -> None:
    job = await house.submit()
    for read in (house.service.get, house.service.version, house.service.cancel, house.service.retry):
        with pytest.raises(NotFound):
            await read("somebody else", job.id)
        with pytest.raises(NotFound):
            await read("local", "no-such-job")


async def test_jobs_are_listed_by_account(house: House) -> None:
    job = await house.submit()
    await house.submit(account="anna")
    assert await house.service.page(Selection(account="local"), limit=9) == [job]
    cursor = Cursor(job.created_at, job.id)
    assert await house.service.page(Selection(account="local"), after=cursor, limit=9) == []


async def test_the_place_in_the_queue(house: House) -> None:
    first = await house.submit()
    house.clock.advance(1)
    second = await house.submit()
    assert [await house.service.queue_position(job) for job in (first, second)] == [1, 2]
    running = await claim(house)
    assert await house.service.queue_position(running) is None
    assert await house.service.queue_position(second) == 1


async def test_outputs_are_served_until_they_are_gone(house: House) -> None:
    job = await finish(house, await house.claimed())
    key = job.outputs[0].key
    assert (await house.service.output(key)).key == key
    with pytest.raises(NotFound):
        await house.service.output(job.inputs[0].key)
    house.clock.advance(POLICY.retention.outputs)
    await house.upkeep.expire_files()
    with pytest.raises(Expired):
        await house.service.output(key)


# Waiting


async def test_a_waiting_client_is_told_of_the_end(house: House) -> None:
    job = await house.claimed()
    waiting = asyncio.create_task(house.service.wait_terminal(job, 60))
    await asyncio.sleep(0)
    await finish(house, job)
    assert (await waiting).state is State.SUCCEEDED


async def test_a_waiting_client_is_told_of_a_change(house: House) -> None:
    job = await house.submit()
    waiting = asyncio.create_task(house.service.wait_change(job, 60))
    await asyncio.sleep(0)
    await claim(house)
    assert (await waiting).state is State.RUNNING


async def test_a_job_that_has_ended_is_not_waited_for(house: House) -> None:
    job = await finish(house, await house.claimed())
    assert await house.service.wait_terminal(job, 60) == job
    assert await house.service.wait_change(job, 60) == job


async def test_waiting_ends_with_its_time(house: House) -> None:
    job = await house.submit()
    assert await house.service.wait_terminal(job, 0) == job


# Cancelling and retrying


async def test_a_queued_job_is_cancelled_at_once(house: House) -> None:
    job = await house.submit()
    assert (await house.service.cancel("local", job.id)).state is State.CANCELLED
    assert await house.leases.claim() is None
    with pytest.raises(Conflict, match="ended as cancelled"):
        await house.service.cancel("local", job.id)


async def test_a_running_job_is_not_cancelled_where_only_queued_ones_may_be(house: House) -> None:
    job = await house.claimed()
    with pytest.raises(Conflict, match="running"):
        await house.service.cancel("local", job.id, only_queued=True)
    assert (await house.current(job)).state is State.RUNNING
    waiting = await house.submit()
    assert (await house.service.cancel("local", waiting.id, only_queued=True)).state is State.CANCELLED


async def test_cancelling_takes_a_running_job_from_its_worker(house: House) -> None:
    job = await house.claimed()
    with house.leases.watch(job.id) as hints:
        await house.service.cancel("local", job.id)
        assert await hints.wait(0)
    assert not await house.leases.holds(job)
    assert not await house.leases.beat(job)
    assert await house.leases.complete_task(job, 0, []) is None


@pytest.mark.parametrize("cancel_first", [False, True])
async def test_of_cancel_and_finish_one_wins(house: House, cancel_first: bool) -> None:
    job = await house.claimed()
    cancel = house.service.cancel("local", job.id)
    complete = house.leases.complete_task(job, 0, [make_artifact("out", task=0)])
    acts = (cancel, complete) if cancel_first else (complete, cancel)
    results = await asyncio.gather(*acts, return_exceptions=True)
    first, second = results
    assert isinstance(first, Job | Turn)
    assert second is None or isinstance(second, Conflict)
    assert (await house.current(job)).state is (State.CANCELLED if cancel_first else State.SUCCEEDED)


async def test_a_failed_job_runs_again_when_its_owner_asks(house: House) -> None:
    failed = await crash(house, await house.claimed(), FileInvalid("The file is damaged."))
    assert failed.state is State.FAILED
    house.clock.advance(50)
    again = await house.service.retry("local", failed.id)
    assert (again.state, again.deadline) == (State.QUEUED, house.clock() + POLICY.deadline)
    assert (await finish(house, await claim(house))).state is State.SUCCEEDED
    with pytest.raises(Conflict, match="The job is succeeded"):
        await house.service.retry("local", failed.id)


async def test_a_job_without_its_files_does_not_run_again(house: House) -> None:
    failed = await crash(house, await house.claimed(), FileInvalid("The file is damaged."))
    house.clock.advance(POLICY.retention.inputs)
    await house.upkeep.expire_files()
    with pytest.raises(Expired):
        await house.service.retry("local", failed.id)


async def test_a_retry_needs_room_in_the_queue(house: House) -> None:
    failed = await crash(house, await house.claimed(), FileInvalid("The file is damaged."))
    for _ in range(POLICY.queue):
        await house.submit()
    with pytest.raises(QueueFull):
        await house.service.retry("local", failed.id)


# Attempts


async def test_retries_wait_longer_each_time() -> None:
    house = House(policy=replace(POLICY, attempts=12, deadline=1e9))
    await house.submit()
    delays = []
    for _ in range(11):
        settled = await crash(house, await claim(house))
        delays.append(settled.run_after - house.clock())
        house.clock.now = settled.run_after
    assert delays == [5, 10, 20, 40, 80, 160, 300, 300, 300, 300, 300]


@pytest.mark.parametrize(("jitter", "delay"), [(0.0, 5.0), (0.5, 5.625), (1.0, 6.25)])
async def test_retries_are_spread(jitter: float, delay: float) -> None:
    house = House(jitter=jitter)
    settled = await crash(house, await house.claimed())
    assert settled.run_after - house.clock() == delay


async def test_a_retry_is_not_claimed_before_its_time(house: House) -> None:
    settled = await crash(house, await house.claimed())
    house.clock.now = settled.run_after - 0.1
    assert await house.leases.claim() is None
    house.clock.advance(0.1)
    assert (await claim(house)).attempt == 2


async def test_a_worker_without_the_job_reports_nothing(house: House) -> None:
    job = await house.claimed()
    stale = replace(job, token="another")
    await house.leases.progress(stale, 0, 0.5)
    await house.leases.fail_task(stale, 0, FileInvalid("m"))
    await house.leases.drain(stale)
    assert not await house.leases.complete_task(stale, 0, [])
    assert await house.current(job) == job


# Rescue and deadlines


async def test_an_orphan_is_queued_again_when_its_lease_has_run_out(house: House) -> None:
    job = await house.claimed()
    house.clock.advance(POLICY.lease - 0.1)
    assert await house.upkeep.rescue() == 0
    house.clock.advance(0.1)
    await house.dispatcher.wait(0)
    assert await house.upkeep.rescue() == 1
    assert await house.dispatcher.wait(0), "a worker is told"
    rescued = await house.current(job)
    assert (rescued.state, rescued.tasks[0].attempts) == (State.QUEUED, 1)


async def test_a_job_whose_worker_beats_is_no_orphan(house: House) -> None:
    job = await house.claimed()
    for _ in range(10):
        house.clock.advance(POLICY.lease / 2)
        assert await house.leases.beat(job)
        assert await house.upkeep.rescue() == 0


async def test_at_the_start_every_running_job_is_an_orphan(house: House) -> None:
    await house.claimed()
    waiting = await house.submit()
    assert await house.upkeep.rescue(all_running=True) == 1
    assert await house.store.waiting() == 2
    assert await house.current(waiting) == waiting


async def test_a_file_that_kills_its_worker_fails_after_three_attempts(house: House) -> None:
    submitted = await house.submit()
    for attempt in range(POLICY.attempts):
        assert (await house.current(submitted)).state is State.QUEUED, attempt
        await claim(house)
        house.clock.advance(POLICY.lease)
        await house.upkeep.rescue()
    ended = await house.current(submitted)
    assert ended.error is not None
    assert (ended.state, ended.error.code) == (State.FAILED, "worker_crash")


async def test_the_deadline_fails_what_has_not_ended(house: House) -> None:
    running, queued = await house.claimed(), await house.submit()
    house.clock.advance(POLICY.deadline - 1)
    assert await house.upkeep.expire_deadlines() == 0
    house.clock.advance(1)
    assert await house.upkeep.expire_deadlines() == 2
    for job in (running, queued):
        ended = await house.current(job)
        assert ended.error is not None
        assert (ended.state, ended.error.code) == (State.FAILED, "timeout")
    assert not await house.leases.holds(running)


# Retention


async def test_files_go_after_their_retention_row_first(house: House) -> None:
    job = await finish(house, await house.claimed())
    rows_at_deletion = []
    delete = house.blobs.delete

    async def watched(keys: list[str]) -> None:
        rows_at_deletion.append(await house.store.known(keys))
        await delete(keys)

    house.blobs.delete = watched  # type: ignore[assignment, method-assign]
    house.clock.advance(POLICY.retention.inputs)
    assert await house.upkeep.expire_files() == 1
    assert sorted(house.blobs.stored) == [job.outputs[0].key]
    house.clock.advance(POLICY.retention.outputs - POLICY.retention.inputs)
    assert await house.upkeep.expire_files() == 1
    assert house.blobs.stored == {}
    assert rows_at_deletion == [set(), set()]
    assert (await house.current(job)).state is State.SUCCEEDED


async def test_files_of_a_job_that_is_not_over_stay(house: House) -> None:
    job = await house.claimed()
    house.clock.advance(POLICY.retention.inputs * 5)
    assert await house.upkeep.expire_files() == 0
    assert job.inputs[0].key in house.blobs.stored


async def test_rows_go_last_and_take_with_them_what_is_left(house: House) -> None:
    job = await finish(house, await house.claimed())
    house.clock.advance(POLICY.keep_rows - 1)
    assert await house.upkeep.remove_rows() == 0
    house.clock.advance(1)
    assert await house.upkeep.remove_rows() == 1
    assert await house.store.get(job.id) is None
    assert house.blobs.stored == {}


async def test_a_sweep_gets_through_more_than_one_batch() -> None:
    house = House(policy=replace(POLICY, queue=1000))
    for _ in range(450):
        await finish(house, await house.claimed())
    house.clock.advance(POLICY.retention.outputs)
    assert await house.upkeep.expire_files() == 450
    assert house.blobs.stored == {}
    house.clock.advance(POLICY.keep_rows)
    assert await house.upkeep.remove_rows() == 450


async def test_strays_are_swept_and_nothing_else(house: House) -> None:
    done = await finish(house, await house.claimed())
    waiting = await house.submit()
    for number in range(450):
        house.blobs.stored[f"stray-{number}"] = b"?"
    assert await house.upkeep.sweep_strays() == 450
    assert sorted(house.blobs.stored) == sorted(
        blob.key for blob in (*done.inputs, *done.outputs, *waiting.inputs)
    )
    assert await house.upkeep.sweep_strays() == 0


# Idempotency

UPLOAD_SECONDS = 7200.0


async def hold(house: House, key: str = "k", account: str = "local") -> Hold:
    async with held_key(house.service, account, key, upload_seconds=UPLOAD_SECONDS) as held:
        return held


async def submit_held(house: House, fingerprint: str = "f") -> Job:
    """One request with a key, as a dialect serves it."""
    async with held_key(house.service, "local", "k", upload_seconds=UPLOAD_SECONDS) as held:
        earlier = held.replayed_job(fingerprint)
        if earlier is not None:
            return await house.service.get("local", earlier)
        return await house.submit(key=held.record(fingerprint))


async def test_a_repeated_request_gets_the_first_job(house: House) -> None:
    job = await submit_held(house)
    assert await submit_held(house) == job
    assert await house.store.waiting() == 1


async def test_a_twin_of_a_request_in_flight_waits(house: House) -> None:
    async with held_key(house.service, "local", "k", upload_seconds=UPLOAD_SECONDS):
        with pytest.raises(IdempotencyInFlight) as caught:
            await hold(house)
        assert caught.value.retry_after
        await hold(house, account="anna")
        house.clock.advance(UPLOAD_SECONDS)  # as long as a body may take
        with pytest.raises(IdempotencyInFlight):
            await hold(house)
    job = await submit_held(house)
    assert job.state is State.QUEUED


async def test_a_key_with_another_request_is_refused(house: House) -> None:
    await submit_held(house, "f")
    with pytest.raises(IdempotencyKeyReused):
        await submit_held(house, "g")
    assert await house.store.waiting() == 1


async def test_a_request_that_fails_does_not_burn_its_key(house: House) -> None:
    with pytest.raises(UnsupportedFormat):
        async with held_key(house.service, "local", "k", upload_seconds=UPLOAD_SECONDS) as held:
            await house.submit(asked(target="mp4"), key=held.record("f"))
    assert (await submit_held(house)).state is State.QUEUED


async def test_a_key_is_kept_for_its_time(house: House) -> None:
    job = await submit_held(house)
    house.clock.advance(POLICY.keep_keys - 1)
    assert (await submit_held(house)).id == job.id
    house.clock.advance(1)
    assert (await submit_held(house)).id != job.id


async def test_of_a_hundred_at_once_one_makes_the_job(house: House) -> None:
    async def one() -> str | None:
        try:
            async with held_key(house.service, "local", "k", upload_seconds=UPLOAD_SECONDS) as held:
                await asyncio.sleep(0)
                if (earlier := held.replayed_job("f")) is not None:
                    return earlier
                return (await house.submit(key=held.record("f"))).id
        except IdempotencyInFlight:
            return None

    answers = await asyncio.gather(*(one() for _ in range(100)))
    assert len(set(answers) - {None}) == 1
    assert await house.store.waiting() == 1


async def test_a_start_frees_what_was_in_flight(house: House) -> None:
    await house.service.reserve("local", "k", seconds=3600)
    await house.upkeep.sweep_strays()
    assert await house.service.reserve("local", "k", seconds=3600) is None


async def test_without_a_key_nothing_is_held(house: House) -> None:
    async with held_key(house.service, "local", None, upload_seconds=UPLOAD_SECONDS) as held:
        assert held.replayed_job("f") is None
        assert held.record("f") is None
