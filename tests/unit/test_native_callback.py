"""The native form of callbacks: Standard Webhooks, as its reference implementation verifies them."""

from __future__ import annotations

import time
from typing import Any
from unittest.mock import Mock

import pytest
from msgspec.structs import replace
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from convertd.api.native.callback import MOST_BYTES, NativeForm
from convertd.client import VerificationError, verify
from convertd.model.callback import Delivery, Event, Message
from convertd.model.job import Failure, Job, State
from convertd.model.signatures import new_secret
from tests.support.callbacks import make_delivery
from tests.support.jobs import make_artifact, make_job, make_task

ORIGIN = "https://convert.example"
SECRET, OLD = new_secret(), new_secret()


def form() -> NativeForm:
    services = Mock()
    services.link = lambda place, key, until: f"{place}/{key}?until={until}"
    services.links_until = lambda job, now: int(now + 3600.0)
    return NativeForm(services, version="1.2.3")


def owed(job: Job | None, event: Event = Event.SUCCEEDED) -> Delivery:
    delivery = make_delivery(job=job, event=event)
    return replace(delivery, callback=replace(delivery.callback, origin=ORIGIN))


def ended(tasks: int = 1, **changes: Any) -> Job:
    job = make_job(
        tasks=tasks,
        state=State.SUCCEEDED,
        finished_at=time.time(),
        outputs_expire_at=time.time() + 10**6,
        inputs=tuple(make_artifact(f"in-{number}") for number in range(tasks)),
        outputs=tuple(make_artifact(f"out-{number}", task=number) for number in range(tasks)),
    )
    done = tuple(replace(task, state=State.SUCCEEDED, progress=1.0) for task in job.tasks)
    return replace(job, **({"tasks": done} | changes))


def sent(delivery: Delivery, *secrets: str, now: float | None = None) -> Message:
    return form().message(delivery, secrets or (SECRET,), time.time() if now is None else now)


def event_of(message: Message) -> dict[str, Any]:
    """As a receiver reads it that trusts nobody."""
    told: dict[str, Any] = Webhook(SECRET).verify(message.body, dict(message.headers))
    assert told == verify(message.body, message.headers, SECRET)
    return told


def test_the_end_of_a_job_is_told_with_the_job_and_fresh_links() -> None:
    job, now = ended(), int(time.time())
    delivery = owed(job)
    message = sent(delivery, now=now)
    event = event_of(message)
    assert event["type"] == "job.succeeded"
    assert event["timestamp"].endswith("Z")
    told = event["data"]["job"]
    assert (told["id"], told["status"], told["links"]["self"]) == (
        job.id,
        "succeeded",
        f"{ORIGIN}/jobs/{job.id}",
    )
    assert told["outputs"][0]["url"] == f"{ORIGIN}/download/out-0?until={now + 3600}"
    assert "truncated" not in told
    headers = {name.lower(): value for name, value in message.headers.items()}
    assert headers["webhook-id"] == delivery.id
    assert headers["user-agent"] == "convertd/1.2.3"
    assert headers["content-type"] == "application/json"


def test_a_test_tells_no_job() -> None:
    assert event_of(sent(owed(None, Event.TEST))) | {"timestamp": ""} == {
        "type": "test",
        "timestamp": "",
        "data": {},
    }


@pytest.mark.parametrize("event", [Event.FAILED, Event.CANCELLED])
def test_other_ends_are_told_as_well(event: Event) -> None:
    state = State(event.value.removeprefix("job."))
    failure = Failure("file_invalid", "Broken.") if state is State.FAILED else None
    told = event_of(sent(owed(ended(state=state, error=failure, outputs=()), event)))
    assert (told["type"], told["data"]["job"]["status"]) == (event.value, state.value)
    assert (told["data"]["job"]["error"] or {}).get("message") == (failure.message if failure else None)


def test_each_attempt_has_the_same_id_and_a_time_of_its_own() -> None:
    delivery, now = owed(ended()), time.time()
    first, second = sent(delivery, now=now), sent(delivery, now=now + 300)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) == 300
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]


def test_during_a_rotation_both_secrets_verify() -> None:
    message = sent(owed(ended()), SECRET, OLD)
    assert len(message.headers["webhook-signature"].split(" ")) == 2
    for secret in (SECRET, OLD):
        assert Webhook(secret).verify(message.body, dict(message.headers))
        assert verify(message.body, message.headers, secret)


def test_a_changed_byte_or_301_seconds_are_refused_by_both() -> None:
    message = sent(owed(ended()))
    changed = message.body.replace(b"succeeded", b"succeedeb")
    late = sent(owed(ended()), now=time.time() - 301)
    for one in (Message(headers=message.headers, body=changed), late):
        with pytest.raises(WebhookVerificationError):
            Webhook(SECRET).verify(one.body, dict(one.headers))
        with pytest.raises(VerificationError):
            verify(one.body, one.headers, SECRET)


@pytest.mark.parametrize("tasks", [20, 100, 1000])
def test_a_long_job_is_cut_to_what_a_receiver_takes(tasks: int) -> None:
    names = tuple(make_artifact(f"in-{number}", name="n" * 200) for number in range(tasks))
    job = ended(tasks, inputs=names, metadata={"text": "m" * 8000})
    message = sent(owed(job))
    assert len(message.body) < MOST_BYTES == 20_000
    told = event_of(message)["data"]["job"]
    assert told["truncated"] is True
    assert told["counts"]["tasks"] == told["counts"]["succeeded"] == tasks
    assert 0 < len(told["tasks"]) < tasks
    assert told["metadata"] == job.metadata


def test_what_cannot_be_cut_into_lists_is_cut_away() -> None:
    failure = Failure("engine_error", "x" * 5000)
    tasks = tuple(make_task(state=State.FAILED, error=failure) for _ in range(20))
    job = replace(ended(20), state=State.FAILED, tasks=tasks, metadata={"text": "m" * 8000}, error=failure)
    message = sent(owed(job, Event.FAILED))
    assert len(message.body) < MOST_BYTES
    assert event_of(message)["data"]["job"]["error"]["message"] == failure.message


def test_ten_attempts_over_about_three_days() -> None:
    schedule = form().schedule
    assert len(schedule) + 1 == 10
    assert 75 <= sum(schedule) / 3600 <= 76
