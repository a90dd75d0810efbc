"""Which function serves which operation."""

from __future__ import annotations

from convertd.engines.base import Call, Product
from convertd.engines.pyav.convert import convert


def run(call: Call) -> list[Product]:
    """Serve ``call``, which is one of this engine's capabilities."""
    return convert(call)
