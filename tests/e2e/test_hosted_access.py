"""What holds on every path of every hosted API: keys in each spelling, and errors in the API's own form."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp import ClientSession, FormData

from convertd.api.dialects import dialects_of
from convertd.web.server import Route
from tests.e2e.test_access import create_key
from tests.support import samples
from tests.support.api import Api, Reply
from tests.support.server import ServerProcess, serving

HOSTED = {each.name: each for each in dialects_of(Mock(), Mock()) if each.name != "native"}


def _text_error(document: dict[str, Any]) -> str:
    assert set(document) <= {"error", "code", "detail"}
    return str(document["error"])


def _text_and_code(document: dict[str, Any]) -> str:
    assert set(document) == {"error", "code"}
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", document["code"])
    return str(document["error"])


def _object(document: dict[str, Any]) -> str:
    assert set(document) == {"error"}
    assert set(document["error"]) <= {"code", "message", "details"}
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", document["error"]["code"])
    return str(document["error"]["message"])


def _detail(document: dict[str, Any]) -> str:
    assert set(document) <= {"detail", "errors"}
    for error in document.get("errors", ()):
        assert set(error) == {"field", "message"}
    return str(document["detail"])


FORMS: dict[str, Callable[[dict[str, Any]], str]] = {
    "convertly": _text_error,
    "changethisfile": _object,
    "toolkitapi": _detail,
    "pipelyn": _text_and_code,
}
"""The shape of each API's error; gives its sentence."""


def sentence(dialect: str, reply: Reply) -> str:
    """The sentence of an error that must have the API's form."""
    assert reply.status >= 400, (reply.status, reply.body[:300])
    assert reply.headers["Content-Type"].startswith("application/json")
    told = FORMS[dialect](json.loads(reply.body))
    assert len(told) > 8
    return told


def plain(route: Route) -> str:
    """The route's path with something in place of its variables."""
    return re.sub(r"\{[^}]*\}", "thumbnail", route.path)


ROUTES = [
    pytest.param(name, route, id=f"{name} {route.method} {route.path}")
    for name, dialect in HOSTED.items()
    for route in dialect.routes()
    if route.method != "HEAD"
]


LINKED = [each for each in ROUTES if each.values[1].public and "download" in each.values[1].path]


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, str]]:
    """A server that asks for a key, and the key."""
    data_dir = tmp_path_factory.mktemp("closed") / "data"
    key = create_key(data_dir, "one")
    with serving(data_dir) as process:
        yield process, key


def client_of(session: ClientSession, closed: tuple[ServerProcess, str], **headers: str) -> Api:
    return Api(session, closed[0].url, headers)


def test_every_api_is_known_here() -> None:
    assert set(FORMS) == set(HOSTED)
    assert {each.values[0] for each in LINKED} == set(HOSTED)


@pytest.mark.parametrize(("dialect", "route"), LINKED)
async def test_a_link_that_is_not_valid_is_told_so_in_the_apis_form(
    session: ClientSession, closed: tuple[ServerProcess, str], dialect: str, route: Route
) -> None:
    reply = await client_of(session, closed).get(plain(route))
    assert "link is not valid" in sentence(dialect, reply)
    assert reply.status == 404


@pytest.mark.parametrize(("dialect", "route"), ROUTES)
async def test_keys(
    session: ClientSession, closed: tuple[ServerProcess, str], dialect: str, route: Route
) -> None:
    path, key = plain(route), closed[1]
    stranger = await client_of(session, closed).request(route.method, path)
    if route.public:
        assert stranger.status != 401
        return
    assert stranger.status == 401
    assert "key" in sentence(dialect, stranger).lower()
    wrong = await client_of(session, closed, Authorization="Bearer nonsense").request(route.method, path)
    assert wrong.status == 401
    sentence(dialect, wrong)
    for headers in ({"Authorization": f"Bearer {key}"}, {"x-api-key": key}, {"X-API-Key": key}):
        reply = await Api(session, closed[0].url, headers).request(route.method, path)
        assert reply.status not in (401, 403, 500), reply.body
        if reply.status >= 400:
            sentence(dialect, reply)


@pytest.mark.parametrize(("dialect", "route"), ROUTES)
async def test_what_the_framework_refuses(api: Api, dialect: str, route: Route) -> None:
    told = await api.request("PATCH", plain(route))
    assert told.status == 405
    sentence(dialect, told)
    assert route.method in told.headers["Allow"]
    told = await api.request(route.method, f"{plain(route)}/and/what/is/not/there")
    assert told.status in (404, 405)
    if HOSTED[dialect].owns(f"{plain(route)}/and/what/is/not/there"):
        sentence(dialect, told)


@pytest.mark.parametrize(("dialect", "route"), [p for p in ROUTES if p.values[1].accepts_work])
async def test_a_body_that_is_none(api: Api, dialect: str, route: Route) -> None:
    for content_type, body in (
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=abc", b"--abc\r\n\r\nbroken"),
        ("application/json", b"{"),
        ("application/json", b"[" * 100_000),
        ("application/x-www-form-urlencoded", b"a=b"),
    ):
        reply = await api.request(
            route.method, plain(route), data=body, headers={"Content-Type": content_type}
        )
        assert 400 <= reply.status < 500, (content_type, reply.status, reply.body)
        sentence(dialect, reply)
    nothing = await api.request(route.method, plain(route), skip_auto_headers=["Content-Type"])
    assert 400 <= nothing.status < 500, (nothing.status, nothing.body)
    sentence(dialect, nothing)


@pytest.mark.parametrize("path", ["//v1/jobs", "/v1/jobs/", "//api/jobs", "/api/media/jobs/", "/api//jobs"])
async def test_a_slash_too_many(api: Api, path: str) -> None:
    form = FormData({"target": "webp", "format": "webp"})
    part = "media" if "media" in path else "files" if "api" in path else "file"
    form.add_field(part, samples.picture(), filename="a.png", content_type="image/png")
    reply = await api.request("POST", f"{path}?a=b", data=form, allow_redirects=False)
    assert reply.status in (200, 202), reply.body


@pytest.mark.parametrize(("path", "part"), [("/v1/jobs", "file"), ("/api/jobs", "files")])
async def test_a_field_without_a_file(api: Api, path: str, part: str) -> None:
    def form(content: bytes) -> FormData:
        fields = FormData({"target": "webp", "format": "webp"})
        fields.add_field("watermarkFile", b"", filename="")
        fields.add_field(part, content, filename="")
        return fields

    assert (await api.request("POST", path, data=form(samples.picture()))).status in (200, 202)
    reply = await api.request("POST", path, data=form(b""))
    assert reply.status == 400
    assert part in reply.body.decode()
