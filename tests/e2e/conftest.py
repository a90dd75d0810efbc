"""The running server and its clients."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from aiohttp import ClientSession, TCPConnector

from tests.support.api import Api
from tests.support.server import ServerProcess, engines, serving

Start = Callable[..., ServerProcess]

FAST = {"CONVERTD_JOBS_RETRY_DELAY": "100ms", "CONVERTD_JOBS_GRACE": "20s"}


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all tests that do it no harm."""
    env = FAST | engines("slow_engine", "probe_engine")
    with serving(tmp_path_factory.mktemp("shared") / "data", env) as process:
        yield process


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts servers with settings of their own (environment variables without the prefix)."""
    with ExitStack() as stack:

        def start_one(*arguments: str, data_dir: Path | None = None, **settings: str) -> ServerProcess:
            given = {f"CONVERTD_{name}": value for name, value in settings.items()}
            env = FAST | engines("slow_engine", "probe_engine") | given
            process = ServerProcess(data_dir or tmp_path / "data", *arguments, env=env)
            stack.callback(process.dispose)
            return process.start()

        yield start_one


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession(connector=TCPConnector(limit=0)) as session:
        yield session


@pytest.fixture
def api(server: ServerProcess, session: ClientSession) -> Api:
    """A client of the shared server."""
    return Api(session, server.url)
