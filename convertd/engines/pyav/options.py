"""What may be asked for, target by target, so that a wrong wish is refused when it is made.

Every struct narrows one of :mod:`convertd.model.operations` to what its container or codec can do.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta

from convertd.errors import InvalidRequest
from convertd.model import operations as ops
from convertd.model.operations import Options

Mp3Rate = Literal[8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000]
AacRate = Literal[8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000]
OpusRate = Literal[8000, 12000, 16000, 24000, 48000]


Mp3Bitrate = Annotated[
    int, Meta(ge=8_000, le=320_000, description="Bits per second: 128000 or 128k.", extra={"unit": "bits/s"})
]
OpusBitrate = Annotated[
    int, Meta(ge=6_000, le=510_000, description="Bits per second: 128000 or 128k.", extra={"unit": "bits/s"})
]
AacBitrate = Annotated[
    int, Meta(ge=16_000, le=576_000, description="Bits per second: 128000 or 128k.", extra={"unit": "bits/s"})
]


class Mp3Convert(Options, frozen=True, kw_only=True):
    """Sound to ``mp3``."""

    audio_bitrate: Mp3Bitrate | None = None
    channels: Literal[1, 2] | None = None
    sample_rate: Mp3Rate | None = None
    audio_track: ops.AudioTrack | None = None
    strip_metadata: bool = False


class AacConvert(Options, frozen=True, kw_only=True):
    """Sound to ``m4a`` or ``aac``."""

    audio_bitrate: AacBitrate | None = None
    channels: ops.Channels | None = None
    sample_rate: AacRate | None = None
    audio_track: ops.AudioTrack | None = None
    strip_metadata: bool = False


class OpusConvert(Options, frozen=True, kw_only=True):
    """Sound to ``opus``."""

    audio_bitrate: OpusBitrate | None = None
    channels: ops.Channels | None = None
    sample_rate: OpusRate | None = None
    audio_track: ops.AudioTrack | None = None
    strip_metadata: bool = False


class VorbisConvert(Options, frozen=True, kw_only=True):
    """Sound to ``ogg``: FFmpeg's own Vorbis encoder makes stereo, and is not told a bit rate."""

    channels: Literal[2] | None = None
    sample_rate: Annotated[int, Meta(ge=8_000, le=48_000, description="Samples per second.")] | None = None
    audio_track: ops.AudioTrack | None = None
    strip_metadata: bool = False


class LosslessConvert(Options, frozen=True, kw_only=True):
    """Sound to ``wav``, ``flac`` or ``aiff``, which have no bit rate to choose."""

    channels: ops.Channels | None = None
    sample_rate: ops.SampleRate | None = None
    audio_track: ops.AudioTrack | None = None
    strip_metadata: bool = False


SOUND: Final[dict[str, type[Options]]] = {
    "mp3": Mp3Convert,
    "m4a": AacConvert,
    "aac": AacConvert,
    "opus": OpusConvert,
    "ogg": VorbisConvert,
    "wav": LosslessConvert,
    "flac": LosslessConvert,
    "aiff": LosslessConvert,
}
"""``convert`` and ``extract-audio`` to a sound, by target."""

_PICTURE_WISHES: Final = ("crf", "video_bitrate", "preset", "width", "height", "fps")
_SOUND_WISHES: Final = ("audio_bitrate", "channels", "sample_rate")


class VideoWishes(ops.VideoConvert, frozen=True, kw_only=True):
    """``convert`` between videos, with the contradictions refused."""

    def __post_init__(self) -> None:
        """Raise :class:`InvalidRequest` for wishes that cannot all be met."""
        check_rate_control(self.video_codec, self.crf, self.video_bitrate)
        if self.video_codec == "copy":
            refuse_with(self, "video_codec", "copy", _PICTURE_WISHES)
        if self.audio_codec == "copy":
            refuse_with(self, "audio_codec", "copy", _SOUND_WISHES)
        if self.audio_codec == "none":
            refuse_with(self, "audio_codec", "none", (*_SOUND_WISHES, "audio_track"))


class Mp4Convert(VideoWishes, frozen=True, kw_only=True):
    """Video to ``mp4``."""

    video_codec: Literal["h264", "h265", "vp9", "av1", "copy"] | None = None
    audio_codec: Literal["aac", "mp3", "opus", "flac", "copy", "none"] | None = None


class MovConvert(VideoWishes, frozen=True, kw_only=True):
    """Video to ``mov``."""

    video_codec: Literal["h264", "h265", "copy"] | None = None
    audio_codec: Literal["aac", "mp3", "copy", "none"] | None = None


class WebmConvert(VideoWishes, frozen=True, kw_only=True):
    """Video to ``webm``."""

    video_codec: Literal["vp8", "vp9", "av1", "copy"] | None = None
    audio_codec: Literal["opus", "vorbis", "copy", "none"] | None = None


class MkvConvert(VideoWishes, frozen=True, kw_only=True):
    """Video to ``mkv``, which holds everything."""


VIDEO: Final[dict[str, type[Options]]] = {
    "mp4": Mp4Convert,
    "mov": MovConvert,
    "mkv": MkvConvert,
    "webm": WebmConvert,
}
"""``convert`` from a video to a video, by target."""


class AnimationWishes(Options, frozen=True, kw_only=True):
    """``convert`` from an animated picture to a video: :class:`VideoWishes` without the sound."""

    video_codec: Literal["h264", "h265", "vp8", "vp9", "av1"] | None = None
    crf: ops.Crf | None = None
    video_bitrate: ops.Bitrate | None = None
    preset: ops.Preset | None = None
    width: ops.Width | None = None
    height: ops.Height | None = None
    enlarge: bool = False
    fps: ops.Fps | None = None

    def __post_init__(self) -> None:
        """Raise :class:`InvalidRequest` for wishes that cannot all be met."""
        check_rate_control(self.video_codec, self.crf, self.video_bitrate)


class AnimationToMp4(AnimationWishes, frozen=True, kw_only=True):
    """Animated picture to ``mp4``."""

    video_codec: Literal["h264", "h265", "vp9", "av1"] | None = None


class AnimationToMov(AnimationWishes, frozen=True, kw_only=True):
    """Animated picture to ``mov``."""

    video_codec: Literal["h264", "h265"] | None = None


class AnimationToWebm(AnimationWishes, frozen=True, kw_only=True):
    """Animated picture to ``webm``."""

    video_codec: Literal["vp8", "vp9", "av1"] | None = None


ANIMATION: Final[dict[str, type[Options]]] = {
    "mp4": AnimationToMp4,
    "mov": AnimationToMov,
    "mkv": AnimationWishes,
    "webm": AnimationToWebm,
}
"""``convert`` from an animated picture to a video, by target."""


class FrameConvert(Options, frozen=True, kw_only=True):
    """``convert`` from a video to a picture without loss: its first frame."""

    width: ops.Width | None = None
    height: ops.Height | None = None
    fit: ops.Fit = "inside"
    enlarge: bool = False
    background: ops.Colour = "white"

    def __post_init__(self) -> None:
        """Raise :class:`InvalidRequest` for a colour nobody knows and a box with one side."""
        ops.check_colour(self.background)
        if self.fit != "inside" and (self.width is None or self.height is None):
            raise InvalidRequest(f"Option 'fit' = {self.fit!r} needs both width and height.", field="fit")


class LossyFrameConvert(FrameConvert, frozen=True, kw_only=True):
    """``convert`` from a video to a picture with loss: its first frame."""

    quality: ops.Quality | None = None


class PlainVideoThumbnail(ops.PlainThumbnail, frozen=True, kw_only=True):
    """``thumbnail`` of a video to a picture without loss."""

    timestamp: ops.Seconds = 1.0


FRAME: Final[dict[str, type[Options]]] = {
    "jpg": LossyFrameConvert,
    "png": FrameConvert,
    "webp": LossyFrameConvert,
}
"""``convert`` from a video to a picture, by target."""

THUMBNAIL: Final[dict[str, type[Options]]] = {
    "jpg": ops.VideoThumbnail,
    "png": PlainVideoThumbnail,
    "webp": ops.VideoThumbnail,
}
"""``thumbnail`` of a video, by target."""


class VideoCompress(ops.VideoCompress, frozen=True, kw_only=True):
    """``compress`` a video by ``crf`` or down to ``target_bytes``, not both."""

    def __post_init__(self) -> None:
        """Raise :class:`InvalidRequest` for both at once."""
        if self.crf is not None and self.target_bytes is not None:
            raise InvalidRequest("Give either 'crf' or 'target_bytes', not both.", field="target_bytes")


class SoundCompress(ops.AudioCompress, frozen=True, kw_only=True):
    """``compress`` a sound by ``audio_bitrate`` or down to ``target_bytes``, not both."""

    def __post_init__(self) -> None:
        """Raise :class:`InvalidRequest` for both at once."""
        if self.audio_bitrate is not None and self.target_bytes is not None:
            raise InvalidRequest(
                "Give either 'audio_bitrate' or 'target_bytes', not both.", field="target_bytes"
            )


class Mp3Compress(SoundCompress, frozen=True, kw_only=True):
    """``compress`` a sound to ``mp3``."""

    audio_bitrate: Mp3Bitrate | None = None


class AacCompress(SoundCompress, frozen=True, kw_only=True):
    """``compress`` a sound to ``m4a`` or ``aac``."""

    audio_bitrate: AacBitrate | None = None


class OpusCompress(SoundCompress, frozen=True, kw_only=True):
    """``compress`` a sound to ``opus``."""

    audio_bitrate: OpusBitrate | None = None


class VorbisCompress(Options, frozen=True, kw_only=True):
    """``compress`` a sound to ``ogg``."""

    strip_metadata: bool = True


SMALL_SOUND: Final[dict[str, type[Options]]] = {
    "ogg": VorbisCompress,
    "mp3": Mp3Compress,
    "m4a": AacCompress,
    "aac": AacCompress,
    "opus": OpusCompress,
}
"""``compress`` of a sound, by target; lossless ones cannot be made smaller."""


class SoundTrim(Options, frozen=True, kw_only=True):
    """``trim`` a sound to the part from ``start`` that lasts ``duration`` (or ends at ``end``)."""

    start: ops.Seconds = 0.0
    duration: ops.Seconds | None = None
    end: ops.Seconds | None = None

    def __post_init__(self) -> None:
        """Raise :class:`InvalidRequest` where the part is empty or told twice."""
        check_part(self.start, self.duration, self.end)


class VideoTrim(ops.Trim, frozen=True, kw_only=True):
    """``trim`` a video."""

    def __post_init__(self) -> None:
        """Raise :class:`InvalidRequest` where the part is empty or told twice."""
        check_part(self.start, self.duration, self.end)


def check_part(start: float, duration: float | None, end: float | None) -> None:
    """Raise :class:`InvalidRequest` unless the three describe one part that is not empty."""
    if duration is not None and end is not None:
        raise InvalidRequest("Give either 'duration' or 'end', not both.", field="end")
    if duration is not None and duration <= 0:
        raise InvalidRequest("'duration' must be more than 0 seconds.", field="duration")
    if end is not None and end <= start:
        raise InvalidRequest(f"'end' ({end:g} s) must be after 'start' ({start:g} s).", field="end")


def check_rate_control(codec: str | None, crf: int | None, bitrate: int | None) -> None:
    """Raise :class:`InvalidRequest` where quality and bit rate are both given or the crf is out of scale."""
    if crf is not None and bitrate is not None:
        raise InvalidRequest("Give either 'crf' or 'video_bitrate', not both.", field="video_bitrate")
    if crf is not None and crf > 51 and codec in ("h264", "h265"):
        raise InvalidRequest(f"'crf' for {codec} goes from 0 to 51.", field="crf")


def refuse_with(options: Options, field: str, word: str, others: tuple[str, ...]) -> None:
    """Raise :class:`InvalidRequest` where one of ``others`` asks for what ``field=word`` rules out."""
    given = next((name for name in others if getattr(options, name) is not None), None)
    if given is not None:
        raise InvalidRequest(
            f"'{given}' has no meaning with {field}={word}; leave one of them out.", field=given
        )
