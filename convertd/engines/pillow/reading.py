"""Opening untrusted pictures: one decoder, the limits before the pixels, every fault with a name."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    IcoImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    PsdImagePlugin,
    TgaImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from convertd.engines.base import Limits
from convertd.engines.pillow.integrity import is_cut_off
from convertd.engines.pillow.targets import ANIMATED, SOURCES
from convertd.errors import ConvertdError, FileInvalid, LimitExceeded

__all__ = ["check_pixels", "count_frames", "faults_of_the_file", "open_picture"]

# Named, so that opening a file never makes the library import all its decoders.
_DECODERS = (
    AvifImagePlugin, BmpImagePlugin, GifImagePlugin, IcoImagePlugin, Jpeg2KImagePlugin, JpegImagePlugin,
    PngImagePlugin, PpmImagePlugin, PsdImagePlugin, TgaImagePlugin, TiffImagePlugin, WebPImagePlugin,
)  # fmt: skip

_CUT_OFF = re.compile(
    r"truncated|not enough|end of file|buffer is not large enough|no data found", re.IGNORECASE
)


@contextmanager
def faults_of_the_file(source: str) -> Iterator[None]:
    """Whatever a decoder raises inside is the file's fault, and becomes an error that says so."""
    try:
        yield
    except (ConvertdError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        found = re.search(r"\d+", str(error))
        pixels = f"{int(found[0]):,}" if found else "too many"
        raise LimitExceeded(
            f"The picture has {pixels} pixels; at most {2 * (Image.MAX_IMAGE_PIXELS or 0):,} are allowed.",
            detail=repr(error),
        ) from error
    except Exception as error:
        raise _fault(source, error) from error


def _fault(source: str, error: Exception) -> FileInvalid:
    if isinstance(error, EOFError) or _CUT_OFF.search(str(error)):
        return _cut_off(source, repr(error))
    if isinstance(error, UnidentifiedImageError):
        return FileInvalid(
            f"The file cannot be read as {source}: it is damaged, cut off or something else.",
            detail=repr(error),
        )
    return FileInvalid(f"The {source} picture is damaged and cannot be decoded.", detail=repr(error))


def _cut_off(source: str, detail: str) -> FileInvalid:
    return FileInvalid(
        f"The {source} picture is cut off: its end is missing. Send the whole file.", detail=detail
    )


@contextmanager
def open_picture(path: Path, source: str, limits: Limits) -> Iterator[ImageFile.ImageFile]:
    """The picture with its header read and its size within ``limits``, no pixel decoded yet.

    Raises :class:`FileInvalid` and :class:`LimitExceeded`; so does :func:`faults_of_the_file`, which has to
    surround whatever is done with the picture that may decode.
    """
    # The library raises above twice its figure and warns above it: half of the cap makes it raise at the cap.
    Image.MAX_IMAGE_PIXELS = max(1, limits.pixels // 2)
    if limits.threads:
        AvifImagePlugin.DEFAULT_MAX_THREADS = limits.threads
    if is_cut_off(path, source):
        raise _cut_off(source, "structure check")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with faults_of_the_file(source):
            image = Image.open(path, formats=SOURCES[source])
        with image:
            check_pixels(image.size, limits)
            yield image


def check_pixels(size: tuple[int, int], limits: Limits, what: str = "The picture") -> None:
    """Raise :class:`LimitExceeded` for more pixels than one picture may have."""
    pixels = size[0] * size[1]
    if pixels > limits.pixels:
        raise LimitExceeded(
            f"{what} has {size[0]} × {size[1]} = {pixels:,} pixels; at most {limits.pixels:,} are allowed."
        )


def count_frames(image: ImageFile.ImageFile, source: str, limits: Limits) -> int:
    """Frames of an animation or pages of a TIFF, counted from their headers and held to the limits."""
    with faults_of_the_file(source):
        frames = _pages(image, limits) if source == "tiff" else _frames(image, source)
    if frames > limits.frames:
        shown = f"{frames:,}" if source != "tiff" else f"more than {limits.frames:,}"
        raise LimitExceeded(f"The {source} has {shown} frames; at most {limits.frames:,} are allowed.")
    total = frames * image.width * image.height
    if total > limits.total_pixels:
        raise LimitExceeded(
            f"The {frames:,} frames have {total:,} pixels together; "
            f"at most {limits.total_pixels:,} are allowed."
        )
    return frames


def _frames(image: ImageFile.ImageFile, source: str) -> int:
    return int(getattr(image, "n_frames", 1)) if source in ANIMATED else 1


def _pages(image: ImageFile.ImageFile, limits: Limits) -> int:
    """One by one: the library's own count never ends early, and its cost grows with the square."""
    pages = 1
    while pages <= limits.frames:
        try:
            image.seek(pages)
        except EOFError:
            break
        check_pixels(image.size, limits, f"Page {pages + 1}")
        pages += 1
    image.seek(0)
    return pages
