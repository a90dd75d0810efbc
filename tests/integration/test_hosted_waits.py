"""Requests that wait for their result themselves give up when the service that they imitate would."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession, FormData

from convertd import app
from convertd.api.changethisfile import dialect as changethisfile
from convertd.api.pipelyn import dialect as pipelyn
from convertd.config import load
from tests.support.api import Api
from tests.support.doomed_engine import HANGS


@pytest.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    """A server with one second where the services have minutes, and an engine that never ends."""
    monkeypatch.setattr(changethisfile, "WAIT_SECONDS", 1.0)
    monkeypatch.setattr(pipelyn, "_WAIT_SECONDS", {True: 1.0, False: 1.0})
    environ = {"CONVERTD_ENGINES_MODULES": "tests.support.doomed_engine", "CONVERTD_JOBS_GRACE": "0s"}
    config = load(None, environ, {"port": "0", "data_dir": str(tmp_path / "data")})
    async with app.running(config) as started, ClientSession() as session:
        yield Api(session, started.address)


@pytest.mark.parametrize(
    ("path", "part", "code"),
    [("/v1/convert", "file", "timeout"), ("/api/media/optimize", "media", "encode-timeout")],
)
async def test_a_conversion_without_end_is_given_up_and_cancelled(
    api: Api, path: str, part: str, code: str
) -> None:
    form = FormData({"target": "webp"})
    form.add_field(part, HANGS, filename="a.jxl", content_type="image/jxl")
    reply = await api.request("POST", path, data=form)
    assert reply.status == 504, reply.body
    told = reply.json if part == "media" else reply.json["error"]
    assert told["code"] == code
    assert "longer than 1 seconds" in reply.body.decode()
    [job] = (await api.get("/jobs")).json["jobs"]
    assert job["status"] == "cancelled"
