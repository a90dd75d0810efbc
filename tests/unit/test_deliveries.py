"""What clients do with deliveries and secrets, and how long deliveries stay; on nothing but memory."""

from __future__ import annotations

import base64
from functools import partial

import pytest

from convertd.errors import NotFound
from convertd.jobs.deliveries import DeliveryService
from convertd.model import callback as rules
from convertd.model.callback import Attempt, Delivery, DeliveryState, Event
from convertd.model.job import Callback, Job
from tests.support.work import POLICY, House

CALLBACK = Callback(url="https://hooks.example/path", secret="its-own-secret")
PLAIN = Callback(url="https://hooks.example/path")


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def service(house: House) -> DeliveryService:
    return DeliveryService(house.ledger)


async def ended(house: House, callback: Callback | None = CALLBACK) -> Job:
    job = await house.submit(callback=callback)
    return await house.service.cancel("local", job.id)


async def tried(house: House, delivery: Delivery, status: int) -> Delivery:
    """The delivery after its last attempt."""
    error = None if status < 300 else "It was refused."
    attempt = Attempt(at=house.clock(), seconds=0.0, status=status, error=error)
    rule = partial(rules.attempted, attempt=attempt, now=house.clock(), schedule=())
    changed = await house.store.update_delivery(delivery.id, rule)
    assert changed is not None
    return changed


async def test_a_job_keeps_the_callback_that_it_was_submitted_with(house: House) -> None:
    job = await house.submit(callback=CALLBACK)
    assert (await house.current(job)).callback == CALLBACK


async def test_a_jobs_deliveries_are_for_its_owner_alone(house: House, service: DeliveryService) -> None:
    job = await ended(house)
    (delivery,) = await service.of_job("local", job.id)
    assert await service.page("local", 9) == [delivery]
    assert await service.page("local", 9, "other") == await service.page("another", 9) == []
    for asking in (
        service.of_job("another", job.id),
        service.of_job("local", "none"),
        service.redeliver("another", delivery.id),
        service.redeliver("local", "none"),
        service.redeliver("local", delivery.id, dialect="other"),
    ):
        with pytest.raises(NotFound):
            await asking


async def test_a_job_that_owes_nothing_has_no_deliveries(house: House, service: DeliveryService) -> None:
    job = await ended(house, None)
    assert await service.of_job("local", job.id) == []


@pytest.mark.parametrize("status", [204, 410])
async def test_what_was_sent_is_sent_again_on_request(
    house: House, service: DeliveryService, status: int
) -> None:
    job = await ended(house)
    (delivery,) = await service.of_job("local", job.id)
    done = await tried(house, delivery, status)
    await house.deliveries.wait(0)
    house.clock.advance(100)
    again = await service.redeliver("local", delivery.id)
    assert (again.id, again.state, again.next_at) == (delivery.id, DeliveryState.PENDING, house.clock())
    assert (again.tries, again.attempts) == (0, done.attempts)
    assert await house.deliveries.wait(0), "the dispatcher is woken"
    assert await service.redeliver("local", delivery.id) == again


async def test_a_test_event_is_owed_at_once(house: House, service: DeliveryService) -> None:
    delivery = await service.send_test("local", "native", PLAIN)
    assert (delivery.event, delivery.job, delivery.callback) == (Event.TEST, None, PLAIN)
    (due,) = await house.store.due_deliveries(before=house.clock(), limit=9)
    assert due.id == delivery.id
    assert await house.deliveries.wait(0), "the dispatcher is woken"


# Secrets


async def test_an_account_has_one_secret_from_its_first_use_on(service: DeliveryService) -> None:
    secret = await service.secret("anna")
    assert secret.startswith("whsec_")
    assert 24 <= len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) <= 64
    assert await service.secret("anna") == secret
    assert await service.secret("ben") != secret


async def test_after_a_rotation_both_sign_for_a_while(house: House, service: DeliveryService) -> None:
    first = await service.secret("local")
    second = await service.rotate("local")
    assert first != second == await service.secret("local")
    delivery = await service.send_test("local", "native", PLAIN)
    now = house.clock()
    assert await service.secrets_for(delivery, now + 86_399) == (second, first)
    assert await service.secrets_for(delivery, now + 86_400) == (second,)


async def test_a_rotation_may_make_the_first_secret(service: DeliveryService) -> None:
    assert await service.rotate("anna") == await service.secret("anna")


async def test_a_callbacks_own_secret_signs_alone(house: House, service: DeliveryService) -> None:
    own = await service.send_test("local", "native", CALLBACK)
    assert await service.secrets_for(own, house.clock()) == ("its-own-secret",)
    plain = await service.send_test("local", "native", PLAIN)
    assert await service.secrets_for(plain, house.clock()) == (await service.secret("local"),)


async def test_no_secret_is_in_what_a_log_may_show(house: House, service: DeliveryService) -> None:
    secret = await service.secret("local")
    job = await ended(house)
    (delivery,) = await service.of_job("local", job.id)
    shown = repr((job, delivery, await house.store.signing_secrets("local")))
    assert "hooks.example" in shown
    assert "its-own-secret" not in shown
    assert secret not in shown


# Retention


async def test_deliveries_go_when_their_own_time_has_come(house: House, service: DeliveryService) -> None:
    job = await ended(house)
    (delivery,) = await service.of_job("local", job.id)
    house.clock.advance(POLICY.keep_rows)
    assert await house.upkeep.remove_rows() == 1
    assert await service.of_job("local", job.id) == [delivery], "still to be sent"
    await tried(house, delivery, 204)
    house.clock.advance(POLICY.keep_rows - 1)
    await house.upkeep.remove_rows()
    assert len(await service.page("local", 9)) == 1
    house.clock.advance(1)
    await house.upkeep.remove_rows()
    assert await service.page("local", 9) == []
    with pytest.raises(NotFound):
        await service.of_job("local", job.id)
