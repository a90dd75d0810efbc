"""Names to addresses, in threads of their own."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult

_THREADS: Final = 64
"""More than the names whose servers never answer may well hold, each for half a minute."""
_ADDRESSES: Final = 8
"""More of one name's addresses are not tried: its owner chooses how many there are."""


class SystemResolver(AbstractResolver):
    """Asks the system, as ``getaddrinfo`` does.

    Not in the event loop's own threads: a name server that never answers would hold those for half a minute,
    and with them all work on files.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="convertd-names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises OSError for a name that has no address."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, _resolve, host, port, family)

    async def close(self) -> None:
        """Waits for nothing: a lookup cannot be stopped."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _resolve(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    try:
        found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except UnicodeError as error:
        raise OSError(f"no name: {error}") from error
    return [
        ResolveResult(
            hostname=host,
            host=str(place[0]),
            port=port,
            family=kind,
            proto=proto,
            flags=socket.AI_NUMERICHOST,
        )
        for kind, _, proto, _, place in found[:_ADDRESSES]
    ]
