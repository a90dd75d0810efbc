#!/usr/bin/env python3
"""A program for ChangeThisFile's API that works against convertd: only the base URL and the key are others.

    changethisfile.py photo.png --target webp --output results/

Sends the file as the body of a request, polls until the job has ended and downloads the result. A request
that is repeated after a broken connection makes no second job. The address comes from --url or CONVERTD_URL,
the key, where one is needed, from CONVERTD_KEY. Needs nothing but Python.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

POLL_SECONDS = 0.5
TRIES = 3


def call(url: str, key: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Any:
    sent = ({"Authorization": f"Bearer {key}"} if key else {}) | (headers or {})
    for left in reversed(range(TRIES)):
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body, sent), timeout=60) as reply:
                return json.load(reply)
        except urllib.error.HTTPError:
            raise
        except OSError:
            if not left:
                raise
            time.sleep(POLL_SECONDS)
    raise AssertionError


def convert(url: str, key: str, path: Path, target: str) -> dict[str, Any]:
    """The job, once it has ended."""
    query = urlencode({"target": target, "filename": path.name})
    headers = {"Idempotency-Key": str(uuid.uuid4()), "Content-Type": "application/octet-stream"}
    made = call(f"{url}/v1/jobs?{query}", key, path.read_bytes(), headers)
    while True:
        job: dict[str, Any] = call(made["status_url"], key)
        if job["status"] in ("completed", "failed"):
            return job
        print(f"{job['status']}: {job['progress_pct']} %", file=sys.stderr)
        time.sleep(POLL_SECONDS)


def main() -> int:
    parser = argparse.ArgumentParser(description="Convert a file.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--target", required=True)
    parser.add_argument("--output", type=Path, default=Path())
    parser.add_argument("--url", default=os.environ.get("CONVERTD_URL", "http://127.0.0.1:8080"))
    given = parser.parse_args()
    try:
        return run(given)
    except urllib.error.HTTPError as error:
        told = json.load(error)["error"]
        print(f"{told['code']}: {told['message']}", file=sys.stderr)
    except urllib.error.URLError as error:
        print(f"{given.url}: {error.reason}", file=sys.stderr)
    except OSError as error:
        print(error, file=sys.stderr)
    return 2


def run(given: argparse.Namespace) -> int:
    """What ``main`` exits with; raises ``OSError``, of which urllib's errors are."""
    job = convert(given.url, os.environ.get("CONVERTD_KEY", ""), given.file, given.target)
    if job["status"] == "failed":
        print(f"{job['error']['code']}: {job['error']['message']}", file=sys.stderr)
        return 1
    if job["download_url"] is None:
        print(f"The result of job {job['job_id']} has been deleted; convert the file again.", file=sys.stderr)
        return 1
    given.output.mkdir(parents=True, exist_ok=True)
    with urllib.request.urlopen(job["download_url"], timeout=60) as reply:
        result = given.output / Path(reply.headers.get_filename() or "result").name
        result.write_bytes(reply.read())
    print(f"{result}: {job['result']['size']} bytes in {job['duration_ms']} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
