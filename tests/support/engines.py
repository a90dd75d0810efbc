"""Driving an engine in this process, as the sandbox's child would."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from convertd.engines.base import Call, Capability, Engine, Limits, Product
from convertd.model.parsing import parse_options


def capability(engine: Engine, operation: str, source: str, target: str) -> Capability:
    """The one declared capability for the route."""
    found = [
        c for c in engine.capabilities if (c.operation, c.source, c.target) == (operation, source, target)
    ]
    assert len(found) == 1, f"{len(found)} capabilities for {operation} {source} {target}"
    return found[0]


def run(
    engine: Engine,
    operation: str,
    source: str,
    target: str,
    path: Path,
    out_dir: Path,
    *,
    limits: Limits | None = None,
    report: Callable[[float], None] = lambda done: None,
    others: Sequence[tuple[str, Path]] = (),
    **options: Any,
) -> list[tuple[Path, Product]]:
    """Every product with its file. Options are parsed as a request's are; ``others`` are further inputs, each
    with its format."""
    out_dir.mkdir(parents=True, exist_ok=True)
    call = Call(
        operation=operation,
        target=target,
        options=parse_options(capability(engine, operation, source, target).options, options),
        inputs=(path, *(other for _, other in others)),
        sources=(source, *(name for name, _ in others)),
        names=(path.name, *(other.name for _, other in others)),
        output_dir=out_dir,
        limits=limits or Limits(),
        report=report,
    )
    return [(out_dir / product.name, product) for product in engine.run(call)]
