"""Pipelyn's API through the client that its documentation shows: submit, poll, download."""

from __future__ import annotations

import asyncio
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, FormData
from jsonschema import Draft202012Validator

from tests.e2e.conftest import Start
from tests.support import doomed_engine, samples
from tests.support.api import Api, Reply
from tests.support.readers import probe
from tests.support.server import PATIENCE

PNG = samples.picture()

_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_MILLISECONDS = {"type": "integer", "minimum": 1_600_000_000_000}
_NUMBER_OR_NULL = {"type": ["number", "null"]}
_RESULT = {
    "type": "object",
    "required": [
        "kind", "strategy", "contentType", "filename", "outputBytes", "savedBytes", "savedPercent",
        "inputDurationSec", "outputDurationSec", "inputWidth", "outputWidth",
    ],
    "additionalProperties": False,
    "properties": {
        "kind": {"enum": ["image", "video"]},
        "strategy": {"enum": ["image-webp", "image-avif", "image-jpeg", "video-mp4-h264", "video-webm-vp9"]},
        "contentType": _TEXT, "filename": _TEXT, "outputBytes": _COUNT, "savedBytes": _COUNT,
        "savedPercent": {"type": "number", "minimum": 0, "maximum": 100},
        "inputDurationSec": _NUMBER_OR_NULL, "outputDurationSec": _NUMBER_OR_NULL,
        "inputWidth": {"type": ["integer", "null"]}, "outputWidth": {"type": ["integer", "null"]},
    },
}  # fmt: skip
_JOB = {
    "type": "object",
    "required": [
        "jobId", "status", "preset", "filename", "inputBytes", "createdAt", "updatedAt", "completedAt",
        "downloadUrl",
    ],
    "additionalProperties": False,
    "properties": {
        "jobId": _TEXT,
        "status": {"enum": ["pending", "processing", "done", "failed"]},
        "preset": {"enum": ["web", "mobile", "low-bandwidth"]},
        "filename": _TEXT, "inputBytes": _COUNT,
        "createdAt": _MILLISECONDS, "updatedAt": _MILLISECONDS,
        "completedAt": {"type": ["integer", "null"], "minimum": 1_600_000_000_000},
        "downloadUrl": {"type": ["string", "null"], "pattern": "^http://[^/]+/api/media/jobs/download/"},
        "result": _RESULT,
        "error": {"type": "object", "required": ["message", "code"], "maxProperties": 2},
    },
}  # fmt: skip


def check(document: Any, schema: dict[str, Any]) -> None:
    Draft202012Validator(schema).validate(document)


class Client:
    """What the service's documentation does with fetch and FormData."""

    def __init__(self, api: Api) -> None:
        self.api = api

    async def send(self, path: str, body: bytes, name: str, media_type: str, **fields: str) -> Reply:
        form = FormData(quote_fields=False)
        form.add_field("media", body, filename=name, content_type=media_type)
        for field, value in fields.items():
            form.add_field(field, value)
        return await self.api.request("POST", path, data=form)

    async def submit(self, body: bytes, name: str, media_type: str, **fields: str) -> dict[str, Any]:
        reply = await self.send("/api/media/jobs", body, name, media_type, **fields)
        assert reply.status == 202, reply.body
        check(
            reply.json,
            {
                "type": "object",
                "required": ["jobId", "status", "createdAt"],
                "additionalProperties": False,
                "properties": {"jobId": _TEXT, "status": {"const": "pending"}, "createdAt": _MILLISECONDS},
            },
        )
        uuid.UUID(reply.json["jobId"])
        return reply.json

    async def status(self, job_id: str) -> dict[str, Any]:
        reply = await self.api.get(f"/api/media/jobs/{job_id}")
        assert reply.status == 200, reply.body
        check(reply.json, _JOB)
        return reply.json

    async def ended(self, job_id: str) -> dict[str, Any]:
        """By polling, as its clients do; the native long poll only paces it."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            job = await self.status(job_id)
            if job["status"] in ("done", "failed"):
                return job
            await self.api.get(f"/jobs/{job_id}", headers={"Prefer": "wait=5"})
        raise AssertionError(job)


def refused(reply: Reply, status: int, code: str) -> None:
    assert (reply.status, reply.json.get("code")) == (status, code), reply.body
    assert set(reply.json) == {"error", "code"}
    assert len(reply.json["error"]) > 10


@pytest.fixture
def client(api: Api) -> Client:
    return Client(api)


@pytest.fixture(scope="module")
def clip() -> bytes:
    return samples.mp4(seconds=1.0)


class TestPictures:
    @pytest.mark.parametrize(
        ("preset", "shown", "strategy"),
        [
            ("web", "web", "image-webp"),
            ("mobile", "mobile", "image-webp"),
            ("low-bandwidth", "low-bandwidth", "image-avif"),
            ("nonsense", "web", "image-webp"),
            (None, "web", "image-webp"),
        ],
    )
    async def test_the_whole_way(self, client: Client, preset: str | None, shown: str, strategy: str) -> None:
        picture = samples.picture(width=1600, height=900)
        fields = {"preset": preset} if preset is not None else {}
        made = await client.submit(picture, "my photo (1).png", "image/png", **fields)
        job = await client.ended(made["jobId"])
        assert job["status"] == "done"
        assert job["preset"] == shown
        assert job["filename"] == "my photo (1).png"
        assert job["inputBytes"] == len(picture)
        assert job["createdAt"] == made["createdAt"]
        result = job["result"]
        extension = strategy.removeprefix("image-")
        assert result["strategy"] == strategy
        assert result["filename"] == f"my_photo_1_.{extension}"
        assert result["contentType"] == f"image/{extension}"
        widest = {"web": 1400, "mobile": 900, "low-bandwidth": 720}[shown]
        assert (result["inputWidth"], result["outputWidth"]) == (1600, widest)
        assert result["savedBytes"] == max(0, len(picture) - result["outputBytes"])
        assert result["savedPercent"] == round(result["savedBytes"] / len(picture) * 100, 2)
        assert result["inputDurationSec"] is None
        body = (await client.api.get(job["downloadUrl"])).body
        assert len(body) == result["outputBytes"]

    async def test_nothing_is_scaled_up(self, client: Client) -> None:
        made = await client.submit(PNG, "a.png", "image/png")
        result = (await client.ended(made["jobId"]))["result"]
        assert result["outputWidth"] == result["inputWidth"]

    async def test_in_one_request(self, client: Client) -> None:
        reply = await client.send("/api/media/optimize", PNG, "a.png", "image/png", preset="mobile")
        assert reply.status == 200, reply.body
        assert reply.headers["Content-Type"] == "image/webp"
        assert reply.headers["Content-Disposition"].startswith('inline; filename="a.webp"')
        given = {
            name.lower()[10:]: value for name, value in reply.headers.items() if name.startswith("x-pipelyn-")
        }
        assert int(given.pop("total-jobs")) >= 1
        assert int(given.pop("total-bytes-saved")) >= 0
        assert given.pop("saved-percent")
        assert given.pop("saved-bytes").isdigit()
        assert int(given.pop("input-width")) == int(given.pop("output-width"))
        assert given == {
            "kind": "image", "preset": "mobile", "strategy": "image-webp", "input-bytes": str(len(PNG)),
            "output-bytes": str(len(reply.body)), "input-duration": "", "output-duration": "",
        }  # fmt: skip


class TestVideos:
    @pytest.mark.parametrize(
        ("preset", "strategy", "name"),
        [("web", "video-mp4-h264", "clip.mp4"), ("low-bandwidth", "video-webm-vp9", "clip.webm")],
    )
    async def test_the_whole_way(
        self, client: Client, clip: bytes, preset: str, strategy: str, name: str, tmp_path: Path
    ) -> None:
        made = await client.submit(clip, "clip.mp4", "video/mp4", preset=preset)
        job = await client.ended(made["jobId"])
        assert job["status"] == "done", job
        result = job["result"]
        assert (result["kind"], result["strategy"], result["filename"]) == ("video", strategy, name)
        assert result["inputDurationSec"] == pytest.approx(1.0, abs=0.2)
        assert result["outputDurationSec"] == pytest.approx(1.0, abs=0.2)
        reply = await client.api.get(f"/api/media/jobs/{made['jobId']}/download")
        assert reply.status == 200
        assert reply.headers["Cache-Control"] == "no-store"
        assert reply.headers["Content-Disposition"] == f'attachment; filename="{name}"'
        assert reply.headers["Content-Type"] == result["contentType"]
        (tmp_path / name).write_bytes(reply.body)
        codecs = {stream["codec_name"] for stream in probe(tmp_path / name)["streams"]}
        assert codecs <= ({"h264", "aac"} if name.endswith("mp4") else {"vp9", "opus"})


class TestErrors:
    async def test_no_media(self, client: Client) -> None:
        form = FormData({"preset": "web"}, default_to_multipart=True)
        for path in ("/api/media/jobs", "/api/media/optimize"):
            refused(await client.api.request("POST", path, data=form()), 400, "invalid-input")
            refused(await client.api.request("POST", path, json={}), 400, "invalid-input")

    async def test_an_empty_file(self, client: Client) -> None:
        refused(await client.send("/api/media/jobs", b"", "a.png", "image/png"), 400, "invalid-input")

    async def test_a_kind_that_is_not_served(self, client: Client) -> None:
        reply = await client.send("/api/media/jobs", b"%PDF-1.4", "a.pdf", "application/pdf")
        refused(reply, 415, "unsupported-type")

    async def test_a_file_that_is_not_what_it_says(self, client: Client, clip: bytes) -> None:
        refused(await client.send("/api/media/optimize", clip, "a.mp4", "image/png"), 422, "probe-failed")
        refused(
            await client.send("/api/media/optimize", bytes(99), "a.mp4", "video/mp4"), 422, "probe-failed"
        )
        served = await client.send("/api/media/optimize", clip, "a.png", "video/mp4")  # names say nothing
        assert (served.status, served.headers["Content-Type"]) == (200, "video/mp4")

    async def test_a_damaged_file(self, client: Client) -> None:
        reply = await client.send("/api/media/optimize", PNG[: len(PNG) // 2], "a.png", "image/png")
        refused(reply, 422, "probe-failed")
        made = await client.submit(PNG[: len(PNG) // 2], "a.png", "image/png")
        job = await client.ended(made["jobId"])
        assert (job["status"], job["error"]["code"]) == ("failed", "probe-failed")
        assert job["downloadUrl"] is None
        assert job["completedAt"] is not None
        refused(await client.api.get(f"/api/media/jobs/{made['jobId']}/download"), 409, "not-ready")

    async def test_a_download_before_the_end(self, start: Start, session: ClientSession, clip: bytes) -> None:
        client = Client(Api(session, start(WORKERS="1").url))
        await client.api.linger(3600)
        made = await client.submit(clip, "clip.mp4", "video/mp4")
        job = await client.status(made["jobId"])
        assert (job["status"], job["completedAt"], job["downloadUrl"]) == ("pending", None, None)
        refused(await client.api.get(f"/api/media/jobs/{made['jobId']}/download"), 409, "not-ready")
        assert (await client.api.request("DELETE", f"/jobs/{made['jobId']}")).status == 200
        job = await client.status(made["jobId"])
        assert (job["status"], job["error"]["code"]) == ("failed", "unknown")

    async def test_conversions_that_fail(self, start: Start, session: ClientSession) -> None:
        server = start(
            ENGINES_MODULES="tests.support.doomed_engine",
            JOBS_ATTEMPT_TIMEOUT="3s",
            JOBS_ATTEMPTS="1",
            LIMITS_PIXELS="70000",
            WORKERS="4",
        )
        client = Client(Api(session, server.url))
        for body, name, status, code in (
            (doomed_engine.RAISES, "a.heic", 422, "encode-failed"),
            (PNG, "more_than_70000_pixels.png", 422, "encode-failed"),
            (doomed_engine.HANGS, "a.jxl", 504, "encode-timeout"),
            (doomed_engine.CRASHES, "a.svg", 500, "unknown"),
        ):
            made = await client.submit(body, name, "image/x-any")
            refused(await client.send("/api/media/optimize", body, name, "image/x-any"), status, code)
            job = await client.ended(made["jobId"])
            assert (job["status"], job["error"]["code"]) == ("failed", code), name
            assert len(job["error"]["message"]) > 10
            assert "unforeseen" not in job["error"]["message"]

    @pytest.mark.parametrize("tail", ["", "/download"])
    async def test_an_unknown_job(self, client: Client, tail: str) -> None:
        for job_id in (str(uuid.uuid4()), "x"):
            refused(await client.api.get(f"/api/media/jobs/{job_id}{tail}"), 404, "not-found")

    async def test_a_job_of_another_api(self, client: Client) -> None:
        job = (await client.api.submit(PNG, to="webp")).job(202)
        refused(await client.api.get(f"/api/media/jobs/{job['id']}"), 404, "not-found")

    async def test_more_than_the_server_takes(self, start: Start, session: ClientSession) -> None:
        client = Client(Api(session, start(LIMITS_UPLOAD="1000").url))
        assert (await client.api.get("/api/media/limits")).json["maxInputBytes"] == 1000
        refused(await client.send("/api/media/jobs", b"x" * 2000, "a.png", "image/png"), 413, "too-large")

    async def test_without_a_key(self, start: Start, session: ClientSession, tmp_path: Path) -> None:
        from tests.e2e.test_access import create_key

        key = create_key(tmp_path / "data", "one")
        api = Api(session, start(data_dir=tmp_path / "data").url)
        client = Client(api)
        refused(await client.send("/api/media/jobs", PNG, "a.png", "image/png"), 401, "unauthorized")
        assert (await api.get("/api/health")).json == {"ok": True}
        for headers in ({"Authorization": f"Bearer {key}"}, {"x-api-key": key}):
            api.headers = headers
            made = await client.submit(PNG, "a.png", "image/png")
            url = (await client.ended(made["jobId"]))["downloadUrl"]
            api.headers = {}
            assert (await api.get(url)).status == 200

    async def test_of_the_framework(self, client: Client) -> None:
        refused(await client.api.request("DELETE", "/api/media/jobs"), 405, "invalid-input")
        refused(await client.api.get("/api/media/jobs/a/b/c"), 404, "not-found")


async def test_facts(client: Client) -> None:
    await client.ended((await client.submit(PNG, "a.png", "image/png"))["jobId"])
    presets = (await client.api.get("/api/media/presets")).json
    assert presets["defaultPreset"] == "web"
    assert presets["presets"][0] == {
        "name": "mobile", "maxWidth": 900, "imageQuality": 78, "videoCrf": 28, "videoBitrateKbps": 1200,
        "audioBitrateKbps": 96,
    }  # fmt: skip
    limits = (await client.api.get("/api/media/limits")).json
    assert limits == {"maxInputBytes": 500 * 1024**2, "maxInputMegabytes": 500}
    usage = (await client.api.get("/api/usage")).json
    assert set(usage) == {"totalJobs", "totalInputBytes", "totalOutputBytes", "totalSavedBytes"}
    assert all(isinstance(value, int) for value in usage.values())
    assert usage["totalJobs"] >= 1
    assert usage["totalInputBytes"] >= len(PNG)


async def test_a_repetition_of_what_was_given_up_is_served(start: Start, session: ClientSession) -> None:
    client = Client(Api(session, start(WORKERS="1").url, {"Idempotency-Key": "one"}))
    plain = Api(session, client.api.url)
    busy = await plain.progressing((await plain.linger(3600))["id"])
    first = asyncio.create_task(client.send("/api/media/optimize", PNG, "a.png", "image/png"))
    waiting: list[dict[str, Any]] = []
    async with asyncio.timeout(PATIENCE):
        while not waiting:
            waiting = (await plain.get("/jobs?status=queued")).json["jobs"]
    for job in (*waiting, busy):
        assert (await plain.request("DELETE", f"/jobs/{job['id']}")).status == 200
    refused(await first, 409, "not-ready")
    reply = await client.send("/api/media/optimize", PNG, "a.png", "image/png")
    assert (reply.status, reply.headers["Content-Type"]) == (200, "image/webp")
