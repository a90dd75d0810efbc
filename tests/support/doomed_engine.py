"""An engine of pictures that nobody else here reads, each of which ends in its own bad way."""

from __future__ import annotations

import os
import threading

from convertd.engines.base import Availability, Call, Capability, Engine, Product
from convertd.model.operations import CONVERT, LossyPictureConvert

RAISES = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)
"""A HEIF file by its beginning: the engine raises what it did not foresee."""
CRASHES = b'<svg xmlns="http://www.w3.org/2000/svg"/>'
"""Its process dies."""
HANGS = b"\xff\x0a" + bytes(64)
"""A JPEG XL file by its beginning: there is no end to it."""


def _run(call: Call) -> list[Product]:
    match call.sources[0]:
        case "heif":
            raise RuntimeError("the unforeseen")
        case "svg":
            os.abort()
    call.report(0.5)
    while True:
        threading.Event().wait()


ENGINE = Engine(
    name="doomed",
    title="Doomed",
    capabilities=tuple(
        Capability(operation=CONVERT, source=source, target="webp", options=LossyPictureConvert)
        for source in ("heif", "svg", "jxl")
    ),
    probe=lambda: Availability(ok=True, version="1"),
    run=_run,
)
