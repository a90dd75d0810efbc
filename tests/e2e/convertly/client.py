"""A client of the service as its documentation shows one, and what its answers look like."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
from jsonschema import Draft202012Validator

from tests.support.server import PATIENCE

File = tuple[str, bytes]
"""A file's name and its bytes."""

_TEXT = {"type": "string", "minLength": 1}
_COUNT = {"type": "integer", "minimum": 0}
_TIME = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"}
_UUID = {"type": "string", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _object(properties: dict[str, Any], *optional: str) -> dict[str, Any]:
    """All properties are there but for those that are optional, and no others."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


FILE = _object(
    {
        "filename": _TEXT,
        "originalSize": _COUNT,
        "finalSize": _COUNT,
        "savedPercent": {"type": "number", "maximum": 100},
        "mimeType": {"type": "string", "pattern": "^[a-z]+/"},
        "downloadUrl": {"type": "string", "pattern": "^(http://[^/]+/api/jobs/download/|data:[^ ]+;base64,)"},
        "appliedQuality": _or_null({"type": "integer", "minimum": 1, "maximum": 100}),
        "storedFileId": _UUID,
    }
)
_FAILURES = {"type": "array", "items": _object({"filename": _TEXT, "error": _TEXT})}
STATUS = {"enum": ["pending", "processing", "completed", "failed"]}
CREATED = _object({"jobId": _UUID, "status": STATUS, "tool": _TEXT}, "tool")
JOB = _object(
    {
        "jobId": _UUID,
        "status": STATUS,
        "tool": _TEXT,
        "jobType": {"enum": ["convert", "compress", "media_tool"]},
        "errorMessage": _or_null(_TEXT),
        "totalFiles": _COUNT,
        "completedFiles": _COUNT,
        "failedFiles": _COUNT,
        "progress": {"type": "integer", "minimum": 0, "maximum": 100},
        "results": _or_null({"type": "array", "items": FILE, "minItems": 1}),
        "failures": _FAILURES,
        "createdAt": _TIME,
        "updatedAt": _TIME,
        "completedAt": _or_null(_TIME),
        "archiveUrl": _or_null({"type": "string", "pattern": "^http://"}),
    },
    "tool",
    "archiveUrl",
)
PAGE = _object(
    {
        "jobs": {"type": "array", "items": JOB},
        "pagination": _object(
            {"limit": _COUNT, "offset": _COUNT, "total": _COUNT, "hasMore": {"type": "boolean"}}
        ),
    }
)
CONVERTED = _object(
    {
        "files": {"type": "array", "items": FILE, "minItems": 1},
        "storage": _object({"saved": {"type": "boolean"}, "notice": _or_null(_TEXT)}),
        "failures": _FAILURES,
    }
)
_TOOL_FILE_FIELDS = ("filename", "mimeType", "originalSize", "finalSize", "downloadUrl")
MEDIA = _object(
    {
        "filename": _TEXT,
        "mimeType": _TEXT,
        "sizeBytes": _COUNT,
        "kind": {"enum": ["image", "video", "audio", "document"]},
        "format": _TEXT,
        "width": _or_null(_COUNT),
        "height": _or_null(_COUNT),
        "duration": _or_null({"type": "number"}),
        "bitrateKbps": _or_null({"type": "number"}),
        "streams": {"type": "array", "items": {"type": "object", "required": ["index", "type"]}},
    }
)
WORKED = _object(
    {
        "files": {
            "type": "array",
            "items": _object({name: FILE["properties"][name] for name in _TOOL_FILE_FIELDS}),
            "minItems": 1,
        },
        "failures": _FAILURES,
        "media": MEDIA,
    },
    "media",
)
ERROR = _object({"error": _TEXT, "code": _TEXT, "detail": _TEXT}, "code", "detail")
_KINDS = ("conversion", "media.tool")
DELIVERY = _object(
    {
        "id": _UUID,
        "eventId": _TEXT,
        "jobId": _UUID,
        "endpoint": {"type": "string", "pattern": "^http"},
        "eventType": {"enum": [f"{kind}.{end}" for kind in _KINDS for end in ("completed", "failed")]},
        "status": {"enum": ["pending", "delivered", "failed"]},
        "httpStatus": _or_null(_COUNT),
        "bodyPreview": _or_null({"type": "string"}),
        "error": _or_null(_TEXT),
        "attemptCount": _COUNT,
        "createdAt": _TIME,
        "lastAttemptAt": _or_null(_TIME),
        "nextAttemptAt": _or_null(_TIME),
        "completedAt": _or_null(_TIME),
    }
)  # fmt: skip


def check(document: Any, schema: dict[str, Any]) -> Any:
    Draft202012Validator(schema).validate(document)
    return document


class Convertly:
    """Submit, poll, download."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def post(
        self,
        path: str,
        *files: File,
        part: str = "files",
        headers: Mapping[str, str] | None = None,
        more: Sequence[tuple[str, File]] = (),
        **fields: Any,
    ) -> httpx.Response:
        """A form with files; lists as JSON texts, as the service takes them."""
        data = {
            name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()
        }
        parts = [(part, (name, body)) for name, body in files] + list(more)
        if not parts:  # a form nonetheless, with a field in a part of its own
            return await self.http.post(path, files={n: (None, v) for n, v in data.items()}, headers=headers)
        return await self.http.post(path, files=parts, data=data, headers=headers)

    async def create(self, *files: File, **more: Any) -> dict[str, Any]:
        reply = await self.post("/api/jobs", *files, **more)
        assert reply.status_code == 200, reply.text
        created = check(reply.json(), CREATED)
        assert created["status"] == "pending"
        assert "tool" not in created
        return created

    async def job(self, job_id: str) -> dict[str, Any]:
        reply = await self.http.get(f"/api/jobs/{job_id}")
        assert reply.status_code == 200, reply.text
        return check(reply.json(), JOB)

    async def wait(self, job_id: str, *words: str) -> dict[str, Any]:
        """Poll as the SDK does: until the status is completed or failed (or one of ``words``)."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            job = await self.job(job_id)
            if job["status"] in (words or ("completed", "failed")):
                return job
        raise AssertionError(job)

    async def convert(self, *files: File, path: str = "/api/convert", **more: Any) -> dict[str, Any]:
        reply = await self.post(path, *files, **more)
        assert reply.status_code == 200, reply.text
        return check(reply.json(), CONVERTED)

    async def tool(self, name: str, *files: File, part: str = "file", **more: Any) -> dict[str, Any]:
        reply = await self.post(f"/api/media/{name}", *files, part=part, **more)
        assert reply.status_code == 200, reply.text
        return check(reply.json(), WORKED)

    async def download(self, result: Mapping[str, Any]) -> bytes:
        """What is behind ``downloadUrl``: the bytes themselves, or a link that needs no key."""
        url = result["downloadUrl"]
        if match := re.fullmatch(r"data:([^;]+)[^,]*;base64,(.*)", url):
            assert result["mimeType"].startswith(match[1])
            body = base64.b64decode(match[2], validate=True)
        else:
            async with httpx.AsyncClient(verify=False) as stranger:
                reply = await stranger.get(url)
            assert reply.status_code == 200, reply.text
            body = reply.content
        assert len(body) == result["finalSize"]
        return body


def error(reply: httpx.Response, status: int) -> str:
    """The sentence of an answer that must be this error."""
    assert reply.status_code == status, (reply.status_code, reply.text)
    assert reply.headers["Content-Type"].startswith("application/json")
    text = check(reply.json(), ERROR)["error"]
    assert len(text) > 10
    return str(text)


@asynccontextmanager
async def connected(url: str, **headers: str) -> AsyncIterator[Convertly]:
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=120, verify=False) as http:
        yield Convertly(http)
