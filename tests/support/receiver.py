"""A server that is called back, and remembers it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from multidict import CIMultiDictProxy

PATIENCE = 60.0


@dataclass(frozen=True, kw_only=True)
class Received:
    """One callback as it arrived."""

    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.body)
        return told

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


@dataclass(kw_only=True)
class Receiver:
    """Answers with ``statuses`` in turn, the last from then on; each may come with headers."""

    statuses: Sequence[int] = (200,)
    headers: dict[str, str] = field(default_factory=dict)
    before: Callable[[], Awaitable[None]] | None = None
    """Done before each answer."""
    received: list[Received] = field(default_factory=list)
    port: int = 0
    _more: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def take(self, request: web.Request) -> web.Response:
        status = self.statuses[min(len(self.received), len(self.statuses) - 1)]
        self.received.append(Received(headers=request.headers, body=await request.read()))
        async with self._more:
            self._more.notify_all()
        if self.before is not None:
            await self.before()
        return web.Response(status=status, headers=self.headers, text=f"answer {status}")

    async def wait_for(self, count: int) -> list[Received]:
        """What has been received once it is so many."""
        async with asyncio.timeout(PATIENCE), self._more:
            await self._more.wait_for(lambda: len(self.received) >= count)
        return self.received

    @asynccontextmanager
    async def up(self) -> AsyncIterator[Receiver]:
        """Listening for as long as the context lasts, on the same port every time."""
        app = web.Application()
        app.router.add_post("/hook", self.take)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = runner.addresses[0][1]
        try:
            yield self
        finally:
            await runner.cleanup()
