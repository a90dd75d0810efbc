"""The PyAV engine: every route it declares, checked with a reader that did not write the file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from convertd.engines.base import Capability
from convertd.engines.pyav import ENGINE
from convertd.engines.pyav.codecs import DEMUXERS
from convertd.errors import ConvertdError
from convertd.model.formats import FORMATS, HEAD_BYTES, Family, identify
from tests.support import clips
from tests.support.engines import run

CORPUS = Path(os.environ["CONVERTD_CORPUS"]) if os.environ.get("CONVERTD_CORPUS") else None

Maker = Callable[[Path], Path]


def _vorbis(path: Path) -> Path:
    return clips.sound(path, "vorbis", options={"strict": "experimental"})


MAKERS: dict[str, Maker] = {
    "mp4": lambda path: clips.video(path),
    "m4v": lambda path: clips.video(path, format="ipod"),
    "mov": lambda path: clips.video(path, "mjpeg", pix_fmt="yuvj420p"),
    "mkv": lambda path: clips.video(path, sounds=(("flac", 2),)),
    "webm": lambda path: clips.video(path, "libvpx", sounds=(("libopus", 2),), options={"cpu-used": "8"}),
    "avi": lambda path: clips.video(path, "mpeg4", sounds=(("libmp3lame", 2),)),
    "wmv": lambda path: clips.video(path, "wmv2", sounds=(("wmav2", 2),), format="asf"),
    "flv": lambda path: clips.video(path, "flv", sounds=(("libmp3lame", 2),)),
    "mpg": lambda path: clips.video(path, "mpeg2video", sounds=(("mp2", 2),), format="mpeg"),
    "ts": lambda path: clips.video(path, format="mpegts"),
    "3gp": lambda path: clips.video(path, format="3gp"),
    "ogv": lambda path: clips.video(path, "libvpx", sounds=(("libopus", 1),), format="ogv"),
    "gif": lambda path: clips.video(path, "gif", pix_fmt="rgb8", sounds=()),
    "mp3": lambda path: clips.sound(path, "libmp3lame"),
    "wav": lambda path: clips.sound(path, "pcm_s16le"),
    "flac": lambda path: clips.sound(path, "flac"),
    "ogg": _vorbis,
    "opus": lambda path: clips.sound(path, "libopus", rate=48000),
    "m4a": lambda path: clips.sound(path, "aac", format="ipod"),
    "aac": lambda path: clips.sound(path, "aac", format="adts"),
    "aiff": lambda path: clips.sound(path, "pcm_s16be"),
    "wma": lambda path: clips.sound(path, "wmav2", format="asf"),
    "amr": lambda path: clips.sound(path, "libopencore_amrnb", rate=8000, channels=1),
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("sources")

    def source(name: str) -> Path:
        path = folder / f"a.{name}"
        return path if path.exists() else MAKERS[name](path)

    return source


def name_of(capability: Capability) -> str:
    return f"{capability.operation}-{capability.source}-{capability.target}"


def probed(path: Path) -> dict[str, Any]:
    """What ffprobe sees, or nothing where there is none; its complaints fail the test."""
    if shutil.which("ffprobe") is None:
        return {}
    done = subprocess.run(
        [
            "ffprobe",
            "-v",
            "error",
            "-show_streams",
            "-show_format",
            "-show_chapters",
            "-of",
            "json",
            str(path),
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def streams(document: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [s for s in document.get("streams", []) if s["codec_type"] == kind]


def tried(capability: Capability) -> bool:
    """Of operations that decode any source to sound alike, each source and each target once are enough."""
    source, target = capability.source, capability.target
    if capability.operation in ("concat", "adjust"):
        return target in (source, "mp3")
    if capability.operation == "trim" and FORMATS[source].family is not FORMATS[target].family:
        return "mp4" in (source, target) or target == "mp3"
    return True


GIVEN: dict[str, dict[str, Any]] = {"trim": {"end": 0.6}, "adjust": {"speed": 2}}
LASTS = {"trim": 0.6, "adjust": 0.5, "concat": 2.0}


@pytest.mark.parametrize("capability", [c for c in ENGINE.capabilities if tried(c)], ids=name_of)
def test_every_route(capability: Capability, sources: Callable[[str], Path], tmp_path: Path) -> None:
    given = GIVEN.get(capability.operation, {})
    again = [(capability.source, sources(capability.source))] if capability.least_inputs == 2 else []
    told: list[float] = []
    results = run(
        ENGINE,
        capability.operation,
        capability.source,
        capability.target,
        sources(capability.source),
        tmp_path / "out",
        report=told.append,
        others=again,
        **given,
    )
    assert len(results) == 1
    path, product = results[0]
    assert [p.name for p in path.parent.iterdir()] == [path.name], "scratch files left behind"
    with path.open("rb") as file:
        assert identify(path.name, file.read(HEAD_BYTES)).name == capability.target
    assert told == sorted(told)
    assert told[-1] == 1.0
    # Of the operations that share their output with convert, the usual sources are enough.
    own_output = capability.operation in ("convert", "strip-metadata")
    checked = capability.target != "json" and (own_output or capability.source in ("mp4", "mp3"))
    document = probed(path) if checked else {}
    family = FORMATS[capability.target].family
    if family is Family.PICTURE and capability.target != "gif":
        assert product.facts["width"] <= 320
        return
    expected = LASTS.get(capability.operation, 1.0)
    # Raw AAC cannot tell a player to leave out the encoder's run-in.
    slack = (0.2 if capability.target == "aac" else 0.12) * (1 + len(again))
    assert product.facts["duration"] == pytest.approx(expected, abs=slack)
    if family is Family.VIDEO or capability.target == "gif":
        assert (product.facts["width"], product.facts["height"]) == (64, 48)
        if document:
            assert [s["codec_name"] for s in streams(document, "video")] == [product.facts["video_codec"]]
    if family is Family.SOUND:
        assert "video_codec" not in product.facts
        if document:
            assert [s["codec_name"] for s in streams(document, "audio")] == [product.facts["audio_codec"]]


def test_every_source_has_a_demuxer_and_a_sample() -> None:
    declared = {capability.source for capability in ENGINE.capabilities}
    assert declared == set(DEMUXERS) == set(MAKERS)


def test_the_engine_is_declared_without_the_library() -> None:
    code = (
        "import sys, convertd.engines.pyav as e; assert e.ENGINE.probe().ok; "
        "sys.exit(any(m in sys.modules for m in ('av', 'PIL', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_preloading_starts_no_thread() -> None:
    code = (
        "import importlib, os, convertd.engines.pyav as e\n"
        "[importlib.import_module(m) for m in e.ENGINE.preload]; e.ENGINE.warm_up()\n"
        "raise SystemExit(len(os.listdir('/proc/self/task')) != 1)"
    )
    if not Path("/proc/self/task").exists():
        pytest.skip("threads are counted through /proc")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def corpus_files() -> list[Path]:
    if CORPUS is None:
        return []
    return sorted(p for folder in ("audio", "video", "hostile") for p in (CORPUS / folder).iterdir())


@pytest.mark.skipif(CORPUS is None, reason="CONVERTD_CORPUS is not set")
@pytest.mark.parametrize("path", corpus_files(), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_corpus(path: Path, tmp_path: Path) -> None:
    """Every real file ends as an honest success or as an error that says what is wrong."""
    known = {(c.source, c.target) for c in ENGINE.capabilities if c.operation == "convert"}
    try:
        with path.open("rb") as file:
            source = identify(path.name, file.read(HEAD_BYTES)).name
    except ConvertdError:
        return
    for target in ("mp4", "mp3", "jpg"):
        if (source, target) not in known:
            continue
        error = failure(source, target, path, tmp_path)
        if error is None:
            probed(tmp_path / target / f"output.{target}")
            continue
        assert error.code in ("file_invalid", "limit_exceeded"), error
        assert str(path) not in error.message


def failure(source: str, target: str, path: Path, tmp_path: Path) -> ConvertdError | None:
    try:
        run(ENGINE, "convert", source, target, path, tmp_path / target)
    except ConvertdError as error:
        return error
    return None
