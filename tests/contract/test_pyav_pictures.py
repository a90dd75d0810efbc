"""One frame as a picture, a part of a video, and a smaller one."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

from convertd.engines.base import Product
from convertd.engines.pyav import ENGINE
from convertd.errors import FileInvalid, InvalidRequest, LimitExceeded
from tests.contract.test_pyav_video import hdr, transparent
from tests.support import clips
from tests.support.engines import run


def call(operation: str, path: Path, target: str, tmp_path: Path, **given: Any) -> tuple[Path, Product]:
    return run(ENGINE, operation, path.suffix[1:], target, path, tmp_path / "out", **given)[0]


# --- thumbnail


def shades(path: Path, count: int, codec: str = "libx264", **more: Any) -> Path:
    """Frame number n is a plain grey of 40 + 2n."""
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec, rate=25, options={"bf": "2"} if codec == "libx264" else {})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.gop_size = 30
        for key, value in more.items():
            getattr(stream, key)(value)
        for number in range(count):
            frame = av.VideoFrame(64, 48, "gray")
            frame.planes[0].update(bytes([40 + 2 * number]) * frame.planes[0].buffer_size)
            frame = frame.reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def grey(path: Path) -> int:
    with Image.open(path) as image:
        return int(image.convert("L").getpixel((image.width // 2, image.height // 2)))  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "mpg", "avi", "flv"])
@pytest.mark.parametrize(
    ("timestamp", "number"), [(0, 0), (0.04, 1), (1.21, 30), (1.99, 49), (3.0, 75), (99, 99)]
)
def test_the_very_frame(tmp_path: Path, suffix: str, timestamp: float, number: int) -> None:
    codec = {"mpg": "mpeg2video", "avi": "mpeg4", "flv": "flv"}.get(suffix, "libx264")
    path = shades(tmp_path / f"a.{suffix}", 100, codec)
    result, _ = call("thumbnail", path, "png", tmp_path, timestamp=timestamp)
    assert grey(result) == pytest.approx(40 + 2 * number, abs=2 if suffix in ("mp4", "mkv") else 4)


def test_a_thumbnail_is_turned_and_square(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.mov", size=(64, 48), rotate=-90, aspect=Fraction(2))
    result, product = call("thumbnail", path, "jpg", tmp_path, enlarge=True, width=128, height=256)
    assert (product.facts["width"], product.facts["height"]) == (96, 256)
    with Image.open(result) as image:
        assert image.size == (96, 256)
        assert image.convert("L").getpixel((90, 10)) > 200


@pytest.mark.parametrize(
    ("given", "size"),
    [
        ({}, (64, 48)),
        ({"width": 32, "height": 32}, (32, 24)),
        ({"width": 32, "height": 32, "fit": "cover"}, (32, 32)),
        ({"width": 32, "height": 32, "fit": "contain"}, (32, 32)),
        ({"width": 200, "height": 200, "fit": "contain"}, (200, 200)),
        ({"width": 128, "height": 128, "enlarge": True}, (128, 96)),
        ({"width": 1280, "enlarge": True}, (1280, 960)),
        ({"height": 24}, (32, 24)),
    ],
)
@pytest.mark.parametrize("target", ["jpg", "png", "webp", "avif"])
def test_thumbnail_sizes(tmp_path: Path, target: str, given: dict[str, Any], size: tuple[int, int]) -> None:
    result, product = call("thumbnail", clips.video(tmp_path / "a.mp4"), target, tmp_path, **given)
    assert (product.facts["width"], product.facts["height"]) == size
    with Image.open(result) as image:
        assert image.size == size


def test_contain_pads_with_the_background(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.mp4")
    result, _ = call("thumbnail", path, "png", tmp_path, width=64, height=64, fit="contain", background="red")
    with Image.open(result) as image:
        assert image.convert("RGB").getpixel((30, 2)) == (255, 0, 0)
        assert image.convert("L").getpixel((60, 12)) == pytest.approx(87, abs=6)


def test_transparency_of_a_frame(tmp_path: Path) -> None:
    path = transparent(tmp_path / "a.mov")
    result, _ = call("convert", path, "png", tmp_path)
    with Image.open(result) as image:
        assert image.mode == "RGBA"
        assert image.getpixel((4, 4)) == (255, 255, 255, 255)
        assert image.getpixel((28, 28))[3] == 0  # type: ignore[index]
    result, _ = call("convert", path, "jpg", tmp_path, background="#00f")
    with Image.open(result) as image:
        red, green, blue = image.getpixel((28, 28))  # type: ignore[misc]
        assert red < 20
        assert green < 20
        assert blue > 235


def test_the_brightness_of_a_frame(tmp_path: Path) -> None:
    """White is 235 in studio range, 255 in full range and far above a screen's white in PQ."""
    studio = clips.video(tmp_path / "a.mp4", sounds=())
    full = clips.video(tmp_path / "b.mov", "mjpeg", pix_fmt="yuvj420p", sounds=(), options={"q": "2"})
    for path, dark in ((studio, 90), (full, 90), (hdr(tmp_path / "c.mkv"), 94)):
        result, _ = call("convert", path, "png", tmp_path)
        with Image.open(result) as image:
            found = [image.convert("L").getpixel(at) for at in ((4, 4), (50, 4))]
        white = 255 if path.suffix == ".mkv" else 235
        assert found == pytest.approx([white, dark], abs=5), path.name


def test_quality_of_a_frame(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.mp4", size=(640, 480))
    sizes = [
        call("convert", path, target, tmp_path, quality=quality)[0].stat().st_size
        for target in ("jpg", "webp", "avif")
        for quality in (20, 95)
    ]
    assert sizes[0] < sizes[1]
    assert sizes[2] < sizes[3]
    assert sizes[4] < sizes[5]


@pytest.mark.parametrize(("target", "given"), [("png", {"quality": 50}), ("jpg", {"background": "nocolour"})])
def test_wrong_wishes_for_a_frame(tmp_path: Path, target: str, given: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        call("convert", clips.video(tmp_path / "a.mp4"), target, tmp_path, **given)
    assert refused.value.field == next(iter(given))


def test_a_sound_has_no_picture(tmp_path: Path) -> None:
    with pytest.raises(FileInvalid, match="holds no video"):
        call("thumbnail", clips.sound(tmp_path / "a.mp4", "aac"), "jpg", tmp_path)


# --- trim


def test_a_precise_cut_is_at_the_frame(tmp_path: Path) -> None:
    path = shades(tmp_path / "a.mp4", 100)
    result, product = call("trim", path, "mp4", tmp_path, start=1.2, end=2.0)
    with av.open(str(result)) as container:
        found = [
            (round(float(f.pts * f.time_base), 3), clips.luma(f, 30, 20)) for f in container.decode(video=0)
        ]
    assert [time for time, _ in found] == [round(n * 0.04, 3) for n in range(20)]
    assert [shade for _, shade in found] == pytest.approx([40 + 2 * n for n in range(30, 50)], abs=3)
    assert product.facts["duration"] == pytest.approx(0.8, abs=0.01)


def test_a_precise_cut_between_two_frames_shows_what_stands_there(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.mkv", times=[0, 40, 3000, 3040], sounds=(), options={"bf": "0"})
    result, _ = call("trim", path, "mkv", tmp_path, start=1, end=3.02)
    assert clips.shown_times(result) == pytest.approx([0.0, 2.0], abs=0.01)


def test_sound_and_picture_are_cut_together(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.mp4", frames=75)
    result, _ = call("trim", path, "mp4", tmp_path, start=1.02, duration=1)
    assert clips.samples(result) == pytest.approx(44100, abs=2200)
    with av.open(str(result)) as container:
        first = next(container.decode(audio=0))
        assert abs(float(first.pts * first.time_base)) < 0.03


def test_a_fast_cut_copies_from_the_key_frame(tmp_path: Path) -> None:
    path = shades(tmp_path / "a.mp4", 100)
    result, product = call("trim", path, "mp4", tmp_path, start=2, end=3, precise=False)
    assert set(clips.packets(result)) <= set(clips.packets(path))
    assert clips.luma(clips.first_frame(result), 30, 20) == pytest.approx(40 + 2 * 30, abs=3)
    assert any("key frame at 1.200 seconds" in note for note in product.notes)
    assert product.facts["duration"] == pytest.approx(1.8, abs=0.15)


@pytest.mark.parametrize("source", ["ts", "mpg", "flv"])
def test_formats_without_an_index_are_cut_as_well(tmp_path: Path, source: str) -> None:
    codec = {"mpg": "mpeg2video", "flv": "flv"}.get(source, "libx264")
    path = shades(tmp_path / f"a.{source}", 100, codec)
    result, _ = call("trim", path, "mp4", tmp_path, start=2, end=2.4)
    assert clips.luma(clips.first_frame(result), 30, 20) == pytest.approx(40 + 2 * 50, abs=4)
    assert len(clips.shown_times(result)) == 10


def test_a_trim_keeps_the_codecs(tmp_path: Path) -> None:
    path = clips.video(
        tmp_path / "a.mkv", "libx265", sounds=(("flac", 2),), options={"x265-params": "log-level=none"}
    )
    _, product = call("trim", path, "mkv", tmp_path, start=0.2)
    assert (product.facts["video_codec"], product.facts["audio_codec"]) == ("hevc", "flac")


def test_chapters_are_cut_too(tmp_path: Path) -> None:
    chapters = [
        {"id": i, "start": i * 1000, "end": i * 1000 + 1000, "time_base": clips.MILLISECOND, "metadata": {}}
        for i in range(4)
    ]
    path = clips.video(tmp_path / "a.mkv", frames=100, chapters=chapters)
    result, _ = call("trim", path, "mkv", tmp_path, start=1.5, end=2.5)
    with av.open(str(result)) as container:
        found = [(c["start"] * c["time_base"], c["end"] * c["time_base"]) for c in container.chapters()]
    assert [(float(a), float(b)) for a, b in found] == [(0.0, 0.5), (0.5, 1.0)]


@pytest.mark.parametrize(
    ("given", "field"),
    [({"duration": 1, "end": 2}, "end"), ({"start": 0.5, "end": 0.5}, "end"), ({"start": 60}, "start")],
)
def test_impossible_parts_are_refused(tmp_path: Path, given: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        call("trim", clips.video(tmp_path / "a.mp4"), "mp4", tmp_path, **given)
    assert refused.value.field == field


# --- compress


def noisy(path: Path, *, frames: int = 100, options: dict[str, str] | None = None) -> Path:
    """Large for its length: every pixel of every frame is another grey."""
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("libx264", rate=25, options=options or {"crf": "10"})
        stream.width, stream.height = 160, 120
        sound: Any = out.add_stream("aac", rate=44100)
        sound.layout = "stereo"
        seed = 1
        for number in range(frames):
            frame = av.VideoFrame(160, 120, "yuv420p")
            for plane in frame.planes:
                seed = (seed * 1_103_515_245 + 12_345) % 2**31
                block = seed.to_bytes(4, "little") * 7 + bytes([number % 256, 3, 9])
                plane.update((block * (plane.buffer_size // len(block) + 1))[: plane.buffer_size])
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        clips.play(out, sound, frames / 25)
    return path


@pytest.mark.parametrize("target", ["mp4", "mov", "mkv", "webm"])
def test_a_video_becomes_smaller(tmp_path: Path, target: str) -> None:
    path = noisy(tmp_path / "a.mp4")
    result, product = call("compress", path, target, tmp_path, preset="veryfast")
    assert result.stat().st_size < path.stat().st_size * 0.8
    assert product.facts["duration"] == pytest.approx(4, abs=0.1)
    coarse, _ = call("compress", path, target, tmp_path, crf=45, preset="veryfast")
    assert coarse.stat().st_size < path.stat().st_size * 0.5


@pytest.mark.parametrize(
    ("target", "most"), [("mp4", 60_000), ("mp4", 150_000), ("mov", 100_000), ("webm", 100_000)]
)
def test_a_video_is_brought_down_to_a_size(tmp_path: Path, target: str, most: int) -> None:
    path = noisy(tmp_path / "a.mp4")
    result, product = call("compress", path, target, tmp_path, target_bytes=most, preset="veryfast")
    assert result.stat().st_size <= most
    assert product.facts["duration"] == pytest.approx(4, abs=0.1)
    assert product.facts["channels"] == 2
    assert [entry.name for entry in result.parent.iterdir()] == [result.name]


def test_surround_becomes_stereo_where_bits_are_few(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.mp4", frames=100, sounds=(("aac", 6),), options={"crf": "1"})
    _, product = call("compress", path, "mp4", tmp_path, target_bytes=60_000, preset="veryfast")
    assert product.facts["channels"] == 2


def test_a_video_that_cannot_be_that_small(tmp_path: Path) -> None:
    path = noisy(tmp_path / "a.mp4")
    with pytest.raises(LimitExceeded, match=r"5000 bytes are too few for 4 seconds of video; \d{5} are"):
        call("compress", path, "mp4", tmp_path, target_bytes=5000)


def test_a_small_video_comes_back(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.mp4", options={"crf": "51", "preset": "veryslow"}, frames=100)
    result, product = call("compress", path, "mp4", tmp_path, crf=1, strip_metadata=False)
    assert result.read_bytes() == path.read_bytes()
    assert any("would not have been smaller" in note for note in product.notes)


def test_a_small_video_comes_back_without_its_place(tmp_path: Path) -> None:
    tags = {"location": "+52.5000+013.4000/"}
    path = clips.video(tmp_path / "a.mp4", options={"crf": "51", "preset": "veryslow"}, frames=100, tags=tags)
    assert b"loci" in path.read_bytes()
    result, product = call("compress", path, "mp4", tmp_path, crf=1)
    assert clips.packets(result) == clips.packets(path)
    assert b"loci" not in result.read_bytes()
    assert any("without its metadata" in note for note in product.notes)


@pytest.mark.parametrize("tags", [{}, {"location": "+52.5000+013.4000/"}])
def test_what_tells_a_place_does_not_come_back_though_it_is_smaller(
    tmp_path: Path, tags: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the streams take more bytes, the input comes back only if there is nothing to be stripped."""
    monkeypatch.setattr("convertd.engines.pyav.compress._copied", lambda *given: False)
    path = clips.video(tmp_path / "a.mp4", options={"crf": "51", "preset": "veryslow"}, frames=100, tags=tags)
    result, product = call("compress", path, "mp4", tmp_path, crf=1)
    assert (result.read_bytes() == path.read_bytes()) == (not tags)
    assert b"loci" not in result.read_bytes()
    said = "is returned as it is." if not tags else "not smaller than the input, but free of its metadata."
    assert product.notes[-1].endswith(said)


def test_a_small_video_keeps_its_streams_in_another_container(tmp_path: Path) -> None:
    tags = {"title": "Secret" * 50}
    path = clips.video(tmp_path / "a.m4v", options={"crf": "51", "preset": "veryslow"}, frames=100, tags=tags)
    result, product = call("compress", path, "mp4", tmp_path, crf=1)
    assert clips.packets(result) == clips.packets(path)
    assert b"Secret" not in result.read_bytes()
    assert result.stat().st_size <= path.stat().st_size
    assert product.notes == ("The result would not have been smaller: its streams were kept as they are.",)


def test_another_size_is_given_though_it_takes_more_bytes(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.mp4", options={"crf": "51", "preset": "veryslow"}, frames=100)
    result, product = call("compress", path, "mp4", tmp_path, crf=0, width=32)
    assert product.facts["width"] == 32
    if result.stat().st_size >= path.stat().st_size:
        assert product.notes[-1].startswith("The result is not smaller than the input")


def test_quality_and_size_contradict(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest) as refused:
        call("compress", clips.video(tmp_path / "a.mp4"), "mp4", tmp_path, crf=30, target_bytes=50_000)
    assert refused.value.field == "target_bytes"
