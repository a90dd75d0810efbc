"""Office documents to PDF, by the LibreOffice that is found on the machine."""

from __future__ import annotations

from convertd.engines.base import Call, Capability, Engine, Fidelity, Product
from convertd.engines.soffice.installation import probe
from convertd.engines.soffice.options import OfficePdf
from convertd.engines.soffice.routes import ROUTES
from convertd.model.operations import CONVERT


def _run(call: Call) -> list[Product]:
    from convertd.engines.soffice.work import run

    return run(call)


ENGINE = Engine(
    name="soffice",
    title="LibreOffice",
    capabilities=tuple(
        Capability(operation=CONVERT, source=source, target="pdf", options=OfficePdf, fidelity=Fidelity.GOOD)
        for source in ROUTES
    ),
    probe=probe,
    run=_run,
    preload=("convertd.engines.soffice.work",),
    processes=True,
)
