"""What all engine tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def ordinary_scheduling() -> Iterator[None]:
    """Take back the real-time priority that SVT-AV1 gives its caller's thread where that is root.

    A converting child may not have it; here the engine runs in the tests' own process, which would hand it
    on to every server that a later test starts.
    """
    yield
    if os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
