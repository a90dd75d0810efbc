"""ChangeThisFile's jobs and conversions, through the clients that its documentation shows."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import zipfile
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from aiohttp import ClientSession

from tests.e2e.changethisfile.client import (
    BROKEN,
    COUNT,
    JOB,
    PNG,
    Client,
    check,
    members,
    picture,
    refused,
    with_key,
)
from tests.e2e.conftest import Start
from tests.e2e.test_access import create_key
from tests.support import doomed_engine, samples
from tests.support.api import Api
from tests.support.readers import probe
from tests.support.server import PATIENCE

LIST = members(
    jobs={"type": "array", "items": JOB},
    limit=COUNT,
    offset=COUNT,
    total=COUNT,
    has_more={"type": "boolean"},
)


class TestJobs:
    async def test_a_raw_body(self, client: Client) -> None:
        job_id = await client.submit(filename="my photo.png", target="JPEG")
        job = await client.ended(job_id)
        assert (job["source_format"], job["target_format"], job["progress_pct"]) == ("png", "jpg", 100)
        assert job["result"]["file_url"] == job["download_url"]
        assert job["result"]["duration_ms"] == job["duration_ms"]
        assert job["created_at"] <= job["updated_at"]
        reply = await client.api.get(job["download_url"])
        assert reply.headers["Content-Type"] == "image/jpeg"
        assert reply.headers["Content-Disposition"] == 'attachment; filename="my photo.jpg"'
        assert len(reply.body) == job["result"]["size"]
        assert picture(reply.body).size == (320, 240)

    async def test_as_much_metadata_as_the_query_may_hold(self, client: Client) -> None:
        told = {"order": "ü" * 3900}
        job = await client.ended(await client.submit(webhook_metadata=json.dumps(told, ensure_ascii=False)))
        assert job["metadata"] == told

    @pytest.mark.parametrize(
        "content_type",
        ["image/png", "application/x-www-form-urlencoded", "application/json", "multipart/form-data"],
    )
    async def test_a_raw_body_whatever_it_says_it_is(self, client: Client, content_type: str) -> None:
        reply = await client.raw("/v1/jobs", PNG, headers={"Content-Type": content_type}, target=".jpg")
        assert (await client.ended(client.accepted(reply)))["target_format"] == "jpg"

    @pytest.mark.skipif(which("curl") is None, reason="curl is not here")
    async def test_curl(self, client: Client, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(PNG)
        for arguments in (
            ("--data-binary", "@a.png", f"{client.api.url}/v1/convert?target=webp"),
            ("-F", "file=@a.png", "-F", "target=webp", f"{client.api.url}/v1/convert"),
        ):
            command = ("curl", "-sS", "-f", "-o", "out.webp", *arguments)
            await asyncio.to_thread(subprocess.run, command, cwd=tmp_path, check=True, timeout=60)
            [stream] = probe(tmp_path / "out.webp")["streams"]
            assert (stream["codec_name"], stream["width"]) == ("webp", 320)
            (tmp_path / "out.webp").unlink()

    async def test_a_form(self, client: Client) -> None:
        reply = await client.form("/v1/jobs", PNG, "photo.png", target="webp", webhook_metadata='{"a": [1]}')
        job = await client.ended(client.accepted(reply))
        assert (job["state"], job["metadata"]) == ("done", {"a": [1]})
        reply = await client.api.get(job["download_url"])
        assert reply.headers["Content-Disposition"] == 'attachment; filename="photo.webp"'

    async def test_a_form_whose_fields_name_the_file(self, client: Client) -> None:
        reply = await client.form("/v1/jobs", PNG, "blob", target="gif", filename="dir/photo one.png")
        job = await client.ended(client.accepted(reply))
        disposition = (await client.api.get(job["download_url"])).headers["Content-Disposition"]
        assert disposition == 'attachment; filename="photo one.gif"'

    async def test_a_source_that_is_told(self, client: Client) -> None:
        reply = await client.raw("/v1/convert", PNG, filename="x.mp3", source="png", target="bmp")
        assert picture(reply.body).format == "BMP"
        reply = await client.raw("/v1/convert", PNG, source="jpg", target="bmp")
        assert picture(reply.body).format == "BMP"
        refused(await client.raw("/v1/convert", PNG, source="mp3", target="wav"), 422, "file_invalid")
        refused(
            await client.raw("/v1/convert", PNG, filename="x.mp3", target="bmp"), 422, "unsupported_route"
        )

    async def test_before_and_while(self, start: Start, session: ClientSession) -> None:
        client = Client(Api(session, start(WORKERS="1").url))
        first = await client.submit(b"slow\n", target="md")
        await client.api.progressing(first)
        second = await client.submit(b"slow\n", target="md")
        assert (await client.status(first))["state"] == "processing"
        assert (await client.status(second))["state"] == "queued"
        await client.api.request("DELETE", f"/jobs/{first}")
        cancelled = await client.status(first)
        assert cancelled["error"] == {"code": "engine_error", "message": "The job was cancelled."}

    async def test_several_outputs_are_a_zip(self, client: Client) -> None:
        job = await client.ended(await client.submit(samples.pdf(3), target="png"))
        reply = await client.api.get(job["download_url"])
        assert reply.headers["Content-Type"] == "application/zip"
        assert len(reply.body) == job["result"]["size"]
        direct = await client.raw("/v1/convert", samples.pdf(3), target="png")
        for body in (reply.body, direct.body):
            with zipfile.ZipFile(io.BytesIO(body)) as archive:
                assert archive.testzip() is None
                assert [picture(archive.read(name)).format for name in archive.namelist()] == ["PNG"] * 3

    async def test_a_failed_one(self, client: Client) -> None:
        job = await client.ended(await client.submit(BROKEN, filename="a.png"))
        assert job["error"]["code"] == "file_invalid"
        assert (job["download_url"], job["result"]) == (None, None)

    async def test_a_failure_of_the_server(self, start: Start, session: ClientSession) -> None:
        server = start(ENGINES_MODULES="tests.support.doomed_engine", JOBS_ATTEMPTS="1")
        client = Client(Api(session, server.url))
        for body in (doomed_engine.RAISES, doomed_engine.CRASHES):
            job = await client.ended(await client.submit(body))
            assert (job["state"], job["error"]["code"]) == ("failed", "engine_error")
            assert "unforeseen" not in job["error"]["message"]
            refused(await client.raw("/v1/convert", body, target="webp"), 500, "engine_error")

    async def test_quality(self, client: Client) -> None:
        sizes = [len((await client.raw("/v1/convert", PNG, target="jpg", quality=q)).body) for q in (10, 95)]
        assert sizes[0] < sizes[1] / 2
        assert (await client.raw("/v1/convert", PNG, target="bmp", quality=50)).status == 200

    async def test_jobs_of_other_apis_are_none_of_this(self, client: Client) -> None:
        native = (await client.api.submit(PNG, to="webp")).job(202)
        refused(await client.api.get(f"/v1/jobs/{native['id']}"), 404, "not_found")


class TestListing:
    async def test_pages(self, start: Start, session: ClientSession) -> None:
        client = Client(Api(session, start().url))
        ids = [await client.submit() for _ in range(3)]
        failed = await client.submit(BROKEN, filename="a.png")
        for job_id in (*ids, failed):
            await client.ended(job_id)
        (await client.api.submit(PNG, to="webp")).job(202)
        found = await self.listed(client, "")
        assert [job["job_id"] for job in found["jobs"]] == [failed, *reversed(ids)]
        assert (found["limit"], found["offset"], found["total"], found["has_more"]) == (20, 0, 4, False)
        found = await self.listed(client, "?limit=2&offset=1")
        assert [job["job_id"] for job in found["jobs"]] == [ids[2], ids[1]]
        assert (found["limit"], found["offset"], found["total"], found["has_more"]) == (2, 1, 4, True)
        assert not (await self.listed(client, "?limit=1&offset=3"))["has_more"]
        paged = await self.listed(client, "?limit=2&page=2")
        assert [job["job_id"] for job in paged["jobs"]] == [ids[1], ids[0]]
        assert (paged["offset"], paged["has_more"]) == (2, False)
        for word in ("done", "completed"):
            assert (await self.listed(client, f"?status={word}"))["total"] == 3
            assert (await self.listed(client, f"?status=&state={word}"))["total"] == 3
        assert [job["job_id"] for job in (await self.listed(client, "?status=failed"))["jobs"]] == [failed]
        assert (await self.listed(client, "?status=queued"))["jobs"] == []

    async def listed(self, client: Client, query: str) -> dict[str, Any]:
        reply = await client.api.get(f"/v1/jobs{query}")
        assert reply.status == 200, reply.body
        check(reply.json, LIST)
        return reply.json

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ("limit=0", "limit"),
            ("limit=101", "limit"),
            ("limit=x", "limit"),
            ("offset=-1", "offset"),
            ("offset=" + "9" * 40, "offset"),
            ("page=0", "page"),
            ("status=succeeded", "status"),
            ("state=succeeded", "state"),
        ],
    )
    async def test_wrong_questions(self, client: Client, query: str, field: str) -> None:
        assert refused(await client.api.get(f"/v1/jobs?{query}"), 400, "bad_request") == {"field": field}


class TestDownloads:
    async def test_nobody_needs_a_key_and_ranges_are_served(
        self, start: Start, session: ClientSession, tmp_path: Path
    ) -> None:
        key = create_key(tmp_path / "data", "one")
        server = start(data_dir=tmp_path / "data")
        client, stranger = with_key(session, server, key), Api(session, server.url)
        url = (await client.ended(await client.submit()))["download_url"]
        whole = await stranger.get(url)
        assert picture(whole.body).format == "WEBP"
        part = await stranger.get(url, headers={"Range": "bytes=4-9"})
        assert (part.status, part.body) == (206, whole.body[4:10])
        head = await stranger.request("HEAD", url)
        assert (head.status, head.headers["Content-Length"], head.body) == (200, str(len(whole.body)), b"")
        outside = await stranger.get(url, headers={"Range": "bytes=9999999-"})
        refused(outside, 416, "bad_request")
        assert outside.headers["Content-Range"] == f"bytes */{len(whole.body)}"
        refused(await stranger.get("/v1/jobs"), 401, "invalid_api_key")

    async def test_a_link_that_has_ended_is_fresh_at_the_next_poll(
        self, start: Start, session: ClientSession
    ) -> None:
        client = Client(Api(session, start(RETENTION_LINKS="4s").url))
        job_id = await client.submit()
        url = (await client.ended(job_id))["download_url"]
        assert (await client.api.get(url)).status == 200
        async with asyncio.timeout(PATIENCE):
            while (reply := await client.api.get(url)).status == 200:
                await asyncio.sleep(0.1)
        fresh = await client.api.get((await client.status(job_id))["download_url"])
        assert fresh.status == 200, fresh.body  # three seconds at least are left for this request
        assert picture(fresh.body).format == "WEBP"
        for refusal in (reply, await client.api.get(url)):
            refused(refusal, 404, "not_found")
            assert "no longer" in refusal.json["error"]["message"]

    @pytest.mark.parametrize("token", ["x", "A" * 60, "...", "a.b"])
    async def test_tokens_that_are_none(self, client: Client, token: str) -> None:
        refused(await client.api.get(f"/v1/jobs/download/{token}"), 404, "not_found")


class TestAtOnce:
    async def test_bytes(self, client: Client) -> None:
        for reply in (
            await client.raw("/v1/convert", PNG, target="jpg", filename="photo.png"),
            await client.form("/v1/convert", PNG, "photo.png", target="jpg"),
        ):
            assert reply.status == 200, reply.body
            assert reply.headers["Content-Type"] == "image/jpeg"
            assert reply.headers["Content-Disposition"] == 'attachment; filename="photo.jpg"'
            number, unit = reply.headers["X-Conversion-Time"][:-2], reply.headers["X-Conversion-Time"][-2:]
            assert (number.isdigit(), unit) == (True, "ms")
            assert picture(reply.body).format == "JPEG"

    async def test_sound(self, client: Client, tmp_path: Path) -> None:
        reply = await client.raw("/v1/convert", samples.wav(), target="mp3")
        assert reply.headers["Content-Type"] == "audio/mpeg"
        (tmp_path / "a.mp3").write_bytes(reply.body)
        assert probe(tmp_path / "a.mp3")["format"]["format_name"] == "mp3"

    async def test_json_for_those_who_ask(self, client: Client) -> None:
        reply = await client.raw("/v1/convert", PNG, target="jpg", headers={"Accept": "application/json"})
        assert reply.status == 200
        check(reply.json, JOB)
        assert (reply.json["status"], reply.json["state"]) == ("completed", "done")
        body = (await client.api.get(reply.json["download_url"])).body
        assert len(body) == reply.json["result"]["size"]

    async def test_a_damaged_file(self, client: Client) -> None:
        refused(await client.raw("/v1/convert", BROKEN, target="jpg", filename="a.png"), 422, "file_invalid")

    async def test_a_file_that_takes_too_long(self, start: Start, session: ClientSession) -> None:
        client = Client(Api(session, start(JOBS_ATTEMPT_TIMEOUT="1s").url))
        job_id = await client.submit(b"slow\n", target="md")
        refused(await client.raw("/v1/convert", b"slow\n", target="md"), 504, "timeout")
        job = await client.ended(job_id)
        assert (job["state"], job["error"]["code"]) == ("failed", "timeout")
