"""Usage counters on SQLite."""

from __future__ import annotations

import sqlite3
from typing import Final

from convertd.jobs.database import Database
from convertd.model.job import Job
from convertd.model.usage import Usage, counted

_SUMS: Final = Usage.__struct_fields__
_ADD: Final = (
    f"INSERT INTO usage (account, dialect, month, {', '.join(_SUMS)})"  # noqa: S608 - our own column names
    f" VALUES (?, ?, ?, {', '.join('?' * len(_SUMS))}) ON CONFLICT DO UPDATE SET "
    + ", ".join(f"{name} = {name} + excluded.{name}" for name in _SUMS)
)
_TOTAL: Final = (
    f"SELECT {', '.join(f'coalesce(sum({name}), 0) AS {name}' for name in _SUMS)} FROM usage"  # noqa: S608
    " WHERE account = ?1 AND (?2 IS NULL OR dialect = ?2) AND (?3 IS NULL OR month >= ?3)"
)


def count(connection: sqlite3.Connection, before: Job, after: Job) -> None:
    """Add what the change of the job counts for."""
    counting = counted(before, after)
    if counting is not None:
        month, usage = counting
        sums = (getattr(usage, name) for name in _SUMS)
        connection.execute(_ADD, (after.account, after.dialect, month, *sums))


class SqliteUsage:
    """Implements :class:`convertd.jobs.store.UsageStore`."""

    def __init__(self, db: Database) -> None:
        """``db`` is open."""
        self._db = db

    async def count_usage(self, account: str, *, dialect: str | None, since_month: str | None) -> Usage:
        row = self._db.read(_TOTAL, account, dialect, since_month)[0]
        return Usage(**dict(row))
