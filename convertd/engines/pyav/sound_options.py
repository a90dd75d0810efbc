"""What may be asked for of a sound, target by target, so that a wrong wish is refused when it is made.

Every struct narrows one of :mod:`convertd.model.operations` to what its codec can do.
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


class _Sound(Options, frozen=True, kw_only=True):
    """What is asked of a sound that is written with loss: a ``quality`` or bits per second, not both."""

    quality: ops.Quality | None = None
    """75 is what the encoder makes when nothing is asked."""
    audio_bitrate: ops.Bitrate | None = None

    def __post_init__(self) -> None:
        """Raise :class:`InvalidRequest` for both at once."""
        refuse_both(self, "quality", "audio_bitrate")


class Mp3Sound(_Sound, frozen=True, kw_only=True):
    """Sounds joined to ``mp3``."""

    audio_bitrate: Mp3Bitrate | None = None
    channels: Literal[1, 2] | None = None
    sample_rate: Mp3Rate | None = None


class AacSound(_Sound, frozen=True, kw_only=True):
    """Sounds joined to ``m4a`` or ``aac``."""

    audio_bitrate: AacBitrate | None = None
    channels: ops.Channels | None = None
    sample_rate: AacRate | None = None


class OpusSound(_Sound, frozen=True, kw_only=True):
    """Sounds joined to ``opus``."""

    audio_bitrate: OpusBitrate | None = None
    channels: ops.Channels | None = None
    sample_rate: OpusRate | None = None


class VorbisSound(Options, frozen=True, kw_only=True):
    """Sounds joined to ``ogg``: FFmpeg's own Vorbis encoder makes stereo, and is not told a bit rate."""

    quality: ops.Quality | None = None
    channels: Literal[2] | None = None
    sample_rate: Annotated[int, Meta(ge=8_000, le=48_000, description="Samples per second.")] | None = None


class LosslessSound(Options, frozen=True, kw_only=True):
    """Sounds joined to ``wav``, ``flac`` or ``aiff``, which have no quality and no bit rate to choose."""

    channels: ops.Channels | None = None
    sample_rate: ops.SampleRate | None = None


JOINED: Final[dict[str, type[Options]]] = {
    "mp3": Mp3Sound,
    "m4a": AacSound,
    "aac": AacSound,
    "opus": OpusSound,
    "ogg": VorbisSound,
    "wav": LosslessSound,
    "flac": LosslessSound,
    "aiff": LosslessSound,
}
"""``concat``, by target."""


class Mp3Convert(Mp3Sound, frozen=True, kw_only=True):
    """Sound to ``mp3``."""

    audio_track: ops.AudioTrack | None = None
    strip_metadata: bool = False


class AacConvert(AacSound, frozen=True, kw_only=True):
    """Sound to ``m4a`` or ``aac``."""

    audio_track: ops.AudioTrack | None = None
    strip_metadata: bool = False


class OpusConvert(OpusSound, frozen=True, kw_only=True):
    """Sound to ``opus``."""

    audio_track: ops.AudioTrack | None = None
    strip_metadata: bool = False


class VorbisConvert(VorbisSound, frozen=True, kw_only=True):
    """Sound to ``ogg``."""

    audio_track: ops.AudioTrack | None = None
    strip_metadata: bool = False


class LosslessConvert(LosslessSound, frozen=True, kw_only=True):
    """Sound to ``wav``, ``flac`` or ``aiff``."""

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


class SoundAdjust(Options, frozen=True, kw_only=True):
    """``adjust`` a sound: how loud and how fast it plays, its pitch kept."""

    volume: Annotated[float, Meta(ge=0, le=20, description="Factor of the loudness: 2 is 6 dB more.")] = 1.0
    speed: Annotated[float, Meta(ge=0.25, le=4, description="Factor of the speed: 2 is half as long.")] = 1.0
    strip_metadata: bool = False


class SoundCompress(ops.AudioCompress, frozen=True, kw_only=True):
    """``compress`` a sound by ``audio_bitrate``, by ``quality`` or down to ``target_bytes``."""

    quality: ops.Quality | None = None

    def __post_init__(self) -> None:
        """Raise :class:`InvalidRequest` for two of them at once."""
        refuse_both(self, "audio_bitrate", "quality")
        refuse_both(self, "audio_bitrate", "target_bytes")
        refuse_both(self, "quality", "target_bytes")


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

    quality: ops.Quality | None = None
    strip_metadata: bool = True


class AmrCompress(Options, frozen=True, kw_only=True):
    """``compress`` to ``amr``, which is as small as it gets: the sound stays as it is."""

    strip_metadata: bool = True
    """The format has no place for any."""


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


def check_part(start: float, duration: float | None, end: float | None) -> None:
    """Raise :class:`InvalidRequest` unless the three describe one part that is not empty."""
    if duration is not None and end is not None:
        raise InvalidRequest("Give either 'duration' or 'end', not both.", field="end")
    if duration is not None and duration <= 0:
        raise InvalidRequest("'duration' must be more than 0 seconds.", field="duration")
    if end is not None and end <= start:
        raise InvalidRequest(f"'end' ({end:g} s) must be after 'start' ({start:g} s).", field="end")


def refuse_both(options: Options, one: str, other: str) -> None:
    """Raise :class:`InvalidRequest` where two options that rule each other out are both given."""
    if getattr(options, one) is not None and getattr(options, other) is not None:
        raise InvalidRequest(f"Give either '{one}' or '{other}', not both.", field=other)
