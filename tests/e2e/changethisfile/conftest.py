"""The server that ChangeThisFile's programs talk to here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from aiohttp import ClientSession

from tests.e2e.changethisfile.client import Client
from tests.e2e.conftest import FAST
from tests.support.api import Api
from tests.support.receiver import Receiver
from tests.support.server import ServerProcess, engines, serving


@pytest.fixture(scope="package")
def allowing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that calls back to this machine, soon."""
    settings = {"CONVERTD_OUTBOUND_ALLOW": "127.0.0.1", "CONVERTD_CALLBACKS_RETRY_DELAY": "1ms"}
    env = FAST | engines("slow_engine") | settings
    with serving(tmp_path_factory.mktemp("changethisfile") / "data", env) as process:
        yield process


@pytest.fixture
def client(allowing: ServerProcess, session: ClientSession) -> Client:
    return Client(Api(session, allowing.url))


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    async with receiver.up():
        yield receiver
