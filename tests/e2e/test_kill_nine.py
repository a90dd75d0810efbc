"""kill -9, of the server and of its children: nothing accepted is lost, nothing is done twice."""

from __future__ import annotations

import asyncio
import os
import signal
import zlib
from pathlib import Path

import pytest
from aiohttp import ClientError, ClientSession

from tests.e2e.conftest import Start
from tests.support import samples
from tests.support.api import Api
from tests.support.data_dir import blobs, check_files_and_rows, rows, working_files
from tests.support.server import all_dead

PNG = samples.picture()


async def test_twenty_queued_and_two_running_jobs_all_end_once(start: Start, session: ClientSession) -> None:
    server = start("--workers", "2")
    api = Api(session, server.url)
    running = [await api.linger(4) for _ in range(2)]
    queued = [
        (await api.submit(samples.picture(seed=number), to="webp", filename="a.png")).job(202)
        for number in range(20)
    ]
    for job in running:
        assert (await api.progressing(job["id"]))["status"] == "running"
    assert all([(await api.job(job["id"]))["status"] == "queued" for job in queued])
    assert len(server.children()) == 2

    server.kill9()  # and see that no process is left
    api = Api(session, server.restart().url)
    for job in running:
        ended = await api.ended(job["id"])
        assert (ended["status"], ended["attempts"], len(ended["outputs"])) == ("succeeded", 2, 1)
    for job in queued:
        ended = await api.ended(job["id"])
        assert (ended["status"], ended["attempts"], len(ended["outputs"])) == ("succeeded", 1, 1)
        await api.download(ended["outputs"][0])

    server.stop()
    assert rows(server.data_dir, "SELECT count(*) FROM jobs") == [(22,)]
    assert len(blobs(server.data_dir)) == 44
    assert working_files(server.data_dir) == []
    check_files_and_rows(server.data_dir)


async def test_a_202_survives_the_kill_that_follows_it(start: Start, session: ClientSession) -> None:
    server = start(JOBS_ATTEMPTS="100")
    accepted = []
    for number in range(20):
        api = Api(session, server.url)
        reply = await api.submit(samples.picture(seed=number), to="webp", filename=f"{number}.png")
        accepted.append(reply.job(202)["id"])
        server.kill9()
        server.restart()
    api = Api(session, server.url)
    for number, job_id in enumerate(accepted):
        ended = await api.ended(job_id)
        assert ended["status"] == "succeeded", ended
        assert ended["inputs"][0]["name"] == f"{number}.png"
        assert len(ended["outputs"]) == 1
    server.stop()
    check_files_and_rows(server.data_dir)


async def test_kills_in_the_middle_of_everything(start: Start, session: ClientSession) -> None:
    """Clients submit without pause while the server dies at moments that nobody chose."""
    server = start("--workers", "2", JOBS_ATTEMPTS="100")
    accepted: set[str] = set()

    async def submit_until_it_dies(number: int) -> None:
        api = Api(session, server.url)
        form = samples.picture(seed=number)
        try:
            while True:
                reply = await api.submit(form, to="webp,gif", filename="a.png")
                accepted.add(reply.job(202)["id"])
        except (ClientError, ConnectionError):
            return

    for round_number in range(5):
        clients = [asyncio.create_task(submit_until_it_dies(number)) for number in range(4)]
        target = len(accepted) + 3 + 2 * round_number
        while len(accepted) < target:
            await asyncio.wait(clients, timeout=0.001)
        server.process.kill()
        await asyncio.gather(*clients)
        server.wait()
        server.restart()
    api = Api(session, server.url)
    for job_id in accepted:
        ended = await api.ended(job_id)
        assert ended["status"] == "succeeded", ended
        assert len(ended["outputs"]) == 2
        assert len({output["task"] for output in ended["outputs"]}) == 2
    # Those whose answer the kill swallowed are there too, and end.
    while (page := (await api.get("/jobs?status=queued")).json)["jobs"]:
        await api.ended(page["jobs"][0]["id"])
    while (page := (await api.get("/jobs?status=running")).json)["jobs"]:
        await api.ended(page["jobs"][0]["id"])
    server.stop()
    check_files_and_rows(server.data_dir)


async def test_a_killed_child_is_tried_again(start: Start, session: ClientSession) -> None:
    server = start()
    api = Api(session, server.url)
    job = await api.linger(1)
    await api.progressing(job["id"])
    (child,) = server.children()
    os.kill(child, signal.SIGKILL)
    ended = await api.ended(job["id"])
    assert (ended["status"], ended["attempts"], ended["error"]) == ("succeeded", 2, None)


async def test_a_file_that_always_kills_its_child_fails_and_hurts_nobody(
    start: Start, session: ClientSession
) -> None:
    server = start()
    api = Api(session, server.url)
    job = (await api.submit(b"x\n", to="txt", operation="abort", filename="a.txt")).job(202)
    other = (await api.submit(PNG, to="webp", filename="a.png", wait=30)).job(200)
    assert other["status"] == "succeeded"
    ended = await api.ended(job["id"])
    assert (ended["status"], ended["error"]["code"], ended["attempts"]) == ("failed", "worker_crash", 3)


async def test_a_killed_zygote_is_replaced(start: Start, session: ClientSession) -> None:
    server = start()
    api = Api(session, server.url)
    job = await api.linger(1)
    await api.progressing(job["id"])
    family = [process.pid for process in server.family()]
    zygote = next(process.pid for process in server.family() if process.parent == server.pid)
    os.kill(zygote, signal.SIGKILL)
    assert all_dead(family, seconds=10)
    assert (await api.ended(job["id"]))["status"] == "succeeded"
    reply = await api.submit(PNG, to="webp", filename="a.png", wait=30)
    assert reply.job(200)["status"] == "succeeded"


async def test_a_server_that_always_dies_gives_a_job_up(start: Start, session: ClientSession) -> None:
    server = start(JOBS_ATTEMPTS="2")
    api = Api(session, server.url)
    job = await api.linger(3600)
    for _ in range(2):
        assert (await api.progressing(job["id"]))["status"] == "running"
        server.kill9()
        api = Api(session, server.restart().url)
    ended = await api.ended(job["id"])
    assert (ended["status"], ended["error"]["code"]) == ("failed", "worker_crash")


@pytest.mark.parametrize("name", ["spool-0123", "scratch-0123"])
async def test_leftovers_of_a_dead_server_are_swept(start: Start, name: str) -> None:
    server = start()
    sessions = list((server.data_dir / "files" / "work").iterdir())
    server.kill9()
    left: Path = sessions[0] / name
    left.write_bytes(b"half a file")
    stray = server.data_dir / "files" / "blobs" / f"{zlib.crc32(b'stray') & 0xFF:02x}" / "stray"
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"belongs to no job")
    server.restart()
    assert not left.exists()
    assert not stray.exists()
    server.stop()
