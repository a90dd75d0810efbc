"""ChangeThisFile's webhooks, checked as its sample receiver does it."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from typing import Any

import pytest

from convertd.client import VerificationError, verify
from tests.e2e.changethisfile.client import (
    BROKEN,
    COUNT,
    FAILURE,
    PNG,
    RESULT,
    TEXT,
    TIME,
    URL,
    Client,
    check,
    members,
    or_null,
    refused,
)
from tests.support.receiver import Received, Receiver

EVENT = {
    "type": "object",
    "required": [
        "event", "data", "job_id", "state", "status", "download_url", "metadata", "duration_ms", "error",
    ],
    "additionalProperties": False,
    "properties": {
        "event": {"enum": ["job.completed", "job.failed"]},
        "data": {
            "oneOf": [
                members(job_id=TEXT, status={"const": "completed"}, result=RESULT),
                members(job_id=TEXT, status={"const": "failed"}, error=FAILURE),
            ]
        },
        "job_id": TEXT,
        "state": {"enum": ["done", "failed"]},
        "status": {"enum": ["completed", "failed"]},
        "download_url": or_null(URL),
        "metadata": {"type": "object"},
        "duration_ms": COUNT,
        "error": or_null(FAILURE),
    },
}  # fmt: skip


def verified(received: Received, secret: str) -> dict[str, Any]:
    """As the service's sample receiver does it."""
    parts = dict(part.split("=", 1) for part in received.headers["X-CTF-Signature"].split(","))
    assert abs(time.time() - int(parts["t"])) < 300
    key = hashlib.sha256(secret.encode()).hexdigest().encode("ascii")
    expected = hmac.new(key, parts["t"].encode() + b"." + received.body, "sha256").hexdigest()
    assert hmac.compare_digest(expected, parts["v1"])
    event = json.loads(received.body)
    assert received.headers["X-CTF-Event"] == event["event"]
    assert received.headers["User-Agent"] == "ChangeThisFile-Webhook/1.0"
    assert received.headers["Content-Type"] == "application/json"
    assert event == verify(received.body, received.headers, secret, hashed_secret=True)
    return dict(event)


class TestWebhooks:
    async def secret(self, client: Client) -> str:
        reply = await client.api.request("POST", "/v1/webhooks/secret")
        check(reply.json, members(secret={"type": "string", "pattern": "^whsec_"}))
        return str(reply.json["secret"])

    async def test_a_success(self, client: Client, receiver: Receiver) -> None:
        secret = await self.secret(client)
        metadata = {"order": 7, "tags": ["a"]}
        job_id = await client.submit(
            filename="a.png", webhook_url=receiver.url, webhook_metadata=json.dumps(metadata)
        )
        (received,) = await receiver.wait_for(1)
        event = verified(received, secret)
        check(event, EVENT)
        assert event["event"] == "job.completed"
        assert event["job_id"] == event["data"]["job_id"] == job_id
        assert (event["state"], event["status"], event["data"]["status"]) == (
            "done",
            "completed",
            "completed",
        )
        assert (event["metadata"], event["error"]) == (metadata, None)
        assert event["download_url"] == event["data"]["result"]["file_url"]
        reply = await client.api.get(event["download_url"])
        assert len(reply.body) == event["data"]["result"]["size"]
        with pytest.raises(VerificationError):
            verify(received.body, received.headers, "whsec_another", hashed_secret=True)

    async def test_a_failure(self, client: Client, receiver: Receiver) -> None:
        secret = await self.secret(client)
        reply = await client.form("/v1/jobs", BROKEN, "a.png", target="jpg", webhook_url=receiver.url)
        job_id = client.accepted(reply)
        (received,) = await receiver.wait_for(1)
        event = verified(received, secret)
        check(event, EVENT)
        assert (event["event"], event["job_id"], event["state"]) == ("job.failed", job_id, "failed")
        assert event["error"] == event["data"]["error"] == (await client.status(job_id))["error"]
        assert event["error"]["code"] == "file_invalid"
        assert event["download_url"] is None

    async def test_three_more_attempts(self, client: Client, receiver: Receiver) -> None:
        secret = await self.secret(client)
        receiver.statuses = (500,)
        job_id = await client.submit(webhook_url=receiver.url)
        received = await receiver.wait_for(4)
        assert {verified(one, secret)["job_id"] for one in received} == {job_id}
        until = time.monotonic() + 30
        while (await client.api.get(f"/jobs/{job_id}/deliveries")).json["deliveries"][0]["status"] != "dead":
            assert time.monotonic() < until
        assert len(receiver.received) == 4

    async def test_a_new_secret_each_time(self, client: Client, receiver: Receiver) -> None:
        old, new = [await self.secret(client) for _ in range(2)]
        assert old != new
        await client.submit(webhook_url=receiver.url)
        (received,) = await receiver.wait_for(1)
        verified(received, new)
        with pytest.raises(VerificationError):
            verify(received.body, received.headers, old, hashed_secret=True)

    async def test_trying_an_endpoint(self, client: Client, receiver: Receiver) -> None:
        secret = await self.secret(client)
        reply = await client.api.request("POST", "/v1/webhooks/test", json={"url": receiver.url})
        assert reply.status == 202
        check(
            reply.json,
            members(
                ok={"const": True},
                event={"const": "webhook.test"},
                delivery_id=TEXT,
                url={"const": receiver.url},
            ),
        )
        (received,) = await receiver.wait_for(1)
        event = verified(received, secret)
        check(event, members(event={"const": "webhook.test"}, data=members(id=TEXT, created_at=TIME)))
        assert event["data"]["id"] == reply.json["delivery_id"]

    async def test_addresses_that_are_not_called(self, client: Client) -> None:
        for url in ("http://10.0.0.1/", "http://169.254.169.254/", "ftp://example.com/", "nonsense"):
            reply = await client.raw("/v1/jobs", PNG, target="webp", webhook_url=url)
            assert refused(reply, 400, "bad_request") == {"field": "webhook_url"}
            reply = await client.api.request("POST", "/v1/webhooks/test", json={"url": url})
            assert refused(reply, 400, "bad_request") == {"field": "url"}

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"url": 1}', b"[" * 60_000])
    async def test_a_trial_without_an_address(self, client: Client, body: bytes) -> None:
        refused(await client.api.request("POST", "/v1/webhooks/test", data=body), 400, "bad_request")
