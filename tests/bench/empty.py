"""An aiohttp server with one empty handler, in a process of its own; prints its port."""

from __future__ import annotations

import asyncio

from aiohttp import web


async def _nothing(request: web.Request) -> web.Response:
    return web.Response()


async def _serve() -> None:
    app = web.Application()
    app.router.add_get("/jobs/{id}", _nothing)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve())
