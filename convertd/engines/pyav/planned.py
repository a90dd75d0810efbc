"""What is wished and what is decided, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from convertd.engines.pyav.codecs import Container
from convertd.engines.pyav.filters import Filters
from convertd.engines.pyav.source import Colour
from convertd.model.operations import Options


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """The options of all operations on video and sound under one name each; ``None`` means: as it is."""

    video_codec: str | None = None
    crf: int | None = None
    quality: int | None = None
    video_bitrate: int | None = None
    preset: str | None = None
    width: int | None = None
    height: int | None = None
    enlarge: bool = False
    fps: float | None = None
    audio_codec: str | None = None
    audio_bitrate: int | None = None
    channels: int | None = None
    sample_rate: int | None = None
    audio_track: int | None = None
    strip_metadata: bool = False
    small: bool = False
    """Settings of ``compress`` instead of ``convert``."""
    encode: bool = False
    """Never copy: the cut is to be exact, or the file smaller."""

    @property
    def of_picture(self) -> bool:
        """Whether anything but the size was asked of the picture, so that it must be encoded."""
        return any(
            wish is not None for wish in (self.crf, self.quality, self.video_bitrate, self.preset, self.fps)
        )


def wishes_of(options: Options, **more: bool) -> Wishes:
    """``options`` of any of this engine's operations as :class:`Wishes`."""
    names = Wishes.__dataclass_fields__
    return Wishes(**{name: getattr(options, name) for name in names if hasattr(options, name)} | more)


@dataclass(frozen=True, kw_only=True, slots=True)
class Copied:
    """A stream whose packets go over as they are."""

    index: int
    codec: str


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedVideo:
    """A stream of pictures that is decoded, filtered and encoded."""

    index: int
    library: str
    codec: str
    width: int
    height: int
    pix_fmt: str
    rate: Fraction
    time_base: Fraction
    aspect: Fraction
    colour: Colour
    filters: Filters
    bit_rate: int = 0
    options: dict[str, str] = field(default_factory=dict)
    tag: str | None = None
    """Four letters that the container should call the codec by, where its own choice plays less widely."""
    alpha: bool = False
    number: int = 0
    """1 for a pass that only measures, 2 for the one that uses its figures, 0 for a single pass."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedSound:
    """A track that is decoded and encoded."""

    index: int
    library: str
    codec: str
    layout: str
    sample_rate: int
    bit_rate: int = 0
    quality: int | None = None
    options: dict[str, str] = field(default_factory=dict)
    filters: Filters = ()
    """What is done to the sound as it was decoded."""
    through: str | None = None
    """Sample format that the sound is brought to before the encoder has it."""
    least: int = 0
    """Samples to reach with silence at the end."""
    deep: bool = False
    """Whether more than 16 bits a sample are to be kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedText:
    """A track of subtitles that is written anew."""

    index: int
    codec: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Everything that goes into the output."""

    container: Container
    video: Copied | EncodedVideo | None = None
    more_videos: tuple[Copied, ...] = ()
    sounds: tuple[Copied | EncodedSound, ...] = ()
    texts: tuple[Copied | EncodedText, ...] = ()
    covers: tuple[int, ...] = ()
    strip_metadata: bool = False
    notes: tuple[str, ...] = ()
