"""ChangeThisFile's callbacks, errors and words, without a server."""

from __future__ import annotations

import json
import time
from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from msgspec.structs import replace

from convertd.api.changethisfile import ChangeThisFileDialect, views
from convertd.api.changethisfile.callback import ChangeThisFileForm
from convertd.api.changethisfile.requests import is_form
from convertd.client import verify
from convertd.errors import BY_CODE
from convertd.model.callback import Delivery, Event
from convertd.model.job import Failure, Job, State
from convertd.web.problems import Problem
from tests.support.callbacks import make_delivery
from tests.support.jobs import make_artifact, make_job

DOCUMENTED = {
    (400, "bad_request"), (401, "invalid_api_key"), (404, "not_found"), (409, "bad_request"),
    (413, "file_too_large"), (422, "unsupported_route"), (422, "bad_request"), (429, "rate_limited"),
    (502, "service_unavailable"), (504, "timeout"),
}  # fmt: skip
OF_FAILED_JOBS = {"file_invalid", "engine_error", "timeout"}


def services() -> Mock:
    made = Mock()
    made.link = lambda place, key, until: f"{place}/{key}-{until}"
    made.links_until = lambda job: 4711
    made.rate_headers = lambda request: {}
    return made


def ended(state: State, **changes: Any) -> Job:
    now = time.time()
    job = make_job(state=state, started_at=now - 2.5, finished_at=now, metadata={"a": 1})
    return replace(job, **changes)


def told(event: Event, job: Job | None, *secrets: str) -> dict[str, Any]:
    """The body of the callback, once its signature is found good."""
    delivery: Delivery = make_delivery(event=event, job=job)
    delivery = replace(delivery, callback=replace(delivery.callback, origin="https://convert.example"))
    message = ChangeThisFileForm(services()).message(delivery, secrets or ("s",), time.time())
    return verify(message.body, message.headers, secrets[0] if secrets else "s", hashed_secret=True)


def test_the_newest_secret_signs() -> None:
    assert told(Event.TEST, None, "new", "old")["event"] == "webhook.test"


def test_a_cancelled_job_is_told_as_a_failed_one() -> None:
    event = told(Event.CANCELLED, ended(State.CANCELLED))
    assert (event["event"], event["status"]) == ("job.failed", "failed")
    assert event["data"]["error"]["code"] == "engine_error"
    assert event["duration_ms"] == 2500


def test_links_lead_to_where_the_owner_reached_the_server() -> None:
    one = told(Event.SUCCEEDED, ended(State.SUCCEEDED, outputs=(make_artifact("out"),)))
    assert one["download_url"] == "https://convert.example/v1/jobs/download/out-4711"
    job = ended(State.SUCCEEDED, outputs=(make_artifact("a"), make_artifact("b")))
    assert told(Event.SUCCEEDED, job)["download_url"].endswith(f"/archive-{job.id}-4711")


def test_no_link_leads_to_what_is_gone() -> None:
    gone = replace(make_artifact("out"), gone=True)
    event = told(Event.SUCCEEDED, ended(State.SUCCEEDED, outputs=(gone,)))
    assert (event["download_url"], event["data"]["result"]["file_url"]) == (None, None)


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_every_error_is_a_documented_one(code: str) -> None:
    status, word = views.ERRORS[code]
    assert (status, word) in DOCUMENTED or word in OF_FAILED_JOBS
    error = BY_CODE[code]("What failed, and what to change.", field="target", retry_after=7)
    response = ChangeThisFileDialect(services()).error(make_mocked_request("GET", "/"), Problem.of(error))
    assert isinstance(response, web.Response)
    assert isinstance(response.body, bytes)
    details: dict[str, Any] = {"field": "target"} | ({"retry_after": 7} if status == 429 else {})
    message = "What failed, and what to change."
    assert response.status == status
    assert json.loads(response.body) == {"error": {"code": word, "message": message, "details": details}}


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_failed_jobs_know_three_codes(code: str) -> None:
    job = ended(State.FAILED, error=Failure(code, "It failed."))
    shown = views.error_view(job)
    assert shown is not None
    assert shown["code"] in OF_FAILED_JOBS
    assert (shown["code"] == "timeout") == (code == "timeout")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("multipart/form-data; boundary=x", True),
        ('Multipart/Form-Data; charset=utf-8; BOUNDARY="a b"', True),
        ("multipart/form-data", False),
        ("multipart/form-data; boundary=", False),
        ("multipart/mixed; boundary=x", False),
        ("application/octet-stream", False),
        ("", False),
    ],
)
def test_what_is_a_form(header: str, expected: bool) -> None:
    request = make_mocked_request("POST", "/v1/jobs", headers={"Content-Type": header})
    assert is_form(request) is expected
