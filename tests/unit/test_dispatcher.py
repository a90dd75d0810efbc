"""Sending deliveries: when, how often, how many at once, and what becomes of them."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from unittest.mock import AsyncMock

import pytest

from convertd.callbacks.dispatcher import LONGEST_REST, MOST_RETRY_AFTER, POLL_SECONDS, WINDOW, Dispatcher
from convertd.callbacks.lanes import (
    AT_ONCE,
    PATIENCE,
    PER_ACCOUNT,
    PER_ACCOUNT_AND_HOST,
    PER_ACCOUNT_UNDER_WAY,
    PER_HOST,
    SILENT_PER_ACCOUNT,
    SILENT_PER_HOST,
    UNDER_WAY,
    Lanes,
)
from convertd.errors import FetchFailed, FetchRefused, Unavailable
from convertd.jobs.hints import Signal
from convertd.jobs.memory import MemoryStore
from convertd.jobs.store import DueDelivery
from convertd.model.callback import CallbackForm, Delivery, DeliveryState, Message, redelivered
from convertd.model.job import Callback
from convertd.net.outbound import Answer
from tests.support.callbacks import URL, FakeGate, PlainForm, TarPit, answer, make_delivery
from tests.support.clock import FakeClock
from tests.support.jobs import NOW

PENDING, DELIVERED, DEAD = DeliveryState.PENDING, DeliveryState.DELIVERED, DeliveryState.DEAD


@dataclass
class Post:
    """A dispatcher with everything about it made up."""

    clock: FakeClock = field(default_factory=lambda: FakeClock(NOW))
    store: MemoryStore = field(default_factory=MemoryStore)
    wake: Signal = field(default_factory=Signal)
    forms: Mapping[str, CallbackForm] = field(default_factory=lambda: {"native": PlainForm()})
    answers: Sequence[Any] = (answer(200),)
    jitter: float = 0.5
    pace: float = 1.0
    paused: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate = FakeGate(self.clock, self.answers)
        self.dispatcher = self.another_dispatcher()

    def another_dispatcher(self) -> Dispatcher:
        return Dispatcher(
            store=self.store,
            gate=self.gate,
            forms=self.forms,
            secrets=self._secrets,
            wake=self.wake,
            clock=self.clock,
            jitter=lambda: self.jitter,
            timeout=15.0,
            pace=self.pace,
            pause=self._pause,
        )

    async def _secrets(self, delivery: Delivery, now: float) -> Sequence[str]:
        return (delivery.callback.secret or "the account's",)

    async def _pause(self, seconds: float) -> None:
        self.paused.append(seconds)
        await asyncio.sleep(0)

    async def owe(self, *deliveries: Delivery) -> None:
        for delivery in deliveries:
            await self.store.add_delivery(delivery)

    async def round(self) -> int:
        """All that is due now, to its end."""
        begun = await self.dispatcher.run_once(self.clock())
        await self.dispatcher.settled()
        return begun

    async def rounds(self) -> None:
        """Until nothing is pending, at the times that are planned."""
        while (next_at := await self.store.next_delivery_at()) is not None:
            self.clock.now = max(next_at, self.clock.now)
            assert await self.round() > 0

    async def current(self, delivery: Delivery) -> Delivery:
        found = await self.store.delivery(delivery.id)
        assert found is not None
        return found


async def sent_once(*answers: Any, **more: Any) -> Delivery:
    """A delivery after its first attempt."""
    post = Post(answers=answers, **more)
    delivery = make_delivery()
    await post.owe(delivery)
    assert await post.round() == 1
    return await post.current(delivery)


@pytest.mark.parametrize("status", [200, 202, 204, 299])
async def test_any_2xx_acknowledges(status: int) -> None:
    delivery = await sent_once(answer(status, body="thanks"))
    (attempt,) = delivery.attempts
    assert (delivery.state, delivery.next_at) == (DELIVERED, None)
    assert (attempt.status, attempt.error, attempt.body) == (status, None, "thanks")


async def test_what_is_sent_is_signed_with_the_callbacks_secret_or_the_accounts() -> None:
    post = Post()
    own, shared = make_delivery(), make_delivery(callback=Callback(url=URL))
    await post.owe(own, shared)
    await post.round()
    secrets = {sent.id: sent.headers["secrets"] for sent in post.gate.sent}
    assert secrets == {own.id: "key", shared.id: "the account's"}
    assert {(sent.url, sent.account) for sent in post.gate.sent} == {(URL, own.account)}
    assert post.gate.timeouts == {15.0}


async def test_the_schedule_is_kept_and_ends_dead() -> None:
    post = Post(answers=[answer(500, body="down")])
    delivery = make_delivery()
    await post.owe(delivery)
    await post.rounds()
    assert [sent.at - NOW for sent in post.gate.sent] == [0, 5, 65, 665]
    assert {sent.id for sent in post.gate.sent} == {delivery.id}
    ended = await post.current(delivery)
    assert (ended.state, ended.next_at, len(ended.attempts)) == (DEAD, None, 4)
    assert {attempt.error for attempt in ended.attempts} == {"The receiver answered 500."}
    assert [attempt.at for attempt in ended.attempts] == [sent.at for sent in post.gate.sent]


async def test_each_attempt_is_written_anew() -> None:
    post = Post(answers=[answer(500), answer(200)])
    await post.owe(make_delivery())
    await post.rounds()
    assert [float(sent.body) for sent in post.gate.sent] == [NOW, NOW + 5]


@pytest.mark.parametrize(("jitter", "wait"), [(0.0, 4.0), (0.5, 5.0), (1.0, 6.0)])
async def test_waits_are_spread(jitter: float, wait: float) -> None:
    delivery = await sent_once(answer(500), jitter=jitter, forms={"native": PlainForm(spread=0.2)})
    assert delivery.next_at == pytest.approx(NOW + wait)


async def test_the_pace_stretches_every_wait() -> None:
    post = Post(answers=[answer(500)], pace=0.01)
    await post.owe(make_delivery())
    await post.rounds()
    assert [sent.at - NOW for sent in post.gate.sent] == pytest.approx([0, 0.05, 0.65, 6.65])


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("asked", "wait"), [(None, 5), (0.0, 5), (3.0, 5), (90.0, 90), (1e9, MOST_RETRY_AFTER), (-1.0, 5)]
)
async def test_a_receiver_may_ask_for_time(status: int, asked: float | None, wait: float) -> None:
    delivery = await sent_once(answer(status, retry_after=asked))
    assert (delivery.state, delivery.next_at) == (PENDING, NOW + wait)


async def test_gone_means_no_more() -> None:
    delivery = await sent_once(answer(410))
    assert (delivery.state, delivery.next_at, delivery.attempts[0].status) == (DEAD, None, 410)


@pytest.mark.parametrize("status", [301, 302, 304, 307, 308])
async def test_a_redirect_is_a_failure_that_says_why(status: int) -> None:
    delivery = await sent_once(answer(status))
    assert delivery.state is PENDING
    assert f"{status}; redirects are not followed" in (delivery.attempts[0].error or "")


@pytest.mark.parametrize("failure", [FetchRefused("Not there."), FetchFailed("No answer in time.")])
async def test_an_address_that_is_refused_or_silent_is_tried_again(failure: Any) -> None:
    delivery = await sent_once(failure)
    (attempt,) = delivery.attempts
    assert (attempt.status, attempt.error, attempt.body) == (None, failure.message, "")
    assert (delivery.state, delivery.next_at) == (PENDING, NOW + 5)


async def test_the_log_keeps_the_beginning_of_a_long_answer() -> None:
    delivery = await sent_once(answer(500, body="x" * 1000))
    assert delivery.attempts[0].body == "x" * 500


class BrokenForm(PlainForm):
    def message(self, delivery: Delivery, secrets: Sequence[str], now: float) -> Message:
        raise ValueError("a bug")


async def test_a_form_that_breaks_harms_only_its_own(caplog: pytest.LogCaptureFixture) -> None:
    post = Post(forms={"native": PlainForm(), "broken": BrokenForm()})
    broken, unknown, good = make_delivery(dialect="broken"), make_delivery(dialect="?"), make_delivery()
    await post.owe(broken, unknown, good)
    await post.round()
    assert (await post.current(good)).state is DELIVERED
    assert (await post.current(unknown)).state is DEAD
    left = await post.current(broken)
    assert (left.state, left.next_at, left.attempts[0].status) == (PENDING, NOW + 5, None)
    assert "a bug" not in (left.attempts[0].error or "")
    assert "a bug" in caplog.text
    await post.rounds()
    assert (await post.current(broken)).state is DEAD


@pytest.mark.parametrize(("status", "state"), [(410, DEAD), (200, DELIVERED)])
async def test_an_ended_delivery_can_be_sent_again(status: int, state: DeliveryState) -> None:
    post = Post(answers=[answer(status), answer(500), answer(200)])
    delivery = make_delivery()
    await post.owe(delivery)
    await post.rounds()
    assert (await post.current(delivery)).state is state
    post.clock.advance(1000)
    await post.store.update_delivery(delivery.id, partial(redelivered, now=post.clock()))
    await post.rounds()
    ended = await post.current(delivery)
    assert (ended.state, len(ended.attempts)) == (DELIVERED, 3)
    assert [sent.at - NOW for sent in post.gate.sent] == [0, 1000, 1005]
    assert {sent.id for sent in post.gate.sent} == {delivery.id}


async def test_the_log_of_a_delivery_that_is_sent_again_and_again_does_not_grow_for_ever() -> None:
    post = Post()
    delivery = make_delivery()
    await post.owe(delivery)
    for _ in range(150):
        await post.rounds()
        post.clock.advance(1)
        await post.store.update_delivery(delivery.id, partial(redelivered, now=post.clock()))
    kept = (await post.current(delivery)).attempts
    assert len(kept) == 100
    assert [attempt.at - NOW for attempt in kept] == list(range(50, 150))


async def test_nothing_is_sent_before_its_time_or_after_its_end() -> None:
    post = Post()
    await post.owe(make_delivery(next_at=NOW + 1), make_delivery(next_at=None, state=DEAD))
    assert await post.round() == 0
    post.clock.advance(1)
    assert await post.round() == 1
    assert await post.round() == 0


# Many at once


async def test_a_delivery_under_way_is_not_sent_beside_itself() -> None:
    post, pit = Post(), TarPit()
    post.gate.by_host["receiver.example"] = pit
    delivery = make_delivery()
    await post.owe(delivery)
    assert await post.dispatcher.run_once(post.clock()) == 1
    await pit.entered.acquire()
    await post.store.update_delivery(delivery.id, partial(redelivered, now=post.clock()))
    assert await post.dispatcher.run_once(post.clock()) == 0
    pit.opened.set()
    await post.dispatcher.settled()
    assert len(post.gate.sent) == 1
    assert (await post.current(delivery)).state is DELIVERED


async def test_an_account_has_half_of_the_lanes_and_half_of_a_hosts_and_all_have_all() -> None:
    post, pit = Post(), TarPit()
    hosts = [f"host-{number}:8080" for number in range(AT_ONCE)]
    post.gate.by_host = dict.fromkeys(hosts, pit)

    async def owed(account: str, *urls: str) -> int:
        """How many of these are sent at once."""
        await post.owe(*(make_delivery(url, account=account) for url in urls))
        return await post.dispatcher.run_once(post.clock())

    to_one_host = [f"http://{hosts[0]}/{number}" for number in range(AT_ONCE)]
    to_many = [f"http://{host}/" for host in hosts[1:]]
    assert await owed("anna", *to_one_host) == PER_ACCOUNT_AND_HOST
    assert await owed("ben", to_one_host[0]) == 1
    assert await owed("ben", *to_one_host) == PER_ACCOUNT_AND_HOST - 1
    assert await owed("cleo", to_one_host[0]) == 0 == PER_HOST - 2 * PER_ACCOUNT_AND_HOST
    assert await owed("anna", *to_many) == PER_ACCOUNT - PER_ACCOUNT_AND_HOST
    assert await owed("cleo", to_many[0]) == 1
    assert await owed("ben", *to_many) == AT_ONCE - PER_ACCOUNT - PER_ACCOUNT_AND_HOST - 1
    assert await owed("dora", "http://good.example/") == 0
    for _ in range(AT_ONCE):
        await pit.entered.acquire()
    assert pit.inside == AT_ONCE
    pit.opened.set()
    await post.dispatcher.settled()
    while await post.round():
        pass
    assert len(post.gate.sent) == 2 * (2 * AT_ONCE - 1) + 4  # anna's and ben's many, and four single ones
    assert await post.store.due_deliveries(before=NOW, limit=1) == []


async def test_an_endpoint_that_does_not_answer_is_asked_by_one_at_a_time_until_it_does() -> None:
    post = Post(answers=[FetchFailed("No answer.")])
    await post.owe(*(make_delivery(f"{URL}?{number}") for number in range(40)))
    assert await post.round() == PER_ACCOUNT_AND_HOST
    assert await post.round() == 1
    await post.owe(make_delivery(account="another"))
    assert await post.round() == 2  # who has not met its silence does not pay for it
    post.gate.answers = [answer(500)]
    assert await post.round() == 1
    assert await post.round() == PER_ACCOUNT_AND_HOST


async def test_the_silent_endpoints_of_a_host_leave_lanes_to_its_others() -> None:
    post, pit = Post(answers=[FetchFailed("No answer.")]), TarPit()
    silent = [f"http://one.example/slow/{number}" for number in range(2 * PER_HOST)]
    for account in ("anna", "ben"):
        await post.owe(*(make_delivery(url, account=account) for url in silent))
    while await post.round():
        pass
    post.clock.advance(5)
    post.gate.by_host["one.example"] = pit
    assert await post.dispatcher.run_once(post.clock()) == SILENT_PER_HOST
    good = [f"http://one.example/quick/{number}" for number in range(PER_HOST)]
    await post.owe(*(make_delivery(url, account="anna") for url in good))
    begun = await post.dispatcher.run_once(post.clock())
    assert begun >= PER_ACCOUNT_AND_HOST - SILENT_PER_HOST > 0
    await post.owe(make_delivery("http://one.example/quick", account="cleo"))
    assert await post.dispatcher.run_once(post.clock()) == 1
    pit.opened.set()
    await post.dispatcher.settled()
    while await post.round():
        pass
    assert await post.store.next_delivery_at() is None


async def test_the_silent_endpoints_of_an_account_leave_lanes_to_its_others() -> None:
    post, pit = Post(answers=[FetchFailed("No answer.")]), TarPit()
    silent = [f"host-{number}" for number in range(3 * PER_ACCOUNT)]
    await post.owe(*(make_delivery(f"http://{host}/") for host in silent))
    while await post.round():
        pass
    post.clock.advance(5)
    post.gate.by_host = dict.fromkeys(silent, pit)
    assert await post.dispatcher.run_once(post.clock()) == SILENT_PER_ACCOUNT
    await post.owe(make_delivery(f"http://{silent[-1]}/", account="another"))
    assert await post.dispatcher.run_once(post.clock()) == 1
    for more in (PER_ACCOUNT - SILENT_PER_ACCOUNT, PER_ACCOUNT):
        await post.owe(*(make_delivery(f"http://good-{more}-{number}/") for number in range(more)))
        assert await post.dispatcher.run_once(post.clock()) == more
        post.clock.advance(PATIENCE)
    pit.opened.set()
    await post.dispatcher.settled()


async def test_what_has_no_answer_for_a_while_gives_its_lane_to_others_up_to_a_limit() -> None:
    post, pit = Post(), TarPit()
    hosts = [f"host-{number}" for number in range(2 * UNDER_WAY)]
    post.gate.by_host = dict.fromkeys(hosts, pit)
    for account in ("anna", "ben", "cleo"):
        await post.owe(*(make_delivery(f"http://{host}/", account=account) for host in hosts))
    begun = []
    for _ in range(5):
        begun.append(await post.dispatcher.run_once(post.clock()))
        post.clock.advance(PATIENCE / 2)
        assert await post.dispatcher.run_once(post.clock()) == 0
        post.clock.advance(PATIENCE / 2)
    assert begun == [AT_ONCE] * (UNDER_WAY // AT_ONCE) + [0]
    for _ in range(UNDER_WAY):
        await pit.entered.acquire()
    of_each = Counter(sent.account for sent in post.gate.sent)
    assert of_each == {"anna": PER_ACCOUNT_UNDER_WAY, "ben": PER_ACCOUNT_UNDER_WAY}
    pit.opened.set()
    await post.dispatcher.settled()
    assert await post.round() == AT_ONCE


async def test_the_loop_looks_again_when_a_lane_is_given_up() -> None:
    waits, pit = Waits(), TarPit()
    post = Post(wake=waits)  # type: ignore[arg-type]
    post.gate.by_host["receiver.example"] = pit
    await post.owe(make_delivery())
    post.dispatcher.start()
    assert await waits.asked.get() == PATIENCE
    post.clock.advance(PATIENCE)
    waits.announce()
    assert await waits.asked.get() == POLL_SECONDS
    await post.dispatcher.stop(0)


async def test_an_endpoint_that_answers_again_is_as_good_as_any() -> None:
    post = Post(answers=[FetchFailed("No answer."), answer(200)])
    await post.owe(make_delivery())
    await post.rounds()
    await post.owe(*(make_delivery(next_at=post.clock()) for _ in range(PER_HOST)))
    assert await post.round() == PER_ACCOUNT_AND_HOST


async def test_of_very_many_silent_endpoints_the_longest_known_are_forgotten() -> None:
    lanes = Lanes()
    met = [
        DueDelivery(str(number), "local", "one.example", f"http://one.example/{number}")
        for number in range(1001)
    ]
    for due in met:
        lanes.note(due, silent=True)
    for due in (met[0], met[1], met[-1]):
        lanes.take(due, NOW)
    waiting = lanes.blocked(NOW).account_endpoints
    assert waiting == {("local", "http://one.example/1"), ("local", "http://one.example/1000")}


async def test_one_tar_pit_delays_nobody() -> None:
    """A hundred are owed to a host that takes them and never answers, then a hundred to good hosts."""
    post, pit = Post(), TarPit()
    post.gate.by_host["pit.example"] = pit
    pits = [make_delivery("https://pit.example/", next_at=NOW - 60) for _ in range(100)]
    good = [make_delivery(f"https://good-{number}.example/") for number in range(100)]
    await post.owe(*pits, *good)
    loop = asyncio.get_running_loop()
    began, arrived, left = loop.time(), list[float](), asyncio.Semaphore(0)

    async def note(sent: Any) -> Answer:
        arrived.append(loop.time() - began)
        left.release()
        return answer(200)

    post.gate.by_host |= {f"good-{number}.example": note for number in range(100)}
    post.dispatcher.start()
    async with asyncio.timeout(30):
        for _ in good:
            await left.acquire()
    assert sorted(arrived)[95] < 1.0
    assert 0 < pit.most <= PER_ACCOUNT_AND_HOST
    await post.dispatcher.stop(0)


# Crashes and endings


class ForgetfulStore(MemoryStore):
    """Cannot be written to for a while, or read."""

    failures = 0
    fault: Exception = Unavailable("The database is locked.")
    blind = 0
    slowness = 0.0
    asked = 0

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock(NOW)

    async def update_delivery(
        self, delivery_id: str, rule: Callable[[Delivery], Delivery | None]
    ) -> Delivery | None:
        if self.failures:
            self.failures -= 1
            raise self.fault
        return await super().update_delivery(delivery_id, rule)

    async def due_deliveries(self, **asked: Any) -> list[DueDelivery]:
        self.asked += 1
        self.clock.advance(self.slowness)
        if self.blind:
            self.blind -= 1
            raise Unavailable("The database is locked.")
        return await super().due_deliveries(**asked)


@pytest.mark.parametrize("fault", [Unavailable("The row is locked."), ValueError("The row is locked.")])
async def test_what_was_sent_is_recorded_once_the_store_is_back(
    fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    store = ForgetfulStore()
    store.failures, store.fault = 3, fault
    post = Post(store=store)
    delivery = make_delivery()
    await post.owe(delivery)
    await post.round()
    assert (await post.current(delivery)).state is DELIVERED
    assert (len(post.gate.sent), post.paused) == (1, [POLL_SECONDS] * 3)
    assert "locked" in caplog.text


async def test_what_was_not_recorded_is_sent_again_under_the_same_id() -> None:
    post, pit = Post(), TarPit()
    post.gate.by_host["receiver.example"] = pit
    delivery = make_delivery()
    await post.owe(delivery)
    post.dispatcher.start()
    await pit.entered.acquire()
    await post.dispatcher.stop(0)  # as a crash would: nothing of the attempt is kept
    left = await post.current(delivery)
    assert (left.state, left.attempts) == (PENDING, ())
    assert pit.inside == 0
    pit.opened.set()
    post.dispatcher = post.another_dispatcher()
    await post.round()
    assert [sent.id for sent in post.gate.sent] == [delivery.id] * 2
    assert (await post.current(delivery)).state is DELIVERED


async def test_a_stop_lets_attempts_end_and_begins_none() -> None:
    post, pit = Post(), TarPit()
    post.gate.by_host["receiver.example"] = pit
    first = make_delivery()
    await post.owe(first)
    post.dispatcher.start()
    await pit.entered.acquire()
    stopping = asyncio.create_task(post.dispatcher.stop(30))
    await asyncio.sleep(0)
    later = make_delivery()
    await post.owe(later)
    post.wake.announce()
    pit.opened.set()
    await stopping
    assert (await post.current(first)).state is DELIVERED
    assert (await post.current(later)).attempts == ()


async def test_stopping_what_never_started_is_nothing() -> None:
    await Post().dispatcher.stop(1)


async def test_the_last_attempt_may_end_just_when_the_grace_does(monkeypatch: pytest.MonkeyPatch) -> None:
    dispatcher = Post().dispatcher
    monkeypatch.setattr(dispatcher, "settled", AsyncMock(side_effect=[TimeoutError, None]))
    await dispatcher.stop(1)


# The loop


@dataclass
class Waits:
    """A wake signal that tells how long the loop wants to wait, and ends the wait when it is told."""

    asked: asyncio.Queue[float] = field(default_factory=asyncio.Queue)
    signal: Signal = field(default_factory=Signal)

    def announce(self) -> None:
        self.signal.announce()

    async def wait(self, seconds: float) -> bool:
        await self.asked.put(seconds)
        return await self.signal.wait(60)


async def test_the_loop_waits_for_the_next_due_time_and_no_longer_than_a_poll() -> None:
    waits = Waits()
    post = Post(wake=waits, answers=[answer(500)])  # type: ignore[arg-type]
    post.dispatcher.start()
    assert await waits.asked.get() == POLL_SECONDS
    await post.owe(make_delivery(next_at=NOW + 0.5))
    waits.announce()
    assert await waits.asked.get() == 0.5
    post.clock.advance(0.5)
    waits.announce()
    assert await waits.asked.get() == PATIENCE  # it is under way
    assert await waits.asked.get() == POLL_SECONDS  # it has ended, which woke the loop
    assert len(post.gate.sent) == 1
    post.clock.advance(4)
    waits.announce()
    assert await waits.asked.get() == 1
    await post.dispatcher.stop(1)


async def test_a_round_asks_the_store_once_and_again_only_for_what_is_behind_a_full_window() -> None:
    store = ForgetfulStore()
    post = Post(store=store)
    await post.owe(*(make_delivery(f"https://host-{number}.example/") for number in range(PER_ACCOUNT)))
    assert await post.round() == PER_ACCOUNT
    assert store.asked == 1
    await post.owe(*(make_delivery(next_at=NOW - 1) for _ in range(WINDOW + 50)))
    await post.owe(make_delivery(account="another"))
    assert await post.round() == PER_ACCOUNT_AND_HOST + 1
    assert store.asked == 1 + 2


@pytest.mark.parametrize(("took", "rest"), [(0.0, 0.0), (0.125, 0.125), (9.0, LONGEST_REST), (-9.0, 0.0)])
async def test_the_loop_rests_as_long_as_it_looked(took: float, rest: float) -> None:
    waits, store = Waits(), ForgetfulStore()
    store.slowness = took
    post = Post(wake=waits, store=store, clock=store.clock)  # type: ignore[arg-type]
    post.dispatcher.start()
    await waits.asked.get()
    assert post.paused == [rest]
    await post.dispatcher.stop(1)


async def test_the_loop_outlives_a_store_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    waits, store = Waits(), ForgetfulStore()
    store.blind = 1
    post = Post(wake=waits, store=store)  # type: ignore[arg-type]
    await post.owe(make_delivery())
    with caplog.at_level(logging.ERROR):
        post.dispatcher.start()
        assert await waits.asked.get() == POLL_SECONDS
    assert "cannot look for deliveries" in caplog.text
    assert post.gate.sent == []
    waits.announce()
    await waits.asked.get()
    await post.dispatcher.stop(1)
    assert len(post.gate.sent) == 1
