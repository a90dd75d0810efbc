"""Recurring duties: rescue, deadlines, retention."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from convertd.jobs.ledger import Clock

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Duty:
    """Something to do every ``every`` seconds."""

    name: str
    every: float
    run: Callable[[], Awaitable[int]]
    """Does what is due now and says how much that was."""


class Housekeeping:
    """Runs each duty in its rhythm; a duty that fails is logged and tried again next time."""

    def __init__(self, duties: Sequence[Duty], *, clock: Clock) -> None:
        """Does nothing before :meth:`start`."""
        self._due = {duty.name: (0.0, duty) for duty in duties}
        self._clock = clock
        self._loop: asyncio.Task[None] | None = None

    async def run_once(self, now: float) -> dict[str, int]:
        """Do every duty whose time has come; how much each did."""
        done: dict[str, int] = {}
        for name, (due, duty) in list(self._due.items()):
            if 0 < due - now <= duty.every:  # further away than that: the clock was set back
                continue
            self._due[name] = (now + duty.every, duty)
            try:
                done[name] = await duty.run()
            except Exception:
                log.exception("housekeeping: %s failed", name)
        return done

    def start(self) -> None:
        """Begin the rounds."""
        self._loop = asyncio.create_task(self._forever(), name="housekeeping")

    async def stop(self) -> None:
        """End them."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.wait([self._loop])

    async def _forever(self) -> None:
        while True:
            await self.run_once(self._clock())
            next_due = min(due for due, _ in self._due.values())
            await asyncio.sleep(max(next_due - self._clock(), 0.1))
