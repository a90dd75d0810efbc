"""SIGTERM and Ctrl-C: accepted work ends or waits for the next start, and the exit status is 0."""

from __future__ import annotations

import asyncio
import signal

import pytest
from aiohttp import ClientConnectionError, ClientSession

from tests.e2e.conftest import Start
from tests.support import samples
from tests.support.api import Api
from tests.support.data_dir import check_files_and_rows, rows, working_files
from tests.support.server import ServerProcess, all_dead

PNG = samples.picture()


async def stopping(server: ServerProcess) -> None:
    """Until it refuses new work, if only by closing its door."""
    api_refuses = False
    server.send(signal.SIGTERM)
    async with ClientSession() as session:
        while not api_refuses:
            reply = await Api(session, server.url).submit(PNG, to="nonsense", filename="a.png")
            api_refuses = reply.status == 503


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_ends_at_once(start: Start, number: signal.Signals) -> None:
    server = start()
    family = [process.pid for process in server.family()]
    server.stop(number)
    assert all_dead(family, seconds=1)
    assert "Traceback" not in server.log
    assert working_files(server.data_dir) == []


async def test_while_it_stops_new_work_is_refused_and_polls_are_answered(
    start: Start, session: ClientSession
) -> None:
    server = start()
    api = Api(session, server.url)
    job = await api.linger(2)
    await api.progressing(job["id"])
    await stopping(server)
    for path in ("/jobs", "/convert"):
        reply = await api.submit(PNG, path=path, to="webp", filename="a.png")
        reply.problem(503, "unavailable")
        assert int(reply.headers["Retry-After"]) >= 1
        assert reply.headers["Connection"] == "close"
    assert (await api.job(job["id"]))["status"] == "running"
    assert (await api.get("/readyz")).status == 503
    assert (await api.get("/healthz")).status == 200
    assert server.wait() == 0
    assert rows(server.data_dir, "SELECT state, attempt FROM jobs") == [("succeeded", 1)]


async def test_a_long_poll_is_answered_before_the_end(start: Start, session: ClientSession) -> None:
    server = start()
    api = Api(session, server.url)
    job = await api.linger(2)
    await api.progressing(job["id"])
    poll = asyncio.create_task(api.job(job["id"], wait=30))
    server.send(signal.SIGTERM)
    assert (await poll)["status"] == "succeeded"
    assert server.wait() == 0


async def test_who_waits_for_what_outlasts_the_grace_is_answered(
    start: Start, session: ClientSession
) -> None:
    server = start("--workers", "1", JOBS_GRACE="200ms")
    api = Api(session, server.url)
    job = await api.linger(20)
    await api.progressing(job["id"])
    linger = {"to": "txt", "operation": "linger", "seconds": 20}
    waiting = [
        asyncio.create_task(api.submit(b"slow\n", wait=30, **linger)),
        asyncio.create_task(api.submit(b"slow\n", path="/convert", **linger)),
        asyncio.create_task(api.get(f"/jobs/{job['id']}", headers={"Prefer": "wait=30"})),
        asyncio.create_task(api.request("POST", "/v1/convert?target=webp&filename=a.png", data=PNG)),
    ]
    while len((await api.get("/jobs")).json["jobs"]) < 4:
        pass
    server.send(signal.SIGTERM)
    created, converted, polled, hosted = await asyncio.gather(*waiting)
    assert {created.job(202)["status"], converted.job(202)["status"], polled.job(200)["status"]} == {"queued"}
    assert hosted.status == 502
    assert int(hosted.headers["Retry-After"]) > 0
    assert server.wait() == 0
    assert rows(server.data_dir, "SELECT DISTINCT state FROM jobs") == [("queued",)]


async def test_what_outlasts_the_grace_goes_back_to_the_queue(start: Start, session: ClientSession) -> None:
    server = start("--workers", "2", JOBS_GRACE="200ms")
    api = Api(session, server.url)
    running = [await api.linger(2) for _ in range(2)]
    queued = [(await api.submit(PNG, to="webp", filename="a.png")).job(202) for _ in range(5)]
    for job in running:
        await api.progressing(job["id"])
    children = server.children()
    server.stop()
    assert all_dead(children, seconds=1)
    assert rows(server.data_dir, "SELECT DISTINCT state, attempt FROM jobs") == [("queued", 0)]
    assert working_files(server.data_dir) == []
    check_files_and_rows(server.data_dir)

    api = Api(session, server.restart().url)
    for job in running + queued:
        ended = await api.ended(job["id"])
        assert (ended["status"], ended["attempts"]) == ("succeeded", 1)
    server.stop()
    check_files_and_rows(server.data_dir)


async def test_an_upload_under_way_does_not_hold_it_up(start: Start, session: ClientSession) -> None:
    server = start()
    begun = asyncio.Event()

    async def endless() -> None:
        yield PNG[:100]
        begun.set()
        await asyncio.Event().wait()

    upload = asyncio.create_task(Api(session, server.url).submit(endless(), to="webp", filename="a.png"))
    await begun.wait()
    server.stop()
    await asyncio.wait([upload])
    assert working_files(server.data_dir) == []
    check_files_and_rows(server.data_dir)


async def test_under_load(start: Start, session: ClientSession) -> None:
    server = start(JOBS_GRACE="1s")
    api = Api(session, server.url)
    accepted: list[str] = []
    refusals: list[int] = []

    async def submit_until_refused(number: int) -> None:
        while True:
            try:
                reply = await api.submit(samples.picture(seed=number), to="webp", filename="a.png")
            except ClientConnectionError:  # cut off, or found nobody: no promise was made
                return
            if reply.status != 202:
                refusals.append(reply.status)
                return
            accepted.append(reply.json["id"])

    clients = [asyncio.create_task(submit_until_refused(number)) for number in range(4)]
    while len(accepted) < 20:
        await asyncio.wait(clients, timeout=0.001)
    await asyncio.to_thread(server.stop)
    await asyncio.gather(*clients)
    assert set(refusals) <= {503}
    check_files_and_rows(server.data_dir)
    assert {row[0] for row in rows(server.data_dir, "SELECT id FROM jobs")} >= set(accepted)

    api = Api(session, server.restart().url)
    for job_id in accepted:
        assert (await api.ended(job_id))["status"] == "succeeded"


async def test_a_second_signal_ends_it_at_once(start: Start, session: ClientSession) -> None:
    server = start()
    api = Api(session, server.url)
    job = await api.linger(3600)
    await api.progressing(job["id"])
    children = server.children()
    await stopping(server)
    server.send(signal.SIGTERM)
    assert server.wait() != 0
    assert all_dead(children, seconds=2)
    api = Api(session, server.restart().url)
    assert (await api.request("DELETE", f"/jobs/{job['id']}")).job(200)["status"] == "cancelled"
