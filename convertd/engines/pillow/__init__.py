"""Pictures, by Pillow: converted, made smaller, edited, described, bound into a document."""

from __future__ import annotations

from collections.abc import Iterator

from convertd.engines.base import Availability, Call, Capability, Engine, Product, package_availability
from convertd.engines.pillow.options import (
    LossyPictureAdjust,
    LossyPictureTransform,
    LossyPictureWatermark,
    PictureAdjust,
    PictureMerge,
    PictureTransform,
    PictureWatermark,
)
from convertd.engines.pillow.targets import EDITED, SOURCES, TARGETS, THUMBNAILS, Target
from convertd.model.operations import (
    ADJUST,
    COMPRESS,
    CONVERT,
    INSPECT,
    MERGE,
    STRIP_METADATA,
    THUMBNAIL,
    TRANSFORM,
    WATERMARK,
    EitherPictureConvert,
    LossyPictureConvert,
    Options,
    PictureCompress,
    PictureConvert,
    PlainThumbnail,
    Thumbnail,
)

_COMPRESSES_TO_ITSELF = frozenset(("gif", "tiff"))
"""Formats that nobody would choose to make another picture smaller."""
_MOST_PAGES = 500
"""Pictures that are bound into one document."""

Kinds = tuple[type[Options], type[Options]]
"""Options for a target without loss, and for one with it."""
_EDITS: dict[str, Kinds] = {
    TRANSFORM: (PictureTransform, LossyPictureTransform),
    ADJUST: (PictureAdjust, LossyPictureAdjust),
    WATERMARK: (PictureWatermark, LossyPictureWatermark),
}


def _capabilities() -> Iterator[Capability]:
    for source in SOURCES:
        for name, target in TARGETS.items():
            either = EitherPictureConvert if target.lossless else LossyPictureConvert
            kind = _chosen((PictureConvert, either), target)
            yield Capability(operation=CONVERT, source=source, target=name, options=kind)
            if target.compressed is not None and (name == source or name not in _COMPRESSES_TO_ITSELF):
                yield Capability(operation=COMPRESS, source=source, target=name, options=PictureCompress)
        for name in THUMBNAILS:
            kind = _chosen((PlainThumbnail, Thumbnail), TARGETS[name])
            yield Capability(operation=THUMBNAIL, source=source, target=name, options=kind)
        yield from _edits(source)
        if source in EDITED:
            yield Capability(operation=STRIP_METADATA, source=source, target=source, options=Options)
        yield Capability(operation=INSPECT, source=source, target="json", options=Options)
        yield Capability(
            operation=MERGE, source=source, target="pdf", options=PictureMerge, most_inputs=_MOST_PAGES
        )


def _edits(source: str) -> Iterator[Capability]:
    for operation, kinds in _EDITS.items():
        for name in EDITED:
            yield Capability(
                operation=operation,
                source=source,
                target=name,
                options=_chosen(kinds, TARGETS[name]),
                most_inputs=2 if operation == WATERMARK else 1,
            )


def _chosen(kinds: Kinds, target: Target) -> type[Options]:
    return kinds[target.quality is not None]


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
