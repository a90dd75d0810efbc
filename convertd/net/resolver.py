"""Names to addresses, in threads of their own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from concurrent.futures import Future
from functools import partial
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult

PER_ACCOUNT: Final = 16
"""Names that are looked up for an account at a time."""
_ADDRESSES: Final = 8
"""More of one name's addresses are not tried: its owner chooses how many there are."""


class Lookups:
    """What accounts have looked up.

    A name server that never answers holds a thread for half a minute, long after whoever asked has given up.
    So an account's lookups count until their threads have ended, and past so many the account waits; no other
    does. The threads are daemons: a process that stops waits for none of them.
    """

    def __init__(self) -> None:
        self._slots: dict[str, asyncio.Semaphore] = {}

    def of(self, account: str) -> AbstractResolver:
        """A resolver that works for the account."""
        return _SystemResolver(self._slots.setdefault(account, asyncio.Semaphore(PER_ACCOUNT)))


class _SystemResolver(AbstractResolver):
    """Asks the system, as ``getaddrinfo`` does: it alone knows all sources of names that the machine has."""

    def __init__(self, slots: asyncio.Semaphore) -> None:
        self._slots = slots

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises OSError for a name that has no address."""
        await self._slots.acquire()
        outcome: Future[list[ResolveResult]] = Future()
        outcome.set_running_or_notify_cancel()  # whoever asks may give up; the lookup cannot
        outcome.add_done_callback(partial(self._ended, asyncio.get_running_loop()))
        look_up = partial(_settle, outcome, host, port, family)
        try:
            threading.Thread(target=look_up, name="convertd-name", daemon=True).start()
        except RuntimeError as error:  # the host lets this process have no more
            outcome.set_exception(OSError(f"no thread to look up a name: {error}"))
        return await asyncio.wrap_future(outcome)

    def _ended(self, loop: asyncio.AbstractEventLoop, _: Future[list[ResolveResult]]) -> None:
        with contextlib.suppress(RuntimeError):  # the server stopped meanwhile
            loop.call_soon_threadsafe(self._slots.release)

    async def close(self) -> None:
        """Nothing is kept."""


def _settle(outcome: Future[list[ResolveResult]], host: str, port: int, family: socket.AddressFamily) -> None:
    try:
        outcome.set_result(_resolve(host, port, family))
    except BaseException as error:
        outcome.set_exception(error)


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
