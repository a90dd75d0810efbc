"""Archives through the real command: made by jobs, and of jobs."""

from __future__ import annotations

import io
import re
import time
import zipfile
from pathlib import Path

import pytest
from aiohttp import ClientSession, FormData

from convertd.app import open_keyring
from tests.e2e.conftest import Start
from tests.support import samples
from tests.support.api import Api
from tests.support.archives import FILES, checked, contents, packed
from tests.support.data_dir import blobs
from tests.support.server import ServerProcess

PNG = samples.picture()


def form(*files: tuple[str, bytes], **fields: str) -> FormData:
    made = FormData(quote_fields=False)
    for name, data in files:
        made.add_field("file", data, filename=name)
    for name, value in fields.items():
        made.add_field(name, value)
    return made


async def read(api: Api, url: str) -> dict[str, bytes]:
    """The files of an archive, which came whole and as a download."""
    reply = await api.get(url)
    assert reply.status == 200, reply.body[:300]
    assert reply.headers["Content-Type"] == "application/zip"
    assert re.fullmatch(
        r'attachment; filename="(a|[0-9a-f-]{36})\.zip"', reply.headers["Content-Disposition"]
    )
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert int(reply.headers["Content-Length"]) == len(reply.body)
    head = await api.request("HEAD", url)
    assert (head.status, head.body, head.headers["Content-Length"]) == (
        *(200, b"", reply.headers["Content-Length"]),
    )
    with zipfile.ZipFile(io.BytesIO(reply.body)) as archive:
        assert archive.testzip() is None
        return {info.filename: archive.read(info) for info in archive.infolist()}


async def test_all_outputs_come_as_one_zip(api: Api, tmp_path: Path) -> None:
    files = [("a.png", PNG), ("b/a.png", samples.picture(seed=2)), ("ü.png", PNG)]
    job = (await api.submit(form(*files, to="webp", archive="true"), wait=30)).job(200)
    found = await read(api, job["archive_url"])
    assert list(found) == ["a.webp", "a (2).webp", "ü.webp"]
    assert list(found.values()) == [await api.download(output) for output in job["outputs"]]
    assert await read(api, job["links"]["archive"]) == found
    path = tmp_path / "all.zip"
    path.write_bytes((await api.get(job["archive_url"])).body)
    checked(path, "zip")


async def test_an_archive_of_large_outputs_is_whole(api: Api) -> None:
    noise = samples.wav(60)
    files = [("a.wav", noise), ("b.wav", noise)]
    job = (await api.submit(form(*files, to="aiff", archive="1"), wait=30)).job(200)
    found = await read(api, job["archive_url"])
    assert [len(data) for data in found.values()] == [output["bytes"] for output in job["outputs"]]


async def test_it_is_offered_when_asked_for_and_ready(api: Api) -> None:
    done = (await api.submit(PNG, to="webp", filename="a.png", wait=30)).job(200)
    assert "archive_url" not in done
    assert list(await read(api, f"/jobs/{done['id']}/archive")) == ["a.webp"]
    failed = (await api.submit(PNG[:5000], to="webp", filename="a.png", archive="true", wait=30)).job(200)
    assert failed["status"] == "failed"
    assert "archive_url" not in failed
    (await api.get(f"/jobs/{failed['id']}/archive")).problem(404, "not_found")
    running = await api.linger(3600, archive="true")
    assert "archive_url" not in running
    (await api.get(f"/jobs/{running['id']}/archive")).problem(409, "not_ready")
    await api.request("DELETE", f"/jobs/{running['id']}")
    (await api.get("/jobs/0190a1b2/archive")).problem(404, "not_found")
    (await api.get(f"/jobs/{done['id']}/archive?x=1")).problem(400, "invalid_request")


async def test_a_link_opens_nothing_else(api: Api) -> None:
    jobs = [
        (await api.submit(PNG, to="webp", filename="a.png", archive="true", wait=30)).job(200)
        for _ in range(2)
    ]
    swapped = jobs[0]["archive_url"].replace(jobs[0]["id"], jobs[1]["id"])
    assert swapped != jobs[0]["archive_url"]
    (await api.get(swapped)).problem(410, "expired")


async def test_others_have_no_access_but_by_link(
    start: Start, session: ClientSession, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    with open_keyring(tmp_path / "data") as keyring:
        keys = [keyring.create(name, account=name, now=time.time()) for name in ("one", "two")]
    server: ServerProcess = start(data_dir=tmp_path / "data")
    one, two = (Api(session, server.url, {"Authorization": f"Bearer {key}"}) for key in keys)
    job = (await one.submit(PNG, to="webp", filename="a.png", archive="true", wait=30)).job(200)
    (await two.get(f"/jobs/{job['id']}/archive")).problem(404, "not_found")
    stranger = Api(session, server.url)
    (await stranger.get(f"/jobs/{job['id']}/archive")).problem(401, "unauthorized")
    assert list(await read(stranger, job["archive_url"])) == ["a.webp"]


async def test_a_file_that_is_gone_is_told_before_the_first_byte(
    start: Start, session: ClientSession
) -> None:
    server = start()
    api = Api(session, server.url)
    job = (await api.submit(form(("a.png", PNG), ("b.png", PNG), to="webp"), wait=30)).job(200)
    output = next(path for path in (server.data_dir / "files").rglob(f"{job['id']}-1-*"))
    output.unlink()
    (await api.get(f"/jobs/{job['id']}/archive")).problem(410, "expired")
    assert len(blobs(server.data_dir)) == 3


# Jobs that make archives


async def test_files_are_packed(api: Api, tmp_path: Path) -> None:
    files = [("a.png", PNG), ("notes.txt", b"words\n"), ("a.png", PNG)]
    job = (await api.submit(form(*files, operation="archive", to="tgz"), wait=30)).job(200)
    assert job["status"] == "succeeded", job["error"]
    (output,) = job["outputs"]
    assert (output["name"], output["format"], output["members"]) == ("a.tgz", "tgz", 3)
    path = tmp_path / output["name"]
    path.write_bytes(await api.download(output))
    checked(path, "tgz")
    assert contents(path, "tgz") == {"a.png": PNG, "notes.txt": b"words\n", "a (2).png": PNG}


@pytest.mark.parametrize(
    ("name", "source", "fields", "made"),
    [
        ("a.zip", "zip", {"to": "tar"}, "a.tar"),
        ("a.zip", "zip", {"to": "xz"}, "a.tar.xz"),
        ("a.tar.gz", "tgz", {"to": "zip"}, "a.zip"),
        ("a.txt.gz", "gz", {"to": "bz2"}, "a.txt.bz2"),
        ("a.txt.xz", "xz", {"to": "zip"}, "a.txt.zip"),
        ("a.zip", "zip", {"to": "gz", "operation": "archive"}, "a.zip.gz"),
        ("a.zip", "zip", {"operation": "archive"}, "a.zip"),
    ],
)
async def test_archives_are_named_as_people_expect(
    api: Api, name: str, source: str, fields: dict[str, str], made: str
) -> None:
    job = (await api.submit(packed(source, FILES), filename=name, wait=30, **fields)).job(200)
    assert [output["name"] for output in job["outputs"]] == [made], job["error"]


async def test_what_is_not_offered_is_told(api: Api) -> None:
    problem = (await api.submit(PNG, to="rar", operation="archive", filename="a.png")).problem(
        415, "unsupported_format"
    )
    assert "possible targets: bz2, gz, tar, tgz, xz, zip" in problem["detail"]
    rar = b"Rar!\x1a\x07\x01\x00" + bytes(100)
    problem = (await api.submit(rar, to="zip", filename="a.rar")).problem(415, "unsupported_format")
    assert "convert for rar" in problem["detail"]
    two = form(("a.png", PNG), ("b.png", PNG), operation="archive", to="gz")
    assert (await api.submit(two)).problem(400, "invalid_request")["field"] == "file"
