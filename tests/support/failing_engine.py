"""An engine that fails at an ordinary conversion, for no fault of the file."""

from __future__ import annotations

from convertd.engines.base import Availability, Call, Capability, Engine, Product
from convertd.model.operations import CONVERT, Options


def _run(call: Call) -> list[Product]:
    raise RuntimeError("the library gave up")


ENGINE = Engine(
    name="failing",
    title="failing",
    capabilities=(Capability(operation=CONVERT, source="txt", target="xml", options=Options),),
    probe=lambda: Availability(ok=True, version="1"),
    run=_run,
)
