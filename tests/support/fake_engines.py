"""Engines that exist on paper only: planning and submission need no more."""

from __future__ import annotations

from convertd.engines.base import Availability, Call, Capability, Engine, Fidelity, Product
from convertd.engines.registry import Registry
from convertd.model.operations import LossyPictureConvert, Options, PdfText, Thumbnail, VideoCompress


def never(call: Call) -> list[Product]:
    raise AssertionError("an engine was run in the server's process")


def route(
    source: str,
    target: str,
    *,
    operation: str = "convert",
    options: type[Options] = LossyPictureConvert,
    fidelity: Fidelity = Fidelity.EXACT,
) -> Capability:
    return Capability(operation=operation, source=source, target=target, options=options, fidelity=fidelity)


def engine(name: str, *capabilities: Capability, hint: str | None = None) -> Engine:
    """An engine; ``hint`` makes it a missing one."""
    found = Availability(ok=hint is None, version="1" if hint is None else "", hint=hint or "")
    return Engine(name=name, title=name.title(), capabilities=capabilities, probe=lambda: found, run=never)


def registry(*engines: Engine) -> Registry:
    return Registry({one.name: one for one in engines})


def small_registry() -> Registry:
    """Pictures work, sound is known but missing, documents go through PDF."""
    return registry(
        engine(
            "picture",
            route("png", "jpg"),
            route("png", "webp"),
            route("jpg", "jpg"),
            route("png", "png", operation="compress"),
            route("psd", "jpg", operation="compress"),
            route("png", "jpg", operation="thumbnail", options=Thumbnail),
        ),
        engine("sound", route("wav", "mp3", options=VideoCompress), hint="install the sound extra."),
        engine("office", route("docx", "pdf", options=PdfText, fidelity=Fidelity.GOOD)),
        engine("pages", route("pdf", "png"), route("pdf", "txt", options=PdfText)),
    )
