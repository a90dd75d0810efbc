"""Pictures made for the tests: four quadrants whose colours tell how a picture lies."""

from __future__ import annotations

import struct
from pathlib import Path

from PIL import Image

RED, GREEN, BLUE, YELLOW = (220, 30, 30), (30, 180, 60), (40, 60, 220), (240, 220, 40)
CODECS = {
    "jpg": "JPEG", "png": "PNG", "webp": "WEBP", "avif": "AVIF", "gif": "GIF", "bmp": "BMP", "tiff": "TIFF",
    "ico": "ICO", "jp2": "JPEG2000", "tga": "TGA", "ppm": "PPM",
}  # fmt: skip


def quadrants(size: tuple[int, int] = (96, 64), mode: str = "RGB") -> Image.Image:
    """Red, green / blue, yellow."""
    image = Image.new("RGB", size, RED)
    width, height = size[0] // 2, size[1] // 2
    image.paste(GREEN, (width, 0, *size))
    image.paste(BLUE, (0, height, width, size[1]))
    image.paste(YELLOW, (width, height, *size))
    return image if mode == "RGB" else image.convert(mode)


def corners(image: Image.Image) -> list[tuple[int, ...]]:
    """The colours of the quadrants' middles in reading order, as RGB."""
    rgb = image.convert("RGB")
    across, down = rgb.width // 4, rgb.height // 4
    places = [(across, down), (3 * across, down), (across, 3 * down), (3 * across, 3 * down)]
    return [rgb.getpixel(place) for place in places]  # type: ignore[misc]


def close(one: tuple[int, ...], other: tuple[int, ...], by: int = 30) -> bool:
    """Whether two colours look the same after lossy coding."""
    return all(abs(a - b) <= by for a, b in zip(one, other, strict=True))


def looks_like(image: Image.Image, colours: list[tuple[int, ...]], by: int = 30) -> bool:
    """Whether the quadrants have these colours."""
    return all(close(one, other, by) for one, other in zip(corners(image), colours, strict=True))


def frames(count: int, size: tuple[int, int] = (40, 30), *, alpha: bool = False) -> list[Image.Image]:
    """A bar that wanders to the right, on nothing or on white."""
    made = []
    for index in range(count):
        image = Image.new("RGBA", size, (0, 0, 0, 0) if alpha else (255, 255, 255, 255))
        image.paste((*RED, 255), (index * 8, 0, index * 8 + 8, size[1]))
        made.append(image if alpha else image.convert("RGB"))
    return made


def save(image: Image.Image, path: Path, source: str, **words: object) -> Path:
    """``image`` in the format ``source``, also those that Pillow does not write."""
    if source == "psd":
        path.write_bytes(psd(image.convert("RGB")))
    else:
        image.save(path, CODECS[source], **words)  # type: ignore[arg-type]
    return path


def psd(image: Image.Image) -> bytes:
    """An uncompressed PSD without layers."""
    header = struct.pack(">4sH6xHIIHH", b"8BPS", 1, 3, image.height, image.width, 8, 3)
    return header + bytes(12) + bytes(2) + b"".join(band.tobytes() for band in image.split())
