"""Video and sound against the ffmpeg program, with the same encoder settings and threads."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

from tests.bench import assets, load
from tests.bench.host import Host
from tests.bench.measuring import Cost, in_turn, median_cost, run_program
from tests.bench.rows import Bar, Bench, Line, at_most, row
from tests.bench.server import Server, serving

Command = list[str | Path]

_THREADS = 2
_PRESET, _CRF = "veryfast", 23


def _x264(path: Path) -> str:
    """The encoder's version, which it writes into its stream."""
    match = re.search(rb"x264 - core (\d+)", path.read_bytes())
    return match[1].decode() if match else "unknown"


def _h264_by_cli(source: Path, target: Path) -> Command:
    threads = str(_THREADS)
    return [
        assets.ffmpeg(), "-y", "-v", "error", "-threads", threads, "-i", source, "-threads", threads,
        "-c:v", "libx264", "-preset", _PRESET, "-crf", str(_CRF), "-c:a", "copy", "-movflags", "+faststart",
        target,
    ]  # fmt: skip


def _h264_served(server: Server, source: Path) -> tuple[Cost, Any]:
    """Upload, conversion, and the news of it."""
    path = f"/jobs?to=mp4&video_codec=h264&preset={_PRESET}&crf={_CRF}&audio_codec=copy&filename=clip.mp4"
    size = source.stat().st_size
    head = load.request("PUT", path, server.host, server.port, Connection="close", Content_Length=size)
    cpu, began = server.cpu(), time.perf_counter()
    sent = load.generate(
        "upload", host=server.host, port=server.port, path=str(source), head=head, tail=""
    )  # fmt: skip
    if sent["status"] != 202:
        raise RuntimeError(sent["reply"])
    located = re.search(r"Location: \S+(/jobs/\S+)", sent["reply"])
    assert located is not None
    job = server.finish(server.get(located[1]))
    return Cost(wall=time.perf_counter() - began, cpu=server.cpu() - cpu), job


@row("h264", "30 s of 1080p to H.264 against the ffmpeg CLI, through the server and by the engine alone")
def h264(bench: Bench) -> list[Line]:
    """Same preset, CRF and threads; the sound is copied."""
    source = assets.clip(bench.assets, *((4, 640, 360) if bench.quick else (30, 1920, 1080)))
    with bench.room() as room, Host() as host:
        settings = {"CONVERTD_WORKERS": "1", "CONVERTD_SANDBOX_THREADS": str(_THREADS)}
        theirs, alone = room / "theirs.mp4", room / "alone.mp4"
        with serving(room / "data", **settings) as server:
            served, cli, engine = in_turn(
                bench.rounds,
                lambda: _h264_served(server, source)[0],
                lambda: run_program(_h264_by_cli(source, theirs)),
                lambda: _engine_h264(host, source, alone),
            )
            size = _h264_served(server, source)[1]["outputs"][0]["bytes"] if bench.quick else None
        versions = {"x264 of the wheel": _x264(alone), "x264 of the CLI": _x264(theirs)}
        sizes = {"bytes ours": alone.stat().st_size, "bytes CLI": theirs.stat().st_size}
    note = (
        f"preset {_PRESET}, CRF {_CRF}, {_THREADS} threads; x264 core {versions['x264 of the wheel']} "
        f"against {versions['x264 of the CLI']}; {sizes['bytes ours']:,} against {sizes['bytes CLI']:,} bytes"
    )
    details = versions | sizes | {"bytes served": size}
    peer = median_cost(cli)
    return [
        *_cpu_and_wall("H.264 1080p, whole server", median_cost(served), peer, note, details),
        *_cpu_and_wall("H.264 1080p, engine alone", median_cost(engine), peer, "", details),
    ]


def _engine_h264(host: Host, source: Path, keep: Path) -> Cost:
    options = {"video_codec": "h264", "preset": _PRESET, "crf": _CRF, "audio_codec": "copy"}
    return host.make(
        "engine", engine="pyav", operation="convert", source="mp4", target="mp4", path=source,
        options=options, threads=_THREADS, keep=keep,
    )  # fmt: skip


def _cpu_and_wall(what: str, ours: Cost, peer: Cost, note: str, details: dict[str, Any]) -> list[Line]:
    return [
        Line(
            what=f"{what}, CPU", unit="s", ours=ours.cpu, peer=peer.cpu, ratio=ours.cpu / peer.cpu,
            bar=at_most(1.05), note=note, details=details,
        ),
        Line(
            what=f"{what}, wall", unit="s", ours=ours.wall, peer=peer.wall, ratio=ours.wall / peer.wall,
            bar=at_most(1.10),
        ),
    ]  # fmt: skip


def _engine_against_cli(
    bench: Bench, what: str, order: dict[str, Any], cli: Command, bar: Bar, *, cpu: bool
) -> Line:
    """A call in a warm process against the program, by processor time or by wall time."""
    with bench.room() as room, Host() as host:
        target = room / f"cli.{order['target']}"
        command = [assets.ffmpeg(), "-y", "-v", "error", *cli, target]

        def ours() -> Cost:
            return host.make("engine", engine="pyav", **order)

        ours()
        our_costs, cli_costs = in_turn(bench.rounds, ours, lambda: run_program(command))
    we, they = median_cost(our_costs), median_cost(cli_costs)
    mine, peer, word = (we.cpu, they.cpu, "CPU") if cpu else (we.wall, they.wall, "wall")
    other = (
        f"wall {we.wall:.3f} against {they.wall:.3f} s"
        if cpu
        else f"CPU {we.cpu:.3f} against {they.cpu:.3f} s"
    )
    return Line(
        what=f"{what}, {word}", unit="s", ours=mine, peer=peer, ratio=mine / peer, bar=bar,
        note=f"engine alone, in a warm process; {other}",
    )  # fmt: skip


@row("remux", "mov → mp4 without encoding, against ffmpeg -c copy")
def remux(bench: Bench) -> list[Line]:
    """Both write the index to the front."""
    source = assets.clip(bench.assets, *((4, 640, 360, "mov") if bench.quick else (30, 1920, 1080, "mov")))
    order = {"operation": "convert", "source": "mov", "target": "mp4", "path": source, "options": {}}
    cli: Command = ["-i", source, "-c", "copy", "-movflags", "+faststart"]
    return [_engine_against_cli(bench, "mov → mp4", order, cli, at_most(1.4), cpu=False)]


@row("video-thumbnail", "a frame from the middle of a 10-minute video, against ffmpeg's exact seek")
def video_thumbnail(bench: Bench) -> list[Line]:
    """To a JPEG of 320 pixels."""
    if bench.quick:
        source, at = assets.clip(bench.assets, 4, 640, 360), 2.5
    else:
        source, at = assets.long_clip(bench.assets, 10), 313.7
    order = {
        "operation": "thumbnail", "source": "mp4", "target": "jpg", "path": source,
        "options": {"timestamp": at, "width": 320, "height": 320}, "threads": _THREADS,
    }  # fmt: skip
    cli: Command = [
        "-threads", str(_THREADS), "-ss", str(at), "-i", source, "-frames:v", "1", "-vf", "scale=320:-2",
    ]  # fmt: skip
    return [_engine_against_cli(bench, "thumbnail of a long video", order, cli, at_most(1.0), cpu=False)]


@row("sound", "WAV → MP3, AAC and Opus against the ffmpeg CLI, processor time")
def sound(bench: Bench) -> list[Line]:
    """The same bit rate on both sides."""
    source = assets.music(bench.assets, bench.pick(180, 5))
    lines = []
    for target, encoder, bar in (("mp3", "libmp3lame", 1.2), ("m4a", "aac", 1.1), ("opus", "libopus", 1.1)):
        order = {
            "operation": "convert", "source": "wav", "target": target, "path": source,
            "options": {"audio_bitrate": 128_000},
        }  # fmt: skip
        cli: Command = ["-i", source, "-c:a", encoder, "-b:a", "128k"]
        lines.append(_engine_against_cli(bench, f"WAV → {target}", order, cli, at_most(bar), cpu=True))
    return lines
