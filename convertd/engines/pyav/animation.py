"""``convert`` from a video to an animated GIF, with a palette made for it.

The video is read twice, once to choose the colours and once to draw with them, so that memory does not grow
with its length.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
from av.filter import Graph

from convertd.engines.base import Call, Product
from convertd.engines.pyav import reading
from convertd.engines.pyav.codecs import ENDS_ANYWHERE
from convertd.engines.pyav.convert import describe_input, output_name
from convertd.engines.pyav.facts import facts_of
from convertd.engines.pyav.filters import Shape, frame_steps, upright_size
from convertd.engines.pyav.frames import FrameShaper, Placement, Window, build_graph, through
from convertd.engines.pyav.plan import fit_inside, main_video
from convertd.engines.pyav.source import Source, VideoStream
from convertd.engines.pyav.transcode import broken_off, cut_off, is_short, seek_before
from convertd.engines.pyav.writing import created, encoding
from convertd.errors import FileInvalid, LimitExceeded
from convertd.model.operations import AnimationConvert

USUAL_FPS: Final = 15
USUAL_WIDTH: Final = 640
_HUNDREDTH: Final = Fraction(1, 100)
_PIX_FMT: Final = "bgra"


def animate(call: Call) -> list[Product]:
    """A GIF that plays for ever."""
    options = call.options
    assert isinstance(options, AnimationConvert)  # noqa: S101 - by capability
    source = describe_input(call)
    stream = main_video(source)
    picture = reading.first_picture(call.input, call.source, stream.index, call.limits)
    width = options.width or (None if options.height else USUAL_WIDTH)
    size = fit_inside(upright_size(picture), width, options.height, enlarge=False)
    shape = frame_steps(picture, _PIX_FMT, size=size, fps=options.fps, even=False)
    window = _window(source, options)
    _check(call, source, window, shape, options.fps or min(float(stream.rate), USUAL_FPS))
    name = output_name("gif")
    movie = _Movie(call, source, stream, shape, window, None if options.fps else USUAL_FPS)
    palette = _palette(movie)
    whole = not window.cut and window.end is None
    short = whole and is_short(call, source, movie.end)
    if short and call.source not in ENDS_ANYWHERE:
        raise cut_off(call.source)
    _draw(movie, palette, call.output_dir / name)
    call.report(1.0)
    facts = facts_of(call.output_dir / name, call.target, movie.end)
    notes = [broken_off(movie.end)] if short else []
    notes += _tell_defaults(movie, size != upright_size(picture) and not (options.width or options.height))
    return [Product(name=name, facts=facts | {"frames": movie.frames}, notes=tuple(notes))]


def _tell_defaults(movie: _Movie, scaled: bool) -> list[str]:
    """What was done to the picture that nobody asked for."""
    notes = []
    if scaled:
        size = f"{movie.shape.width} × {movie.shape.height}"
        notes.append(f"The picture was scaled down to {size}; ask for a larger one with 'width'.")
    if movie.dropped:
        notes.append(f"Frames beyond {USUAL_FPS} a second were left out; ask for more with 'fps'.")
    return notes


def _window(source: Source, options: AnimationConvert) -> Window:
    start = source.start + Fraction(options.start)
    end = None if options.duration is None else start + Fraction(options.duration)
    return Window(start=start, end=end, cut=options.start > 0)


def _check(call: Call, source: Source, window: Window, shape: Shape, fps: float) -> None:
    """Raise :class:`LimitExceeded` where the length alone shows that there will be too many frames."""
    if source.duration is None:
        return
    end = min(float(window.end - source.start), source.duration) if window.end else source.duration
    _check_frames(call, int((end - float(window.start - source.start)) * fps), shape)


def _check_frames(call: Call, frames: int, shape: Shape) -> None:
    if frames > call.limits.frames:
        raise LimitExceeded(
            f"The animation would have {frames} frames; {call.limits.frames} are allowed. "
            "Ask for a lower 'fps' or a shorter 'duration'."
        )
    pixels = frames * shape.width * shape.height
    if pixels > call.limits.total_pixels:
        raise LimitExceeded(
            f"The animation would have {pixels} pixels in all; {call.limits.total_pixels} are allowed. "
            "Ask for a smaller 'width', a lower 'fps' or a shorter 'duration'."
        )


class _Movie:
    """The wanted part of the video, in the wanted shape, as often as it is asked for.

    Its frames keep their times; those that come faster than ``most`` a second are left out.
    """

    def __init__(
        self,
        call: Call,
        source: Source,
        stream: VideoStream,
        shape: Shape,
        window: Window,
        most: int | None,
    ) -> None:
        self.call, self.shape = call, shape
        self.frames = 0
        self.dropped = 0
        self.end = 0.0
        """Seconds from the window's start at which the last frame that was played ends."""
        self._most = most
        self._shown = 0.0
        self._source, self._stream, self._window = source, stream, window
        self._told = 0.0

    @property
    def final_delay(self) -> int:
        """Hundredths of a second for which the last frame of those that were played stands."""
        return max(2, min(65535, round((self.end - self._shown) * 100)))

    def play(self, first: float, last: float) -> Iterator[av.VideoFrame]:
        """The frames; progress goes from ``first`` to ``last`` meanwhile."""
        self.frames = self.dropped = 0
        with reading.opened(self.call.input, self.call.source, self.call.limits) as container:
            if reading.is_cut_off(container, self.call.input):
                raise cut_off(self.call.source)
            stream: Any = container.streams[self._stream.index]
            reading.prepare(stream, self.call.limits)
            placement = Placement(self._window, self._stream.time_base, self._stream.rate)
            if self._window.cut:
                seek_before(container, self.call.source, self._window.start)
            for frame in self._shaped(reading.decoded(container, stream), placement):
                self.frames += 1
                self._shown = frame.time or 0.0
                _check_frames(self.call, self.frames, self.shape)
                self._tell(frame, first, last)
                yield frame

    def _shaped(self, frames: Iterator[av.VideoFrame], placement: Placement) -> Iterator[av.VideoFrame]:
        shaper: FrameShaper | None = None
        wanted = (self.shape.width, self.shape.height, _PIX_FMT)
        for frame in self._thinned(self._placed(frames, placement)):
            if shaper is None or not shaper.takes(frame):
                if shaper is not None:
                    yield from shaper.push(None)
                reading.check_pixels(frame.width, frame.height, self.call.limits)
                shaper = FrameShaper(frame, self.shape.steps, wanted, shaper)
            yield from shaper.push(frame)
        if shaper is not None:
            yield from shaper.push(None)

    def _thinned(self, frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        """``frames`` without those that follow too fast, so that as many are left as may be."""
        due = Fraction(0)
        for frame in frames:
            base = self._stream.time_base
            time = (frame.pts or 0) * base
            self.end = float(time + (frame.duration or 0) * base)
            if self._most is not None:
                step = Fraction(1, self._most)
                # Containers that count in milliseconds place frames a little early.
                if time < due - step / 8:
                    self.dropped += 1
                    continue
                due = max(due, time - step / 2) + step
            yield frame

    def _placed(self, frames: Iterator[av.VideoFrame], placement: Placement) -> Iterator[av.VideoFrame]:
        for frame in frames:
            yield from placement.place(frame)
            if placement.done:
                break
        yield from placement.rest()

    def _tell(self, frame: av.VideoFrame, first: float, last: float) -> None:
        length = (self._source.duration or 0.0) - float(self._window.start - self._source.start)
        if self._window.end is not None:
            length = min(length, float(self._window.end - self._window.start))
        share = min(1.0, (frame.time or 0.0) / length) if length > 0 else 0.0
        self.call.report(first + (last - first) * share)


def _palette(movie: _Movie) -> av.VideoFrame:
    """A picture of the 256 colours that serve the moving parts best."""
    graph: Graph | None = None
    with encoding():
        for frame in movie.play(0.0, 0.45):
            graph = graph or build_graph(frame, (("palettegen", "stats_mode=diff"),))
            graph.vpush(frame)
        if graph is None:
            raise FileInvalid(f"Nothing of the video in this {movie.call.source} file can be decoded.")
        return next(through(graph, None))


def _draw(movie: _Movie, palette: av.VideoFrame, path: Path) -> None:
    with created(
        path, "gif", {"loop": "0", "final_delay": str(movie.final_delay)}, movie.call.limits
    ) as sink:
        out: Any = sink.container.add_stream("gif", rate=100)
        context = out.codec_context
        context.width, context.height, context.pix_fmt = movie.shape.width, movie.shape.height, "pal8"
        context.time_base = _HUNDREDTH
        graph: Graph | None = None
        last = -1
        for frame in movie.play(0.45, 0.99):
            graph = graph or _painting(frame, palette)
            graph.vpush(frame, at=0)
            for painted in _ready(graph):
                last = _write(sink, out, painted, last)
        if graph is not None:
            graph.vpush(None, at=0)
            for painted in _ready(graph):
                last = _write(sink, out, painted, last)
        sink.mux(out.encode(None))


def _write(sink: Any, out: Any, frame: av.VideoFrame, last: int) -> int:
    """Encode ``frame``; two that fall on one hundredth of a second are one."""
    pts = round((frame.pts or 0) * (frame.time_base or _HUNDREDTH) / _HUNDREDTH)
    if pts > last:
        sink.mux(out.encode(frame))
    return max(pts, last)


def _painting(frame: av.VideoFrame, palette: av.VideoFrame) -> Graph:
    """A graph that draws frames like ``frame`` with ``palette``, which it has already taken."""
    graph = Graph()
    sources = [
        graph.add(
            "buffer",
            video_size=f"{each.width}x{each.height}",
            pix_fmt=each.format.name,
            time_base=str(each.time_base or _HUNDREDTH),
            pixel_aspect="1/1",
        )
        for each in (frame, palette)
    ]
    paint = graph.add("paletteuse", "dither=bayer:bayer_scale=4:diff_mode=rectangle")
    sources[0].link_to(paint, 0, 0)
    sources[1].link_to(paint, 0, 1)
    paint.link_to(graph.add("buffersink"))
    graph.configure()
    graph.vpush(palette, at=1)
    graph.vpush(None, at=1)
    return graph


def _ready(graph: Graph) -> Iterator[av.VideoFrame]:
    """All frames that wait at the graph's end."""
    while True:
        try:
            yield graph.vpull()
        except (av.EOFError, av.BlockingIOError):
            return
