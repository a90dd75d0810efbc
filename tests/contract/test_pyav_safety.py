"""Hostile files end typed and fast, and nothing but the input is ever read."""

from __future__ import annotations

import struct
import time
from pathlib import Path
from typing import Any

import av
import pytest

from convertd.engines.base import Limits
from convertd.engines.pyav import ENGINE
from convertd.engines.pyav.codecs import DEMUXERS
from convertd.errors import ConvertdError, EngineError, FileInvalid, LimitExceeded
from tests.support import clips
from tests.support.engines import run

FORBIDDEN = (
    "concat",
    "hls",
    "dash",
    "image2",
    "lavfi",
    "sdp",
    "mpjpeg",
    "rtsp",
    "rtp",
    "applehttp",
    "image2pipe",
)


def attempt(path: Path, source: str, target: str, tmp_path: Path, **more: Any) -> list[tuple[Path, Any]]:
    return run(ENGINE, "convert", source, target, path, tmp_path / "out", **more)


def test_no_playlist_has_a_demuxer() -> None:
    named = {name for names in DEMUXERS.values() for name in names.split(",")}
    assert not named & set(FORBIDDEN)


@pytest.fixture(scope="session")
def canary_clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return clips.video(
        tmp_path_factory.mktemp("canary") / "canary.ts", frames=100, format="mpegts"
    ).read_bytes()


@pytest.fixture
def canary(tmp_path: Path, canary_clip: bytes) -> Path:
    """A sibling that an attack would fold into the result."""
    path = tmp_path / "canary.ts"
    path.write_bytes(canary_clip)
    return path


PLAYLISTS = {
    "ffconcat": "ffconcat version 1.0\nfile {path}\n",
    "concat-absolute": "ffconcat version 1.0\nfile '{absolute}'\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n{path}\n#EXT-X-ENDLIST\n",
    "hls-parent": "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n../{parent}/{path}\n#EXT-X-ENDLIST\n",
    "hls-http": "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT4S"><Period><AdaptationSet mimeType="video/mp2t"><Representation id="1" '
    'bandwidth="1"><BaseURL>{path}</BaseURL></Representation></AdaptationSet></Period></MPD>',
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
    "image2": "canary%03d.png\n",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("source", ["mp4", "ts", "mkv", "mp3", "mpg"])
def test_playlists_are_refused(tmp_path: Path, canary: Path, kind: str, source: str) -> None:
    text = PLAYLISTS[kind].format(path=canary.name, absolute=canary, parent=tmp_path.name)
    path = tmp_path / f"attack.{source}"
    path.write_text(text)
    opened_at = canary.stat().st_atime_ns
    for target in ("mp4", "mp3"):
        if source != "mp3" or target == "mp3":
            with pytest.raises(FileInvalid):
                attempt(path, source, target, tmp_path)
    assert canary.stat().st_atime_ns == opened_at


def test_a_movie_that_points_to_another_file_reads_only_itself(tmp_path: Path, canary: Path) -> None:
    """A data reference (ISO/IEC 14496-12, 8.7.2) of the Apple alias kind, naming the canary by its path."""
    path = clips.video(tmp_path / "attack.mov", frames=10, sounds=())
    data = path.read_bytes()
    old = struct.pack(">I4sI", 12, b"url ", 1)
    at = data.index(old)
    name = str(canary).encode()
    alias = bytes(150 - 12) + struct.pack(">HH", 2, len(name)) + name + struct.pack(">HH", 0xFFFF, 0)
    new = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + alias
    grown = bytearray(data[:at] + new + data[at + len(old) :])
    for box in (b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        where = grown.rindex(box, 0, at + 8) - 4
        size = struct.unpack_from(">I", grown, where)[0]
        struct.pack_into(">I", grown, where, size + len(new) - len(old))
    path.write_bytes(grown)
    opened_at = canary.stat().st_atime_ns
    try:
        result, product = attempt(path, "mov", "mp4", tmp_path, crf=30)[0]
    except FileInvalid:
        pass
    else:
        assert product.facts["duration"] < 1
        assert result.exists()
    assert canary.stat().st_atime_ns == opened_at


@pytest.mark.parametrize("source", sorted(DEMUXERS))
def test_rubbish_is_invalid(tmp_path: Path, source: str) -> None:
    path = tmp_path / f"a.{source}"
    for content in (b"\0" * 4096, b"not a recording at all\n" * 200, bytes(range(256)) * 64):
        path.write_bytes(content)
        target = "mp3" if source != "gif" else "mp4"
        with pytest.raises(FileInvalid) as refused:
            attempt(path, source, target, tmp_path)
        assert str(tmp_path) not in refused.value.message


def test_what_ffmpeg_said_is_in_the_detail_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"rubbish" * 100)
    with pytest.raises(FileInvalid) as refused:
        attempt(path, "mp4", "mkv", tmp_path)
    assert "InvalidDataError" in (refused.value.detail or "")
    assert "Error" not in refused.value.message


# --- limits


def test_pixels_of_a_frame(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.mp4", size=(128, 96))
    begin = time.monotonic()
    for target in ("mkv", "jpg", "gif", "webm"):
        with pytest.raises(LimitExceeded, match="128 × 96 has 12288 pixels; 10000 are allowed"):
            attempt(path, "mp4", target, tmp_path, limits=Limits(pixels=10_000))
    assert time.monotonic() - begin < 1


def test_pixels_that_appear_later(tmp_path: Path) -> None:
    path = tmp_path / "a.ts"
    parts = [
        clips.video(tmp_path / f"{i}.ts", size=size, sounds=())
        for i, size in enumerate(((64, 48), (256, 192)))
    ]
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    try:
        result, product = attempt(path, "ts", "mp4", tmp_path, crf=30, limits=Limits(pixels=10_000))[0]
    except LimitExceeded:
        return
    # The decoder may refuse the large frames itself; then they are told as damaged.
    assert (product.facts["width"], product.facts["height"]) == (64, 48)
    assert any("damaged" in note for note in product.notes)
    assert result.exists()


def test_pixels_that_are_asked_for(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.mp4")
    with pytest.raises(LimitExceeded, match="are allowed"):
        attempt(path, "mp4", "mp4", tmp_path, width=8000, enlarge=True, limits=Limits(pixels=1_000_000))
    with pytest.raises(LimitExceeded, match="are allowed"):
        attempt(path, "mp4", "jpg", tmp_path, width=8000, enlarge=True, limits=Limits(pixels=1_000_000))


def test_seconds_in_the_header(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.mp4", frames=100)
    with pytest.raises(LimitExceeded, match="lasts 4 seconds; 2 are allowed"):
        attempt(path, "mp4", "mkv", tmp_path, limits=Limits(seconds=2))


@pytest.mark.parametrize("given", [{}, {"crf": 30}])
def test_seconds_that_the_header_denies(tmp_path: Path, given: dict[str, Any]) -> None:
    path = clips.video(tmp_path / "a.mkv", frames=100)
    data = bytearray(path.read_bytes())
    at = data.index(b"\x44\x89\x88")  # The Duration element, eight bytes of it.
    struct.pack_into(">d", data, at + 3, 1000.0)
    path.write_bytes(data)
    with pytest.raises(LimitExceeded, match="2 are allowed"):
        attempt(path, "mkv", "mp4", tmp_path, limits=Limits(seconds=2), **given)


def test_streams(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.mkv", sounds=(("flac", 1),) * 5)
    with pytest.raises(LimitExceeded, match="6 streams; 4 are allowed"):
        attempt(path, "mkv", "mp4", tmp_path, limits=Limits(streams=4))


@pytest.mark.parametrize(("target", "given"), [("mkv", {}), ("mp4", {"crf": 1}), ("wav", {}), ("gif", {})])
def test_bytes_of_the_output(tmp_path: Path, target: str, given: dict[str, Any]) -> None:
    path = clips.video(tmp_path / "a.mp4", frames=50)
    with pytest.raises(LimitExceeded, match="1000 bytes that are allowed"):
        attempt(path, "mp4", target, tmp_path, limits=Limits(output_bytes=1000), **given)


def test_threads_reach_the_encoder(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.mp4", size=(640, 480))
    result, _ = attempt(path, "mp4", "mp4", tmp_path, crf=40, limits=Limits(threads=1))[0]
    assert b"threads=1 " in result.read_bytes()


def test_an_encoder_that_fails_is_no_fault_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from convertd.engines.pyav import writing

    def fail(*_: object, **__: object) -> None:
        raise av.ExternalError(-542398533, "Generic error in an external library")

    monkeypatch.setattr(writing.Sink, "mux", fail)
    with pytest.raises(EngineError) as failed:
        attempt(clips.video(tmp_path / "a.mp4"), "mp4", "mkv", tmp_path)
    assert "ExternalError" in (failed.value.detail or "")


@pytest.mark.parametrize("target", ["mp4", "webm", "gif", "jpg", "mp3"])
@pytest.mark.parametrize("source", ["mp4", "mkv", "ts", "flv", "avi"])
def test_mutated_files_end_typed(tmp_path: Path, source: str, target: str) -> None:
    codec = {"flv": "flv", "avi": "mpeg4"}.get(source, "libx264")
    sounds = (("libmp3lame", 1),) if source in ("flv", "avi") else (("aac", 1),)
    whole = bytearray(clips.video(tmp_path / f"whole.{source}", codec, frames=6, sounds=sounds).read_bytes())
    path = tmp_path / f"a.{source}"
    for seed in range(4):
        data = bytearray(whole)
        for step in range(40):
            data[(seed * 7919 + step * 104_729) % len(data)] = (seed * 31 + step * 17) % 256
        path.write_bytes(data)
        begin = time.monotonic()
        assert outcome(path, source, target, tmp_path) in ("done", "file_invalid", "limit_exceeded")
        assert time.monotonic() - begin < 10


def outcome(path: Path, source: str, target: str, tmp_path: Path) -> str:
    try:
        attempt(path, source, target, tmp_path, limits=Limits(seconds=60))
    except ConvertdError as error:
        return error.code
    return "done"
