"""``/formats``: what this machine can do."""

from __future__ import annotations

from typing import Any

import msgspec

from convertd.engines.registry import Registry
from convertd.model.formats import FORMATS


def formats_document(
    registry: Registry, *, operation: str | None = None, source: str | None = None, target: str | None = None
) -> dict[str, Any]:
    """All routes, or those of an operation, source or target; options as JSON Schema under ``$defs``."""
    routes = []
    kinds = []
    for (op, src, tgt), steps in sorted(registry.steps.items()):
        if (operation or op, source or src, target or tgt) != (op, src, tgt):
            continue
        step = next((step for step in steps if registry.availability[step.engine.name].ok), steps[0])
        availability = registry.availability[step.engine.name]
        route = {
            "operation": op,
            "source": src,
            "target": tgt,
            "engine": step.engine.name,
            "fidelity": step.capability.fidelity.value,
            "available": availability.ok,
            "options": {"$ref": f"#/$defs/{step.capability.options.__name__}"},
        }
        if not availability.ok:
            route["how_to_get"] = availability.hint
        routes.append(route)
        kinds.append(step.capability.options)
    _, definitions = msgspec.json.schema_components(
        sorted(set(kinds), key=lambda kind: kind.__name__), ref_template="#/$defs/{name}"
    )
    named = {route["source"] for route in routes} | {route["target"] for route in routes}
    return {
        "formats": {name: _format(name) for name in FORMATS if name in named},
        "engines": {
            name: _engine(registry, name) for name in sorted({str(route["engine"]) for route in routes})
        },
        "routes": routes,
        "$defs": definitions,
    }


def _format(name: str) -> dict[str, Any]:
    fmt = FORMATS[name]
    return {"media_type": fmt.media_type, "extensions": list(fmt.extensions), "family": fmt.family.value}


def _engine(registry: Registry, name: str) -> dict[str, Any]:
    availability = registry.availability[name]
    shown: dict[str, Any] = {"title": registry.engines[name].title, "available": availability.ok}
    return shown | (
        {"version": availability.version} if availability.ok else {"how_to_get": availability.hint}
    )
