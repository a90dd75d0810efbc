"""What a file was found to hold, as plain data: the ground on which :mod:`.plan` decides."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

HDR_TRANSFERS: Final = frozenset((16, 18))
"""ISO/IEC 23091-2 codes of PQ (SMPTE ST 2084) and HLG (ARIB STD-B67)."""

FULL_RANGE: Final = 2
"""FFmpeg's AVCOL_RANGE_JPEG."""

UNSPECIFIED: Final = 2
"""The code for "not told" of primaries, transfer and matrix."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Colour:
    """Codes of ISO/IEC 23091-2 for primaries, transfer and matrix, and FFmpeg's of the range."""

    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    matrix: int = UNSPECIFIED
    range: int = 0

    @property
    def hdr(self) -> bool:
        """Whether a screen must know how to show it."""
        return self.transfer in HDR_TRANSFERS


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """The first frame of a video as decoded: before rotation, in stored pixels."""

    width: int
    height: int
    pix_fmt: str
    depth: int = 8
    alpha: bool = False
    rgb: bool = False
    interlaced: bool = False
    turns: int = 0
    """Quarter turns clockwise that show it upright."""
    mirrored: bool = False
    """Whether it is flipped left to right before it is turned."""
    aspect: Fraction = Fraction(1)
    """Width of a stored pixel over its height."""
    colour: Colour = Colour()


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoStream:
    """A stream of pictures that move."""

    index: int
    codec: str
    width: int
    height: int
    pix_fmt: str
    rate: Fraction
    time_base: Fraction
    colour: Colour = Colour()
    aspect: Fraction = Fraction(1)
    """Width of a stored pixel over its height."""
    alpha_aside: bool = False
    """Whether the transparency is in a layer of its own, which FFmpeg's decoder leaves out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SoundStream:
    """A track of sound."""

    index: int
    codec: str
    channels: int
    layout: str
    sample_rate: int
    bit_rate: int = 0
    """Bits per second, where the file tells."""
    deep: bool = False
    """Whether it holds more than 16 bits a sample without loss."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextStream:
    """A track of subtitles."""

    index: int
    codec: str
    pictures: bool = False
    """Whether the subtitles are drawn, not written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Everything in one file that a plan may use."""

    format: str
    duration: float | None
    """Seconds, where the file tells."""
    start: Fraction = Fraction(0)
    """Time stamp of the first moment, in seconds."""
    videos: tuple[VideoStream, ...] = ()
    sounds: tuple[SoundStream, ...] = ()
    texts: tuple[TextStream, ...] = ()
    covers: tuple[int, ...] = ()
    """Indexes of attached pictures."""
    unreadable: tuple[int, ...] = ()
    """Indexes of streams that no decoder is known for."""
    tells: bool = False
    """Whether there is more than sound and pictures: tags, chapters, covers, streams of an unknown kind."""
