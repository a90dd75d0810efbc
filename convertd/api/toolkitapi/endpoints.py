"""The endpoints that convert, each for its kinds of files, and what this machine converts there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from convertd.engines.registry import Registry
from convertd.errors import EngineMissing, UnsupportedFormat
from convertd.model.formats import FORMATS, Family
from convertd.model.operations import CONVERT, INSPECT, THUMBNAIL


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One of ``/v1/convert/{name}``."""

    name: str
    sources: frozenset[str]
    """Formats that it takes."""
    operation: str = CONVERT
    target: str | None = None
    """Format of the result where the request names none."""
    inline: bool = False
    """Whether the source may stand in the request itself."""
    source_field: str = "from_format"
    target_field: str = "to_format"

    @property
    def path(self) -> str:
        return f"/v1/convert/{self.name}"


def _families(*families: Family) -> frozenset[str]:
    return frozenset(name for name, fmt in FORMATS.items() if fmt.family in families)


_MEDIA: Final = _families(Family.VIDEO, Family.SOUND, Family.PICTURE)

CATEGORIES: Final = {
    endpoint.name: endpoint
    for endpoint in (
        Endpoint(name="media", sources=_MEDIA, source_field="source_format", target_field="target_format"),
        Endpoint(name="document", sources=_families(Family.DOCUMENT) | {"txt", "md"}),
        Endpoint(name="spreadsheet", sources=_families(Family.SPREADSHEET)),
        Endpoint(name="presentation", sources=_families(Family.PRESENTATION), target="pdf"),
        Endpoint(name="ebook", sources=frozenset(("epub",)), target="epub"),
        Endpoint(name="data", sources=frozenset(("csv", "json", "xml")), inline=True),
        Endpoint(name="markup", sources=frozenset(("html", "md", "txt")), inline=True),
    )
}
VIDEO_THUMBNAIL: Final = Endpoint(
    name="video-thumbnail",
    sources=_MEDIA,
    operation=THUMBNAIL,
    target="jpg",
    source_field="source_format",
    target_field="format",
)
MEDIA_INFO: Final = Endpoint(
    name="media-info", sources=_MEDIA, operation=INSPECT, target="json", source_field="source_format"
)

UNSERVED: Final = {
    "calendar": "calendars and contacts",
    "json-to-typescript": "TypeScript",
}
"""Endpoints of the service that no engine here can serve, and what they are about."""


def check_source(endpoint: Endpoint, source: str, *, field: str) -> None:
    """Refuse a file of another endpoint's kind; raises :class:`UnsupportedFormat`."""
    if source in endpoint.sources:
        return
    others = [other.path for other in CATEGORIES.values() if source in other.sources]
    where = (
        f"send it to {' or '.join(others)}" if others else "GET /v1/convert/formats lists what is possible"
    )
    raise UnsupportedFormat(f"{endpoint.path} does not take {source}; {where}.", field=field)


def formats_view(registry: Registry, endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """What can be converted on this machine now: every format named, and the targets of each source."""
    conversions = _conversions(registry, {source for each in endpoints for source in each.sources})
    named = {*conversions, *(target for targets in conversions.values() for target in targets)}
    return {"formats": sorted(named), "conversions": conversions}


def _conversions(registry: Registry, sources: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    direct = _direct(registry)
    for source in sorted(sources):
        near = direct.get(source, set())
        candidates = near.union(*(direct.get(pivot, ()) for pivot in near))
        targets = [target for target in sorted(candidates) if _possible(registry, source, target)]
        if targets:
            found[source] = targets
    return found


def _direct(registry: Registry) -> Mapping[str, set[str]]:
    """Targets by source that some engine makes in one step."""
    table: dict[str, set[str]] = {}
    for operation, source, target in registry.steps:
        if operation == CONVERT:
            table.setdefault(source, set()).add(target)
    return table


def _possible(registry: Registry, source: str, target: str) -> bool:
    try:
        registry.plan(CONVERT, source, target)
    except (EngineMissing, UnsupportedFormat):
        return False
    return True
