"""One frame of a video as a picture: ``thumbnail``, and ``convert`` to a picture."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
from av.container import InputContainer
from PIL import Image

from convertd.engines.base import Call, Limits, Product
from convertd.engines.pyav import reading
from convertd.engines.pyav.convert import output_name
from convertd.engines.pyav.filters import frame_steps, upright_size
from convertd.engines.pyav.frames import build_graph, through
from convertd.engines.pyav.options import FrameConvert
from convertd.engines.pyav.plan import main_video
from convertd.engines.pyav.source import Picture
from convertd.engines.pyav.writing import encoding
from convertd.errors import FileInvalid
from convertd.model.colours import parse_colour
from convertd.model.operations import PlainThumbnail

_PILLOW: Final = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "avif": "AVIF"}
_SEEKS_BY_SCAN: Final = frozenset(("mpg", "ts", "ogv", "flv"))
"""Formats without an index, where FFmpeg guesses a place: aim earlier, by :data:`_MARGIN` seconds."""
_MARGIN: Final = 3.0


def picture(call: Call) -> list[Product]:
    """The frame at ``timestamp`` (``thumbnail``), or the first (``convert``), as a picture."""
    options = call.options
    assert isinstance(options, PlainThumbnail | FrameConvert)  # noqa: S101 - by capability
    seconds = getattr(options, "timestamp", 0.0)
    frame, like = frame_at(call.input, call.source, seconds, call.limits)
    call.report(0.6)
    box = options.box if isinstance(options, PlainThumbnail) else (options.width, options.height)
    image = to_image(frame, like, scaled_size(like, box, options.fit, options.enlarge, call.limits))
    image = framed(image, box, options.fit, options.background)
    name = output_name(call.target)
    save(image, call.output_dir / name, call.target, getattr(options, "quality", None), options.background)
    call.report(1.0)
    return [Product(name=name, facts={"width": image.width, "height": image.height})]


def frame_at(path: Path, source: str, seconds: float, limits: Limits) -> tuple[av.VideoFrame, Picture]:
    """The frame that stands at ``seconds``, the last one where the video is shorter, and what it is like."""
    aim: float | None = seconds
    while True:
        with reading.opened(path, source, limits) as container:
            description = reading.describe(container, source)
            if aim is not None and description.duration is not None:
                aim = min(aim, description.duration)
            stream = container.streams[main_video(description).index]
            assert isinstance(stream, av.VideoStream)  # noqa: S101 - by main_video()
            reading.prepare(stream, limits)
            sought = aim is not None and _seek(container, source, description.start, aim)
            frame = _decode_to(container, stream, description.start + Fraction(seconds), sought=sought)
            if frame is not None:
                reading.check_pixels(frame.width, frame.height, limits)
                return frame, reading.picture_of(frame, stream)
        if not sought:
            raise FileInvalid(f"No frame of the video in this {source} file can be decoded.")
        # Nothing before the end, or too late a place: earlier, then from the beginning.
        aim = aim - _MARGIN * 3 if aim is not None and aim > _MARGIN * 3 else None


def _seek(container: InputContainer, source: str, start: Fraction, seconds: float) -> bool:
    """Move to the key frame at or before ``seconds`` from ``start``; whether that was tried and done."""
    aim = seconds - _MARGIN if source in _SEEKS_BY_SCAN else seconds
    if aim <= 0:
        return False
    try:
        container.seek(int((start + Fraction(aim)) * 1_000_000), backward=True)
    except (av.FFmpegError, OSError):
        return False
    return True


def _decode_to(
    container: InputContainer, stream: av.VideoStream, time: Fraction, *, sought: bool
) -> av.VideoFrame | None:
    """The last frame not after ``time``, or the first there is; ``None`` where a seek went too far."""
    wanted = time / (stream.time_base or Fraction(1, 1000))
    best: av.VideoFrame | None = None
    for frame in reading.decoded(container, stream):
        if frame.pts is not None and frame.pts > wanted:
            return best if best is not None or sought else frame
        best = frame
        if frame.pts is not None and frame.duration and frame.pts + frame.duration > wanted:
            return frame
    return best


def scaled_size(
    like: Picture, box: tuple[int | None, int | None], fit: str, enlarge: bool, limits: Limits
) -> tuple[int, int]:
    """The shown size to scale to: inside ``box``, or around it for ``cover``, never larger unless asked."""
    natural = upright_size(like)
    ratios = [Fraction(side, own) for side, own in zip(box, natural, strict=True) if side]
    scale = (max if fit == "cover" else min)(ratios, default=Fraction(1))
    if not enlarge:
        scale = min(scale, Fraction(1))
    width, height = (max(1, round(side * scale)) for side in natural)
    reading.check_pixels(width, height, limits)
    return width, height


def to_image(frame: av.VideoFrame, like: Picture, size: tuple[int, int]) -> Image.Image:
    """``frame`` upright, in ``size``, as RGB or RGBA."""
    pix_fmt = "rgba" if like.alpha else "rgb24"
    shape = frame_steps(like, pix_fmt, size=size, even=False)
    steps = tuple(step for step in shape.steps if step[0] != "bwdif") if not like.interlaced else shape.steps
    with encoding():
        graph = build_graph(frame, steps)
        shaped = [*through(graph, frame), *through(graph, None)][0]
    plane: Any = shaped.planes[0]
    mode = "RGBA" if like.alpha else "RGB"
    return Image.frombuffer(
        mode, (shaped.width, shaped.height), bytes(plane), "raw", mode, plane.line_size, 1
    )


def framed(image: Image.Image, box: tuple[int | None, int | None], fit: str, background: str) -> Image.Image:
    """``image`` padded to ``box`` with ``background`` (contain) or cut to it (cover), a box that is too large
    for it shrinking in its own ratio."""
    width, height = box
    if fit == "inside" or not width or not height:
        return image
    if fit == "cover":
        shrink = min(1.0, image.width / width, image.height / height)
        width, height = (max(1, round(side * shrink)) for side in (width, height))
        left, top = (image.width - width) // 2, (image.height - height) // 2
        return image.crop((left, top, left + width, top + height))
    canvas = Image.new("RGBA", (width, height), parse_colour(background))
    at = ((width - image.width) // 2, (height - image.height) // 2)
    if image.mode == "RGBA":
        canvas.alpha_composite(image, at)
    else:
        canvas.paste(image, at)
    return canvas if "A" in image.mode or parse_colour(background)[3] < 255 else canvas.convert("RGB")


def save(image: Image.Image, path: Path, target: str, quality: int | None, background: str) -> None:
    """Write ``image`` to ``path``; JPEG has no transparency, there ``background`` shows through."""
    if target == "jpg" and image.mode == "RGBA":
        canvas = Image.new("RGBA", image.size, (*parse_colour(background)[:3], 255))
        canvas.alpha_composite(image)
        image = canvas.convert("RGB")
    settings: dict[str, dict[str, Any]] = {
        "jpg": {"quality": quality or 82, "optimize": True},
        "png": {"compress_level": 3},
        "webp": {"quality": quality or 80, "method": 2},
        "avif": {"quality": quality or 75, "speed": 6},
    }
    image.save(path, _PILLOW[target], **settings[target])
