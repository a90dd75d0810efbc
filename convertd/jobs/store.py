"""What a store of jobs is. ``sqlite.py`` and ``memory.py`` implement it and pass one contract suite.

All rules live in :mod:`convertd.model.job`; a store runs a rule on the current row inside a transaction.
Methods raise :class:`~convertd.errors.StorageFull` when the disk is full and
:class:`~convertd.errors.Unavailable` when the store cannot be reached or stays locked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import StrEnum
from typing import NamedTuple, Protocol

import msgspec

from convertd.errors import IdempotencyInFlight
from convertd.model.job import Artifact, Job, State

Rule = Callable[[Job], Job | None]
"""A pure function from the current job to the changed one, or ``None`` to leave it."""


class Due(StrEnum):
    """Times that housekeeping watches; the value is the store's field."""

    LEASE = "lease_until"
    DEADLINE = "deadline"
    EXPIRY = "next_expiry"
    REMOVAL = "finished_at"


class Reservation(msgspec.Struct, frozen=True, kw_only=True):
    """An idempotency key that is taken. ``job_id`` is ``None`` while the first request is in flight."""

    job_id: str | None
    fingerprint: str | None


class IdempotencyKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key to be recorded with the job that it made."""

    account: str
    key: str
    fingerprint: str
    expires_at: float


def overtaken() -> IdempotencyInFlight:
    """The error for a request that outlasted its reservation, while another with its key got through."""
    return IdempotencyInFlight(
        "Another request with this Idempotency-Key made a job meanwhile; send it again to get the answer.",
        retry_after=1,
    )


class Brief(NamedTuple):
    """What of a job is looked at most often."""

    account: str
    version: int
    state: State
    token: str | None


class Cursor(msgspec.Struct, frozen=True):
    """Where a listing goes on: after this job, newest first."""

    created_at: float
    id: str


class JobStore(Protocol):
    """Jobs as rows."""

    async def insert(self, job: Job, key: IdempotencyKey | None = None) -> None:
        """Keep a new job and, in the same transaction, its idempotency key; durable on return.

        Raises :class:`~convertd.errors.IdempotencyInFlight` where the key has made a job meanwhile.
        """

    async def get(self, job_id: str) -> Job | None:
        """The job as last committed."""

    async def update(self, job_id: str, rule: Rule, *, durable: bool = True) -> Job | None:
        """Apply ``rule`` in one transaction; the changed job (version + 1) or ``None`` if it left it.

        What is not ``durable`` survives the process, but may be lost with the machine's power.
        """

    async def claim(self, rule: Rule, *, now: float) -> Job | None:
        """Apply ``rule`` to the ready job that has waited longest, if there is one; not durable."""

    async def delete(self, job_id: str, *, ended_by: float) -> Job | None:
        """Remove rows and key of a job that had ended by then, and return it as it was; else ``None``."""


class JobQueries(Protocol):
    """What is asked about jobs."""

    async def brief(self, job_id: str) -> Brief | None:
        """How a job stands, at the least cost."""

    async def page(self, account: str, *, state: State | None, after: Cursor | None, limit: int) -> list[Job]:
        """Jobs of an account, newest first."""

    async def due(self, what: Due, *, before: float, limit: int) -> list[str]:
        """Ids of jobs whose time ``what`` is at or before ``before``: running ones for LEASE, unfinished
        ones for DEADLINE, ended ones for EXPIRY and REMOVAL."""

    async def waiting(self) -> int:
        """How many jobs are queued; of a long queue as it was up to a second ago."""

    async def ahead_of(self, job: Job) -> int:
        """How many queued jobs will be claimed before this one."""

    async def output(self, key: str) -> Artifact | None:
        """The output with this blob key."""

    async def known(self, keys: Collection[str]) -> set[str]:
        """Those of the blob keys that belong to a row whose file is not gone."""


class IdempotencyStore(Protocol):
    """Keys that make a repeated request harmless."""

    async def reserve(self, account: str, key: str, *, now: float, until: float) -> Reservation | None:
        """Take the key for a request in flight; ``None`` when the caller holds it now."""

    async def release(self, account: str, key: str) -> None:
        """Give back a key whose request made no job; a key with a job stays."""

    async def forget(self, *, before: float) -> int:
        """Drop keys that expired before; how many."""

    async def void(self) -> int:
        """Drop every reservation in flight: their process is gone; how many."""


class Store(JobStore, JobQueries, IdempotencyStore, Protocol):
    """All together, as the service needs them."""

    async def close(self) -> None:
        """Finish what is under way and let go of the resources."""
