"""Callbacks: who wants to be told of a job's end, and what is owed to them.

A :class:`Callback` is registered with a job. When the job ends, a :class:`Delivery` is owed to it, kept in
the same transaction; each POST of it is an :class:`Attempt`. All rules are pure; times are seconds since the
epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, Protocol
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import replace

from convertd.model.ids import new_delivery_id
from convertd.model.job import Callback, Job, State


class Event(StrEnum):
    """What a delivery tells."""

    SUCCEEDED = "job.succeeded"
    FAILED = "job.failed"
    CANCELLED = "job.cancelled"
    TEST = "test"
    """Sent on request to try an endpoint; belongs to no job."""


_EVENT_OF: Final = {
    State.SUCCEEDED: Event.SUCCEEDED,
    State.FAILED: Event.FAILED,
    State.CANCELLED: Event.CANCELLED,
}


class DeliveryState(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    """Will be sent, or sent again, at ``next_at``."""
    DELIVERED = "delivered"
    """Acknowledged with a 2xx."""
    DEAD = "dead"
    """Given up: after the last attempt, or a 410. Can be sent again by hand."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One POST of a delivery."""

    at: float
    seconds: float
    """How long it took."""
    status: int | None
    """HTTP status of the answer; ``None`` when there was none."""
    error: str | None
    """Why there was no answer, or why it does not count; fit for the owner."""
    body: str = ""
    """The beginning of the answer, printable."""


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One event owed to one callback."""

    id: str
    """The same on every attempt: receivers tell repetitions by it."""
    account: str
    dialect: str
    event: Event
    callback: Callback
    job: Job | None
    """The job as it was when the event happened, without its callback; ``None`` for a test."""
    created_at: float
    next_at: float | None
    """When it is due; ``None`` unless pending."""
    state: DeliveryState = DeliveryState.PENDING
    attempts: tuple[Attempt, ...] = ()
    """In order; those of earlier rounds, before a redelivery, included. Of very many, the last ones."""
    tries: int = 0
    """Attempts of the present round."""

    @property
    def host(self) -> str:
        """Whose server it goes to: the URL's host and, where it names one, port, in lower case."""
        try:
            netloc = urlsplit(self.callback.url).netloc
        except ValueError:  # a job must be able to end whatever was registered with it
            netloc = ""
        return netloc.rpartition("@")[2].lower()

    @property
    def endpoint(self) -> str:
        """What answers there, for all that is known: the URL without its query."""
        return self.callback.url.partition("?")[0]

    @property
    def finished_at(self) -> float | None:
        """When it was acknowledged or given up; ``None`` while pending."""
        if self.state is DeliveryState.PENDING or not self.attempts:
            return None
        return self.attempts[-1].at + self.attempts[-1].seconds


def owed(before: Job, after: Job) -> tuple[Delivery, ...]:
    """What the change from ``before`` to ``after`` owes to the job's callback."""
    if after.callback is None or before.state.terminal or not after.state.terminal:
        return ()
    now = after.finished_at
    assert now is not None  # noqa: S101 - every terminal job has it
    return (
        Delivery(
            id=new_delivery_id(),
            account=after.account,
            dialect=after.dialect,
            event=_EVENT_OF[after.state],
            callback=after.callback,
            job=replace(after, callback=None),
            created_at=now,
            next_at=now,
        ),
    )


def trial(account: str, dialect: str, callback: Callback, *, now: float) -> Delivery:
    """A delivery that belongs to no job, to try an endpoint with."""
    return Delivery(
        id=new_delivery_id(),
        account=account,
        dialect=dialect,
        event=Event.TEST,
        callback=callback,
        job=None,
        created_at=now,
        next_at=now,
    )


def attempted(
    delivery: Delivery,
    attempt: Attempt,
    *,
    now: float,
    schedule: Sequence[float],
    stretch: float = 1.0,
    retry_after: float = 0.0,
) -> Delivery | None:
    """What follows an attempt: delivered, due again, or dead.

    ``schedule`` are the seconds to wait before the second, third … attempt of a round, each multiplied by
    ``stretch``, which spreads them; ``retry_after`` is the least that the receiver asks to be left alone.
    """
    if delivery.state is not DeliveryState.PENDING:
        return None
    attempts = (*delivery.attempts, attempt)[-_ATTEMPTS_KEPT:]
    tried = replace(delivery, attempts=attempts, tries=delivery.tries + 1)
    if attempt.error is None:
        return replace(tried, state=DeliveryState.DELIVERED, next_at=None)
    if attempt.status == GONE or tried.tries > len(schedule):
        return replace(tried, state=DeliveryState.DEAD, next_at=None)
    wait = max(schedule[tried.tries - 1] * stretch, retry_after)
    return replace(tried, next_at=now + wait)


_ATTEMPTS_KEPT: Final = 100
GONE: Final = 410
"""The receiver's word that it wants no more (Standard Webhooks)."""


def redelivered(delivery: Delivery, *, now: float) -> Delivery | None:
    """Its owner wants it sent again, whatever became of it: a new round at once, under the same id."""
    if delivery.state is DeliveryState.PENDING and delivery.tries == 0:
        return None
    return replace(delivery, state=DeliveryState.PENDING, next_at=now, tries=0)


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery as a dialect writes it for one attempt."""

    headers: Mapping[str, str]
    body: bytes


class CallbackForm(Protocol):
    """How a dialect calls back."""

    @property
    def schedule(self) -> Sequence[float]:
        """Seconds to wait before the second, third … attempt; after as many and one, the delivery is dead."""

    @property
    def spread(self) -> float:
        """The share by which a wait may be shorter or longer, so that failures do not come again together."""

    def message(self, delivery: Delivery, secrets: Sequence[str], now: float) -> Message:
        """What to send in this attempt, signed with ``secrets``, newest first."""


class SigningSecrets(msgspec.Struct, frozen=True, kw_only=True):
    """An account's own keys for signing callbacks that bring none."""

    current: str
    previous: str | None = None
    previous_until: float = 0.0
    """Until when receivers may still know only the previous one."""

    def __repr__(self) -> str:
        return "SigningSecrets(…)"  # or a log could tell them

    def valid(self, now: float) -> tuple[str, ...]:
        """Those to sign with, newest first."""
        if self.previous is None or now >= self.previous_until:
            return (self.current,)
        return (self.current, self.previous)
