"""``convertd listen``: a receiver of callbacks to try things out with, on this machine alone."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import chain, repeat
from typing import Any

from convertd.client import VerificationError, verify

_MOST_BYTES = 1024 * 1024
_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Rehearsal:
    """How the receiver behaves."""

    answers: Sequence[int]
    """Statuses to answer with, one after the other; the last one from then on."""
    secret: str | None = None


def listen(port: int, rehearsal: Rehearsal) -> None:
    """Receive, print and answer callbacks until interrupted; raises ``OSError`` when the port is taken."""
    with receiver(port, rehearsal) as server:
        place = f"127.0.0.1:{server.server_port}"
        print(f"listening; submit jobs with callback_url=http://{place}/", flush=True)
        print(f'the server needs the setting outbound.allow = ["{place}"]', flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


def receiver(port: int, rehearsal: Rehearsal) -> HTTPServer:
    """The server, listening; it takes one callback at a time, so that lines come in order."""
    answers = chain(rehearsal.answers, repeat(rehearsal.answers[-1]))

    class Handler(_Handler):
        timeout = _SECONDS
        behaviour = rehearsal
        statuses = answers

    return HTTPServer(("127.0.0.1", port), Handler)


class _Handler(BaseHTTPRequestHandler):
    server_version = "convertd-listen"
    behaviour: Rehearsal
    statuses: Iterator[int]

    def do_POST(self) -> None:
        """Take a callback."""
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit() and int(length) <= _MOST_BYTES):
            self.send_error(411)
            return
        body = self.rfile.read(int(length))
        status = next(self.statuses)
        headers = dict(self.headers.items())
        now = datetime.now().astimezone()
        print(f"{now:%H:%M:%S}  {describe(body, headers, self.behaviour)}  answered: {status}", flush=True)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """What was taken is printed already; errors are told by the base class."""


def describe(body: bytes, headers: Mapping[str, str], rehearsal: Rehearsal) -> str:
    """Event, id, job and whether the signature is good, in one line."""
    event = _document(body)
    data = event.get("data")
    data = data if isinstance(data, dict) else event
    job = data.get("job")
    job_id = job.get("id") if isinstance(job, dict) else data.get("job_id") or data.get("jobId")
    kind = event.get("type") or event.get("event") or event.get("state")
    told = {name.lower(): value for name, value in headers.items()}
    identity = told.get("webhook-id") or event.get("id")
    words = f"{_word(kind)}  id: {_word(identity)}  job: {_word(job_id)}"
    return f"{words}  verified: {_verified(body, headers, rehearsal)}"


def _verified(body: bytes, headers: Mapping[str, str], rehearsal: Rehearsal) -> str:
    if rehearsal.secret is None:
        return "not checked (give --secret)"
    try:
        verify(body, headers, rehearsal.secret)
    except VerificationError as error:
        with contextlib.suppress(VerificationError):
            verify(body, headers, rehearsal.secret, hashed_secret=True)
            return "yes, with hashed_secret=True"
        return f"no ({error})"
    return "yes"


def _document(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _word(value: object) -> str:
    """Fit for a terminal."""
    text = str(value or "-")[:80]
    return "".join(character if character.isprintable() else "?" for character in text)
