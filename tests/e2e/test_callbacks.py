"""Callbacks of the real server to a real receiver."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession
from standardwebhooks.webhooks import Webhook

from convertd.client import verify
from tests.e2e.conftest import Start
from tests.support import samples
from tests.support.api import Api
from tests.support.receiver import Receiver
from tests.support.server import PATIENCE, clean_environment, convertd

PNG = samples.picture()
ALLOWED = {"OUTBOUND_ALLOW": "127.0.0.1", "CALLBACKS_RETRY_DELAY": "50ms"}
"""All waits are a hundredth of the usual ones: 50 ms, 3 s, 18 s, …"""


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    async with receiver.up():
        yield receiver


async def submitted(api: Api, url: str, **more: Any) -> dict[str, Any]:
    fields = {"to": "webp", "filename": "a.png", "callback_url": url} | more
    return (await api.submit(PNG, **fields)).job(202)


async def deliveries(api: Api, job: dict[str, Any]) -> list[dict[str, Any]]:
    reply = await api.get(f"/jobs/{job['id']}/deliveries")
    assert reply.status == 200
    found: list[dict[str, Any]] = reply.json["deliveries"]
    return found


async def delivery_in(api: Api, job: dict[str, Any], status: str) -> dict[str, Any]:
    """The job's one delivery once it is recorded in this state; an answer comes before its record."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = await deliveries(api, job)
        if found and found[0]["status"] == status:
            (delivery,) = found
            return delivery
    raise AssertionError(found)


async def test_a_job_is_told_signed_and_with_links_that_work(
    start: Start, session: ClientSession, receiver: Receiver
) -> None:
    api = Api(session, start(**ALLOWED).url)
    job = await submitted(api, receiver.url, metadata='{"order": 4711}')
    secret = job["callback_secret"]
    (received,) = await receiver.wait_for(1)
    Webhook(secret).verify(received.body, dict(received.headers))
    event = verify(received.body, received.headers, secret)
    told = event["data"]["job"]
    assert (event["type"], told["id"], told["metadata"]) == ("job.succeeded", job["id"], {"order": 4711})
    assert (await api.download(told["outputs"][0]))[:4] == b"RIFF"
    assert received.headers["User-Agent"].startswith("convertd/")

    shown = await delivery_in(api, job, "delivered")
    assert (shown["id"], shown["event"], shown["url"]) == (received.id, "job.succeeded", receiver.url)
    (attempt,) = shown["attempts"]
    assert (attempt["status"], attempt["error"], attempt["body"]) == (200, None, "answer 200")
    assert secret not in str(await api.job(job["id"]))
    assert secret not in str(shown)


async def test_a_secret_of_ones_own_is_used_and_not_told(
    start: Start, session: ClientSession, receiver: Receiver
) -> None:
    api = Api(session, start(**ALLOWED).url)
    job = await submitted(api, receiver.url, callback_secret="my own secret")
    assert "callback_secret" not in job
    (received,) = await receiver.wait_for(1)
    assert verify(received.body, received.headers, "my own secret")


async def test_a_repeated_request_is_told_the_same_secret(
    start: Start, session: ClientSession, receiver: Receiver
) -> None:
    """The first answer may have been lost."""
    api = Api(session, start(**ALLOWED).url)
    first, second = [await submitted(api, receiver.url, key="once") for _ in range(2)]
    assert first["id"] == second["id"]
    assert first["callback_secret"] == second["callback_secret"]
    await api.ended(first["id"])
    assert "callback_secret" not in await api.job(first["id"])
    assert len(await receiver.wait_for(1)) == 1


async def test_two_failures_and_a_success_are_three_attempts_under_one_id(
    start: Start, session: ClientSession, receiver: Receiver
) -> None:
    receiver.statuses = (500, 500, 200)
    api = Api(session, start(**ALLOWED).url)
    job = await submitted(api, receiver.url)
    received = await receiver.wait_for(3)
    shown = await delivery_in(api, job, "delivered")
    assert {one.id for one in received} == {shown["id"]}
    assert [attempt["status"] for attempt in shown["attempts"]] == [500, 500, 200]
    assert [bool(attempt["error"]) for attempt in shown["attempts"]] == [True, True, False]
    for one in received:
        assert verify(one.body, one.headers, job["callback_secret"])["data"]["job"]["id"] == job["id"]


async def test_an_answer_that_takes_too_long_is_none(
    start: Start, session: ClientSession, receiver: Receiver
) -> None:
    held = asyncio.Event()

    async def hold() -> None:
        if len(receiver.received) == 1:
            await held.wait()

    receiver.before = hold
    api = Api(session, start(**ALLOWED, CALLBACKS_TIMEOUT="1s").url)
    job = await submitted(api, receiver.url)
    shown = await delivery_in(api, job, "delivered")
    held.set()
    first, second = shown["attempts"]
    assert (first["status"], second["status"]) == (None, 200)
    assert "in time" in first["error"]
    assert 1 <= first["seconds"] < 10


async def test_failed_and_cancelled_jobs_are_told_too(
    start: Start, session: ClientSession, receiver: Receiver
) -> None:
    api = Api(session, start(**ALLOWED).url)
    failed = (await api.submit(PNG[:4000], to="webp", filename="a.png", callback_url=receiver.url)).job(202)
    cancelled = await api.linger(3600, callback_url=receiver.url)
    await api.request("DELETE", f"/jobs/{cancelled['id']}")
    received = await receiver.wait_for(2)
    told = {one.event["data"]["job"]["id"]: one.event for one in received}
    assert told[failed["id"]]["type"] == "job.failed"
    assert told[failed["id"]]["data"]["job"]["error"]["code"] == "file_invalid"
    assert told[cancelled["id"]]["type"] == "job.cancelled"


async def test_gone_is_dead_until_somebody_sends_it_again(
    start: Start, session: ClientSession, receiver: Receiver
) -> None:
    receiver.statuses = (410, 200)
    api = Api(session, start(**ALLOWED).url)
    job = await submitted(api, receiver.url)
    dead = await delivery_in(api, job, "dead")
    assert (dead["next_at"], len(dead["attempts"])) == (None, 1)
    again = await api.request("POST", f"/deliveries/{dead['id']}/redeliver")
    assert (again.status, again.json["id"], again.json["status"]) == (202, dead["id"], "pending")
    first, second = await receiver.wait_for(2)
    assert first.id == second.id
    shown = await delivery_in(api, job, "delivered")
    assert [attempt["status"] for attempt in shown["attempts"]] == [410, 200]


async def test_a_redirect_is_not_followed(start: Start, session: ClientSession, receiver: Receiver) -> None:
    receiver.statuses, receiver.headers = (307, 200), {"Location": receiver.url}
    api = Api(session, start(OUTBOUND_ALLOW="127.0.0.1", CALLBACKS_RETRY_DELAY="1h").url)
    job = await submitted(api, receiver.url)
    await receiver.wait_for(1)
    shown = await delivery_in(api, job, "pending")
    while not shown["attempts"]:
        shown = await delivery_in(api, job, "pending")
    assert "redirects are not followed" in shown["attempts"][0]["error"]
    assert len(receiver.received) == 1


async def test_what_was_owed_when_the_server_was_killed_is_sent_after_it_starts_again(
    start: Start, session: ClientSession
) -> None:
    receiver, server = Receiver(), start(**ALLOWED)
    async with receiver.up():
        pass  # now it has an address, at which nobody listens
    api = Api(session, server.url)
    job = await submitted(api, receiver.url)
    await api.ended(job["id"])
    server.kill9()
    async with receiver.up():
        api = Api(session, server.restart().url)
        (received, *_) = await receiver.wait_for(1)
        assert received.event["data"]["job"]["id"] == job["id"]
        await delivery_in(api, job, "delivered")


async def test_a_server_killed_between_the_answer_and_its_record_sends_it_again(
    start: Start, session: ClientSession, receiver: Receiver
) -> None:
    server = start(**ALLOWED)
    loop = asyncio.get_running_loop()

    async def kill() -> None:
        if len(receiver.received) == 1:
            await loop.run_in_executor(None, server.kill9)

    receiver.before = kill
    api = Api(session, server.url)
    job = await submitted(api, receiver.url)
    await receiver.wait_for(1)
    await loop.run_in_executor(None, server.wait)
    api = Api(session, server.restart().url)
    first, second = (await receiver.wait_for(2))[:2]
    assert first.id == second.id
    assert (await delivery_in(api, job, "delivered"))["id"] == first.id
    assert len(receiver.received) == 2


async def test_every_job_is_told_although_the_server_dies_again_and_again(
    start: Start, session: ClientSession, receiver: Receiver
) -> None:
    """The receiver's ledger against the jobs that were accepted."""
    server = start(**ALLOWED, JOBS_ATTEMPTS="100")
    accepted = set()
    for number in range(4):
        api = Api(session, server.url)
        for _ in range(5):
            accepted.add((await submitted(api, receiver.url))["id"])
        await receiver.wait_for(3 * number + 1)
        server.kill9()
        server.restart()
    api = Api(session, server.url)
    ended = {job_id: (await api.ended(job_id))["status"] for job_id in accepted}
    assert set(ended.values()) == {"succeeded"}
    for job_id in accepted:
        await delivery_in(api, {"id": job_id}, "delivered")
    ids = {one.event["data"]["job"]["id"]: one.id for one in receiver.received}
    assert set(ids) == accepted
    assert len({one.id for one in receiver.received}) == len(accepted)


async def test_an_address_inside_is_refused_at_once(start: Start, session: ClientSession) -> None:
    api = Api(session, start().url)
    for url, code, status in (
        ("http://127.0.0.1:9000/", "fetch_refused", 422),
        ("http://169.254.169.254/latest", "fetch_refused", 422),
        ("ftp://example.com/", "invalid_request", 400),
    ):
        reply = await api.submit(PNG, to="webp", filename="a.png", callback_url=url)
        assert reply.problem(status, code)["field"] == "callback_url"
    assert (await api.get("/jobs")).json["jobs"] == []


async def test_a_secret_in_the_query_stays_out_of_the_log(start: Start, session: ClientSession) -> None:
    server = start()
    fields: dict[str, Any] = {"callback_url": "http://10.0.0.1/", "callback_secret": "whsec_keptquiet"}
    reply = await Api(session, server.url).submit(PNG, to="webp", filename="a.png", **fields)
    reply.problem(422, "fetch_refused")
    assert "POST /jobs: 10.0.0.1 is not on the public internet" in server.log
    assert "keptquiet" not in server.log


async def test_a_secret_needs_an_address_which_a_direct_conversion_may_have_too(
    start: Start, session: ClientSession, receiver: Receiver
) -> None:
    api = Api(session, start(**ALLOWED).url)
    given: dict[str, Any] = {"to": "webp", "filename": "a.png"}
    reply = await api.submit(PNG, callback_secret="x", **given)
    assert reply.problem(400, "invalid_request")["field"] == "callback_secret"
    for unfit in ("x" * 257, "tab\tinside"):
        reply = await api.submit(PNG, callback_url=receiver.url, callback_secret=unfit, **given)
        assert reply.problem(400, "invalid_request")["field"] == "callback_secret"
    assert (await api.submit(PNG, path="/convert", callback_url=receiver.url, **given)).status == 200
    (received,) = await receiver.wait_for(1)
    secret = (await api.get("/callbacks/secret")).json["secret"]
    assert verify(received.body, received.headers, secret)


async def test_a_direct_conversion_that_becomes_a_job_tells_the_secret(
    start: Start, session: ClientSession, receiver: Receiver
) -> None:
    api = Api(session, start(**ALLOWED).url)
    linger = {"to": "txt", "operation": "linger", "seconds": 0.1, "callback_url": receiver.url}
    job = (await api.submit(b"slow\n", path="/convert", wait=0, **linger)).job(202)
    (received,) = await receiver.wait_for(1)
    assert verify(received.body, received.headers, job["callback_secret"])


async def test_while_a_secret_is_replaced_both_sign(
    start: Start, session: ClientSession, receiver: Receiver
) -> None:
    api = Api(session, start(**ALLOWED).url)
    first = await submitted(api, receiver.url)
    await receiver.wait_for(1)
    new = (await api.request("POST", "/callbacks/secret")).json["secret"]
    second = await submitted(api, receiver.url)
    assert new == second["callback_secret"] != first["callback_secret"]
    before, after = await receiver.wait_for(2)
    assert verify(before.body, before.headers, first["callback_secret"])
    for secret in (first["callback_secret"], new):
        assert verify(after.body, after.headers, secret)
        assert Webhook(secret).verify(after.body, after.headers)


async def test_deliveries_are_their_accounts_own(
    start: Start, session: ClientSession, receiver: Receiver
) -> None:
    server = start(**ALLOWED)
    api = Api(session, server.url)
    job = await submitted(api, receiver.url)
    shown = await delivery_in(api, job, "delivered")
    made = convertd("keys", "create", "somebody", "--data-dir", str(server.data_dir))
    key = made.stdout.split()[-1]
    stranger = Api(session, server.url, {"Authorization": f"Bearer {key}"})
    (await stranger.get(f"/jobs/{job['id']}/deliveries")).problem(404, "not_found")
    (await stranger.request("POST", f"/deliveries/{shown['id']}/redeliver")).problem(404, "not_found")


async def test_convertd_listen_rehearses_retries(start: Start, session: ClientSession) -> None:
    listening = subprocess.Popen(
        [sys.executable, "-m", "convertd", "listen", "--port", "0", "--answer", "503,200"],
        env=clean_environment({"CONVERTD_LISTEN_SECRET": "rehearsed", "PYTHONUNBUFFERED": "1"}),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert listening.stdout is not None
        url = listening.stdout.readline().rstrip().rpartition("callback_url=")[2]
        place = url.split("/")[2]
        assert f'outbound.allow = ["{place}"]' in listening.stdout.readline()
        api = Api(session, start(OUTBOUND_ALLOW=place, CALLBACKS_RETRY_DELAY="10ms").url)
        job = await submitted(api, url, callback_secret="rehearsed")
        loop = asyncio.get_running_loop()
        for status in (503, 200):
            line = await loop.run_in_executor(None, listening.stdout.readline)
            assert "job.succeeded" in line
            assert f"job: {job['id']}  verified: yes  answered: {status}" in line
        await delivery_in(api, job, "delivered")
    finally:
        listening.kill()
        listening.communicate()
