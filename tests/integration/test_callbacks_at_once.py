"""The dispatcher with the real gate and real sockets: who answers is not kept waiting by who does not."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import re
import socket
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from convertd.callbacks.dispatcher import Dispatcher
from convertd.callbacks.lanes import PER_ACCOUNT_AND_HOST, PER_ACCOUNT_UNDER_WAY, SILENT_PER_ACCOUNT
from convertd.jobs.hints import Signal
from convertd.jobs.memory import MemoryStore
from convertd.model.callback import Delivery, DeliveryState
from convertd.net.outbound import Answer, Gate, OutboundPolicy
from tests.support.callbacks import PlainForm, make_delivery

GOOD = 100


class Receivers:
    """One socket on every address of this machine; what is sent to /pit is never answered."""

    def __init__(self) -> None:
        self.in_pit = 0
        self.most_in_pit = 0
        self.left_pit = asyncio.Semaphore(0)
        self.arrived: dict[str, float] = {}
        self.all_there = asyncio.Event()
        self.port = 0

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        path = head.split()[1].decode()
        if path.startswith("/pit"):
            await self._hold(reader)
        else:
            writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            host = re.search(rb"\r\nhost: *(\S+)\r\n", head, re.IGNORECASE)
            assert host is not None
            self.arrived[f"http://{host[1].decode()}{path}"] = time.time()
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
            self.left_pit.release()


class House:
    """A dispatcher at work, and who receives."""

    def __init__(self, gate: Gate, timeout: float) -> None:
        self.receivers, self.store, self.wake = Receivers(), MemoryStore(), Signal()
        self.gate, self.timeout = gate, timeout
        self.dispatcher = Dispatcher(
            store=self.store,
            gate=self,
            forms={"native": PlainForm()},
            secrets=self._secrets,
            wake=self.wake,
            clock=time.time,
            jitter=random.random,
            timeout=math.inf,
        )

    async def post(self, url: str, *, timeout: float, **given: Any) -> Answer:
        """Serves as :class:`convertd.callbacks.dispatcher.Poster`, with the timeout of the moment."""
        return await self.gate.post(url, timeout=self.timeout, **given)

    async def _secrets(self, delivery: Delivery, now: float) -> tuple[str, ...]:
        return ("key",)

    async def owe_pits(self, *places: str) -> None:
        """A minute ago."""
        for place in places:
            url = f"http://{place.replace('/', f':{self.receivers.port}/')}"
            await self.store.add_delivery(make_delivery(url, account="mallory", next_at=time.time() - 60))
        self.wake.announce()

    async def delay(self, account: str, *places: str) -> float:
        """In how many seconds 95 of 100 are received where all are answered, owed one after the other."""
        owed = {}
        for place in places:
            url = f"http://{place.replace('/', f':{self.receivers.port}/')}"
            owed[url] = time.time()
            await self.store.add_delivery(make_delivery(url, account=account, next_at=owed[url]))
            self.wake.announce()
        async with asyncio.timeout(60):
            await self.receivers.all_there.wait()
        return sorted(self.receivers.arrived[url] - at for url, at in owed.items())[int(0.95 * GOOD)]


@pytest.fixture
def gate() -> Gate:
    return Gate(OutboundPolicy(allow=("127.0.0.0/8",)))


@contextlib.asynccontextmanager
async def working(gate: Gate, *, timeout: float = 15.0) -> AsyncIterator[House]:
    house = House(gate, timeout)
    async with await asyncio.start_server(house.receivers.take, "0.0.0.0", 0) as server:
        house.receivers.port = server.sockets[0].getsockname()[1]
        house.dispatcher.start()
        yield house
        await house.dispatcher.stop(0)


async def test_one_tar_pit_and_a_hundred_good_hosts(gate: Gate) -> None:
    async with working(gate) as house:
        await house.owe_pits(*["127.0.0.1/pit"] * 100)
        assert await house.delay("mallory", *(f"127.0.1.{number + 1}/" for number in range(GOOD))) < 1.0
        assert 0 < house.receivers.most_in_pit <= PER_ACCOUNT_AND_HOST
    left = await house.store.page_deliveries("mallory", dialect=None, limit=100 + GOOD)
    pit = [one for one in left if one.endpoint.endswith("/pit")]
    assert {one.state for one in pit} == {DeliveryState.PENDING}


async def test_pits_and_good_endpoints_of_two_accounts_on_one_host(gate: Gate) -> None:
    async with working(gate) as house:
        await house.owe_pits(*(f"127.0.0.1/pit/{number}" for number in range(100)))
        assert await house.delay("bob", *(f"127.0.0.1/good/{number}" for number in range(GOOD))) < 1.0
        assert 0 < house.receivers.most_in_pit <= PER_ACCOUNT_AND_HOST


async def test_a_pit_and_good_endpoints_of_one_account_on_one_host(gate: Gate) -> None:
    async with working(gate, timeout=0.5) as house:
        await house.owe_pits(*(f"127.0.0.1/pit?{number}" for number in range(100)))
        await house.receivers.left_pit.acquire()  # from now on it is known
        assert await house.delay("mallory", *(f"127.0.0.1/good/{number}" for number in range(GOOD))) < 1.0
        assert house.receivers.most_in_pit <= PER_ACCOUNT_AND_HOST


async def test_three_hundred_silent_hosts_of_one_account_and_a_good_one_of_another(gate: Gate) -> None:
    async with working(gate) as house:
        await house.owe_pits(*(f"127.0.{2 + number // 100}.{1 + number % 100}/pit" for number in range(300)))
        assert await house.delay("bob", *(f"127.0.1.1/good/{number}" for number in range(GOOD))) < 1.0
        assert 0 < house.receivers.most_in_pit <= PER_ACCOUNT_UNDER_WAY


SILENT = [f"127.0.2.{1 + number}/pit" for number in range(100)]


async def test_a_hundred_hosts_known_to_be_silent_and_good_ones_of_the_same_account(gate: Gate) -> None:
    async with working(gate, timeout=0.2) as house:
        await house.owe_pits(*SILENT)
        for _ in SILENT:
            await house.receivers.left_pit.acquire()
        house.timeout, house.receivers.most_in_pit = 15.0, 0
        await house.owe_pits(*SILENT)
        assert await house.delay("mallory", *(f"127.0.1.{number + 1}/" for number in range(GOOD))) < 1.0
        assert 0 < house.receivers.most_in_pit <= SILENT_PER_ACCOUNT


async def test_a_hundred_silent_hosts_not_tried_before_and_good_ones_of_the_same_account(gate: Gate) -> None:
    async with working(gate) as house:
        await house.owe_pits(*SILENT)
        assert await house.delay("mallory", *(f"127.0.1.{number + 1}/" for number in range(GOOD))) < 5.0
        assert house.receivers.most_in_pit == len(SILENT)


async def test_three_hundred_hosts_whose_names_have_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    answered, look_up = threading.Event(), socket.getaddrinfo

    def getaddrinfo(host: str, *given: Any, **named: Any) -> Any:
        if host.startswith("silent"):
            answered.wait(30)
            raise OSError
        return look_up("127.0.0.1", *given, **named)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    gate = Gate(OutboundPolicy(allow=("127.0.0.0/8",), connect_seconds=0.5))
    try:
        async with working(gate, timeout=0.5) as house:
            await house.owe_pits(*(f"silent-{number}.example/" for number in range(300)))
            assert await house.delay("bob", *(f"good.example/{number}" for number in range(GOOD))) < 1.0
    finally:
        answered.set()
