"""Databases of earlier versions open, with everything that was in them."""

from __future__ import annotations

import re
import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from convertd.errors import Unavailable
from convertd.jobs import database
from convertd.jobs.sqlite import SqliteStore
from convertd.jobs.store import IdempotencyKey, Reservation
from convertd.model.job import Callback, Failure, Job, State, cancelled, retried
from convertd.model.usage import Usage, usage_of
from tests.support.jobs import NOW, RETENTION, make_artifact, make_job, make_task

SCHEMA_1 = Path(__file__).parent.parent / "support" / "schema_1.sql"
KEY = IdempotencyKey(account="local", key="k", fingerprint="f", expires_at=NOW + 100)
A_MONTH = 31 * 86_400.0


def succeeded(**changes: Any) -> Job:
    """An ended job: one task saved bytes, one made its file larger, one was cancelled."""
    job = make_job(state=State.SUCCEEDED, finished_at=NOW, **changes)
    inputs = (make_artifact(f"{job.id}-0", bytes=100), make_artifact(f"{job.id}-1", bytes=10, gone=True))
    tasks = (
        make_task(state=State.SUCCEEDED, inputs=(0, 1)),
        make_task(state=State.SUCCEEDED, inputs=(1,)),
        make_task(state=State.CANCELLED),
    )
    outputs = (
        make_artifact(f"{job.id}-2", task=0, bytes=20),
        make_artifact(f"{job.id}-3", task=0, bytes=20),
        make_artifact(f"{job.id}-4", task=1, bytes=999),
    )
    return replace(job, inputs=inputs, tasks=tasks, outputs=outputs)


def failed() -> Job:
    error = Failure("file_invalid", "It is damaged.")
    task = make_task(state=State.FAILED, error=error)
    return replace(make_job(), state=State.FAILED, finished_at=NOW, error=error, tasks=(task,))


JOBS = (
    make_job(),
    make_job(state=State.RUNNING, token="t", lease_until=NOW + 9),
    succeeded(),
    replace(succeeded(), finished_at=NOW + A_MONTH),
    succeeded(account="anna", dialect="other"),
    failed(),
)


@pytest.fixture
async def old(tmp_path: Path) -> Path:
    """A database of version 1 with :data:`JOBS`, made of the rows that the present version writes."""
    present = tmp_path / "present.db"
    store = await SqliteStore.open(present)
    for job in JOBS[1:]:
        await store.insert(job)
    await store.insert(JOBS[0], KEY)
    await store.close()
    path = tmp_path / "old.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(SCHEMA_1.read_text())
        connection.execute("ATTACH ? AS present", (str(present),))
        for table in ("jobs", "tasks", "artifacts", "idempotency_keys"):
            columns = ", ".join(row[1] for row in connection.execute(f"PRAGMA table_info({table})"))
            connection.execute(f"INSERT INTO main.{table} SELECT {columns} FROM present.{table}")
        connection.execute("INSERT INTO api_keys VALUES (1, 'n', 'a', 'cvd_1', 'd', 1.5, NULL)")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    return path


async def test_what_was_there_is_kept(old: Path) -> None:
    store = await SqliteStore.open(old)
    for job in JOBS:
        assert await store.get(job.id) == job
    taken = await store.reserve("local", "native:k", now=NOW, until=NOW + 1)
    assert taken == Reservation(job_id=JOBS[0].id, fingerprint="f")
    await store.close()
    with sqlite3.connect(old) as connection:
        assert connection.execute("SELECT name, digest FROM api_keys").fetchall() == [("n", "d")]
    connection.close()


async def test_what_had_ended_is_counted_as_if_it_ended_now(old: Path) -> None:
    store = await SqliteStore.open(old)

    async def used(account: str, month: str | None = None, dialect: str | None = None) -> Usage:
        return await store.count_usage(account, dialect=dialect, since_month=month)

    one = usage_of(succeeded())
    assert one == Usage(jobs=1, succeeded=1, input_bytes=110, output_bytes=1039, saved_bytes=70)
    assert await used("local") == one + one + usage_of(failed())
    assert await used("local", "1970-02") == one
    assert await used("anna", dialect="other") == one
    assert await used("anna", dialect="native") == Usage()
    await store.update(JOBS[-1].id, partial(retried, now=NOW, deadline=NOW + 9))
    assert await used("local") == one + one
    await store.close()


async def test_an_upgraded_database_takes_callbacks(old: Path) -> None:
    store = await SqliteStore.open(old)
    job = make_job(callback=Callback(url="https://a.example/"))
    await store.insert(job)
    await store.update(job.id, partial(cancelled, now=NOW, retention=RETENTION))
    assert len(await store.deliveries_of_job(job.id)) == 1
    await store.close()


def shape(path: Path) -> tuple[dict[str, list[str]], dict[str, list[Any]]]:
    """Words of every definition, whatever their order and comments, and the columns in theirs."""
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
        words = {name: sorted(re.findall(r"\w+|[^\w\s,]", re.sub("--.*", "", sql))) for name, sql in rows}
        columns = {
            name: [
                connection.execute(f"PRAGMA {what}({name})").fetchall()
                for what in ("table_xinfo", "index_xinfo")
            ]
            for name in words
        }
        version = connection.execute("PRAGMA user_version").fetchall()
    connection.close()
    return words, columns | {"version": version}


def test_an_upgraded_database_has_the_shape_of_a_new_one(old: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.db"
    database.prepare(new)
    assert shape(old) != shape(new)
    database.prepare(old)
    assert shape(old) == shape(new)


def test_an_upgrade_that_breaks_off_leaves_the_old_database(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = shape(old)
    statements = database._statements("upgrade_2.sql")
    monkeypatch.setattr(database, "_statements", lambda name: [*statements, "CREATE TABLE nonsense"])
    with pytest.raises(Unavailable):
        database.prepare(old)
    assert shape(old) == before
    monkeypatch.undo()
    database.prepare(old)
    assert shape(old) != before


async def test_an_older_server_goes_on_while_another_process_upgrades(old: Path) -> None:
    """As when a command of the new version is given before the server is restarted."""
    server = sqlite3.connect(old, isolation_level=None)
    server.execute("PRAGMA foreign_keys = ON")
    columns = [row[1] for row in server.execute("PRAGMA table_info(jobs)")]
    (row,) = server.execute("SELECT * FROM jobs WHERE id = ?", (JOBS[0].id,)).fetchall()
    database.prepare(old)
    late = dict(zip(columns, row, strict=True)) | {"id": "late"}
    marks = ", ".join(f":{name}" for name in columns)
    server.execute(f"INSERT INTO jobs ({', '.join(columns)}) VALUES ({marks})", late)
    server.execute("UPDATE jobs SET state = 'cancelled', finished_at = 1 WHERE id = 'late'")
    server.close()
    store = await SqliteStore.open(old)
    brief = await store.brief("late")
    assert brief is not None
    assert brief.state is State.CANCELLED
    await store.close()
