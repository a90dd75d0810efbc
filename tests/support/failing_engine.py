"""An engine that knows how to convert markdown and never manages."""

from __future__ import annotations

from convertd.engines.base import Availability, Call, Capability, Engine, Product
from convertd.model.operations import CONVERT, Options


def _run(call: Call) -> list[Product]:
    raise RuntimeError("the unforeseen")


ENGINE = Engine(
    name="failing",
    title="Failing",
    capabilities=(Capability(operation=CONVERT, source="md", target="html", options=Options),),
    probe=lambda: Availability(ok=True, version="1"),
    run=_run,
)
