"""Frames in time: drawn one by one, with delays and repetitions in each format's own counting."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from PIL import Image, ImageFile

Frames = Iterator[tuple[Image.Image, int]]
"""Composed frames with their times in milliseconds."""

_HURRIED: Final = 10
_UNHURRIED: Final = 100
"""Browsers show GIF frames of at most 10 ms for 100 ms; other formats would take the figure at its word."""
_SIXTEEN_BITS: Final = 65_535


class Sequence(Image.Image):
    """Frames drawn one at a time, when a writer of the library asks for them.

    The writers take any image that can seek, and step through it in order, some of them twice. So an
    animation of any length needs the memory of one frame here. ``times`` grows with the frames drawn.
    """

    def __init__(self, draw: Callable[[], Frames], count: int) -> None:
        super().__init__()
        self._draw = draw
        self.n_frames = count
        self.is_animated = count > 1
        self.times: list[int] = []
        self._restart()

    def _restart(self) -> None:
        self._frames = self._draw()
        self._index = -1
        self._next()

    def _next(self) -> None:
        frame, time = next(self._frames)
        self._index += 1
        if self._index == len(self.times):
            self.times.append(time)
        self.im = frame.im
        self._mode, self._size = frame.mode, frame.size
        self.palette = frame.palette
        self.info = frame.info

    def through(self, change: Callable[[Image.Image], Image.Image]) -> Sequence:
        """The same frames, each changed as it is drawn."""
        draw = self._draw
        return Sequence(lambda: ((change(frame), time) for frame, time in draw()), self.n_frames)

    def tell(self) -> int:
        return self._index

    def seek(self, frame: int) -> None:
        if frame >= self.n_frames:
            raise EOFError("no more frames")
        if frame < self._index:
            self._restart()
        while self._index < frame:
            self._next()


def plays(image: ImageFile.ImageFile, source: str) -> int:
    """How often the animation runs; 0 for ever. A GIF says how often it is repeated after the first run."""
    loop = image.info.get("loop")
    if source == "gif":
        return 1 if loop is None else loop + 1 if loop else 0
    return loop if isinstance(loop, int) else 0


def retimed(frames: Frames, source: str, target: str) -> Frames:
    """``frames`` with times that the target can express and that look the same there."""
    if target == "gif" and source != "gif":
        return _in_hundredths(frames)
    if source == "gif" and target != "gif":
        frames = ((image, time if time > _HURRIED else _UNHURRIED) for image, time in frames)
    if target == "png":
        # Its delay is a fraction of two 16-bit numbers: beyond a minute only whole seconds surely fit.
        return ((image, time if time <= _SIXTEEN_BITS else time // 1000 * 1000) for image, time in frames)
    return frames


def _in_hundredths(frames: Frames) -> Frames:
    """Rounded so that the errors do not add up; never so short that browsers slow it down."""
    due = shown = 0
    for image, time in frames:
        due += time
        rounded = min(max(20, (due - shown + 5) // 10 * 10), _SIXTEEN_BITS * 10)
        shown += rounded
        yield image, rounded
