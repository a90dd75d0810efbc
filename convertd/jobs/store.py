"""What a store of jobs is. ``sqlite.py`` and ``memory.py`` implement it and pass one contract suite.

All rules live in :mod:`convertd.model.job`; a store runs a rule on the current row inside a transaction.
Methods raise :class:`~convertd.errors.StorageFull` when the disk is full and
:class:`~convertd.errors.Unavailable` when the store cannot be reached or stays locked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

import msgspec

from convertd.errors import IdempotencyInFlight
from convertd.model.callback import Delivery, SigningSecrets
from convertd.model.job import Artifact, Job, State
from convertd.model.usage import Usage

Rule = Callable[[Job], Job | None]
"""A pure function from the current job to the changed one, or ``None`` to leave it."""
DeliveryRule = Callable[[Delivery], Delivery | None]
"""The same for a delivery; it changes what an attempt does or a redelivery: state, times, tries, attempts."""
SecretsRule = Callable[[SigningSecrets | None], SigningSecrets]
"""From an account's present secrets, if it has any, to those it shall have."""

DELIVERIES_SHOWN: Final = 100
"""Of one job."""


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


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs a listing shows."""

    account: str
    dialect: str | None = None
    """Through which they came; ``None`` for all."""
    states: tuple[State, ...] = ()
    """Any of these; empty for all."""


class JobStore(Protocol):
    """Jobs as rows.

    A change that ends a job keeps in the same transaction what it owes to the job's callback
    (:func:`convertd.model.callback.owed`) and what it counts for (:func:`convertd.model.usage.counted`).
    """

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

    async def page(
        self, selection: Selection, *, after: Cursor | None = None, offset: int = 0, limit: int
    ) -> list[Job]:
        """Jobs of the selection, newest first, from ``offset`` jobs behind ``after`` on."""

    async def count(self, selection: Selection) -> int:
        """How many jobs the selection has."""

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


class DueDelivery(NamedTuple):
    """What of a delivery decides whether it may be sent now."""

    id: str
    account: str
    host: str
    endpoint: str


class Blocked(NamedTuple):
    """Deliveries that have to wait for others, as sets of what their :class:`Delivery` says."""

    accounts: Collection[str] = frozenset()
    hosts: Collection[str] = frozenset()
    account_hosts: Collection[tuple[str, str]] = frozenset()
    """Pairs of an account and a host."""
    account_endpoints: Collection[tuple[str, str]] = frozenset()
    """Pairs of an account and an endpoint."""

    def holds(self, due: DueDelivery) -> bool:
        """Whether this one has to wait."""
        return (
            due.account in self.accounts
            or due.host in self.hosts
            or (due.account, due.host) in self.account_hosts
            or (due.account, due.endpoint) in self.account_endpoints
        )


NONE_BLOCKED: Final = Blocked()


class DeliveryStore(Protocol):
    """What is owed to callbacks. Deliveries of a job are made by its end; they may outlive its row."""

    async def delivery(self, delivery_id: str) -> Delivery | None:
        """The delivery as last committed."""

    async def add_delivery(self, delivery: Delivery) -> None:
        """Keep a delivery that no job's end made; durable on return."""

    async def update_delivery(self, delivery_id: str, rule: DeliveryRule) -> Delivery | None:
        """Apply ``rule`` in one durable transaction; the changed one, or ``None`` if it left it."""

    async def due_deliveries(
        self, *, before: float, blocked: Blocked = NONE_BLOCKED, limit: int
    ) -> list[DueDelivery]:
        """Those due at or before ``before``, earliest first, but for those that are ``blocked``.

        The more of these there are, the longer it takes; the loop goes on meanwhile.
        """

    async def next_delivery_at(self, *, after: float = 0.0) -> float | None:
        """When the next one is due that is not yet due at ``after``; ``None`` when there is none."""

    async def deliveries_of_job(self, job_id: str) -> list[Delivery]:
        """Oldest first: one for each time that the job has ended; of more than
        :data:`DELIVERIES_SHOWN`, the last ones."""

    async def page_deliveries(self, account: str, *, dialect: str | None, limit: int) -> list[Delivery]:
        """Deliveries of an account, newest first."""

    async def forget_deliveries(self, *, before: float) -> int:
        """Drop those that were acknowledged or given up by then; how many."""


class SecretStore(Protocol):
    """The accounts' own keys for signing callbacks."""

    async def signing_secrets(self, account: str) -> SigningSecrets | None:
        """Those of the account; ``None`` if it has none yet."""

    async def update_signing_secrets(self, account: str, rule: SecretsRule) -> SigningSecrets:
        """Apply ``rule`` in one durable transaction; what it returned, kept."""


class UsageStore(Protocol):
    """What accounts have used."""

    async def count_usage(self, account: str, *, dialect: str | None, since_month: str | None) -> Usage:
        """Sums over the account's ended jobs, deleted ones too, of one dialect or all, and of the months from
        ``since_month`` (``YYYY-MM``, UTC) on or all."""


class Store(JobStore, JobQueries, IdempotencyStore, DeliveryStore, SecretStore, UsageStore, Protocol):
    """All together, as the service needs them."""

    async def close(self) -> None:
        """Finish what is under way and let go of the resources."""
