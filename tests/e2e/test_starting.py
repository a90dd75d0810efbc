"""What the command says when it starts, and when it must not."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sqlite3
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.e2e.conftest import Start
from tests.support.api import Api
from tests.support.server import ServerProcess, convertd


def refused(*arguments: str, **settings: str) -> str:
    """What ``convertd serve`` says on its way out."""
    env = {f"CONVERTD_{name}": value for name, value in settings.items()}
    ended = convertd("serve", *arguments, env=env)
    assert ended.returncode == 1, ended
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    return ended.stderr


async def test_it_says_when_it_answers(start: Start, session: ClientSession) -> None:
    server = start()
    print(f"ready after {server.seconds_to_ready:.2f} s")
    assert (await Api(session, server.url).get("/healthz")).status == 200
    ready = (await Api(session, server.url).get("/readyz")).json
    assert ready["checks"] == dict.fromkeys(("database", "disk", "sandbox", "workers"), "ok")
    listening, data_dir, workers, sandbox, engines = server.greeting
    assert listening == f"convertd listening on http://127.0.0.1:{server.port}"
    assert data_dir == f"data directory: {server.data_dir}"
    assert workers.startswith("workers: ")
    assert "resource limits" in sandbox
    assert "Pillow" in engines


async def test_it_is_not_ready_while_its_database_cannot_be_written(
    start: Start, session: ClientSession
) -> None:
    server = start()
    api = Api(session, server.url)
    with contextlib.closing(sqlite3.connect(server.data_dir / "convertd.sqlite3")) as other:
        other.execute("BEGIN IMMEDIATE")
        problem = (await api.get("/readyz")).problem(503, "unavailable")
        assert "database" in problem["detail"]
        assert "disk" not in problem["detail"]
        assert (await api.get("/healthz")).status == 200
        other.rollback()
    async with asyncio.timeout(10):
        while (await api.get("/readyz")).status != 200:
            pass


async def test_its_facts(api: Api) -> None:
    version = (await api.get("/version")).json
    assert version["engines"].keys() >= {"pillow", "pyav", "pdfium"}
    formats = (await api.get("/formats?source=png&target=webp")).json
    assert [route["operation"] for route in formats["routes"]].count("convert") == 1


def test_the_data_directory_is_its_owners_alone(start: Start) -> None:
    data_dir = start().data_dir
    secret = (
        "",
        "link-secret",
        "lock",
        "convertd.sqlite3",
        "convertd.sqlite3-wal",
        "files/blobs",
        "files/work",
    )
    for name in secret:
        assert (data_dir / name).stat().st_mode & 0o077 == 0, name


def test_a_relative_data_directory(tmp_path: Path, start: Start) -> None:
    server = start("--data-dir", "inner/data")
    assert server.greeting[1] == f"data directory: {tmp_path}/inner/data"


def test_a_second_server_on_the_same_data(start: Start) -> None:
    server = start()
    said = refused("--port", "0", "--data-dir", str(server.data_dir))
    assert "Another convertd runs" in said
    assert "--data-dir" in said


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = refused("--port", port, "--data-dir", str(tmp_path / "data"))
    assert port in said
    assert "--port" in said


def test_an_address_that_is_not_this_machines(tmp_path: Path, start: Start) -> None:
    key_made = convertd("keys", "create", "x", "--data-dir", str(tmp_path / "data"))
    assert key_made.returncode == 0
    said = refused("--host", "203.0.113.7", "--port", "0", "--data-dir", str(tmp_path / "data"))
    assert "203.0.113.7" in said


def test_a_data_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    assert str(tmp_path / "data") in refused("--port", "0", "--data-dir", str(tmp_path / "data" / "inner"))


def test_a_database_of_a_later_version(tmp_path: Path, start: Start) -> None:
    server = start()
    server.stop()
    connection = sqlite3.connect(server.data_dir / "convertd.sqlite3")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert "version 99" in refused("--port", "0", "--data-dir", str(server.data_dir))


def test_a_database_that_is_none(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    (data_dir / "convertd.sqlite3").write_bytes(b"this is no database" * 1000)
    assert "convertd.sqlite3" in refused("--port", "0", "--data-dir", str(data_dir))


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_an_open_address_without_a_key(tmp_path: Path, host: str) -> None:
    said = refused("--host", host, "--port", "0", "--data-dir", str(tmp_path / "data"))
    assert f"convertd keys create NAME --data-dir {tmp_path / 'data'}" in said


def test_all_faults_of_the_settings_at_once(tmp_path: Path) -> None:
    file = tmp_path / "convertd.toml"
    file.write_text('port = 70000\n[limits]\nupload = "much"\nuplaod = 5\n')
    said = refused("--config", str(file), JOBS_LEASE="5s", RETENTION_LINKS="soon")
    for name in ("port", "limits.upload", "uplaod", "jobs.heartbeat", "retention.links", "5 faults"):
        assert name in said, said


def test_a_settings_file_that_is_missing_or_broken(tmp_path: Path) -> None:
    assert "nowhere.toml" in refused("--config", str(tmp_path / "nowhere.toml"))
    (tmp_path / "broken.toml").write_text("[limits\n")
    assert "broken.toml" in refused("--config", str(tmp_path / "broken.toml"))


def test_an_engine_module_that_is_missing(tmp_path: Path) -> None:
    said = refused("--port", "0", "--data-dir", str(tmp_path / "data"), ENGINES_MODULES="acme.engines.dwg")
    assert "acme.engines.dwg" in said


def test_the_flag_wins_over_the_environment_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "convertd.toml"
    file.write_text("workers = 3\n[jobs]\nattempts = 7\n")
    server = ServerProcess(
        tmp_path / "data", "--config", str(file), "--workers", "5", env={"CONVERTD_WORKERS": "4"}
    )
    try:
        assert server.start().greeting[2] == "workers: 5"
    finally:
        server.dispose()


def test_the_settings_are_checked_without_a_start(tmp_path: Path) -> None:
    file = tmp_path / "convertd.toml"
    file.write_text("workers = 3\n")
    assert convertd("check-config", "--config", str(file)).returncode == 0
    assert convertd("check-config", env={"CONVERTD_PORT": "x"}).returncode == 1


def test_what_can_be_done_is_listed(tmp_path: Path) -> None:
    listed = convertd("formats", "--source", "png", "--operation", "convert")
    assert "webp" in listed.stdout
    examined = convertd("doctor", "--data-dir", str(tmp_path / "data"))
    assert examined.returncode == 0, examined.stdout
    assert "Pillow" in examined.stdout


def test_a_sandbox_that_can_run_nothing(tmp_path: Path) -> None:
    said = refused(
        *("--port", "0", "--data-dir", str(tmp_path / "data")), ENGINES_MODULES="tests.support.broken_sandbox"
    )
    assert "sandbox can run no conversion" in said
    assert "Permission denied" in said
    examined = convertd(
        *("doctor", "--data-dir", str(tmp_path / "data")),
        env={"CONVERTD_ENGINES_MODULES": "tests.support.broken_sandbox"},
    )
    assert examined.returncode == 1
    assert "MISS  sandbox: The sandbox can run no conversion" in examined.stdout


async def test_an_engine_that_cannot_be_loaded_counts_as_missing(
    start: Start, session: ClientSession
) -> None:
    server = start(ENGINES_MODULES="tests.support.broken_engine")
    assert "Broken" not in server.greeting[4]
    reply = await Api(session, server.url).submit(b"words", filename="a.txt", operation="break", to="txt")
    told = reply.problem(415, "engine_missing")["detail"]
    assert "libbroken.so: undefined symbol" in told
    assert "/opt" not in told
    examined = convertd("doctor", env={"CONVERTD_ENGINES_MODULES": "tests.support.broken_engine"})
    assert "MISS  Broken: it cannot be loaded (OSError: libbroken.so: undefined symbol" in examined.stdout
