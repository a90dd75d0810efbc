"""Files whose streams end at different times are whole; files that lack their end are not."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from convertd.engines.base import Product
from convertd.engines.pyav import ENGINE
from convertd.errors import FileInvalid
from tests.contract.test_pyav_video import ASS_HEADER
from tests.support import clips
from tests.support.engines import run

CODECS = {
    "mp4": ("libx264", "aac"),
    "mkv": ("libx264", "flac"),
    "webm": ("libvpx", "libopus"),
    "avi": ("mpeg4", "mp2"),
}
"""Picture and sound by container."""


def convert(
    path: Path, target: str, tmp_path: Path, operation: str = "convert", **given: Any
) -> tuple[Path, Product]:
    return run(ENGINE, operation, path.suffix[1:], target, path, tmp_path / "out", **given)[0]


def uneven(path: Path, *, picture: int, sound: int, text: int = 0) -> Path:
    """A video of so many seconds of picture at 10 fps, of sound, and of subtitles."""
    codecs = CODECS[path.suffix[1:]]
    options = {"movflags": "+faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", container_options=options) as out:
        shown: Any = out.add_stream(codecs[0], rate=10)
        shown.width, shown.height = 64, 48
        heard: Any = out.add_stream(codecs[1], rate=16000)
        heard.layout = "mono"
        written: Any = out.add_stream("subrip") if text else None
        if text:
            written.codec_context.subtitle_header = ASS_HEADER
        for second in range(max(picture, sound)):
            for number in range(second * 10, second * 10 + 10) if second < picture else ():
                frame = clips.frame(64, 48, number)
                frame.pts, frame.time_base = number, Fraction(1, 10)
                out.mux(shown.encode(frame))
            if second < sound:
                out.mux(heard.encode(clips.tone(16000, 16000, 1, second * 16000)))
        out.mux(shown.encode(None))
        out.mux(heard.encode(None))
        for second in range(0, text, 10):
            line = av.Packet(b"words")
            line.stream, line.time_base = written, clips.MILLISECOND
            line.pts = line.dts = second * 1000
            line.duration = 10_000
            out.mux(line)
    return path


@pytest.mark.parametrize("suffix", CODECS)
def test_sound_that_ends_before_the_picture(tmp_path: Path, suffix: str) -> None:
    path = uneven(tmp_path / f"a.{suffix}", picture=9, sound=5)
    for operation, target in (("convert", "mp3"), ("extract-audio", "m4a"), ("extract-audio", "wav")):
        _, product = convert(path, target, tmp_path, operation)
        assert product.facts["duration"] == pytest.approx(5, abs=0.2)
        assert not product.notes


@pytest.mark.parametrize("suffix", CODECS)
def test_a_picture_that_ends_before_the_sound(tmp_path: Path, suffix: str) -> None:
    path = uneven(tmp_path / f"a.{suffix}", picture=5, sound=9)
    for target, given in (
        ("mp4", {"audio_codec": "none", "preset": "ultrafast"}),
        ("webm", {"audio_codec": "none", "preset": "ultrafast", "video_codec": "vp8", "crf": 40}),
        ("gif", {"fps": 5}),
    ):
        _, product = convert(path, target, tmp_path, **given)
        assert product.facts["duration"] == pytest.approx(5, abs=0.25), target
        assert not product.notes


def test_subtitles_that_outlast_picture_and_sound(tmp_path: Path) -> None:
    path = uneven(tmp_path / "a.mkv", picture=5, sound=4, text=60)
    for target in ("mp3", "mp4", "mkv", "gif"):
        result, product = convert(path, target, tmp_path)
        assert result.stat().st_size > 0
        assert not product.notes


def test_formats_that_may_break_off_are_not_said_to(tmp_path: Path) -> None:
    whole = uneven(tmp_path / "a.mkv", picture=9, sound=5)
    path, _ = convert(whole, "mkv", tmp_path, audio_codec="mp3", video_codec="h264")
    with av.open(str(path)) as old, av.open(str(tmp_path / "a.ts"), "w") as out:
        pairs = {stream.index: out.add_stream_from_template(stream) for stream in old.streams}
        for packet in old.demux():
            if packet.dts is not None:
                packet.stream = pairs[packet.stream_index]
                out.mux(packet)
    _, product = convert(tmp_path / "a.ts", "mp3", tmp_path)
    assert product.facts["duration"] == pytest.approx(5, abs=0.2)
    assert not product.notes


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm"])
@pytest.mark.parametrize("lengths", [(9, 5), (5, 9), (9, 9)])
def test_what_is_cut_off_is_refused(tmp_path: Path, suffix: str, lengths: tuple[int, int]) -> None:
    path = uneven(tmp_path / f"a.{suffix}", picture=lengths[0], sound=lengths[1])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for target in ("mp3", "mkv"):
        with pytest.raises(FileInvalid, match="cut off"):
            convert(path, target, tmp_path)
