"""``Idempotency-Key``: taken before the body is read, given back when no job came of it."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from aiohttp import web

from convertd.errors import IdempotencyKeyReused, InvalidRequest
from convertd.jobs.service import JobService
from convertd.jobs.store import IdempotencyKey, Reservation
from convertd.web.uploads import Upload

HEADER: Final = "Idempotency-Key"
KEY_LENGTH: Final = 255

_ANSWER_SECONDS: Final = 60.0
"""What a request may take beyond the arrival of its body before its key is free again."""


def fingerprint(request: web.Request, fields: Iterable[tuple[str, Any]], files: Iterable[Upload]) -> str:
    """What makes two requests the same: address, parameters, and each file's name and content."""
    parts = [request.path, sorted((name, repr(value)) for name, value in fields)]
    parts.append([(file.part, file.name, file.sha256) for file in files])
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


@dataclass(kw_only=True, slots=True)
class Hold:
    """A request's claim to its key, or no key at all."""

    service: JobService
    account: str
    key: str | None
    taken: Reservation | None = None

    def replayed_job(self, fingerprint: str) -> str | None:
        """Id of the job that an earlier request with this key made, or ``None`` if this is the first.

        Raises :class:`IdempotencyKeyReused` when that was another request.
        """
        if self.taken is None:
            return None
        if self.taken.fingerprint != fingerprint:
            raise IdempotencyKeyReused(
                "This Idempotency-Key came before with other parameters or another file; use a new key."
            )
        return self.taken.job_id

    def record(self, fingerprint: str) -> IdempotencyKey | None:
        """What to keep in the transaction that makes the job."""
        if self.key is None:
            return None
        return self.service.key_record(self.account, self.key, fingerprint)


@contextlib.asynccontextmanager
async def held_key(
    service: JobService, account: str, key: str | None, *, upload_seconds: float
) -> AsyncIterator[Hold]:
    """Hold ``key`` for the request in flight, whose body takes ``upload_seconds`` at most.

    A key that made no job is free again afterwards; a restart frees it at once.
    """
    hold = Hold(service=service, account=account, key=key)
    if key is None:
        yield hold
        return
    hold.taken = await service.reserve(account, key, seconds=upload_seconds + _ANSWER_SECONDS)
    try:
        yield hold
    finally:
        if hold.taken is None:
            await service.release(account, key)


def key_of(request: web.Request) -> str | None:
    """The request's key; raises :class:`InvalidRequest` for one that is empty, too long or not printable."""
    key = request.headers.get(HEADER)
    return None if key is None else checked_key(key, field=HEADER)


def checked_key(key: str, *, field: str) -> str:
    """``key`` from the request's ``field``; raises :class:`InvalidRequest` as :func:`key_of` does."""
    if not 1 <= len(key) <= KEY_LENGTH or not key.isprintable():
        raise InvalidRequest(f"{field} takes 1 to {KEY_LENGTH} printable characters.", field=field)
    return key
