"""A client as ChangeThisFile's guides show it, and the shapes of the answers."""

from __future__ import annotations

import io
import time
import uuid
from collections.abc import Mapping
from typing import Any

from aiohttp import ClientSession, FormData
from jsonschema import Draft202012Validator
from PIL import Image

from tests.support import samples
from tests.support.api import Api, Reply
from tests.support.server import ServerProcess

PNG = samples.picture()
BROKEN = PNG[: len(PNG) // 2]

TEXT = {"type": "string", "minLength": 1}
COUNT = {"type": "integer", "minimum": 0}
TIME = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$"}
URL = {"type": "string", "pattern": r"^http://[^/]+/v1/jobs/download/[A-Za-z0-9_-]+$"}


def members(**properties: Any) -> dict[str, Any]:
    """An object with these members, no other, and none missing."""
    return {
        "type": "object",
        "required": list(properties),
        "additionalProperties": False,
        "properties": properties,
    }


def or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


RESULT = members(file_url=URL, size=COUNT, duration_ms=COUNT, source_format=TEXT, target_format=TEXT)
FAILURE = members(code={"enum": ["file_invalid", "engine_error", "timeout"]}, message=TEXT)
_CREATED = members(
    job_id=TEXT, state={"const": "queued"}, status={"const": "queued"}, status_url={"pattern": "^http://"}
)
JOB = members(
    job_id=TEXT,
    state={"enum": ["queued", "processing", "done", "failed"]},
    status={"enum": ["queued", "processing", "completed", "failed"]},
    progress_pct={"type": "integer", "minimum": 0, "maximum": 100},
    source_format=TEXT,
    target_format=TEXT,
    created_at=TIME,
    updated_at=TIME,
    download_url=or_null(URL),
    result=or_null(RESULT),
    error=or_null(FAILURE),
    duration_ms=or_null(COUNT),
    metadata={"type": "object"},
)
_ERROR = members(
    error=members(code=TEXT, message={"type": "string", "minLength": 10}, details={"type": "object"})
)
_PAIRS = {"queued": "queued", "processing": "processing", "done": "completed", "failed": "failed"}


def check(document: Any, schema: dict[str, Any]) -> None:
    Draft202012Validator(schema).validate(document)


def refused(reply: Reply, status: int, code: str) -> dict[str, Any]:
    """The details of an answer that must be this error."""
    assert reply.headers["Content-Type"].startswith("application/json"), reply.body
    check(reply.json, _ERROR)
    assert (reply.status, reply.json["error"]["code"]) == (status, code), reply.body
    details: dict[str, Any] = reply.json["error"]["details"]
    return details


class Client:
    """What the service's guides do."""

    def __init__(self, api: Api) -> None:
        self.api = api

    async def raw(
        self, path: str, body: Any, *, headers: Mapping[str, str] | None = None, **query: Any
    ) -> Reply:
        """The file as the body, its fields in the query, no content type."""
        params = {name: str(value) for name, value in query.items()}
        return await self.api.request(
            "POST", path, data=body, params=params, headers=headers, skip_auto_headers=["Content-Type"]
        )

    async def form(
        self, path: str, body: bytes, name: str, *, headers: Mapping[str, str] | None = None, **fields: str
    ) -> Reply:
        form = FormData(quote_fields=False)
        for field, value in fields.items():
            form.add_field(field, value)
        form.add_field("file", body, filename=name)
        return await self.api.request("POST", path, data=form, headers=headers)

    async def submit(self, body: bytes = PNG, **query: Any) -> str:
        """The id of a job that must be accepted."""
        return self.accepted(await self.raw("/v1/jobs", body, **({"target": "webp"} | query)))

    def accepted(self, reply: Reply) -> str:
        assert reply.status == 202, reply.body
        check(reply.json, _CREATED)
        job_id = str(reply.json["job_id"])
        uuid.UUID(job_id)
        assert reply.json["status_url"] == reply.headers["Location"] == f"{self.api.url}/v1/jobs/{job_id}"
        return job_id

    async def status(self, job_id: str) -> dict[str, Any]:
        reply = await self.api.get(f"/v1/jobs/{job_id}")
        assert reply.status == 200, reply.body
        check(reply.json, JOB)
        job = reply.json
        assert job["status"] == _PAIRS[job["state"]]
        assert (job["download_url"] is None) == (job["result"] is None) == (job["state"] != "done")
        assert (job["error"] is None) == (job["state"] != "failed")
        assert (job["duration_ms"] is None) == (job["state"] not in ("done", "failed"))
        return job

    async def ended(self, job_id: str) -> dict[str, Any]:
        """By polling, as its clients do; the native long poll only paces it."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            job = await self.status(job_id)
            if job["state"] in ("done", "failed"):
                return job
            await self.api.get(f"/jobs/{job_id}", headers={"Prefer": "wait=5"})
        raise AssertionError(job)


def with_key(session: ClientSession, server: ServerProcess, key: str) -> Client:
    return Client(Api(session, server.url, {"Authorization": f"Bearer {key}"}))


def picture(body: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(body))
    image.load()
    return image
