"""Reading a job again and again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from tests.bench import load, measuring
from tests.bench.acceptance import CLIENTS, PROBE, hold_worker
from tests.bench.measuring import in_turn
from tests.bench.rows import Bench, Line, at_least, at_most, row
from tests.bench.server import make_key, serving


@contextmanager
def _empty_handler() -> Iterator[tuple[int, int]]:
    """The pid and port of an aiohttp server that answers nothing, fast."""
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.empty"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())
    finally:
        process.terminate()
        process.communicate()


@row("polls", "polls of an ended job by 32 clients with an API key, against an empty aiohttp handler")
def polls(bench: Bench) -> list[Line]:
    """The ratio is that of processor time, which the load generator's own share does not touch."""
    seconds = bench.pick(4, 1)
    with bench.room() as room, _empty_handler() as (empty_pid, empty_port):
        key = make_key(room / "data")
        with serving(room / "data", **PROBE) as server:
            job = server.put("/jobs?operation=nothing&to=txt", b"text", wait=30, key=key)

            def polled(pid: int, port: int, expect: str) -> dict[str, Any]:
                head = load.request(
                    "GET", f"/jobs/{job['id']}", server.host, port, Authorization=f"Bearer {key}"
                )
                before = measuring.cpu_seconds([pid])
                result = load.generate(
                    "repeat", host=server.host, port=port, clients=CLIENTS, seconds=seconds, request=head,
                    expect=expect,
                )  # fmt: skip
                return result | {"cpu": (measuring.cpu_seconds([pid]) - before) / result["replies"]}

            ours, peer = in_turn(
                bench.rounds,
                lambda: polled(server.pid, server.port, '"status":"succeeded"'),
                lambda: polled(empty_pid, empty_port, "200 OK"),
            )
    rates = [median(run["rate"] for run in runs) for runs in (ours, peer)]
    cpu = [median(run["cpu"] for run in runs) * 1e6 for runs in (ours, peer)]
    return [
        Line(
            what="polls with a key, 32 clients", unit="/s of CPU", ours=1e6 / cpu[0], peer=1e6 / cpu[1],
            ratio=cpu[1] / cpu[0], bar=at_least(0.7),
            note=f"{cpu[0]:.0f} against {cpu[1]:.0f} µs CPU a poll; by the wall clock {rates[0]:,.0f} "
            f"against {rates[1]:,.0f}/s, {rates[0] / rates[1]:.2f}×",
        )
    ]  # fmt: skip


@row("long-polls", "the server's memory with 200 idle long-polls")
def long_polls(bench: Bench) -> list[Line]:
    """All wait for one job that never ends."""
    with bench.room() as room, serving(room / "data", **PROBE) as server:
        path = hold_worker(server)
        idle = measuring.status_mib(server.pid, "VmRSS")
        head = load.request("GET", path, server.host, server.port, Prefer="wait=30")
        clients = load.start("hold", host=server.host, port=server.port, clients=200, request=head)
        assert clients.stdout is not None
        if clients.stdout.readline().strip() != "held":
            raise RuntimeError("the clients could not connect")
        while measuring.descriptors(server.pid) < 200:
            server.get("/healthz")
        held = measuring.status_mib(server.pid, "VmRSS")
        load.finish(clients)
        family = measuring.proportional_mib(measuring.family(server.pid))
    note = f"idle {idle:.1f} MiB; with its zygote and a child {family:.0f} MiB (proportional share)"
    return [
        Line(what="server RSS, 200 idle long-polls", unit="MiB", ours=held, bar=at_most(100), note=note)
    ]  # fmt: skip
