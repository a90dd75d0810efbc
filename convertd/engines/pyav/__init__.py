"""Sound and video through PyAV, which carries FFmpeg."""

from __future__ import annotations

from convertd.engines.base import Availability, Call, Engine, Product, package_availability
from convertd.engines.pyav.capabilities import CAPABILITIES


def _probe() -> Availability:
    return package_availability("av", "pip install av")


def _run(call: Call) -> list[Product]:
    # In the child alone: the server process must not load FFmpeg.
    from convertd.engines.pyav.operations import run

    return run(call)


ENGINE = Engine(
    name="pyav",
    title="PyAV (FFmpeg)",
    capabilities=CAPABILITIES,
    probe=_probe,
    run=_run,
    preload=("av", "PIL.Image", "convertd.engines.pyav.operations"),
)
