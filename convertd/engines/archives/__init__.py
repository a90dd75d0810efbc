"""Archives, by the standard library: packing files of any format, and re-packing one archive as another."""

from __future__ import annotations

import platform
from typing import Annotated

from msgspec import Meta

from convertd.engines.base import Availability, Call, Capability, Engine, Product
from convertd.model.formats import COMPRESSORS, FORMATS
from convertd.model.operations import ANY, ARCHIVE, CONVERT, UNPACK, Options

CONTAINERS = ("zip", "tar", "tgz")
"""Formats that hold several files."""
_MOST_INPUTS = 1000


class PackPlainly(Options, frozen=True, kw_only=True):
    """``archive`` or ``convert`` to an archive without compression."""


class Pack(Options, frozen=True, kw_only=True):
    """``archive`` or ``convert`` to a compressed archive."""

    level: Annotated[int, Meta(ge=1, le=9, description="1 is the fastest, 9 the smallest.")] = 6


class Unpack(Options, frozen=True, kw_only=True):
    """``unpack`` at most so many ``members``."""

    members: Annotated[int, Meta(ge=1)]


def _capabilities() -> tuple[Capability, ...]:
    packing = (
        Capability(
            operation=ARCHIVE,
            source=source,
            target=target,
            options=_options(target),
            most_inputs=1 if target in COMPRESSORS else _MOST_INPUTS,
        )
        for target in (*CONTAINERS, *sorted(COMPRESSORS))
        for source in FORMATS
    )
    archives = (*CONTAINERS, *sorted(COMPRESSORS))
    repacking = (
        Capability(operation=CONVERT, source=source, target=target, options=_options(target))
        for source in archives
        for target in archives
        if source != target
    )
    return (*packing, *repacking)


def _options(target: str) -> type[Options]:
    return PackPlainly if target == "tar" else Pack


def _probe() -> Availability:
    return Availability(ok=True, version=platform.python_version())


def _run(call: Call) -> list[Product]:
    from convertd.engines.archives.work import run

    return run(call)


ENGINE = Engine(
    name="archives",
    title="Python's archive modules",
    capabilities=_capabilities(),
    internal=(Capability(operation=UNPACK, source="zip", target=ANY, options=Unpack),),
    probe=_probe,
    run=_run,
    preload=("convertd.engines.archives.work",),
)
