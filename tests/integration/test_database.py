"""The SQLite database itself: shared transactions, faults, versions, and what the schema holds."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Iterator, Sized
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from convertd.errors import FileInvalid, StorageFull, Unavailable
from convertd.jobs import database
from convertd.jobs.database import Database, DatabaseTooNew
from convertd.jobs.sqlite import SqliteStore
from convertd.jobs.sqlite_callbacks import _DUE
from convertd.jobs.store import Cursor, Selection
from convertd.model.callback import trial
from convertd.model.job import Callback, Failure, Job, State, cancelled, claimed, retried
from tests.support.jobs import NOW, RETENTION, make_artifact, make_job, make_task


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "jobs.db"


@pytest.fixture
async def db(path: Path) -> AsyncIterator[Database]:
    database.prepare(path)
    made = Database(path)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def store(db: Database) -> SqliteStore:
    return SqliteStore(db)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a locked database up soon."""
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)


@pytest.fixture
def other(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection of somebody else's."""
    database.prepare(path)
    connection = sqlite3.connect(path, isolation_level=None, timeout=0)
    yield connection
    connection.close()


def add_key(name: str) -> database.Operation[int]:
    """An operation that writes one row."""

    def operation(connection: sqlite3.Connection) -> int:
        sql = "INSERT INTO idempotency_keys (account, key, until) VALUES ('a', ?, 1)"
        return connection.execute(sql, (name,)).rowcount

    return operation


def names(db: Database) -> set[str]:
    return {row["key"] for row in db.read("SELECT key FROM idempotency_keys")}


async def traced(db: Database) -> list[str]:
    """What the writer executes from now on."""
    statements: list[str] = []
    await db.write(lambda connection: connection.set_trace_callback(statements.append))
    return statements


# Writing


async def test_writes_that_come_together_share_their_transactions(db: Database) -> None:
    statements = await traced(db)
    await asyncio.gather(*(db.write(add_key(str(number))) for number in range(200)))
    commits = statements.count("COMMIT")
    assert len(names(db)) == 200
    # One more for the transaction in which the tracing itself was switched on.
    assert commits <= 200 / 64 + 2


async def test_a_lone_write_does_not_wait_for_company(db: Database) -> None:
    statements = await traced(db)
    await db.write(add_key("a"))
    await db.write(add_key("b"))
    assert statements.count("BEGIN IMMEDIATE") == 2


async def test_a_write_that_fails_harms_no_neighbour(db: Database) -> None:
    def broken(connection: sqlite3.Connection) -> None:
        add_key("half")(connection)
        raise FileInvalid("no")

    results = await asyncio.gather(
        db.write(add_key("before")), db.write(broken), db.write(add_key("after")), return_exceptions=True
    )
    assert [type(result) for result in results] == [int, FileInvalid, int]
    assert names(db) == {"before", "after"}


async def test_a_caller_who_left_does_not_disturb_the_others(db: Database) -> None:
    leaving = asyncio.create_task(db.write(add_key("leaving")))
    staying = asyncio.create_task(db.write(add_key("staying")))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == 1
    await db.write(add_key("later"))
    assert names(db) == {"leaving", "staying", "later"}


async def test_what_was_written_is_read_at_once(db: Database) -> None:
    await db.write(add_key("a"))
    assert names(db) == {"a"}


async def test_a_commit_is_synced(db: Database) -> None:
    assert await db.write(lambda c: c.execute("PRAGMA synchronous").fetchone()[0]) == 2
    assert await db.write(lambda c: c.execute("PRAGMA journal_mode").fetchone()[0]) == "wal"


async def test_the_reader_cannot_write(db: Database) -> None:
    with pytest.raises(Unavailable):
        db.read("DELETE FROM idempotency_keys")


async def test_a_mistake_of_ours_is_not_told_as_an_outage(db: Database) -> None:
    """Or a client would try again for ever, and no log would show the bug."""
    await db.write(add_key("a"))
    with pytest.raises(sqlite3.IntegrityError):
        await db.write(add_key("a"))


# Closing


async def test_closing_commits_what_is_pending(path: Path) -> None:
    database.prepare(path)
    db = Database(path)
    await db.open()
    writing = [asyncio.create_task(db.write(add_key(str(number)))) for number in range(100)]
    await asyncio.sleep(0)
    await db.close()
    assert await asyncio.gather(*writing) == [1] * 100


async def test_a_closed_database_says_so(path: Path) -> None:
    database.prepare(path)
    db = Database(path)
    await db.open()
    closing = asyncio.create_task(db.close())
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await db.write(add_key("late"))
    await closing
    with pytest.raises(Unavailable):
        db.read("SELECT 1")


# Outages


async def test_a_database_locked_by_another_is_unavailable_and_recovers(
    impatient: None, other: sqlite3.Connection, db: Database
) -> None:
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable) as caught:
        await db.write(add_key("a"))
    assert caught.value.retry_after
    assert names(db) == set()
    other.execute("ROLLBACK")
    await db.write(add_key("b"))
    assert names(db) == {"b"}


async def test_a_short_lock_is_waited_for(other: sqlite3.Connection, db: Database) -> None:
    other.execute("BEGIN IMMEDIATE")
    writing = asyncio.create_task(db.write(add_key("a")))
    done, _ = await asyncio.wait([writing], timeout=0.05)
    assert not done
    other.execute("ROLLBACK")
    assert await writing == 1


async def test_the_loop_never_waits_for_a_lock(path: Path, db: Database) -> None:
    await db.write(add_key("a"))
    assert db.read("PRAGMA busy_timeout")[0][0] < 1000


async def test_a_full_disk_is_told_as_one_and_recovers(db: Database) -> None:
    """SQLite gives up the whole transaction by itself: nobody in it may be told anything else."""
    pages = await db.write(lambda c: c.execute("PRAGMA page_count").fetchone()[0])
    await db.write(lambda c: c.execute(f"PRAGMA max_page_count = {pages}").fetchone())
    results = await asyncio.gather(
        db.write(add_key("small")), db.write(add_key("x" * 100_000)), return_exceptions=True
    )
    assert isinstance(results[1], StorageFull)
    assert results[0] == 1 or isinstance(results[0], StorageFull)
    assert names(db) == ({"small"} if results[0] == 1 else set())
    await db.write(lambda c: c.execute("PRAGMA max_page_count = 1000000").fetchone())
    await db.write(add_key("later"))
    assert "later" in names(db)


async def test_nobody_is_told_of_success_in_a_transaction_that_was_lost(db: Database) -> None:
    def disaster(connection: sqlite3.Connection) -> None:
        connection.execute("ROLLBACK")
        raise sqlite3.OperationalError("disk I/O error")

    results = await asyncio.gather(
        db.write(add_key("a")), db.write(disaster), db.write(add_key("b")), return_exceptions=True
    )
    told = {name for name, result in (("a", results[0]), ("b", results[2])) if result == 1}
    assert isinstance(results[1], Unavailable)
    assert results[1].detail == "disk I/O error"
    assert names(db) == told
    await db.write(add_key("later"))


# Opening


def test_a_new_database_is_for_its_owner_alone(path: Path) -> None:
    database.prepare(path)
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0


async def test_preparing_again_keeps_what_is_there(path: Path) -> None:
    database.prepare(path)
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO idempotency_keys (account, key, until) VALUES ('a', 'k', 1)")
    connection.close()
    database.prepare(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM idempotency_keys").fetchone() == (1,)
    connection.close()


def test_a_newer_database_is_refused_and_left_alone(path: Path) -> None:
    database.prepare(path)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {database.SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(DatabaseTooNew, match="newer convertd"):
        database.prepare(path)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (database.SCHEMA_VERSION + 1,)
    connection.close()


def test_a_file_that_is_no_database_is_told_as_one(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is no database at all, but long enough to be read as a header " * 20)
    with pytest.raises(Unavailable, match="not a database"):
        database.prepare(path)


def test_a_database_that_another_holds_cannot_be_prepared(impatient: None, path: Path) -> None:
    database.prepare(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable):
        database.prepare(path)
    other.close()


def test_a_schema_that_breaks_off_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    statements = database._statements("schema.sql")
    monkeypatch.setattr(database, "_statements", lambda name: [*statements[:3], "CREATE TABLE nonsense"])
    with pytest.raises(Unavailable):
        database.prepare(path)
    monkeypatch.undo()
    database.prepare(path)
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM jobs").fetchone() == (0,)
    connection.close()


# One moment


async def test_a_job_is_read_as_of_one_moment(
    db: Database, store: SqliteStore, other: sqlite3.Connection
) -> None:
    """A sweep that deletes the job between two of its statements must not leave a job without tasks."""
    job = make_job()
    await store.insert(job)

    def meddle(statement: str) -> None:
        if "FROM tasks" in statement:
            other.execute("DELETE FROM tasks")

    assert db._reader is not None
    db._reader.set_trace_callback(meddle)
    assert await store.get(job.id) == job
    db._reader.set_trace_callback(None)
    assert db.read("SELECT * FROM tasks") == []


async def turns_during(listing: Awaitable[Sized]) -> tuple[int, int]:
    """How much was listed, and how many turns the loop gave to another meanwhile."""
    taken = 0

    async def take() -> None:
        nonlocal taken
        while True:
            taken += 1
            await asyncio.sleep(0)

    taking = asyncio.create_task(take())
    listed = len(await listing)
    taking.cancel()
    return listed, taken


async def test_others_have_a_turn_between_any_two_that_are_listed(store: SqliteStore) -> None:
    job = make_job(callback=Callback(url="https://a.example/"))
    for more in (job, make_job(), make_job(), make_job(), make_job()):
        await store.insert(more)
    for _ in range(5):
        await store.update(job.id, partial(cancelled, now=NOW, retention=RETENTION))
        await store.update(job.id, partial(retried, now=NOW, deadline=NOW))
    for listing in (
        store.page(Selection(account="local"), limit=9),
        store.page_deliveries("local", dialect=None, limit=9),
        store.deliveries_of_job(job.id),
    ):
        listed, turns = await turns_during(listing)
        assert listed == 5 <= turns


@pytest.mark.parametrize(
    "change", ["DELETE FROM jobs", "UPDATE jobs SET state = 'cancelled', finished_at = 1"]
)
async def test_what_changes_while_it_is_listed_makes_room_for_others(
    store: SqliteStore, other: sqlite3.Connection, change: str
) -> None:
    jobs = [make_job(created_at=NOW - number) for number in range(4)]
    for job in jobs:
        await store.insert(job)
    selection = Selection(account="local", states=(State.QUEUED,))
    listing = asyncio.create_task(store.page(selection, limit=2))
    await asyncio.sleep(0)  # until the first was read
    other.execute(f"{change} WHERE id = ?", (jobs[1].id,))
    assert await listing == [jobs[0], jobs[2]]


async def test_a_delivery_that_goes_while_it_is_listed_is_left_out(
    store: SqliteStore, other: sqlite3.Connection
) -> None:
    callback = Callback(url="https://a.example/")
    owed = [trial("local", "native", callback, now=NOW - number) for number in range(2)]
    for delivery in owed:
        await store.add_delivery(delivery)
    listing = asyncio.create_task(store.page_deliveries("local", dialect=None, limit=2))
    await asyncio.sleep(0)
    other.execute("DELETE FROM deliveries WHERE id = ?", (owed[1].id,))
    assert await listing == [owed[0]]


async def test_two_processes_never_claim_the_same_job(path: Path, store: SqliteStore) -> None:
    second = await SqliteStore.open(path)
    jobs = [make_job() for _ in range(60)]
    await asyncio.gather(*(store.insert(job) for job in jobs))

    async def claimer(mine: SqliteStore) -> list[str]:
        taken: list[str] = []
        while (
            job := await mine.claim(partial(claimed, now=NOW, token="t", lease_until=NOW + 30), now=NOW)
        ) is not None:
            taken.append(job.id)
        return taken

    taken = await asyncio.gather(claimer(store), claimer(second))
    await second.close()
    assert sorted(taken[0] + taken[1]) == sorted(job.id for job in jobs)


async def test_the_loop_goes_on_while_something_is_searched_for(db: Database) -> None:
    counting = (
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) SELECT max(i) FROM n"
    )

    async def search() -> list[int]:
        return [row[0] for row in await db.search(counting, 300_000)]

    searching = asyncio.create_task(search())
    _, turns = await turns_during(searching)
    assert searching.result() == [300_000]
    assert turns > 10


async def test_a_search_changes_nothing_and_tells_of_faults(db: Database) -> None:
    with pytest.raises(Unavailable):
        await db.search("DELETE FROM jobs")
    with pytest.raises(sqlite3.ProgrammingError):
        await db.search("SELECT ?")
    await db.close()
    with pytest.raises(Unavailable):
        await db.search("SELECT 1")


# How it is read


async def plans(db: Database, asking: Awaitable[object]) -> list[str]:
    """How SQLite goes about each query that is asked."""
    asked: list[str] = []
    assert db._reader is not None
    db._reader.set_trace_callback(asked.append)
    await asking
    db._reader.set_trace_callback(None)
    queries = (sql for sql in asked if sql.startswith("SELECT"))
    return ["; ".join(step["detail"] for step in db.read(f"EXPLAIN QUERY PLAN {sql}")) for sql in queries]


@pytest.mark.parametrize(
    ("dialect", "states", "index"),
    [
        (None, (), "jobs_pages (account=?"),
        ("other", (), "jobs_pages_by_dialect (account=? AND dialect=?"),
        ("other", (State.QUEUED, State.RUNNING), "jobs_pages_by_dialect (account=? AND dialect=?"),
        (None, (State.QUEUED,), "jobs_pages_by_state (account=? AND state=?"),
    ],
)
async def test_listings_read_no_more_jobs_than_they_show(
    db: Database, store: SqliteStore, dialect: str | None, states: tuple[State, ...], index: str
) -> None:
    selection = Selection(account="local", dialect=dialect, states=states)
    assert await plans(db, store.page(selection, limit=9)) == [f"SEARCH jobs USING COVERING INDEX {index})"]
    (further,) = await plans(db, store.page(selection, after=Cursor(NOW, "x"), limit=9))
    assert further == f"SEARCH jobs USING COVERING INDEX {index} AND (created_at,id)<(?,?))"
    (count,) = await plans(db, store.count(selection))
    assert count.startswith("SEARCH jobs USING COVERING INDEX")
    assert count.endswith(index.partition(" ")[2] + ")")


def test_what_is_due_is_found_in_its_index_alone(other: sqlite3.Connection) -> None:
    """The rows have whole jobs in them."""
    steps = other.execute(f"EXPLAIN QUERY PLAN {_DUE}", (NOW, "[]", "[]", "[]", "[]", 9)).fetchall()
    assert steps[0][-1] == "SEARCH deliveries USING COVERING INDEX deliveries_due (next_at<?)"
    assert not any("B-TREE" in step[-1] for step in steps)


# What the schema holds


ENDED = {"state": State.SUCCEEDED, "finished_at": NOW}


@pytest.mark.parametrize(
    "changes",
    [
        {"finished_at": NOW},
        {"state": State.SUCCEEDED},
        {"state": State.RUNNING},
        {"state": State.RUNNING, "token": "t"},
        {"token": "t", "lease_until": NOW},
        {**ENDED, "state": State.FAILED},
        {**ENDED, "error": Failure("timeout", "m")},
        {"state": "lost"},
        {"attempt": -1},
        {"tasks": (make_task(progress=1.5),)},
        {"tasks": (make_task(progress=-0.5),)},
        {"tasks": (make_task(progress=float("nan")),)},
        {"tasks": (make_task(attempts=-1),)},
        {"tasks": (make_task(state=State.FAILED),)},
        {"inputs": (make_artifact("k", bytes=-1),)},
        {"inputs": (make_artifact("k", task=0),)},
        {"outputs": (make_artifact("k"),)},
        {"inputs": (make_artifact("same"), make_artifact("same"))},
        {"created_at": "yesterday"},
    ],
    ids=lambda changes: "-".join(changes),
)
async def test_the_schema_refuses_what_no_rule_makes(
    db: Database, store: SqliteStore, changes: dict[str, Any]
) -> None:
    broken: Job = replace(make_job(), **changes)
    with pytest.raises(sqlite3.IntegrityError):
        await store.insert(broken)
    for table in ("jobs", "tasks", "artifacts"):
        assert db.read(f"SELECT * FROM {table}") == []
