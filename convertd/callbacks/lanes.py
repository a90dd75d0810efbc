"""Shares the attempts at deliveries among accounts, hosts and endpoints.

A lane holds one attempt under way. An endpoint is a URL without its query. To an account it is silent from an
attempt that got no answer until one that gets one, and has a single lane meanwhile. What was not tried before
is not known to be silent: it can hold lanes of its account, but no others, for as long as an attempt takes.
Accounts that do so together can take all there are for that time.
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
PER_HOST: Final = 16
"""Of all lanes, to one host."""
PER_ACCOUNT_AND_HOST: Final = PER_HOST // 2
"""Of these, for one account."""
SILENT_PER_HOST: Final = PER_ACCOUNT_AND_HOST // 2
"""Of the lanes to a host, for silent endpoints: fewer than one account has, so that its others go on."""
_SILENT_KNOWN: Final = 1000

K = TypeVar("K", bound=Hashable)


class Lanes:
    """Who holds them, and who was silent the last time."""

    def __init__(self) -> None:
        self._taken: dict[str, DueDelivery] = {}
        self._silent: dict[tuple[str, str], str] = {}  # with its host, the longest known first

    def take(self, due: DueDelivery) -> None:
        """An attempt begins."""
        self._taken[due.id] = due

    def leave(self, due: DueDelivery) -> None:
        """It has ended."""
        del self._taken[due.id]

    def note(self, due: DueDelivery, *, silent: bool) -> None:
        """Whether there was no answer."""
        self._silent.pop(_way(due), None)
        if silent:
            self._silent[_way(due)] = due.host
        if len(self._silent) > _SILENT_KNOWN:
            del self._silent[next(iter(self._silent))]

    def blocked(self) -> Blocked:
        """What can have no further lane now; that all may be taken is left out of account."""
        taken = self._taken.values()
        silent = [due for due in taken if _way(due) in self._silent]
        loud_only = _full((due.host for due in silent), SILENT_PER_HOST)
        return Blocked(
            accounts=_full((due.account for due in taken), PER_ACCOUNT),
            hosts=_full((due.host for due in taken), PER_HOST),
            account_hosts=_full(((due.account, due.host) for due in taken), PER_ACCOUNT_AND_HOST),
            account_endpoints={_way(due) for due in silent}
            | {way for way, host in self._silent.items() if host in loud_only},
        )


def _way(due: DueDelivery) -> tuple[str, str]:
    return due.account, due.endpoint


def _full(holders: Iterable[K], most: int) -> set[K]:
    return {holder for holder, lanes in Counter(holders).items() if lanes >= most}
