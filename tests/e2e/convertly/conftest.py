"""The service's client against the shared server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.e2e.convertly.client import Convertly, connected
from tests.support.server import ServerProcess


@pytest.fixture
async def convertly(server: ServerProcess) -> AsyncIterator[Convertly]:
    async with connected(server.url) as client:
        yield client
