"""The door of the child: everything the engine needs is imported by this module."""

from __future__ import annotations

from convertd.engines.base import Call, Product
from convertd.engines.pillow.compressing import compress
from convertd.engines.pillow.work import convert
from convertd.model.operations import COMPRESS


def run(call: Call) -> list[Product]:
    """Do what ``call`` says. Raises ``FileInvalid``, ``LimitExceeded`` and ``EngineError``."""
    return [compress(call) if call.operation == COMPRESS else convert(call)]
