"""API keys, stored as digests.

A key is 256 random bits, so a plain SHA-256 cannot be searched; a slow password hash would only slow down
every request.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from pathlib import Path

import msgspec

from convertd.errors import Conflict, InvalidRequest, NotFound
from convertd.jobs import database

PREFIX = "cvd_"
_SHOWN = 10
_NAME_LENGTH = 100


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a key; the key itself is shown once, when it is made."""

    name: str
    account: str
    prefix: str
    created_at: float
    revoked_at: float | None


def _digest(key: str) -> str:
    # Header bytes that are no UTF-8 arrive as lone surrogates.
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()


class Keyring:
    """The keys in the database. Another process may change them at any time: nothing is cached."""

    def __init__(self, path: Path) -> None:
        """``path`` must have been prepared (:func:`convertd.jobs.database.prepare`)."""
        self._connection = database.connect(path)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def create(self, name: str, *, account: str | None, now: float) -> str:
        """Make a key called ``name`` (unique) for ``account`` (else one of that name) and return it."""
        if not name.strip() or len(name) > _NAME_LENGTH or not name.isprintable():
            raise InvalidRequest(f"A key's name is 1 to {_NAME_LENGTH} printable characters.", field="name")
        key = PREFIX + secrets.token_urlsafe(32)
        try:
            self._connection.execute(
                "INSERT INTO api_keys (name, account, prefix, digest, created_at) VALUES (?, ?, ?, ?, ?)",
                (name, account or name, key[:_SHOWN], _digest(key), now),
            )
        except sqlite3.IntegrityError:
            raise Conflict(f"There is a key called {name!r} already; choose another name.") from None
        return key

    def list(self) -> list[ApiKey]:
        """All keys, revoked ones included, oldest first."""
        rows = self._connection.execute(
            "SELECT name, account, prefix, created_at, revoked_at FROM api_keys ORDER BY id"
        )
        return [ApiKey(**dict(row)) for row in rows]

    def revoke(self, name: str, *, now: float) -> None:
        """End a key's validity at once; raises :class:`NotFound` when no valid key has that name."""
        changed = self._connection.execute(
            "UPDATE api_keys SET revoked_at = ? WHERE name = ? AND revoked_at IS NULL", (now, name)
        ).rowcount
        if not changed:
            raise NotFound(f"There is no valid key called {name!r}; 'convertd keys list' shows them.")

    def account_of(self, key: str) -> str | None:
        """The account behind a valid key."""
        row = self._connection.execute(
            "SELECT account FROM api_keys WHERE digest = ? AND revoked_at IS NULL", (_digest(key),)
        ).fetchone()
        return row["account"] if row is not None else None

    def is_empty(self) -> bool:
        """Whether no key is valid."""
        sql = "SELECT EXISTS (SELECT 1 FROM api_keys WHERE revoked_at IS NULL)"
        return not self._connection.execute(sql).fetchone()[0]
