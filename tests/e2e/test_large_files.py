"""Files larger than the server's memory may become: streamed in, streamed out."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import ClientSession, ClientTimeout

from tests.e2e.conftest import Start
from tests.support.api import Api

MB = 1024**2
SIZE = 160 * MB
LINE = b"The quick brown fox jumps over the lazy dog. 0123456789 ABCDEFG\n"
PIECE = LINE * (MB // len(LINE))


def peak_memory(pid: int) -> int:
    """The most that the process ever held resident, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


async def test_memory_does_not_grow_with_the_file(start: Start, session: ClientSession) -> None:
    server = start()
    api = Api(session, server.url)
    sent = hashlib.sha256()

    async def body() -> AsyncIterator[bytes]:
        for _ in range(SIZE // MB):
            sent.update(PIECE)
            yield PIECE

    query = {"to": "txt", "operation": "linger", "seconds": "0", "filename": "big.txt"}
    job = (await api.submit(body(), wait=30, **query)).job(200)
    assert job["status"] == "succeeded", job["error"]
    assert job["inputs"][0]["bytes"] == SIZE
    (output,) = job["outputs"]
    received = hashlib.sha256()
    async with session.get(output["url"], timeout=ClientTimeout(total=120)) as response:
        async for chunk in response.content.iter_chunked(MB):
            received.update(chunk)
    assert sent.hexdigest() == received.hexdigest() == output["sha256"] == job["inputs"][0]["sha256"]
    peak = peak_memory(server.pid)
    print(f"peak memory {peak / MB:.0f} MiB for a file of {SIZE // MB} MiB")
    assert peak < 100 * MB
