"""What each target container holds, and with which settings FFmpeg's encoders fill it. Data, no decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

_MOV_FAMILY: Final = "mov,mp4,m4a,3gp,3g2,mj2"

DEMUXERS: Final[Mapping[str, str]] = {
    "mp4": _MOV_FAMILY,
    "m4v": _MOV_FAMILY,
    "mov": _MOV_FAMILY,
    "3gp": _MOV_FAMILY,
    "m4a": _MOV_FAMILY,
    "mkv": "matroska,webm",
    "webm": "matroska,webm",
    "avi": "avi",
    "wmv": "asf",
    "wma": "asf",
    "flv": "flv",
    "mpg": "mpeg,mpegvideo",
    "ts": "mpegts",
    "ogv": "ogg",
    "ogg": "ogg",
    "opus": "ogg",
    "gif": "gif",
    "mp3": "mp3",
    "wav": "wav",
    "flac": "flac",
    "aac": "aac",
    "aiff": "aiff",
    "amr": "amr",
}
"""Source format → FFmpeg's demuxers that may touch it; never playlists, image sequences or devices."""

ENDS_ANYWHERE: Final = frozenset(
    ("mp3", "aac", "amr", "ogg", "opus", "ogv", "ts", "mpg", "flv", "wav", "aiff", "flac", "gif")
)
"""Formats made of self-contained pieces, of which a file that breaks off keeps its worth."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Container:
    """One target format: ``muxer``, its ``options``, the codecs it takes as they are, and those we make."""

    muxer: str
    options: Mapping[str, str] = field(default_factory=dict)
    copies_video: frozenset[str] = frozenset()
    copies_sound: frozenset[str] = frozenset()
    copies_text: frozenset[str] = frozenset()
    text: str | None = None
    """Codec that other text subtitles become."""
    video: tuple[str, ...] = ()
    """Words for ``video_codec``, the default first."""
    sound: tuple[str, ...] = ()
    """Words for ``audio_codec``, the default first."""
    covers: bool = False
    """Whether pictures attached to the sound are kept."""
    least: int = 0
    """Samples that a sound must have so that players know the format; silence makes up for the rest."""
    square: bool = False
    """Whether the shape of its pixels is lost: PyAV has no way to set what the muxer reads."""


TELLS_ASPECT: Final = frozenset(
    ("h264", "hevc", "mpeg4", "mpeg2video", "mpeg1video", "theora", "ffv1", "mjpeg")
)
"""Video codecs that tell the shape of the pixels themselves, whatever the container says."""

_FASTSTART: Final = {"movflags": "+faststart"}
_ANY_SOUND: Final = frozenset(
    ("aac", "mp3", "mp2", "ac3", "eac3", "dts", "truehd", "flac", "alac", "opus", "vorbis", "wavpack", "tta",
     "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_u8")
)  # fmt: skip

_ANY_VIDEO: Final = frozenset(
    ("h264", "hevc", "av1", "vp8", "vp9", "mpeg4", "mpeg2video", "mpeg1video", "mjpeg", "prores", "theora",
     "ffv1")
)  # fmt: skip
_ANY_TEXT: Final = frozenset(("subrip", "ass", "webvtt", "hdmv_pgs_subtitle", "dvd_subtitle", "dvb_subtitle"))

CONTAINERS: Final[Mapping[str, Container]] = {
    "mp4": Container(
        muxer="mp4",
        options=_FASTSTART,
        copies_video=frozenset(("h264", "hevc", "av1", "vp9")),
        copies_sound=frozenset(("aac", "mp3", "ac3", "eac3", "alac", "opus", "flac")),
        copies_text=frozenset(("mov_text",)),
        text="mov_text",
        video=("h264", "h265", "vp9", "av1"),
        sound=("aac", "mp3", "opus", "flac"),
        covers=True,
    ),
    "mov": Container(
        muxer="mov",
        options=_FASTSTART,
        copies_video=frozenset(("h264", "hevc", "prores", "mjpeg", "dnxhd", "png", "qtrle")),
        copies_sound=frozenset(
            ("aac", "mp3", "ac3", "alac", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le")
        ),
        copies_text=frozenset(("mov_text",)),
        text="mov_text",
        video=("h264", "h265"),
        sound=("aac", "mp3"),
    ),
    "mkv": Container(
        muxer="matroska",
        copies_video=_ANY_VIDEO,
        copies_sound=_ANY_SOUND,
        copies_text=_ANY_TEXT,
        text="subrip",
        square=True,
        video=("h264", "h265", "vp8", "vp9", "av1"),
        sound=("aac", "mp3", "opus", "vorbis", "flac"),
    ),
    "webm": Container(
        muxer="webm",
        copies_video=frozenset(("vp8", "vp9", "av1")),
        copies_sound=frozenset(("opus", "vorbis")),
        copies_text=frozenset(("webvtt",)),
        text="webvtt",
        square=True,
        video=("vp9", "vp8", "av1"),
        sound=("opus", "vorbis"),
    ),
    "mp3": Container(muxer="mp3", copies_sound=frozenset(("mp3",)), sound=("mp3",), covers=True),
    "m4a": Container(
        # FFmpeg's own "ipod" muxer takes no covers.
        muxer="mp4",
        options={**_FASTSTART, "brand": "M4A "},
        copies_sound=frozenset(("aac", "alac")),
        sound=("aac",),
        covers=True,
        # Less than half of the millisecond in which the length is counted would be nothing.
        least=128,
    ),
    # FFmpeg, for one, wants to see three packets of 1024 samples, of which the first is the run-in.
    "aac": Container(muxer="adts", least=2048, copies_sound=frozenset(("aac",)), sound=("aac",)),
    "opus": Container(muxer="opus", copies_sound=frozenset(("opus",)), sound=("opus",), least=128),
    "ogg": Container(
        muxer="ogg", copies_sound=frozenset(("vorbis", "flac", "speex")), sound=("vorbis",)
    ),
    "flac": Container(muxer="flac", copies_sound=frozenset(("flac",)), sound=("flac",), covers=True),
    "wav": Container(
        muxer="wav", copies_sound=frozenset(("pcm_s16le", "pcm_s24le")), sound=("pcm_le",),
        options={"rf64": "auto"},
    ),
    "aiff": Container(
        muxer="aiff",
        options={"write_id3v2": "1"},
        copies_sound=frozenset(("pcm_s16be", "pcm_s24be")),
        sound=("pcm_be",),
    ),
}  # fmt: skip


SAME_CONTAINERS: Final[Mapping[str, Container]] = {
    **CONTAINERS,
    "m4v": Container(muxer="mp4", options={**_FASTSTART, "brand": "M4V "}),
    "3gp": Container(muxer="3gp", options=_FASTSTART),
    "avi": Container(muxer="avi"),
    "wmv": Container(muxer="asf"),
    "wma": Container(muxer="asf"),
    "flv": Container(muxer="flv"),
    "mpg": Container(muxer="vob"),
    "ts": Container(muxer="mpegts"),
    "ogv": Container(muxer="ogv"),
    "amr": Container(muxer="amr"),
}
"""Where the streams of a file of each format are copied to, whatever codecs they have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoEncoder:
    """An encoder for pictures that move."""

    library: str
    name: str
    """The codec as FFmpeg names it in a file."""
    crf: int
    """For a picture that a person calls good."""
    crf_small: int
    """For ``compress``."""
    crf_max: int
    deep: bool = False
    """Whether ten bits a channel, and with them HDR, are kept."""
    alpha: bool = False


VIDEO_ENCODERS: Final[Mapping[str, VideoEncoder]] = {
    "h264": VideoEncoder(library="libx264", name="h264", crf=23, crf_small=28, crf_max=51),
    "h265": VideoEncoder(library="libx265", name="hevc", crf=27, crf_small=31, crf_max=51, deep=True),
    "vp8": VideoEncoder(library="libvpx", name="vp8", crf=10, crf_small=24, crf_max=63, alpha=True),
    "vp9": VideoEncoder(library="libvpx-vp9", name="vp9", crf=32, crf_small=40, crf_max=63, alpha=True),
    "av1": VideoEncoder(library="libsvtav1", name="av1", crf=35, crf_small=45, crf_max=63, deep=True),
}

PRESETS: Final = (
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow",
)  # fmt: skip
VPX_SPEED: Final = (8, 8, 6, 5, 5, 4, 2, 1, 0)
"""libvpx's ``cpu-used`` for each of :data:`PRESETS`; with deadline "good" VP9 takes at most 5."""
SVT_PRESET: Final = (12, 11, 10, 9, 9, 8, 6, 4, 2)
"""SVT-AV1's ``preset`` for each of :data:`PRESETS`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SoundEncoder:
    """An encoder for sound; ``bitrates`` are the defaults for one channel, two, and each further one."""

    library: str
    name: str
    bitrates: tuple[int, int, int] | None = None
    rates: tuple[int, ...] = ()
    """Sample rates it takes, ascending; any where empty."""
    max_channels: int = 8
    exact_channels: int | None = None
    quality: int | None = None
    """VBR quality where no bit rate is asked for (FFmpeg's ``-q:a``)."""
    qualities: tuple[int, int] | None = None
    """The worst and the best of that scale which a quality from 1 to 100 is spread over."""
    quality_small: int | None = None
    """The same for ``compress``, where it has no bit rate to choose."""
    options: Mapping[str, str] = field(default_factory=dict)
    layouts: Mapping[int, str] = field(default_factory=dict)
    """Names of the channel layouts it takes where they are not FFmpeg's own for that many channels."""
    through: str | None = None
    """Sample format that the sound is brought to first. FFmpeg's Vorbis encoder aborts the process on some
    sounds whose bands are emptier than 16 bits with dither can be."""
    deep: str | None = None
    """The encoder for sources of more than 16 bits, where there is another one."""


_SIDE_BY_SIDE: Final = {4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}

SOUND_ENCODERS: Final[Mapping[str, SoundEncoder]] = {
    "aac": SoundEncoder(
        library="aac",
        name="aac",
        bitrates=(96_000, 160_000, 56_000),
        rates=(7350, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000),
        layouts={4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"},
    ),
    "mp3": SoundEncoder(
        library="libmp3lame",
        name="mp3",
        quality=2,
        qualities=(9, 0),
        rates=(8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
        max_channels=2,
    ),
    "opus": SoundEncoder(
        library="libopus",
        name="opus",
        bitrates=(80_000, 128_000, 48_000),
        rates=(8000, 12000, 16000, 24000, 48000),
        layouts=_SIDE_BY_SIDE,
    ),
    "vorbis": SoundEncoder(
        library="vorbis", name="vorbis", exact_channels=2, quality=5, quality_small=2, qualities=(0, 7),
        options={"strict": "experimental"}, through="s16",
        rates=(8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
    ),
    "flac": SoundEncoder(library="flac", name="flac", layouts=_SIDE_BY_SIDE),
    "pcm_le": SoundEncoder(library="pcm_s16le", name="pcm_s16le", deep="pcm_s24le"),
    "pcm_be": SoundEncoder(library="pcm_s16be", name="pcm_s16be", deep="pcm_s24be"),
}  # fmt: skip

LOSSLESS: Final = frozenset(("flac", "alac", "wavpack", "tta", "truehd", "mlp", "ape"))
"""Codecs besides PCM that keep every sample."""


def is_lossless(codec: str) -> bool:
    """Whether a sound in ``codec`` can be decoded and encoded again without loss."""
    return codec in LOSSLESS or codec.startswith("pcm_")
