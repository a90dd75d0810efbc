"""Small recordings made for the tests, with PyAV."""

from __future__ import annotations

import array
import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

MILLISECOND = Fraction(1, 1000)


def frame(width: int, height: int, number: int, pix_fmt: str = "yuv420p") -> av.VideoFrame:
    """A bright square that wanders over grey, its shade telling ``number``; top left corner white."""
    rows = bytearray([90] * width * height)
    side = max(2, min(width, height) // 4)
    left = (number * 3) % max(1, width - side)
    for y in range(height // 2, min(height, height // 2 + side)):
        rows[y * width + left : y * width + left + side] = bytes([120 + (number * 5) % 100] * side)
    for y in range(side):
        rows[y * width : y * width + side] = bytes([235] * side)
    grey = av.VideoFrame(width, height, "gray")
    plane = grey.planes[0]
    padding = bytes(plane.line_size - width)
    plane.update(b"".join(bytes(rows[y * width : (y + 1) * width]) + padding for y in range(height)))
    return grey.reformat(format=pix_fmt)


def tone(count: int, rate: int, channels: int, start: int = 0) -> av.AudioFrame:
    """``count`` samples of a tone, a little higher in each channel."""
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[channels]
    made = av.AudioFrame("s16", layout, count)
    made.sample_rate = rate
    made.pts, made.time_base = start, Fraction(1, rate)
    samples = array.array("h")
    for i in range(start, start + count):
        samples.extend(int(9000 * math.sin(2 * math.pi * (440 + 55 * c) * i / rate)) for c in range(channels))
    made.planes[0].update(samples.tobytes().ljust(made.planes[0].buffer_size, b"\0"))
    return made


def sound(
    path: Path,
    codec: str,
    *,
    seconds: float = 1.0,
    rate: int = 44100,
    channels: int = 2,
    format: str | None = None,  # noqa: A002 - FFmpeg's word
    tags: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """A sound file."""
    with av.open(str(path), "w", format=format) as out:
        out.metadata.update(tags or {})
        stream: Any = out.add_stream(codec, rate=rate, options=options or {})
        stream.bit_rate = 12_200 if channels == 1 and rate == 8000 else 96_000
        stream.layout = {1: "mono", 2: "stereo", 6: "5.1"}[channels]
        play(out, stream, seconds)
    return path


def play(out: Any, stream: Any, seconds: float) -> None:
    """Encode a tone of ``seconds`` into ``stream``."""
    rate, channels = stream.sample_rate, stream.codec_context.channels
    total = int(seconds * rate)
    for start in range(0, total, 4096):
        out.mux(stream.encode(tone(min(4096, total - start), rate, channels, start)))
    out.mux(stream.encode(None))


def video(
    path: Path,
    codec: str = "libx264",
    *,
    size: tuple[int, int] = (64, 48),
    frames: int = 25,
    rate: int = 25,
    times: Sequence[int] | None = None,
    pix_fmt: str = "yuv420p",
    key_every: int = 12,
    sounds: Iterable[tuple[str, int]] = (("aac", 2),),
    rotate: int | None = None,
    colour: tuple[int, int, int, int] | None = None,
    aspect: Fraction | None = None,
    tags: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
    chapters: list[Any] | None = None,
    format: str | None = None,  # noqa: A002 - FFmpeg's word
    flags: int = 0,
) -> Path:
    """A video of ``frames``, shown at ``times`` (milliseconds) where given, with a track per ``sounds``."""
    with av.open(str(path), "w", format=format) as out:
        out.metadata.update(tags or {})
        if chapters:
            out.set_chapters(chapters)
        stream: Any = out.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        context = stream.codec_context
        context.gop_size = key_every
        context.flags |= flags
        if times is not None:
            context.time_base = MILLISECOND
        if colour is not None:
            context.color_primaries, context.color_trc, context.colorspace, context.color_range = colour
        if aspect is not None:
            context.sample_aspect_ratio = aspect
        if rotate is not None:
            stream.set_display_rotation(rotate)
        tracks: list[Any] = []
        for name, channels in sounds:
            track: Any = out.add_stream(name, rate=48000 if name == "libopus" else 44100)
            track.bit_rate = 96_000
            track.layout = {1: "mono", 2: "stereo", 6: "5.1"}[channels]
            tracks.append(track)
        seconds = times[-1] / 1000 + 1 / rate if times is not None else frames / rate
        for number in range(len(times) if times is not None else frames):
            picture = frame(*size, number, pix_fmt)
            picture.time_base = MILLISECOND if times is not None else Fraction(1, rate)
            picture.pts = times[number] if times is not None else number
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
        for track in tracks:
            play(out, track, seconds)
    return path


def shown_times(path: Path) -> list[float]:
    """When each frame of the first video stream is shown, in seconds from the first."""
    with av.open(str(path)) as container:
        times = sorted(float(f.pts * f.time_base) for f in container.decode(video=0))
    return [time - times[0] for time in times]


def samples(path: Path, track: int = 0) -> int:
    """How many samples the track decodes to."""
    with av.open(str(path)) as container:
        return sum(f.samples for f in container.decode(audio=track))


def pcm(path: Path) -> bytes:
    """The decoded samples of the first audio track's first plane."""
    with av.open(str(path)) as container:
        return b"".join(bytes(f.planes[0])[: _size(f)] for f in container.decode(audio=0))


def _size(heard: av.AudioFrame) -> int:
    channels = 1 if heard.format.is_planar else heard.layout.nb_channels
    return heard.samples * heard.format.bytes * channels


def first_frame(path: Path) -> av.VideoFrame:
    """The first frame, decoded."""
    with av.open(str(path)) as container:
        return next(container.decode(video=0))


def luma(picture: av.VideoFrame, x: int, y: int) -> int:
    """The brightness at a point, 0 to 255."""
    grey = picture.reformat(format="gray")
    plane = grey.planes[0]
    return bytes(plane)[y * plane.line_size + x]


def packets(path: Path, kind: str = "video") -> list[bytes]:
    """The encoded packets of the first stream of ``kind``."""
    with av.open(str(path)) as container:
        stream = next(s for s in container.streams if s.type == kind)
        return [bytes(p) for p in container.demux(stream) if p.size]
