"""``/formats``: what this machine can do."""

from __future__ import annotations

from typing import Any

import msgspec

from convertd.engines.registry import Plan, Registry
from convertd.model.formats import FORMATS


def formats_document(
    registry: Registry, *, operation: str | None = None, source: str | None = None, target: str | None = None
) -> dict[str, Any]:
    """All routes, or those of an operation, source or target; options as JSON Schema under ``$defs``."""
    wanted = {
        (op, src, tgt): next((plan for plan in plans if registry.available(plan)), plans[0])
        for (op, src, tgt), plans in sorted(registry.routes.items())
        if (operation or op, source or src, target or tgt) == (op, src, tgt)
    }
    routes = [{**_named(*key), **_route(registry, plan)} for key, plan in wanted.items()]
    kinds = {plan.options for plan in wanted.values()}
    _, definitions = msgspec.json.schema_components(
        sorted(kinds, key=lambda kind: kind.__name__), ref_template="#/$defs/{name}"
    )
    named = {route[end] for route in routes for end in ("source", "target")}
    engines = {step.engine.name for plan in wanted.values() for step in plan.steps}
    return {
        "formats": {name: _format(name) for name in FORMATS if name in named},
        "engines": {name: _engine(registry, name) for name in sorted(engines)},
        "routes": routes,
        "$defs": definitions,
    }


def _named(operation: str, source: str, target: str) -> dict[str, str]:
    return {"operation": operation, "source": source, "target": target}


def _route(registry: Registry, plan: Plan) -> dict[str, Any]:
    missing = [step.engine.name for step in plan.steps if not registry.availability[step.engine.name].ok]
    shown: dict[str, Any] = {
        "engine": plan.engine_names,
        "fidelity": plan.fidelity.value,
        "available": not missing,
        "options": {"$ref": f"#/$defs/{plan.options.__name__}"},
    }
    return shown | ({"how_to_get": registry.availability[missing[0]].hint} if missing else {})


def _format(name: str) -> dict[str, Any]:
    fmt = FORMATS[name]
    return {"media_type": fmt.media_type, "extensions": list(fmt.extensions), "family": fmt.family.value}


def _engine(registry: Registry, name: str) -> dict[str, Any]:
    availability = registry.availability[name]
    shown: dict[str, Any] = {"title": registry.engines[name].title, "available": availability.ok}
    return shown | (
        {"version": availability.version} if availability.ok else {"how_to_get": availability.hint}
    )
