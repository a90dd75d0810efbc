"""The OpenAPI document says what the server does, and the server does what it says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from aiohttp import ClientSession, FormData
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from convertd import app
from convertd.api.native import NativeDialect
from convertd.config import load
from convertd.errors import BY_CODE
from tests.support import samples
from tests.support.api import Api
from tests.support.receiver import Receiver

PNG = samples.picture()


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    environ = {
        "CONVERTD_ENGINES_MODULES": "tests.support.slow_engine",
        "CONVERTD_JOBS_GRACE": "0s",
        "CONVERTD_OUTBOUND_ALLOW": "127.0.0.1",
    }
    config = load(None, environ, {"port": "0", "data_dir": str(tmp_path / "data")})
    async with app.running(config) as started, ClientSession() as session:
        yield Api(session, started.address)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver().up() as receiver:
        yield receiver


@pytest.fixture
async def document(api: Api) -> dict[str, Any]:
    return (await api.get("/openapi.json")).json


def fits(document: dict[str, Any], name: str, instance: Any) -> None:
    """The instance is as the document's schema of this name says; date-times and addresses included."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    validator = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    assert [error.message for error in validator.iter_errors(instance)] == []


def has_only_described(document: dict[str, Any], name: str, instance: dict[str, Any], *more: str) -> None:
    described = document["components"]["schemas"][name]["properties"]
    assert set(instance) - set(described) <= set(more)


async def test_it_is_valid(document: dict[str, Any]) -> None:
    validate(document)


async def test_it_names_every_route_and_no_other(document: dict[str, Any]) -> None:
    described = {
        (method.upper(), path)
        for path, methods in document["paths"].items()
        for method in methods
        if method in ("get", "put", "post", "delete", "head", "patch")
    }
    dialect = NativeDialect(MagicMock(), version="0", readiness=MagicMock())
    assert described == {(route.method, route.path) for route in dialect.routes()}


async def test_its_operations_have_names_of_their_own(document: dict[str, Any]) -> None:
    names = [
        operation["operationId"] for methods in document["paths"].values() for operation in methods.values()
    ]
    assert len(set(names)) == len(names)


async def test_jobs_in_every_state_fit(api: Api, document: dict[str, Any]) -> None:
    done = (await api.submit(PNG, to="webp", filename="a.png", wait=30)).job(200)
    failed = (await api.submit(PNG[:5000], to="webp", filename="a.png", wait=30)).job(200)
    lingering = [await api.linger(3600) for _ in range(20)]
    running = await api.progressing(lingering[0]["id"])
    queued = await api.job(lingering[-1]["id"])
    cancelled = (await api.request("DELETE", f"/jobs/{queued['id']}")).job(200)
    jobs = (done, failed, running, queued, cancelled)
    assert [job["status"] for job in jobs] == ["succeeded", "failed", "running", "queued", "cancelled"]
    for job in jobs:
        fits(document, "Job", job)
        has_only_described(document, "Job", job)
        for task in job["tasks"]:
            has_only_described(document, "Task", task)
    fits(document, "JobPage", (await api.get("/jobs")).json)


async def test_a_batch_fits(api: Api, document: dict[str, Any]) -> None:
    form = FormData()
    form.add_field("file", samples.pdf(2), filename="doc.pdf")
    form.add_field("file", PNG, filename="a.png")
    form.add_field("to", "jpg")
    fits(document, "Job", (await api.submit(form, wait=30)).job(200))


async def test_callbacks_and_their_log_fit(api: Api, document: dict[str, Any], receiver: Receiver) -> None:
    form = FormData()
    for number in range(60):
        form.add_field("file", PNG, filename=f"{number}.png")
    small = await api.submit(PNG, to="webp", filename="a.png", callback_url=receiver.url)
    fits(document, "Job", small.json)
    has_only_described(document, "Job", small.json)
    large = (await api.submit(form, to="webp", callback_url=receiver.url)).job(202)
    for received in await receiver.wait_for(2):
        fits(document, "Event", received.event)
        has_only_described(document, "Job", received.event["data"]["job"])
    assert {received.event["data"]["job"].get("truncated") for received in receiver.received} == {None, True}
    log = (await api.get(f"/jobs/{large['id']}/deliveries")).json
    fits(document, "Deliveries", log)
    again = await api.request("POST", f"/deliveries/{log['deliveries'][0]['id']}/redeliver")
    assert again.status == 202
    fits(document, "Delivery", again.json)
    has_only_described(document, "Delivery", again.json)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_the_secret_fits(api: Api, document: dict[str, Any], method: str) -> None:
    fits(document, "Secret", (await api.request(method, "/callbacks/secret")).json)
    (await api.request(method, "/callbacks/secret?x=1")).problem(400, "invalid_request")


async def test_problems_fit(api: Api, document: dict[str, Any]) -> None:
    replies = await asyncio.gather(
        api.get("/nothing"),
        api.request("PATCH", "/jobs"),
        api.submit(b"", to="webp"),
        api.submit(PNG, to="webp", quality="x"),
        api.get("/download/x"),
    )
    for reply in replies:
        problem = reply.any_problem()
        fits(document, "Problem", problem)
        has_only_described(document, "Problem", problem)
    codes = document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]
    assert set(codes) == set(BY_CODE)


async def test_formats_fit_and_their_options_are_schemas(api: Api, document: dict[str, Any]) -> None:
    formats = (await api.get("/formats")).json
    fits(document, "Formats", formats)
    for definition in formats["$defs"].values():
        Draft202012Validator.check_schema(definition)
    for route in formats["routes"]:
        assert route["options"]["$ref"].removeprefix("#/$defs/") in formats["$defs"]
        assert route["source"] in formats["formats"]
        assert set(route["engine"].split("+")) <= set(formats["engines"])


async def test_every_described_parameter_is_read(api: Api, document: dict[str, Any]) -> None:
    """A wrong value of each is refused by name, so none is read and then ignored."""
    fields = "operation source min_fidelity options metadata to archive callback_url callback_secret"
    wrong = dict.fromkeys(fields.split(), "x")
    references = [
        item["$ref"].rpartition("/")[2] for item in document["paths"]["/jobs"]["post"]["parameters"]
    ]
    described = [document["components"]["parameters"][name] for name in references]
    names = {item["name"] for item in described if item["in"] == "query"}
    assert names == set(wrong) | {"filename"}
    for name, value in wrong.items():
        reply = await api.submit(PNG, **{"to": "webp", "filename": "a.png"} | {name: value})
        assert reply.problem(400, "invalid_request")["field"] == name
