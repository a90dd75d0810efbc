"""The SQLite database: opening it, its version, and transactions shared by many writers.

One connection writes, in aiosqlite's thread. Operations that arrive while a transaction is being committed
run together in the next one (group commit), each under a savepoint of its own, so that one sync to the disk
serves them all. Another connection, read-only, answers single-row reads directly on the event loop, which is
ten times faster than a trip through a thread; a third, in a thread of its own, is for long searches.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import aiosqlite

from convertd.errors import ConvertdError, EngineError, StorageFull, Unavailable

SCHEMA_VERSION = 2
BUSY_SECONDS = 15.0
_READ_BUSY_MILLISECONDS = 100
"""Reads happen on the event loop; in WAL mode nothing but a repair makes them wait."""
_GROUP = 64

_FULL_SECONDS = 60
"""When to come again to a full disk."""
_OUR_FAULT = (sqlite3.IntegrityError, sqlite3.ProgrammingError)
"""No outage that passes: the log must show them, and nobody should try again."""

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], T]


class DatabaseTooNew(EngineError):
    """The file was written by a later version of convertd."""


def connect(path: Path) -> sqlite3.Connection:
    """A connection with convertd's settings: WAL, and every commit on the disk before it returns."""
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def prepare(path: Path) -> None:
    """Create the database or bring it to :data:`SCHEMA_VERSION`.

    Raises :class:`DatabaseTooNew`, or :class:`Unavailable` for a file that is no database or cannot be
    opened; both messages are for the operator.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        with contextlib.closing(connect(path)) as connection:
            _upgrade(connection)
    except sqlite3.Error as error:
        raise Unavailable(f"The database {path} cannot be used: {error}.") from error
    path.chmod(0o600)


def _upgrade(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > SCHEMA_VERSION:
        raise DatabaseTooNew(
            f"The database is of version {version}, this convertd knows up to {SCHEMA_VERSION}: "
            "run the newer convertd again, or restore a backup."
        )
    if version < SCHEMA_VERSION:
        for name in _scripts(version):
            for statement in _statements(name):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")


def _scripts(version: int) -> list[str]:
    """What brings a database of ``version``, 0 for a new one, to :data:`SCHEMA_VERSION`."""
    if version == 0:
        return ["schema.sql"]
    return [f"upgrade_{step}.sql" for step in range(version + 1, SCHEMA_VERSION + 1)]


def _statements(name: str) -> list[str]:
    """The script's statements: unlike ``executescript``, running them one by one keeps the transaction."""
    script = resources.files("convertd.jobs").joinpath(name).read_text(encoding="utf-8")
    statements, part = [], ""
    for line in script.splitlines(keepends=True):
        part += line
        if sqlite3.complete_statement(part):
            statements.append(part)
            part = ""
    return statements


class _Pending(NamedTuple):
    """A write that waits for the next transaction."""

    operation: Operation[Any]
    future: asyncio.Future[Any]
    durable: bool


class _Writer(aiosqlite.Connection):
    """aiosqlite's thread, given whole functions instead of single statements."""

    async def apply(self, operations: Sequence[Operation[Any]], *, durable: bool) -> list[Any]:
        """Run them in one transaction; an operation that fails gives its exception as result."""
        results: list[Any] = await self._execute(  # type: ignore[no-untyped-call]
            _in_one_transaction, self._conn, operations, durable
        )
        return results


def _in_one_transaction(
    connection: sqlite3.Connection, operations: Sequence[Operation[Any]], durable: bool
) -> list[Any]:
    results: list[Any] = []
    # In WAL mode NORMAL leaves out the sync; the next FULL commit takes along what went before.
    connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    connection.execute("BEGIN IMMEDIATE")
    try:
        for operation in operations:
            connection.execute("SAVEPOINT operation")
            try:
                results.append(operation(connection))
            except Exception as error:
                if not connection.in_transaction:
                    raise  # a full or failing disk: SQLite has rolled back the whole group itself
                connection.execute("ROLLBACK TO operation")
                results.append(error)
            connection.execute("RELEASE operation")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return results


class Database:
    """Reads on the loop, searches beside it, writes in groups."""

    def __init__(self, path: Path) -> None:
        """``path`` must have been prepared."""
        self.path = path
        self._writer: _Writer | None = None
        self._reader: sqlite3.Connection | None = None
        self._searcher: aiosqlite.Connection | None = None
        self._pending: deque[_Pending] = deque()
        self._pump: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open the connections."""
        self._reader = connect(self.path)
        self._reader.execute("PRAGMA query_only = ON")
        self._reader.execute(f"PRAGMA busy_timeout = {_READ_BUSY_MILLISECONDS}")
        self._writer = _Writer(lambda: connect(self.path), 64)
        await self._writer
        self._searcher = aiosqlite.Connection(lambda: connect(self.path), 64)
        await self._searcher
        await self._searcher.execute("PRAGMA query_only = ON")

    async def close(self) -> None:
        """Take no more, commit what is pending, then close."""
        writer, self._writer = self._writer, None
        if self._pump is not None:
            await self._pump
        if writer is not None:
            await writer.close()
        searcher, self._searcher = self._searcher, None
        if searcher is not None:
            await searcher.close()
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def read(self, sql: str, *parameters: Any) -> list[sqlite3.Row]:
        """Rows of a query that is known to be short."""
        if self._reader is None:
            raise Unavailable("The database is closed.")
        try:
            return self._reader.execute(sql, parameters).fetchall()
        except _OUR_FAULT:
            raise
        except sqlite3.Error as error:
            raise _as_convertd_error(error) from error

    async def search(self, sql: str, *parameters: Any) -> list[sqlite3.Row]:
        """Rows of a query that may take long; the loop goes on meanwhile, other searches wait."""
        if self._searcher is None:
            raise Unavailable("The database is closed.")
        try:
            return list(await self._searcher.execute_fetchall(sql, parameters))
        except _OUR_FAULT:
            raise
        except sqlite3.Error as error:
            raise _as_convertd_error(error) from error

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Within the context, which must not await, all reads see the same state of the database."""
        self.read("BEGIN")
        try:
            yield
        finally:
            self.read("COMMIT")

    async def write(self, operation: Operation[T], *, durable: bool = True) -> T:
        """Run ``operation`` in a transaction; when this returns, its effect is on the disk.

        Unless ``durable``, only a crash of the process is survived, not one of the machine.
        """
        if self._writer is None:
            raise Unavailable("The database is closed.")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._pending.append(_Pending(operation, future, durable))
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._drain(self._writer))
        try:
            return await future
        except _OUR_FAULT:
            raise
        except sqlite3.Error as error:
            raise _as_convertd_error(error) from error

    async def _drain(self, writer: _Writer) -> None:
        """Commit group after group until nothing is pending."""
        while self._pending:
            group = [self._pending.popleft() for _ in range(min(_GROUP, len(self._pending)))]
            try:
                results = await writer.apply(
                    [pending.operation for pending in group],
                    durable=any(pending.durable for pending in group),
                )
            except Exception as error:
                results = [error] * len(group)
            for pending, result in zip(group, results, strict=True):
                future = pending.future
                if future.done():
                    continue  # its caller was cancelled meanwhile
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)


def _as_convertd_error(error: sqlite3.Error) -> ConvertdError:
    code = getattr(error, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_FULL:
        return StorageFull(
            "The server's disk is full; try again later.", detail=str(error), retry_after=_FULL_SECONDS
        )
    return Unavailable(
        "The job database cannot be used just now; try again.", detail=str(error), retry_after=5
    )
