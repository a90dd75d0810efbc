"""The ways a stream goes: copied, or decoded, filtered and encoded. One class each, fed packet by packet."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Protocol, cast

import av
from av.audio.resampler import AudioResampler
from av.filter import Graph
from av.packet import Packet
from av.stream import Stream
from av.subtitles.stream import SubtitleStream
from av.subtitles.subtitle import SubtitleSet

from convertd.engines.base import Limits
from convertd.engines.pyav.filters import Filters
from convertd.engines.pyav.plan import EncodedVideo
from convertd.engines.pyav.reading import check_pixels
from convertd.engines.pyav.writing import Sink

_JITTER: Final = 0.003
"""Seconds by which a container that counts in milliseconds may misplace a block of sound."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """The part of the source that is wanted, in its own time stamps (seconds)."""

    start: Fraction
    """Becomes time 0 of the output."""
    end: Fraction | None = None
    cut: bool = False
    """Whether what lies before ``start`` is left out (a file whose streams start unevenly is not cut)."""


class Track(Protocol):
    """One stream on its way from the input to the output."""

    pieces: int
    """Packets or frames that arrived."""
    done: bool
    """Whether the end of the window is passed, so that nothing more is needed."""
    damaged: int
    """Packets that did not decode."""

    def feed(self, packet: Packet[Any]) -> None:
        """Take the next packet of the stream."""

    def finish(self) -> None:
        """Give out what is still held back."""


def ticks(seconds: Fraction, time_base: Fraction) -> int:
    """``seconds`` in units of ``time_base``."""
    return round(seconds / time_base)


class CopiedTrack:
    """Packets that go over as they are, moved in time."""

    def __init__(self, stream: Stream, out: Stream, window: Window, sink: Sink) -> None:
        base = stream.time_base or Fraction(1, 1000)
        self.pieces = self.damaged = 0
        self.done = False
        self._out, self._sink = out, sink
        self._shift = ticks(window.start, base)
        self._first = self._shift if window.cut else None
        self._end = ticks(window.end, base) if window.end is not None else None
        self._picture = stream.type == "video"
        self._last: int | None = None

    def feed(self, packet: Packet[Any]) -> None:
        if self._end is not None and packet.dts is not None and packet.dts >= self._end:
            self.done = True
        if self.done or self._too_early(packet):
            return
        if packet.pts is not None:
            packet.pts -= self._shift
        if packet.dts is not None:
            packet.dts -= self._shift
            self._keep_order(packet)
        self.pieces += 1
        packet.stream = self._out
        self._sink.mux((packet,))

    def _too_early(self, packet: Packet[Any]) -> bool:
        if self._first is None:
            return False
        time = packet.pts if packet.pts is not None else packet.dts
        if time is None or time < self._first:
            return True
        if self._picture and not self.pieces:
            return not packet.is_keyframe
        return False

    def _keep_order(self, packet: Packet[Any]) -> None:
        """Containers demand rising decoding times; a damaged or joined file may step back."""
        assert packet.dts is not None  # noqa: S101 - the caller looked
        if self._last is not None and packet.dts <= self._last:
            packet.dts = self._last + 1
            if packet.pts is not None:
                packet.pts = max(packet.pts, packet.dts)
        self._last = packet.dts

    def finish(self) -> None:
        return


class CoverTrack:
    """A picture attached to the sound: one packet, whenever it comes."""

    def __init__(self, out: Stream, sink: Sink) -> None:
        self.pieces = self.damaged = 0
        self.done = False
        self._out, self._sink = out, sink

    def feed(self, packet: Packet[Any]) -> None:
        if self.done:
            return
        packet.pts = packet.dts = 0
        packet.stream = self._out
        self._sink.mux((packet,))
        self.done = True

    def finish(self) -> None:
        return


class _Decoder:
    """What the encoded tracks share: decoding that survives damage."""

    pieces: int
    damaged: int

    def _decode(self, packet: Packet[Any]) -> list[Any]:
        try:
            return cast("list[Any]", packet.decode())
        except MemoryError:
            raise
        except (av.FFmpegError, ValueError):
            self.damaged += 1
            return []


class VideoTrack(_Decoder):
    """Frames decoded, brought into shape where they are not, and encoded at their own times."""

    def __init__(
        self,
        stream: av.VideoStream,
        out: av.VideoStream,
        plan: EncodedVideo,
        window: Window,
        sink: Sink,
        limits: Limits,
    ) -> None:
        self.pieces = self.damaged = 0
        self.done = False
        self._stream, self._out, self._plan, self._sink, self._limits = stream, out, plan, sink, limits
        self._base = stream.time_base or Fraction(1, 1000)
        self._start = ticks(window.start, self._base)
        self._cut = window.cut
        self._end = ticks(window.end, self._base) if window.end is not None else None
        self._step = max(1, round(1 / (plan.rate * self._base)))
        self._last: int | None = None
        self._last_encoded: int | None = None
        self._held: av.VideoFrame | None = None
        self._shaper: FrameShaper | None = None

    def feed(self, packet: Packet[Any]) -> None:
        for frame in self._decode(packet):
            if not self.done:
                self._place(frame)

    def _place(self, frame: av.VideoFrame) -> None:
        """Give ``frame`` its time in the output, and pass it on if it lies in the window."""
        pts = frame.pts
        if pts is None:
            pts = self._start if self._last is None else self._last + self._step
        if self._end is not None and pts >= self._end:
            self.done = True
            return
        if self._last is not None and pts <= self._last:
            return
        self._last = pts
        if self._cut and pts < self._start:
            self._held = frame
            return
        if self._held is not None:
            # The picture that stands when the window opens.
            held, self._held = self._held, None
            if pts > self._start:
                self._shape(held, 0)
        self._shape(frame, pts - self._start)

    def _shape(self, frame: av.VideoFrame, pts: int) -> None:
        frame.pts = pts
        self.pieces += 1
        if self._shaper is None or not self._shaper.takes(frame):
            self._drain()
            check_pixels(frame.width, frame.height, self._limits)
            self._shaper = FrameShaper(frame, self._plan, self._shaper)
        if self._shaper.passes:
            self._encode(frame)
            return
        for shaped in self._shaper.push(frame):
            self._encode(shaped)

    def _encode(self, frame: av.VideoFrame) -> None:
        time_base = frame.time_base or self._base
        pts = (
            ticks((frame.pts or 0) * time_base, self._plan.time_base)
            if time_base != self._plan.time_base
            else frame.pts
        )
        if pts is None or (self._last_encoded is not None and pts <= self._last_encoded):
            return
        self._last_encoded = pts
        self._sink.mux(self._out.encode(frame))

    def _drain(self) -> None:
        if self._shaper is not None and not self._shaper.passes:
            for shaped in self._shaper.push(None):
                self._encode(shaped)

    def finish(self) -> None:
        if not self.done:
            for frame in self._flush():
                self._place(frame)
        if self._held is not None and not self.pieces:
            self._shape(self._held, 0)
        self._drain()
        self._sink.mux(self._out.encode(None))

    def _flush(self) -> list[av.VideoFrame]:
        try:
            return self._stream.decode(None)
        except MemoryError:
            raise
        except av.FFmpegError:
            return []


class FrameShaper:
    """A filter graph for frames of one size and format; or none, where they fit the encoder as they are."""

    def __init__(self, frame: av.VideoFrame, plan: EncodedVideo, before: FrameShaper | None) -> None:
        self._size, self._format = (frame.width, frame.height), frame.format.name
        self._model: tuple[tuple[int, int], str] = (
            before._model if before is not None else (self._size, self._format)
        )
        self._interlaced: bool = frame.interlaced_frame or (before is not None and before._interlaced)
        steps = self._steps(plan.filters)
        fits = (*self._size, self._format) == (plan.width, plan.height, plan.pix_fmt)
        self.passes = not steps and fits
        self._graph = None if self.passes else build_graph(frame, steps)

    def _steps(self, planned: Filters) -> Filters:
        """The planned filters, with what a frame unlike the first needs before them."""
        steps: list[tuple[str, str]] = []
        if self._interlaced and not any(name == "bwdif" for name, _ in planned):
            steps.append(("bwdif", "mode=send_frame:deint=interlaced"))
        size, pix_fmt = self._model
        if (self._size, self._format) != self._model:
            steps += [("scale", f"w={size[0]}:h={size[1]}:flags=bicubic"), ("format", pix_fmt)]
        return (*steps, *planned)

    def takes(self, frame: av.VideoFrame) -> bool:
        """Whether ``frame`` is like the one that this was made for."""
        return (
            (frame.width, frame.height) == self._size
            and frame.format.name == self._format
            and (self._interlaced or not frame.interlaced_frame)
        )

    def push(self, frame: av.VideoFrame | None) -> Iterator[av.VideoFrame]:
        """What comes out when ``frame`` (``None`` for the end) goes in."""
        assert self._graph is not None  # noqa: S101 - not called where frames pass
        return through(self._graph, frame)


def build_graph(frame: av.VideoFrame, steps: Filters) -> Graph:
    """A graph that takes frames like ``frame`` through ``steps``."""
    graph = Graph()
    known = {"colorspace": _MATRICES.get(int(frame.colorspace)), "range": _RANGES.get(int(frame.color_range))}
    node = graph.add(
        "buffer",
        video_size=f"{frame.width}x{frame.height}",
        pix_fmt=frame.format.name,
        time_base=str(frame.time_base or Fraction(1, 1000)),
        pixel_aspect="1/1",
        **{key: value for key, value in known.items() if value},
    )
    for name, arguments in steps:
        following = graph.add(name, arguments or None)
        node.link_to(following)
        node = following
    node.link_to(graph.add("buffersink"))
    graph.configure()
    return graph


_RANGES: Final = {1: "tv", 2: "pc"}
_MATRICES: Final = {
    0: "gbr", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "ycgco", 9: "bt2020nc",
    10: "bt2020c",
}  # fmt: skip


def through(graph: Graph, frame: av.VideoFrame | None) -> Iterator[av.VideoFrame]:
    """Push ``frame`` (``None`` for the end) and give out all that is ready."""
    graph.vpush(frame)
    while True:
        try:
            yield graph.vpull()
        except av.EOFError:
            return
        except av.FFmpegError as error:
            if error.errno != errno.EAGAIN:
                raise
            return


class SoundTrack(_Decoder):
    """Samples decoded, resampled where they must be, and encoded."""

    def __init__(self, stream: av.AudioStream, out: av.AudioStream, window: Window, sink: Sink) -> None:
        self.pieces = self.damaged = 0
        self.done = False
        self._stream, self._out, self._window, self._sink = stream, out, window, sink
        self._next: Fraction | None = None
        self._resampler: AudioResampler | None = None
        self._shape: tuple[str, str, int] | None = None

    def feed(self, packet: Packet[Any]) -> None:
        for frame in self._decode(packet):
            if not self.done:
                self._place(frame)

    def _place(self, frame: av.AudioFrame) -> None:
        """Give ``frame`` its time in the output, cut at the window's edges to the sample."""
        rate = frame.sample_rate
        time = self._time(frame)
        self._next = time + Fraction(frame.samples, rate)
        skip = keep = 0
        if self._window.cut:
            skip = max(0, round((self._window.start - time) * rate))
        if self._window.end is not None:
            keep = max(0, round((self._next - self._window.end) * rate))
            self.done = keep > 0
        if skip + keep >= frame.samples:
            return
        if skip or keep:
            frame = cut_samples(frame, skip, frame.samples - keep)
        frame.time_base = Fraction(1, rate)
        frame.pts = round((time - self._window.start) * rate) + skip
        self.pieces += 1
        self._encode(frame)

    def _time(self, frame: av.AudioFrame) -> Fraction:
        """When the frame starts; small jitter is taken for rounding, and time never runs back."""
        if frame.pts is None or frame.time_base is None:
            return self._window.start if self._next is None else self._next
        time = frame.pts * frame.time_base
        if self._next is not None and time - self._next < _JITTER:
            return self._next
        return time

    def _encode(self, frame: av.AudioFrame) -> None:
        context = self._out.codec_context
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if shape != self._shape:
            self._drain()
            self._shape = shape
            wanted = (context.format.name, context.layout.name, context.sample_rate)
            self._resampler = None if shape == wanted else AudioResampler(*wanted)
        frames = [frame] if self._resampler is None else self._resampler.resample(frame)
        for ready in frames:
            self._sink.mux(self._out.encode(ready))

    def _drain(self) -> None:
        if self._resampler is not None:
            for ready in self._resampler.resample(None):
                self._sink.mux(self._out.encode(ready))

    def finish(self) -> None:
        if not self.done:
            for frame in self._flush():
                self._place(frame)
        self._drain()
        self._sink.mux(self._out.encode(None))

    def _flush(self) -> list[av.AudioFrame]:
        try:
            return self._stream.decode(None)
        except MemoryError:
            raise
        except av.FFmpegError:
            return []


def cut_samples(frame: av.AudioFrame, first: int, end: int) -> av.AudioFrame:
    """Samples ``first`` to ``end`` of ``frame``, without its times."""
    part = av.AudioFrame(frame.format.name, frame.layout.name, end - first)
    part.sample_rate = frame.sample_rate
    width = frame.format.bytes * (1 if frame.format.is_planar else frame.layout.nb_channels)
    for old, new in zip(frame.planes, part.planes, strict=True):
        new.update(bytes(memoryview(old)[first * width : end * width]).ljust(new.buffer_size, b"\0"))
    return part


class TextTrack:
    """Subtitles decoded to text and written in the target's form."""

    def __init__(self, stream: SubtitleStream, out: SubtitleStream, window: Window, sink: Sink) -> None:
        self.pieces = self.damaged = 0
        self.done = False
        self._stream, self._out, self._window, self._sink = stream, out, window, sink
        self._base = stream.time_base or Fraction(1, 1000)

    def feed(self, packet: Packet[Any]) -> None:
        time = (packet.pts or 0) * self._base
        if self._window.end is not None and time >= self._window.end:
            self.done = True
        if self.done or (self._window.cut and time < self._window.start):
            return
        try:
            texts = self._stream.codec_context.decode2(packet)
        except av.FFmpegError:
            self.damaged += 1
            return
        if texts is not None and len(texts):
            self._write(texts, packet, time)

    def _write(self, texts: SubtitleSet, packet: Packet[Any], time: Fraction) -> None:
        new = self._out.codec_context.encode_subtitle(texts)
        new.time_base = Fraction(1, 1000)
        new.pts = new.dts = ticks(time - self._window.start, new.time_base)
        new.duration = ticks((packet.duration or 0) * self._base, new.time_base)
        new.stream = self._out
        self.pieces += 1
        self._sink.mux((new,))

    def finish(self) -> None:
        return
