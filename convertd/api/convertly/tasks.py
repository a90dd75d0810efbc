"""From wishes in the service's words to tasks that this machine can do."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Protocol

from convertd.api.convertly.forms import FILE_PARTS
from convertd.engines.registry import Registry
from convertd.errors import InvalidRequest
from convertd.jobs.submission import TaskRequest, check_gathered, target_of
from convertd.model.job import Artifact
from convertd.web.uploads import Upload

LOSSY: Final = frozenset(("jpg", "webp", "avif"))
"""Targets that the default of quality is for: another's is what its engine finds sensible."""


class Wish(Protocol):
    """What a request asks for, its text fields understood."""

    @property
    def operation(self) -> str:
        """That of the job as a whole."""

    @property
    def label(self) -> dict[str, str]:
        """What replies tell of it besides."""

    def whole(self, uploads: Sequence[Upload]) -> Collection[Upload]:
        """The files that are not unpacked, should they be archives."""

    def tasks(
        self, registry: Registry, inputs: Sequence[Artifact], origins: Sequence[int]
    ) -> tuple[TaskRequest, ...]:
        """What to do with the inputs, each of which is, or was unpacked from, the file of this number."""


def task(
    registry: Registry,
    artifacts: Sequence[Artifact],
    inputs: Sequence[int],
    *,
    operation: str,
    target: str | None,
    options: Mapping[str, Any],
    words: Mapping[str, str],
    called: str | None = None,
) -> TaskRequest:
    """One task with those of ``options`` that its route knows.

    The service's clients send all fields of a form, whether or not they mean something for the route.
    ``words`` are the service's names of options, and ``called`` is that of the operation where it has
    another: errors speak in them.
    """
    source = artifacts[inputs[0]].format
    wanted = TaskRequest(inputs=tuple(inputs), operation=operation, target=target)
    target = target_of(registry, wanted, source)
    plan = registry.plan(operation, source, target)
    sources = [artifacts[number].format for number in inputs]
    check_gathered(registry, plan, sources, operation=called or operation, field=FILE_PARTS[0])
    known = {
        name: value for name, value in options.items() if name in plan.option_names and value is not None
    }
    try:
        plan.parse_options(known)
    except InvalidRequest as error:
        raise _in_words(error, words) from error
    return TaskRequest(inputs=tuple(inputs), operation=operation, target=target, options=known)


def _in_words(error: InvalidRequest, words: Mapping[str, str]) -> InvalidRequest:
    message = error.message
    for name, word in words.items():
        message = re.sub(rf"\b{name}\b", word, message)
    field = error.field
    return InvalidRequest(message, field=words.get(field, field) if field is not None else None)
