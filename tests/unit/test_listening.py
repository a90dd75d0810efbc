"""What ``convertd listen`` says of the callbacks that it takes."""

from __future__ import annotations

import http.client
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping

import pytest

from convertd.listening import Rehearsal, describe, receiver
from convertd.model.signatures import hashed_key, standard_signature, timestamped_hex

SECRET = "whsec_dGVzdHRlc3Q="
EVENT = {"type": "job.succeeded", "data": {"job": {"id": "job-1"}}}


def signed(body: bytes, secret: str = SECRET) -> dict[str, str]:
    now = int(time.time())
    signature = standard_signature(secret, "msg-1", now, body)
    return {"Webhook-Id": "msg-1", "Webhook-Timestamp": str(now), "Webhook-Signature": signature}


def test_a_native_callback_is_told_in_one_line() -> None:
    body = json.dumps(EVENT).encode()
    rehearsal = Rehearsal(answers=[200], secret=SECRET)
    told = "job.succeeded  id: msg-1  job: job-1  verified: yes"
    assert describe(body, signed(body), rehearsal) == told
    assert "verified: no (No signature fits" in describe(body, signed(body, "other"), rehearsal)
    assert "verified: no (No header" in describe(body, {}, rehearsal)
    assert "not checked" in describe(body, signed(body), Rehearsal(answers=[200]))


@pytest.mark.parametrize(
    ("event", "told"),
    [
        ({"id": "evt_1", "type": "done", "data": {"jobId": "j"}}, "done  id: evt_1  job: j"),
        ({"event": "done", "data": {"job_id": "j"}}, "done  id: -  job: j"),
        ({"job_id": "j", "state": "done"}, "done  id: -  job: j"),
        ({"type": "test", "data": {}}, "test  id: -  job: -"),
        ({"type": "\x1b[2J" + "x" * 100, "data": 1}, "?[2J" + "x" * 76 + "  id: -  job: -"),
        ([1], "-  id: -  job: -"),
    ],
)
def test_callbacks_of_all_forms_are_told(event: object, told: str) -> None:
    assert describe(json.dumps(event).encode(), {}, Rehearsal(answers=[200])).startswith(told + "  ")


def test_a_hashed_secret_is_checked_as_such() -> None:
    body, now = b"{}", int(time.time())
    headers = {"X-Signature": f"t={now},v1={timestamped_hex(hashed_key('secret'), now, body)}"}
    told = describe(body, headers, Rehearsal(answers=[200], secret="secret"))
    assert told.endswith("verified: yes, with hashed_secret=True")
    assert "verified: no" in describe(body, headers, Rehearsal(answers=[200], secret="other"))


@pytest.fixture
def port() -> Iterator[int]:
    with receiver(0, Rehearsal(answers=[500, 503, 200])) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def posted(port: int, headers: Mapping[str, str], body: bytes | None = b"{}", method: str = "POST") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, "/hook", body=body, headers=dict(headers))
        return connection.getresponse().status
    finally:
        connection.close()


def test_answers_come_in_turn_and_the_last_one_stays(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert [posted(port, {}) for _ in range(5)] == [500, 503, 200, 200, 200]
    lines = capsys.readouterr().out.splitlines()
    assert [line.rpartition(": ")[2] for line in lines] == ["500", "503", "200", "200", "200"]
    assert all(re.match(r"\d\d:\d\d:\d\d  -  id: -", line) for line in lines)


@pytest.mark.parametrize("length", ["-1", "x", "99999999"])
def test_what_has_no_sensible_length_takes_no_turn(port: int, length: str) -> None:
    assert posted(port, {"Content-Length": length}) == 411
    assert posted(port, {}, body=None, method="GET") == 501
    assert posted(port, {}) == 500
