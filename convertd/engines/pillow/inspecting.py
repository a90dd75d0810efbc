"""``inspect``: what a picture is, without changing it."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from typing import Any, Final

from PIL import ExifTags, Image, ImageCms, ImageFile

from convertd.engines.base import Call, Product
from convertd.engines.pillow.metadata import collect, is_deep, orientation
from convertd.engines.pillow.reading import count_frames, faults_of_the_file, open_picture
from convertd.engines.pillow.targets import ANIMATED

_SPACES: Final = {
    "1": "gray", "L": "gray", "LA": "gray", "I;16": "gray", "I": "gray", "F": "gray", "P": "indexed",
    "PA": "indexed", "CMYK": "cmyk", "LAB": "lab", "YCbCr": "ycbcr", "HSV": "hsv",
}  # fmt: skip
_LONGEST: Final = 200
"""Characters of a text from the file that are told."""


def inspect(call: Call) -> Product:
    """A JSON file and, the same, as facts."""
    with open_picture(call.input, call.source, call.limits) as image, faults_of_the_file(call.source):
        facts = _facts(call, image)
    call.report(1.0)
    return write_facts(call, facts)


def write_facts(call: Call, facts: dict[str, Any]) -> Product:
    """``facts`` as the call's product, those that are ``None`` left out."""
    known = {key: value for key, value in facts.items() if value is not None}
    path = call.output_dir / "output.json"
    path.write_text(json.dumps(known, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    return Product(name=path.name, facts=known)


def clean(text: object) -> str | None:
    """A text of the file's, fit to be shown; ``None`` for nothing."""
    shown = "".join(letter for letter in str(text) if letter.isprintable()).strip()
    return shown[:_LONGEST].encode("utf-8", "replace").decode("utf-8") or None


def _facts(call: Call, image: ImageFile.ImageFile) -> dict[str, Any]:
    lying, depth, layout = orientation(image), _bit_depth(call, image), image.mode
    alpha = image.has_transparency_data
    count = count_frames(image, call.source, call.limits)
    # An APNG may begin with a picture for readers that know no animation: it is none of the frames.
    first = 1 if getattr(image, "default_image", False) and count > 1 else 0
    duration = _duration(image, first, count) if call.source in ANIMATED and count - first > 1 else None
    if count > 1:
        image.seek(0)
    image.load()
    found = collect(image)
    width, height = image.size
    if lying >= 5 and call.source != "tiff":  # whose pages the library has turned by now
        width, height = height, width
    return {
        "kind": "image",
        "format": call.source,
        "size_bytes": call.input.stat().st_size,
        "width": width,
        "height": height,
        "frames": count - first,
        "duration": duration,
        "color_space": _SPACES.get(layout, "gray" if layout.startswith("I;16") else "rgb"),
        "bit_depth": depth,
        "has_alpha": alpha,
        "orientation": lying,
        "dpi": [round(density, 2) for density in found.dpi] if found.dpi else None,
        "icc_profile": _profile_name(found.icc),
        "exif": _exif(found.exif),
    }


def _duration(image: ImageFile.ImageFile, first: int, count: int) -> float:
    """Seconds that the frames from ``first`` on last."""
    milliseconds = 0
    for index in range(first, count):
        image.seek(index)
        image.load()
        milliseconds += int(image.info.get("duration") or 0)
    return milliseconds / 1000


def _bit_depth(call: Call, image: ImageFile.ImageFile) -> int:
    """Bits of a channel."""
    if image.mode == "1":
        return 1
    if image.mode.startswith("I;16") or is_deep(image):
        return 16
    if image.mode in ("I", "F"):
        return 16 if call.source == "ppm" else 32
    return _depth_of_avif(call) if call.source == "avif" else 8


def _depth_of_avif(call: Call) -> int:
    """From the AV1 codec configuration box (AV1 in ISO base media files, section 2.3.3)."""
    with call.input.open("rb") as file:
        head = file.read(65_536)
    flags = head[head.find(b"av1C") :][6:7]
    if not flags or not flags[0] & 0x40:
        return 8
    return 12 if flags[0] & 0x20 else 10


def _profile_name(icc: bytes) -> str | None:
    if not icc:
        return None
    with suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return clean(ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(icc))))
    return "unreadable"


def _exif(data: bytes) -> dict[str, Any] | None:
    """Camera, time and whether a place is told: not the place itself."""
    if not data:
        return None
    exif = Image.Exif()
    exif.load(data)
    within, place = exif.get_ifd(ExifTags.IFD.Exif), exif.get_ifd(ExifTags.IFD.GPSInfo)
    told = {
        "make": clean(exif.get(ExifTags.Base.Make, "")),
        "model": clean(exif.get(ExifTags.Base.Model, "")),
        "date": clean(within.get(ExifTags.Base.DateTimeOriginal) or exif.get(ExifTags.Base.DateTime, "")),
    }
    return {key: value for key, value in told.items() if value} | {"gps": bool(place)}
