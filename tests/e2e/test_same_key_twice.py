"""Idempotency-Key over real connections: a repeated request is harmless whatever happens to it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator

from aiohttp import ClientSession, FormData

from tests.e2e.conftest import Start
from tests.support import samples
from tests.support.api import Api

PNG = samples.picture()


def new_key() -> str:
    return f"order-{secrets.token_hex(8)}"


async def count_of_jobs(api: Api) -> int:
    """All jobs of the account."""
    count, cursor = 0, ""
    while cursor is not None:
        page = (await api.get(f"/jobs?limit=100&cursor={cursor}")).json
        count += len(page["jobs"])
        cursor = page["next_cursor"]
    return count


class HeldBody:
    """A request body whose rest is sent when the test says so."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.begun = asyncio.Event()
        self.go = asyncio.Event()

    async def stream(self) -> AsyncIterator[bytes]:
        yield self._data[:100]
        self.begun.set()
        await self.go.wait()
        yield self._data[100:]


async def test_the_same_request_is_one_job(api: Api) -> None:
    key = new_key()
    first = await api.submit(PNG, key=key, to="webp", filename="a.png")
    second = await api.submit(PNG, key=key, to="webp", filename="a.png")
    assert first.job(202)["id"] == second.job(202)["id"]
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"


async def test_a_replay_may_wait_for_the_end(api: Api) -> None:
    key = new_key()
    first = await api.submit(PNG, key=key, to="webp", filename="a.png")
    second = await api.submit(PNG, key=key, wait=30, to="webp", filename="a.png")
    assert second.job(200)["id"] == first.json["id"]
    assert second.json["status"] == "succeeded"


async def test_a_form_is_the_same_whatever_its_boundary(api: Api) -> None:
    ids = set()
    key = new_key()
    for _ in range(2):  # aiohttp draws a new boundary for each form
        form = FormData()
        form.add_field("to", "webp")
        form.add_field("file", PNG, filename="a.png")
        ids.add((await api.submit(form, key=key)).job(202)["id"])
    assert len(ids) == 1


async def test_another_body_is_refused(api: Api) -> None:
    key = new_key()
    (await api.submit(PNG, key=key, to="webp", filename="a.png")).job(202)
    other = samples.picture(seed=9)
    reply = await api.submit(other, key=key, to="webp", filename="a.png")
    reply.problem(422, "idempotency_key_reused")


async def test_another_parameter_is_refused(api: Api) -> None:
    key = new_key()
    (await api.submit(PNG, key=key, to="webp", filename="a.png")).job(202)
    for query in ({"to": "gif"}, {"to": "webp", "quality": "50"}, {"to": "webp", "filename": "b.png"}):
        reply = await api.submit(PNG, key=key, **{"filename": "a.png"} | query)
        reply.problem(422, "idempotency_key_reused")
    reply = await api.submit(PNG, key=key, path="/convert", to="webp", filename="a.png")
    reply.problem(422, "idempotency_key_reused")


async def test_a_twin_in_flight_is_told_to_come_back(api: Api) -> None:
    key, body = new_key(), HeldBody(PNG)
    first = asyncio.create_task(api.submit(body.stream(), key=key, to="webp", filename="a.png"))
    await body.begun.wait()
    twin = await api.submit(PNG, key=key, to="webp", filename="a.png")
    twin.problem(409, "idempotency_in_flight")
    assert int(twin.headers["Retry-After"]) >= 1
    body.go.set()
    job = (await first).job(202)
    again = await api.submit(PNG, key=key, to="webp", filename="a.png")
    assert again.job(202)["id"] == job["id"]


async def test_a_refused_request_does_not_burn_its_key(api: Api) -> None:
    key = new_key()
    (await api.submit(PNG, key=key, to="webp", quality="500")).problem(400, "invalid_request")
    (await api.submit(b"", key=key, to="webp", filename="a.png")).problem(422, "file_invalid")
    reply = await api.submit(PNG, key=key, to="webp", filename="a.png")
    assert reply.status == 202
    assert "Idempotent-Replayed" not in reply.headers


async def test_a_client_that_hangs_up_does_not_burn_its_key(api: Api) -> None:
    key, body = new_key(), HeldBody(PNG)
    first = asyncio.create_task(api.submit(body.stream(), key=key, to="webp", filename="a.png"))
    await body.begun.wait()
    first.cancel()
    await asyncio.wait([first])
    status = 409
    while status == 409:  # until the server has seen it
        status = (await api.submit(PNG, key=key, to="webp", filename="a.png")).status
    assert status == 202


async def test_a_hundred_at_once_are_one_job(start: Start, session: ClientSession) -> None:
    api = Api(session, start().url)
    key = new_key()
    replies = await asyncio.gather(
        *(api.submit(PNG, key=key, to="webp", filename="a.png") for _ in range(100))
    )
    assert {reply.status for reply in replies} <= {202, 409}
    made = {reply.json["id"] for reply in replies if reply.status == 202}
    assert len(made) == 1
    for reply in replies:
        if reply.status == 409:
            reply.problem(409, "idempotency_in_flight")
    assert await count_of_jobs(api) == 1


async def test_a_key_is_remembered_over_a_restart(start: Start, session: ClientSession) -> None:
    server = start()
    key = new_key()
    job = (await Api(session, server.url).submit(PNG, key=key, to="webp", filename="a.png")).job(202)
    server.kill9()
    api = Api(session, server.restart().url)
    reply = await api.submit(PNG, key=key, to="webp", filename="a.png")
    assert (reply.job(202)["id"], reply.headers["Idempotent-Replayed"]) == (job["id"], "true")


async def test_a_key_in_flight_at_a_crash_is_free_after_it(start: Start, session: ClientSession) -> None:
    server = start()
    key, body = new_key(), HeldBody(PNG)
    api = Api(session, server.url)
    first = asyncio.create_task(api.submit(body.stream(), key=key, to="webp", filename="a.png"))
    await body.begun.wait()
    (await api.submit(PNG, key=key, to="webp", filename="a.png")).problem(409, "idempotency_in_flight")
    server.kill9()
    await asyncio.wait([first])
    api = Api(session, server.restart().url)
    reply = await api.submit(PNG, key=key, to="webp", filename="a.png")
    assert reply.status == 202
    assert "Idempotent-Replayed" not in reply.headers


async def test_keys_that_cannot_be(api: Api) -> None:
    for key in ("k" * 256, ""):
        (await api.submit(PNG, key=key, to="webp")).problem(400, "invalid_request")
