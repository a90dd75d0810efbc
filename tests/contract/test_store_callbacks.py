"""What every store promises about deliveries, signing secrets and usage."""

from __future__ import annotations

import asyncio
import itertools
from functools import partial

import pytest
from msgspec.structs import replace

from convertd.jobs.store import Blocked, DueDelivery, Store
from convertd.model import callback as rules
from convertd.model.callback import Attempt, Delivery, DeliveryState, Event, SigningSecrets
from convertd.model.job import Callback, Job, State, cancelled, retried
from convertd.model.usage import Usage
from tests.support.jobs import NOW, RETENTION, make_artifact, make_job, make_task

CALLBACK = Callback(url="https://Hooks.Example:8443/a?b=ü", secret="s3cret", origin="http://me.example")
OK = Attempt(at=NOW + 1, seconds=0.5, status=204, error=None)
REFUSED = Attempt(at=NOW + 1, seconds=0.25, status=500, error="It answered 500.", body="öops \u2028")


def make_delivery(*, url: str = CALLBACK.url, now: float = NOW, account: str = "local") -> Delivery:
    return rules.trial(account, "native", replace(CALLBACK, url=url), now=now)


async def attempted(
    store: Store, delivery: Delivery, attempt: Attempt, schedule: tuple[float, ...]
) -> Delivery:
    changed = await store.update_delivery(
        delivery.id, partial(rules.attempted, attempt=attempt, now=NOW + 2, schedule=schedule)
    )
    assert changed is not None
    return changed


def due_of(delivery: Delivery) -> DueDelivery:
    return DueDelivery(delivery.id, delivery.account, delivery.host, delivery.endpoint)


async def ended(store: Store, job: Job, *, now: float = NOW + 5) -> Job:
    """The job, kept and then cancelled."""
    await store.insert(job)
    changed = await store.update(job.id, partial(cancelled, now=now, retention=RETENTION))
    assert changed is not None
    return changed


# Coming and going


async def test_the_end_of_a_job_leaves_the_delivery_that_it_owes(store: Store) -> None:
    job = await ended(store, make_job(callback=CALLBACK, metadata={"ä": [1, 2.5, None]}, dialect="other"))
    (delivery,) = await store.deliveries_of_job(job.id)
    assert delivery == Delivery(
        id=delivery.id,
        account="local",
        dialect="other",
        event=Event.CANCELLED,
        callback=CALLBACK,
        job=replace(job, callback=None),
        created_at=NOW + 5,
        next_at=NOW + 5,
    )
    assert await store.delivery(delivery.id) == delivery


async def test_of_very_many_deliveries_of_a_job_the_last_are_listed(store: Store) -> None:
    job = make_job()
    owed = [replace(make_delivery(now=NOW + number), event=Event.FAILED, job=job) for number in range(103)]
    await asyncio.gather(*(store.add_delivery(delivery) for delivery in owed))
    assert await store.deliveries_of_job(job.id) == owed[-100:]


async def test_a_job_that_nobody_wants_to_hear_of_owes_nothing(store: Store) -> None:
    job = await ended(store, make_job())
    assert await store.deliveries_of_job(job.id) == []
    assert await store.next_delivery_at() is None


async def test_a_delivery_comes_back_as_it_went_in(store: Store) -> None:
    delivery = replace(make_delivery(), attempts=(REFUSED, replace(REFUSED, status=None)), tries=1)
    await store.add_delivery(delivery)
    assert await store.delivery(delivery.id) == delivery
    assert delivery.job is None


async def test_an_unknown_delivery_is_none(store: Store) -> None:
    assert await store.delivery("none") is None
    assert await store.update_delivery("none", lambda delivery: delivery) is None


async def test_an_update_of_a_delivery_is_kept(store: Store) -> None:
    delivery = make_delivery()
    await store.add_delivery(delivery)
    again = await attempted(store, delivery, REFUSED, (60.0,))
    assert (again.state, again.next_at, again.attempts) == (DeliveryState.PENDING, NOW + 62, (REFUSED,))
    assert await store.delivery(delivery.id) == again
    done = await attempted(store, delivery, OK, (60.0,))
    assert (done.state, done.next_at, done.attempts) == (DeliveryState.DELIVERED, None, (REFUSED, OK))
    assert await store.delivery(delivery.id) == done


async def test_a_rule_that_does_not_apply_leaves_the_delivery(store: Store) -> None:
    delivery = make_delivery()
    await store.add_delivery(delivery)
    assert await store.update_delivery(delivery.id, lambda delivery: None) is None
    assert await store.delivery(delivery.id) == delivery


async def test_attempts_at_once_do_not_lose_each_other(store: Store) -> None:
    delivery = make_delivery()
    await store.add_delivery(delivery)
    await asyncio.gather(*(attempted(store, delivery, REFUSED, (1.0,) * 20) for _ in range(20)))
    current = await store.delivery(delivery.id)
    assert current is not None
    assert (current.tries, len(current.attempts)) == (20, 20)


async def test_a_delivery_outlives_its_job(store: Store) -> None:
    job = await ended(store, make_job(callback=CALLBACK))
    assert await store.delete(job.id, ended_by=NOW + 5) is not None
    (delivery,) = await store.deliveries_of_job(job.id)
    assert delivery.job == replace(job, callback=None)


# What is due


async def test_what_is_due_comes_earliest_first(store: Store) -> None:
    made = [make_delivery(now=NOW + number) for number in (2, 0, 3, 1)]
    for delivery in made:
        await store.add_delivery(delivery)
    in_order = [due_of(made[number]) for number in (1, 3, 0)]
    assert await store.due_deliveries(before=NOW + 2, limit=9) == in_order
    assert await store.due_deliveries(before=NOW + 2, limit=2) == in_order[:2]
    assert await store.due_deliveries(before=NOW - 1, limit=9) == []
    assert await store.next_delivery_at() == NOW


async def test_the_next_time_is_that_of_the_next_not_yet_due(store: Store) -> None:
    for number in (2, 0, 3):
        await store.add_delivery(make_delivery(now=NOW + number))
    assert [await store.next_delivery_at(after=NOW + after) for after in (-1, 0, 1, 2, 3)] == [
        NOW,
        NOW + 2,
        NOW + 2,
        NOW + 3,
        None,
    ]


def spread_out() -> list[Delivery]:
    """Of two accounts, to two hosts with two endpoints each, in an order of time that mixes them."""
    ways = itertools.product(
        ("anna", "ben"), ("http://One.example", "http://u:p@two.example:81"), "ab", range(2)
    )
    return [
        make_delivery(account=account, url=f"{host}/{path}?n={number}", now=NOW + 7 * place % 16)
        for place, (account, host, path, number) in enumerate(ways)
    ]


BLOCKED = {
    "nothing": Blocked(),
    "nobody": Blocked(
        accounts={"none"}, hosts={""}, account_hosts={("x", "y")}, account_endpoints={("x", "")}
    ),
    "a host": Blocked(hosts={"two.example:81"}),
    "hosts": Blocked(hosts={"one.example", "two.example:81"}),
    "an account": Blocked(accounts=["anna"]),
    "accounts": Blocked(accounts={"anna", "ben"}),
    "an account at a host": Blocked(account_hosts=[("ben", "one.example")]),
    "an account's endpoint": Blocked(account_endpoints={("ben", "http://One.example/a")}),
    "an account's endpoints": Blocked(
        account_endpoints={("anna", "http://One.example/a"), ("anna", "http://u:p@two.example:81/b")}
    ),
    "of each": Blocked(
        accounts={"anna"}, hosts={"one.example"}, account_endpoints=[("ben", "http://u:p@two.example:81/b")]
    ),
}


@pytest.mark.parametrize("blocked", BLOCKED.values(), ids=BLOCKED)
@pytest.mark.parametrize("of_the_dead", [0, 600])
async def test_what_is_blocked_is_left_out_and_hides_nothing(
    store: Store, blocked: Blocked, of_the_dead: int
) -> None:
    dead = [make_delivery(url="http://dead.example/", account="dora") for _ in range(of_the_dead)]
    made = spread_out()
    await asyncio.gather(*(store.add_delivery(delivery) for delivery in (*dead, *made)))
    blocked = blocked._replace(account_hosts={*blocked.account_hosts, ("dora", "dead.example")})
    due = sorted((one for one in made if (one.next_at or 0) <= NOW + 12), key=lambda one: one.next_at or 0)
    expected = [due_of(one) for one in due if not blocked.holds(due_of(one))]
    assert await store.due_deliveries(before=NOW + 12, blocked=blocked, limit=99) == expected
    assert await store.due_deliveries(before=NOW + 12, blocked=blocked, limit=2) == expected[:2]


async def test_what_waits_is_held_by_any_word_about_it() -> None:
    def held(blocked: Blocked, account: str, host: str, endpoint: str) -> bool:
        return blocked.holds(DueDelivery("1", account, host, endpoint))

    blocked, at_a_host = BLOCKED["of each"], BLOCKED["an account at a host"]
    assert held(blocked, "anna", "x", "y")
    assert held(blocked, "x", "one.example", "y")
    assert held(blocked, "ben", "x", "http://u:p@two.example:81/b")
    assert not held(blocked, "x", "y", "http://u:p@two.example:81/b")
    assert held(at_a_host, "ben", "one.example", "y")
    assert not held(at_a_host, "anna", "one.example", "y")


async def test_an_account_at_a_dead_endpoint_still_has_its_others_found(store: Store) -> None:
    dead = [make_delivery(url=f"http://h.example/dead?{number}") for number in range(600)]
    good = make_delivery(url="http://h.example/good", now=NOW + 1)
    await asyncio.gather(*(store.add_delivery(delivery) for delivery in (*dead, good)))
    blocked = Blocked(account_endpoints={("local", "http://h.example/dead")})
    assert await store.due_deliveries(before=NOW + 1, blocked=blocked, limit=9) == [due_of(good)]
    assert await store.due_deliveries(before=NOW, blocked=blocked, limit=9) == []


async def test_a_url_that_is_none_can_still_be_owed(store: Store) -> None:
    job = await ended(store, make_job(callback=Callback(url="http://[half")))
    (delivery,) = await store.deliveries_of_job(job.id)
    due = await store.due_deliveries(before=NOW + 5, blocked=Blocked(hosts={"x"}), limit=9)
    assert due == [due_of(delivery)]


async def test_what_is_acknowledged_or_given_up_is_not_due_until_it_is_asked_for_again(store: Store) -> None:
    for attempt in (OK, replace(REFUSED, status=410)):
        delivery = make_delivery()
        await store.add_delivery(delivery)
        await attempted(store, delivery, attempt, (60.0,))
        assert await store.due_deliveries(before=NOW + 9999, limit=9) == []
        assert await store.next_delivery_at() is None
        await store.update_delivery(delivery.id, partial(rules.redelivered, now=NOW + 7))
        assert await store.due_deliveries(before=NOW + 7, limit=9) == [due_of(delivery)]
        await attempted(store, delivery, attempt, (60.0,))


# Listing and forgetting


async def test_pages_show_the_accounts_own_newest_first(store: Store) -> None:
    mine = [await ended(store, make_job(callback=CALLBACK), now=NOW + number) for number in (1, 3, 2)]
    other = await ended(store, make_job(callback=CALLBACK, dialect="other"), now=NOW + 4)
    await store.add_delivery(make_delivery(account="another", now=NOW + 5))

    async def shown(dialect: str | None, limit: int) -> list[str]:
        page = await store.page_deliveries("local", dialect=dialect, limit=limit)
        return [delivery.job.id for delivery in page if delivery.job is not None]

    newest_first = [mine[1].id, mine[2].id, mine[0].id]
    assert await shown(None, 9) == [other.id, *newest_first]
    assert await shown("native", 9) == newest_first
    assert await shown("native", 2) == newest_first[:2]
    assert await shown("nobody", 9) == []


async def test_only_what_is_settled_is_forgotten_and_only_after_its_time(store: Store) -> None:
    pending, done, dead = (make_delivery() for _ in range(3))
    for delivery in (pending, done, dead):
        await store.add_delivery(delivery)
    await attempted(store, done, OK, ())
    await attempted(store, dead, replace(REFUSED, at=NOW + 10), ())
    assert await store.forget_deliveries(before=NOW + 1) == 0
    assert await store.forget_deliveries(before=NOW + 1.5) == 1
    assert await store.delivery(done.id) is None
    assert await store.forget_deliveries(before=float("inf")) == 1
    assert await store.delivery(dead.id) is None
    assert await store.delivery(pending.id) == pending


# Secrets


async def test_secrets_are_kept_for_each_account(store: Store) -> None:
    assert await store.signing_secrets("anna") is None
    first = SigningSecrets(current="one")
    assert await store.update_signing_secrets("anna", lambda present: present or first) == first
    second = SigningSecrets(current="two", previous="one", previous_until=NOW + 0.5)
    assert await store.update_signing_secrets("anna", lambda present: second) == second
    assert await store.signing_secrets("anna") == second
    assert await store.signing_secrets("ben") is None


async def test_of_many_first_secrets_one_is_everybodys(store: Store) -> None:
    def rule(present: SigningSecrets | None, number: int) -> SigningSecrets:
        return present or SigningSecrets(current=f"secret-{number}")

    given = await asyncio.gather(
        *(store.update_signing_secrets("anna", partial(rule, number=number)) for number in range(20))
    )
    assert {secrets.current for secrets in given} == {"secret-0"}


# Usage

JANUARY, FEBRUARY = 1_769_903_999.5, 1_769_904_000.0  # around 2026-02-01T00:00:00Z


def made_smaller(job: Job, *, now: float) -> Job:
    """The job succeeded: one task saved 70 bytes, one grew its file, one failed."""
    tasks = (
        make_task(state=State.SUCCEEDED, inputs=(0, 1)),
        make_task(state=State.SUCCEEDED, inputs=(1,)),
        make_task(state=State.CANCELLED, inputs=(0,)),
    )
    outputs = (
        make_artifact(f"{job.id}-a", task=0, bytes=20),
        make_artifact(f"{job.id}-b", task=0, bytes=20),
        make_artifact(f"{job.id}-c", task=1, bytes=1000),
    )
    return replace(job, state=State.SUCCEEDED, finished_at=now, tasks=tasks, outputs=outputs)


def two_inputs(**changes: object) -> Job:
    job = make_job(tasks=3, **changes)
    inputs = (make_artifact(f"{job.id}-0", bytes=100), make_artifact(f"{job.id}-1", bytes=10))
    return replace(job, inputs=inputs)


async def test_ended_jobs_are_counted_by_account_dialect_and_month(store: Store) -> None:
    for changes, now in (
        ({}, JANUARY),
        ({}, FEBRUARY),
        ({"dialect": "other"}, FEBRUARY),
        ({"account": "another"}, FEBRUARY),
    ):
        job = two_inputs(**changes)
        await store.insert(job)
        await store.update(job.id, partial(made_smaller, now=now))
    one = Usage(jobs=1, succeeded=1, input_bytes=110, output_bytes=1040, saved_bytes=70)
    for dialect, since, expected in (
        (None, None, one + one + one),
        ("native", None, one + one),
        ("other", "2026-02", one),
        (None, "2026-02", one + one),
        (None, "2026-03", Usage()),
        ("nobody", None, Usage()),
    ):
        assert await store.count_usage("local", dialect=dialect, since_month=since) == expected


async def test_a_job_that_is_run_again_counts_once_as_what_became_of_it_last(store: Store) -> None:
    async def used(month: str) -> Usage:
        return await store.count_usage("local", dialect=None, since_month=month)

    job = await ended(store, two_inputs(), now=JANUARY)
    assert await used("2026-01") == Usage(jobs=1)
    await store.update(job.id, partial(retried, now=JANUARY, deadline=FEBRUARY + 9))
    assert await used("2026-01") == Usage()
    await store.update(job.id, partial(made_smaller, now=FEBRUARY))
    once = Usage(jobs=1, succeeded=1, input_bytes=110, output_bytes=1040, saved_bytes=70)
    assert await used("2026-01") == await used("2026-02") == once


async def test_usage_stays_when_the_job_is_deleted(store: Store) -> None:
    job = await ended(store, two_inputs())
    await store.delete(job.id, ended_by=NOW + 5)
    assert await store.count_usage("local", dialect=None, since_month=None) == Usage(jobs=1)
