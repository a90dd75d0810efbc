"""What each picture format can hold. Pure facts: nothing here imports the library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A format that is written."""

    codec: str
    """The library's word for it."""
    modes: tuple[str, ...]
    """Pixel layouts that it stores without loss of anything, in the library's words."""
    longest_side: int
    """In pixels, by the format's own definition or its encoder's."""
    animated: bool = False
    paged: bool = False
    icc: bool = False
    exif: bool = False
    xmp: bool = False
    dpi: bool = False
    quality: int | None = None
    """Default of ``quality`` (1 to 100) when converting; ``None`` where that is always without loss."""
    lossless: bool = False
    """Whether it is written with loss or, when asked, without."""
    compressed: int | None = None
    """Default of ``quality`` when compressing; ``None`` where there is nothing to gain from it."""


# Alpha in a 32-bit BMP with the common 40-byte header is undefined, and most readers drop it: none here.
TARGETS: Final[dict[str, Target]] = {
    "jpg": Target(
        codec="JPEG", modes=("L", "RGB"), longest_side=65_500, icc=True, exif=True, xmp=True, dpi=True,
        quality=85, compressed=75,
    ),
    "png": Target(
        codec="PNG", modes=("1", "L", "LA", "P", "RGB", "RGBA", "I;16"), longest_side=2**31 - 1,
        animated=True, icc=True, exif=True, xmp=True, dpi=True, compressed=85,
    ),
    "webp": Target(
        codec="WEBP", modes=("RGB", "RGBA"), longest_side=16_383, animated=True, icc=True, exif=True,
        xmp=True, quality=80, lossless=True, compressed=75,
    ),
    "avif": Target(
        codec="AVIF", modes=("L", "RGB", "RGBA"), longest_side=65_535, animated=True, icc=True, exif=True,
        xmp=True, quality=75, compressed=55,
    ),
    "gif": Target(codec="GIF", modes=("L", "P"), longest_side=65_535, animated=True, compressed=80),
    "bmp": Target(codec="BMP", modes=("1", "L", "P", "RGB"), longest_side=2**31 - 1, dpi=True),
    "tiff": Target(
        codec="TIFF", modes=("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"),
        longest_side=2**31 - 1, paged=True, icc=True, exif=True, xmp=True, dpi=True, compressed=100,
    ),
    "ico": Target(codec="ICO", modes=("RGBA",), longest_side=256),
    "jp2": Target(
        codec="JPEG2000", modes=("L", "LA", "RGB", "RGBA", "I;16"), longest_side=2**31 - 1, quality=80,
        lossless=True, compressed=60,
    ),
    "tga": Target(codec="TGA", modes=("L", "LA", "P", "RGB", "RGBA"), longest_side=65_535),
    "ppm": Target(codec="PPM", modes=("1", "L", "RGB", "I;16"), longest_side=2**31 - 1),
    "pdf": Target(
        codec="PDF", modes=("1", "L", "RGB"), longest_side=65_500, paged=True, dpi=True, quality=90,
    ),
}  # fmt: skip

SOURCES: Final[dict[str, tuple[str, ...]]] = {
    "jpg": ("JPEG",),
    "png": ("PNG",),
    "webp": ("WEBP",),
    "avif": ("AVIF",),
    "gif": ("GIF",),
    "bmp": ("BMP",),
    "tiff": ("TIFF",),
    "ico": ("ICO",),
    "psd": ("PSD",),
    "jp2": ("JPEG2000",),
    "tga": ("TGA",),
    "ppm": ("PPM",),
}
"""The only decoders that may look at a file of the format. (MPO comes through the library's JPEG door.)"""

ANIMATED: Final = frozenset(("gif", "png", "webp", "avif"))
"""Sources whose frames follow one another in time."""

THUMBNAILS: Final = ("jpg", "png", "webp", "avif", "gif")

EDITED: Final = tuple(name for name in TARGETS if name not in ("ico", "pdf"))
"""Targets of a picture that was changed: an icon is a picture in many sizes, a document none at all."""
