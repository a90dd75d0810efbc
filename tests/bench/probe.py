"""An engine for measurements: work that costs nothing, and work that never ends."""

from __future__ import annotations

import threading

from convertd.engines.base import Availability, Call, Capability, Engine, Product
from convertd.model.operations import Options


class Nothing(Options, frozen=True, kw_only=True):
    """No options."""


def _available() -> Availability:
    return Availability(ok=True, version="1")


def _run(call: Call) -> list[Product]:
    if call.operation == "hold":
        threading.Event().wait()
    (call.output_dir / "result.txt").write_bytes(b"done")
    return [Product(name="result.txt")]


ENGINE = Engine(
    name="bench",
    title="bench",
    capabilities=tuple(
        Capability(operation=operation, source="txt", target="txt", options=Nothing)
        for operation in ("hold", "nothing")
    ),
    probe=_available,
    run=_run,
)
