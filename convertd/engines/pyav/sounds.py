"""Sound on its way from a decoder to an encoder: its times, its shape, and what is done to it on the way."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Final, Protocol

import av
from av.audio.resampler import AudioResampler
from av.filter import Graph
from av.packet import Packet

from convertd.engines.pyav.filters import Filters
from convertd.engines.pyav.frames import Window
from convertd.engines.pyav.planned import EncodedSound
from convertd.engines.pyav.tracks import Decoder, flushed
from convertd.engines.pyav.writing import Sink

_JITTER: Final = 0.003
"""Seconds by which a container that counts in milliseconds may misplace a block of sound."""


class _Shaper(Protocol):
    def resample(self, frame: av.AudioFrame | None) -> list[av.AudioFrame]:
        """What comes out when ``frame`` (``None`` for the end) goes in."""


class SoundEncoding:
    """Samples of any shape, resampled where they must be, and encoded."""

    def __init__(self, out: av.AudioStream, plan: EncodedSound, sink: Sink) -> None:
        self._out, self._sink, self._plan = out, sink, plan
        self.samples = 0
        """How many the encoder was given."""
        self._fed = False
        self._shaper: _Shaper | None = None
        self._shape: tuple[str, str, int] | None = None

    def push(self, frame: av.AudioFrame) -> None:
        """Encode ``frame``, which knows its time."""
        self._fed = True
        context, through = self._out.codec_context, self._plan.through
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if shape != self._shape:
            self.drain()
            self._shape = shape
            wanted = (through or context.format.name, context.layout.name, context.sample_rate)
            dither = {"dither_method": "triangular"} if through else None
            if self._plan.filters:
                self._shaper = _Filtering(frame, self._plan.filters, AudioResampler(*wanted, options=dither))
            else:
                self._shaper = None if shape == wanted else AudioResampler(*wanted, options=dither)
        for ready in [frame] if self._shaper is None else self._shaper.resample(frame):
            self._give(ready)

    def drain(self) -> None:
        """Give out what resampling holds back: the samples that come next are of another shape."""
        if self._shaper is not None:
            for ready in self._shaper.resample(None):
                self._give(ready)
        self._shaper = self._shape = None

    def finish(self) -> None:
        """Give out everything, with silence up to the least length."""
        self.drain()
        # An encoder that saw nothing has nothing to flush; FFmpeg's Vorbis would spin for ever.
        if not self._fed:
            return
        if self.samples < self._plan.least:
            self._give(self._silence(self._plan.least - self.samples))
        self._sink.mux(self._out.encode(None))

    def _give(self, frame: av.AudioFrame) -> None:
        self.samples += frame.samples
        self._sink.mux(self._out.encode(frame))

    def _silence(self, samples: int) -> av.AudioFrame:
        context = self._out.codec_context
        frame = av.AudioFrame(context.format.name, context.layout.name, samples)
        frame.sample_rate = context.sample_rate
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        return frame


class SteadyEncoding(SoundEncoding):
    """The same for samples that follow one another without a gap, whatever times they are told to have."""

    def _give(self, frame: av.AudioFrame) -> None:
        frame.time_base = Fraction(1, frame.sample_rate)
        frame.pts = self.samples
        super()._give(frame)


class _Filtering:
    """Filters, and the resampler that follows them."""

    def __init__(self, frame: av.AudioFrame, filters: Filters, resampler: AudioResampler) -> None:
        self._graph = graph = Graph()
        self._resampler = resampler
        node = graph.add_abuffer(
            sample_rate=frame.sample_rate,
            format=frame.format,
            layout=frame.layout.name,
            time_base=frame.time_base,
        )
        for name, arguments in filters:
            following = graph.add(name, arguments)
            node.link_to(following)
            node = following
        node.link_to(graph.add("abuffersink"))
        graph.configure()

    def resample(self, frame: av.AudioFrame | None) -> list[av.AudioFrame]:
        self._graph.push(frame)
        shaped = [ready for filtered in self._ready() for ready in self._resampler.resample(filtered)]
        return shaped if frame is not None else [*shaped, *self._resampler.resample(None)]

    def _ready(self) -> list[av.AudioFrame]:
        ready: list[av.AudioFrame] = []
        while True:
            try:
                frame = self._graph.pull()
            except (av.EOFError, av.BlockingIOError):
                return ready
            assert isinstance(frame, av.AudioFrame)  # noqa: S101 - the graph has no other sink
            ready.append(frame)


class SoundTrack(Decoder):
    """Samples decoded, placed in time, and encoded."""

    def __init__(self, stream: av.AudioStream, encoding: SoundEncoding, window: Window) -> None:
        self.pieces = self.damaged = 0
        self.done = False
        self._stream, self._encoding, self._window = stream, encoding, window
        self._next: Fraction | None = None

    def feed(self, packet: Packet[Any]) -> None:
        for frame in self.decode(packet):
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
        self._encoding.push(frame)

    def _time(self, frame: av.AudioFrame) -> Fraction:
        """When the frame starts; small jitter is taken for rounding, and time never runs back."""
        if frame.pts is None or frame.time_base is None:
            return self._window.start if self._next is None else self._next
        time = frame.pts * frame.time_base
        if self._next is not None and time - self._next < _JITTER:
            return self._next
        return time

    def finish(self) -> None:
        for frame in flushed(self._stream):
            if not self.done:
                self._place(frame)
        self._encoding.finish()


def cut_samples(frame: av.AudioFrame, first: int, end: int) -> av.AudioFrame:
    """Samples ``first`` to ``end`` of ``frame``, without its times."""
    part = av.AudioFrame(frame.format.name, frame.layout.name, end - first)
    part.sample_rate = frame.sample_rate
    width = frame.format.bytes * (1 if frame.format.is_planar else frame.layout.nb_channels)
    for old, new in zip(frame.planes, part.planes, strict=True):
        new.update(bytes(memoryview(old)[first * width : end * width]).ljust(new.buffer_size, b"\0"))
    return part
