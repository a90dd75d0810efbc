"""Where a picture comes to lie in the box that was asked for. Pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass, replace

from convertd.engines.pillow.options import AnyFit

Size = tuple[int, int]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """The part ``box`` of a picture is scaled to ``size`` and laid on the middle of ``canvas``."""

    box: Box
    size: Size
    canvas: Size

    @property
    def padding(self) -> bool:
        """Whether something of the canvas stays visible."""
        return self.canvas != self.size


def place(size: Size, width: int | None, height: int | None, fit: AnyFit, enlarge: bool) -> Placement:
    """Where a picture of ``size`` lies; an absent ``width`` or ``height`` does not bound it."""
    if width is None and height is None:
        return Placement(box=(0, 0, *size), size=size, canvas=size)
    if fit == "cover" and width and height:
        return _cover(size, width, height, enlarge)
    if fit == "fill" and width and height:
        return _fill(size, width, height, enlarge)
    if fit == "outside" and width and height:
        scale = max(width / size[0], height / size[1])
        return _whole(size, scale if enlarge else min(1.0, scale))
    scale = min(
        width / size[0] if width else float("inf"),
        height / size[1] if height else float("inf"),
        float("inf") if enlarge else 1.0,
    )
    whole = _whole(size, scale)
    return replace(whole, canvas=(width, height)) if fit == "contain" and width and height else whole


def _whole(size: Size, scale: float) -> Placement:
    scaled = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    return Placement(box=(0, 0, *size), size=scaled, canvas=scaled)


def _fill(size: Size, width: int, height: int, enlarge: bool) -> Placement:
    """Distort to the box; without ``enlarge`` a box too large for the picture shrinks in its own ratio."""
    shrink = 1.0 if enlarge else min(1.0, size[0] / width, size[1] / height)
    scaled = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    return Placement(box=(0, 0, *size), size=scaled, canvas=scaled)


def _cover(size: Size, width: int, height: int, enlarge: bool) -> Placement:
    """Fill the box; without ``enlarge`` a box too large for the picture shrinks in its own ratio."""
    scale = max(width / size[0], height / size[1])
    if scale > 1 and not enlarge:
        width, height = max(1, round(width / scale)), max(1, round(height / scale))
        scale = 1.0
    seen = (min(size[0], width / scale), min(size[1], height / scale))
    left, top = (size[0] - seen[0]) / 2, (size[1] - seen[1]) / 2
    return Placement(
        box=(left, top, left + seen[0], top + seen[1]), size=(width, height), canvas=(width, height)
    )
