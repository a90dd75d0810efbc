"""What the PyAV engine promises of video: copied where it fits, in step, upright, in its colours."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest

from convertd.engines.base import Limits, Product
from convertd.engines.pyav import ENGINE
from convertd.errors import FileInvalid, InvalidRequest, LimitExceeded
from tests.contract.test_pyav import probed, streams
from tests.support import clips
from tests.support.engines import run

PQ = (9, 16, 9, 1)
BT601 = (6, 6, 6, 1)


def convert(
    path: Path, target: str, tmp_path: Path, operation: str = "convert", **given: Any
) -> tuple[Path, Product]:
    source = path.suffix[1:]
    return run(ENGINE, operation, source, target, path, tmp_path / "out", **given)[0]


# --- copy or encode


@pytest.mark.parametrize(
    ("source", "target"), [("mov", "mp4"), ("mkv", "mp4"), ("ts", "mp4"), ("flv", "mov")]
)
def test_streams_that_fit_are_copied(tmp_path: Path, source: str, target: str) -> None:
    path = clips.video(tmp_path / f"a.{source}", options={"bf": "2"})
    result, product = convert(path, target, tmp_path)
    # Transport streams carry start codes and headers in each packet: the pictures say that nothing was lost.
    with av.open(str(path)) as one, av.open(str(result)) as other:
        pictures = [[bytes(f.planes[0]) for f in c.decode(video=0)] for c in (one, other)]
    assert pictures[0] == pictures[1]
    assert product.facts["video_codec"] == "h264"
    assert clips.shown_times(result) == pytest.approx(clips.shown_times(path), abs=0.002)
    with av.open(str(result)) as container:
        assert container.streams.audio[0].codec_context.extradata


def test_packets_of_a_copy_are_the_same(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.mov")
    result, _ = convert(path, "mp4", tmp_path)
    assert clips.packets(result) == clips.packets(path)
    assert clips.packets(result, "audio") == clips.packets(path, "audio")


def test_index_of_an_mp4_is_at_the_front(tmp_path: Path) -> None:
    result, _ = convert(clips.video(tmp_path / "a.mkv"), "mp4", tmp_path)
    data = result.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_hevc_is_tagged_as_apple_wants(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.mkv", "libx265", options={"x265-params": "log-level=none"})
    result, _ = convert(path, "mp4", tmp_path)
    assert b"hvc1" in result.read_bytes()
    assert b"hev1" not in result.read_bytes()


@pytest.mark.parametrize(
    ("target", "codecs"),
    [
        ("mp4", ("h264", "aac")),
        ("mov", ("h264", "aac")),
        ("mkv", ("mpeg4", "mp2")),
        ("webm", ("vp9", "opus")),
    ],
)
def test_what_does_not_fit_is_encoded(tmp_path: Path, target: str, codecs: tuple[str, str]) -> None:
    path = clips.video(tmp_path / "a.avi", "mpeg4", sounds=(("mp2", 2),))
    _, product = convert(path, target, tmp_path)
    assert (product.facts["video_codec"], product.facts["audio_codec"]) == codecs


@pytest.mark.parametrize(
    ("codec", "name"), [("h265", "hevc"), ("vp8", "vp8"), ("vp9", "vp9"), ("av1", "av1")]
)
def test_video_codec_is_chosen(tmp_path: Path, codec: str, name: str) -> None:
    _, product = convert(
        clips.video(tmp_path / "a.mp4"), "mkv", tmp_path, video_codec=codec, preset="ultrafast"
    )
    assert product.facts["video_codec"] == name
    assert product.facts["audio_codec"] == "aac"


@pytest.mark.parametrize(
    ("codec", "name"), [("mp3", "mp3"), ("opus", "opus"), ("flac", "flac"), ("vorbis", "vorbis")]
)
def test_audio_codec_is_chosen_while_the_picture_is_copied(tmp_path: Path, codec: str, name: str) -> None:
    path = clips.video(tmp_path / "a.mp4")
    result, product = convert(path, "mkv", tmp_path, audio_codec=codec)
    assert product.facts["audio_codec"] == name
    assert clips.packets(result) == clips.packets(path)


def test_codecs_that_the_container_cannot_hold_are_refused(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.mp4")
    with pytest.raises(InvalidRequest, match="one of av1, copy, vp8, vp9") as refused:
        convert(path, "webm", tmp_path, video_codec="h264")
    assert refused.value.field == "video_codec"
    with pytest.raises(InvalidRequest, match="one of copy, none, opus, vorbis") as refused:
        convert(path, "webm", tmp_path, audio_codec="aac")
    assert refused.value.field == "audio_codec"
    with pytest.raises(
        InvalidRequest, match="webm cannot hold h264 video as it is; use video_codec vp9"
    ) as refused:
        convert(path, "webm", tmp_path, video_codec="copy")
    assert refused.value.field == "video_codec"
    with pytest.raises(InvalidRequest, match="cannot hold aac sound as it is") as refused:
        convert(path, "webm", tmp_path, audio_codec="copy")
    assert refused.value.field == "audio_codec"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"crf": 20, "quality": 50}, "quality"),
        ({"video_codec": "copy", "width": 32}, "width"),
        ({"audio_codec": "copy", "channels": 1}, "channels"),
        ({"audio_codec": "none", "audio_bitrate": 64_000}, "audio_bitrate"),
        ({"video_codec": "h264", "crf": 60}, "crf"),
        ({"crf": 60}, "crf"),
    ],
)
def test_contradictions_are_refused(tmp_path: Path, given: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        convert(clips.video(tmp_path / "a.mp4"), "mp4", tmp_path, **given)
    assert refused.value.field == field


def test_settings_reach_the_encoder(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.mp4")
    result, _ = convert(path, "mp4", tmp_path, crf=31, preset="superfast")
    assert b"crf=31.0" in result.read_bytes()
    assert b"subme=1" in result.read_bytes()
    result, _ = convert(path, "mp4", tmp_path, video_bitrate="90k")
    assert b"rc=abr" in result.read_bytes()
    assert b"bitrate=90 " in result.read_bytes()
    assert b"sliced_threads=0" in result.read_bytes()


def test_key_frames_of_the_source_are_not_forced_on_the_result(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.mp4", key_every=2)
    result, _ = convert(path, "mp4", tmp_path, crf=30)
    with av.open(str(result)) as container:
        assert sum(p.is_keyframe for p in container.demux(video=0)) == 1


def test_sound_can_be_left_out(tmp_path: Path) -> None:
    _, product = convert(clips.video(tmp_path / "a.mp4"), "mkv", tmp_path, audio_codec="none")
    assert "audio_codec" not in product.facts


def test_high_profiles_of_h264_become_playable_in_mp4_alone(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.mkv", pix_fmt="yuv422p10le")
    result, _ = convert(path, "mp4", tmp_path)
    assert clips.first_frame(result).format.name == "yuv420p"
    result, _ = convert(path, "mov", tmp_path)
    assert clips.first_frame(result).format.name == "yuv422p10le"


# --- time


def test_variable_frame_times_are_kept(tmp_path: Path) -> None:
    times = [0, 40, 80, 500, 517, 1000, 1040, 2000]
    path = clips.video(tmp_path / "a.mkv", times=times, options={"bf": "0"})
    result, product = convert(path, "mp4", tmp_path, crf=30)
    assert clips.shown_times(result) == pytest.approx([t / 1000 for t in times], abs=0.002)
    assert product.facts["duration"] == pytest.approx(2.04, abs=0.1)


def test_fps_makes_the_rate_constant(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.mkv", times=[0, 40, 80, 500, 517, 1000], options={"bf": "0"})
    result, product = convert(path, "mp4", tmp_path, fps=10)
    times = clips.shown_times(result)
    assert [b - a for a, b in pairwise(times)] == pytest.approx([0.1] * (len(times) - 1))
    assert product.facts["fps"] == 10
    _, product = convert(path, "mp4", tmp_path, fps=29.97)
    assert product.facts["fps"] == 29.97


def test_sound_that_starts_late_stays_late(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as out:
        picture: Any = out.add_stream("libx264", rate=25)
        picture.width, picture.height = 64, 48
        sound: Any = out.add_stream("libmp3lame", rate=44100)
        for number in range(50):
            frame = clips.frame(64, 48, number)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(picture.encode(frame))
        out.mux(picture.encode(None))
        for start in range(44100, 88200, 1152):
            out.mux(sound.encode(clips.tone(1152, 44100, 2, start)))
        out.mux(sound.encode(None))
    for given in ({}, {"crf": 30, "audio_codec": "aac"}):
        result, _ = convert(path, "mp4", tmp_path, **given)
        with av.open(str(result)) as container:
            first = next(container.decode(audio=0))
            assert float(first.pts * first.time_base) == pytest.approx(1.0, abs=0.06)


def test_a_start_time_is_taken_off(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.ts", times=range(5000, 6000, 40), sounds=())
    with av.open(str(path)) as container:
        assert container.start_time > 4_000_000
    for given in ({}, {"crf": 30}):
        result, product = convert(path, "mp4", tmp_path, **given)
        with av.open(str(result)) as container:
            assert container.start_time < 100_000
        assert product.facts["duration"] == pytest.approx(1.0, abs=0.1)


# --- shape


def test_rotation_is_applied_or_kept(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.mov", size=(64, 48), rotate=90)
    copied, _ = convert(path, "mp4", tmp_path)
    assert clips.first_frame(copied).rotation == 90
    assert clips.packets(copied) == clips.packets(path)
    encoded, product = convert(path, "mp4", tmp_path, crf=20)
    frame = clips.first_frame(encoded)
    assert frame.rotation == 0
    assert (product.facts["width"], product.facts["height"]) == (48, 64)
    # A quarter turn against the clock carries the white corner from top left to bottom left.
    assert clips.luma(frame, 4, 59) > 200
    assert clips.luma(frame, 4, 4) < 120


@pytest.mark.parametrize(("degrees", "corner"), [(-90, (43, 4)), (180, (59, 43))])
def test_other_rotations(tmp_path: Path, degrees: int, corner: tuple[int, int]) -> None:
    path = clips.video(tmp_path / "a.mov", rotate=degrees)
    result, _ = convert(path, "mp4", tmp_path, crf=20)
    assert clips.luma(clips.first_frame(result), *corner) > 200


def test_odd_sizes_become_even(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.webm", "libvpx-vp9", size=(65, 49), options={"cpu-used": "8"}, sounds=())
    result, product = convert(path, "mp4", tmp_path, video_codec="h264")
    assert (product.facts["width"], product.facts["height"]) == (64, 48)
    assert clips.first_frame(result).format.name == "yuv420p"


@pytest.mark.parametrize(
    ("given", "size"),
    [
        ({"width": 40}, (40, 30)),
        ({"height": 24}, (32, 24)),
        ({"width": 32, "height": 12}, (16, 12)),
        ({"width": 33}, (32, 24)),
        ({"width": 128, "enlarge": True}, (128, 96)),
    ],
)
def test_size_fits_inside_and_keeps_the_ratio(
    tmp_path: Path, given: dict[str, Any], size: tuple[int, int]
) -> None:
    _, product = convert(clips.video(tmp_path / "a.mp4"), "mp4", tmp_path, **given)
    assert (product.facts["width"], product.facts["height"]) == size


def test_a_box_that_is_large_enough_changes_nothing(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.mp4")
    result, _ = convert(path, "mov", tmp_path, width=1000)
    assert clips.packets(result) == clips.packets(path)


def test_pixels_that_are_not_square(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.mkv", aspect=Fraction(2), pix_fmt="yuv422p")
    encoded, product = convert(path, "mp4", tmp_path)
    assert (product.facts["width"], product.facts["height"]) == (64, 48)
    with av.open(str(encoded)) as container:
        assert container.streams.video[0].sample_aspect_ratio == 2
    scaled, product = convert(path, "mp4", tmp_path, width=64)
    assert (product.facts["width"], product.facts["height"]) == (64, 24)
    with av.open(str(scaled)) as container:
        assert container.streams.video[0].sample_aspect_ratio in (None, 1)


def shown_ratio(path: Path) -> Fraction:
    """Width over height as a player shows it, by PyAV and by ffprobe."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        ratio = stream.width * (stream.sample_aspect_ratio or Fraction(1)) / stream.height
    for seen in streams(probed(path), "video"):
        told = seen.get("sample_aspect_ratio", "1:1").replace(":", "/")
        assert seen["width"] * Fraction(told) / seen["height"] == ratio
    return Fraction(ratio)


@pytest.mark.parametrize(
    ("target", "given"),
    [
        ("webm", {}),
        ("webm", {"video_codec": "vp8"}),
        ("webm", {"video_codec": "av1"}),
        ("mkv", {}),
        ("mkv", {"crf": 30}),
        ("mkv", {"video_codec": "vp9"}),
        ("mp4", {"crf": 30}),
        ("mp4", {"video_codec": "h265"}),
        ("mp4", {"video_codec": "vp9"}),
        ("mov", {"crf": 30}),
        ("gif", {}),
    ],
)
def test_the_shape_of_the_picture_stays(tmp_path: Path, target: str, given: dict[str, Any]) -> None:
    path = clips.video(tmp_path / "a.mp4", size=(90, 72), frames=5, aspect=Fraction(16, 15), sounds=())
    result, _ = convert(path, target, tmp_path, **given)
    assert shown_ratio(result) == Fraction(4, 3)


def test_the_shape_of_a_copied_picture_stays(tmp_path: Path) -> None:
    whole = clips.video(tmp_path / "whole.mp4", size=(90, 72), frames=5, aspect=Fraction(16, 15), sounds=())
    path, _ = convert(whole, "mp4", tmp_path, video_codec="vp9")
    path = path.rename(tmp_path / "a.mp4")
    for target in ("mp4", "mkv", "webm"):
        result, product = convert(path, target, tmp_path)
        assert shown_ratio(result) == Fraction(4, 3), target
        assert any("square" in note for note in product.notes) == (target == "webm")
    _, product = convert(path, "webm", tmp_path, video_codec="copy")
    assert any("squeezed" in note for note in product.notes)


def test_frames_that_change_their_size_midway(tmp_path: Path) -> None:
    path = tmp_path / "a.ts"
    parts = [
        clips.video(tmp_path / f"{i}.ts", size=size, sounds=()) for i, size in enumerate(((64, 48), (96, 48)))
    ]
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    result, product = convert(path, "mp4", tmp_path, crf=30)
    assert (product.facts["width"], product.facts["height"]) == (64, 48)
    with av.open(str(result)) as container:
        assert {(f.width, f.height) for f in container.decode(video=0)} == {(64, 48)}


def test_interlaced_video_is_woven_into_whole_frames(tmp_path: Path) -> None:
    path = clips.video(
        tmp_path / "a.mkv", "mpeg2video", options={"top": "1"}, flags=av.codec.context.Flags.interlaced_dct
    )
    assert clips.first_frame(path).interlaced_frame
    result, _ = convert(path, "mp4", tmp_path)
    assert not clips.first_frame(result).interlaced_frame
    assert len(clips.shown_times(result)) == len(clips.shown_times(path))


# --- colour


def test_colour_tags_are_carried(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.mkv", colour=BT601)
    for given in ({}, {"crf": 30}, {"video_codec": "h265", "preset": "ultrafast"}):
        frame = clips.first_frame(convert(path, "mp4", tmp_path, **given)[0])
        assert (frame.color_primaries, frame.color_trc, frame.colorspace, frame.color_range) == BT601


def test_full_range_keeps_its_brightness(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.mov", "mjpeg", pix_fmt="yuvj420p")
    result, _ = convert(path, "mp4", tmp_path, crf=10)
    before, after = clips.first_frame(path), clips.first_frame(result)
    assert after.format.name == "yuv420p"
    for point in ((4, 4), (50, 4)):
        assert clips.luma(after, *point) == pytest.approx(clips.luma(before, *point), abs=4)


def hdr(path: Path) -> Path:
    options = {"x265-params": "log-level=none:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"}
    return clips.video(path, "libx265", pix_fmt="yuv420p10le", colour=PQ, options=options)


def test_hdr_is_tone_mapped_and_told(tmp_path: Path) -> None:
    path = hdr(tmp_path / "a.mkv")
    result, product = convert(path, "mp4", tmp_path, video_codec="h264")
    frame = clips.first_frame(result)
    assert (frame.color_primaries, frame.color_trc, frame.colorspace) == (1, 1, 1)
    assert any("tone-mapped" in note for note in product.notes)
    # In PQ 120 of 255 is some 70 cd/m², a third of what a standard screen calls white; 235 is above it.
    assert clips.luma(frame, 4, 30) > 145
    assert clips.luma(frame, 4, 4) > 245


def test_hdr_survives_in_codecs_that_have_it(tmp_path: Path) -> None:
    result, product = convert(hdr(tmp_path / "a.mkv"), "mkv", tmp_path, video_codec="h265", crf=30)
    frame = clips.first_frame(result)
    assert frame.format.name == "yuv420p10le"
    assert (frame.color_primaries, frame.color_trc, frame.colorspace) == PQ[:3]
    assert product.notes == ()


def transparent(path: Path) -> Path:
    """White where the top left corner is, clear elsewhere; clear pixels are red below."""
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "rgba"
        for _ in range(5):
            frame = av.VideoFrame(32, 32, "rgba")
            row = b"\xff\xff\xff\xff" * 16 + b"\xff\x00\x00\x00" * 16
            frame.planes[0].update(row * 16 + b"\xff\x00\x00\x00" * 32 * 16)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def test_transparency_is_laid_on_black_or_kept(tmp_path: Path) -> None:
    path = transparent(tmp_path / "a.mov")
    result, product = convert(path, "mp4", tmp_path, crf=10)
    frame = clips.first_frame(result)
    assert clips.luma(frame, 4, 4) > 220
    assert clips.luma(frame, 28, 28) < 24
    assert any("black" in note for note in product.notes)
    result, product = convert(path, "webm", tmp_path)
    assert product.notes == ()
    document = probed(result)
    if document:
        tags = {k.lower(): v for k, v in streams(document, "video")[0]["tags"].items()}
        assert tags["alpha_mode"] == "1"


# --- the other streams


def test_all_audio_tracks_or_the_one_asked_for(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.mkv", sounds=(("aac", 2), ("aac", 1)))
    _, product = convert(path, "mp4", tmp_path)
    assert (product.facts["audio_tracks"], product.facts["channels"]) == (2, 2)
    result, product = convert(path, "mp4", tmp_path, audio_track=1)
    assert "audio_tracks" not in product.facts
    assert product.facts["channels"] == 1
    assert clips.packets(result, "audio")
    with pytest.raises(InvalidRequest, match="tracks 0 to 1") as refused:
        convert(path, "mp4", tmp_path, audio_track=2)
    assert refused.value.field == "audio_track"


def subtitled(path: Path) -> Path:
    with av.open(str(path), "w") as out:
        picture: Any = out.add_stream("libx264", rate=25)
        picture.width, picture.height = 64, 48
        text: Any = out.add_stream("subrip")
        text.codec_context.subtitle_header = ASS_HEADER
        text.metadata["language"] = "ger"
        for number in range(50):
            frame = clips.frame(64, 48, number)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(picture.encode(frame))
        out.mux(picture.encode(None))
        for start in (200, 1000):
            words = av.subtitles.subtitle.SubtitleSet.create(
                f"0,0,Default,,0,0,0,,Zeile bei {start}".encode(), 0, 500
            )
            packet = text.codec_context.encode_subtitle(words)
            packet.time_base, packet.pts, packet.dts, packet.duration = clips.MILLISECOND, start, start, 500
            packet.stream = text
            out.mux(packet)
    return path


ASS_HEADER = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize
Style: Default,Arial,16

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


@pytest.mark.parametrize(
    ("target", "codec"), [("mp4", "mov_text"), ("mov", "mov_text"), ("webm", "webvtt"), ("mkv", "subrip")]
)
def test_subtitles_are_kept_as_text(tmp_path: Path, target: str, codec: str) -> None:
    result, product = convert(subtitled(tmp_path / "a.mkv"), target, tmp_path)
    assert product.notes == ()
    with av.open(str(result)) as container:
        stream = container.streams.subtitles[0]
        assert stream.codec_context.codec.canonical_name == codec
        assert stream.metadata["language"] == "ger"
        packets = [p for p in container.demux(stream) if p.size > 2]
        assert [float(p.pts * p.time_base) for p in packets] == pytest.approx([0.2, 1.0], abs=0.01)
        assert [float(p.duration * p.time_base) for p in packets] == pytest.approx([0.5, 0.5], abs=0.01)
        assert b"Zeile bei 1000" in bytes(packets[1])


def test_chapters_and_tags_are_kept_or_stripped(tmp_path: Path) -> None:
    chapters = [
        {"id": 1, "start": 0, "end": 400, "time_base": clips.MILLISECOND, "metadata": {"title": "One"}},
        {"id": 2, "start": 400, "end": 1000, "time_base": clips.MILLISECOND, "metadata": {"title": "Two"}},
    ]
    tags = {"title": "Übung", "artist": "Somebody", "location": "+52.5000+013.4000/"}
    path = clips.video(tmp_path / "a.mov", chapters=chapters, tags=tags)
    result, _ = convert(path, "mp4", tmp_path)
    with av.open(str(result)) as container:
        assert {key: container.metadata.get(key) for key in tags} == tags
        assert [chapter["metadata"]["title"] for chapter in container.chapters()] == ["One", "Two"]
    result, _ = convert(path, "mp4", tmp_path, strip_metadata=True)
    with av.open(str(result)) as container:
        assert not {"title", "artist", "location"} & set(container.metadata)
    for secret in (b"loci", b"+52.5", b"Somebody", b"One"):
        assert secret not in result.read_bytes()


# --- gif


def test_gif_has_the_usual_size_and_rate(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.mp4", size=(800, 200), frames=50, rate=50)
    result, product = convert(path, "gif", tmp_path)
    assert (product.facts["width"], product.facts["height"], product.facts["frames"]) == (640, 160, 15)
    assert b"NETSCAPE2.0\x03\x01\x00\x00" in result.read_bytes()


def test_gif_tells_what_was_not_asked_for(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.mp4", size=(800, 200), frames=25, rate=50)
    _, product = convert(path, "gif", tmp_path)
    assert len(product.notes) == 2
    assert "640 × 160" in product.notes[0]
    assert "15 a second" in product.notes[1]
    _, product = convert(path, "gif", tmp_path, width=320, fps=50)
    assert (product.facts["frames"], product.notes) == (25, ())


def test_gif_keeps_variable_frame_times(tmp_path: Path) -> None:
    times = [*range(0, 1000, 100), *range(1000, 3000, 250), 3000]
    path = clips.video(tmp_path / "a.mkv", times=times, options={"bf": "0"})
    result, product = convert(path, "gif", tmp_path)
    assert clips.shown_times(result) == pytest.approx([t / 1000 for t in times], abs=0.006)
    assert product.facts["frames"] == len(times)
    assert not product.notes


def test_gif_drops_no_more_than_what_is_too_fast(tmp_path: Path) -> None:
    times = [*range(0, 1000, 20), *range(1000, 2000, 200)]
    path = clips.video(tmp_path / "a.mkv", times=times, options={"bf": "0"})
    result, _ = convert(path, "gif", tmp_path)
    shown = clips.shown_times(result)
    assert sum(time < 0.99 for time in shown) == pytest.approx(15, abs=1)
    assert [time for time in shown if time > 0.99] == pytest.approx([1, 1.2, 1.4, 1.6, 1.8], abs=0.006)
    assert min(b - a for a, b in pairwise(shown)) >= 0.02


def test_gif_lasts_as_long_as_the_video(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.mp4", frames=50)
    for given in ({}, {"fps": 5}, {"fps": 3}):
        _, product = convert(path, "gif", tmp_path, **given)
        assert product.facts["duration"] == pytest.approx(2, abs=0.02), given


@pytest.mark.parametrize("given", [{}, {"fps": 10}])
@pytest.mark.parametrize("target", ["gif", "mp4"])
def test_a_frame_that_lasts_no_time(tmp_path: Path, target: str, given: dict[str, Any]) -> None:
    path = tmp_path / "a.webm"
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("libvpx", rate=25)
        stream.width, stream.height = 64, 48
        frame = clips.frame(64, 48, 0)
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            packet.duration = 0
            out.mux(packet)
    result, _ = convert(path, target, tmp_path, **given)
    assert len(clips.shown_times(result)) == 1


def test_gif_of_a_video_without_its_end_is_refused(tmp_path: Path) -> None:
    for suffix in ("mp4", "mkv"):
        whole = clips.video(tmp_path / "whole.mp4", frames=250, key_every=25)
        moved, _ = convert(whole, suffix, tmp_path)
        path = tmp_path / f"a.{suffix}"
        path.write_bytes(moved.read_bytes()[: moved.stat().st_size // 2])
        with pytest.raises(FileInvalid, match="cut off"):
            convert(path, "gif", tmp_path)


@pytest.mark.parametrize("target", ["gif", "webm"])
def test_avi_knows_no_order_of_showing(tmp_path: Path, target: str) -> None:
    """Of B-frames, FFmpeg makes up times that step back; frames must not be lost to that."""
    path = clips.video(tmp_path / "a.avi", frames=60, rate=10, options={"bf": "3"}, sounds=())
    result, _ = convert(path, target, tmp_path)
    assert len(clips.shown_times(result)) >= 58


def test_gif_takes_a_part(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.mp4", frames=100)
    result, product = convert(path, "gif", tmp_path, start=1, duration=2, fps=10, width=32)
    assert (product.facts["width"], product.facts["height"], product.facts["frames"]) == (32, 24, 20)
    assert product.facts["duration"] == pytest.approx(2.0, abs=0.05)
    frame = clips.first_frame(result)
    assert frame.width == 32


def test_gif_of_a_very_short_video_has_a_frame(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.mkv", frames=1, rate=1000, sounds=())
    _, product = convert(path, "gif", tmp_path, fps=5)
    assert product.facts["frames"] == 1


def test_gif_of_too_many_frames_is_refused(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.mp4")
    with pytest.raises(LimitExceeded, match="15 frames; 10 are allowed"):
        run(ENGINE, "convert", "mp4", "gif", path, tmp_path / "out", limits=Limits(frames=10))
    with pytest.raises(LimitExceeded, match="pixels in all"):
        run(ENGINE, "convert", "mp4", "gif", path, tmp_path / "out", limits=Limits(total_pixels=10_000))


def test_gif_becomes_video(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.gif", "gif", pix_fmt="rgb8", sounds=(), size=(63, 47))
    result, product = convert(path, "mp4", tmp_path)
    assert (product.facts["width"], product.facts["height"]) == (62, 46)
    assert clips.luma(clips.first_frame(result), 4, 4) > 190
    with pytest.raises(InvalidRequest, match="audio_codec"):
        convert(path, "mp4", tmp_path, audio_codec="aac")


# --- files that are not whole


def test_a_video_without_its_end_is_told(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "whole.mp4", frames=250, key_every=25)
    faststart, _ = convert(path, "mp4", tmp_path)
    cut = tmp_path / "a.mp4"
    cut.write_bytes(faststart.read_bytes()[: faststart.stat().st_size // 2])
    for given in ({}, {"crf": 30}):
        with pytest.raises(FileInvalid, match="cut off"):
            convert(cut, "mp4", tmp_path, **given)


def test_a_matroska_file_without_its_end_is_told(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "whole.mkv", frames=250, key_every=25)
    cut = tmp_path / "a.mkv"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(FileInvalid, match="cut off"):
        convert(cut, "mp4", tmp_path, crf=30)


def test_a_transport_stream_may_break_off(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "whole.ts", frames=100)
    cut = tmp_path / "a.ts"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    _, product = convert(cut, "mp4", tmp_path, crf=30)
    assert 0.5 < product.facts["duration"] < 3.5


def test_damage_is_passed_over_and_told(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.mkv", "mpeg4", frames=50, key_every=5, sounds=(("flac", 1),))
    data = bytearray(path.read_bytes())
    for position in range(len(data) // 3, len(data) // 2, 29):
        data[position] ^= 0x5A
    path.write_bytes(data)
    _, product = convert(path, "mp4", tmp_path, crf=30)
    assert any("damaged packet" in note for note in product.notes)


def test_a_file_of_which_nothing_decodes_is_invalid(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.mp4", sounds=())
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    end = data.index(b"moov", start) - 4
    data[start:end] = bytes(end - start)
    path.write_bytes(data)
    with pytest.raises(FileInvalid, match="can be decoded"):
        convert(path, "mp4", tmp_path, crf=30)
