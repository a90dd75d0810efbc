"""How often an account may ask for work."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from convertd.errors import RateLimited
from convertd.jobs.ledger import Clock

WINDOW_SECONDS: Final = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """How an account stands in the current window."""

    limit: int
    remaining: int
    resets_at: int
    """When the next window begins, in seconds since the epoch."""


class RateLimiter:
    """Counts requests for work by account in windows of one minute; polls and downloads are not counted."""

    def __init__(self, limit: int, clock: Clock) -> None:
        """``limit``: requests in a window; 0 for no limit."""
        self._limit = limit
        self._clock = clock
        self._window = 0
        self._taken: dict[str, int] = {}

    def look(self, account: str) -> Rate | None:
        """How the account stands; ``None`` where there is no limit."""
        if not self._limit:
            return None
        window = int(self._clock()) // WINDOW_SECONDS
        if window != self._window:
            self._window = window
            self._taken.clear()
        return Rate(
            limit=self._limit,
            remaining=max(self._limit - self._taken.get(account, 0), 0),
            resets_at=(window + 1) * WINDOW_SECONDS,
        )

    def take(self, account: str) -> None:
        """Count a request; raises :class:`RateLimited` when the window's are used up."""
        rate = self.look(account)
        if rate is None:
            return
        if rate.remaining == 0:
            raise RateLimited(
                f"More than {rate.limit} requests for work within a minute (limits.rate); wait a little.",
                retry_after=max(math.ceil(rate.resets_at - self._clock()), 1),
            )
        self._taken[account] = self._taken.get(account, 0) + 1
