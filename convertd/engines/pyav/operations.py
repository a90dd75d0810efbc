"""Which function serves which operation."""

from __future__ import annotations

from convertd.engines.base import Call, Product
from convertd.engines.pyav.animation import animate
from convertd.engines.pyav.compress import compress
from convertd.engines.pyav.convert import convert
from convertd.engines.pyav.options import FRAME
from convertd.engines.pyav.pictures import picture
from convertd.engines.pyav.trim import trim
from convertd.model import operations as ops


def run(call: Call) -> list[Product]:
    """Serve ``call``, which is one of this engine's capabilities."""
    if call.operation == ops.TRIM:
        return trim(call)
    if call.operation == ops.COMPRESS:
        return compress(call)
    if call.operation == ops.THUMBNAIL or call.target in FRAME:
        return picture(call)
    if call.target == "gif":
        return animate(call)
    return convert(call)
