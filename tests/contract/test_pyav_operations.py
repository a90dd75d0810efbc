"""Storyboards, joined and adjusted sounds, what a file holds, and files without metadata."""

from __future__ import annotations

import array
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

from convertd.engines.base import Limits, Product
from convertd.engines.pyav import ENGINE
from convertd.errors import FileInvalid, InvalidRequest, LimitExceeded
from tests.contract.test_pyav import probed, streams
from tests.contract.test_pyav_pictures import shades
from tests.support import clips
from tests.support.engines import run


def call(operation: str, path: Path, target: str, tmp_path: Path, **given: Any) -> tuple[Path, Product]:
    return run(ENGINE, operation, path.suffix[1:], target, path, tmp_path / "out", **given)[0]


# --- storyboard


def tiles(path: Path, columns: int, rows: int) -> list[int]:
    with Image.open(path) as image:
        grey = image.convert("L")
        width, height = image.width // columns, image.height // rows
        spots = [
            (width * column + width // 2, height * row + height // 2)
            for row in range(rows)
            for column in range(columns)
        ]
        return [int(grey.getpixel(spot)) for spot in spots]  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [25, 1])
def test_frames_of_a_storyboard_are_spread_evenly(tmp_path: Path, rate: int) -> None:
    """Close ones are found in one go through the video, distant ones each on its own."""
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(60):
            frame = av.VideoFrame(64, 48, "gray")
            frame.planes[0].update(bytes([40 + 2 * number]) * frame.planes[0].buffer_size)
            frame = frame.reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    result, product = call("storyboard", path, "png", tmp_path, frames=4, columns=2, width=32)
    assert product.facts == {"width": 64, "height": 48, "frames": 4, "columns": 2}
    assert tiles(result, 2, 2) == pytest.approx([40 + 2 * n for n in (7, 22, 37, 52)], abs=4)


def test_a_short_video_repeats_no_frame(tmp_path: Path) -> None:
    result, product = call("storyboard", shades(tmp_path / "a.mp4", 3), "png", tmp_path)
    assert product.facts == {"width": 192, "height": 48, "frames": 3, "columns": 3}
    assert tiles(result, 3, 1) == pytest.approx([40, 42, 44], abs=2)


def test_a_storyboard_is_turned_and_square(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.mov", size=(64, 48), rotate=-90, aspect=Fraction(2))
    _, product = call("storyboard", path, "jpg", tmp_path, frames=2, columns=2, width=24, quality=40)
    assert (product.facts["width"], product.facts["height"]) == (48, 64)


def test_the_last_row_of_a_storyboard_ends_in_black(tmp_path: Path) -> None:
    path = shades(tmp_path / "a.mp4", 25)
    result, product = call("storyboard", path, "webp", tmp_path, frames=5, columns=3)
    assert product.facts["frames"] == 5
    assert tiles(result, 3, 2)[5] < 5


def test_a_storyboard_has_its_limits(tmp_path: Path) -> None:
    path = shades(tmp_path / "a.mp4", 25)
    with pytest.raises(LimitExceeded):
        call("storyboard", path, "png", tmp_path, limits=Limits(pixels=64 * 48 * 11))
    with pytest.raises(FileInvalid, match="no video"):
        call("storyboard", clips.sound(tmp_path / "b.mp4", "aac"), "jpg", tmp_path)


# --- concat


def level(path: Path, height: int, *, rate: int, channels: int, seconds: float = 0.5) -> Path:
    """A sound that stands still: every sample is ``height``."""
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("pcm_s16le", rate=rate, layout="mono" if channels == 1 else "stereo")
        count = int(rate * seconds)
        frame = av.AudioFrame("s16", stream.layout.name, count)
        frame.sample_rate, frame.pts = rate, 0
        frame.planes[0].update(array.array("h", [height] * count * channels).tobytes())
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def joined(paths: list[Path], target: str, tmp_path: Path, **given: Any) -> tuple[Path, Product]:
    others = [(path.suffix[1:], path) for path in paths[1:]]
    return call("concat", paths[0], target, tmp_path, others=others, **given)


def test_no_sample_is_lost_where_sounds_of_different_kinds_meet(tmp_path: Path) -> None:
    first = level(tmp_path / "a.wav", 8000, rate=48000, channels=2)
    second = level(tmp_path / "b.wav", 8000, rate=22050, channels=2)
    result, product = joined([first, second, first], "wav", tmp_path)
    heard = array.array("h", clips.pcm(result))
    assert len(heard) // 2 == pytest.approx(72000, abs=2)
    assert (product.facts["sample_rate"], product.facts["channels"]) == (48000, 2)
    assert max(abs(sample - 8000) for sample in heard) < 400


def test_sounds_come_in_their_order(tmp_path: Path) -> None:
    paths = [level(tmp_path / f"{n}.wav", 3000 * n, rate=8000, channels=1) for n in (1, 2, 3)]
    result, _ = joined([paths[2], paths[0], paths[1]], "flac", tmp_path)
    heard = array.array("h", clips.pcm(result))
    assert [heard[at] for at in (2000, 6000, 10000)] == [9000, 3000, 6000]


@pytest.mark.parametrize("target", ["mp3", "m4a", "opus", "ogg"])
def test_all_kinds_of_files_are_joined(tmp_path: Path, target: str) -> None:
    paths = [
        clips.sound(tmp_path / "a.mp3", "libmp3lame", seconds=0.5, tags={"title": "One"}),
        clips.video(tmp_path / "b.mkv", sounds=(("flac", 1),)),
        clips.sound(tmp_path / "c.opus", "libopus", rate=48000, seconds=0.5),
    ]
    result, product = joined(paths, target, tmp_path)
    assert product.facts["duration"] == pytest.approx(2.0, abs=0.03)
    document = probed(result)
    if document:
        assert [s["codec_type"] for s in document["streams"]] == ["audio"]
        assert "title" not in document["format"].get("tags", {})
        assert clips.samples(result) / product.facts["sample_rate"] == pytest.approx(2.0, abs=0.06)


def test_wishes_for_a_joined_sound(tmp_path: Path) -> None:
    path = clips.sound(tmp_path / "a.wav", "pcm_s16le")
    result, product = joined(
        [path, path], "mp3", tmp_path, audio_bitrate="64k", sample_rate=22050, channels=1
    )
    assert (product.facts["sample_rate"], product.facts["channels"]) == (22050, 1)
    assert result.stat().st_size == pytest.approx(16_000, rel=0.1)
    with pytest.raises(InvalidRequest):
        joined([path, path], "mp3", tmp_path, audio_bitrate="64k", quality=50)


def test_the_faulty_one_of_many_is_named(tmp_path: Path) -> None:
    good = clips.sound(tmp_path / "a.wav", "pcm_s16le")
    (tmp_path / "b.mp3").write_bytes(b"not a sound at all" * 100)
    with pytest.raises(FileInvalid, match=r"^Input 2: "):
        joined([good, tmp_path / "b.mp3"], "mp3", tmp_path)
    with pytest.raises(FileInvalid, match=r"^Input 1: The mp4 file holds no sound"):
        joined([clips.video(tmp_path / "c.mp4", sounds=()), good], "mp3", tmp_path)
    with pytest.raises(LimitExceeded):
        joined([good, good], "mp3", tmp_path, limits=Limits(seconds=1.5))


# --- adjust


def loudest(path: Path) -> int:
    return max(abs(sample) for sample in array.array("h", clips.pcm(path)))


def test_louder_and_faster(tmp_path: Path) -> None:
    path = clips.sound(tmp_path / "a.wav", "pcm_s16le", seconds=2)
    result, _ = call("adjust", path, "wav", tmp_path, volume=2)
    assert loudest(result) == pytest.approx(18000, abs=100)
    assert clips.samples(result) == 88200
    for speed, seconds in ((4, 0.5), (0.3, 6.67)):
        result, product = call("adjust", path, "wav", tmp_path, speed=speed)
        assert product.facts["duration"] == pytest.approx(seconds, abs=0.1)
    assert clips.pcm(call("adjust", path, "wav", tmp_path)[0]) == clips.pcm(path)


# --- inspect


def test_what_a_video_holds(tmp_path: Path) -> None:
    path = clips.video(
        tmp_path / "a.mov", size=(64, 48), rotate=-90, aspect=Fraction(2), tags={"title": "Sea"}
    )
    result, product = call("inspect", path, "json", tmp_path)
    facts = product.facts
    assert json.loads(result.read_text()) == facts
    assert (facts["kind"], facts["format"]) == ("video", "mov")
    assert (facts["width"], facts["height"]) == (48, 128)
    assert facts["duration"] == pytest.approx(1.0, abs=0.05)
    assert facts["tags"] == {"title": "Sea"}
    assert facts["cover"] is False
    picture, sound = facts["streams"]
    assert (picture["type"], picture["codec"], picture["rotation"]) == ("video", "h264", 90)
    assert (picture["width"], picture["height"], picture["fps"]) == (64, 48, 25.0)
    assert (sound["type"], sound["codec"], sound["channels"]) == ("audio", "aac", 2)
    document = probed(path)
    if document:
        assert facts["bit_rate"] == int(document["format"]["bit_rate"])


def test_what_a_sound_holds(tmp_path: Path) -> None:
    path = covered(tmp_path)
    _, product = call("inspect", path, "json", tmp_path)
    facts = product.facts
    assert (facts["kind"], facts["cover"]) == ("audio", True)
    assert facts["tags"]["artist"] == "Somebody"
    assert [stream["type"] for stream in facts["streams"]] == ["audio"]
    assert "width" not in facts


def covered(tmp_path: Path) -> Path:
    """An MP3 with tags and a cover."""
    bare = clips.sound(tmp_path / "bare.mp3", "libmp3lame")
    picture = tmp_path / "cover.png"
    Image.new("RGB", (8, 8), "red").save(picture)
    path = tmp_path / "a.mp3"
    with av.open(str(bare)) as source, av.open(str(picture)) as cover, av.open(str(path), "w") as out:
        out.metadata.update({"artist": "Somebody", "title": "Song"})
        sound = out.add_stream_from_template(source.streams.audio[0])
        art = out.add_stream_from_template(cover.streams.video[0])
        art.disposition = av.stream.Disposition.attached_pic
        for packet in source.demux():
            if packet.size:
                packet.stream = sound
                out.mux(packet)
        packet = next(cover.demux())
        packet.stream = art
        out.mux(packet)
    return path


# --- strip-metadata


def test_a_stripped_video_is_the_same_without_its_tags(tmp_path: Path) -> None:
    base = Fraction(1, 1000)
    path = clips.video(
        tmp_path / "a.mov",
        sounds=(("aac", 2), ("aac", 1)),
        rotate=-90,
        tags={"title": "Secret", "location": "+48.8577+002.295/", "comment": "Secret"},
        chapters=[{"id": 1, "start": 0, "end": 500, "time_base": base, "metadata": {"title": "Secret"}}],
    )
    assert b"Secret" in path.read_bytes()
    assert b"+48.8577" in path.read_bytes()
    result, _ = call("strip-metadata", path, "mov", tmp_path)
    assert not any(word in result.read_bytes() for word in (b"Secret", b"+48.8577", b"Lavf"))
    assert clips.packets(result) == clips.packets(path)
    document = probed(result)
    if document:
        assert len(streams(document, "audio")) == 2
        assert document["chapters"] == []
        assert streams(document, "video")[0]["side_data_list"][0]["rotation"] == -90


def test_a_stripped_sound_has_no_cover_and_starts_as_before(tmp_path: Path) -> None:
    path = covered(tmp_path)
    result, _ = call("strip-metadata", path, "mp3", tmp_path)
    assert b"Somebody" not in result.read_bytes()
    assert clips.packets(result, "audio") == clips.packets(path, "audio")
    assert clips.samples(result) == clips.samples(tmp_path / "bare.mp3")
    with av.open(str(result)) as container:
        assert [stream.type for stream in container.streams] == ["audio"]
        assert not container.metadata


# --- quality, and bit rates as caps


def noisy(path: Path) -> Path:
    """A video that takes many bits."""
    import random

    pixels = random.Random(1)
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 160, 120, "yuv420p", 8_000_000
        for number in range(50):
            frame = av.VideoFrame(64, 30, "gray")
            frame.planes[0].update(pixels.randbytes(frame.planes[0].buffer_size))
            frame = frame.reformat(160, 120, "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("target", "codec"), [("mp4", "h264"), ("webm", "vp9"), ("mp4", "h265"), ("mkv", "av1")]
)
def test_a_bit_rate_beside_a_crf_is_a_cap(tmp_path: Path, target: str, codec: str) -> None:
    path = noisy(tmp_path / "a.mkv")
    given: dict[str, Any] = {"video_codec": codec, "preset": "ultrafast"}
    free, _ = call("convert", path, target, tmp_path / "free", crf=24, **given)
    capped, _ = call("convert", path, target, tmp_path / "capped", crf=24, video_bitrate="150k", **given)
    assert free.stat().st_size > 100_000
    # Two seconds, and as much again from the buffer that is full at the start.
    assert capped.stat().st_size < 150_000 / 8 * 4
    calm = clips.video(tmp_path / "calm.mkv", "mpeg4", sounds=())
    sizes = [
        call("convert", calm, target, tmp_path / name, crf=24, **more, **given)[0].stat().st_size
        for name, more in (("free", {}), ("capped", {"video_bitrate": "20M"}))
    ]
    assert sizes[1] < sizes[0] * 2


def test_one_number_for_the_quality_of_a_video(tmp_path: Path) -> None:
    path = noisy(tmp_path / "a.mkv")
    made = {
        quality: call("convert", path, "mp4", tmp_path, quality=quality)[0].stat().st_size
        for quality in (1, 40, 75, 100)
    }
    assert sorted(made.values()) == list(made.values())
    assert made[1] < made[100] / 3
    usual, _ = call("convert", path, "mp4", tmp_path)
    assert usual.stat().st_size == made[75]


@pytest.mark.parametrize("target", ["mp3", "m4a", "opus", "ogg"])
def test_one_number_for_the_quality_of_a_sound(tmp_path: Path, target: str) -> None:
    path = clips.sound(tmp_path / "a.wav", "pcm_s16le", seconds=3)
    sizes = [
        call("convert", path, target, tmp_path, quality=quality)[0].stat().st_size for quality in (5, 75, 100)
    ]
    assert sizes[0] < sizes[1] < sizes[2]
    usual, _ = call("convert", path, target, tmp_path)
    assert usual.stat().st_size == pytest.approx(sizes[1], rel=0.02)


def test_a_preset_of_width_crf_and_bit_rates(tmp_path: Path) -> None:
    """Heights are even, nothing is enlarged, and tags stay behind."""
    path = clips.video(tmp_path / "a.mkv", size=(150, 82), tags={"title": "Secret"})
    for target, codecs in (("mp4", ("h264", "aac")), ("webm", ("vp9", "opus"))):
        for width, size in ((100, (100, 54)), (900, (150, 82))):
            result, product = call(
                "convert",
                path,
                target,
                tmp_path,
                width=width,
                crf=24,
                video_bitrate="2400k",
                audio_bitrate="128k",
                strip_metadata=True,
            )
            assert (product.facts["width"], product.facts["height"]) == size
            assert (product.facts["video_codec"], product.facts["audio_codec"]) == codecs
            assert b"Secret" not in result.read_bytes()


# --- trim to a sound


@pytest.mark.parametrize("target", ["mp3", "m4a", "wav", "flac", "ogg"])
def test_a_part_of_a_video_is_cut_to_a_sound(tmp_path: Path, target: str) -> None:
    path = clips.video(tmp_path / "a.mp4", frames=50)
    result, product = call("trim", path, target, tmp_path, start=0.5, duration=1)
    assert product.facts["duration"] == pytest.approx(1.0, abs=0.06)
    assert "video_codec" not in product.facts
    document = probed(result)
    if document:
        assert [s["codec_type"] for s in document["streams"]] == ["audio"]


def test_a_gif_of_a_width_follows_the_ratio(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.mp4", frames=50)
    _, product = call("convert", path, "gif", tmp_path, width=32, start=0.4, duration=1, fps=5)
    assert (product.facts["width"], product.facts["height"], product.facts["frames"]) == (32, 24, 5)
