"""ToolkitAPI's Convert API through its published client, and over plain HTTP what that client cannot do."""

from __future__ import annotations

import asyncio
import io
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from aiohttp import ClientSession
from jsonschema import Draft202012Validator
from PIL import Image
from toolkitapi import AuthenticationError, NotFoundError, RateLimitError, ServerError, ValidationError
from toolkitapi.convert import Convert

from convertd.api.toolkitapi.endpoints import CATEGORIES, formats_view
from convertd.api.toolkitapi.requests import read
from convertd.api.toolkitapi.views import error_status
from convertd.engines.registry import Registry, discover
from convertd.engines.soffice import ENGINE as SOFFICE
from convertd.errors import BY_CODE, EngineMissing
from convertd.web.problems import Problem
from tests.e2e.conftest import FAST, Start
from tests.e2e.test_access import create_key
from tests.support import clips, office, samples
from tests.support.api import Api, Reply
from tests.support.origin import Origin
from tests.support.server import ServerProcess, serving

_TEXT = {"type": "string", "minLength": 1}
_COUNT = {"type": "integer", "minimum": 0}
_TIME = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"}
_NULL = {"type": "null"}
_FIELDS = [
    "job_id", "status", "conversion", "file_name", "file_type", "file_size_bytes", "created_at", "updated_at",
    "file_url", "error",
]  # fmt: skip
_COMPLETED = {
    "file_name": _TEXT, "file_type": _TEXT, "file_size_bytes": {"type": "integer", "minimum": 1},
    "file_url": {"type": "string", "pattern": "^http://[^/]+/v1/convert/download/"}, "error": _NULL,
}  # fmt: skip
_NOT_COMPLETED = dict.fromkeys(("file_name", "file_type", "file_size_bytes", "file_url"), _NULL)
_JOB = {
    "type": "object",
    "required": _FIELDS,
    "additionalProperties": False,
    "properties": {
        **{name: {} for name in _FIELDS},
        "job_id": _TEXT,
        "status": {"enum": ["queued", "running", "completed", "failed"]},
        "conversion": {
            "type": "object",
            "required": ["source_format", "target_format", "source_size_bytes", "original_filename"],
            "additionalProperties": False,
            "properties": {
                "source_format": _TEXT, "target_format": _TEXT, "source_size_bytes": _COUNT,
                "original_filename": _TEXT,
            },
        },
        "created_at": _TIME,
        "updated_at": _TIME,
    },
    "oneOf": [
        {"properties": {"status": {"const": "completed"}, **_COMPLETED}},
        {"properties": {"status": {"enum": ["queued", "running"]}, "error": _NULL, **_NOT_COMPLETED}},
        {"properties": {"status": {"const": "failed"}, "error": _TEXT, **_NOT_COMPLETED}},
    ],
}  # fmt: skip
_ACCEPTED = _JOB | {
    "required": [*_FIELDS, "poll_url"],
    "properties": {**_JOB["properties"], "status": {"enum": ["queued", "running"]}, "poll_url": _TEXT},  # type: ignore[dict-item]
}
_STREAMS = {
    "type": "array",
    "items": {
        "oneOf": [
            {
                "required": ["type", "codec", "width", "height"],
                "additionalProperties": False,
                "properties": {
                    "type": {"const": "video"}, "codec": _TEXT, "width": _COUNT, "height": _COUNT,
                    "duration": {"type": "number"},
                },
            },
            {
                "required": ["type", "codec", "channels", "sample_rate"],
                "additionalProperties": False,
                "properties": {
                    "type": {"const": "audio"}, "codec": _TEXT, "channels": _COUNT, "sample_rate": _COUNT,
                    "duration": {"type": "number"},
                },
            },
        ]
    },
}  # fmt: skip
_INFO = {
    "type": "object",
    "required": ["format", "size", "streams"],
    "additionalProperties": False,
    "properties": {
        "format": _TEXT, "duration": {"type": "number"}, "size": _COUNT, "bit_rate": _COUNT,
        "streams": _STREAMS,
    },
}  # fmt: skip
_FORMATS = {
    "type": "object",
    "required": ["formats", "conversions"],
    "properties": {
        "formats": {"type": "array", "items": _TEXT, "uniqueItems": True},
        "conversions": {
            "type": "object",
            "additionalProperties": {"type": "array", "items": _TEXT, "minItems": 1},
        },
    },
}

needs_office = pytest.mark.skipif(not SOFFICE.probe().ok, reason="LibreOffice is not here")


def check(document: Any, schema: dict[str, Any]) -> None:
    Draft202012Validator(schema).validate(document)


def refused(reply: Reply, status: int, *fields: str) -> str:
    """The sentence of an answer that must be this error, about these fields."""
    assert reply.status == status, (reply.status, reply.body)
    document = reply.json
    assert set(document) <= {"detail", "errors"}
    assert [error["field"] for error in document.get("errors", ())] == list(fields)
    assert len(document["detail"]) > 10
    return str(document["detail"])


class Program:
    """The published client in a thread of its own, for it blocks; and the same server over plain HTTP."""

    def __init__(self, api: Api, key: str = "tk_any") -> None:
        self.api = api
        self._convert = Convert(key, base_url=api.url)

    async def call(self, method: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.to_thread(method, self._convert, *arguments)

    async def poll(self, job_id: str) -> dict[str, Any]:
        job = await self.call(Convert.poll_job_convert_jobs__job_id__get, job_id)
        check(job, _JOB)
        return dict(job)

    async def ended(self, job_id: str) -> dict[str, Any]:
        """By polling; the native long poll only paces it."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            job = await self.poll(job_id)
            if job["status"] in ("completed", "failed"):
                return job
            await self.api.get(f"/jobs/{job_id}", headers={"Prefer": "wait=5"})
        raise AssertionError(job)

    async def fetched(self, job: dict[str, Any]) -> bytes:
        """The result, by its address alone, without any key."""
        async with ClientSession() as stranger, stranger.get(job["file_url"]) as reply:
            body = await reply.read()
            assert reply.status == 200, body
            assert reply.content_type == job["file_type"].partition(";")[0]
            assert reply.content_disposition is not None
            assert reply.content_disposition.filename == job["file_name"]
            assert len(body) == job["file_size_bytes"]
            return body

    def close(self) -> None:
        self._convert.close()


@pytest.fixture(scope="module")
def files() -> Iterator[Origin]:
    with Origin() as origin:
        yield origin


@pytest.fixture
def origin(files: Origin) -> Origin:
    """The files of one test."""
    files.files.clear()
    files.visits.clear()
    return files


@pytest.fixture(scope="module")
def trusting(files: Origin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that trusts the origin of the program's files."""
    env = FAST | {"CONVERTD_OUTBOUND_ALLOW": files.place}
    with serving(tmp_path_factory.mktemp("toolkitapi") / "data", env) as process:
        yield process


@pytest.fixture
def program(trusting: ServerProcess, session: ClientSession) -> Iterator[Program]:
    program = Program(Api(session, trusting.url))
    yield program
    program.close()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """One second of video with sound."""
    return clips.video(tmp_path_factory.mktemp("clip") / "clip.mp4").read_bytes()


def media(url: str, source: str, target: str, **more: Any) -> dict[str, Any]:
    return {"url": url, "source_format": source, "target_format": target, **more}


def document(url: str, source: str, target: str, **more: Any) -> dict[str, Any]:
    return {"url": url, "from_format": source, "to_format": target, **more}


class TestThePublishedClient:
    async def test_a_small_file_comes_back_at_once(
        self, program: Program, origin: Origin, clip: bytes, tmp_path: Path
    ) -> None:
        job = await program.call(Convert.media, media(origin.url("my clip.mp4", clip), "mp4", "mp3"))
        check(job, _JOB)
        assert job["status"] == "completed"
        assert job["conversion"] == {
            "source_format": "mp4",
            "target_format": "mp3",
            "source_size_bytes": len(clip),
            "original_filename": "my clip.mp4",
        }
        assert (job["file_name"], job["file_type"]) == ("my clip.mp3", "audio/mpeg")
        result = tmp_path / "result"
        result.write_bytes(await program.fetched(job))
        if which("ffprobe"):
            shown = subprocess.run(
                ["ffprobe", "-v", "error", "-show_entries", "format=format_name", str(result)],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            assert "format_name=mp3" in shown.stdout
        polled = await program.poll(job["job_id"])
        assert {**polled, "file_url": ""} == {**job, "file_url": ""}

    async def test_a_large_file_becomes_a_job(self, program: Program, origin: Origin) -> None:
        wav = samples.wav(seconds=125)
        assert len(wav) > 10 * 1024 * 1024
        made = await program.call(Convert.media, media(origin.url("long.wav", wav), "wav", "flac"))
        check(made, _ACCEPTED)
        assert made["poll_url"] == f"{program.api.url}/v1/convert/jobs/{made['job_id']}"
        job = await program.ended(made["job_id"])
        assert (job["status"], job["file_name"]) == ("completed", "long.flac")
        assert job["created_at"] == made["created_at"]
        assert (await program.fetched(job)).startswith(b"fLaC")
        again = await program.api.get(made["poll_url"])
        assert again.json["job_id"] == made["job_id"]

    async def test_a_file_that_fails(self, program: Program, origin: Origin) -> None:
        large = origin.url("large.png", b"\x89PNG\r\n\x1a\n" + bytes(11 * 1024 * 1024))
        made = await program.call(Convert.media, media(large, "png", "webp"))
        check(made, _ACCEPTED)
        job = await program.ended(made["job_id"])
        assert job["status"] == "failed"
        small = media(origin.url("small.png", samples.picture()[:2000]), "png", "webp")
        with pytest.raises(ValidationError, match=r"damaged|cut|broken|incomplete|truncated"):
            await program.call(Convert.media, small)

    @needs_office
    async def test_a_document(self, program: Program, origin: Origin) -> None:
        url = origin.url("report.docx", office.docx("One", "Two", "Three"))
        job = await program.call(Convert.document, document(url, "docx", "pdf", title=None, dpi=150))
        check(job, _JOB)
        assert (job["file_name"], job["file_type"]) == ("report.pdf", "application/pdf")
        assert (await program.fetched(job)).startswith(b"%PDF")
        slides = {"url": origin.url("talk.pptx", office.pptx("One", "Two")), "from_format": "pptx"}
        job = await program.call(Convert.presentation, slides | {"filename": "handout"})
        assert job["conversion"]["original_filename"] == "talk.pptx"
        assert job["file_name"] == "handout.pdf"
        assert (await program.fetched(job)).startswith(b"%PDF")

    @needs_office
    async def test_a_table_in_the_request(self, program: Program) -> None:
        body = {"data": "Name,Zip\nMüller,00123\n", "from_format": "csv", "to_format": "pdf"}
        job = await program.call(Convert.data, body | {"has_header": True, "delimiter": ","})
        check(job, _JOB)
        assert job["conversion"]["original_filename"] == "data.csv"
        assert (await program.fetched(job)).startswith(b"%PDF")
        body = {"content": "Some words.\n", "from_format": "txt", "to_format": "pdf"}
        job = await program.call(Convert.markup, body)
        assert job["file_name"] == "content.pdf"

    async def test_pages_become_one_archive(self, program: Program, origin: Origin) -> None:
        url = origin.url("sheets.pdf", samples.pdf(pages=3))
        job = await program.call(Convert.document, document(url, "pdf", "png", pages="1-2", dpi=72))
        assert job["file_type"] == "application/zip"
        with zipfile.ZipFile(io.BytesIO(await program.fetched(job))) as archive:
            assert archive.testzip() is None
            assert archive.namelist() == ["sheets-p1.png", "sheets-p2.png"]

    async def test_a_frame_and_what_a_file_holds(self, program: Program, origin: Origin, clip: bytes) -> None:
        url = origin.url("clip.mp4", clip)
        body = {"url": url, "timestamp": "0.5", "width": 32, "height": 24, "format": "png"}
        job = await program.call(Convert.video_thumbnail, body)
        check(job, _JOB)
        with Image.open(io.BytesIO(await program.fetched(job))) as image:
            assert (image.format, image.size) == ("PNG", (32, 24))
        job = await program.call(Convert.video_thumbnail, {"url": url})
        assert job["file_type"] == "image/jpeg"
        info = await program.call(Convert.media_info, {"url": url})
        check(info, _INFO)
        assert (info["format"], info["size"]) == ("mp4", len(clip))
        assert info["duration"] == pytest.approx(1.0, abs=0.1)
        video, sound = info["streams"]
        assert (video["type"], video["codec"], video["width"], video["height"]) == ("video", "h264", 64, 48)
        assert (sound["type"], sound["codec"], sound["channels"]) == ("audio", "aac", 2)
        assert sound["sample_rate"] == 44100

    async def test_formats(self, program: Program) -> None:
        everything = await program.call(Convert.list_all_formats)
        check(everything, _FORMATS)
        assert "mp3" in everything["conversions"]["mp4"]
        for name, listed in everything["categories"].items():
            check(listed, _FORMATS)
            assert await program.call(Convert.list_category_formats, name) == {"category": name} | listed
        assert await program.call(Convert.supported_formats) == everything["categories"]["media"]
        with pytest.raises(NotFoundError, match="document"):
            await program.call(Convert.list_category_formats, "sculptures")

    async def test_every_conversion_listed_is_accepted(self, program: Program, origin: Origin) -> None:
        listed = await program.call(Convert.supported_formats)
        url = origin.url("a.png", samples.picture())
        for target in listed["conversions"]["png"]:
            job = await program.call(Convert.media, media(url, "png", target))
            assert job["conversion"]["target_format"] == target

    async def test_status(self, program: Program) -> None:
        assert await program.call(Convert.status) == {"status": "ok"}

    async def test_what_no_engine_can_do(self, program: Program, origin: Origin) -> None:
        for method, body in (
            (Convert.calendar, {"content": "BEGIN:VCALENDAR", "from_format": "ics", "to_format": "json"}),
            (Convert.json_to_typescript, {"data": {"a": 1}}),
            (Convert.data, {"data": "a: 1", "from_format": "yaml", "to_format": "json"}),
            (Convert.data, {"data": {"a": 1}, "from_format": "json", "to_format": "csv"}),
            (Convert.markup, {"content": "# A", "from_format": "md", "to_format": "html"}),
            (Convert.ebook, {"url": origin.url("a.mobi"), "from_format": "mobi", "to_format": "epub"}),
        ):
            with pytest.raises(ValidationError, match="convertd has no engine"):
                await program.call(method, body)
        assert origin.visits == []

    async def test_keys(self, start: Start, session: ClientSession, tmp_path: Path) -> None:
        key = create_key(tmp_path / "data", "one")
        api = Api(session, start(data_dir=tmp_path / "data").url)
        with pytest.raises(AuthenticationError, match="key"):
            await Program(api, "tk_wrong").call(Convert.supported_formats)
        check(await Program(api, key).call(Convert.supported_formats), _FORMATS)
        with pytest.raises(NotFoundError):
            await Program(api, key).call(Convert.poll_job_convert_jobs__job_id__get, "01HG0PVXYZ")

    async def test_too_many_requests(self, start: Start, session: ClientSession) -> None:
        program = Program(Api(session, start(LIMITS_RATE="1").url))
        body = {"data": "a: 1", "from_format": "yaml", "to_format": "json"}
        raised = []
        for _ in range(3):  # a new window may begin between any two
            with pytest.raises((ValidationError, RateLimitError)) as error:
                await program.call(Convert.data, body)
            raised.append(type(error.value))
        assert {ValidationError, RateLimitError} == set(raised)
        reply = await program.api.get("/v1/convert/formats")
        assert reply.headers["X-RateLimit-Limit"] == "1"
        assert reply.headers["X-RateLimit-Remaining"] in ("0", "1")
        assert abs(int(reply.headers["X-RateLimit-Reset"]) - time.time()) <= 60  # it may just have passed

    async def test_out_of_time(self, start: Start, session: ClientSession, origin: Origin) -> None:
        server = start(OUTBOUND_ALLOW=origin.place, JOBS_ATTEMPT_TIMEOUT="500ms")
        program = Program(Api(session, server.url))
        url = origin.url("noise.mp4", samples.mp4(seconds=12))
        with pytest.raises(ServerError):
            await program.call(Convert.media, media(url, "mp4", "webm"))
        reply = await program.api.get("/v1/convert/media", params=media(url, "mp4", "webm"))
        assert "longer" in refused(reply, 504)


async def test_a_file_that_has_to_wait(start: Start, session: ClientSession, origin: Origin) -> None:
    program = Program(Api(session, start(OUTBOUND_ALLOW=origin.place, WORKERS="1").url))
    slow = await program.api.linger(3600)
    large = media(origin.url("a.wav", samples.wav(seconds=125)), "wav", "flac")
    doomed = (await program.call(Convert.media, large))["job_id"]
    made = await program.call(Convert.media, media(origin.url("a.png", samples.picture()), "png", "webp"))
    check(made, _ACCEPTED)
    assert made["status"] == "queued"
    assert (await program.poll(made["job_id"]))["status"] == "queued"
    for job_id in (doomed, slow["id"]):
        assert (await program.api.request("DELETE", f"/jobs/{job_id}")).status == 200
    job = await program.poll(doomed)
    assert (job["status"], job["error"]) == ("failed", "The job was cancelled.")
    assert (await program.ended(made["job_id"]))["status"] == "completed"


async def test_a_fault_of_the_server(start: Start, session: ClientSession) -> None:
    program = Program(Api(session, start(ENGINES_MODULES="tests.support.failing_engine").url))
    body = {"content": "# A", "from_format": "md", "to_format": "html"}
    with pytest.raises(ServerError):
        await program.call(Convert.markup, body)
    told = refused(await program.api.request("POST", "/v1/convert/markup", json=body), 500)
    assert "unforeseen" not in told


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_no_status_but_those_of_the_service(code: str) -> None:
    """And two for what it says nothing about: too large, and not well."""
    for field in ("url", None):
        status = error_status(Problem.of(BY_CODE[code]("What failed.", field=field)))
        assert status in (400, 401, 404, 413, 422, 429, 500, 503, 504)


class TestStreaming:
    async def test_a_client_that_reads_nothing_but_json(self, program: Program, origin: Origin) -> None:
        url = origin.url("a.png", samples.picture())
        job = await program.call(Convert.media_get, url, "png", "webp")
        check(job, _JOB)
        assert (await program.fetched(job))[8:12] == b"WEBP"
        token = job["file_url"].rpartition("/")[2]
        told = await program.call(Convert.download_file, token)
        assert told == {"file_url": job["file_url"]}

    async def test_the_result_itself(self, program: Program, origin: Origin) -> None:
        url = origin.url("a.png", samples.picture())
        reply = await program.api.get("/v1/convert/media", params=media(url, "png", "webp", filename="../b"))
        assert reply.status == 200, reply.body
        assert reply.headers["Content-Type"] == "image/webp"
        assert 'filename="b.webp"' in reply.headers["Content-Disposition"]
        with Image.open(io.BytesIO(reply.body)) as image:
            assert (image.format, image.size) == ("WEBP", (320, 240))

    async def test_pages(self, program: Program, origin: Origin) -> None:
        url = origin.url("a.pdf", samples.pdf(pages=2))
        path = "/v1/convert/document"
        reply = await program.api.get(path, params=document(url, "pdf", "png", dpi="36"))
        with zipfile.ZipFile(io.BytesIO(reply.body)) as archive:
            assert len(archive.namelist()) == 2
        reply = await program.api.get(path, params=document(url, "pdf", "png", pages="2"))
        assert reply.body.startswith(b"\x89PNG")


class TestEverySpelling:
    @pytest.fixture
    async def job(self, program: Program, origin: Origin) -> dict[str, Any]:
        url = origin.url("a.png", samples.picture())
        reply = await program.api.request(
            "POST", "/v1/convert/media", json=document(url, "image/png", ".webp")
        )
        assert reply.status == 200, reply.body
        return reply.json

    async def test_of_a_poll(self, program: Program, job: dict[str, Any]) -> None:
        job_id = job["job_id"]
        for path in (
            f"/v1/convert/jobs/{job_id}",
            f"/convert/jobs/{job_id}",
            f"/v1/convert/jobs/{job_id}?job_id=another",
            f"/v1/convert/jobs/%7Bjob_id%7D?job_id={job_id}",
            f"/convert/jobs/%7Bjob_id%7D?job_id={job_id}",
        ):
            reply = await program.api.get(path)
            assert (reply.status, reply.json["job_id"]) == (200, job_id), path
        refused(await program.api.get("/v1/convert/jobs/%7Bjob_id%7D"), 422, "job_id")

    async def test_of_a_download(self, program: Program, job: dict[str, Any]) -> None:
        token = job["file_url"].rpartition("/")[2]
        body = await program.fetched(job)
        for path in (
            f"/v1/convert/download/{token}",
            f"/v1/convert/download/%7Bobject_name%7D?object_name={token}",
        ):
            reply = await program.api.get(path)
            assert (reply.status, reply.body) == (200, body), path
        reply = await program.api.get(job["file_url"], headers={"Accept": "application/json"})
        assert reply.body == body  # whatever is asked for besides
        for name in ("converted/2026/a.webp", token + "x", "x"):
            refused(await program.api.get(f"/v1/convert/download/{name}"), 404)

    async def test_only_its_own_jobs(self, program: Program, job: dict[str, Any]) -> None:
        native = (await program.api.submit(samples.picture(), to="webp")).json
        refused(await program.api.get(f"/v1/convert/jobs/{native['id']}"), 404)

    async def test_the_same_key_is_the_same_job(self, program: Program, origin: Origin) -> None:
        body = media(origin.url("a.png", samples.picture()), "png", "webp")
        headers = {"Idempotency-Key": "one"}
        replies = [
            await program.api.request("POST", "/v1/convert/media", json=body, headers=headers)
            for _ in range(2)
        ]
        assert len({reply.json["job_id"] for reply in replies}) == 1
        assert origin.visits == ["a.png"]
        body["target_format"] = "jpg"
        reply = await program.api.request("POST", "/v1/convert/media", json=body, headers=headers)
        refused(reply, 422)


class TestRefusals:
    @pytest.fixture
    def post(self, program: Program) -> Callable[..., Any]:
        async def post(category: str, **body: Any) -> Reply:
            return await program.api.request("POST", f"/v1/convert/{category}", json=body)

        return post

    async def test_fields(self, post: Callable[..., Any], origin: Origin) -> None:
        url = origin.url("a.png", samples.picture())
        refused(await post("media", source_format="mp4", target_format="mp3"), 422, "url")
        refused(await post("media", url=7, target_format="mp3"), 422, "url")
        refused(await post("media", url="not an address", target_format="mp3"), 422, "url")
        refused(await post("media", url=url), 422, "target_format")
        refused(await post("document", url=url, from_format="pdf"), 422, "to_format")
        refused(await post("media", url=url, target_format="png", to_format="jpg"), 422, "to_format")
        refused(await post("media", url=url, source_format="wat", target_format="png"), 422, "source_format")
        refused(await post("media", url=url, from_format="png", target_format="wat"), 422, "target_format")
        refused(await post("data", url=url, data="a", from_format="csv", to_format="pdf"), 422, "url")
        refused(await post("data", data="a", to_format="pdf"), 422, "from_format")
        refused(await post("data", data="a", content="b", from_format="csv", to_format="pdf"), 422, "content")
        refused(await post("data", data={"a": 1}, from_format="csv", to_format="pdf"), 422, "data")
        refused(await post("document", url=url, filename=7, to_format="pdf"), 422, "filename")
        refused(await post("data", content="", from_format="csv", to_format="pdf"), 422, "url")
        assert origin.visits == []

    async def test_another_endpoints_files(self, post: Callable[..., Any], origin: Origin) -> None:
        pdf = origin.url("a.pdf", samples.pdf())
        told = refused(
            await post("media", url=pdf, source_format="pdf", target_format="png"), 422, "source_format"
        )
        assert "/v1/convert/document" in told
        assert origin.visits == []
        told = refused(await post("media", url=pdf, target_format="png"), 422, "source_format")
        assert "/v1/convert/document" in told

    async def test_a_content_that_is_another_of_its_kind(
        self, post: Callable[..., Any], origin: Origin
    ) -> None:
        lie = origin.url("a.jpg", samples.picture())
        for claimed in ("jpg", "JPEG", "bmp"):
            reply = await post("media", url=lie, source_format=claimed, target_format="webp")
            assert reply.status == 200, reply.body
            assert reply.json["conversion"]["source_format"] == "png"
        sound = origin.url("a.mp3", samples.wav(seconds=1))
        reply = await post("media", url=sound, source_format="mp3", target_format="flac")
        assert (reply.status, reply.json["conversion"]["source_format"]) == (200, "wav")

    async def test_a_content_that_is_another(self, post: Callable[..., Any], origin: Origin) -> None:
        lie = origin.url("a.pdf", samples.picture())
        told = refused(await post("document", url=lie, to_format="txt"), 422, "from_format")
        assert "'from_format'" in told
        told = refused(await post("document", url=lie, from_format="pdf", to_format="txt"), 422)

    async def test_options(self, post: Callable[..., Any], origin: Origin) -> None:
        pdf = origin.url("a.pdf", samples.pdf())
        ask = document(pdf, "pdf", "png")
        refused(await post("document", **ask, dpi=5), 422, "dpi")
        refused(await post("document", **ask, pages="first"), 422, "pages")
        refused(
            await post("video-thumbnail", url=pdf, source_format="mp4", timestamp="soon"), 422, "timestamp"
        )
        assert origin.visits == []
        unknown = {"colour": "blue", "webhook": [1]}
        for harmless in ({"title": "A"}, {"page_size": "A4"}, {"author": None}, {"delimiter": ";"}, unknown):
            assert (await post("document", **ask, **harmless)).status == 200

    @needs_office
    async def test_options_of_tables(self, post: Callable[..., Any]) -> None:
        ask = {"data": "a;b\n", "from_format": "csv", "to_format": "pdf"}
        for name, value in (
            ("delimiter", ";"),
            ("has_header", False),
            ("skip_rows", 2),
            ("include_header", "no"),
        ):
            refused(await post("data", **ask, **{name: value}), 422, name)

    async def test_addresses(self, program: Program, post: Callable[..., Any], origin: Origin) -> None:
        told = refused(await post("media", url="http://10.0.0.1/a.png", target_format="webp"), 400, "url")
        assert "outbound.allow" in told
        told = refused(await post("media", url=origin.url("nothing.png"), target_format="webp"), 422, "url")
        assert "404" in told
        empty = origin.url("empty.png", b"")
        refused(await post("media", url=empty, target_format="webp"), 422, "url")

    async def test_bodies(self, program: Program) -> None:
        path = "/v1/convert/data"
        for body in (b"{", b"[1]", b"", b"[" * 50_000):
            refused(await program.api.request("POST", path, data=body), 400)
        refused(await program.api.request("POST", path, data=b" " * (5 * 1024 * 1024)), 413)

    async def test_alive(self, program: Program) -> None:
        assert await program.call(Convert.root__get) == await program.call(Convert.status)
        assert (await program.api.get("/")).json == {"status": "ok"}

    async def test_of_the_framework(self, program: Program) -> None:
        reply = await program.api.request("DELETE", "/v1/convert/media")
        refused(reply, 405)
        assert reply.headers["Allow"] == "GET,POST"
        assert (await program.api.request("HEAD", "/v1/convert/media")).status == 405
        for path in ("/v1/convert/nothing", "/v1/convert/jobs", "/v1/convert/jobs/1/2"):
            refused(await program.api.get(path), 404)
        refused(await program.api.get("/convert/jobs/1/2"), 404)


def test_a_machine_without_an_office() -> None:
    registry = Registry(discover(), disabled={"soffice": "it is not here"})
    endpoint = CATEGORIES["document"]
    wanted = read(endpoint, document("http://a.example/a.docx", "docx", "pdf"))
    with pytest.raises(EngineMissing, match="LibreOffice") as raised:
        wanted.check_route(registry, endpoint, "docx")
    assert raised.value.field == "to_format"
    assert "docx" not in formats_view(registry, [endpoint])["conversions"]
