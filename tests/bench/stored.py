"""Does it stay as quick with many jobs stored, and as small after many jobs run?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any

import msgspec

from convertd.jobs.sqlite import SqliteStore
from convertd.jobs.store import Selection
from convertd.model.ids import new_job_id, new_token
from convertd.model.job import Artifact, Job, State, Task, claimed
from tests.bench import assets, load, measuring
from tests.bench.rows import Bench, Line, at_most, row
from tests.bench.server import Server, serving

_WAITING = 200
"""Queued jobs beside the ended ones, so that there is something to claim."""
_POLLED = 50
"""So many jobs are polled, on both sides alike, spread over all that are stored: clients poll theirs again
and again."""
_GROUP = 64


def _job(state: State, now: float) -> Job:
    """A job as a small conversion leaves it."""
    ended = state is State.SUCCEEDED
    job_id = new_job_id()
    digest = "0" * 64
    source = Artifact(key=f"{job_id}-in-0", name="photo.png", format="png", bytes=300_000, sha256=digest)
    made = Artifact(
        key=f"{job_id}-1-0-0", name="photo.webp", format="webp", bytes=30_000, sha256=digest, task=0,
        facts={"width": 640, "height": 480},
    )  # fmt: skip
    task = Task(
        inputs=(0,), operation="convert", source="png", target="webp", options={"quality": "80"},
        engine="pillow", fidelity="exact", state=state, progress=1.0 if ended else 0.0, attempts=int(ended),
    )  # fmt: skip
    return Job(
        id=job_id, account="local", dialect="native", operation="convert", created_at=now, run_after=now,
        deadline=now + 86_400, state=state, attempt=int(ended), started_at=now if ended else None,
        finished_at=now if ended else None, inputs_expire_at=now + 86_400 if ended else None,
        outputs_expire_at=now + 86_400 if ended else None, inputs=(source,), tasks=(task,),
        outputs=(made,) if ended else (),
    )  # fmt: skip


async def _fill(store: SqliteStore, state: State, count: int) -> list[str]:
    ids: list[str] = []
    now = time.time() - 60
    while len(ids) < count:
        jobs = [_job(state, now + len(ids) * 1e-4) for _ in range(min(_GROUP, count - len(ids)))]
        await asyncio.gather(*(store.insert(job) for job in jobs))
        ids += [job.id for job in jobs]
    return ids


async def _timed(act: Callable[[], Awaitable[Any]]) -> float:
    began = time.perf_counter()
    if not await act():
        raise RuntimeError("nothing came back")
    return time.perf_counter() - began


@row("stored", "claim, poll and list with 100,000 stored jobs against 100")
def stored(bench: Bench) -> list[Line]:
    """On the store itself, both databases open side by side."""
    many = bench.pick(100_000, 2_000)
    with bench.room() as room:
        taken, size = asyncio.run(_compare(room, (100, many), bench.pick(150, 20)))
    lines = []
    for what, (few_us, many_us) in taken.items():
        lines.append(
            Line(
                what=f"{what} with {many:,} stored jobs", unit="µs", ours=many_us, peer=few_us,
                ratio=many_us / few_us, bar=at_most(1.2), note="peer: the same with 100",
            )
        )  # fmt: skip
    lines[0].note += f"; the database has {size / measuring.MIB:.0f} MiB"
    return lines


async def _compare(
    room: Path, counts: tuple[int, int], repeats: int
) -> tuple[dict[str, tuple[float, float]], int]:
    """Medians in µs for few and many stored jobs, by act; and the size of the larger database."""
    paths = [room / f"{count}.sqlite3" for count in counts]
    stores = [await SqliteStore.open(path) for path in paths]
    ids = []
    for store, count in zip(stores, counts, strict=True):
        ended = await _fill(store, State.SUCCEEDED, count)
        ids.append(ended[:: count // _POLLED])
        await _fill(store, State.QUEUED, _WAITING)
    results = {}
    for what, act in _ACTS.items():
        sides: tuple[list[float], list[float]] = ([], [])
        for number in range(repeats):
            for side, store in enumerate(stores):
                job_id = ids[side][number % _POLLED]
                sides[side].append(await _timed(partial(act, store, job_id)))
        results[what] = (median(sides[0]) * 1e6, median(sides[1]) * 1e6)
    for store in stores:
        await store.close()
    return results, paths[1].stat().st_size


def _claim(store: SqliteStore, job_id: str) -> Awaitable[Any]:
    now = time.time()
    rule = partial(claimed, now=now, token=new_token(), lease_until=now + 30)
    return store.claim(rule, now=now)


_ACTS: dict[str, Callable[[SqliteStore, str], Awaitable[Any]]] = {
    "claim": _claim,
    "poll": lambda store, job_id: store.get(job_id),
    "list": lambda store, job_id: store.page(Selection(account="local"), limit=21),
    "list by state": lambda store, job_id: store.page(
        Selection(account="local", states=(State.SUCCEEDED,)), limit=21
    ),
}


@row("queue", "submitting, polling and listing over HTTP with 10,000 jobs waiting against 10")
def queue(bench: Bench) -> list[Line]:
    """Processor time of the server process for each request; those that wait are not due for an hour."""
    deep = bench.pick(10_000, 500)
    costs = {}
    for waiting in (10, deep):
        with bench.room() as room:
            data = room / "data"
            data.mkdir()
            asyncio.run(_queued(data, waiting))
            costs[waiting] = _request_costs(data, bench.pick(400, 20))
    return [
        Line(
            what=f"{what} with {deep:,} jobs waiting", unit="µs CPU", ours=costs[deep][what],
            peer=costs[10][what], ratio=costs[deep][what] / costs[10][what], bar=at_most(1.2),
            note="peer: the same with 10",
        )
        for what in costs[deep]
    ]  # fmt: skip


async def _queued(data_dir: Path, count: int) -> None:
    """A database with ``count`` jobs that wait an hour for their retry."""
    store = await SqliteStore.open(data_dir / "convertd.sqlite3")
    now = time.time()
    jobs = [msgspec.structs.replace(_job(State.QUEUED, now), run_after=now + 3600) for _ in range(count)]
    for start in range(0, count, _GROUP):
        await asyncio.gather(*(store.insert(job) for job in jobs[start : start + _GROUP]))
    await store.close()


def _request_costs(data_dir: Path, count: int) -> dict[str, float]:
    """µs of the server's processor time for each kind of request."""
    settings = {"CONVERTD_ENGINES_MODULES": "tests.bench.probe", "CONVERTD_LIMITS_QUEUE": "1000000"}
    with serving(data_dir, **settings) as server:
        job = server.get("/jobs?limit=1")["jobs"][0]
        host, port = server.host, server.port
        heads = {
            "poll of the newest": load.request("GET", f"/jobs/{job['id']}", host, port),
            "list": load.request("GET", "/jobs", host, port),
            "submit": load.request(
                "PUT", "/jobs?operation=nothing&to=txt", host, port, Content_Length=5, Prefer="wait=30"
            )
            + "text\n",
        }
        return {what: _cpu_of(server, head, count) for what, head in heads.items()}


def _cpu_of(server: Server, head: str, count: int) -> float:
    before = measuring.cpu_seconds([server.pid])
    load.generate(
        "repeat", host=server.host, port=server.port, clients=4, count=count, request=head,
        expect="HTTP/1.1 20",
    )  # fmt: skip
    return (measuring.cpu_seconds([server.pid]) - before) / count * 1e6


@row("steady", "memory, descriptors and scratch over many jobs")
def steady(bench: Bench) -> list[Line]:
    """Small pictures by 4 clients; the state after a fifth of them against that after all."""
    total = bench.pick(2_000, 40)
    source = assets.picture(bench.assets, 64, 48, "png")
    with bench.room() as room, serving(room / "data") as server:
        head = load.request(
            "PUT", "/jobs?to=webp", server.host, server.port, Prefer="wait=30",
            Content_Length=source.stat().st_size,
        )  # fmt: skip

        def run(count: int) -> dict[str, float]:
            load.generate(
                "repeat", host=server.host, port=server.port, clients=4, count=count, request=head,
                body=str(source), expect='"status":"succeeded"',
            )  # fmt: skip
            return _state(server)

        after = [run(total // 5) for _ in range(5)]
    lines = []
    for what, unit in (("server RSS", "MiB"), ("zygote RSS", "MiB"), ("descriptors", ""), ("work files", "")):
        ratio = after[-1][what] / after[0][what] if after[0][what] else 1.0 + after[-1][what]
        history = ", ".join(f"{state[what]:.1f}" for state in after)
        lines.append(
            Line(
                what=f"{what} after {total:,} jobs", unit=unit, ours=after[-1][what], peer=after[0][what],
                ratio=ratio, bar=at_most(1.05), note=f"after each fifth: {history}",
            )
        )  # fmt: skip
    return lines


def _state(server: Server) -> dict[str, float]:
    """Sizes once the last job's traces are gone, as far as they go."""
    scratch = server.data_dir / "files" / "work"
    samples = []
    for _ in range(5):
        server.get("/healthz")
        samples.append(measuring.status_mib(server.pid, "VmRSS"))
        time.sleep(0.1)
    return {
        "server RSS": mean(samples),
        "zygote RSS": measuring.status_mib(server.zygote, "VmRSS"),
        "descriptors": measuring.descriptors(server.pid) + measuring.descriptors(server.zygote),
        "work files": sum(1 for _ in scratch.glob("*/*")),
    }
