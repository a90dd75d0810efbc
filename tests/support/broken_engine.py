"""An engine whose library is installed, by its probe, and cannot be loaded."""

from __future__ import annotations

from convertd.engines.base import Availability, Capability, Engine
from convertd.model.operations import Options
from tests.support.fake_engines import never


def _unloadable() -> None:
    raise OSError("/opt/acme/lib/libbroken.so: undefined symbol: acme")


ENGINE = Engine(
    name="broken",
    title="Broken",
    capabilities=(Capability(operation="break", source="txt", target="txt", options=Options),),
    probe=lambda: Availability(ok=True, version="1"),
    run=never,
    warm_up=_unloadable,
)
