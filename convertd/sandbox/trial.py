"""The engine call that proves at the start that a child can be set up, work and report on this machine."""

from __future__ import annotations

from typing import Final

from convertd.engines.base import Availability, Call, Capability, Engine, Product
from convertd.model.operations import Options
from convertd.sandbox.protocol import Work


def _copy(call: Call) -> list[Product]:
    (call.output_dir / call.input.name).write_bytes(call.input.read_bytes())
    return [Product(name=call.input.name)]


ENGINE: Final = Engine(
    name="sandbox trial",
    title="sandbox trial",
    capabilities=(Capability(operation="convert", source="txt", target="txt", options=Options),),
    probe=lambda: Availability(ok=True),
    run=_copy,
)
"""Known to the zygote alone: no registry has it, so that no client can ask for it."""

WORK: Final = Work(
    engine=ENGINE.name, operation="convert", target="txt", inputs=("in.txt",), sources=("txt",)
)
