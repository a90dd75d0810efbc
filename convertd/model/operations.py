"""Operations and their typed options.

Options are frozen msgspec structs: validation, coercion of query-string text and the JSON Schema shown by
``/formats`` all come from the one declaration. An engine may use the structs here or declare its own
subclass of :class:`Options`. ``Meta(extra={"unit": ...})`` marks numbers that may also be written with a
unit: ``bits/s`` ("128k"), ``bytes`` ("2MB"), ``seconds`` ("1:30").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from convertd.errors import InvalidRequest
from convertd.model.colours import parse_colour

CONVERT: Final = "convert"
COMPRESS: Final = "compress"
THUMBNAIL: Final = "thumbnail"
EXTRACT_AUDIO: Final = "extract-audio"
TRIM: Final = "trim"
STORYBOARD: Final = "storyboard"
TRANSFORM: Final = "transform"
ADJUST: Final = "adjust"
WATERMARK: Final = "watermark"
STRIP_METADATA: Final = "strip-metadata"
INSPECT: Final = "inspect"
MERGE: Final = "merge"
"""Several files of one kind bound into one, in order: pictures into a PDF."""
CONCAT: Final = "concat"
"""Several recordings played one after the other, as one file."""
ARCHIVE: Final = "archive"
"""Any files packed into one archive."""
UNPACK: Final = "unpack"
"""An archive's files, each as it is: for the server's own use, no client can ask for it."""

ANY: Final = "any"
"""Target of :data:`UNPACK`: files of whatever format."""

SAME: Final = "same"
"""Default target that means: the input's own format."""

DEFAULT_TARGETS: Final[Mapping[str, str]] = {
    COMPRESS: SAME,
    TRIM: SAME,
    THUMBNAIL: "jpg",
    EXTRACT_AUDIO: "mp3",
    STORYBOARD: "jpg",
    TRANSFORM: SAME,
    ADJUST: SAME,
    WATERMARK: SAME,
    STRIP_METADATA: SAME,
    INSPECT: "json",
    MERGE: "pdf",
    CONCAT: SAME,
    ARCHIVE: "zip",
}
"""Target format of a request that names none; ``convert`` has no default."""

Quality = Annotated[
    int, Meta(ge=1, le=100, description="Lossy quality; the codec's sensible default if absent.")
]
Width = Annotated[int, Meta(ge=1, le=32767, description="Width in pixels.")]
Height = Annotated[int, Meta(ge=1, le=32767, description="Height in pixels.")]
Colour = Annotated[
    str,
    Meta(
        pattern=r"^(#?[0-9a-fA-F]{3}|#?[0-9a-fA-F]{6}|#?[0-9a-fA-F]{8}|[a-z]{3,20})$",
        description="Colour as a CSS name or hexadecimal (RGB, RRGGBB or RRGGBBAA).",
    ),
]
Fit = Literal["inside", "contain", "cover"]
Bitrate = Annotated[
    int,
    Meta(ge=6_000, le=400_000_000, description="Bits per second: 128000 or 128k.", extra={"unit": "bits/s"}),
]
TargetBytes = Annotated[
    int, Meta(ge=256, description="Largest size of the result: 200000 or 200kB.", extra={"unit": "bytes"})
]
Seconds = Annotated[
    float, Meta(ge=0, le=360_000, description="Seconds, or [hh:]mm:ss[.fraction].", extra={"unit": "seconds"})
]
Fps = Annotated[float, Meta(gt=0, le=240, description="Frames per second.")]
Crf = Annotated[int, Meta(ge=0, le=63, description="Constant rate factor; lower is better and larger.")]
Preset = Literal[
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"
]
SampleRate = Annotated[int, Meta(ge=8_000, le=192_000, description="Samples per second.")]
Channels = Annotated[int, Meta(ge=1, le=8, description="Number of sound channels.")]
AudioTrack = Annotated[
    int, Meta(ge=0, le=63, description="Which audio track to keep, counted from 0; all if absent.")
]
Pages = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]+(-[0-9]*)?(,[0-9]+(-[0-9]*)?)*$",
        description='Pages from 1: "1-3,7,9-"; all if absent.',
    ),
]
PageNumber = Annotated[int, Meta(ge=1, le=100_000, description="Page, counted from 1.")]
Dpi = Annotated[int, Meta(ge=18, le=1200, description="Dots per inch of a rendered page.")]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all options."""


def check_colour(text: str, *, field: str = "background") -> None:
    """Refuse a word that has the form of a colour but names none."""
    try:
        parse_colour(text)
    except ValueError:
        raise InvalidRequest(
            f"Option {field!r} has a wrong value ({text!r}): it takes a CSS colour name, transparent, "
            "or hexadecimal RGB, RRGGBB or RRGGBBAA.",
            field=field,
        ) from None


def check_box(fit: str, width: int | None, height: int | None, enlarge: bool) -> None:
    """Refuse a way to fit a box that has but one side, and to enlarge to none."""
    if fit != "inside" and (width is None or height is None):
        raise InvalidRequest(f"Option 'fit' = {fit!r} needs both width and height.", field="fit")
    if enlarge and width is None and height is None:
        raise InvalidRequest("Option 'enlarge' needs a width or a height.", field="enlarge")


def check_lossless(lossless: bool, quality: int | None) -> None:
    """Refuse a quality where there is no loss."""
    if lossless and quality is not None:
        raise InvalidRequest(
            "Give either quality or lossless: without loss there is no quality.", field="lossless"
        )


class _Boxed(Options, frozen=True, kw_only=True):
    """What options share that scale a picture into a box and may lay it on a background."""

    width: Width | None = None
    height: Height | None = None
    fit: Fit = "inside"
    """How width × height is meant: inside (keep the ratio, no larger than the box), contain (the same, padded
    with ``background`` to the box), cover (fill the box, cut what stands over)."""
    enlarge: bool = False
    """Whether a smaller picture may be scaled up."""
    background: Colour = "white"
    """What transparent parts are laid on where the target has no alpha, and the padding of ``contain``."""

    def __post_init__(self) -> None:
        check_colour(self.background)
        check_box(self.fit, self.width, self.height, self.enlarge)


class PictureConvert(_Boxed, frozen=True, kw_only=True):
    """``convert`` between pictures, to a target without loss."""

    strip_metadata: bool = False
    auto_orient: bool = True


class LossyPictureConvert(PictureConvert, frozen=True, kw_only=True):
    """``convert`` to a picture format with loss."""

    quality: Quality | None = None


class EitherPictureConvert(LossyPictureConvert, frozen=True, kw_only=True):
    """``convert`` to a picture format that is written with loss or without."""

    lossless: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_lossless(self.lossless, self.quality)


class PictureCompress(Options, frozen=True, kw_only=True):
    """``compress`` a picture in its own format or to another: by ``quality``, or down to ``target_bytes``."""

    quality: Quality | None = None
    target_bytes: TargetBytes | None = None
    width: Width | None = None
    height: Height | None = None
    background: Colour = "white"
    strip_metadata: bool = True

    def __post_init__(self) -> None:
        check_colour(self.background)
        if self.quality is not None and self.target_bytes is not None:
            raise InvalidRequest(
                "Give either quality or target_bytes: the second chooses the first.", field="target_bytes"
            )


_THUMBNAIL_SIDE: Final = 320


class PlainThumbnail(_Boxed, frozen=True, kw_only=True):
    """``thumbnail`` of anything that can be seen, to a target without loss, inside 320 × 320; where only one
    of ``width`` and ``height`` is given, the other follows the ratio."""

    strip_metadata: bool = True

    def __post_init__(self) -> None:
        check_colour(self.background)
        if self.fit != "inside" and (self.width is None) != (self.height is None):
            raise InvalidRequest(f"Option 'fit' = {self.fit!r} needs both width and height.", field="fit")

    @property
    def box(self) -> tuple[int | None, int | None]:
        """Width and height to fit into; an absent one does not bound the picture."""
        if self.width is None and self.height is None:
            return _THUMBNAIL_SIDE, _THUMBNAIL_SIDE
        return self.width, self.height


class Thumbnail(PlainThumbnail, frozen=True, kw_only=True):
    """``thumbnail`` of anything that can be seen."""

    quality: Quality | None = None


class VideoThumbnail(Thumbnail, frozen=True, kw_only=True):
    """``thumbnail`` of a video: the frame at ``timestamp`` (the nearest before the end if it is past it)."""

    timestamp: Seconds = 1.0


class PlainDocumentThumbnail(PlainThumbnail, frozen=True, kw_only=True):
    """``thumbnail`` of a document's ``page``, counted from 1, to a target without loss."""

    page: PageNumber = 1


class DocumentThumbnail(Thumbnail, frozen=True, kw_only=True):
    """``thumbnail`` of a document's ``page``, counted from 1."""

    page: PageNumber = 1


class VideoConvert(Options, frozen=True, kw_only=True):
    """``convert`` between videos. What is absent is kept from the source, by stream copy where it fits."""

    video_codec: Literal["h264", "h265", "vp8", "vp9", "av1", "copy"] | None = None
    crf: Crf | None = None
    video_bitrate: Bitrate | None = None
    preset: Preset | None = None
    width: Width | None = None
    height: Height | None = None
    enlarge: bool = False
    fps: Fps | None = None
    audio_codec: Literal["aac", "mp3", "opus", "vorbis", "flac", "copy", "none"] | None = None
    audio_bitrate: Bitrate | None = None
    channels: Channels | None = None
    sample_rate: SampleRate | None = None
    audio_track: AudioTrack | None = None
    strip_metadata: bool = False


class AnimationConvert(Options, frozen=True, kw_only=True):
    """``convert`` from a video to an animated picture."""

    width: Width | None = None
    height: Height | None = None
    fps: Fps | None = None
    start: Seconds = 0.0
    duration: Seconds | None = None


class VideoCompress(Options, frozen=True, kw_only=True):
    """``compress`` a video: by ``crf``, or down to ``target_bytes``."""

    crf: Crf | None = None
    target_bytes: TargetBytes | None = None
    preset: Preset | None = None
    width: Width | None = None
    height: Height | None = None
    audio_bitrate: Bitrate | None = None
    strip_metadata: bool = True


class AudioCompress(Options, frozen=True, kw_only=True):
    """``compress`` a sound: by ``audio_bitrate``, or down to ``target_bytes``."""

    audio_bitrate: Bitrate | None = None
    target_bytes: TargetBytes | None = None
    strip_metadata: bool = True


class Trim(Options, frozen=True, kw_only=True):
    """``trim`` to the part from ``start`` that lasts ``duration`` (or ends at ``end``)."""

    start: Seconds = 0.0
    duration: Seconds | None = None
    end: Seconds | None = None
    precise: bool = True
    """Cut a video at the very frame by re-encoding; false copies from the key frame at or before start."""


class PdfPictures(Options, frozen=True, kw_only=True):
    """``convert`` pages of a document to pictures of ``dpi`` (150), or as large as fits width × height."""

    pages: Pages | None = None
    dpi: Dpi | None = None
    width: Width | None = None
    height: Height | None = None
    background: Colour = "white"

    def __post_init__(self) -> None:
        check_colour(self.background)
        if self.dpi is not None and (self.width is not None or self.height is not None):
            raise InvalidRequest("Give either dpi or width and height: both set the size.", field="dpi")


class LossyPdfPictures(PdfPictures, frozen=True, kw_only=True):
    """The same, to a target with loss."""

    quality: Quality | None = None


class EitherPdfPictures(LossyPdfPictures, frozen=True, kw_only=True):
    """The same, to a target that is written with loss or without."""

    lossless: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_lossless(self.lossless, self.quality)


class PdfText(Options, frozen=True, kw_only=True):
    """``convert`` a document's pages to plain text, pages parted by a form feed."""

    pages: Pages | None = None
