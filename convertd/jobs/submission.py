"""From what a client asks for to a job: every check that needs no decoding happens here.

A wrong option, an impossible route or a missing engine is an error of the request, never a job that fails
later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from convertd.engines.base import Fidelity
from convertd.engines.registry import Plan, Registry
from convertd.errors import InvalidRequest
from convertd.model.formats import FORMATS, Family, known_format
from convertd.model.job import Artifact, Callback, Task
from convertd.model.operations import DEFAULT_TARGETS, SAME


class TaskRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One task as a dialect read it from the request."""

    inputs: tuple[int, ...]
    operation: str
    target: str | None
    """A word for the target format, or ``None`` for the operation's default."""
    options: Mapping[str, Any] = {}
    min_fidelity: Fidelity = Fidelity.TEXT_ONLY


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """A request for a job, its inputs stored already."""

    job_id: str
    account: str
    dialect: str
    operation: str
    inputs: tuple[Artifact, ...]
    tasks: tuple[TaskRequest, ...]
    metadata: dict[str, Any] = {}
    extras: dict[str, Any] = {}
    callback: Callback | None = None


def check_operation(registry: Registry, operation: str) -> None:
    """Raises :class:`InvalidRequest` that lists the operations for an unknown one."""
    if operation not in registry.operations:
        raise InvalidRequest(
            f"Unknown operation {operation[:40]!r}; it is one of {', '.join(registry.operations)}.",
            field="operation",
        )


def plan_task(registry: Registry, inputs: Sequence[Artifact], request: TaskRequest) -> Task:
    """Check one task against what this machine can do and fix its engine and fidelity."""
    check_operation(registry, request.operation)
    sources = [inputs[number].format for number in request.inputs]
    source = sources[0]
    target = target_of(registry, request, source)
    plan = registry.plan(request.operation, source, target, min_fidelity=request.min_fidelity)
    check_gathered(registry, plan, sources, operation=request.operation, field="file")
    plan.parse_options(request.options)
    return Task(
        inputs=request.inputs,
        operation=request.operation,
        source=source,
        target=target,
        options=dict(request.options),
        engine=plan.engine_names,
        fidelity=plan.fidelity.value,
    )


def check_gathered(
    registry: Registry, plan: Plan, sources: Sequence[str], *, operation: str, field: str
) -> None:
    """Whether the task has as many inputs as it takes, and each has a format that may come along.

    ``operation`` and ``field`` are what the request calls the work and its files. Raises
    :class:`InvalidRequest` and :class:`UnsupportedFormat`.
    """
    capability = plan.steps[0].capability
    least, most = capability.least_inputs, capability.most_inputs
    if not least <= len(sources) <= most:
        takes = f"{least} to {most} files" if most > least else f"{least} file{'s' * (least > 1)}"
        raise InvalidRequest(f"{operation} takes {takes} at a time; {len(sources)} came.", field=field)
    for source in sources[1:]:
        registry.plan(capability.operation, source, capability.target)


def target_of(registry: Registry, request: TaskRequest, source: str) -> str:
    """The target format that the request names, or its operation's default for the source."""
    if request.target is not None:
        return known_format(request.target, field="to").name
    default = DEFAULT_TARGETS.get(request.operation)
    if default is None:
        raise InvalidRequest(f"'to' is missing: the target format of {request.operation}.", field="to")
    possible = registry.targets(request.operation, source)
    if default == SAME:
        return source if source in possible or not possible else _nearest(source, possible)
    return default


def _nearest(source: str, possible: Sequence[str]) -> str:
    """A target for formats that can be read but not written: the common one of the family."""
    usual: str | None = {Family.PICTURE: "jpg", Family.VIDEO: "mp4", Family.SOUND: "mp3"}.get(
        FORMATS[source].family
    )
    return usual if usual is not None and usual in possible else possible[0]
