"""Large files in and out: against cp, nginx, and the server's own memory."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from tests.bench import assets, load, measuring
from tests.bench.measuring import MIB, in_turn, run_program
from tests.bench.rows import Bench, Line, Skipped, at_least, at_most, row
from tests.bench.server import Server, serving

_BOUNDARY = "convertd-bench-boundary"


def _size(bench: Bench) -> int:
    return bench.pick(500_000_000, 8_000_000)


def _where(parent: Path | None) -> str:
    return "in memory (tmpfs)" if parent else "on the disk of the temporary directory"


def _send(server: Server, source: Path, *, multipart: bool) -> dict[str, Any]:
    """Upload ``source``; wall time until the job is accepted, the server's processor time, peak memory."""
    size = source.stat().st_size
    before = after = ""
    path, kind = "/jobs?to=webp&filename=wreck.png", "application/octet-stream"
    if multipart:
        path, kind = "/jobs", f"multipart/form-data; boundary={_BOUNDARY}"
        disposition = 'Content-Disposition: form-data; name="{}"'
        before = (
            f"--{_BOUNDARY}\r\n{disposition.format('to')}\r\n\r\nwebp\r\n"
            f'--{_BOUNDARY}\r\n{disposition.format("file")}; filename="wreck.png"\r\n\r\n'
        )
        after = f"\r\n--{_BOUNDARY}--\r\n"
    length = len(before) + size + len(after)
    head = load.request("PUT", path, server.host, server.port, Content_Type=kind, Content_Length=length)
    measuring.reset_peak(server.pid)
    cpu = measuring.cpu_seconds([server.pid])
    result = load.generate(
        "upload", host=server.host, port=server.port, path=str(source), head=head + before, tail=after
    )
    if result["status"] != 202:
        raise RuntimeError(result["reply"])
    result["cpu"] = measuring.cpu_seconds([server.pid]) - cpu
    result["peak"] = measuring.status_mib(server.pid, "VmHWM")
    return result


@row("upload", "500 MB uploaded raw and as multipart, against cp")
def upload(bench: Bench) -> list[Line]:
    """From the page cache to the page cache where there is room, each upload to a fresh server."""
    size = _size(bench)
    parent = measuring.page_cache_dir(5 * size)
    with bench.room(parent=parent) as room:
        source = assets.large_wreck(room, size)

        def sent(*, multipart: bool) -> dict[str, Any]:
            with bench.room(parent=room) as inner, serving(inner / "data") as server:
                return _send(server, source, multipart=multipart)

        def copied() -> float:
            cost = run_program(["cp", source, room / "copy"])
            (room / "copy").unlink()
            return cost.wall

        copies: list[float] = []
        raws: list[dict[str, Any]] = []
        forms: list[dict[str, Any]] = []
        for _ in range(bench.rounds):
            raws.append(sent(multipart=False))
            copies.append(copied())
            forms.append(sent(multipart=True))
    copy = median(copies)
    ours, multipart = (median(run["wall"] for run in runs) for runs in (raws, forms))
    rate = size / 1e6
    cpu = [median(run["cpu"] for run in runs) for runs in (raws, forms)]
    peak = max(run["peak"] for run in (*raws, *forms))
    return [
        Line(
            what=f"upload {size / 1e6:.0f} MB raw", unit="MB/s", ours=rate / ours, peer=rate / copy,
            ratio=copy / ours, bar=at_least(0.35),
            note=f"peer: cp; {_where(parent)}; {cpu[0]:.2f} s CPU of the server",
        ),
        Line(
            what=f"upload {size / 1e6:.0f} MB multipart", unit="MB/s", ours=rate / multipart,
            peer=rate / ours, ratio=ours / multipart, bar=at_least(0.6),
            note=f"peer: raw; {cpu[1]:.2f} s CPU of the server",
        ),
        Line(what=f"server RSS at its peak, {size / 1e6:.0f} MB up", unit="MiB", ours=peak, bar=at_most(100)),
    ]  # fmt: skip


@contextmanager
def _nginx(folder: Path, name: str) -> Iterator[tuple[int, str]]:
    """The port of an nginx that sends ``folder`` with sendfile, and the path of ``name``."""
    program = shutil.which("nginx")
    if program is None:
        raise Skipped("nginx is not installed")
    port = load.free_port()
    temporary = "".join(
        f"{kind}_temp_path {folder};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr crit;"
        f"events {{}} http {{ access_log off; sendfile on; sendfile_max_chunk 2m; tcp_nopush on; {temporary}"
        f"server {{ listen 127.0.0.1:{port}; root {folder}; }} }}"
    )
    process = subprocess.Popen([program, "-c", config, "-e", "stderr"], stderr=subprocess.DEVNULL)
    try:
        _await_port(port, process)
        yield port, f"/{name}"
    finally:
        process.terminate()
        process.wait()


def _await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 10
    while time.monotonic() < until and process.poll() is None:
        if load.answers("127.0.0.1", port):
            return
        time.sleep(0.02)
    raise RuntimeError("nginx did not start")


def _fetch(host: str, port: int, path: str, size: int) -> float:
    result = load.generate(
        "download", host=host, port=port, request=load.request("GET", path, host, port, Connection="close")
    )
    if result["status"] != 200 or result["bytes"] < size:
        raise RuntimeError(f"status {result['status']}, {result['bytes']} bytes")
    return float(result["wall"])


@row("download", "500 MB downloaded on a signed link, against nginx with sendfile")
def download(bench: Bench) -> list[Line]:
    """The file is a converted one: WAV made AIFF."""
    size = _size(bench)
    parent = measuring.page_cache_dir(5 * size)
    with bench.room(parent=parent) as room, serving(room / "data", CONVERTD_LIMITS_UPLOAD="1GB") as server:
        source = assets.large_sound(room, size)
        url = urlsplit(_converted(server, source, "aiff")["outputs"][0]["url"])
        path = f"{url.path}?{url.query}" if url.query else url.path
        measuring.reset_peak(server.pid)
        least = size - MIB
        with _nginx(room, source.name) as (port, other_path):
            ours, peer = in_turn(
                bench.pick(2 * bench.rounds + 1, 1),
                lambda: _fetch(server.host, server.port, path, least),
                lambda: _fetch("127.0.0.1", port, other_path, least),
            )
        peak = measuring.status_mib(server.pid, "VmHWM")
    rate, mine, other = size / 1e6, median(ours), median(peer)
    return [
        Line(
            what=f"download {size / 1e6:.0f} MB", unit="MB/s", ours=rate / mine, peer=rate / other,
            ratio=other / mine, bar=at_least(0.8), note=f"peer: nginx; {_where(parent)}",
        ),
        Line(
            what=f"server RSS at its peak, {size / 1e6:.0f} MB down", unit="MiB", ours=peak, bar=at_most(100),
        ),
    ]  # fmt: skip


def _converted(server: Server, source: Path, target: str) -> Any:
    """The ended job of a large file."""
    path = f"/jobs?to={target}&filename={source.name}"
    size = source.stat().st_size
    head = load.request("PUT", path, server.host, server.port, Content_Length=size)
    sent = load.generate("upload", host=server.host, port=server.port, path=str(source), head=head, tail="")
    if sent["status"] != 202:
        raise RuntimeError(sent["reply"])
    return server.finish(server.get("/jobs?limit=1")["jobs"][0])


@row("start", "start to ready on an empty data directory, and idle memory")
def start(bench: Bench) -> list[Line]:
    """From exec to the line that names the address, with readiness asked at once."""
    times, own, together = [], [], []
    with bench.room() as room:
        for number in range(bench.pick(2 * bench.rounds + 1, 1)):
            with serving(room / f"data-{number}") as server:
                if not server.get("/readyz"):
                    raise RuntimeError("not ready")
                times.append(server.started)
                own.append(measuring.status_mib(server.pid, "VmRSS"))
                together.append(measuring.proportional_mib(measuring.family(server.pid)))
    python = run_program([sys.executable, "-c", "import aiohttp.web"]).wall
    return [
        Line(
            what="start to ready", unit="s", ours=median(times), bar=at_most(1.0),
            note=f"an interpreter with aiohttp alone takes {python:.2f} s",
        ),
        Line(
            what="server RSS, idle", unit="MiB", ours=median(own), bar=at_most(100),
            note=f"with its zygote {median(together):.0f} MiB (proportional share)",
        ),
    ]  # fmt: skip
