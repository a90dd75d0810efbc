"""What ChangeThisFile's API refuses, counts and answers again."""

from __future__ import annotations

import asyncio
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, FormData

from tests.e2e.changethisfile.client import (
    BROKEN,
    COUNT,
    PNG,
    Client,
    check,
    members,
    refused,
    with_key,
)
from tests.e2e.conftest import Start
from tests.e2e.test_access import create_key
from tests.e2e.test_same_key_twice import HeldBody
from tests.e2e.test_stopping import stopping
from tests.support import samples
from tests.support.api import Api, Reply

USAGE = members(
    plan={"const": "self-hosted"},
    period={"type": "string", "pattern": r"^\d{4}-\d\d$"},
    used=COUNT,
    limit={"type": "null"},
    remaining={"type": "null"},
    jobs=COUNT,
    input_bytes=COUNT,
    output_bytes=COUNT,
)


async def test_an_empty_body_is_told_so(client: Client) -> None:
    for path in ("/v1/jobs", "/v1/convert"):
        reply = await client.raw(path, b"", target="webp")
        assert refused(reply, 400, "bad_request") == {"field": "file"}
        assert "The body is empty." in reply.json["error"]["message"]


class TestIdempotency:
    async def test_jobs(self, client: Client) -> None:
        headers = {"Idempotency-Key": "aZ09._-:+/"}
        replies = [await client.raw("/v1/jobs", PNG, headers=headers, target="webp") for _ in range(2)]
        assert client.accepted(replies[0]) == client.accepted(replies[1])
        await client.ended(replies[0].json["job_id"])
        again = await client.raw("/v1/jobs", PNG, headers=headers, target="webp")
        assert again.json == replies[0].json
        other = await client.raw("/v1/jobs", samples.picture(seed=3), headers=headers, target="webp")
        refused(other, 422, "bad_request")
        refused(await client.raw("/v1/jobs", PNG, headers=headers, target="png"), 422, "bad_request")

    async def test_at_once(self, start: Start, session: ClientSession) -> None:
        client = Client(Api(session, start().url))
        headers = {"Idempotency-Key": "k"}
        replies = [
            await client.form("/v1/convert", PNG, "a.png", headers=headers, target="webp") for _ in "ab"
        ]
        assert replies[0].body == replies[1].body
        assert (await client.api.get("/v1/jobs")).json["total"] == 1

    async def test_only_a_success_is_answered_again(self, client: Client) -> None:
        headers = {"Idempotency-Key": "fails"}
        runs = []
        for _ in range(2):
            reply = await client.raw("/v1/convert", BROKEN, headers=headers, target="jpg", filename="a.png")
            refused(reply, 422, "file_invalid")
            job = (await client.api.get("/v1/jobs?limit=1")).json["jobs"][0]
            runs.append(await client.api.job(job["job_id"]))
        assert runs[0]["id"] == runs[1]["id"]
        assert runs[0]["finished_at"] <= runs[1]["started_at"]

    async def test_in_flight(self, client: Client) -> None:
        headers = {"Idempotency-Key": "in-flight"}
        held = HeldBody(PNG)
        first = asyncio.create_task(client.raw("/v1/jobs", held.stream(), headers=headers, target="webp"))
        await held.begun.wait()
        until = time.monotonic() + 30
        while (second := await client.raw("/v1/jobs", PNG, headers=headers, target="webp")).status != 409:
            assert time.monotonic() < until
        refused(second, 409, "bad_request")
        assert int(second.headers["Retry-After"]) >= 1
        held.go.set()
        await first

    @pytest.mark.parametrize("key", ["", "a b", "é", "k" * 129, "a,b", "x\tx"])
    async def test_keys_that_are_not_taken(self, client: Client, key: str) -> None:
        for path in ("/v1/jobs", "/v1/convert"):
            reply = await client.raw(path, PNG, headers={"Idempotency-Key": key}, target="webp")
            assert refused(reply, 400, "bad_request") == {"field": "Idempotency-Key"}


async def test_usage(start: Start, session: ClientSession, tmp_path: Path) -> None:
    key, other = (create_key(tmp_path / "data", name) for name in ("one", "other"))
    server = start(data_dir=tmp_path / "data")
    client = with_key(session, server, key)
    job = await client.ended(await client.submit())
    await client.ended(await client.submit(BROKEN, filename="a.png"))
    await client.api.submit(PNG, to="webp", wait=30)
    usage = (await client.api.get("/v1/usage")).json
    check(usage, USAGE)
    assert (usage["used"], usage["jobs"]) == (1, 2)
    assert (usage["input_bytes"], usage["output_bytes"]) == (len(PNG), job["result"]["size"])
    stranger = with_key(session, server, other)
    assert (await stranger.api.get("/v1/usage")).json["jobs"] == 0
    refused(await stranger.api.get(f"/v1/jobs/{job['job_id']}"), 404, "not_found")
    assert (await stranger.api.get("/v1/jobs")).json["total"] == 0


class TestRates:
    async def test_headers_and_refusal(self, start: Start, session: ClientSession) -> None:
        client = Client(Api(session, start(LIMITS_RATE="2").url))
        left = 60 - time.time() % 60
        if left < 15:  # the window must not change while the test looks at it
            return await self.refused_within(client, attempts=6)
        for remaining in ("1", "0"):
            reply = await client.raw("/v1/convert", PNG, target="webp")
            assert reply.status == 200
            self.standing(reply, remaining)
        for path in ("/v1/jobs", "/v1/usage", f"/v1/jobs/{uuid.uuid4()}"):
            self.standing(await client.api.get(path), "0")
        return await self.refused_within(client, attempts=1)

    def standing(self, reply: Reply, remaining: str) -> None:
        limit, left, reset = (
            reply.headers[f"X-RateLimit-{name}"] for name in ("Limit", "Remaining", "Reset")
        )
        assert (limit, left) == ("2", remaining)
        assert abs(int(reset) - time.time()) <= 60  # it may just have passed

    async def refused_within(self, client: Client, *, attempts: int) -> None:
        for _ in range(attempts):
            reply = await client.raw("/v1/jobs", PNG, target="webp")
            if reply.status == 429:
                break
        details = refused(reply, 429, "rate_limited")
        assert details == {"retry_after": int(reply.headers["Retry-After"])}
        assert 1 <= details["retry_after"] <= 60
        self.standing(reply, "0")

    async def test_without_a_limit(self, start: Start, session: ClientSession) -> None:
        client = Client(Api(session, start(LIMITS_RATE="0").url))
        reply = await client.api.get("/v1/usage")
        assert not [name for name in reply.headers if name.lower().startswith("x-ratelimit")]


class TestErrors:
    @pytest.mark.parametrize("path", ["/v1/jobs", "/v1/convert"])
    async def test_fields(self, client: Client, path: str) -> None:
        cases: list[tuple[dict[str, Any], int, str, str]] = [
            ({}, 400, "bad_request", "target"),
            ({"target": " "}, 400, "bad_request", "target"),
            ({"target": "nonsense"}, 422, "unsupported_route", "target"),
            ({"target": "jpg", "source": "nonsense"}, 422, "unsupported_route", "source"),
            ({"target": "jpg", "quality": "0"}, 400, "bad_request", "quality"),
            ({"target": "jpg", "quality": "101"}, 400, "bad_request", "quality"),
            ({"target": "jpg", "quality": "high"}, 400, "bad_request", "quality"),
            ({"target": "jpg", "webhook_metadata": "{"}, 400, "bad_request", "webhook_metadata"),
            ({"target": "jpg", "webhook_metadata": "[1]"}, 400, "bad_request", "webhook_metadata"),
            ({"target": "jpg", "webhook_metadata": "9" * 9000}, 400, "bad_request", "webhook_metadata"),
        ]
        for query, status, code, field in cases:
            form = await client.form(path, PNG, "a.png", **query)
            assert refused(form, status, code) == {"field": field}, query
            if len(query.get("webhook_metadata", "")) < 8000:  # or the request line is too long
                assert refused(await client.raw(path, PNG, **query), status, code) == {"field": field}, query

    async def test_no_route(self, client: Client) -> None:
        refused(await client.raw("/v1/jobs", PNG, target="mp3"), 422, "unsupported_route")
        refused(await client.raw("/v1/jobs", b"\0\1\2" * 50, target="mp3"), 422, "unsupported_route")

    async def test_no_file(self, client: Client) -> None:
        for body in (None, FormData({"target": "webp"}, default_to_multipart=True)):
            reply = await client.api.request("POST", "/v1/jobs?target=webp", data=body)
            assert refused(reply, 400, "bad_request") == {"field": "file"}
        refused(await client.form("/v1/jobs", b"", "a.png", target="webp"), 422, "file_invalid")
        form = FormData()
        for name in ("a.png", "b.png"):
            form.add_field("file", PNG, filename=name)
        reply = await client.api.request("POST", "/v1/jobs?target=webp", data=form)
        assert refused(reply, 400, "bad_request") == {"field": "file"}
        form = FormData()
        form.add_field("image", PNG, filename="a.png")
        reply = await client.api.request("POST", "/v1/jobs?target=webp", data=form)
        assert refused(reply, 400, "bad_request") == {"field": "image"}

    async def test_too_large(self, start: Start, session: ClientSession) -> None:
        client = Client(Api(session, start(LIMITS_UPLOAD="1000").url))
        refused(await client.raw("/v1/jobs", PNG, target="webp"), 413, "file_too_large")
        refused(await client.form("/v1/convert", PNG, "a.png", target="webp"), 413, "file_too_large")

    async def test_keys(self, start: Start, session: ClientSession, tmp_path: Path) -> None:
        key = create_key(tmp_path / "data", "one")
        server = start(data_dir=tmp_path / "data")
        for headers in ({}, {"Authorization": "Bearer ctf_sk_nonsense"}):
            client = Client(Api(session, server.url, headers))
            for reply in (
                await client.raw("/v1/jobs", PNG, target="webp"),
                await client.raw("/v1/convert", PNG, target="webp"),
                await client.api.get("/v1/jobs"),
                await client.api.get("/v1/usage"),
            ):
                refused(reply, 401, "invalid_api_key")
        for headers in ({"Authorization": f"Bearer {key}"}, {"X-API-Key": key}):
            assert (
                await Client(Api(session, server.url, headers)).raw("/v1/convert", PNG, target="jpg")
            ).status == 200

    async def test_unknown(self, client: Client) -> None:
        for path in (f"/v1/jobs/{uuid.uuid4()}", "/v1/jobs/job_abc123", "/v1/jobs/a/b/c", "/v1/webhooks"):
            refused(await client.api.get(path), 404, "not_found")

    async def test_of_the_framework(self, client: Client) -> None:
        reply = await client.api.request("DELETE", "/v1/jobs")
        refused(reply, 405, "bad_request")
        assert reply.headers["Allow"] == "GET,HEAD,POST"
        refused(await client.api.get("/v1/convert"), 405, "bad_request")
        refused(await client.raw("/v1/jobs", PNG, headers={"Expect": "x"}, target="webp"), 417, "bad_request")

    @pytest.mark.parametrize(
        ("method", "path", "told"),
        [
            ("POST", "/v1/keys/free", "convertd keys create"),
            ("POST", "/v1/keys/rotate", "convertd keys create"),
            ("POST", "/v1/billing/checkout", "not billed"),
            ("GET", "/v1/plans", "/v1/usage"),
            ("POST", "/mcp", "/v1/convert"),
        ],
    )
    async def test_what_has_no_place_here(self, client: Client, method: str, path: str, told: str) -> None:
        reply = await client.api.request(method, path)
        refused(reply, 404, "not_found")
        assert told in reply.json["error"]["message"]

    async def test_while_the_server_stops(self, start: Start, session: ClientSession) -> None:
        server = start()
        client = Client(Api(session, server.url))
        lingering = await client.api.linger(3600)
        await client.api.progressing(lingering["id"])
        await stopping(server)
        for path in ("/v1/jobs", "/v1/convert"):
            reply = await client.raw(path, PNG, target="webp")
            refused(reply, 502, "service_unavailable")
            assert int(reply.headers["Retry-After"]) >= 1
        assert (await client.api.get("/v1/jobs")).status == 200
