"""Which function serves which operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from convertd.engines.base import Call, Product
from convertd.engines.pyav.adjust import adjust
from convertd.engines.pyav.animation import animate
from convertd.engines.pyav.compress import compress
from convertd.engines.pyav.concat import concat
from convertd.engines.pyav.convert import convert
from convertd.engines.pyav.inspecting import inspect
from convertd.engines.pyav.options import FRAME
from convertd.engines.pyav.pictures import picture
from convertd.engines.pyav.storyboard import storyboard
from convertd.engines.pyav.stripping import strip
from convertd.engines.pyav.trim import trim
from convertd.model import operations as ops

_BY_NAME: Final[Mapping[str, Callable[[Call], list[Product]]]] = {
    ops.TRIM: trim,
    ops.COMPRESS: compress,
    ops.STORYBOARD: storyboard,
    ops.CONCAT: concat,
    ops.ADJUST: adjust,
    ops.STRIP_METADATA: strip,
    ops.INSPECT: inspect,
}
"""Operations that one function serves, whatever the target."""


def run(call: Call) -> list[Product]:
    """Serve ``call``, which is one of this engine's capabilities."""
    by_name = _BY_NAME.get(call.operation)
    if by_name is not None:
        return by_name(call)
    if call.operation == ops.THUMBNAIL or call.target in FRAME:
        return picture(call)
    if call.target == "gif":
        return animate(call)
    return convert(call)
