"""convertd's API as a test speaks it, over aiohttp."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientSession, ClientTimeout
from multidict import CIMultiDictProxy

from convertd.errors import BY_CODE

ENDED = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True)
class Reply:
    """A whole answer."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body)

    def job(self, status: int) -> dict[str, Any]:
        """The job of an answer that must have this status."""
        assert self.status == status, (self.status, self.body[:1000])
        assert self.headers["Content-Type"].startswith("application/json")
        return self.json

    def problem(self, status: int, code: str) -> dict[str, Any]:
        """The problem document of an answer that must be this error."""
        document = self.any_problem()
        assert (self.status, document["code"]) == (status, code), document
        return document

    def any_problem(self) -> dict[str, Any]:
        """The problem document of an answer that must be some error, told as every error must be."""
        assert self.status >= 400, (self.status, self.body[:200])
        assert self.headers["Content-Type"] == "application/problem+json", self.body[:1000]
        document = self.json
        assert document["status"] == self.status
        assert document["code"] in BY_CODE
        assert len(document["detail"]) > 10
        assert "Traceback" not in document["detail"]
        assert "/files/" not in document["detail"]
        return document


class Api:
    """One client of one server."""

    def __init__(self, session: ClientSession, url: str, headers: Mapping[str, str] | None = None) -> None:
        self.session = session
        self.url = url
        self.headers = dict(headers or {})

    async def request(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> Reply:
        """``path`` may be a whole address, as the server hands them out."""
        url = path if path.startswith("http") else self.url + path
        async with self.session.request(
            method,
            url,
            headers=self.headers | dict(headers or {}),
            timeout=ClientTimeout(total=120),
            **more,
        ) as response:
            return Reply(response.status, response.headers, await response.read())

    async def get(self, path: str, **more: Any) -> Reply:
        return await self.request("GET", path, **more)

    async def submit(
        self,
        body: Any,
        *,
        path: str = "/jobs",
        wait: int | None = None,
        key: str | None = None,
        **query: Any,
    ) -> Reply:
        """Send ``body`` raw (bytes) or as a form (FormData); ``query`` are the fields."""
        headers = {"Content-Type": "application/octet-stream"} if isinstance(body, bytes) else {}
        if wait is not None:
            headers["Prefer"] = f"wait={wait}"
        if key is not None:
            headers["Idempotency-Key"] = key
        params = {name: str(value) for name, value in query.items()}
        return await self.request("POST", path, data=body, headers=headers, params=params)

    async def linger(self, seconds: float, **more: Any) -> dict[str, Any]:
        """A job of the slow engine, just accepted."""
        reply = await self.submit(b"slow\n", to="txt", operation="linger", seconds=seconds, **more)
        return reply.job(202)

    async def job(self, job_id: str, *, wait: int | None = None) -> dict[str, Any]:
        headers = {"Prefer": f"wait={wait}"} if wait is not None else {}
        return (await self.get(f"/jobs/{job_id}", headers=headers)).job(200)

    async def ended(self, job_id: str, *, seconds: float = 60) -> dict[str, Any]:
        """The job once it has ended, by long polls."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            job = await self.job(job_id, wait=10)
            if job["status"] in ENDED:
                return job
        raise AssertionError(f"still {job['status']} after {seconds} s: {job}")

    async def progressing(self, job_id: str, *, beyond: float = 0.0) -> dict[str, Any]:
        """The job once its progress is ``beyond`` a percentage: its child is at work then."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            job = await self.job(job_id)
            if job["progress"] > beyond or job["status"] in ENDED:
                return job
        raise AssertionError(f"no progress: {job}")

    async def download(self, output: Mapping[str, Any]) -> bytes:
        """The bytes of an output, which are as its job says."""
        reply = await self.get(output["url"])
        assert reply.status == 200, reply.body[:300]
        assert len(reply.body) == output["bytes"]
        return reply.body
