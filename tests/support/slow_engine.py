"""An engine that takes its time, so that a job can be met while it runs."""

from __future__ import annotations

import shutil
import time
from typing import Annotated

from msgspec import Meta

from convertd.engines.base import Availability, Call, Capability, Engine, Product
from convertd.model.operations import Options


class Linger(Options, frozen=True, kw_only=True):
    """How long it takes."""

    seconds: Annotated[float, Meta(ge=0, le=3600)] = 3600.0


def _run(call: Call) -> list[Product]:
    assert isinstance(call.options, Linger)
    begin = time.monotonic()
    while (passed := time.monotonic() - begin) < call.options.seconds:
        call.report(passed / call.options.seconds)
        time.sleep(min(0.02, call.options.seconds - passed))
    name = f"result.{call.target}"
    shutil.copyfile(call.input, call.output_dir / name)
    return [Product(name=name)]


ENGINE = Engine(
    name="slow",
    title="slow",
    capabilities=(
        Capability(operation="linger", source="txt", target="txt", options=Linger),
        # For APIs that know conversions alone, and no option for how long this one takes: an hour.
        Capability(operation="convert", source="txt", target="md", options=Linger),
    ),
    probe=lambda: Availability(ok=True, version="1"),
    run=_run,
)
