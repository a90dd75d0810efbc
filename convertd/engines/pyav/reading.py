"""Open a file that nobody vouches for, and find out what it holds.

The container is opened through a Python file object and only by the demuxers of the format that the file
was found to be; every way for a demuxer to open something else (playlists, references) is closed, because
no protocol is on the white list.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, cast

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition, Stream
from av.subtitles.stream import SubtitleStream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from convertd.engines.base import Limits
from convertd.engines.pyav import source as found
from convertd.engines.pyav.codecs import DEMUXERS, is_lossless
from convertd.engines.pyav.writing import is_technical
from convertd.errors import FileInvalid, LimitExceeded

_NO_PROTOCOL: Final = "none-at-all"
_BUFFER: Final = 1 << 18
_DRAWN_TEXT: Final = frozenset(("hdmv_pgs_subtitle", "dvd_subtitle", "dvb_subtitle", "xsub"))
_HELD_BY_INDEX: Final = "mov,mp4,m4a,3gp,3g2,mj2"


def unreadable(source: str, error: BaseException) -> FileInvalid:
    """The error to raise for one of FFmpeg's while reading."""
    return FileInvalid(
        f"The file cannot be read as {source}: it is damaged, incomplete or of another kind.",
        detail=f"{type(error).__name__}: {error}",
    )


@contextmanager
def opened(path: Path, source: str, limits: Limits) -> Iterator[InputContainer]:
    """The container at ``path``, which is of format ``source``, checked against ``limits``.

    Raises :class:`FileInvalid` where it does not open and :class:`LimitExceeded` where it is too large.
    """
    options = {
        "format_whitelist": DEMUXERS[source],
        "protocol_whitelist": _NO_PROTOCOL,
        "max_pixels": str(limits.pixels),
    }
    with path.open("rb", buffering=0) as file:
        try:
            container = av.open(file, "r", options=options, buffer_size=_BUFFER, metadata_errors="replace")
        except MemoryError:
            raise
        except (av.FFmpegError, ValueError) as error:
            raise unreadable(source, error) from error
        with container:
            check_limits(container, limits)
            yield container


def check_limits(container: InputContainer, limits: Limits) -> None:
    """Raise :class:`LimitExceeded` for what the headers alone show to be too much."""
    if len(container.streams) > limits.streams:
        raise LimitExceeded(f"The file has {len(container.streams)} streams; {limits.streams} are allowed.")
    if container.duration is not None:
        check_seconds(container.duration / 1_000_000, limits)
    for stream in container.streams.video:
        check_pixels(stream.width, stream.height, limits)


def check_seconds(seconds: float, limits: Limits) -> None:
    """Raise :class:`LimitExceeded` where a recording of ``seconds`` is longer than allowed."""
    if seconds > limits.seconds:
        raise LimitExceeded(f"The recording lasts {seconds:.0f} seconds; {limits.seconds:.0f} are allowed.")


def check_pixels(width: int, height: int, limits: Limits) -> None:
    """Raise :class:`LimitExceeded` where a frame has more pixels than allowed."""
    if width * height > limits.pixels:
        raise LimitExceeded(
            f"A frame of {width} × {height} has {width * height} pixels; {limits.pixels} are allowed."
        )


def describe(container: InputContainer, source: str) -> found.Source:
    """What ``container`` holds. Raises :class:`FileInvalid` where nothing in it can be decoded."""
    videos, sounds, texts, covers, unknown = [], [], [], [], []
    for stream in container.streams:
        # PyAV types it as always there; for codecs without a decoder it is not.
        if cast("object | None", stream.codec_context) is None:
            unknown.append(stream.index)
        elif isinstance(stream, VideoStream):
            if stream.disposition & Disposition.attached_pic:
                covers.append(stream.index)
            elif stream.width and stream.height:
                videos.append(_video(stream))
        elif isinstance(stream, AudioStream):
            if stream.sample_rate > 0 and stream.codec_context.channels > 0:
                sounds.append(_sound(stream))
        elif isinstance(stream, SubtitleStream):
            name = _codec(stream)
            texts.append(found.TextStream(index=stream.index, codec=name, pictures=name in _DRAWN_TEXT))
    if not videos and not sounds:
        raise FileInvalid(f"The {source} file holds no video and no sound that can be decoded.")
    return found.Source(
        format=source,
        duration=container.duration / 1_000_000 if container.duration else None,
        start=Fraction(container.start_time or 0, 1_000_000),
        videos=tuple(videos),
        sounds=tuple(sounds),
        texts=tuple(texts),
        covers=tuple(covers),
        unreadable=tuple(unknown),
        tells=bool(covers or unknown or container.chapters()) or _has_tags(container),
    )


def _has_tags(container: InputContainer) -> bool:
    """Whether a tag is more than a word on the making of the file, or the language of a track."""
    keys = [*container.metadata, *(key for stream in container.streams for key in stream.metadata)]
    return any(key != "language" and not is_technical(key) for key in keys)


def _codec(stream: Stream) -> str:
    return stream.codec_context.codec.canonical_name


def _video(stream: VideoStream) -> found.VideoStream:
    context = stream.codec_context
    return found.VideoStream(
        index=stream.index,
        codec=_codec(stream),
        width=stream.width,
        height=stream.height,
        pix_fmt=context.pix_fmt or "",
        rate=sensible_rate(stream),
        time_base=stream.time_base or Fraction(1, 1000),
        colour=found.Colour(
            primaries=context.color_primaries,
            transfer=context.color_trc,
            matrix=context.colorspace,
            range=context.color_range,
        ),
        aspect=stream.sample_aspect_ratio or Fraction(1),
        alpha_aside=stream.metadata.get("alpha_mode", stream.metadata.get("ALPHA_MODE")) == "1",
    )


def sensible_rate(stream: VideoStream) -> Fraction:
    """Frames per second: the average, else the guess, else 25, where those are believable."""
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate and 0 < rate <= 1000:
            return rate
    return Fraction(25)


def _sound(stream: AudioStream) -> found.SoundStream:
    context, codec = stream.codec_context, _codec(stream)
    narrow = context.format is not None and context.format.name.rstrip("p") in ("u8", "s16")
    return found.SoundStream(
        index=stream.index,
        codec=codec,
        channels=context.channels,
        layout=context.layout.name,
        sample_rate=context.sample_rate,
        bit_rate=context.bit_rate or 0,
        deep=is_lossless(codec) and codec not in ("pcm_alaw", "pcm_mulaw") and not narrow,
    )


def first_picture(path: Path, source: str, index: int, limits: Limits) -> found.Picture:
    """The first frame of stream ``index``; :class:`FileInvalid` where none decodes."""
    with opened(path, source, limits) as container:
        stream = container.streams[index]
        assert isinstance(stream, VideoStream)  # noqa: S101 - the index came from describe()
        prepare(stream, limits)
        for frame in decoded(container, stream):
            check_pixels(frame.width, frame.height, limits)
            return picture_of(frame, stream)
    raise FileInvalid(f"No frame of the video in this {source} file can be decoded.")


def decoded(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """The frames of ``stream`` from where ``container`` stands; damaged packets are passed over."""
    for packet in packets_of(container, stream):
        try:
            frames = packet.decode()
        except MemoryError:
            raise
        except av.FFmpegError:
            continue
        yield from frames
    try:
        yield from stream.decode(None)
    except MemoryError:
        raise
    except av.FFmpegError:
        return


def packets_of(container: InputContainer, stream: Stream) -> Iterator[Packet[Any]]:
    """The packets of ``stream`` from where ``container`` stands to its end, or to where it breaks off."""
    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all
    for packet in _demuxed(container.demux([stream])):
        if packet.size or packet.dts is not None:
            yield packet


def last_moment(path: Path, source: str, limits: Limits) -> float:
    """Time stamp (seconds) at which the last packet ends that the file holds, of whichever stream."""
    last = 0.0
    with opened(path, source, limits) as container:
        for packet in _demuxed(container.demux()):
            time = packet.pts if packet.pts is not None else packet.dts
            if time is not None and packet.time_base is not None:
                last = max(last, float((time + (packet.duration or 0)) * packet.time_base))
    return last


def _demuxed(packets: Iterator[Packet[Any]]) -> Iterator[Packet[Any]]:
    """``packets`` to their end, or to where reading fails."""
    while True:
        try:
            packet = next(packets)
        except MemoryError:
            raise
        except (StopIteration, av.FFmpegError, ValueError):
            return
        yield packet


_MOST_THREADS: Final = 16
"""More gain nothing on one recording, and each takes its share of the address space."""


def threads(limits: Limits) -> int:
    """How many threads a codec may start; 0 leaves it to the codec, where the machine is of usual size."""
    return limits.threads or (_MOST_THREADS if (os.cpu_count() or 1) > _MOST_THREADS else 0)


def prepare(stream: VideoStream | AudioStream, limits: Limits) -> None:
    """Set how ``stream`` is decoded: threads and the largest frame."""
    context = stream.codec_context
    context.thread_count = threads(limits)
    context.options = {**context.options, "max_pixels": str(limits.pixels)}
    if isinstance(stream, VideoStream):
        stream.thread_type = "AUTO"


def picture_of(frame: VideoFrame, stream: VideoStream) -> found.Picture:
    """What a decoded ``frame`` of ``stream`` is like."""
    components = frame.format.components
    turns, mirrored = upright(frame)
    return found.Picture(
        width=frame.width,
        height=frame.height,
        pix_fmt=frame.format.name,
        depth=max((component.bits for component in components), default=8),
        alpha=any(component.is_alpha for component in components) or frame.format.name == "pal8",
        rgb=frame.format.is_rgb or frame.format.name == "pal8",
        interlaced=is_interlaced(frame, stream),
        turns=turns,
        mirrored=mirrored,
        aspect=stream.sample_aspect_ratio or Fraction(1),
        colour=found.Colour(
            primaries=int(frame.color_primaries),
            transfer=int(frame.color_trc),
            matrix=int(frame.colorspace),
            range=found.FULL_RANGE if frame.format.name.startswith("yuvj") else int(frame.color_range),
        ),
    )


def is_interlaced(frame: VideoFrame, stream: VideoStream) -> bool:
    """Whether the stream says so in its header (field orders 2 to 5) or the frame itself."""
    return frame.interlaced_frame or 2 <= stream.codec_context.field_order <= 5


def upright(frame: VideoFrame) -> tuple[int, bool]:
    """Quarter turns clockwise, and whether to mirror left to right before them, that show ``frame`` upright.

    From the display matrix (ISO/IEC 14496-12, 8.2.2): nine 32-bit numbers, of which the first, second,
    fourth and fifth map stored to shown directions.
    """
    side_data: Any = frame.side_data
    try:
        data = bytes(side_data["DISPLAYMATRIX"])
    except KeyError:
        return 0, False
    numbers = memoryview(data).cast("i")
    a, b, c, d = (_sign(numbers[i]) for i in (0, 1, 3, 4))
    return _UPRIGHT.get((a, b, c, d), (0, False))


def _sign(number: int) -> int:
    """-1, 0 or 1, with anything under half of one (16.16 fixed point) as 0."""
    return 0 if abs(number) < 0x8000 else (1 if number > 0 else -1)


_UPRIGHT: Final = {
    (1, 0, 0, 1): (0, False),
    (0, 1, -1, 0): (1, False),
    (-1, 0, 0, -1): (2, False),
    (0, -1, 1, 0): (3, False),
    (-1, 0, 0, 1): (0, True),
    (1, 0, 0, -1): (2, True),
    (0, 1, 1, 0): (3, True),
    (0, -1, -1, 0): (1, True),
}


def is_cut_off(container: InputContainer, path: Path) -> bool:
    """Whether the index of an MP4 or MOV file speaks of bytes behind its end."""
    if container.format.name != _HELD_BY_INDEX:
        return False
    size = os.stat(path).st_size  # noqa: PTH116 - one number, no path arithmetic
    for stream in container.streams:
        entries = stream.index_entries
        count = len(entries)
        if count and (last := entries[count - 1]).pos + last.size > size:
            return True
    return False
