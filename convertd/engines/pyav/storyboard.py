"""``storyboard``: frames spread evenly over a video, side by side in one picture."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Final

import av
from PIL import Image

from convertd.engines.base import Call, Product
from convertd.engines.pyav import reading
from convertd.engines.pyav.convert import describe_input, output_name
from convertd.engines.pyav.options import PlainStoryboard
from convertd.engines.pyav.pictures import frame_at, save, scaled_size, to_image
from convertd.engines.pyav.plan import main_video
from convertd.engines.pyav.source import Picture, Source
from convertd.engines.pyav.transcode import HAS_INDEX
from convertd.errors import FileInvalid, LimitExceeded

_NEAR: Final = 4.0
"""Seconds between two frames under which it is quicker to decode everything than to look for each."""
_LONGEST_SIDE: Final = {"jpg": 65_500, "webp": 16_383, "avif": 65_535}
_BACKGROUND: Final = "black"

Found = Iterator[tuple[av.VideoFrame, Picture]]


def storyboard(call: Call) -> list[Product]:
    """Each tile shows the middle of its part of the video; one with too few frames gives fewer tiles."""
    options = call.options
    assert isinstance(options, PlainStoryboard)  # noqa: S101 - by capability
    source = describe_input(call)
    tiles: list[Image.Image] = []
    for frame, like in _frames(call, source, _times(call, source, options.frames)):
        if not tiles:
            size = scaled_size(like, (options.width, None), "inside", False, call.limits)
            _check(call, size, options)
        tiles.append(to_image(frame, like, size))
        call.report(0.95 * len(tiles) / options.frames)
    if not tiles:
        raise FileInvalid(f"No frame of the video in this {call.source} file can be decoded.")
    columns = min(options.columns, len(tiles))
    sheet = _sheet(tiles, columns)
    name = output_name(call.target)
    save(sheet, call.output_dir / name, call.target, getattr(options, "quality", None), _BACKGROUND)
    call.report(1.0)
    facts = {"width": sheet.width, "height": sheet.height, "frames": len(tiles), "columns": columns}
    return [Product(name=name, facts=facts)]


def _times(call: Call, source: Source, count: int) -> list[float]:
    """Seconds from the start, in the middle of ``count`` equal parts."""
    length = _length(call, source)
    return [length * (number + 0.5) / count for number in range(count)]


def _length(call: Call, source: Source) -> float:
    """How long the pictures last; the sound may go on."""
    with reading.opened(call.input, call.source, call.limits) as container:
        stream = container.streams[main_video(source).index]
        if call.source in HAS_INDEX and stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
    if source.duration:
        return source.duration
    return reading.last_moment(call.input, call.source, call.limits) - float(source.start)


def _frames(call: Call, source: Source, times: list[float]) -> Found:
    """The frames that stand at ``times``, none of them twice."""
    if len(times) > 1 and times[1] - times[0] < _NEAR:
        yield from _passing(call, source, times)
        return
    shown: int | None = None
    for time in times:
        frame, like = frame_at(call.input, call.source, time, call.limits)
        if shown is None or frame.pts != shown:
            yield frame, like
        shown = frame.pts


def _passing(call: Call, source: Source, times: list[float]) -> Found:
    """The same in one go through the whole video."""
    due = iter([source.start + Fraction(time) for time in times])
    wanted = next(due, None)
    held: av.VideoFrame | None = None
    with reading.opened(call.input, call.source, call.limits) as container:
        stream = container.streams[main_video(source).index]
        assert isinstance(stream, av.VideoStream)  # noqa: S101 - by main_video()
        reading.prepare(stream, call.limits)
        base = stream.time_base or Fraction(1, 1000)
        for frame in reading.decoded(container, stream):
            reading.check_pixels(frame.width, frame.height, call.limits)
            time = None if frame.pts is None else frame.pts * base
            if held is not None and wanted is not None and time is not None and time > wanted:
                yield held, reading.picture_of(held, stream)
                while wanted is not None and wanted < time:
                    wanted = next(due, None)
            if wanted is None:
                return
            held = frame
        if held is not None:
            yield held, reading.picture_of(held, stream)


def _check(call: Call, tile: tuple[int, int], options: PlainStoryboard) -> None:
    columns = min(options.columns, options.frames)
    width, height = tile[0] * columns, tile[1] * -(-options.frames // columns)
    reading.check_pixels(width, height, call.limits)
    most = _LONGEST_SIDE.get(call.target)
    if most is not None and max(width, height) > most:
        raise LimitExceeded(
            f"The storyboard would be {width} × {height}; {call.target} holds up to {most} pixels a side. "
            "Ask for fewer 'frames', more 'columns' or a smaller 'width'."
        )


def _sheet(tiles: list[Image.Image], columns: int) -> Image.Image:
    """``tiles``, all of one size, in rows; what is left of the last row is black."""
    width, height = tiles[0].size
    sheet = Image.new("RGB", (width * columns, height * -(-len(tiles) // columns)), _BACKGROUND)
    for number, tile in enumerate(tiles):
        at = (number % columns * width, number // columns * height)
        sheet.paste(tile, at, tile if tile.mode == "RGBA" else None)
    return sheet
