"""A full disk: refused before acceptance, failed with a word for it after, and well again by itself."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.e2e.conftest import Start
from tests.support import samples
from tests.support.api import Api
from tests.support.data_dir import blobs, check_files_and_rows, working_files

PNG = samples.picture()
MB = 1024**2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        command = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=0700", "tmpfs", str(place)]
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root may mount a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path, leave: int) -> Path:
    """A file that takes all room but ``leave`` bytes."""
    found = os.statvfs(place)
    free = found.f_bavail * found.f_frsize
    filler = place / "filler"
    # The server may take a page for itself meanwhile; then the disk is as full as was wanted.
    with contextlib.suppress(OSError):
        filler.write_bytes(bytes(free - leave))
    return filler


async def test_an_upload_without_room(start: Start, session: ClientSession, small_disk: Path) -> None:
    server = start(data_dir=small_disk / "data")
    api = Api(session, server.url)
    noise = os.urandom(30 * MB)
    reply = await api.submit(noise, to="webp", filename="a.png", source="png")
    reply.problem(507, "storage_full")
    assert blobs(server.data_dir) == {}
    assert working_files(server.data_dir) == []
    assert (await api.get("/readyz")).status == 503  # far too little room for a server
    job = (await api.submit(PNG, to="webp", filename="a.png", wait=30)).job(200)
    assert job["status"] == "succeeded"


async def test_a_result_without_room(start: Start, session: ClientSession, small_disk: Path) -> None:
    server = start(data_dir=small_disk / "data")
    api = Api(session, server.url)
    picture = samples.picture(width=3000, height=2000)  # 18 MB as a BMP
    filler = fill(small_disk, 8 * MB)
    job = (await api.submit(picture, to="bmp", filename="a.png", wait=30)).job(200)
    assert (job["status"], job["error"]["code"]) == ("failed", "storage_full"), server.log
    assert working_files(server.data_dir) == []
    filler.unlink()
    (await api.request("POST", f"/jobs/{job['id']}/retry")).job(202)
    assert (await api.ended(job["id"]))["status"] == "succeeded"
    check_files_and_rows(server.data_dir)


async def test_a_database_without_room(start: Start, session: ClientSession, small_disk: Path) -> None:
    server = start(data_dir=small_disk / "data")
    api = Api(session, server.url)
    made = (await api.submit(PNG, to="webp", filename="a.png", wait=30)).job(200)
    filler = fill(small_disk, 0)
    reply = await api.submit(PNG, to="webp", filename="a.png")
    assert reply.status in (503, 507)
    reply.any_problem()
    assert (await api.job(made["id"]))["status"] == "succeeded"
    assert len(await api.download(made["outputs"][0])) > 0
    filler.unlink()
    job = (await api.submit(PNG, to="webp", filename="a.png", wait=30)).job(200)
    assert job["status"] == "succeeded"
    server.stop()
    check_files_and_rows(server.data_dir)
