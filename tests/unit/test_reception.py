"""Waiting for a result in one request."""

from __future__ import annotations

import asyncio
from unittest.mock import AsyncMock, Mock

import pytest

from convertd.api.reception import Reception
from convertd.errors import Conflict, EngineError, FileInvalid, Timeout, Unavailable
from convertd.model.job import Failure, Job, State
from tests.support.jobs import make_job
from tests.support.work import House


def reception(job: Job) -> tuple[Reception, Mock]:
    """A reception for a ``job`` that does not change, and the service that it asks."""
    waits = {name: AsyncMock(return_value=job) for name in ("wait_terminal", "wait_change")}
    service = Mock(cancel=AsyncMock(), stopping=False, **waits)
    return Reception(jobs=service, intake=Mock(), gate=Mock(), unpacker=Mock()), service


async def waited(job: Job) -> Job:
    return await reception(job)[0].succeeded(job, within=60.0)


async def test_a_success_is_given_back() -> None:
    job = make_job(state=State.SUCCEEDED)
    room, service = reception(job)
    assert await room.succeeded(job, within=60.0) is job
    service.wait_terminal.assert_awaited_once_with(job, 60.0)
    service.cancel.assert_not_awaited()


async def test_what_takes_too_long_is_cancelled() -> None:
    job = make_job(state=State.RUNNING, started_at=1.0)
    room, service = reception(job)
    with pytest.raises(Timeout, match="60 seconds"):
        await room.succeeded(job, within=60.0)
    service.cancel.assert_awaited_once_with(job.account, job.id, only_queued=False)
    service.cancel.side_effect = Conflict("It has ended just now.")
    with pytest.raises(Timeout):
        await room.succeeded(job, within=60.0)


async def test_what_nobody_has_begun_is_no_conversion_that_took_long() -> None:
    job = make_job(state=State.QUEUED)
    room, service = reception(job)
    with pytest.raises(Unavailable, match="busy") as raised:
        await room.succeeded(job, within=60.0)
    assert raised.value.retry_after is not None
    service.wait_terminal.assert_not_awaited()
    service.cancel.assert_awaited_once_with(job.account, job.id, only_queued=True)


async def test_the_time_of_a_conversion_counts_from_its_beginning() -> None:
    queued, ended = make_job(state=State.QUEUED), make_job(state=State.SUCCEEDED)
    room, service = reception(ended)
    service.wait_change.return_value = running = make_job(state=State.RUNNING, started_at=1.0)
    assert await room.succeeded(queued, within=60.0) is ended
    service.wait_change.assert_awaited_once_with(queued, 60.0)
    service.wait_terminal.assert_awaited_once_with(running, 60.0)


async def test_what_begins_as_the_time_is_over_goes_on() -> None:
    job, ended = make_job(state=State.QUEUED), make_job(state=State.SUCCEEDED)
    room, service = reception(job)
    service.cancel.side_effect = Conflict("It has begun just now.")
    service.wait_terminal.return_value = ended
    assert await room.succeeded(job, within=60.0) is ended


async def test_what_waits_for_another_attempt_has_begun() -> None:
    job = make_job(state=State.QUEUED, started_at=1.0, attempt=1)
    room, service = reception(job)
    with pytest.raises(Timeout):
        await room.succeeded(job, within=60.0)
    service.wait_change.assert_not_awaited()


async def test_a_repetition_of_what_was_given_up_runs_it_again() -> None:
    given_up, again = make_job(state=State.CANCELLED), make_job(state=State.QUEUED, started_at=1.0)
    room, service = reception(make_job(state=State.SUCCEEDED))
    service.retry = AsyncMock(return_value=again)
    assert (await room.succeeded(given_up, within=60.0)).state is State.SUCCEEDED
    service.retry.assert_awaited_once_with(given_up.account, given_up.id)
    service.wait_terminal.assert_awaited_once_with(again, 60.0)
    service.retry.side_effect = Conflict("Another was quicker.")
    service.get = AsyncMock(return_value=again)
    assert (await room.succeeded(given_up, within=60.0)).state is State.SUCCEEDED


async def test_a_failure_is_raised_as_what_it_is() -> None:
    with pytest.raises(FileInvalid, match="cut off"):
        await waited(make_job(state=State.FAILED, error=Failure("file_invalid", "The file is cut off.")))
    with pytest.raises(EngineError):
        await waited(make_job(state=State.FAILED, error=Failure("engine_error", "It failed.")))
    cancelled = make_job(state=State.CANCELLED)
    room, service = reception(cancelled)
    service.wait_change.return_value = cancelled
    with pytest.raises(Conflict):
        await room.succeeded(make_job(state=State.QUEUED), within=60.0)


async def test_who_gives_up_takes_nothing_from_others_that_wait() -> None:
    house = House()
    job = await house.submit()
    room = Reception(jobs=house.service, intake=Mock(), gate=Mock(), unpacker=Mock())
    patient = asyncio.create_task(room.succeeded(job, within=60.0))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await room.succeeded(job, within=0.0)
    assert (await house.service.get(job.account, job.id)).state is State.QUEUED
    patient.cancel()
    await asyncio.wait([patient])
    with pytest.raises(Unavailable):
        await room.succeeded(job, within=0.0)
    assert (await house.service.get(job.account, job.id)).state is State.CANCELLED


async def test_a_stop_ends_waits_and_takes_nothing_back() -> None:
    house = House()
    job = await house.submit()
    room = Reception(jobs=house.service, intake=Mock(), gate=Mock(), unpacker=Mock())
    waiting = asyncio.create_task(room.succeeded(job, within=60.0))
    await asyncio.sleep(0)
    house.service.end_waits()
    with pytest.raises(Unavailable, match="stopping") as raised:
        await waiting
    assert raised.value.retry_after is not None
    assert (await house.service.get(job.account, job.id)).state is State.QUEUED
