"""The store on SQLite."""

from __future__ import annotations

import asyncio
import bisect
import math
import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from msgspec.structs import asdict, replace

from convertd.jobs import database
from convertd.jobs.database import Database
from convertd.jobs.sqlite_callbacks import SqliteCallbacks, insert_owed
from convertd.jobs.sqlite_usage import SqliteUsage, count
from convertd.jobs.store import Brief, Cursor, Due, IdempotencyKey, Reservation, Rule, Selection, overtaken
from convertd.model.job import Artifact, Callback, Failure, Job, State, Task

StructT = TypeVar("StructT", Job, Task, Artifact)

_JSON_COLUMNS: Final = frozenset(("metadata", "extras", "options", "facts"))
_PARTS: Final = frozenset(("inputs", "tasks", "outputs"))
"""Fields of a job that are tables of their own."""
_BATCH: Final = 500
"""Bound parameters in one statement."""

_SHORT_QUEUE: Final = 100
_QUEUE_ROWS_A_SECOND: Final = 20_000
"""How much reading of a long queue may cost: about a hundredth of a processor."""

_DUE: Final = {
    Due.LEASE: "state = 'running' AND lease_until",
    Due.DEADLINE: "finished_at IS NULL AND deadline",
    Due.EXPIRY: "next_expiry",
    Due.REMOVAL: "finished_at",
}


def _cell(value: Any) -> Any:
    """A field's value as SQLite keeps it."""
    if isinstance(value, (dict, tuple, Failure, Callback)):
        return msgspec.json.encode(value).decode()
    return int(value) if isinstance(value, bool) else value


def _cells(struct: Job | Task | Artifact) -> dict[str, Any]:
    return {
        name: _cell(value)
        for name, value in asdict(struct).items()
        if not (isinstance(struct, Job) and name in _PARTS)
    }


def _value(name: str, cell: Any) -> Any:
    """The inverse of :func:`_cell` for the column ``name``."""
    if name in _JSON_COLUMNS:
        return msgspec.json.decode(cell)
    if name == "state":
        return State(cell)
    if name == "error":
        return msgspec.json.decode(cell, type=Failure) if cell is not None else None
    if name == "callback":
        return msgspec.json.decode(cell, type=Callback) if cell is not None else None
    if name in ("inputs", "notes"):
        return tuple(msgspec.json.decode(cell))
    return bool(cell) if name == "gone" else cell


def _values(
    kind: type[StructT], row: sqlite3.Row, *, leave_out: frozenset[str] = frozenset()
) -> dict[str, Any]:
    return {name: _value(name, row[name]) for name in kind.__struct_fields__ if name not in leave_out}


def _insert(connection: sqlite3.Connection, table: str, cells: dict[str, Any]) -> None:
    marks = ", ".join("?" * len(cells))
    connection.execute(
        f"INSERT INTO {table} ({', '.join(cells)}) VALUES ({marks})",  # noqa: S608 - our own column names
        tuple(cells.values()),
    )


def _job_cells(job: Job) -> dict[str, Any]:
    return _cells(job) | {"next_expiry": job.next_expiry}


def _insert_job(connection: sqlite3.Connection, job: Job) -> None:
    _insert(connection, "jobs", _job_cells(job))
    for position, task in enumerate(job.tasks):
        _insert(connection, "tasks", {"job_id": job.id, "position": position} | _cells(task))
    for kind, artifacts in (("input", job.inputs), ("output", job.outputs)):
        _put_artifacts(connection, job.id, kind, (), artifacts)


def _insert_key(connection: sqlite3.Connection, job: Job, key: IdempotencyKey) -> None:
    sql = "SELECT 1 FROM idempotency_keys WHERE account = ? AND key = ? AND job_id IS NOT NULL AND until > ?"
    if connection.execute(sql, (key.account, key.key, job.created_at)).fetchone() is not None:
        raise overtaken()
    connection.execute(
        "INSERT OR REPLACE INTO idempotency_keys (account, key, job_id, fingerprint, until)"
        " VALUES (?, ?, ?, ?, ?)",
        (key.account, key.key, job.id, key.fingerprint, key.expires_at),
    )


def _put_artifacts(
    connection: sqlite3.Connection,
    job_id: str,
    kind: str,
    before: Sequence[Artifact],
    after: Sequence[Artifact],
) -> None:
    """Bring the rows from ``before`` to ``after``: artifacts are only ever added or changed in place."""
    for position, artifact in enumerate(after):
        if position < len(before) and before[position] == artifact:
            continue
        place = {"job_id": job_id, "kind": kind, "position": position}
        connection.execute(
            "DELETE FROM artifacts WHERE job_id = :job_id AND kind = :kind AND position = :position", place
        )
        _insert(connection, "artifacts", place | _cells(artifact))


def _update_job(connection: sqlite3.Connection, before: Job, after: Job) -> None:
    old = _job_cells(before)
    changed = {name: cell for name, cell in _job_cells(after).items() if cell != old[name]}
    assignments = ", ".join(f"{name} = ?" for name in changed)
    connection.execute(
        f"UPDATE jobs SET {assignments} WHERE id = ?",  # noqa: S608 - our own column names
        (*changed.values(), after.id),
    )
    for position, (was, task) in enumerate(zip(before.tasks, after.tasks, strict=True)):
        if was != task:
            connection.execute(
                "UPDATE tasks SET state = ?, progress = ?, attempts = ?, error = ?"
                " WHERE job_id = ? AND position = ?",
                (task.state, task.progress, task.attempts, _cell(task.error), after.id, position),
            )
    _put_artifacts(connection, after.id, "input", before.inputs, after.inputs)
    _put_artifacts(connection, after.id, "output", before.outputs, after.outputs)


def _build(row: sqlite3.Row, tasks: Iterable[sqlite3.Row], artifacts: Iterable[sqlite3.Row]) -> Job:
    files: dict[str, list[Artifact]] = {"input": [], "output": []}
    for artifact in artifacts:
        files[artifact["kind"]].append(Artifact(**_values(Artifact, artifact)))
    return Job(
        **_values(Job, row, leave_out=_PARTS),
        inputs=tuple(files["input"]),
        tasks=tuple(Task(**_values(Task, task)) for task in tasks),
        outputs=tuple(files["output"]),
    )


def _load(connection: sqlite3.Connection, job_id: str) -> Job | None:
    row = connection.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
    if row is None:
        return None
    return _build(
        row,
        connection.execute("SELECT * FROM tasks WHERE job_id = ? ORDER BY position", (job_id,)),
        connection.execute("SELECT * FROM artifacts WHERE job_id = ? ORDER BY position", (job_id,)),
    )


def _apply(connection: sqlite3.Connection, job_id: str, rule: Rule) -> Job | None:
    job = _load(connection, job_id)
    changed = rule(job) if job is not None else None
    if job is None or changed is None:
        return None
    changed = replace(changed, version=job.version + 1)
    _update_job(connection, job, changed)
    insert_owed(connection, job, changed)
    count(connection, job, changed)
    return changed


def _batches(values: Collection[str]) -> Iterator[list[str]]:
    items = list(values)
    return (items[start : start + _BATCH] for start in range(0, len(items), _BATCH))


def _where(selection: Selection) -> tuple[str, list[Any]]:
    """The condition that picks the selection's jobs, and its parameters."""
    where, parameters = "account = ?", [selection.account]
    if selection.dialect is not None:
        where, parameters = f"{where} AND dialect = ?", [*parameters, selection.dialect]
    if selection.states:
        marks = ", ".join("?" * len(selection.states))
        where, parameters = f"{where} AND state IN ({marks})", [*parameters, *selection.states]
    return where, parameters


class _Queue:
    """The queue's order, read again for every question while it is short, now and then when it is long.

    Counting ten thousand rows takes a millisecond: too much for each of a thousand polls a second.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._keys: list[tuple[float, str]] = []
        self._read_at = -math.inf

    def keys(self) -> list[tuple[float, str]]:
        """``(run_after, id)`` of the queued jobs in the order of their claims."""
        now = time.monotonic()
        if now - self._read_at >= len(self._keys) / _QUEUE_ROWS_A_SECOND:
            rows = self._db.read(
                "SELECT run_after, id FROM jobs WHERE state = 'queued' ORDER BY run_after, id"
            )
            self._keys = [(row["run_after"], row["id"]) for row in rows]
            self._read_at = now if len(rows) > _SHORT_QUEUE else -math.inf
        return self._keys


class SqliteStore(SqliteCallbacks, SqliteUsage):
    """Implements :class:`convertd.jobs.store.Store`; open it with :meth:`open`."""

    def __init__(self, db: Database) -> None:
        """``db`` is open."""
        super().__init__(db)
        self._queue = _Queue(db)

    @classmethod
    async def open(cls, path: Path) -> SqliteStore:
        """Create or upgrade the database at ``path`` and open it; the caller closes it."""
        database.prepare(path)
        db = Database(path)
        await db.open()
        return cls(db)

    async def close(self) -> None:
        await self._db.close()

    async def insert(self, job: Job, key: IdempotencyKey | None = None) -> None:
        def operation(connection: sqlite3.Connection) -> None:
            _insert_job(connection, job)
            if key is not None:
                _insert_key(connection, job, key)

        await self._db.write(operation)

    async def get(self, job_id: str) -> Job | None:
        with self._db.snapshot():
            rows = self._db.read("SELECT * FROM jobs WHERE id = ?", job_id)
            if not rows:
                return None
            return _build(
                rows[0],
                self._db.read("SELECT * FROM tasks WHERE job_id = ? ORDER BY position", job_id),
                self._db.read("SELECT * FROM artifacts WHERE job_id = ? ORDER BY position", job_id),
            )

    async def update(self, job_id: str, rule: Rule, *, durable: bool = True) -> Job | None:
        return await self._db.write(lambda connection: _apply(connection, job_id, rule), durable=durable)

    async def claim(self, rule: Rule, *, now: float) -> Job | None:
        ready = "SELECT id FROM jobs WHERE state = 'queued' AND run_after <= ? ORDER BY run_after, id LIMIT 1"
        if not self._db.read(ready, now):
            return None  # without a transaction: an idle worker looks often

        def operation(connection: sqlite3.Connection) -> Job | None:
            row = connection.execute(ready, (now,)).fetchone()
            return _apply(connection, row["id"], rule) if row is not None else None

        return await self._db.write(operation, durable=False)

    async def delete(self, job_id: str, *, ended_by: float) -> Job | None:
        def operation(connection: sqlite3.Connection) -> Job | None:
            job = _load(connection, job_id)
            if job is None or job.finished_at is None or job.finished_at > ended_by:
                return None
            connection.execute("DELETE FROM jobs WHERE id = ?", (job_id,))
            connection.execute("DELETE FROM idempotency_keys WHERE job_id = ?", (job_id,))
            return job

        return await self._db.write(operation)

    async def brief(self, job_id: str) -> Brief | None:
        rows = self._db.read("SELECT account, version, state, token FROM jobs WHERE id = ?", job_id)
        if not rows:
            return None
        account, version, state, token = rows[0]
        return Brief(account, version, State(state), token)

    async def page(
        self, selection: Selection, *, after: Cursor | None = None, offset: int = 0, limit: int
    ) -> list[Job]:
        where, parameters = _where(selection)
        if after is not None:
            where, parameters = (
                f"{where} AND (created_at, id) < (?, ?)",
                [*parameters, after.created_at, after.id],
            )
        sql = f"SELECT created_at, id FROM jobs WHERE {where} ORDER BY created_at DESC, id DESC LIMIT ? OFFSET ?"  # noqa: S608, E501
        places = [Cursor(*row) for row in self._db.read(sql, *parameters, limit, offset)]
        found = []
        for place in places:
            job = await self.get(place.id)
            if job is not None and (not selection.states or job.state in selection.states):
                found.append(job)
            await asyncio.sleep(0)  # a job of a hundred files takes 4 ms: others have their turn in between
        if missing := len(places) - len(found):  # they changed meanwhile, and others take their places
            found += await self.page(selection, after=places[-1], limit=missing)
        return found

    async def count(self, selection: Selection) -> int:
        where, parameters = _where(selection)
        rows = self._db.read(f"SELECT count(*) FROM jobs WHERE {where}", *parameters)  # noqa: S608
        return int(rows[0][0])

    async def due(self, what: Due, *, before: float, limit: int) -> list[str]:
        rows = self._db.read(
            f"SELECT id FROM jobs WHERE {_DUE[what]} <= ? ORDER BY {what.value}, id LIMIT ?",  # noqa: S608
            before,
            limit,
        )
        return [row["id"] for row in rows]

    async def probe(self) -> None:
        """Take the lock that every change takes; raises :class:`Unavailable` if it cannot be had."""
        await self._db.write(lambda connection: None, durable=False)

    async def waiting(self) -> int:
        return len(self._queue.keys())

    async def ahead_of(self, job: Job) -> int:
        return bisect.bisect_left(self._queue.keys(), (job.run_after, job.id))

    async def output(self, key: str) -> Artifact | None:
        rows = self._db.read("SELECT * FROM artifacts WHERE key = ? AND kind = 'output'", key)
        return Artifact(**_values(Artifact, rows[0])) if rows else None

    async def known(self, keys: Collection[str]) -> set[str]:
        found: set[str] = set()
        for batch in _batches(keys):
            marks = ", ".join("?" * len(batch))
            sql = f"SELECT key FROM artifacts WHERE gone = 0 AND key IN ({marks})"  # noqa: S608
            found.update(row["key"] for row in self._db.read(sql, *batch))
        return found

    async def reserve(self, account: str, key: str, *, now: float, until: float) -> Reservation | None:
        def operation(connection: sqlite3.Connection) -> Reservation | None:
            row = connection.execute(
                "SELECT job_id, fingerprint FROM idempotency_keys"
                " WHERE account = ? AND key = ? AND until > ?",
                (account, key, now),
            ).fetchone()
            if row is not None:
                return Reservation(job_id=row["job_id"], fingerprint=row["fingerprint"])
            connection.execute(
                "INSERT OR REPLACE INTO idempotency_keys (account, key, until) VALUES (?, ?, ?)",
                (account, key, until),
            )
            return None

        return await self._db.write(operation)

    async def release(self, account: str, key: str) -> None:
        sql = "DELETE FROM idempotency_keys WHERE account = ? AND key = ? AND job_id IS NULL"
        await self._db.write(lambda connection: connection.execute(sql, (account, key)))

    async def forget(self, *, before: float) -> int:
        return await self._drop_keys("until <= ?", before)

    async def void(self) -> int:
        return await self._drop_keys("job_id IS NULL")

    async def _drop_keys(self, condition: str, *parameters: float) -> int:
        sql = f"DELETE FROM idempotency_keys WHERE {condition}"  # noqa: S608 - our own conditions
        return await self._db.write(lambda connection: connection.execute(sql, parameters).rowcount)
