"""Breaks the sandbox of the process that imports it, as a machine might; and is an engine, to be imported."""

from __future__ import annotations

import errno
from typing import Any

from convertd.engines.base import Availability, Engine
from convertd.sandbox import limits
from tests.support.fake_engines import never


def _forbidden(*_: Any, **__: Any) -> None:
    raise PermissionError(errno.EACCES, "Permission denied")


limits.apply = _forbidden

ENGINE = Engine(
    name="breaker", title="breaker", capabilities=(), probe=lambda: Availability(ok=True), run=never
)
