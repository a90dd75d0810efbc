"""Encoding finished pixels: the words that each of the library's writers wants to hear."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, Final

from PIL import ExifTags, Image, PdfImagePlugin, PngImagePlugin, TiffImagePlugin

from convertd.engines.pillow.animation import Sequence
from convertd.engines.pillow.metadata import Metadata, density_as_exif
from convertd.engines.pillow.targets import Target
from convertd.engines.pillow.tiff_exif import append_directories
from convertd.errors import ConvertdError, EngineError, LimitExceeded

__all__ = ["PAGE_DPI", "PAGE_UNITS", "Settings", "check_longest_side", "encode"]

_WRITERS = (PdfImagePlugin,)
_MARKER: Final = 65_533
"""Most bytes in one JPEG segment."""
_XMP_MARKER: Final = _MARKER - 29
_ICON_SIDES: Final = (16, 24, 32, 48, 64, 128, 256)
PAGE_UNITS: Final = 14_400
"""Longest side of a PDF page in 1/72 inch (ISO 32000-1, annex C)."""
PAGE_DPI: Final = 96.0
"""For pictures that do not say how large they are: the density of CSS."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to encode."""

    quality: int | None = None
    lossless: bool = False
    small: bool = False
    """Spend time to save bytes."""
    threads: int = 0
    tables: tuple[dict[int, list[int]], int] | None = None
    """Quantisation tables and chroma sampling of a JPEG source, so that its quality is kept."""
    plays: int = 0
    """How often an animation runs; 0 for ever."""
    see_through: bool = False
    """Whether frames of an animation may have holes through which an older frame would show."""


def check_longest_side(target: Target, size: tuple[int, int]) -> None:
    """Raise :class:`LimitExceeded` where the format cannot hold a picture of this size."""
    if max(size) > target.longest_side:
        raise LimitExceeded(
            f"{target.codec} holds at most {target.longest_side:,} pixels on each side and the result would "
            f"be {size[0]} × {size[1]}; ask for a smaller width or height, or for another format."
        )


def encode(
    image: Image.Image, target: Target, metadata: Metadata, settings: Settings, out: IO[bytes]
) -> list[str]:
    """Write ``image`` (a :class:`Sequence` with all its frames) and return what the client should know."""
    notes: list[str] = []
    check_longest_side(target, image.size)
    words = _WORDS[target.codec](image, metadata, settings, notes)
    with _faults_of_the_writer(target):
        image.save(out, target.codec, save_all=isinstance(image, Sequence), **words)
        if target.codec == "TIFF" and metadata.exif and not append_directories(out, metadata.exif):
            notes.append("Some EXIF metadata could not be written to the TIFF and was left out.")
    return notes


@contextmanager
def _faults_of_the_writer(target: Target) -> Iterator[None]:
    try:
        yield
    except (ConvertdError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the system, such as a full disk, which the child passes on; a codec has no number
        raise EngineError(f"The {target.codec} could not be written.", detail=repr(error)) from error


def _jpeg(image: Image.Image, metadata: Metadata, settings: Settings, notes: list[str]) -> dict[str, Any]:
    words: dict[str, Any] = {"optimize": settings.small, "progressive": settings.small}
    if settings.quality is None and settings.tables and len(settings.tables[0]) <= 2:
        words["qtables"], words["subsampling"] = settings.tables
    else:
        words["quality"] = settings.quality or 85
        if words["quality"] >= 95:
            words["subsampling"] = 0
    exif = b"Exif\x00\x00" + metadata.exif if metadata.exif else b""
    for name, value, most in (("EXIF", exif, _MARKER), ("XMP", metadata.xmp, _XMP_MARKER)):
        if len(value) > most:
            notes.append(f"The {name} metadata is too long for a JPEG and was left out.")
        elif value:
            words[name.lower()] = value
    return words | _present(icc_profile=metadata.icc, dpi=metadata.dpi, comment=metadata.comment[:_MARKER])


def _png(image: Image.Image, metadata: Metadata, settings: Settings, notes: list[str]) -> dict[str, Any]:
    text = PngImagePlugin.PngInfo()
    for key, value in metadata.text:
        text.add_itxt(key, value, zip=len(value) > 1024)
    if metadata.xmp:
        text.add_itxt("XML:com.adobe.xmp", metadata.xmp.decode("utf-8", "replace"))
    words: dict[str, Any] = {"optimize": True} if settings.small else {"compress_level": 3}
    if isinstance(image, Sequence):
        words |= {"duration": image.times, "loop": settings.plays, "disposal": 0, "blend": 0}
    # An empty profile is said aloud: the writer would otherwise look for one in the image.
    return (
        words
        | {"pnginfo": text, "icc_profile": metadata.icc}
        | _present(exif=metadata.exif, dpi=metadata.dpi)
    )


def _webp(image: Image.Image, metadata: Metadata, settings: Settings, notes: list[str]) -> dict[str, Any]:
    words: dict[str, Any] = {"quality": settings.quality or 80, "method": 6 if settings.small else 4}
    if settings.lossless:
        words |= {"lossless": True, "exact": True}
    if isinstance(image, Sequence):
        words |= {"duration": image.times, "loop": settings.plays, "background": (0, 0, 0, 0)}
        # The slower methods cost several times more on every one of many frames.
        words["method"] = 4 if settings.small else 2
        if settings.see_through:
            # Only whole frames: between two of them the encoder leaves behind what should vanish.
            words |= {"kmin": 0, "kmax": 1}
    return words | _present(exif=_exif_with_density(metadata), xmp=metadata.xmp, icc_profile=metadata.icc)


def _avif(image: Image.Image, metadata: Metadata, settings: Settings, notes: list[str]) -> dict[str, Any]:
    words: dict[str, Any] = {"quality": settings.quality or 75, "speed": 6, "icc_profile": metadata.icc}
    if settings.threads:
        words["max_threads"] = settings.threads
    if isinstance(image, Sequence):
        words["duration"] = image.times
        if settings.plays:
            notes.append("An AVIF animation is written to run for ever.")
    return words | _present(exif=_exif_with_density(metadata), xmp=metadata.xmp)


def _gif(image: Image.Image, metadata: Metadata, settings: Settings, notes: list[str]) -> dict[str, Any]:
    words = _present(comment=metadata.comment)
    if isinstance(image, Sequence):
        words |= {"duration": image.times, "disposal": 2 if settings.see_through else 1}
        if settings.plays != 1:
            # The format counts the repetitions after the first run.
            words["loop"] = max(0, settings.plays - 1)
    return words


def _tiff(image: Image.Image, metadata: Metadata, settings: Settings, notes: list[str]) -> dict[str, Any]:
    tags = Image.Exif()
    if metadata.exif:
        read = Image.Exif()
        read.load(metadata.exif)
        for tag in _TIFF_TAGS:
            if tag in read:
                tags[tag] = read[tag]
    if metadata.xmp:
        tags[TiffImagePlugin.XMP] = metadata.xmp
    words: dict[str, Any] = {"exif": tags, "icc_profile": metadata.icc or None}
    return words | _tiff_compression(image, settings, tags) | _present(dpi=metadata.dpi)


_TIFF_TAGS: Final = (
    ExifTags.Base.ImageDescription, ExifTags.Base.Make, ExifTags.Base.Model, ExifTags.Base.Orientation,
    ExifTags.Base.Software, ExifTags.Base.DateTime, ExifTags.Base.Artist, ExifTags.Base.Copyright,
)  # fmt: skip


def _tiff_compression(image: Image.Image, settings: Settings, tags: Image.Exif) -> dict[str, Any]:
    if image.mode == "1":
        return {"compression": "group4"}
    if settings.quality is not None and settings.quality < 100 and image.mode in ("L", "RGB"):
        return {"compression": "jpeg", "quality": settings.quality}
    if image.mode in ("L", "LA", "RGB", "RGBA", "CMYK", "I;16"):
        tags[TiffImagePlugin.PREDICTOR] = 2
    return {"compression": "tiff_adobe_deflate"}


def _pdf(image: Image.Image, metadata: Metadata, settings: Settings, notes: list[str]) -> dict[str, Any]:
    across, down = metadata.dpi or (PAGE_DPI, PAGE_DPI)
    least = max(image.size) * 72 / PAGE_UNITS
    if min(across, down) < least:
        across = down = least
    words: dict[str, Any] = {"dpi": (across, down), "title": None}
    return words if image.mode == "1" else words | {"quality": settings.quality or 90}


def _ico(image: Image.Image, metadata: Metadata, settings: Settings, notes: list[str]) -> dict[str, Any]:
    side = image.width
    return {"sizes": [(size, size) for size in sorted({*_ICON_SIDES, side}) if size <= side]}


def _jp2(image: Image.Image, metadata: Metadata, settings: Settings, notes: list[str]) -> dict[str, Any]:
    if settings.lossless or settings.quality == 100:
        return {"irreversible": False}
    # Peak signal to noise in decibels: 30 is poor, 40 good, 50 beyond what is seen.
    decibels = 25 + (settings.quality or 80) * 0.25
    return {"irreversible": True, "quality_mode": "dB", "quality_layers": [decibels]}


def _bmp(image: Image.Image, metadata: Metadata, settings: Settings, notes: list[str]) -> dict[str, Any]:
    return _present(dpi=metadata.dpi)


def _bare(image: Image.Image, metadata: Metadata, settings: Settings, notes: list[str]) -> dict[str, Any]:
    return {}


def _present(**words: Any) -> dict[str, Any]:
    return {key: value for key, value in words.items() if value}


def _exif_with_density(metadata: Metadata) -> bytes:
    if metadata.exif or metadata.dpi is None:
        return metadata.exif
    return density_as_exif(metadata.dpi)


_WORDS: Final[dict[str, Callable[[Image.Image, Metadata, Settings, list[str]], dict[str, Any]]]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "WEBP": _webp,
    "AVIF": _avif,
    "GIF": _gif,
    "TIFF": _tiff,
    "PDF": _pdf,
    "ICO": _ico,
    "JPEG2000": _jp2,
    "BMP": _bmp,
    "TGA": _bare,
    "PPM": _bare,
}
