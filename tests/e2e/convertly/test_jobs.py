"""Jobs: submitted, polled, downloaded, listed, cancelled, repeated."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from shutil import which
from typing import Any

import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from PIL import Image

from tests.e2e.conftest import Start
from tests.e2e.convertly.client import JOB, PAGE, Convertly, check, connected, error
from tests.e2e.test_access import create_key
from tests.support import samples
from tests.support.server import PATIENCE, ServerProcess

PNG = ("a.png", samples.picture())
JPG = ("b.jpg", samples.picture("JPEG", 1600, 1200))
MP4 = ("c.mp4", samples.mp4(2))


def size_of(body: bytes) -> tuple[str | None, tuple[int, int]]:
    with Image.open(io.BytesIO(body)) as image:
        image.load()
        return image.format, image.size


async def test_a_batch_with_settings_for_each_file(convertly: Convertly) -> None:
    created = await convertly.create(
        PNG, JPG, formats=["webp", "avif"], compressions=[70, 60], resizes=["original", "website"],
        resizeWidths=[None, None], saveToStorage="true",
    )  # fmt: skip
    job = await convertly.wait(created["jobId"])
    assert (job["status"], job["jobType"], job["errorMessage"]) == ("completed", "convert", None)
    assert (job["totalFiles"], job["completedFiles"], job["failedFiles"], job["progress"]) == (2, 2, 0, 100)
    assert job["createdAt"] <= job["completedAt"] == job["updatedAt"]
    first, second = job["results"]
    assert (first["filename"], first["mimeType"], first["appliedQuality"]) == ("a.webp", "image/webp", 70)
    assert (second["filename"], second["mimeType"], second["appliedQuality"]) == ("b.avif", "image/avif", 60)
    assert (first["originalSize"], second["originalSize"]) == (len(PNG[1]), len(JPG[1]))
    assert first["savedPercent"] == round(100 - 100 * first["finalSize"] / first["originalSize"], 1)
    assert size_of(await convertly.download(first)) == ("WEBP", (320, 240))
    assert size_of(await convertly.download(second)) == ("AVIF", (1600, 1200))
    again = await convertly.job(job["jobId"])
    assert [r["storedFileId"] for r in again["results"]] == [first["storedFileId"], second["storedFileId"]]


async def test_a_job_that_waits_has_no_results(start: Start) -> None:
    """One worker, busy with a job of another API, keeps the others waiting."""
    server = start(WORKERS="1")
    async with connected(server.url) as convertly:
        headers = {"Content-Type": "application/octet-stream"}
        linger = {"operation": "linger", "to": "txt", "seconds": "600"}
        busy = (await convertly.http.post("/jobs", params=linger, content=b"slow\n", headers=headers)).json()
        created = await convertly.create(PNG, format="webp", createArchive="true")
        job = await convertly.job(created["jobId"])
        assert (job["status"], job["results"], job["progress"], job["completedAt"]) == (
            "pending",
            None,
            0,
            None,
        )
        assert job["archiveUrl"] is None

        reply = await convertly.http.delete(f"/api/jobs/{created['jobId']}")
        assert reply.status_code == 200
        cancelled = check(reply.json(), JOB)
        assert (cancelled["status"], cancelled["errorMessage"]) == ("failed", "Cancelled.")
        assert (cancelled["failedFiles"], cancelled["completedFiles"]) == (1, 0)
        assert "failed" in error(await convertly.http.delete(f"/api/jobs/{created['jobId']}"), 409)

        films = await convertly.create(*[MP4] * 4, format="webm")
        (await convertly.http.delete(f"/jobs/{busy['id']}")).raise_for_status()
        await convertly.wait(films["jobId"], "processing")
        refused = error(await convertly.http.delete(f"/api/jobs/{films['jobId']}"), 409)
        assert "processing" in refused
        (await convertly.http.delete(f"/jobs/{films['jobId']}")).raise_for_status()


async def test_some_fail_and_all_fail(convertly: Convertly) -> None:
    cut = ("cut.png", PNG[1][:5000])
    job = await convertly.wait((await convertly.create(PNG, cut, format="webp"))["jobId"])
    assert (job["status"], job["errorMessage"]) == ("completed", None)
    assert (job["completedFiles"], job["failedFiles"], len(job["results"])) == (1, 1, 1)
    assert [failure["filename"] for failure in job["failures"]] == ["cut.png"]

    job = await convertly.wait((await convertly.create(cut, format="webp"))["jobId"])
    assert (job["status"], job["results"], job["failedFiles"]) == ("failed", None, 1)
    assert len(job["errorMessage"]) > 10


async def test_the_list(start: Start) -> None:
    server = start()
    async with connected(server.url) as convertly:
        ids = [(await convertly.create(PNG, format="webp"))["jobId"] for _ in range(3)]
        ids.append((await convertly.create(("cut.png", PNG[1][:5000]), format="webp"))["jobId"])
        for job_id in ids:
            await convertly.wait(job_id)
        foreign = await convertly.http.post("/jobs?to=webp&filename=a.png", content=PNG[1])
        assert error(await convertly.http.get(f"/api/jobs/{foreign.json()['id']}"), 404)

        async def page(**query: Any) -> tuple[list[str], dict[str, Any]]:
            reply = await convertly.http.get("/api/jobs", params=query)
            document = check(reply.json(), PAGE)
            return [job["jobId"] for job in document["jobs"]], document["pagination"]

        newest_first = ids[::-1]
        assert await page() == (newest_first, {"limit": 20, "offset": 0, "total": 4, "hasMore": False})
        assert await page(limit=2, offset=1) == (
            newest_first[1:3], {"limit": 2, "offset": 1, "total": 4, "hasMore": True}
        )  # fmt: skip
        assert (await page(status="failed"))[0] == newest_first[:1]
        assert (await page(status="COMPLETED"))[0] == newest_first[1:]
        assert await page(limit="", offset="", status="") == await page()
        assert (await page(status="pending"))[0] == (await page(status="processing"))[0] == []
        for query in ({"limit": 0}, {"limit": 101}, {"limit": "x"}, {"offset": -1}, {"status": "done"}):
            assert error(await convertly.http.get("/api/jobs", params=query), 400)


async def test_an_archive_of_all_results(convertly: Convertly) -> None:
    created = await convertly.create(PNG, JPG, format="webp", createArchive="true")
    job = await convertly.wait(created["jobId"])
    archive = job["results"][-1]
    assert archive["mimeType"] == "application/zip"
    assert archive["filename"].endswith(".zip")
    assert archive["downloadUrl"] == job["archiveUrl"]
    with zipfile.ZipFile(io.BytesIO(await convertly.download(archive))) as opened:
        assert opened.testzip() is None
        assert opened.namelist() == ["a.webp", "b.webp"]


def packed(*members: tuple[str, bytes]) -> bytes:
    """A ZIP."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, body in members:
            archive.writestr(name, body)
    return out.getvalue()


ODD = (("photo.xmp", b"\x00\x01\x02no format\xff\xfe"), ("readme.html", b"<!doctype html><p>hello"))


async def test_members_of_a_zip_of_which_nothing_can_be_made_are_passed_over(convertly: Convertly) -> None:
    mixed = ("z.zip", packed(PNG, ODD[0], ("b.png", samples.picture(seed=1)), ODD[1]))
    created = await convertly.create(mixed, JPG, formats=["webp", "avif"], idempotencyKey="mixed")
    job = await convertly.wait(created["jobId"])
    assert (job["status"], job["totalFiles"], job["completedFiles"], job["failedFiles"]) == (
        ("completed", 5, 3, 2)
    )
    assert [result["filename"] for result in job["results"]] == ["a.webp", "b.webp", "b.avif"]
    assert [failure["filename"] for failure in job["failures"]] == ["photo.xmp", "readme.html"]
    answer = await convertly.convert(mixed, format="webp")
    assert [failure["filename"] for failure in answer["failures"]] == ["photo.xmp", "readme.html"]
    smaller = await convertly.convert(mixed, path="/api/compress")
    assert [file["filename"] for file in smaller["files"]] == ["a.png", "b.png"]


async def test_results_of_one_name_can_be_told_apart(convertly: Convertly) -> None:
    same = [(f"d{number}/same.png", samples.picture(seed=number)) for number in range(3)]
    names = ["same.webp", "same (2).webp", "same (3).webp"]
    answer = await convertly.convert(("z.zip", packed(*same)), format="webp", createArchive="true")
    *files, archive = answer["files"]
    assert [file["filename"] for file in files] == names
    with zipfile.ZipFile(io.BytesIO(await convertly.download(archive))) as opened:
        assert opened.namelist() == names
    twice = await convertly.tool("thumbnail", same[0], same[1], format="webp")
    assert [file["filename"] for file in twice["files"]] == names[:2]


async def test_odd_files_are_refused_where_they_came_alone_or_nothing_is_left(convertly: Convertly) -> None:
    only_odd = ("z.zip", packed(*ODD))
    assert "photo.xmp" in error(await convertly.post("/api/jobs", only_odd, format="webp"), 415)
    for odd in ODD:
        assert error(await convertly.post("/api/jobs", PNG, odd, format="webp"), 415)


async def test_members_of_a_zip_take_its_settings(convertly: Convertly) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("one/a.png", PNG[1])
        archive.writestr("b.jpg", JPG[1])
    created = await convertly.create(
        JPG, ("z.zip", packed.getvalue()), PNG, formats=["png", "webp", "gif"], compressions=[1, 40, 1]
    )
    job = await convertly.wait(created["jobId"])
    told = [(result["filename"], result["appliedQuality"]) for result in job["results"]]
    assert told == [("b.png", None), ("a.webp", 40), ("b.webp", 40), ("a.gif", None)]
    assert job["totalFiles"] == 4


async def test_the_same_file_under_both_names_counts_once(convertly: Convertly) -> None:
    reply = await convertly.post("/api/jobs", PNG, JPG, format="webp", more=[("file", PNG)])
    job = await convertly.wait(reply.json()["jobId"])
    assert [result["filename"] for result in job["results"]] == ["a.webp", "b.webp"]
    twice = await convertly.wait((await convertly.create(PNG, PNG, format="webp"))["jobId"])
    assert twice["totalFiles"] == 2


async def test_names_as_php_writes_them(convertly: Convertly) -> None:
    more = [("files[1]", JPG), ("formats[0]", (None, b"webp")), ("formats[1]", (None, b"avif"))]
    reply = await convertly.post("/api/jobs", PNG, part="files[0]", more=more)
    job = await convertly.wait(reply.json()["jobId"])
    assert [result["filename"] for result in job["results"]] == ["a.webp", "b.avif"]


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({}, "format"),
        ({"formats": ["webp"]}, "formats"),
        ({"formats": ["webp", "avif", "png"]}, "formats"),
        ({"formats": ["webp", None]}, "format"),
        ({"formats": '["webp"'}, "formats"),
        ({"format": "nonsense"}, "format"),
        ({"format": "webp", "compression": "0"}, "compression"),
        ({"format": "webp", "compressions": [82, 101]}, "compression"),
        ({"format": "webp", "compression": "good"}, "compression"),
        ({"format": "webp", "compression": "8.5"}, "compression"),
        ({"format": "webp", "resize": "huge"}, "resize"),
        ({"format": "webp", "resize": "width"}, "resizeWidth"),
        ({"format": "webp", "resize": "height", "resizeWidth": "5"}, "resizeHeight"),
        ({"format": "webp", "resizeWidth": "99999"}, "resizeWidth"),
        ({"format": "webp", "autoOrient": "perhaps"}, "autoOrient"),
        ({"format": "webp", "jobType": "print"}, "jobType"),
        ({"format": "webp", "createArchive": "perhaps"}, "createArchive"),
        ({"format": "webp", "callbackUrl": "ftp://example.com"}, "callbackUrl"),
        ({"format": "webp", "callbackUrl": "http://127.0.0.1:1/"}, "outbound.allow"),
        ({"format": "webp", "callbackSecret": "x"}, "callbackUrl"),
        ({"format": "webp", "sourceUrl": "http://10.0.0.1/a.png"}, "outbound.allow"),
        ({"format": "webp", "idempotencyKey": "x" * 300}, "idempotencyKey"),
    ],
)
async def test_wrong_settings(convertly: Convertly, fields: dict[str, Any], names: str) -> None:
    reply = await convertly.post("/api/jobs", PNG, JPG, **fields)
    assert error(reply, 400)
    assert names in reply.text


async def test_no_file(convertly: Convertly) -> None:
    assert "sourceUrl" in error(await convertly.post("/api/jobs", format="webp"), 400)


async def test_an_offset_is_taken_whole_or_refused(convertly: Convertly) -> None:
    for offset in ("12345678901", "9" * 5000, "-1", "1.5", "\u0661"):
        assert "offset" in error(await convertly.http.get("/api/jobs", params={"offset": offset}), 400)
    page = check((await convertly.http.get("/api/jobs", params={"offset": "1000000000"})).json(), PAGE)
    assert page["pagination"]["offset"] == 10**9


async def test_a_request_that_brings_nothing_is_told_what_to_bring(convertly: Convertly) -> None:
    for path in ("/api/jobs", "/api/convert", "/api/media/thumbnail"):
        assert "'files'" in error(await convertly.http.post(path), 400)
        assert "'files'" in error(await convertly.http.post(path, content=PNG[1]), 400)


async def test_a_text_that_is_too_long_is_told_how_long_it_may_be(convertly: Convertly) -> None:
    reply = await convertly.post("/api/media/watermark", PNG, text="x" * 201)
    assert "at most 200 characters" in error(reply, 400)


async def test_errors_speak_the_words_of_the_service(convertly: Convertly) -> None:
    misnamed = error(await convertly.post("/api/jobs", ("a.png", MP4[1]), format="webp"), 415)
    assert misnamed.endswith("rename it.")
    one = await convertly.post("/api/media/concat-audio", ("a.wav", samples.wav()), format="mp3")
    assert error(one, 400).startswith("concat-audio takes 2 to 100 files")
    assert one.json()["detail"] == "Field: files"
    unmade = error(await convertly.post("/api/jobs", PNG, JPG, format="7z"), 415)
    assert "tar, tgz, xz, zip" in unmade
    for path in ("/api/jobs/a/b/c", "/api/convert/nothing"):
        assert "/api/media/{tool}" in error(await convertly.http.get(path), 404)


@pytest.mark.parametrize("word", ["7z", "rar", "svg", "heif", "mp3"])
async def test_formats_that_cannot_be_made(convertly: Convertly, word: str) -> None:
    assert "possible targets" in error(await convertly.post("/api/jobs", PNG, format=word), 415)


async def test_what_is_no_known_file(convertly: Convertly) -> None:
    assert error(await convertly.post("/api/jobs", ("x.bin", bytes(range(256)) * 9), format="png"), 415)


@pytest.mark.parametrize(
    ("method", "path", "told"),
    [
        ("GET", "jobs/a755a89a-3a63-4f3e-88ff-7fef50d42d7d", "no such job"),
        ("GET", "jobs/1", "no such job"),
        ("GET", "files", "no library of files"),
        ("POST", "folders", "no library of files"),
        ("POST", "uploads", "'files'"),
        ("GET", "transfer", "'sourceUrl'"),
        ("POST", "transfer", "'sourceUrl'"),
        ("POST", "workflows/1/run", "Workflows are not offered"),
        ("POST", "currency/convert", "Currencies"),
        ("POST", "video/x", "Streaming video is not offered"),
        ("POST", "webhooks", "'callbackUrl'"),
    ],
)
async def test_unknown_jobs_and_paths(convertly: Convertly, method: str, path: str, told: str) -> None:
    assert told in error(await convertly.http.request(method, f"/api/{path}"), 404)


async def test_the_same_key_gives_the_same_job(convertly: Convertly) -> None:
    headers = {"Idempotency-Key": "order-4711"}
    first = await convertly.create(PNG, format="webp", headers=headers)
    await convertly.wait(first["jobId"])
    again = await convertly.post("/api/jobs", PNG, format="webp", headers=headers)
    assert again.status_code == 200
    assert again.json() == {"jobId": first["jobId"], "status": "completed"}
    assert "key" in error(await convertly.post("/api/jobs", PNG, format="avif", headers=headers), 409).lower()
    assert "key" in error(await convertly.post("/api/jobs", JPG, format="webp", headers=headers), 409).lower()


async def test_a_key_inside_the_form(convertly: Convertly) -> None:
    first = await convertly.create(PNG, format="webp", idempotencyKey="inside")
    again = await convertly.post("/api/jobs", PNG, format="webp", idempotencyKey="inside")
    assert again.json()["jobId"] == first["jobId"]
    other = await convertly.post("/api/jobs", PNG, format="avif", idempotencyKey="inside")
    assert "key" in error(other, 409).lower()
    refused = await convertly.post("/api/jobs", PNG, format="svg", idempotencyKey="wrong at first")
    assert refused.status_code == 415
    assert await convertly.create(PNG, format="webp", idempotencyKey="wrong at first")


async def test_a_key_whose_request_is_still_coming(convertly: Convertly) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()
    body = httpx.Request("POST", "http://x/", files={"files": PNG}, data={"format": "webp"})
    whole = body.read()
    headers = {"Idempotency-Key": "slow", "Content-Type": body.headers["Content-Type"]}

    async def slowly() -> AsyncIterator[bytes]:
        yield whole[:1000]
        arrived.set()
        await go_on.wait()
        yield whole[1000:]

    first = asyncio.create_task(convertly.http.post("/api/jobs", content=slowly(), headers=headers))
    await arrived.wait()
    second = await convertly.http.post("/api/jobs", content=whole, headers=headers)
    assert error(second, 409)
    assert int(second.headers["Retry-After"]) > 0
    go_on.set()
    assert (await first).status_code == 200


@pytest.fixture
async def origin() -> AsyncIterator[TestServer]:
    """A web server with a picture."""
    app = web.Application()

    async def serve(request: web.Request) -> web.Response:
        return web.Response(body=PNG[1], content_type="image/png")

    app.router.add_get("/pictures/sun.png", serve)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    yield server
    await server.close()


async def test_a_source_by_its_address(start: Start, origin: TestServer) -> None:
    server = start(OUTBOUND_ALLOW=f"127.0.0.1:{origin.port}")
    async with connected(server.url) as convertly:
        url = str(origin.make_url("/pictures/sun.png"))
        created = await convertly.create(sourceUrl=url, format="webp")
        job = await convertly.wait(created["jobId"])
        assert job["status"] == "completed", job
        assert job["results"][0]["filename"] == "sun.webp"
        for body in (
            {"json": {"sourceUrl": url, "format": "webp"}},
            {"data": {"sourceUrl": url, "format": "gif"}},
        ):
            reply = await convertly.http.post("/api/convert", **body)  # type: ignore[arg-type]
            assert reply.json()["files"][0]["filename"].startswith("sun."), reply.text
        lost = await convertly.post("/api/jobs", sourceUrl=str(origin.make_url("/gone")), format="webp")
        assert "404" in error(lost, 400)


@pytest.mark.skipif(which("curl") is None, reason="curl is not here")
async def test_with_curl(server: ServerProcess, convertly: Convertly, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG[1])
    (tmp_path / "b.jpg").write_bytes(JPG[1])
    ended = await asyncio.to_thread(
        subprocess.run,
        [
            *("curl", "-sS", "-X", "POST", f"{server.url}/api/jobs", "-H", "Authorization: Bearer cvly_key"),
            *("-F", "files=@a.png", "-F", "files=@b.jpg", "-F", 'formats=["webp","avif"]'),
            *("-F", "jobType=convert", "-F", "saveToStorage=true"),
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    job = await convertly.wait(json.loads(ended.stdout)["jobId"])
    assert [result["filename"] for result in job["results"]] == ["a.webp", "b.avif"]


async def test_limits_of_size_rate_and_queue(start: Start) -> None:
    server = start(WORKERS="1", LIMITS_UPLOAD="20kB", LIMITS_RATE="5", LIMITS_QUEUE="1")
    async with connected(server.url) as convertly:
        assert error(await convertly.post("/api/jobs", JPG, format="webp"), 413)
        linger = {"operation": "linger", "to": "txt", "seconds": "600"}
        api = convertly.http
        text = {"Content-Type": "application/octet-stream"}
        first = (await api.post("/jobs", params=linger, content=b"slow\n", headers=text)).json()
        async with asyncio.timeout(PATIENCE):
            while (await api.get(f"/jobs/{first['id']}")).json()["status"] == "queued":
                pass
        keyed = {"format": "webp", "idempotencyKey": "once"}
        second = {"id": (await convertly.post("/api/jobs", PNG, **keyed)).json()["jobId"]}
        again = await convertly.post("/api/jobs", PNG, **keyed)  # needs no room
        assert again.json()["jobId"] == second["id"]
        full = await convertly.post("/api/jobs", PNG, format="webp")
        assert error(full, 503)
        assert int(full.headers["Retry-After"]) > 0
        often = [await convertly.post("/api/jobs", PNG, format="webp") for _ in range(5)]
        refused = [reply for reply in often if reply.status_code == 429]  # all but five, if a minute ends
        assert error(refused[0], 429)
        assert int(refused[0].headers["Retry-After"]) > 0
        for job in (first, second):
            await api.delete(f"/jobs/{job['id']}")


async def test_a_failure_of_the_server_is_no_fault_of_the_request(start: Start) -> None:
    async with connected(start(ENGINES_MODULES="tests.support.failing_engine").url) as convertly:
        assert error(await convertly.post("/api/convert", ("a.md", b"# Words\n"), format="html"), 500)


async def test_no_key(start: Start, tmp_path: Path) -> None:
    key = create_key(tmp_path / "data", "one")
    server = start()
    async with connected(server.url) as convertly:
        assert "API key" in error(await convertly.http.get("/api/jobs"), 401)
    async with connected(server.url, Authorization=f"Bearer {key}") as convertly:
        job = await convertly.wait((await convertly.create(PNG, format="webp"))["jobId"])
        assert size_of(await convertly.download(job["results"][0]))[0] == "WEBP"
