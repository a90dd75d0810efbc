"""Jobs accepted durably where a sync to the disk costs what it costs, and how fast a child is ready."""

from __future__ import annotations

import asyncio
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from convertd.sandbox.runner import Budget, Sandbox, Work
from tests.bench import load
from tests.bench.measuring import in_turn, percentile, run_program
from tests.bench.rows import Bench, Line, Skipped, at_least, at_most, row
from tests.bench.server import Server, environment, serving

CLIENTS = 32
PROBE = {"CONVERTD_ENGINES_MODULES": "tests.bench.probe", "CONVERTD_LIMITS_QUEUE": "1000000"}
_KINDS = ("file", "directory", "data")


class Shim:
    """Slow syncs for a process that is started with :attr:`settings`."""

    def __init__(self, room: Path) -> None:
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            raise Skipped("no C compiler for the sync shim")
        library = room / "shim.so"
        source = Path(__file__).with_name("shim.c")
        subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"], check=True)
        self._counts = room / "counts"
        self._counts.write_bytes(bytes(24))
        self.settings = {"LD_PRELOAD": str(library), "SYNC_SHIM_COUNTS": str(self._counts)}

    def counts(self) -> dict[str, int]:
        """Syncs so far, by kind."""
        return dict(zip(_KINDS, struct.unpack("@3L", self._counts.read_bytes()), strict=True))

    def rate(self, room: Path) -> float:
        """Syncs a second of one caller."""
        probe = (
            "import os, sys, time\n"
            "file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)\n"
            "began = time.perf_counter()\n"
            "for _ in range(200):\n"
            "    os.write(file, b'x'); os.fsync(file)\n"
            "print(200 / (time.perf_counter() - began))\n"
        )
        told = subprocess.run(
            [sys.executable, "-c", probe, room / "sync-probe"],
            env=environment(self.settings), capture_output=True, text=True, check=True,
        )  # fmt: skip
        return float(told.stdout)


def hold_worker(server: Server) -> str:
    """Occupy one worker for ever; the path of its job."""
    job = server.put("/jobs?operation=hold&to=txt", b"hold")
    while job["status"] == "queued":
        job = server.get(f"/jobs/{job['id']}")
    return f"/jobs/{job['id']}"


def _accept(server: Server, seconds: float) -> dict[str, Any]:
    body = "one small text\n"
    head = load.request(
        "PUT", "/jobs?operation=nothing&to=txt", server.host, server.port, Content_Length=len(body)
    )
    before = server.cpu()
    result = load.generate(
        "repeat", host=server.host, port=server.port, clients=CLIENTS, seconds=seconds, request=head + body,
        expect="202 Accepted",
    )  # fmt: skip
    return result | {"cpu": (server.cpu() - before) / result["replies"]}


@row("acceptance", "jobs accepted durably by 32 clients, every sync taking 2 ms")
def acceptance(bench: Bench) -> list[Line]:
    """The only worker is held, so that nothing but the acceptance is measured."""
    seconds = bench.pick(5, 1)
    with bench.room() as room:
        shim = Shim(room)
        syncs = shim.rate(room)
        with serving(room / "data", CONVERTD_WORKERS="1", **PROBE, **shim.settings) as server:
            hold_worker(server)
            _accept(server, 1)
            before, runs = shim.counts(), [_accept(server, seconds) for _ in range(bench.rounds)]
            jobs = sum(run["replies"] for run in runs)
            each = {kind: (shim.counts()[kind] - before[kind]) / jobs for kind in _KINDS}
        with serving(room / "fast", CONVERTD_WORKERS="1", **PROBE) as server:
            hold_worker(server)
            _accept(server, 1)
            fast = _accept(server, seconds)
    rate, p50, cpu = (median(run[name] for run in runs) for name in ("rate", "p50", "cpu"))
    spent = ", ".join(f"{count:.2f} {kind}" for kind, count in each.items())
    return [
        Line(
            what="jobs accepted, 32 clients, 2 ms a sync", unit="/s", ours=rate, peer=syncs,
            ratio=rate / syncs, bar=at_least(10),
            note=f"peer: the shim's syncs; syncs a job: {spent}; p50 {p50 * 1e3:.1f} ms; "
            f"{cpu * 1e6:.0f} µs CPU a job; without the shim {fast['rate']:,.0f}/s",
            details={"syncs a job": each, "without shim": fast},
        )
    ]  # fmt: skip


@row("child", "a child ready with its limits, its call made and its end known")
def child(bench: Bench) -> list[Line]:
    """Against a fresh interpreter that imports the same libraries."""
    count = bench.pick(100 * bench.rounds, 20)
    with bench.room() as room:
        calls = asyncio.run(_calls(room, count))
    interpreter = [sys.executable, "-c", "import PIL.Image, av"]
    fresh = in_turn(bench.pick(3 * bench.rounds, 2), lambda: run_program(interpreter))[0]
    ours, peer = median(calls) * 1e3, median(cost.wall for cost in fresh) * 1e3
    return [
        Line(
            what="child ready, with a call that does nothing, and gone", unit="ms", ours=ours, bar=at_most(5),
            note=f"p99 {percentile(calls, 0.99) * 1e3:.1f} ms; a fresh interpreter with Pillow and PyAV "
            f"takes {peer:.0f} ms",
        )
    ]  # fmt: skip


async def _calls(room: Path, count: int) -> list[float]:
    sandbox = Sandbox(engine_modules=["tests.bench.probe"])
    await sandbox.start()
    work = Work(engine="bench", operation="nothing", target="txt", inputs=("in.txt",), sources=("txt",))
    taken = []
    try:
        for number in range(count + 5):
            scratch = room / str(number)
            (scratch / "out").mkdir(parents=True)
            (scratch / "in.txt").write_text("hello")
            began = time.perf_counter()
            await sandbox.run(work, scratch=scratch, budget=Budget(), on_progress=lambda done: None)
            taken.append(time.perf_counter() - began)
    finally:
        await sandbox.close()
    return taken[5:]
