"""Frames on their way from a decoder to an encoder: their times, and the filters that shape them."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import av
from av.filter import Graph

from convertd.engines.pyav.filters import Filters


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """The part of the source that is wanted, in its own time stamps (seconds)."""

    start: Fraction
    """Becomes time 0 of the output."""
    end: Fraction | None = None
    cut: bool = False
    """Whether what lies before ``start`` is left out (a file whose streams start unevenly is not cut)."""


def ticks(seconds: Fraction, time_base: Fraction) -> int:
    """``seconds`` in units of ``time_base``."""
    return round(seconds / time_base)


class Placement:
    """Gives decoded frames their times in the output, and lets through those that lie in the window.

    Frames keep the distances that they have in the source. Where the window opens between two frames, the
    first of them stands at time 0.
    """

    def __init__(self, window: Window, time_base: Fraction, rate: Fraction) -> None:
        self.done = False
        self._start = ticks(window.start, time_base)
        self._end = ticks(window.end, time_base) if window.end is not None else None
        self._cut = window.cut
        self._step = max(1, round(1 / (rate * time_base)))
        self._clock = _Clock()
        self._last: int | None = None
        self._held: av.VideoFrame | None = None

    def place(self, frame: av.VideoFrame) -> list[av.VideoFrame]:
        """The frames to show next, with their times: ``frame``, and the one that was held back before it."""
        pts = self._clock.time(frame)
        if pts is None:
            pts = self._start if self._last is None else self._last + self._step
        if self._end is not None and pts >= self._end:
            self.done = True
            return self.rest()
        if self._last is not None and pts <= self._last:
            return []
        self._last = pts
        if self._cut and pts <= self._start:
            self._held = frame
            return []
        frame.pts = pts - self._start
        if not frame.duration:
            # A filter that makes the rate constant would leave out a last frame that lasts no time.
            frame.duration = self._step
        return [*self.rest(), frame]

    def rest(self) -> list[av.VideoFrame]:
        """The frame that was held back, if any: the picture that stands when the window opens."""
        if self._held is None:
            return []
        held, self._held = self._held, None
        held.pts = 0
        held.duration = held.duration or self._step
        return [held]


class _Clock:
    """Tells when a frame is shown: by ``pts``, or by ``dts`` where that goes wrong less often.

    AVI has no presentation times; those that FFmpeg makes up for B-frames step back, while the decoding times
    of frames that leave the decoder do not. This is what FFmpeg calls the best effort.
    """

    def __init__(self) -> None:
        self._last: list[int | None] = [None, None]
        self._faults = [0, 0]

    def time(self, frame: av.VideoFrame) -> int | None:
        """The time stamp of the next frame in the order of showing, in its time base."""
        times = (frame.pts, frame.dts)
        for which, time in enumerate(times):
            last = self._last[which]
            if time is not None:
                self._faults[which] += last is not None and time <= last
                self._last[which] = time
        pts, dts = times
        if pts is not None and (dts is None or self._faults[0] <= self._faults[1]):
            return pts
        return dts


class FrameShaper:
    """A filter graph for frames of one size and format; or none, where they fit the encoder as they are."""

    def __init__(
        self,
        frame: av.VideoFrame,
        filters: Filters,
        wanted: tuple[int, int, str],
        before: FrameShaper | None = None,
    ) -> None:
        self._size, self._format = (frame.width, frame.height), frame.format.name
        self._model: tuple[tuple[int, int], str] = (
            before._model if before is not None else (self._size, self._format)
        )
        self._interlaced: bool = frame.interlaced_frame or (before is not None and before._interlaced)
        steps = self._steps(filters)
        passes = not steps and (*self._size, self._format) == wanted
        self._graph = None if passes else build_graph(frame, steps)

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
        if self._graph is not None:
            return through(self._graph, frame)
        return iter(() if frame is None else (frame,))


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
