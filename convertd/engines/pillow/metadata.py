"""What a picture carries beside its pixels. What cannot be parsed is dropped; nothing here is fatal."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from PIL import ExifTags, Image, ImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

_DESCRIPTIVE: Final = (
    ExifTags.Base.ImageDescription, ExifTags.Base.Make, ExifTags.Base.Model, ExifTags.Base.Software,
    ExifTags.Base.DateTime, ExifTags.Base.Artist, ExifTags.Base.Copyright,
)  # fmt: skip
"""Tags of a TIFF page that speak of the picture, not of how its bytes lie."""

_XMP_ORIENTATION: Final = re.compile(rb'(tiff:Orientation(?:="|>))[1-8]')


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """Empty values mean absent."""

    exif: bytes = b""
    """A TIFF structure, without the ``Exif`` prefix that some containers want."""
    xmp: bytes = b""
    icc: bytes = b""
    dpi: tuple[float, float] | None = None
    comment: bytes = b""
    text: tuple[tuple[str, str], ...] = ()
    """Keyword and value of PNG text chunks."""

    def stripped(self) -> Metadata:
        """Only what the pixels need to look right: colour profile and density."""
        return Metadata(icc=self.icc, dpi=self.dpi)

    @property
    def tells(self) -> bool:
        """Whether it says more than how the pixels look and the picture stands."""
        exif = Image.Exif()
        exif.load(self.exif)
        return replace(self, exif=b"") != self.stripped() or bool(set(exif) - {ExifTags.Base.Orientation})

    def without_preview(self) -> Metadata:
        """For a picture that does not look as before: cameras keep a small copy of what they took."""
        return replace(self, exif=without_preview(self.exif))

    def upright(self, *, turned: bool) -> Metadata:
        """After the orientation has been applied to the pixels, by a quarter turn if ``turned``."""
        return replace(
            self,
            exif=with_orientation(self.exif, 1),
            xmp=_XMP_ORIENTATION.sub(rb"\g<1>1", self.xmp),
            dpi=(self.dpi[1], self.dpi[0]) if self.dpi and turned else self.dpi,
        )


def collect(image: ImageFile.ImageFile, *, lying: int = 1) -> Metadata:
    """What ``image`` carries. PNG text after the pixels is seen only once they are decoded.

    ``lying`` is the orientation of a TIFF, which the library forgets while it decodes.
    """
    return Metadata(
        exif=_exif(image, lying),
        xmp=_xmp(image),
        icc=_bytes(image.info.get("icc_profile")),
        dpi=_dpi(image.info.get("dpi")),
        comment=_bytes(image.info.get("comment"))[:65_000],
        text=tuple(_text(image)),
    )


def orientation(image: ImageFile.ImageFile) -> int:
    """1 to 8, as EXIF says (or what the library makes of AVIF and XMP); 1 if it says nothing sound."""
    with suppress(Exception):
        tag = ExifTags.Base.Orientation
        found = image.tag_v2.get(tag, 1) if isinstance(image, TiffImageFile) else image.getexif().get(tag, 1)
        if isinstance(found, int) and 1 <= found <= 8:
            return found
    return 1


def upright_size(image: ImageFile.ImageFile, source: str) -> tuple[int, int]:
    """Width and height as it is to be shown; the library tells them so of a TIFF alone."""
    return image.size[::-1] if source != "tiff" and orientation(image) >= 5 else image.size


def is_deep(image: ImageFile.ImageFile) -> bool:
    """Whether the file has colours of more than 8 bits, which the library cuts to 8 without a word."""
    if image.mode not in ("RGB", "RGBA", "CMYK"):
        return False
    if isinstance(image, TiffImageFile):
        bits = image.tag_v2.get(258, (8,))
        return any(bit > 8 for bit in (bits if isinstance(bits, tuple) else (bits,)))
    return bool(isinstance(image, PngImageFile) and image.png and image.png.im_rawmode.endswith("16B"))


def with_orientation(exif: bytes, value: int) -> bytes:
    """``exif`` with its orientation tag, if it has one, set in place: maker notes with offsets stay valid."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None or len(exif) < 14:
        return exif
    with suppress(struct.error):
        directory = struct.unpack_from(order + "I", exif, 4)[0]
        for index in range(struct.unpack_from(order + "H", exif, directory)[0]):
            entry = directory + 2 + 12 * index
            tag, kind, count = struct.unpack_from(order + "HHI", exif, entry)
            if (tag, kind, count) == (ExifTags.Base.Orientation, 3, 1):
                changed = bytearray(exif)
                struct.pack_into(order + "H", changed, entry + 8, value)
                return bytes(changed)
    return exif


def without_preview(exif: bytes) -> bytes:
    """``exif`` with the small copy of the picture blanked and no longer pointed at."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None or len(exif) < 14:
        return exif
    with suppress(struct.error):
        changed = bytearray(exif)
        first = struct.unpack_from(order + "I", exif, 4)[0]
        pointer = first + 2 + 12 * struct.unpack_from(order + "H", exif, first)[0]
        second = struct.unpack_from(order + "I", exif, pointer)[0]
        if not second:
            return exif
        struct.pack_into(order + "I", changed, pointer, 0)
        found = {}
        for index in range(struct.unpack_from(order + "H", exif, second)[0]):
            tag, value = struct.unpack_from(order + "H6xI", exif, second + 2 + 12 * index)
            found[tag] = value
        start = found.get(ExifTags.Base.JpegIFOffset, len(exif))
        end = min(len(exif), start + found.get(ExifTags.Base.JpegIFByteCount, 0))
        changed[start:end] = bytes(max(0, end - start))
        return bytes(changed)
    return b""


def density_as_exif(dpi: tuple[float, float]) -> bytes:
    """EXIF that says nothing but the density, for formats that have no other place for it."""
    exif = Image.Exif()
    exif[ExifTags.Base.XResolution], exif[ExifTags.Base.YResolution] = dpi
    exif[ExifTags.Base.ResolutionUnit] = 2
    return _bare(exif.tobytes())


def _exif(image: ImageFile.ImageFile, lying: int) -> bytes:
    with suppress(Exception):
        if isinstance(image, TiffImageFile):
            return _exif_of_tiff(image, lying)
        raw = image.info.get("exif")
        if raw is None and "Raw profile type exif" in image.info:
            raw = image.getexif().tobytes()
        exif = _bare(_bytes(raw))
        # A directory that cannot be read would break readers of the result just the same.
        readable = Image.Exif()
        readable.load(exif)
        return exif if len(readable) else b""
    return b""


def _exif_of_tiff(image: TiffImageFile, lying: int) -> bytes:
    source, exif = image.getexif(), Image.Exif()
    for tag in _DESCRIPTIVE:
        if tag in source:
            exif[tag] = source[tag]
    if lying != 1:
        exif[ExifTags.Base.Orientation] = lying
    for group in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        with suppress(Exception):
            directory = source.get_ifd(group)
            if directory:
                exif[group] = directory
    return _bare(exif.tobytes()) if len(exif) else b""


def _bare(exif: bytes) -> bytes:
    return re.sub(rb"^(Exif\x00\x00)+", b"", exif)


def _xmp(image: ImageFile.ImageFile) -> bytes:
    for key in ("xmp", "XML:com.adobe.xmp"):
        found = image.info.get(key)
        if found:
            return found.encode() if isinstance(found, str) else _bytes(found)
    return b""


def _dpi(value: Any) -> tuple[float, float] | None:
    with suppress(TypeError, ValueError, ZeroDivisionError, OverflowError):
        across, down = (float(number) for number in value)
        if all(math.isfinite(number) and 1 < number < 65_535 for number in (across, down)):
            return (across, down)
    return None


def _text(image: ImageFile.ImageFile) -> Iterator[tuple[str, str]]:
    if not isinstance(image, PngImageFile):
        return
    chunks = getattr(image, "_text", None) or (image.png.im_text if image.png else {})
    for key, value in chunks.items():
        if key != "XML:com.adobe.xmp" and not key.startswith("Raw profile type"):
            yield key, str(value)


def _bytes(value: Any) -> bytes:
    return bytes(value) if isinstance(value, (bytes, bytearray)) else b""
