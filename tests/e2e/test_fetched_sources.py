"""Files that the server fetches itself from an address that the client names."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from tests.e2e.conftest import Start
from tests.support import samples
from tests.support.api import Api

PNG = samples.picture()


class Origin:
    """A web server with files, which counts its visitors."""

    def __init__(self) -> None:
        self.visits: list[str] = []
        self.dripping, self.left = asyncio.Event(), asyncio.Event()
        self.elsewhere = ""
        """Where ``/elsewhere`` leads to."""
        app = web.Application()
        app.router.add_get("/{path:.*}", self._serve)
        self.server = TestServer(app, host="127.0.0.1")

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.visits.append(request.path)
        match request.path:
            case "/picture.png":
                return web.Response(body=PNG, content_type="image/png")
            case "/hidden":
                return web.Response(
                    body=PNG, headers={"Content-Disposition": 'attachment; filename="a b.png"'}
                )
            case "/never":
                await asyncio.Event().wait()
            case "/drops":
                return await self._drip(request)
            case "/away":
                raise web.HTTPFound("/picture.png")
            case "/elsewhere":
                raise web.HTTPFound(self.elsewhere)
        raise web.HTTPNotFound

    async def _drip(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000000"})
        await response.prepare(request)
        self.dripping.set()
        try:
            while True:
                await response.write(b"x")
                await asyncio.sleep(0)
        finally:
            self.left.set()

    def url(self, path: str) -> str:
        return str(self.server.make_url(path))


async def _up() -> AsyncIterator[Origin]:
    origin = Origin()
    await origin.server.start_server()
    yield origin
    await origin.server.close()


origin = pytest.fixture(_up, name="origin")
canary = pytest.fixture(_up, name="canary")


@pytest.fixture
def trusting(start: Start, session: ClientSession, origin: Origin) -> Api:
    """A client of a server whose operator trusts the origin."""
    return Api(session, start(OUTBOUND_ALLOW=f"127.0.0.1:{origin.server.port}").url)


@pytest.mark.parametrize(
    ("path", "name"), [("/picture.png", "picture.png"), ("/hidden", "a b.png"), ("/away", "picture.png")]
)
async def test_a_fetched_file_is_converted(trusting: Api, origin: Origin, path: str, name: str) -> None:
    body = {"to": "webp", "source_url": origin.url(path)}
    reply = await trusting.request("POST", "/jobs", json=body, headers={"Prefer": "wait=20"})
    job = reply.job(200)
    assert job["status"] == "succeeded"
    assert job["inputs"][0]["name"] == name
    assert job["inputs"][0]["sha256"] == hashlib.sha256(PNG).hexdigest()


async def test_several_and_one_sent_along(trusting: Api, origin: Origin) -> None:
    body = {"to": "webp", "source_url": [origin.url("/picture.png"), origin.url("/hidden")]}
    job = (await trusting.request("POST", "/jobs", json=body)).job(202)
    assert [file["name"] for file in job["inputs"]] == ["picture.png", "a b.png"]
    params = {"to": "webp", "source_url": origin.url("/picture.png")}
    job = (await trusting.request("POST", "/convert", params=params)).body
    assert job[8:12] == b"WEBP"


async def test_a_twin_fetches_nothing(trusting: Api, origin: Origin) -> None:
    body = {"to": "webp", "source_url": origin.url("/picture.png")}
    headers = {"Idempotency-Key": "one"}
    first = (await trusting.request("POST", "/jobs", json=body, headers=headers)).job(202)
    second = await trusting.request("POST", "/jobs", json=body, headers=headers)
    assert second.job(202)["id"] == first["id"]
    assert origin.visits == ["/picture.png"]


async def test_what_is_not_there(trusting: Api, origin: Origin) -> None:
    body = {"to": "webp", "source_url": origin.url("/nothing")}
    problem = (await trusting.request("POST", "/jobs", json=body)).problem(422, "fetch_failed")
    assert "404" in problem["detail"]
    assert problem["field"] == "source_url"


async def test_an_address_inside_is_refused_and_never_called(api: Api, origin: Origin) -> None:
    body = {"to": "webp", "source_url": origin.url("/picture.png")}
    problem = (await api.request("POST", "/jobs", json=body)).problem(422, "fetch_refused")
    assert "outbound.allow" in problem["detail"]
    assert origin.visits == []


NATIVE = {"type", "title", "status", "code", "detail", "field"}


@pytest.mark.parametrize(
    ("path", "field", "wanted", "status", "sentence", "members"),
    [
        ("/jobs", "source_url", {"to": "webp"}, 422, "detail", NATIVE),
        ("/convert", "source_url", {"to": "webp"}, 422, "detail", NATIVE),
        ("/api/jobs", "sourceUrl", {"format": "webp"}, 400, "error", {"error", "code", "detail"}),
        ("/api/convert", "sourceUrl", {"format": "webp"}, 400, "error", {"error", "code", "detail"}),
        ("/v1/convert/media", "url", {"target_format": "webp"}, 400, "detail", {"detail", "errors"}),
    ],
)
async def test_a_detour_to_an_address_inside_is_refused_and_never_called(
    trusting: Api,
    origin: Origin,
    canary: Origin,
    path: str,
    field: str,
    wanted: dict[str, str],
    status: int,
    sentence: str,
    members: set[str],
) -> None:
    """The canary lives on another port of the address that the server may call."""
    origin.elsewhere = canary.url("/picture.png")
    reply = await trusting.request("POST", path, json=wanted | {field: origin.url("/elsewhere")})
    assert (reply.status, set(reply.json)) == (status, members), reply.body
    assert "outbound.allow" in reply.json[sentence]
    assert field in str({name: told for name, told in reply.json.items() if name != sentence})
    assert (origin.visits, canary.visits) == (["/elsewhere"], [])


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://a.example/", "picture.png", 7, "http://"])
async def test_what_is_no_address(api: Api, url: object) -> None:
    reply = await api.request("POST", "/jobs", json={"to": "webp", "source_url": url})
    assert reply.problem(400, "invalid_request")["field"] == "source_url"


async def test_no_file_is_left_of_what_failed(trusting: Api, origin: Origin, tmp_path: Path) -> None:
    body = {"to": "webp", "source_url": [origin.url("/picture.png"), origin.url("/nothing")]}
    (await trusting.request("POST", "/jobs", json=body)).problem(422, "fetch_failed")
    files = [path for path in (tmp_path / "data" / "files").rglob("*") if path.is_file()]
    assert files == []


async def test_too_many_addresses_are_refused_before_the_first_is_called(
    start: Start, session: ClientSession, origin: Origin
) -> None:
    place = f"127.0.0.1:{origin.server.port}"
    api = Api(session, start(OUTBOUND_ALLOW=place, LIMITS_FILES="2").url)
    body = {"to": "webp", "source_url": [origin.url("/picture.png")] * 3}
    problem = (await api.request("POST", "/jobs", json=body)).problem(400, "invalid_request")
    assert "limits.files" in problem["detail"]
    assert origin.visits == []


async def test_all_addresses_together_have_the_time_of_an_upload(
    start: Start, session: ClientSession, origin: Origin
) -> None:
    place = f"127.0.0.1:{origin.server.port}"
    api = Api(session, start(OUTBOUND_ALLOW=place, LIMITS_UPLOAD_TIME="300ms").url)
    body = {"to": "webp", "source_url": [origin.url("/picture.png"), origin.url("/never")]}
    problem = (await api.request("POST", "/jobs", json=body)).problem(422, "fetch_failed")
    assert "limits.upload_time" in problem["detail"]


async def test_nothing_is_fetched_for_a_client_that_has_gone(
    trusting: Api, origin: Origin, tmp_path: Path
) -> None:
    body = {"to": "webp", "source_url": origin.url("/drops")}
    request = asyncio.create_task(trusting.request("POST", "/jobs", json=body))
    await origin.dripping.wait()
    request.cancel()
    async with asyncio.timeout(10):
        await origin.left.wait()
