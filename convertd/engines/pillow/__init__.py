"""Pictures, by Pillow: convert, compress, thumbnail."""

from __future__ import annotations

from collections.abc import Iterator

from convertd.engines.base import Availability, Call, Capability, Engine, Product, package_availability
from convertd.engines.pillow.targets import SOURCES, TARGETS, THUMBNAILS
from convertd.model.operations import (
    COMPRESS,
    CONVERT,
    THUMBNAIL,
    EitherPictureConvert,
    LossyPictureConvert,
    PictureCompress,
    PictureConvert,
    PlainThumbnail,
    Thumbnail,
)

_COMPRESSES_TO_ITSELF = frozenset(("gif", "tiff"))
"""Formats that nobody would choose to make another picture smaller."""


def _capabilities() -> Iterator[Capability]:
    for source in SOURCES:
        for name, target in TARGETS.items():
            kind = (
                EitherPictureConvert
                if target.lossless
                else LossyPictureConvert
                if target.quality is not None
                else PictureConvert
            )
            yield Capability(operation=CONVERT, source=source, target=name, options=kind)
            if target.compressed is not None and (name == source or name not in _COMPRESSES_TO_ITSELF):
                yield Capability(operation=COMPRESS, source=source, target=name, options=PictureCompress)
        for name in THUMBNAILS:
            lossy = TARGETS[name].quality is not None
            yield Capability(
                operation=THUMBNAIL,
                source=source,
                target=name,
                options=Thumbnail if lossy else PlainThumbnail,
            )


def _probe() -> Availability:
    return package_availability("pillow", "pip install pillow")


def _run(call: Call) -> list[Product]:
    from convertd.engines.pillow.running import run

    return run(call)


ENGINE = Engine(
    name="pillow",
    title="Pillow",
    capabilities=tuple(_capabilities()),
    probe=_probe,
    run=_run,
    preload=("convertd.engines.pillow.running",),
)
