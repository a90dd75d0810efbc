"""What the in-process hints promise beyond the contract."""

from __future__ import annotations

import asyncio

import pytest

from convertd.jobs.hints import LocalBus, Signal


async def test_listeners_that_left_leave_nothing_behind() -> None:
    bus = LocalBus()
    with bus.subscribe("job"), bus.subscribe("job"):
        assert bus._topics
    assert not bus._topics


async def test_a_listener_that_fails_leaves_nothing_behind() -> None:
    bus = LocalBus()
    with pytest.raises(RuntimeError), bus.subscribe("job"):
        raise RuntimeError
    assert not bus._topics


async def test_a_listener_may_leave_while_it_is_told() -> None:
    bus = LocalBus()
    with bus.subscribe("job") as stays:
        with bus.subscribe("job") as leaves:
            waiting = asyncio.create_task(leaves.wait(60))
            await asyncio.sleep(0)
            bus.publish("job")
            waiting.cancel()
        assert await stays.wait(0)


async def test_a_cancelled_wait_does_not_swallow_the_hint() -> None:
    signal = Signal()
    waiting = asyncio.create_task(signal.wait(60))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    signal.announce()
    assert await signal.wait(0)


async def test_what_is_announced_between_two_waits_is_not_lost() -> None:
    signal = Signal()
    for _ in range(100):
        waiting = asyncio.create_task(signal.wait(60))
        await asyncio.sleep(0)
        signal.announce()
        assert await waiting
        signal.announce()
        assert await signal.wait(0)
    assert not await signal.wait(0)
