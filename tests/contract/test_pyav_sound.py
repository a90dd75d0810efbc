"""What the PyAV engine promises of sound: copied where it fits, whole, with its tags and its cover."""

from __future__ import annotations

import random
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import pytest

from convertd.engines.base import Product
from convertd.engines.pyav import ENGINE
from convertd.engines.pyav.sound_options import SMALL_SOUND, SOUND
from convertd.engines.registry import Registry, discover
from convertd.errors import FileInvalid, InvalidRequest, LimitExceeded
from convertd.jobs.submission import TaskRequest, target_of
from convertd.model.parsing import parse_options
from tests.contract.test_pyav import probed, streams
from tests.support import clips
from tests.support.engines import run


def convert(
    path: Path, target: str, tmp_path: Path, operation: str = "convert", **given: Any
) -> tuple[Path, Product]:
    return run(ENGINE, operation, path.suffix[1:], target, path, tmp_path / "out", **given)[0]


@pytest.mark.parametrize(
    ("source", "codec", "target", "format"),
    [("m4a", "aac", "aac", "ipod"), ("aac", "aac", "m4a", "adts"), ("ogg", "flac", "flac", "ogg")],
)
def test_fitting_sound_is_copied(tmp_path: Path, source: str, codec: str, target: str, format: str) -> None:  # noqa: A002
    path = clips.sound(tmp_path / f"a.{source}", codec, format=format)
    result, product = convert(path, target, tmp_path)
    assert product.facts["audio_codec"] == codec
    heard = [clips.pcm(path), clips.pcm(result)]
    assert heard[1] in heard[0] or heard[0] in heard[1]
    assert len(heard[0]) > 100_000


@pytest.mark.parametrize("operation", ["convert", "extract-audio"])
def test_sound_of_a_video_is_copied(tmp_path: Path, operation: str) -> None:
    path = clips.video(tmp_path / "a.mp4", frames=50)
    result, product = convert(path, "m4a", tmp_path, operation)
    assert clips.packets(result, "audio") == clips.packets(path, "audio")
    assert "video_codec" not in product.facts


def test_a_video_without_sound_is_told(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.mp4", sounds=())
    with pytest.raises(FileInvalid, match="holds no sound"):
        convert(path, "mp3", tmp_path, "extract-audio")


def test_one_of_several_tracks(tmp_path: Path) -> None:
    path = clips.video(tmp_path / "a.mkv", sounds=(("aac", 2), ("aac", 1)))
    _, product = convert(path, "wav", tmp_path, "extract-audio")
    assert product.facts["channels"] == 2
    assert any("first of 2 audio tracks" in note for note in product.notes)
    _, product = convert(path, "wav", tmp_path, "extract-audio", audio_track=1)
    assert product.facts["channels"] == 1
    assert product.notes == ()


@pytest.mark.parametrize("target", ["wav", "flac", "aiff"])
def test_lossless_targets_keep_every_sample(tmp_path: Path, target: str) -> None:
    path = clips.sound(tmp_path / "a.wav", "pcm_s16le", seconds=0.7)
    result, _ = convert(path, target, tmp_path)
    back, _ = run(ENGINE, "convert", target, "wav", result, tmp_path / "back")[0]
    heard = [clips.pcm(path), clips.pcm(back)]
    assert heard[0] == heard[1]


@pytest.mark.parametrize(("target", "codec"), [("wav", "pcm_s24le"), ("aiff", "pcm_s24be"), ("flac", "flac")])
def test_24_bits_are_kept(tmp_path: Path, target: str, codec: str) -> None:
    path = tmp_path / "a.wav"
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("pcm_s24le", rate=48000)
        stream.layout = "mono"
        frame = av.AudioFrame("s32", "mono", 1000)
        frame.planes[0].update(b"".join(struct.pack("<i", (i * 7_777) << 8) for i in range(1000)))
        frame.sample_rate = 48000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    result, product = convert(path, target, tmp_path)
    assert product.facts["audio_codec"] == codec
    heard = [clips.pcm(path), clips.pcm(result)]
    assert heard[0] == heard[1]


def test_surround_is_mixed_down_where_the_target_needs_it(tmp_path: Path) -> None:
    path = clips.sound(tmp_path / "a.wav", "pcm_s16le", channels=6)
    for target, channels in (("mp3", 2), ("ogg", 2), ("m4a", 6), ("opus", 6), ("flac", 6)):
        _, product = convert(path, target, tmp_path)
        assert product.facts["channels"] == channels, target
    _, product = convert(path, "m4a", tmp_path, channels=2)
    assert product.facts["channels"] == 2


def test_a_change_of_channels_is_told(tmp_path: Path) -> None:
    for channels, target, told in (
        (1, "ogg", "1 channel became one of 2: vorbis is made with 2 here"),
        (6, "ogg", "6 channels became one of 2: vorbis is made with 2 here"),
        (6, "mp3", "6 channels became one of 2: mp3 is made with up to 2 here"),
        (2, "ogg", None),
        (1, "mp3", None),
    ):
        path = clips.sound(tmp_path / "a.wav", "pcm_s16le", channels=channels, seconds=0.2)
        _, product = convert(path, target, tmp_path)
        if told is None:
            assert not product.notes
        else:
            assert told in product.notes[0]
    _, product = convert(path, "m4a", tmp_path, channels=2)
    assert not product.notes


def test_settings_are_honoured(tmp_path: Path) -> None:
    path = clips.sound(tmp_path / "a.wav", "pcm_s16le", seconds=3)
    _, product = convert(path, "mp3", tmp_path, audio_bitrate="64k", channels=1, sample_rate=22050)
    assert product.facts["bitrate"] == pytest.approx(64_000, rel=0.1)
    assert (product.facts["channels"], product.facts["sample_rate"]) == (1, 22050)
    _, product = convert(path, "flac", tmp_path, sample_rate=96000)
    assert product.facts["sample_rate"] == 96000
    small, _ = convert(path, "opus", tmp_path, audio_bitrate=16_000)
    size = small.stat().st_size
    large, _ = convert(path, "opus", tmp_path, audio_bitrate=160_000)
    assert size * 2 < large.stat().st_size


@pytest.mark.parametrize("target", ["mp3", "ogg"])
def test_the_usual_quality_is_that_of_q2_and_q5(tmp_path: Path, target: str) -> None:
    """Noise needs all the bits that a quality allows."""
    path = tmp_path / "a.wav"
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("pcm_s16le", rate=44100)
        stream.layout = "stereo"
        frame = av.AudioFrame("s16", "stereo", 88200)
        frame.planes[0].update(random.Random(1).randbytes(88200 * 4))
        frame.sample_rate = 44100
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    _, product = convert(path, target, tmp_path)
    usual = product.facts["bitrate"]
    assert 150_000 < usual < 400_000
    _, product = convert(path, target, tmp_path, "compress")
    assert product.facts["bitrate"] < usual * 0.75


def test_sound_that_makes_the_vorbis_encoder_abort(tmp_path: Path) -> None:
    """This very tone, decoded from Vorbis, ends the process in FFmpeg's encoder unless it is dithered."""
    path = clips.sound(tmp_path / "a.ogg", "vorbis", options={"strict": "experimental"})
    code = (
        "import sys, pathlib; from convertd.engines.pyav import ENGINE\n"
        "from tests.support.engines import run\n"
        "run(ENGINE, 'compress', 'ogg', 'ogg', pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, str(path), str(tmp_path / "out")]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == 0
    assert clips.samples(tmp_path / "out" / "output.ogg") == pytest.approx(44100, abs=1300)


def test_a_rate_that_the_codec_lacks_becomes_the_next_one(tmp_path: Path) -> None:
    path = clips.sound(tmp_path / "a.wav", "pcm_s16le", rate=96000)
    assert convert(path, "mp3", tmp_path)[1].facts["sample_rate"] == 48000
    assert convert(path, "m4a", tmp_path)[1].facts["sample_rate"] == 96000
    path = clips.sound(tmp_path / "b.wav", "pcm_s16le", rate=44100)
    assert convert(path, "opus", tmp_path)[1].facts["sample_rate"] == 48000


@pytest.mark.parametrize(
    ("target", "given", "field"),
    [
        ("opus", {"sample_rate": 44100}, "sample_rate"),
        ("wav", {"audio_bitrate": 128_000}, "audio_bitrate"),
        ("flac", {"audio_bitrate": 128_000}, "audio_bitrate"),
        ("ogg", {"audio_bitrate": 128_000}, "audio_bitrate"),
        ("mp3", {"channels": 6}, "channels"),
        ("mp3", {"audio_bitrate": 500_000}, "audio_bitrate"),
    ],
)
def test_what_the_target_cannot_have_is_refused_at_once(
    target: str, given: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_options(SOUND[target], given)
    assert refused.value.field == field


def test_duration_stays(tmp_path: Path) -> None:
    path = clips.sound(tmp_path / "a.wav", "pcm_s16le", seconds=2.5)
    for target in SOUND:
        result, product = convert(path, target, tmp_path)
        # Raw AAC cannot tell a player to leave out the encoder's run-in.
        slack = 0.1 if target == "aac" else 0.06
        assert product.facts["duration"] == pytest.approx(2.5, abs=slack), target
        rate = product.facts["sample_rate"]
        assert clips.samples(result) == pytest.approx(2.5 * rate, abs=slack * rate), target


TAGS = {"title": "Übung", "artist": "Somebody", "album": "Nothing"}


@pytest.mark.parametrize("target", ["mp3", "flac", "m4a", "ogg", "opus", "wav", "aiff"])
def test_tags_are_kept_or_stripped(tmp_path: Path, target: str) -> None:
    path = clips.sound(tmp_path / "a.flac", "flac", tags=TAGS)
    result, _ = convert(path, target, tmp_path)
    back, _ = run(ENGINE, "convert", target, "mp3", result, tmp_path / "back")[0]
    with av.open(str(back)) as container:
        assert {key: container.metadata.get(key) for key in TAGS} == TAGS
    result, _ = convert(path, target, tmp_path, strip_metadata=True)
    assert b"Somebody" not in result.read_bytes()


def with_cover(path: Path, codec: str) -> Path:
    with av.open(str(path), "w", format="mp4" if path.suffix == ".m4a" else None) as out:
        sound: Any = out.add_stream(codec, rate=44100)
        sound.layout = "stereo"
        cover: Any = out.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        picture = clips.frame(32, 32, 0, "yuvj420p")
        picture.pts = 0
        out.mux([p for f in (picture, None) for p in cover.encode(f)])
        clips.play(out, sound, 1.0)
    return path


@pytest.mark.parametrize("target", ["mp3", "m4a", "flac"])
@pytest.mark.parametrize(("source", "codec"), [("mp3", "libmp3lame"), ("flac", "flac"), ("m4a", "aac")])
def test_covers_are_kept(tmp_path: Path, source: str, codec: str, target: str) -> None:
    path = with_cover(tmp_path / f"a.{source}", codec)
    result, product = convert(path, target, tmp_path)
    assert product.notes == ()
    with av.open(str(result)) as container:
        assert container.streams.video[0].disposition & av.stream.Disposition.attached_pic
        assert next(container.decode(video=0)).width == 32
    assert "video_codec" not in product.facts
    result, _ = convert(path, target, tmp_path, strip_metadata=True)
    with av.open(str(result)) as container:
        assert not container.streams.video


def test_a_cover_that_cannot_be_kept_is_told(tmp_path: Path) -> None:
    _, product = convert(with_cover(tmp_path / "a.mp3", "libmp3lame"), "wav", tmp_path)
    assert any("cover" in note for note in product.notes)


def test_sound_that_breaks_off_is_converted_and_told(tmp_path: Path) -> None:
    whole = clips.sound(tmp_path / "whole.mp3", "libmp3lame", seconds=20)
    path = tmp_path / "a.mp3"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    _, product = convert(path, "wav", tmp_path)
    assert product.facts["duration"] == pytest.approx(10, abs=0.5)
    assert any("breaks off" in note for note in product.notes)


@pytest.mark.parametrize("samples", [1, 960])
@pytest.mark.parametrize("target", SOUND)
def test_a_very_short_sound(tmp_path: Path, target: str, samples: int) -> None:
    path = clips.sound(tmp_path / "a.wav", "pcm_s16le", seconds=(samples + 0.5) / 44100)
    for operation in ("convert", "trim", "compress"):
        if operation == "compress" and target not in SMALL_SOUND:
            continue
        given = {"end": 0.01} if operation == "trim" else {}
        result, product = convert(path, target, tmp_path, operation, **given)
        assert clips.samples(result) > 0
        assert product.facts["duration"] < 0.15
        probed(result)


def with_last_granule(data: bytes, samples: int) -> bytes:
    """An Ogg file (RFC 3533) whose last page says that the recording ends after ``samples``."""
    at = data.rindex(b"OggS")
    page = bytearray(data[at:])
    struct.pack_into("<q", page, 6, samples)
    struct.pack_into("<I", page, 22, 0)
    checksum = 0
    for byte in page:
        checksum ^= byte << 24
        for _ in range(8):
            checksum = (checksum << 1) ^ (0x04C11DB7 if checksum & 0x80000000 else 0) & 0xFFFFFFFF
        checksum &= 0xFFFFFFFF
    struct.pack_into("<I", page, 22, checksum)
    return data[:at] + bytes(page)


def test_a_length_that_cannot_be_is_not_told(tmp_path: Path) -> None:
    """FFmpeg gives the last packet of a Vorbis file that ends within it a length of nearly 2³² samples."""
    made = clips.sound(tmp_path / "made.ogg", "vorbis", seconds=0.2, options={"strict": "experimental"})
    path = tmp_path / "a.ogg"
    path.write_bytes(with_last_granule(made.read_bytes(), 400))
    with av.open(str(path)) as container:
        assert any((packet.duration or 0) > 1 << 31 for packet in container.demux(audio=0))
    for operation, target in (("convert", "ogg"), ("trim", "ogg"), ("convert", "wav")):
        given = {"end": 0.15} if operation == "trim" else {}
        result, product = convert(path, target, tmp_path, operation, **given)
        assert product.facts["duration"] < 1
        for stream in streams(probed(result), "audio"):
            assert float(stream["duration"]) < 1


# --- trim


@pytest.mark.parametrize("target", ["wav", "flac"])
def test_lossless_sound_is_cut_at_the_sample(tmp_path: Path, target: str) -> None:
    path = clips.sound(tmp_path / "a.wav", "pcm_s16le", seconds=2)
    result, _ = convert(path, target, tmp_path, "trim", start=0.5, end=1.25)
    heard = [clips.pcm(path), clips.pcm(result)]
    assert heard[1] == heard[0][22050 * 4 : 55125 * 4]


@pytest.mark.parametrize(
    ("source", "codec", "format"),
    [("mp3", "libmp3lame", "mp3"), ("m4a", "aac", "ipod"), ("opus", "libopus", "opus")],
)
def test_lossy_sound_is_cut_without_loss(tmp_path: Path, source: str, codec: str, format: str) -> None:  # noqa: A002
    rate = 48000 if codec == "libopus" else 44100
    path = clips.sound(tmp_path / f"a.{source}", codec, seconds=3, rate=rate, format=format)
    result, product = convert(path, source, tmp_path, "trim", start=1, duration=1)
    assert product.facts["duration"] == pytest.approx(1.0, abs=0.06)
    assert set(clips.packets(result, "audio")) <= set(clips.packets(path, "audio"))


def test_the_beginning_can_be_left_alone(tmp_path: Path) -> None:
    path = clips.sound(tmp_path / "a.wav", "pcm_s16le", seconds=2)
    _, product = convert(path, "mp3", tmp_path, "trim", duration=0.5)
    assert product.facts["duration"] == pytest.approx(0.5, abs=0.05)
    _, product = convert(path, "mp3", tmp_path, "trim", start=1.5)
    assert product.facts["duration"] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"duration": 1, "end": 2}, "end"),
        ({"start": 2, "end": 2}, "end"),
        ({"duration": 0}, "duration"),
        ({"start": 9}, "start"),
    ],
)
def test_empty_parts_are_refused(tmp_path: Path, given: dict[str, Any], field: str) -> None:
    path = clips.sound(tmp_path / "a.wav", "pcm_s16le", seconds=2)
    with pytest.raises(InvalidRequest) as refused:
        convert(path, "wav", tmp_path, "trim", **given)
    assert refused.value.field == field


# --- compress


@pytest.mark.parametrize("target", ["mp3", "m4a", "aac", "opus"])
@pytest.mark.parametrize("most", [30_000, 60_000])
def test_sound_is_brought_down_to_a_size(tmp_path: Path, target: str, most: int) -> None:
    path = clips.sound(tmp_path / "a.wav", "pcm_s16le", seconds=8)
    result, product = convert(path, target, tmp_path, "compress", target_bytes=most)
    assert most * 0.4 < result.stat().st_size <= most
    assert product.facts["duration"] == pytest.approx(8, abs=0.4)


def test_a_size_that_cannot_be_reached_is_told_with_a_figure(tmp_path: Path) -> None:
    path = clips.sound(tmp_path / "a.wav", "pcm_s16le", seconds=8)
    with pytest.raises(LimitExceeded, match=r"2000 bytes are too few for 8 seconds of mp3 sound; \d{4} are"):
        convert(path, "mp3", tmp_path, "compress", target_bytes=2000)


def test_sound_that_is_small_already_comes_back(tmp_path: Path) -> None:
    path = clips.sound(tmp_path / "a.mp3", "libmp3lame", options={"b": "16000"}, rate=16000, channels=1)
    result, product = convert(path, "mp3", tmp_path, "compress", strip_metadata=False)
    assert result.read_bytes() == path.read_bytes()
    assert any("would not have been smaller" in note for note in product.notes)


def test_amr_is_as_small_as_it_gets(tmp_path: Path) -> None:
    """It stays what it is unless something else is asked for; an mp3 of it says that it is larger."""
    path = clips.sound(tmp_path / "a.amr", "libopencore_amrnb", rate=8000, channels=1)
    wanted = TaskRequest(inputs=(0,), operation="compress", target=None)
    assert target_of(Registry(discover()), wanted, "amr") == "amr"
    result, product = convert(path, "amr", tmp_path, "compress")
    assert result.read_bytes() == path.read_bytes()
    assert product.notes == ("No encoder here makes amr smaller: the input is returned.",)
    _, larger = convert(path, "mp3", tmp_path, "compress")
    assert larger.notes[-1] == (
        "The result is not smaller than the input: keep that, or ask for another format."
    )


def test_bitrate_and_size_contradict(tmp_path: Path) -> None:
    path = clips.sound(tmp_path / "a.wav", "pcm_s16le")
    with pytest.raises(InvalidRequest) as refused:
        convert(path, "mp3", tmp_path, "compress", audio_bitrate=64_000, target_bytes=20_000)
    assert refused.value.field == "target_bytes"
