"""The only writer of state: everything that happens to a job is a rule applied here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from convertd.jobs.hints import Bus, WorkDispatcher
from convertd.jobs.store import Rule, Store
from convertd.model.job import Job, Retention

Clock = Callable[[], float]
"""Seconds since the epoch."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The figures by which jobs live; durations in seconds."""

    queue: int
    attempts: int
    deadline: float
    lease: float
    retry_delay: float
    retention: Retention
    keep_rows: float
    keep_keys: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Ledger:
    """The jobs, who is told of changes, and the figures they live by.

    The service (for clients), the leases (for workers) and the upkeep (for time) act on jobs through it.
    """

    store: Store
    bus: Bus
    work: WorkDispatcher
    """Woken when there may be a job to claim."""
    owed: WorkDispatcher
    """Woken when something may be owed to a callback."""
    policy: Policy
    clock: Clock

    async def change(self, job_id: str, rule: Rule, *, durable: bool = True) -> Job | None:
        """Apply the rule in one transaction and hint at the change; ``None`` where it does not apply."""
        changed = await self.store.update(job_id, rule, durable=durable)
        if changed is not None:
            self.tell(changed)
        return changed

    def tell(self, changed: Job) -> None:
        """Hint at a change that is committed, and at the delivery that is owed where it was the end."""
        self.bus.publish(changed.id)
        if changed.callback is not None and changed.state.terminal:
            self.owed.announce()
