"""Callbacks, verified by the rule that the service documents, and the log of them."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.e2e.conftest import Start
from tests.e2e.convertly.client import DELIVERY, JOB, Convertly, check, connected, error
from tests.support import samples
from tests.support.receiver import Received, Receiver
from tests.support.server import PATIENCE

PNG = ("a.png", samples.picture())
SECRET = "whsec_test"
ALLOWED = {"OUTBOUND_ALLOW": "127.0.0.1", "CALLBACKS_RETRY_DELAY": "50ms"}


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    async with receiver.up():
        yield receiver


@pytest.fixture
async def trusting(start: Start) -> AsyncIterator[Convertly]:
    """A client of a server that may call this machine, a hundred times sooner than usual."""
    async with connected(start(**ALLOWED).url) as convertly:
        yield convertly


def verified(received: Received, secret: str) -> dict[str, Any]:
    """The event, once it is sure who sent it."""
    match = re.fullmatch(r"t=(\d+),v1=([0-9a-f]{64})", received.headers["Convertly-Signature"])
    assert match is not None
    signed = match[1].encode() + b"." + received.body
    assert hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() == match[2]
    assert abs(time.time() - int(match[1])) < PATIENCE
    event = received.event
    assert received.headers["convertly-timestamp"] == match[1]
    assert received.headers["convertly-event"] == event["type"]
    assert received.headers["User-Agent"] == "Convertly-Webhooks/1.0"
    assert received.headers["Content-Type"] == "application/json"
    assert set(event) == {"id", "type", "created", "data"}
    assert re.fullmatch(r"evt_[0-9a-f-]{36}", event["id"])
    assert isinstance(event["created"], int)
    return event


async def logged(convertly: Convertly, status: str) -> dict[str, Any]:
    """The newest delivery once it is in this state."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        reply = await convertly.http.get("/api/webhooks/deliveries", params={"limit": 25})
        for newest in reply.json()["deliveries"][:1]:
            if check(newest, DELIVERY)["status"] == status:
                return newest
    raise AssertionError(reply.text)


async def test_a_conversion_that_succeeds(trusting: Convertly, receiver: Receiver) -> None:
    created = await trusting.create(PNG, format="webp", callbackUrl=receiver.url, callbackSecret=SECRET)
    (received,) = await receiver.wait_for(1)
    event = verified(received, SECRET)
    assert event["type"] == "conversion.completed"
    data = event["data"]
    assert data.pop("filename") == "a.webp"
    check(data, JOB)
    assert (data["jobId"], data["status"]) == (created["jobId"], "completed")
    assert (await trusting.download(data["results"][0]))[8:12] == b"WEBP"
    shown = await logged(trusting, "delivered")
    assert (shown["eventId"], shown["jobId"]) == (event["id"], created["jobId"])
    assert (shown["endpoint"], shown["eventType"]) == (receiver.url, "conversion.completed")
    assert (shown["httpStatus"], shown["attemptCount"], shown["bodyPreview"]) == (200, 1, "answer 200")
    assert SECRET not in str(shown) + str(await trusting.job(created["jobId"]))


@pytest.mark.parametrize(
    ("path", "body", "kind", "words"),
    [
        ("/api/jobs", PNG[1][:5000], "conversion.failed", "failed"),
        ("/api/media/thumbnail", PNG[1], "media.tool.completed", "completed"),
        ("/api/media/thumbnail", PNG[1][:5000], "media.tool.failed", "failed"),
    ],
)
async def test_other_ends(
    trusting: Convertly, receiver: Receiver, path: str, body: bytes, kind: str, words: str
) -> None:
    wanted = {"format": "jpg", "async": "true", "callbackUrl": receiver.url, "callbackSecret": SECRET}
    reply = await trusting.post(path, ("a.png", body), **wanted)
    assert reply.status_code == 200, reply.text
    (received,) = await receiver.wait_for(1)
    event = verified(received, SECRET)
    assert (event["type"], event["data"]["status"]) == (kind, words)
    assert (event["data"]["errorMessage"] is not None) == (words == "failed")


async def test_three_tries_under_one_id_then_one_by_hand(trusting: Convertly, receiver: Receiver) -> None:
    receiver.statuses = (500, 500, 500, 200)
    await trusting.create(PNG, format="webp", callbackUrl=receiver.url, callbackSecret=SECRET)
    given_up = await logged(trusting, "failed")
    assert len(receiver.received) == 3
    assert (given_up["attemptCount"], given_up["httpStatus"]) == (3, 500)
    assert given_up["nextAttemptAt"] is None
    for name in (given_up["id"], given_up["eventId"]):
        reply = await trusting.http.post(f"/api/webhooks/deliveries/{name}/retry")
        assert reply.status_code == 200
        assert check(reply.json(), DELIVERY)["id"] == given_up["id"]
    await receiver.wait_for(4)
    assert (await logged(trusting, "delivered"))["attemptCount"] >= 4
    assert {verified(each, SECRET)["id"] for each in receiver.received} == {given_up["eventId"]}


async def test_without_a_secret_the_accounts_own_signs(trusting: Convertly, receiver: Receiver) -> None:
    await trusting.create(PNG, format="webp", callbackUrl=receiver.url)
    (received,) = await receiver.wait_for(1)
    shown = await trusting.http.get("/callbacks/secret")
    assert shown.headers["Cache-Control"] == "no-store"
    first = shown.json()["secret"]
    verified(received, first)
    second = (await trusting.http.post("/callbacks/secret")).json()["secret"]
    assert second != first
    assert (await trusting.http.get("/callbacks/secret")).json() == {"secret": second}
    await trusting.create(PNG, format="webp", callbackUrl=receiver.url)
    verified((await receiver.wait_for(2))[1], second)


async def test_sending_again_counts_against_the_rate(start: Start) -> None:
    async with connected(start(LIMITS_RATE="1").url) as convertly:
        # A minute may end between any two: then one more is let through, and never all three.
        replies = [await convertly.http.post("/api/webhooks/deliveries/nothing/retry") for _ in range(3)]
    assert replies[0].status_code == 404
    assert {reply.status_code for reply in replies} == {404, 429}


async def test_what_the_log_refuses(trusting: Convertly) -> None:
    assert error(await trusting.http.get("/api/webhooks/deliveries", params={"limit": "many"}), 400)
    assert error(await trusting.http.post("/api/webhooks/deliveries/nothing/retry"), 404)
    assert (await trusting.http.get("/api/webhooks/deliveries")).json() == {"deliveries": []}
