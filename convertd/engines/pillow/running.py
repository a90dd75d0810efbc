"""The door of the child: everything the engine needs is imported by this module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from convertd.engines.base import Call, Product
from convertd.engines.pillow.compressing import compress
from convertd.engines.pillow.editing import adjust, strip_metadata, transform, watermark
from convertd.engines.pillow.inspecting import inspect
from convertd.engines.pillow.merging import merge
from convertd.engines.pillow.work import convert
from convertd.model.operations import (
    ADJUST,
    COMPRESS,
    CONVERT,
    INSPECT,
    MERGE,
    STRIP_METADATA,
    THUMBNAIL,
    TRANSFORM,
    WATERMARK,
)

_OPERATIONS: Final[dict[str, Callable[[Call], Product]]] = {
    ADJUST: adjust,
    COMPRESS: compress,
    CONVERT: convert,
    INSPECT: inspect,
    MERGE: merge,
    STRIP_METADATA: strip_metadata,
    THUMBNAIL: convert,
    TRANSFORM: transform,
    WATERMARK: watermark,
}


def run(call: Call) -> list[Product]:
    """Do what ``call`` says. Raises ``FileInvalid``, ``InvalidRequest``, ``LimitExceeded`` and
    ``EngineError``."""
    return [_OPERATIONS[call.operation](call)]
