"""What the tests of engines share, and those of stores."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from convertd.jobs.memory import MemoryStore
from convertd.jobs.sqlite import SqliteStore
from convertd.jobs.store import Store


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Each store of jobs, empty."""
    made: Store = MemoryStore() if request.param == "memory" else await SqliteStore.open(tmp_path / "jobs.db")
    yield made
    await made.close()


@pytest.fixture(autouse=True)
def ordinary_scheduling() -> Iterator[None]:
    """Take back the real-time priority that SVT-AV1 gives its caller's thread where that is root.

    A converting child may not have it; here the engine runs in the tests' own process, which would hand it
    on to every server that a later test starts.
    """
    yield
    if os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
