"""A store in memory, for unit tests and for trying things out: same contract, nothing survives."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from convertd.jobs.store import (
    DELIVERIES_SHOWN,
    NONE_BLOCKED,
    Blocked,
    Brief,
    Cursor,
    DeliveryRule,
    Due,
    DueDelivery,
    IdempotencyKey,
    Reservation,
    Rule,
    SecretsRule,
    Selection,
    overtaken,
)
from convertd.model.callback import Delivery, SigningSecrets, owed
from convertd.model.job import Artifact, Job, State
from convertd.model.usage import Usage, counted


@dataclass(slots=True)
class _Taken:
    until: float
    job_id: str | None = None
    fingerprint: str | None = None


class MemoryStore:
    """Implements :class:`convertd.jobs.store.Store` on dictionaries."""

    def __init__(self) -> None:
        """Starts empty."""
        self._jobs: dict[str, Job] = {}
        self._keys: dict[tuple[str, str], _Taken] = {}
        self._deliveries: dict[str, Delivery] = {}
        self._secrets: dict[str, SigningSecrets] = {}
        self._usage: defaultdict[tuple[str, str, str], Usage] = defaultdict(Usage)

    async def insert(self, job: Job, key: IdempotencyKey | None = None) -> None:
        if key is not None:
            taken = self._keys.get((key.account, key.key))
            if taken is not None and taken.job_id is not None and taken.until > job.created_at:
                raise overtaken()
            self._keys[key.account, key.key] = _Taken(key.expires_at, job.id, key.fingerprint)
        self._jobs[job.id] = job

    async def get(self, job_id: str) -> Job | None:
        return self._jobs.get(job_id)

    async def update(self, job_id: str, rule: Rule, *, durable: bool = True) -> Job | None:
        job = self._jobs.get(job_id)
        changed = rule(job) if job is not None else None
        if job is None or changed is None:
            return None
        self._jobs[job_id] = changed = replace(changed, version=job.version + 1)
        self._deliveries |= {delivery.id: delivery for delivery in owed(job, changed)}
        if (counting := counted(job, changed)) is not None:
            month, usage = counting
            self._usage[job.account, job.dialect, month] += usage
        return changed

    async def claim(self, rule: Rule, *, now: float) -> Job | None:
        ready = [job for job in self._queued() if job.run_after <= now]
        if not ready:
            return None
        first = min(ready, key=lambda job: (job.run_after, job.id))
        return await self.update(first.id, rule, durable=False)

    def _queued(self) -> list[Job]:
        return [job for job in self._jobs.values() if job.state is State.QUEUED]

    async def delete(self, job_id: str, *, ended_by: float) -> Job | None:
        job = self._jobs.get(job_id)
        if job is None or job.finished_at is None or job.finished_at > ended_by:
            return None
        self._drop([key for key, taken in self._keys.items() if taken.job_id == job_id])
        return self._jobs.pop(job_id)

    async def brief(self, job_id: str) -> Brief | None:
        job = self._jobs.get(job_id)
        return Brief(job.account, job.version, job.state, job.token) if job is not None else None

    async def page(
        self, selection: Selection, *, after: Cursor | None = None, offset: int = 0, limit: int
    ) -> list[Job]:
        found = [
            job
            for job in self._selected(selection)
            if after is None or (job.created_at, job.id) < (after.created_at, after.id)
        ]
        found.sort(key=lambda job: (job.created_at, job.id), reverse=True)
        return found[offset : offset + limit]

    async def count(self, selection: Selection) -> int:
        return len(self._selected(selection))

    def _selected(self, selection: Selection) -> list[Job]:
        return [
            job
            for job in self._jobs.values()
            if job.account == selection.account
            and selection.dialect in (None, job.dialect)
            and (not selection.states or job.state in selection.states)
        ]

    async def due(self, what: Due, *, before: float, limit: int) -> list[str]:
        found = []
        for job in self._jobs.values():
            time = getattr(job, what.value)
            applies = {
                Due.LEASE: job.state is State.RUNNING,
                Due.DEADLINE: not job.state.terminal,
                Due.EXPIRY: job.state.terminal,
                Due.REMOVAL: job.state.terminal,
            }[what]
            if applies and time is not None and time <= before:
                found.append((time, job.id))
        return [job_id for _, job_id in sorted(found)[:limit]]

    async def waiting(self) -> int:
        return len(self._queued())

    async def ahead_of(self, job: Job) -> int:
        return sum((other.run_after, other.id) < (job.run_after, job.id) for other in self._queued())

    async def output(self, key: str) -> Artifact | None:
        outputs = (output for job in self._jobs.values() for output in job.outputs)
        return next((output for output in outputs if output.key == key), None)

    async def known(self, keys: Collection[str]) -> set[str]:
        return set(keys) & {key for job in self._jobs.values() for key in job.keys_kept}

    async def reserve(self, account: str, key: str, *, now: float, until: float) -> Reservation | None:
        taken = self._keys.get((account, key))
        if taken is not None and taken.until > now:
            return Reservation(job_id=taken.job_id, fingerprint=taken.fingerprint)
        self._keys[account, key] = _Taken(until)
        return None

    async def release(self, account: str, key: str) -> None:
        taken = self._keys.get((account, key))
        if taken is not None and taken.job_id is None:
            del self._keys[account, key]

    async def forget(self, *, before: float) -> int:
        return self._drop([key for key, taken in self._keys.items() if taken.until <= before])

    async def void(self) -> int:
        return self._drop([key for key, taken in self._keys.items() if taken.job_id is None])

    def _drop(self, keys: Sequence[tuple[str, str]]) -> int:
        for key in keys:
            del self._keys[key]
        return len(keys)

    async def delivery(self, delivery_id: str) -> Delivery | None:
        return self._deliveries.get(delivery_id)

    async def add_delivery(self, delivery: Delivery) -> None:
        self._deliveries[delivery.id] = delivery

    async def update_delivery(self, delivery_id: str, rule: DeliveryRule) -> Delivery | None:
        delivery = self._deliveries.get(delivery_id)
        changed = rule(delivery) if delivery is not None else None
        if changed is not None:
            self._deliveries[delivery_id] = changed
        return changed

    async def due_deliveries(
        self, *, before: float, blocked: Blocked = NONE_BLOCKED, limit: int
    ) -> list[DueDelivery]:
        due = sorted(
            (delivery.next_at, DueDelivery(delivery.id, delivery.account, delivery.host, delivery.endpoint))
            for delivery in self._deliveries.values()
            if delivery.next_at is not None and delivery.next_at <= before
        )
        return [one for _, one in due if not blocked.holds(one)][:limit]

    async def next_delivery_at(self, *, after: float = 0.0) -> float | None:
        times = (delivery.next_at for delivery in self._deliveries.values() if delivery.next_at is not None)
        return min((next_at for next_at in times if next_at > after), default=None)

    async def deliveries_of_job(self, job_id: str) -> list[Delivery]:
        found = (each for each in self._deliveries.values() if each.job is not None and each.job.id == job_id)
        return sorted(found, key=_age)[-DELIVERIES_SHOWN:]

    async def page_deliveries(self, account: str, *, dialect: str | None, limit: int) -> list[Delivery]:
        found = (
            delivery
            for delivery in self._deliveries.values()
            if delivery.account == account and dialect in (None, delivery.dialect)
        )
        return sorted(found, key=_age, reverse=True)[:limit]

    async def forget_deliveries(self, *, before: float) -> int:
        old = [
            delivery.id
            for delivery in self._deliveries.values()
            if delivery.finished_at is not None and delivery.finished_at <= before
        ]
        for delivery_id in old:
            del self._deliveries[delivery_id]
        return len(old)

    async def signing_secrets(self, account: str) -> SigningSecrets | None:
        return self._secrets.get(account)

    async def update_signing_secrets(self, account: str, rule: SecretsRule) -> SigningSecrets:
        self._secrets[account] = rule(self._secrets.get(account))
        return self._secrets[account]

    async def count_usage(self, account: str, *, dialect: str | None, since_month: str | None) -> Usage:
        found = (
            usage
            for (owner, spoken, month), usage in self._usage.items()
            if owner == account
            and dialect in (None, spoken)
            and (since_month is None or month >= since_month)
        )
        return sum(found, Usage())

    async def close(self) -> None:
        self._jobs.clear()


def _age(delivery: Delivery) -> tuple[float, str]:
    return delivery.created_at, delivery.id
