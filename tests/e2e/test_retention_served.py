"""What is past its time is gone: links, files, rows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import ClientSession

from tests.e2e.conftest import Start
from tests.support import samples
from tests.support.api import Api, Reply
from tests.support.data_dir import blobs, check_files_and_rows, rows
from tests.support.server import PATIENCE

PNG = samples.picture()


async def polled(api: Api, path: str, until: Callable[[Reply], bool]) -> Reply:
    """The first answer for which ``until`` holds; each takes a round trip."""
    async with asyncio.timeout(PATIENCE):
        while not until(reply := await api.get(path)):
            pass
    return reply


async def test_files_go_first_and_rows_later(start: Start, session: ClientSession) -> None:
    server = start(
        RETENTION_INPUTS="1s",
        RETENTION_OUTPUTS="1s",
        RETENTION_LINKS="1s",
        RETENTION_ROWS="3s",
        RETENTION_SWEEP="200ms",
    )
    api = Api(session, server.url)
    job = (await api.submit(PNG, to="webp", filename="a.png", key="k", wait=30)).job(200)
    link = job["outputs"][0]["url"]
    assert len(blobs(server.data_dir)) == 2
    (await polled(api, link, lambda reply: reply.status != 200)).problem(410, "expired")
    gone = await polled(api, f"/jobs/{job['id']}", lambda reply: reply.json["outputs"][0]["url"] is None)
    assert gone.json["outputs"][0]["sha256"] == job["outputs"][0]["sha256"]
    (await api.request("POST", f"/jobs/{job['id']}/retry")).any_problem()
    async with asyncio.timeout(PATIENCE):
        while blobs(server.data_dir):  # marked in the row first, then deleted
            await api.get("/healthz")
    (await polled(api, f"/jobs/{job['id']}", lambda reply: reply.status != 200)).problem(404, "not_found")
    assert blobs(server.data_dir) == {}
    for table in ("jobs", "tasks", "artifacts"):
        assert rows(server.data_dir, f"SELECT count(*) FROM {table}") == [(0,)]
    (await api.get(link)).problem(410, "expired")


async def test_a_link_ends_before_its_file_and_a_poll_mints_another(
    start: Start, session: ClientSession
) -> None:
    server = start(LINKS_SECRETS="a-first-secret-for-links,the-newest-secret-for-links")
    api = Api(session, server.url)
    job = (await api.submit(PNG, to="webp", filename="a.png", wait=30)).job(200)
    link = job["outputs"][0]["url"]
    server.stop()

    server.env["CONVERTD_LINKS_SECRETS"] = "the-newest-secret-for-links,an-even-newer-secret"
    api = Api(session, server.restart().url)
    path = link.partition("/download/")[2]
    assert (await api.get(f"/download/{path}")).status == 200
    server.stop()

    server.env["CONVERTD_LINKS_SECRETS"] = "an-even-newer-secret"
    api = Api(session, server.restart().url)
    (await api.get(f"/download/{path}")).problem(410, "expired")
    fresh = (await api.job(job["id"]))["outputs"][0]["url"]
    assert (await api.get(fresh)).status == 200


async def test_links_outlive_a_restart(start: Start, session: ClientSession) -> None:
    server = start()
    api = Api(session, server.url)
    job = (await api.submit(PNG, to="webp", filename="a.png", wait=30)).job(200)
    token = job["outputs"][0]["url"].partition("/download/")[2]
    server.stop()
    api = Api(session, server.restart().url)
    assert (await api.get(f"/download/{token}")).status == 200


async def test_a_job_that_does_not_end_in_time_fails(start: Start, session: ClientSession) -> None:
    server = start("--workers", "1", JOBS_DEADLINE="2s", JOBS_ATTEMPT_TIMEOUT="2s")
    api = Api(session, server.url)
    running = await api.linger(3600)
    await api.progressing(running["id"])
    queued = (await api.submit(PNG, to="webp", filename="a.png")).job(202)
    for job in (running, queued):
        ended = await api.ended(job["id"])
        assert ended["status"] in ("failed", "succeeded")
        if job is running:
            assert ended["error"]["code"] == "timeout"
    assert server.children() == []


async def test_an_attempt_that_takes_too_long_fails(start: Start, session: ClientSession) -> None:
    server = start(JOBS_ATTEMPT_TIMEOUT="1s")
    api = Api(session, server.url)
    job = await api.linger(3600)
    ended = await api.ended(job["id"])
    assert (ended["status"], ended["error"]["code"]) == ("failed", "timeout")
    assert server.children() == []


async def test_a_full_queue_refuses_more(start: Start, session: ClientSession) -> None:
    server = start("--workers", "1", LIMITS_QUEUE="2")
    api = Api(session, server.url)
    running = await api.linger(3600)
    await api.progressing(running["id"])
    for _ in range(2):
        await api.linger(3600)
    reply = await api.submit(PNG, to="webp", filename="a.png")
    reply.problem(429, "queue_full")
    assert int(reply.headers["Retry-After"]) >= 1
    await api.request("DELETE", f"/jobs/{running['id']}")
    await polled(api, "/jobs?status=running", lambda found: len(found.json["jobs"]) == 1)
    await api.linger(3600)
    check_files_and_rows(server.data_dir)
