"""Shares the attempts at deliveries among accounts, hosts and endpoints.

A lane holds an attempt until it ends or had no answer for :data:`PATIENCE`; then it stands aside, where there
is room for more. An endpoint is a URL without its query. To an account it is silent from an attempt that got
no answer until one that gets one, and has a single attempt at a time meanwhile; an account's silent endpoints
together have few. So what is known to be silent delays nobody, and what was not tried before nobody for long,
up to :data:`PER_ACCOUNT_UNDER_WAY` of an account at a time: with more, its own have to wait until attempts
end, and so have all where accounts do that together. At one host, an account's endpoints that were not tried
before may also keep its others waiting for as long as an attempt takes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from typing import Final, TypeVar

from convertd.jobs.store import Blocked, DueDelivery

AT_ONCE: Final = 64
"""Lanes there are."""
PER_ACCOUNT: Final = AT_ONCE // 2
"""Of these, for one account."""
PATIENCE: Final = 1.0
"""For so many seconds an attempt has its lane for itself."""
UNDER_WAY: Final = 4 * AT_ONCE
"""Attempts there may be, those aside included: each has a connection open."""
PER_ACCOUNT_UNDER_WAY: Final = UNDER_WAY // 2
"""Of these, of one account."""
PER_HOST: Final = 16
"""Of all attempts, at one host."""
PER_ACCOUNT_AND_HOST: Final = PER_HOST // 2
"""Of these, of one account."""
SILENT_PER_HOST: Final = PER_ACCOUNT_AND_HOST // 2
"""Of the attempts at a host, at silent endpoints: fewer than one account has, so that its others go on."""
SILENT_PER_ACCOUNT: Final = PER_ACCOUNT // 4
"""Of an account's attempts, at silent endpoints, for the same reason."""
_SILENT_KNOWN: Final = 1000

K = TypeVar("K", bound=Hashable)


class Lanes:
    """Who holds them or stands aside, and who was silent the last time."""

    def __init__(self) -> None:
        self._under_way: dict[str, tuple[DueDelivery, float]] = {}  # with the end of its time in a lane
        self._silent: dict[tuple[str, str], str] = {}  # with its host, the longest known first

    def take(self, due: DueDelivery, now: float) -> None:
        """An attempt begins."""
        self._under_way[due.id] = due, now + PATIENCE

    def leave(self, due: DueDelivery) -> None:
        """It has ended."""
        del self._under_way[due.id]

    def note(self, due: DueDelivery, *, silent: bool) -> None:
        """Whether there was no answer."""
        self._silent.pop(_way(due), None)
        if silent:
            self._silent[_way(due)] = due.host
        if len(self._silent) > _SILENT_KNOWN:
            del self._silent[next(iter(self._silent))]

    def full(self, now: float) -> bool:
        """Whether nothing more can begin, whosever it is."""
        return len(self._in_lanes(now)) >= AT_ONCE or len(self._under_way) >= UNDER_WAY

    def frees_at(self, now: float) -> float | None:
        """When the next attempt stands aside, unless it ends before; ``None`` if none has a lane."""
        return min((until for _, until in self._under_way.values() if now < until), default=None)

    def blocked(self, now: float) -> Blocked:
        """What can have no further attempt now; whether nothing can is :meth:`full`."""
        under_way = [due for due, _ in self._under_way.values()]
        silent = [due for due in under_way if _way(due) in self._silent]
        hosts = _full((due.host for due in silent), SILENT_PER_HOST)
        accounts = _full((due.account for due in silent), SILENT_PER_ACCOUNT)
        return Blocked(
            accounts=_full((due.account for due in self._in_lanes(now)), PER_ACCOUNT)
            | _full((due.account for due in under_way), PER_ACCOUNT_UNDER_WAY),
            hosts=_full((due.host for due in under_way), PER_HOST),
            account_hosts=_full(((due.account, due.host) for due in under_way), PER_ACCOUNT_AND_HOST),
            account_endpoints={_way(due) for due in silent}
            | {way for way, host in self._silent.items() if host in hosts or way[0] in accounts},
        )

    def _in_lanes(self, now: float) -> list[DueDelivery]:
        return [due for due, until in self._under_way.values() if now < until]


def _way(due: DueDelivery) -> tuple[str, str]:
    return due.account, due.endpoint


def _full(holders: Iterable[K], most: int) -> set[K]:
    return {holder for holder, lanes in Counter(holders).items() if lanes >= most}
