"""What every store of jobs promises, in one suite for all of them."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from msgspec.structs import replace

from convertd.errors import FileInvalid, IdempotencyInFlight
from convertd.jobs.store import Brief, Cursor, Due, IdempotencyKey, Reservation, Selection, Store
from convertd.model import job as rules
from convertd.model.job import Callback, Failure, Job, State
from tests.support.jobs import NOW, RETENTION, make_artifact, make_job, make_task

KEY = IdempotencyKey(account="local", key="k-1", fingerprint="f-1", expires_at=NOW + 100)


def every_field() -> Job:
    """A job with a value other than the default in every field that an ended one can have."""
    return replace(
        make_job(),
        account="anna",
        dialect="other",
        operation="trim",
        metadata={"größe": [1, 2.5, None, True, {"a": "\u2028 \U0001f600"}]},
        extras={"order": "x" * 300},
        callback=Callback(url="https://a.example/ö?x=1", secret="s", origin="https://me.example"),
        state=State.FAILED,
        state_since=NOW + 1.25,
        version=7,
        attempt=3,
        started_at=NOW + 0.25,
        finished_at=NOW + 1.125,
        inputs_expire_at=NOW + 2,
        outputs_expire_at=NOW + 3,
        error=Failure("timeout", 'It said "no".\n'),
        inputs=(
            make_artifact("in-0", name="日本\u202e.png", bytes=2**40, facts={"width": 3, "fps": 29.97}),
            make_artifact("in-1", gone=True),
        ),
        tasks=(
            make_task(inputs=(0, 1), options={"quality": 80, "deep": {"er": []}}, attempts=2, progress=0.5),
            make_task(state=State.FAILED, error=Failure("file_invalid", "m"), fidelity="good", engine="a+b"),
            make_task(state=State.CANCELLED, operation="thumbnail", source="mp4", target="gif"),
        ),
        outputs=(
            make_artifact("out-0", task=2, notes=("The result is larger.", "Zwei."), facts={"pages": 9}),
        ),
    )


async def test_a_job_comes_back_as_it_went_in(store: Store) -> None:
    job = every_field()
    await store.insert(job)
    assert await store.get(job.id) == job


async def test_a_held_job_comes_back_as_it_went_in(store: Store) -> None:
    job = make_job(tasks=2, state=State.RUNNING, token="t", lease_until=NOW + 0.5)
    await store.insert(job)
    assert await store.get(job.id) == job


async def test_an_unknown_job_is_none(store: Store) -> None:
    assert await store.get("nobody") is None
    assert await store.brief("nobody") is None
    assert await store.update("nobody", lambda job: job) is None
    assert await store.delete("nobody", ended_by=NOW) is None


# Updating


def finished(job: Job, *, output: str, now: float = NOW + 9) -> Job:
    """The job after a worker made ``output``."""
    held = rules.claimed(job, now=now, token="t", lease_until=now + 30)
    started = held and rules.task_started(held, token="t", index=0)
    outputs = [make_artifact(output, task=0)]
    done = started and rules.task_succeeded(started, token="t", index=0, outputs=outputs)
    ended = done and rules.settled(done, token="t", now=now, retention=RETENTION)
    assert ended is not None
    return ended


async def test_an_update_keeps_every_change_and_counts_the_version(store: Store) -> None:
    job = make_job(tasks=1)
    await store.insert(job)
    changed = await store.update(job.id, partial(finished, output="out"))
    assert changed is not None
    assert changed.version == 2
    assert changed.outputs[0].key == "out"
    assert await store.get(job.id) == changed
    assert await store.brief(job.id) == Brief("local", 2, changed.state, None)


async def test_an_output_of_an_earlier_task_comes_in_before_those_that_are_there(store: Store) -> None:
    job = make_job(tasks=3, state=State.RUNNING, token="t", lease_until=NOW + 30)
    await store.insert(replace(job, tasks=(make_task(state=State.RUNNING),) * 3))
    for index in (2, 0, 1):
        outputs = [make_artifact(f"{index}-{page}", task=index) for page in range(2)]
        await store.update(job.id, partial(rules.task_succeeded, token="t", index=index, outputs=outputs))
    current = await store.get(job.id)
    assert current is not None
    assert [output.key for output in current.outputs] == ["0-0", "0-1", "1-0", "1-1", "2-0", "2-1"]


async def test_a_rule_that_does_not_apply_changes_nothing(store: Store) -> None:
    job = make_job()
    await store.insert(job)
    assert await store.update(job.id, lambda job: None) is None
    assert await store.get(job.id) == job


async def test_a_rule_that_raises_changes_nothing(store: Store) -> None:
    job = make_job()
    await store.insert(job)

    def broken(job: Job) -> Job:
        raise FileInvalid("no")

    with pytest.raises(FileInvalid):
        await store.update(job.id, broken)
    assert await store.get(job.id) == job


async def test_updates_of_one_job_do_not_lose_each_other(store: Store) -> None:
    job = make_job()
    await store.insert(job)
    await asyncio.gather(
        *(store.update(job.id, lambda j: replace(j, attempt=j.attempt + 1)) for _ in range(50))
    )
    current = await store.get(job.id)
    assert current is not None
    assert (current.attempt, current.version) == (50, 51)


@pytest.mark.parametrize("round_", range(5))
async def test_of_cancel_and_finish_one_wins(store: Store, round_: int) -> None:
    jobs = [make_job() for _ in range(40)]
    for job in jobs:
        await store.insert(replace(job, state=State.RUNNING, token="t", lease_until=NOW + 30))

    def finish(job: Job) -> Job | None:
        return rules.settled(
            replace(job, tasks=(make_task(state=State.SUCCEEDED),)), token="t", now=NOW, retention=RETENTION
        )

    cancel = partial(rules.cancelled, now=NOW, retention=RETENTION)
    pairs = [
        asyncio.gather(*(store.update(job.id, rule) for rule in order))
        for number, job in enumerate(jobs)
        for order in [(cancel, finish) if (number + round_) % 2 else (finish, cancel)]
    ]
    for first, second in await asyncio.gather(*pairs):
        assert (first is None) != (second is None)


async def test_artifacts_that_are_gone_stay_in_their_places(store: Store) -> None:
    job = finished(make_job(), output="out")
    await store.insert(job)
    changed = await store.update(job.id, partial(rules.emptied, now=NOW + 109))
    assert changed is not None
    assert await store.get(job.id) == changed
    assert (changed.inputs[0].gone, changed.outputs[0].gone) == (True, False)


async def test_a_deleted_job_is_gone_with_all_its_parts(store: Store) -> None:
    job = finished(make_job(), output="out")
    await store.insert(job)
    assert job.finished_at is not None
    assert await store.delete(job.id, ended_by=job.finished_at) == job
    assert await store.get(job.id) is None
    assert await store.output("out") is None
    assert await store.known(["out", job.inputs[0].key]) == set()
    await store.insert(job)


# The queue


async def claim(store: Store, now: float = NOW, token: str = "t") -> Job | None:
    return await store.claim(partial(rules.claimed, now=now, token=token, lease_until=now + 30), now=now)


async def test_the_longest_waiting_job_is_claimed_first(store: Store) -> None:
    later, first, retry = (
        make_job(run_after=NOW - 5),
        make_job(run_after=NOW - 9),
        make_job(run_after=NOW + 9),
    )
    for job in (later, first, retry):
        await store.insert(job)
    claimed = [await claim(store), await claim(store)]
    assert [job and job.id for job in claimed] == [first.id, later.id]
    assert await claim(store) is None
    due = await claim(store, now=NOW + 9)
    assert due is not None
    assert due.id == retry.id


async def test_jobs_of_one_moment_are_claimed_by_id(store: Store) -> None:
    ids = [f"job-{number}" for number in (3, 1, 2)]
    for job_id in ids:
        await store.insert(make_job(id=job_id))
    order = [await claim(store) for _ in ids]
    assert [job and job.id for job in order] == sorted(ids)


async def test_a_claim_is_kept(store: Store) -> None:
    job = make_job()
    await store.insert(job)
    claimed = await claim(store, token="mine")
    assert claimed is not None
    assert (claimed.state, claimed.token, claimed.version) == (State.RUNNING, "mine", 2)
    assert await store.get(job.id) == claimed


async def test_eight_claimers_never_get_the_same_job(store: Store) -> None:
    jobs = [make_job() for _ in range(300)]
    await asyncio.gather(*(store.insert(job) for job in jobs))

    async def claimer(name: int) -> list[tuple[str, str]]:
        taken: list[tuple[str, str]] = []
        while (job := await claim(store, token=f"{name}-{len(taken)}")) is not None:
            taken.append((job.id, job.token or ""))
        return taken

    taken = [pair for pairs in await asyncio.gather(*(claimer(name) for name in range(8))) for pair in pairs]
    assert sorted(job_id for job_id, _ in taken) == sorted(job.id for job in jobs)
    assert len({token for _, token in taken}) == len(jobs)


async def test_the_queue_is_counted(store: Store) -> None:
    first, second = make_job(run_after=NOW - 2), make_job(run_after=NOW - 1)
    ended = finished(make_job(), output="out")
    for job in (first, second, ended):
        await store.insert(job)
    assert await store.waiting() == 2
    assert [await store.ahead_of(first), await store.ahead_of(second)] == [0, 1]
    await claim(store)
    assert await store.waiting() == 1
    assert await store.ahead_of(second) == 0


# What is due


async def test_each_time_finds_the_jobs_it_is_about(store: Store) -> None:
    queued = make_job(id="queued", deadline=NOW + 50)
    running = make_job(id="running", deadline=NOW + 60, state=State.RUNNING, token="t", lease_until=NOW + 30)
    ended = replace(finished(make_job(id="ended"), output="out", now=NOW), deadline=NOW)
    empty = rules.emptied(
        finished(make_job(id="empty", run_after=NOW - 999), output="o2", now=NOW - 999), now=NOW
    )
    assert empty is not None
    for job in (queued, running, ended, empty):
        await store.insert(job)
    for what, before, expected in (
        (Due.LEASE, NOW + 29, []),
        (Due.LEASE, NOW + 30, ["running"]),
        (Due.LEASE, float("inf"), ["running"]),
        (Due.DEADLINE, NOW + 49, []),
        (Due.DEADLINE, NOW + 60, ["queued", "running"]),
        (Due.EXPIRY, NOW + 99, []),
        (Due.EXPIRY, NOW + 100, ["ended"]),
        (Due.REMOVAL, NOW - 1, ["empty"]),
        (Due.REMOVAL, NOW, ["empty", "ended"]),
    ):
        assert await store.due(what, before=before, limit=10) == expected, (what, before)


async def test_what_has_been_due_longest_comes_first(store: Store) -> None:
    for number in (2, 0, 1):
        await store.insert(make_job(id=f"job-{number}", deadline=NOW + number))
    assert await store.due(Due.DEADLINE, before=NOW + 9, limit=2) == ["job-0", "job-1"]


async def test_an_update_moves_what_is_due(store: Store) -> None:
    job = make_job()
    await store.insert(job)
    await store.update(job.id, partial(finished, output="out", now=NOW))
    assert await store.due(Due.DEADLINE, before=NOW + 9999, limit=9) == []
    assert await store.due(Due.EXPIRY, before=NOW + 100, limit=9) == [job.id]
    await store.update(job.id, partial(rules.emptied, now=NOW + 100))
    assert await store.due(Due.EXPIRY, before=NOW + 199, limit=9) == []
    assert await store.due(Due.EXPIRY, before=NOW + 200, limit=9) == [job.id]
    await store.update(job.id, partial(rules.emptied, now=NOW + 200))
    assert await store.due(Due.EXPIRY, before=float("inf"), limit=9) == []


# Listing


async def test_pages_show_every_job_of_the_account_once_newest_first(store: Store) -> None:
    jobs = [make_job(created_at=NOW + number // 3) for number in range(10)]
    for job in jobs:
        await store.insert(job)
    await store.insert(make_job(account="another"))
    seen: list[Job] = []
    after: Cursor | None = None
    while page := await store.page(Selection(account="local"), after=after, limit=4):
        assert len(page) <= 4
        seen += page
        after = Cursor(page[-1].created_at, page[-1].id)
    assert [(job.created_at, job.id) for job in seen] == sorted(
        ((job.created_at, job.id) for job in jobs), reverse=True
    )
    assert sorted(seen, key=lambda job: job.id) == sorted(jobs, key=lambda job: job.id)


async def test_pages_of_one_state(store: Store) -> None:
    ended = finished(make_job(), output="out")
    await store.insert(ended)
    await store.insert(make_job())
    succeeded = Selection(account="local", states=(State.SUCCEEDED,))
    assert await store.page(succeeded, limit=9) == [ended]
    assert await store.count(succeeded) == 1
    assert await store.page(Selection(account="local", states=(State.CANCELLED,)), limit=9) == []
    either = Selection(account="local", states=(State.CANCELLED, State.SUCCEEDED))
    assert await store.page(either, limit=9) == [ended]


async def test_jobs_of_one_dialect_are_listed_by_offset(store: Store) -> None:
    jobs = [make_job(dialect="one") for _ in range(5)]
    for job in [*jobs, make_job(dialect="other"), make_job(dialect="one", account="another")]:
        await store.insert(job)
    selection = Selection(account="local", dialect="one")
    newest = sorted(jobs, key=lambda job: (job.created_at, job.id), reverse=True)
    assert await store.count(selection) == 5
    assert await store.page(selection, limit=2) == newest[:2]
    assert await store.page(selection, offset=2, limit=9) == newest[2:]
    assert await store.page(selection, offset=5, limit=9) == []


# Files


async def test_outputs_are_found_by_key_but_inputs_are_not(store: Store) -> None:
    job = finished(make_job(), output="out")
    await store.insert(job)
    assert await store.output("out") == job.outputs[0]
    assert await store.output(job.inputs[0].key) is None
    assert await store.output("nothing") is None


async def test_a_deleted_job_takes_its_idempotency_key_along(store: Store) -> None:
    job = finished(make_job(), output="out")
    key = IdempotencyKey(account=job.account, key="k", fingerprint="f", expires_at=NOW + 1000)
    await store.reserve(job.account, "k", now=NOW, until=NOW + 10)
    await store.insert(job, key)
    assert await store.delete(job.id, ended_by=NOW + 1000) is not None
    assert await store.reserve(job.account, "k", now=NOW, until=NOW + 10) is None


async def test_a_job_that_has_not_ended_by_then_is_not_deleted(store: Store) -> None:
    job, ended = make_job(), finished(make_job(), output="out")
    assert ended.finished_at is not None
    for kept in (job, ended):
        await store.insert(kept)
        assert await store.delete(kept.id, ended_by=ended.finished_at - 1) is None
        assert await store.get(kept.id) == kept


async def test_known_files_are_those_that_are_not_gone(store: Store) -> None:
    job = finished(make_job(), output="out", now=NOW)
    await store.insert(job)
    key = job.inputs[0].key
    asked = ["out", key, *(f"stray-{number}" for number in range(1200))]
    assert await store.known(asked) == {"out", key}
    assert await store.known([]) == set()
    await store.update(job.id, partial(rules.emptied, now=NOW + 100))
    assert await store.known(asked) == {"out"}


# Idempotency keys


async def test_a_key_is_held_by_one(store: Store) -> None:
    assert await store.reserve("local", "k", now=NOW, until=NOW + 60) is None
    taken = await store.reserve("local", "k", now=NOW + 59, until=NOW + 99)
    assert taken == Reservation(job_id=None, fingerprint=None)


async def test_a_hundred_at_once_and_exactly_one_holds_the_key(store: Store) -> None:
    answers = await asyncio.gather(
        *(store.reserve("local", "k", now=NOW, until=NOW + 60) for _ in range(100))
    )
    assert sum(answer is None for answer in answers) == 1


async def test_keys_of_two_accounts_are_two_keys(store: Store) -> None:
    assert await store.reserve("anna", "k", now=NOW, until=NOW + 60) is None
    assert await store.reserve("ben", "k", now=NOW, until=NOW + 60) is None


async def test_a_reservation_ends_by_itself(store: Store) -> None:
    await store.reserve("local", "k", now=NOW, until=NOW + 60)
    assert await store.reserve("local", "k", now=NOW + 60, until=NOW + 99) is None


async def test_a_released_key_is_free(store: Store) -> None:
    await store.reserve("local", "k", now=NOW, until=NOW + 60)
    await store.release("local", "k")
    await store.release("local", "never")
    assert await store.reserve("local", "k", now=NOW, until=NOW + 60) is None


async def test_a_key_with_a_job_names_it_until_it_expires(store: Store) -> None:
    job = make_job()
    await store.reserve("local", "k-1", now=NOW, until=NOW + 60)
    await store.insert(job, KEY)
    await store.release("local", "k-1")
    taken = await store.reserve("local", "k-1", now=NOW + 99, until=NOW + 999)
    assert taken == Reservation(job_id=job.id, fingerprint="f-1")
    assert await store.reserve("local", "k-1", now=NOW + 100, until=NOW + 999) is None


async def test_a_key_makes_one_job_though_its_reservation_ran_out(store: Store) -> None:
    """The first request took longer to arrive than its reservation lasted, and the second overtook it."""
    await store.insert(make_job(), KEY)
    late = make_job()
    with pytest.raises(IdempotencyInFlight):
        await store.insert(late, KEY)
    assert await store.get(late.id) is None


async def test_an_expired_key_may_make_another_job(store: Store) -> None:
    await store.insert(make_job(), KEY)
    again = make_job(created_at=NOW + 100)
    await store.insert(again, replace(KEY, expires_at=NOW + 200))
    taken = await store.reserve("local", "k-1", now=NOW + 150, until=NOW + 999)
    assert taken == Reservation(job_id=again.id, fingerprint="f-1")


async def test_expired_keys_are_forgotten(store: Store) -> None:
    await store.insert(make_job(), KEY)
    await store.reserve("local", "k-2", now=NOW, until=NOW + 50)
    assert await store.forget(before=NOW + 49) == 0
    assert await store.forget(before=NOW + 50) == 1
    assert await store.forget(before=NOW + 100) == 1


async def test_voiding_frees_what_was_in_flight_and_nothing_else(store: Store) -> None:
    await store.insert(make_job(), KEY)
    await store.reserve("local", "k-2", now=NOW, until=NOW + 50)
    assert await store.void() == 1
    assert await store.reserve("local", "k-2", now=NOW, until=NOW + 50) is None
    assert await store.reserve("local", "k-1", now=NOW, until=NOW + 50) is not None
