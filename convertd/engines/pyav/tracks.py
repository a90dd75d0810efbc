"""The ways a stream goes: copied, or decoded, filtered and encoded. One class each, fed packet by packet."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Final, Protocol, cast

import av
from av.packet import Packet
from av.stream import Stream
from av.subtitles.stream import SubtitleStream
from av.subtitles.subtitle import SubtitleSet
from av.video.frame import PictureType

from convertd.engines.base import Limits
from convertd.engines.pyav.frames import FrameShaper, Placement, Window, ticks
from convertd.engines.pyav.planned import EncodedVideo
from convertd.engines.pyav.reading import check_pixels
from convertd.engines.pyav.writing import Sink

_LONGEST: Final = 600
"""Seconds that no packet of sound lasts. FFmpeg tells of 2³² samples, less a few, where the last packet of a
Vorbis file is cut in its middle, and would write the end of the recording there."""


class Track(Protocol):
    """One stream on its way from the input to the output."""

    pieces: int
    """Packets or frames that arrived."""
    damaged: int
    """Packets that did not decode."""

    @property
    def done(self) -> bool:
        """Whether the end of the window is passed, so that nothing more is needed."""

    def feed(self, packet: Packet[Any]) -> None:
        """Take the next packet of the stream."""

    def finish(self) -> None:
        """Give out what is still held back."""


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
        self._timed, self._base = stream.type == "audio", base
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
        if self._timed and (packet.duration or 0) * self._base > _LONGEST:
            packet.duration = 0
        packet.stream = self._out
        try:
            self._sink.mux((packet,))
        except (av.InvalidDataError, av.ArgumentError):
            self.damaged += 1
        else:
            self.pieces += 1

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


class Decoder:
    """What the encoded tracks share: decoding that survives damage."""

    pieces: int
    damaged: int

    def decode(self, packet: Packet[Any]) -> list[Any]:
        """The frames that ``packet`` gives, none where it is damaged."""
        try:
            return cast("list[Any]", packet.decode())
        except MemoryError:
            raise
        except (av.FFmpegError, ValueError):
            self.damaged += 1
            return []


class VideoTrack(Decoder):
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
        self._stream, self._out, self._plan, self._sink, self._limits = stream, out, plan, sink, limits
        self._base = stream.time_base or Fraction(1, 1000)
        self._placement = Placement(window, self._base, plan.rate)
        self._last: int | None = None
        self._shaper: FrameShaper | None = None

    @property
    def done(self) -> bool:
        return self._placement.done

    def feed(self, packet: Packet[Any]) -> None:
        for frame in self.decode(packet):
            if not self.done:
                self._shape(self._placement.place(frame))

    def _shape(self, frames: list[av.VideoFrame]) -> None:
        for frame in frames:
            self.pieces += 1
            if self._shaper is None or not self._shaper.takes(frame):
                self._drain()
                check_pixels(frame.width, frame.height, self._limits)
                plan = self._plan
                wanted = (plan.width, plan.height, plan.pix_fmt)
                self._shaper = FrameShaper(frame, plan.filters, wanted, self._shaper)
            for shaped in self._shaper.push(frame):
                self._encode(shaped)

    def _encode(self, frame: av.VideoFrame) -> None:
        pts, base = frame.pts or 0, self._plan.time_base
        if frame.time_base is not None and frame.time_base != base:
            pts = ticks(pts * frame.time_base, base)
        # Two frames may fall on one tick of a coarser clock; encoders demand rising times.
        if self._last is not None and pts <= self._last:
            return
        self._last = pts
        # Else x264 would put a key frame wherever the source has one.
        frame.pict_type = PictureType.NONE
        self._sink.mux(self._out.encode(frame))

    def _drain(self) -> None:
        if self._shaper is not None:
            for shaped in self._shaper.push(None):
                self._encode(shaped)

    def finish(self) -> None:
        for frame in flushed(self._stream):
            if not self.done:
                self._shape(self._placement.place(frame))
        self._shape(self._placement.rest())
        self._drain()
        # An encoder that saw nothing has nothing to flush; FFmpeg's Vorbis would spin for ever.
        if self.pieces:
            self._sink.mux(self._out.encode(None))


def flushed(stream: Any) -> list[Any]:
    """The frames that the decoder of ``stream`` (of pictures or sound) still holds."""
    try:
        return cast("list[Any]", stream.decode(None))
    except MemoryError:
        raise
    except av.FFmpegError:
        return []


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
