"""Finding engines, and planning which of them a task needs."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import metadata
from types import MappingProxyType
from typing import Any, cast

import msgspec

import convertd.engines
from convertd.engines.base import Availability, Capability, Engine, Fidelity
from convertd.errors import EngineMissing, Unavailable, UnsupportedFormat
from convertd.model.formats import FORMATS, Family
from convertd.model.operations import CONVERT, THUMBNAIL, Options
from convertd.model.parsing import option_fields, parse_options

ENTRY_POINTS = "convertd.engines"
_FOLDERS = re.compile(r"(?<![\w.:/-])/(?:[^/\s'\"]+/)*")
_NOT_ENGINES = frozenset(("base", "registry"))

_PIVOTS: Mapping[str, tuple[str, ...]] = {CONVERT: ("pdf", "png"), THUMBNAIL: ("pdf",)}
"""Formats through which the planner may chain two engines, by operation. No other operation is chained: pages
made smaller or marked are no smaller or marked document, and what is told of a PDF is not told of the file
that came."""
_CHAINED_FAMILIES = frozenset((Family.DOCUMENT, Family.PRESENTATION, Family.SPREADSHEET, Family.TEXT))
"""Only documents are chained: a picture through PDF to text would be a route to nothing."""


def discover(extra_modules: Sequence[str] = ()) -> dict[str, Engine]:
    """All engines by name: this package's modules, ``extra_modules``, then the entry points of others.

    Raises :class:`Unavailable` that names a module which cannot be loaded or has no ``ENGINE``.
    """
    built_in = (
        f"{convertd.engines.__name__}.{found.name}"
        for found in pkgutil.iter_modules(convertd.engines.__path__)
        if found.name not in _NOT_ENGINES
    )
    engines = [_load(name, "ENGINE") for name in (*built_in, *extra_modules)]
    engines += [_load(entry.module, entry.attr) for entry in metadata.entry_points(group=ENTRY_POINTS)]
    return {engine.name: engine for engine in engines}


def _load(module: str, attribute: str) -> Engine:
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise Unavailable(f"The engine module {module} cannot be loaded: {error}.") from error
    if not isinstance(found, Engine):
        raise Unavailable(f"{attribute} of the engine module {module} is not an Engine.")
    return found


@dataclass(frozen=True, slots=True)
class Step:
    """One engine call of a plan."""

    engine: Engine
    capability: Capability


@dataclass(frozen=True, slots=True)
class Plan:
    """The engine calls, one after the other, that lead from the input to the target."""

    steps: tuple[Step, ...]

    @property
    def fidelity(self) -> Fidelity:
        """That of the weakest step."""
        return min((step.capability.fidelity for step in self.steps), key=lambda fidelity: fidelity.rank)

    def parse_options(self, given: Mapping[str, Any]) -> tuple[Options, ...]:
        """Each step's options from what the client gave; raises :class:`InvalidRequest` that names the field.

        Each goes to the last step that knows it: pages 2 and 3 of a document are counted once, where they
        become pictures. One that no step knows is refused.
        """
        kinds = [step.capability.options for step in self.steps]
        takers = {name: number for number, kind in enumerate(kinds) for name in option_fields(kind)}
        shares: list[dict[str, Any]] = [{} for _ in kinds]
        for name, value in given.items():
            shares[takers.get(name, -1)][name] = value
        return tuple(parse_options(kind, share) for kind, share in zip(kinds, shares, strict=True))

    @property
    def options(self) -> type[Options]:
        """What :meth:`parse_options` takes, as one kind to be described; not to be read into."""
        kinds = tuple(step.capability.options for step in self.steps)
        return kinds[0] if len(kinds) == 1 else _joined(kinds)

    @property
    def option_names(self) -> frozenset[str]:
        """Every option that some step knows."""
        return frozenset(name for step in self.steps for name in option_fields(step.capability.options))

    @property
    def engine_names(self) -> str:
        """``soffice+pdfium`` for a chain."""
        return "+".join(step.engine.name for step in self.steps)


@cache
def _joined(kinds: tuple[type[Options], ...]) -> type[Options]:
    """All options of ``kinds``; of those that several know, the last one's."""
    fields = {
        field.name: (field.name, field.type, field.default)
        for kind in kinds
        for field in msgspec.structs.fields(kind)
    }
    joined = msgspec.defstruct(
        "And".join(kind.__name__ for kind in kinds),
        fields.values(),
        bases=(Options,),
        namespace={"__doc__": " ".join(kind.__doc__ or "" for kind in kinds)},
        kw_only=True,
        frozen=True,
    )
    return cast("type[Options]", joined)


def _seen(probed: Availability, trouble: str | None) -> Availability:
    """What the probe says, unless the library was found and yet cannot be used."""
    if not probed.ok or trouble is None:
        return probed
    # Clients read hints, and a loader's complaint names files of this machine.
    return Availability(ok=False, hint=f"it cannot be loaded ({_FOLDERS.sub('', trouble)}).")


class Registry:
    """The engines of this machine: what they can do, and what is missing for the rest."""

    def __init__(
        self, engines: Mapping[str, Engine], disabled: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """Probes every engine once; a new installation is seen at the next start.

        ``disabled``: engine name → why the converting processes cannot use it, although it may be installed.
        """
        self.engines = engines
        self.availability: Mapping[str, Availability] = {
            name: _seen(engine.probe(), disabled.get(name)) for name, engine in engines.items()
        }

    @cached_property
    def steps(self) -> Mapping[tuple[str, str, str], tuple[Step, ...]]:
        """Candidates by (operation, source, target), in order of preference."""
        table: dict[tuple[str, str, str], list[Step]] = {}
        for engine in self.engines.values():
            for capability in engine.capabilities:
                key = (capability.operation, capability.source, capability.target)
                table.setdefault(key, []).append(Step(engine, capability))
        for candidates in table.values():
            candidates.sort(key=lambda step: -step.capability.fidelity.rank)
        return {key: tuple(candidates) for key, candidates in table.items()}

    @cached_property
    def routes(self) -> Mapping[tuple[str, str, str], tuple[Plan, ...]]:
        """What :meth:`plan` chooses from, best first: by (operation, source, target)."""
        sources = sorted({source for _, source, _ in self.steps})
        return {
            (operation, source, target): tuple(self._plans(operation, source, target))
            for operation in self.operations
            for source in sources
            for target in self.targets(operation, source)
        }

    def available(self, plan: Plan) -> bool:
        """Whether every engine of the plan is installed."""
        return all(self.availability[step.engine.name].ok for step in plan.steps)

    def plan(
        self, operation: str, source: str, target: str, *, min_fidelity: Fidelity = Fidelity.TEXT_ONLY
    ) -> Plan:
        """The best plan that this machine can run.

        Raises :class:`UnsupportedFormat` where no engine knows the route (or none in ``min_fidelity``) and
        :class:`EngineMissing`, with the hint how to get it, where one does but is not installed.
        """
        plans = self._plans(operation, source, target)
        if not plans:
            raise UnsupportedFormat(self._no_route(operation, source, target))
        faithful = [plan for plan in plans if plan.fidelity.rank >= min_fidelity.rank]
        if not faithful:
            best = max((plan.fidelity for plan in plans), key=lambda fidelity: fidelity.rank)
            raise UnsupportedFormat(
                f"{operation} {source} to {target} has fidelity {best.value} at best, "
                f"below the min_fidelity={min_fidelity.value} that was asked for."
            )
        for plan in faithful:
            if self.available(plan):
                return plan
        raise EngineMissing(self._missing(operation, source, target, faithful[0]))

    def _plans(self, operation: str, source: str, target: str) -> list[Plan]:
        """Single steps first (higher fidelity before lower), then chains through a pivot."""
        direct = [Plan((step,)) for step in self.steps.get((operation, source, target), ())]
        if source == target or FORMATS[source].family not in _CHAINED_FAMILIES:
            return direct
        chains = [
            Plan((first, second))
            for pivot in _PIVOTS.get(operation, ())
            if pivot not in (source, target)
            for first in self.steps.get((CONVERT, source, pivot), ())
            for second in self.steps.get((operation, pivot, target), ())
        ]
        return direct + chains

    def _missing(self, operation: str, source: str, target: str, plan: Plan) -> str:
        lacking = next(step.engine for step in plan.steps if not self.availability[step.engine.name].ok)
        hint = self.availability[lacking.name].hint
        return (
            f"{operation} {source} to {target} needs {lacking.title}, which this server does not have: {hint}"
        )

    def _no_route(self, operation: str, source: str, target: str) -> str:
        targets = self.targets(operation, source)
        if targets:
            possible = ", ".join(targets)
            return f"There is no way to {operation} {source} to {target}; possible targets: {possible}."
        others = [other for other in self.operations if self.targets(other, source)]
        if others:
            return f"There is no {operation} for {source}; it can: {', '.join(others)}."
        return f"convertd has no engine that reads {source}."

    def targets(self, operation: str, source: str) -> tuple[str, ...]:
        """Targets that some plan, of engines installed or not, has for the source."""
        known = {target for op, _, target in self.steps if op == operation}
        return tuple(sorted(target for target in known if self._plans(operation, source, target)))

    @cached_property
    def operations(self) -> tuple[str, ...]:
        """Every operation that some engine offers."""
        return tuple(sorted({operation for operation, _, _ in self.steps}))

    @cached_property
    def gathering(self) -> frozenset[str]:
        """Operations of which one task may take several files together."""
        return frozenset(
            capability.operation
            for engine in self.engines.values()
            for capability in engine.capabilities
            if capability.most_inputs > 1
        )

    @cached_property
    def option_names(self) -> frozenset[str]:
        """Every option of every operation: what a form or query may hold besides the request's own fields."""
        kinds: Iterable[type[Options]] = {
            capability.options for engine in self.engines.values() for capability in engine.capabilities
        }
        return frozenset(name for kind in kinds for name in option_fields(kind))
