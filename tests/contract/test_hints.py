"""What every bus and every dispatcher of work promises; a new one is a new parameter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from convertd.jobs.hints import Bus, LocalBus, Signal, WorkDispatcher

SOON = 5.0
"""Seconds in which a hint certainly comes; nothing waits that long where it does."""


@pytest.fixture(params=[LocalBus])
def bus(request: pytest.FixtureRequest) -> Bus:
    make: Callable[[], Bus] = request.param
    return make()


@pytest.fixture(params=[Signal])
def dispatcher(request: pytest.FixtureRequest) -> WorkDispatcher:
    make: Callable[[], WorkDispatcher] = request.param
    return make()


async def test_a_listener_hears_of_its_topic(bus: Bus) -> None:
    with bus.subscribe("a") as hints:
        waiting = asyncio.create_task(hints.wait(SOON))
        await asyncio.sleep(0)
        bus.publish("a")
        assert await waiting


async def test_what_comes_before_the_wait_is_heard(bus: Bus) -> None:
    with bus.subscribe("a") as hints:
        bus.publish("a")
        assert await hints.wait(SOON)


async def test_a_hint_is_heard_once(bus: Bus) -> None:
    with bus.subscribe("a") as hints:
        bus.publish("a")
        bus.publish("a")
        assert await hints.wait(SOON)
        assert not await hints.wait(0.001)


async def test_other_topics_are_not_heard(bus: Bus) -> None:
    with bus.subscribe("a") as hints:
        bus.publish("b")
        assert not await hints.wait(0.001)


async def test_every_listener_hears(bus: Bus) -> None:
    with bus.subscribe("a") as first, bus.subscribe("a") as second:
        bus.publish("a")
        assert await first.wait(SOON)
        assert await second.wait(SOON)


async def test_publishing_to_nobody_is_no_error(bus: Bus) -> None:
    bus.publish("nobody")
    with bus.subscribe("nobody") as hints:
        assert not await hints.wait(0.001)


async def test_a_worker_hears_of_work(dispatcher: WorkDispatcher) -> None:
    waiting = asyncio.create_task(dispatcher.wait(SOON))
    await asyncio.sleep(0)
    dispatcher.announce()
    assert await waiting


async def test_work_announced_while_nobody_waits_is_heard_later(dispatcher: WorkDispatcher) -> None:
    dispatcher.announce()
    assert await dispatcher.wait(SOON)
    assert not await dispatcher.wait(0.001)


async def test_a_wait_ends_with_its_time(dispatcher: WorkDispatcher) -> None:
    assert not await dispatcher.wait(0.001)
    dispatcher.announce()
    assert await dispatcher.wait(SOON)
