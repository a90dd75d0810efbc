"""What may be asked for of a video, target by target, so that a wrong wish is refused when it is made.

Every struct narrows one of :mod:`convertd.model.operations` to what its container or codec can do.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta

from convertd.engines.pyav.sound_options import check_part, refuse_both
from convertd.errors import InvalidRequest
from convertd.model import operations as ops
from convertd.model.operations import Options

_PICTURE_WISHES: Final = ("crf", "quality", "video_bitrate", "preset", "width", "height", "fps")
_SOUND_WISHES: Final = ("audio_bitrate", "channels", "sample_rate")


class VideoWishes(ops.VideoConvert, frozen=True, kw_only=True):
    """``convert`` between videos, with the contradictions refused.

    ``quality`` is a crf on one scale for all codecs: 75 is the usual one. Beside a crf or a quality,
    ``video_bitrate`` is a cap: easy scenes take less, none takes more for long.
    """

    quality: ops.Quality | None = None

    def __post_init__(self) -> None:
        """Raise :class:`InvalidRequest` for wishes that cannot all be met."""
        check_rate_control(self, self.video_codec, self.crf)
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
    quality: ops.Quality | None = None
    video_bitrate: ops.Bitrate | None = None
    preset: ops.Preset | None = None
    width: ops.Width | None = None
    height: ops.Height | None = None
    enlarge: bool = False
    fps: ops.Fps | None = None

    def __post_init__(self) -> None:
        """Raise :class:`InvalidRequest` for wishes that cannot all be met."""
        check_rate_control(self, self.video_codec, self.crf)


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
    "avif": LossyFrameConvert,
}
"""``convert`` from a video to a picture, by target."""

THUMBNAIL: Final[dict[str, type[Options]]] = {
    "jpg": ops.VideoThumbnail,
    "png": PlainVideoThumbnail,
    "webp": ops.VideoThumbnail,
    "avif": ops.VideoThumbnail,
}
"""``thumbnail`` of a video, by target."""


class PlainStoryboard(Options, frozen=True, kw_only=True):
    """``storyboard``: ``frames`` spread evenly over a video, in rows of ``columns`` tiles ``width`` wide (no
    wider than the video), as one picture without loss."""

    frames: Annotated[int, Meta(ge=1, le=100, description="How many frames.")] = 12
    columns: Annotated[int, Meta(ge=1, le=10, description="Frames side by side.")] = 4
    width: Annotated[int, Meta(ge=16, le=2048, description="Width of one frame in pixels.")] = 240


class Storyboard(PlainStoryboard, frozen=True, kw_only=True):
    """``storyboard`` as a picture with loss."""

    quality: ops.Quality | None = None


STORYBOARD: Final[dict[str, type[Options]]] = {
    "jpg": Storyboard,
    "png": PlainStoryboard,
    "webp": Storyboard,
    "avif": Storyboard,
}
"""``storyboard``, by target."""


class NoOptions(Options, frozen=True, kw_only=True):
    """``inspect`` and ``strip-metadata``, which leave nothing to choose."""


class VideoCompress(ops.VideoCompress, frozen=True, kw_only=True):
    """``compress`` a video by ``crf``, by ``quality`` or down to ``target_bytes``."""

    quality: ops.Quality | None = None

    def __post_init__(self) -> None:
        """Raise :class:`InvalidRequest` for two of them at once."""
        refuse_both(self, "crf", "quality")
        refuse_both(self, "crf", "target_bytes")
        refuse_both(self, "quality", "target_bytes")


class VideoTrim(ops.Trim, frozen=True, kw_only=True):
    """``trim`` a video."""

    def __post_init__(self) -> None:
        """Raise :class:`InvalidRequest` where the part is empty or told twice."""
        check_part(self.start, self.duration, self.end)


def check_rate_control(options: Options, codec: str | None, crf: int | None) -> None:
    """Raise :class:`InvalidRequest` where quality is told twice or the crf is out of scale."""
    refuse_both(options, "crf", "quality")
    if crf is not None and crf > 51 and codec in ("h264", "h265"):
        raise InvalidRequest(f"'crf' for {codec} goes from 0 to 51.", field="crf")


def refuse_with(options: Options, field: str, word: str, others: tuple[str, ...]) -> None:
    """Raise :class:`InvalidRequest` where one of ``others`` asks for what ``field=word`` rules out."""
    given = next((name for name in others if getattr(options, name) is not None), None)
    if given is not None:
        raise InvalidRequest(
            f"'{given}' has no meaning with {field}={word}; leave one of them out.", field=given
        )
