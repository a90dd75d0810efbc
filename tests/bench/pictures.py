"""Small pictures through the whole server, and large ones through the engine alone."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench import assets, load
from tests.bench.host import Host
from tests.bench.measuring import in_turn, median_cost, percentile
from tests.bench.rows import Bar, Bench, Line, at_least, at_most, row
from tests.bench.server import Server, serving

_PATH = "/jobs?to=webp"
_DONE = '"status":"succeeded"'


def _submission(server: Server, picture: Path) -> dict[str, Any]:
    head = load.request(
        "PUT", _PATH, server.host, server.port, Prefer="wait=30", Content_Length=picture.stat().st_size
    )
    return {
        "host": server.host, "port": server.port, "request": head, "body": str(picture), "expect": _DONE
    }  # fmt: skip


@row("picture", "640×480 PNG → WebP, submitted, converted, known to the waiting client")
def picture(bench: Bench) -> list[Line]:
    """Bare and served conversions one by one in turn."""
    source = assets.picture(bench.assets, 640, 480, "png")
    count = bench.pick(100 * bench.rounds, 5)
    with bench.room() as room, Host() as host, serving(room / "data") as server:
        spec = _submission(server, source)
        load.generate("repeat", clients=1, count=3, **spec)
        host.make("pillow", path=source)
        client = load.Connection((server.host, server.port), _whole(spec))
        served, bare = in_turn(
            count, lambda: _exchange(client), lambda: host.make("pillow", path=source).wall
        )
        client.socket.close()
    p50, p99, alone = median(served), percentile(served, 0.99), median(bare)
    note = f"{count} pairs; served p50 {p50 * 1e3:.1f}, p99 {p99 * 1e3:.1f} ms; bare p50 {alone * 1e3:.1f} ms"
    return [
        Line(
            what="small picture, p50 over bare Pillow", unit="ms", ours=(p50 - alone) * 1e3, bar=at_most(15),
            note=note,
        ),
        Line(
            what="small picture, p99 over bare Pillow's p50", unit="ms", ours=(p99 - alone) * 1e3,
            bar=at_most(40), note=f"bare p99 {percentile(bare, 0.99) * 1e3:.1f} ms",
        ),
    ]  # fmt: skip


def _whole(spec: dict[str, Any]) -> bytes:
    head: bytes = spec["request"].encode("latin-1")
    return head + Path(spec["body"]).read_bytes()


def _exchange(client: load.Connection) -> float:
    """Seconds for one request and its reply."""
    client.socket.setblocking(True)
    client.begin()
    while (reply := client.receive()) is None:
        pass
    taken = time.perf_counter() - client.began
    if _DONE.encode() not in reply:
        raise RuntimeError(reply[:600].decode("latin-1"))
    return taken


@row("pictures", "the same with 8 clients, as pictures a second")
def pictures(bench: Bench) -> list[Line]:
    """Against two warm processes of bare Pillow on the same cores."""
    source = assets.picture(bench.assets, 640, 480, "png")
    seconds = bench.pick(4, 1)
    with ExitStack() as stack:
        room = stack.enter_context(bench.room())
        hosts = [stack.enter_context(Host()) for _ in range(2)]
        server = stack.enter_context(serving(room / "data"))
        spec = _submission(server, source)
        load.generate("repeat", clients=8, count=16, **spec)

        def bare() -> dict[str, Any]:
            for host in hosts:
                host.order("pillow_for", path=source, seconds=seconds)
            return {"rate": sum(host.result()["count"] for host in hosts) / seconds}

        def served() -> dict[str, Any]:
            before = server.cpu()
            result = load.generate("repeat", clients=8, seconds=seconds, **spec)
            return result | {"cpu": (server.cpu() - before) / result["replies"]}

        alone, through = in_turn(bench.rounds, bare, served)
    ours, peer = (median(run["rate"] for run in runs) for runs in (through, alone))
    p50, p99, cpu = (median(run[name] for run in through) * 1e3 for name in ("p50", "p99", "cpu"))
    return [
        Line(
            what="small pictures, 8 clients", unit="/s", ours=ours, peer=peer, ratio=ours / peer,
            bar=at_least(0.7),
            note=f"p50 {p50:.0f}, p99 {p99:.0f} ms; {cpu:.1f} ms CPU a job, server and children; "
            "peer: 2 warm processes of bare Pillow",
        )
    ]  # fmt: skip


def _against_vips(
    bench: Bench, what: str, source: Path, target: str, options: dict[str, Any], bar: Bar, width: int = 0
) -> Line:
    """One engine call in a warm process against libvips in another."""
    asked = {"quality": options["Q"]} | ({"width": width} if width else {})
    order = {
        "engine": "pillow", "operation": "convert", "source": source.suffix[1:], "target": target,
        "path": source, "options": asked,
    }  # fmt: skip
    with Host() as ours, Host() as peer:

        def we() -> Any:
            return ours.make("engine", **order)

        def they() -> Any:
            return peer.make("vips", path=source, target=target, width=width, options=options)

        in_turn(1, we, they)
        our_costs, peer_costs = map(median_cost, in_turn(bench.rounds, we, they))
    return Line(
        what=what, unit="ms", ours=our_costs.wall * 1e3, peer=peer_costs.wall * 1e3,
        ratio=our_costs.wall / peer_costs.wall, bar=bar,
        note=f"engine alone; CPU {our_costs.cpu * 1e3:.0f} against {peer_costs.cpu * 1e3:.0f} ms",
    )  # fmt: skip


@row("vips", "12-megapixel JPEG and PNG → WebP, JPEG → 320 and 1200 px, against pyvips")
def vips(bench: Bench) -> list[Line]:
    """The engine alone, in a warm process."""
    side = bench.pick(4000, 800)
    jpeg, png = (assets.picture(bench.assets, side, side * 3 // 4, suffix) for suffix in ("jpg", "png"))
    webp: dict[str, Any] = {"Q": 80, "effort": 4}
    small: dict[str, Any] = {"Q": 85}
    return [
        _against_vips(bench, "JPEG → WebP", jpeg, "webp", webp, at_most(1.1)),
        _against_vips(bench, "PNG → WebP", png, "webp", webp, at_most(1.1)),
        _against_vips(bench, "JPEG → 320 px", jpeg, "jpg", small, at_most(1.2), width=320),
        _against_vips(bench, "JPEG → 1200 px", jpeg, "jpg", small, at_most(2), width=1200),
    ]
