"""The dispatcher with the real gate and real sockets: who answers is not kept waiting by who does not."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator

import pytest

from convertd.callbacks.dispatcher import PER_HOST, Dispatcher
from convertd.jobs.hints import Signal
from convertd.jobs.memory import MemoryStore
from convertd.model.callback import Delivery, DeliveryState
from convertd.net.outbound import Gate, OutboundPolicy
from tests.support.callbacks import PlainForm, make_delivery

PITS = 100
GOOD = 100


class Receivers:
    """One socket on every address of this machine; connections to the first address are never answered."""

    def __init__(self) -> None:
        self.in_pit = 0
        self.most_in_pit = 0
        self.arrived: dict[str, float] = {}
        self.all_there = asyncio.Event()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host = writer.get_extra_info("sockname")[0]
        if host == "127.0.0.1":
            await self._hold(reader)
        else:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            self.arrived[host] = time.time()
            if len(self.arrived) == GOOD:
                self.all_there.set()
        writer.close()

    async def _hold(self, reader: asyncio.StreamReader) -> None:
        self.in_pit += 1
        self.most_in_pit = max(self.most_in_pit, self.in_pit)
        try:
            while await reader.read(1024):
                pass
        except ConnectionError:
            pass
        finally:
            self.in_pit -= 1


@pytest.fixture
async def gate() -> AsyncIterator[Gate]:
    gate = Gate(OutboundPolicy(allow=("127.0.0.0/8",)))
    await gate.start()
    yield gate
    await gate.close()


async def test_one_tar_pit_and_a_hundred_good_hosts(gate: Gate) -> None:
    receivers, store, wake = Receivers(), MemoryStore(), Signal()

    async def secrets(delivery: Delivery, now: float) -> tuple[str, ...]:
        return ("key",)

    dispatcher = Dispatcher(
        store=store,
        gate=gate,
        forms={"native": PlainForm()},
        secrets=secrets,
        wake=wake,
        clock=time.time,
        jitter=random.random,
        timeout=15.0,
    )
    async with await asyncio.start_server(receivers.take, "0.0.0.0", 0) as server:
        port = server.sockets[0].getsockname()[1]
        dispatcher.start()
        for number in range(PITS):
            await store.add_delivery(make_delivery(f"http://127.0.0.1:{port}/", next_at=time.time() - number))
        wake.announce()
        owed = {}
        for number in range(GOOD):
            host = f"127.0.1.{number + 1}"
            owed[host] = time.time()
            delivery = make_delivery(f"http://{host}:{port}/", next_at=owed[host])
            await store.add_delivery(delivery)
            wake.announce()
        async with asyncio.timeout(60):
            await receivers.all_there.wait()
        took = sorted(receivers.arrived[host] - owed[host] for host in owed)
        assert took[int(0.95 * GOOD)] < 1.0
        assert 0 < receivers.most_in_pit <= PER_HOST
        await dispatcher.stop(0)
    left = await store.page_deliveries("local", dialect=None, limit=PITS + GOOD)
    pit = [one for one in left if one.host == f"127.0.0.1:{port}"]
    assert {one.state for one in pit} == {DeliveryState.PENDING}
