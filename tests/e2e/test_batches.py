"""Tasks of one job run side by side on workers that nobody else needs."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from aiohttp import ClientSession, FormData

from tests.e2e.conftest import Start
from tests.support import samples
from tests.support.api import ENDED, Api
from tests.support.data_dir import check_files_and_rows, rows, working_files
from tests.support.server import all_dead


async def linger(api: Api, tasks: int, seconds: float) -> str:
    """The id of a job of so many tasks, each of which takes so long."""
    form = FormData()
    for number in range(tasks):
        form.add_field("file", f"file {number}\n".encode(), filename=f"{number}.txt")
    for name, value in (("to", "txt"), ("operation", "linger"), ("seconds", str(seconds))):
        form.add_field(name, value)
    return str((await api.submit(form)).job(202)["id"])


async def two_at_once(api: Api, job_id: str, *, beyond: float = 0.0) -> dict[str, Any]:
    """The job once two of its tasks run that are ``beyond`` a percentage: their children are at work then."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        job = await api.job(job_id)
        assert job["status"] not in ENDED, "its tasks ran one after the other"
        if sum(task["status"] == "running" and task["progress"] > beyond for task in job["tasks"]) == 2:
            return job
    raise AssertionError(f"never two at once: {job}")


def attempts(job: dict[str, Any]) -> list[int]:
    return [task["attempts"] for task in job["tasks"]]


async def test_two_workers_run_two_tasks_of_a_job_at_once(start: Start, session: ClientSession) -> None:
    server = start("--workers", "2")
    api = Api(session, server.url)
    job_id = await linger(api, 5, 1.2)
    job = await two_at_once(api, job_id)
    assert (job["counts"]["running"], job["counts"]["queued"], len(server.children())) == (2, 3, 2)
    ended = await api.ended(job_id)
    assert (ended["status"], ended["attempts"], attempts(ended)) == ("succeeded", 1, [1] * 5)
    assert [output["task"] for output in ended["outputs"]] == [0, 1, 2, 3, 4]
    for number, output in enumerate(ended["outputs"]):
        assert await api.download(output) == f"file {number}\n".encode()


async def test_a_job_that_arrives_does_not_wait_for_a_batch(start: Start, session: ClientSession) -> None:
    api = Api(session, start("--workers", "2").url)
    batch = await linger(api, 60, 0.3)
    await two_at_once(api, batch, beyond=-1)
    for _ in range(2):
        reply = await api.submit(samples.picture(), to="webp", filename="a.png", wait=30)
        assert reply.job(200)["status"] == "succeeded"
    job = await api.job(batch)
    assert job["status"] == "running"
    assert job["counts"]["queued"] > 0
    await two_at_once(api, batch, beyond=-1)


async def test_a_cancel_kills_both_children_within_two_seconds(start: Start, session: ClientSession) -> None:
    server = start("--workers", "2")
    api = Api(session, server.url)
    job_id = await linger(api, 3, 3600)
    await two_at_once(api, job_id)
    children = server.children()
    assert len(children) == 2
    assert (await api.request("DELETE", f"/jobs/{job_id}")).job(200)["status"] == "cancelled"
    assert all_dead(children, seconds=2)
    reply = await api.submit(samples.picture(), to="webp", filename="a.png", wait=30)
    assert reply.job(200)["status"] == "succeeded"
    assert (await api.job(job_id))["counts"]["cancelled"] == 3
    server.stop()
    assert working_files(server.data_dir) == []
    check_files_and_rows(server.data_dir)


async def test_a_killed_child_costs_its_own_task_an_attempt(start: Start, session: ClientSession) -> None:
    server = start("--workers", "2")
    api = Api(session, server.url)
    job_id = await linger(api, 3, 2)
    await two_at_once(api, job_id)
    os.kill(server.children()[0], signal.SIGKILL)
    ended = await api.ended(job_id)
    assert (ended["status"], ended["attempts"], len(ended["outputs"])) == ("succeeded", 2, 3)
    assert sorted(attempts(ended)) == [1, 1, 2]


async def test_kill_nine_with_two_tasks_at_work(start: Start, session: ClientSession) -> None:
    server = start("--workers", "2")
    api = Api(session, server.url)
    job_id = await linger(api, 3, 1.5)
    await two_at_once(api, job_id)
    server.kill9()
    api = Api(session, server.restart().url)
    ended = await api.ended(job_id)
    assert (ended["status"], ended["attempts"], attempts(ended)) == ("succeeded", 2, [2, 2, 1])
    assert [output["task"] for output in ended["outputs"]] == [0, 1, 2]
    server.stop()
    assert working_files(server.data_dir) == []
    check_files_and_rows(server.data_dir)


async def test_a_stop_gives_both_tasks_back_without_cost(start: Start, session: ClientSession) -> None:
    server = start("--workers", "2", JOBS_GRACE="200ms")
    api = Api(session, server.url)
    job_id = await linger(api, 3, 2)
    await two_at_once(api, job_id)
    children = server.children()
    server.stop()
    assert all_dead(children, seconds=1)
    assert rows(server.data_dir, "SELECT state, attempt FROM jobs") == [("queued", 0)]
    assert rows(server.data_dir, "SELECT state, attempts FROM tasks") == [("queued", 0)] * 3
    assert working_files(server.data_dir) == []
    check_files_and_rows(server.data_dir)
    api = Api(session, server.restart().url)
    ended = await api.ended(job_id)
    assert (ended["status"], ended["attempts"], attempts(ended)) == ("succeeded", 1, [1, 1, 1])
