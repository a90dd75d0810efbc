"""Deliveries and signing secrets on SQLite."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from msgspec.structs import asdict

from convertd.jobs.database import Database
from convertd.jobs.store import (
    DELIVERIES_SHOWN,
    NONE_BLOCKED,
    Blocked,
    DeliveryRule,
    DueDelivery,
    SecretsRule,
)
from convertd.model.callback import Attempt, Delivery, DeliveryState, Event, SigningSecrets, owed
from convertd.model.job import Callback, Job

_JSON: Final = {"callback": Callback, "job": Job | None, "attempts": tuple[Attempt, ...]}
"""Columns that hold JSON text."""
_DECODERS: Final = {name: msgspec.json.Decoder(kind) for name, kind in _JSON.items()}

_DUE: Final = """
SELECT id, account, host, endpoint FROM deliveries
WHERE next_at <= ?1
    AND account NOT IN (SELECT value FROM json_each(?2))
    AND host NOT IN (SELECT value FROM json_each(?3))
    AND (account, host) IN (
        SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?4)
    ) IS NOT TRUE
    AND (account, endpoint) IN (
        SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?5)
    ) IS NOT TRUE
ORDER BY next_at, id LIMIT ?6
"""
"""IS NOT TRUE says the same as NOT IN, but does not look through the whole list for a NULL at each row."""
_SECRETS: Final = "SELECT current, previous, previous_until FROM signing_secrets WHERE account = ?"


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _cells(delivery: Delivery) -> dict[str, Any]:
    cells = asdict(delivery) | {name: _text(getattr(delivery, name)) for name in _JSON}
    return cells | {
        "job_id": delivery.job.id if delivery.job is not None else None,
        "host": delivery.host,
        "endpoint": delivery.endpoint,
        "finished_at": delivery.finished_at,
    }


def _build(row: sqlite3.Row) -> Delivery:
    cells = {name: row[name] for name in Delivery.__struct_fields__}
    parsed = {name: decoder.decode(row[name]) for name, decoder in _DECODERS.items()}
    words = {"event": Event(row["event"]), "state": DeliveryState(row["state"])}
    return Delivery(**(cells | parsed | words))


def _insert(connection: sqlite3.Connection, delivery: Delivery) -> None:
    cells = _cells(delivery)
    connection.execute(
        f"INSERT INTO deliveries ({', '.join(cells)}) VALUES ({', '.join('?' * len(cells))})",  # noqa: S608
        tuple(cells.values()),
    )


def _update(connection: sqlite3.Connection, changed: Delivery) -> None:
    connection.execute(
        "UPDATE deliveries SET state = ?, next_at = ?, finished_at = ?, tries = ?, attempts = ? WHERE id = ?",
        (
            changed.state,
            changed.next_at,
            changed.finished_at,
            changed.tries,
            _text(changed.attempts),
            changed.id,
        ),
    )


def _build_secrets(row: sqlite3.Row) -> SigningSecrets:
    return SigningSecrets(**dict(row))


def insert_owed(connection: sqlite3.Connection, before: Job, after: Job) -> None:
    """Keep what the change owes to the job's callback."""
    for delivery in owed(before, after):
        _insert(connection, delivery)


class SqliteCallbacks:
    """Implements ``DeliveryStore`` and ``SecretStore`` of :mod:`convertd.jobs.store`."""

    def __init__(self, db: Database) -> None:
        """``db`` is open."""
        self._db = db

    async def delivery(self, delivery_id: str) -> Delivery | None:
        rows = self._db.read("SELECT * FROM deliveries WHERE id = ?", delivery_id)
        return _build(rows[0]) if rows else None

    async def add_delivery(self, delivery: Delivery) -> None:
        await self._db.write(lambda connection: _insert(connection, delivery))

    async def update_delivery(self, delivery_id: str, rule: DeliveryRule) -> Delivery | None:
        def operation(connection: sqlite3.Connection) -> Delivery | None:
            row = connection.execute("SELECT * FROM deliveries WHERE id = ?", (delivery_id,)).fetchone()
            changed = rule(_build(row)) if row is not None else None
            if changed is not None:
                _update(connection, changed)
            return changed

        return await self._db.write(operation)

    async def due_deliveries(
        self, *, before: float, blocked: Blocked = NONE_BLOCKED, limit: int
    ) -> list[DueDelivery]:
        rows = await self._db.search(_DUE, before, *(_text(list(some)) for some in blocked), limit)
        return [DueDelivery(*row) for row in rows]

    async def next_delivery_at(self, *, after: float = 0.0) -> float | None:
        sql = "SELECT min(next_at) FROM deliveries WHERE next_at > ?"
        found: float | None = self._db.read(sql, after)[0][0]
        return found

    async def deliveries_of_job(self, job_id: str) -> list[Delivery]:
        rows = self._db.read(
            "SELECT id FROM deliveries WHERE job_id = ? ORDER BY created_at DESC, id DESC LIMIT ?",
            job_id,
            DELIVERIES_SHOWN,
        )
        return await self._each(reversed(rows))

    async def page_deliveries(self, account: str, *, dialect: str | None, limit: int) -> list[Delivery]:
        rows = self._db.read(
            "SELECT id FROM deliveries WHERE account = ?1 AND (?2 IS NULL OR dialect = ?2)"
            " ORDER BY created_at DESC, id DESC LIMIT ?3",
            account,
            dialect,
            limit,
        )
        return await self._each(rows)

    async def _each(self, rows: Iterable[sqlite3.Row]) -> list[Delivery]:
        """Those with these ids that are still there."""
        found = []
        for row in rows:
            found.append(await self.delivery(row["id"]))
            await asyncio.sleep(0)  # one of a thousand tasks takes 4 ms: others have their turn in between
        return [delivery for delivery in found if delivery is not None]

    async def forget_deliveries(self, *, before: float) -> int:
        sql = "DELETE FROM deliveries WHERE finished_at <= ?"
        return await self._db.write(lambda connection: connection.execute(sql, (before,)).rowcount)

    async def signing_secrets(self, account: str) -> SigningSecrets | None:
        rows = self._db.read(_SECRETS, account)
        return _build_secrets(rows[0]) if rows else None

    async def update_signing_secrets(self, account: str, rule: SecretsRule) -> SigningSecrets:
        def operation(connection: sqlite3.Connection) -> SigningSecrets:
            row = connection.execute(_SECRETS, (account,)).fetchone()
            made = rule(_build_secrets(row) if row is not None else None)
            connection.execute(
                "INSERT OR REPLACE INTO signing_secrets (account, current, previous, previous_until)"
                " VALUES (?, ?, ?, ?)",
                (account, made.current, made.previous, made.previous_until),
            )
            return made

        return await self._db.write(operation)
