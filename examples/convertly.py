#!/usr/bin/env python3
"""A program for Convertly's API that works against convertd: only the base URL is another.

    convertly.py a.png b.jpg --formats webp avif --compressions 80 60 --output results/

Submits the files as one job, polls until it has ended, and downloads every result. A request that is repeated
after a broken connection makes no second job. The address comes from --url or CONVERTD_URL, the API key,
where one is needed, from CONVERTD_KEY. Needs nothing but Python.
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

POLL_SECONDS = 0.5
TRIES = 3


def form(fields: dict[str, str], files: list[Path]) -> tuple[bytes, str]:
    """The multipart body and its content type."""
    boundary = uuid.uuid4().hex
    body = b""
    for name, value in fields.items():
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
    for path in files:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{path.name}"\r\n'
        body += (
            head.encode() + b"Content-Type: application/octet-stream\r\n\r\n" + path.read_bytes() + b"\r\n"
        )
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def call(url: str, headers: dict[str, str], body: bytes | None = None) -> Any:
    for left in reversed(range(TRIES)):
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=60) as reply:
                return json.load(reply)
        except urllib.error.HTTPError:
            raise
        except OSError:
            if not left:
                raise
            time.sleep(POLL_SECONDS)
    raise AssertionError


def main() -> int:
    parser = argparse.ArgumentParser(description="Convert files, each to a format of its own.")
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--formats", nargs="+", required=True, help="one for each file")
    parser.add_argument("--compressions", nargs="*", type=int, help="1 to 100, one for each file")
    parser.add_argument("--resizes", nargs="*", help="original, website, email, square, …: one for each file")
    parser.add_argument("--output", type=Path, default=Path())
    parser.add_argument("--url", default=os.environ.get("CONVERTD_URL", "http://127.0.0.1:8080"))
    given = parser.parse_args()
    try:
        return run(given)
    except urllib.error.HTTPError as error:
        told = json.load(error)
        print(told.get("error") or told["detail"], file=sys.stderr)
    except urllib.error.URLError as error:
        print(f"{given.url}: {error.reason}", file=sys.stderr)
    except OSError as error:
        print(error, file=sys.stderr)
    return 2


def run(given: argparse.Namespace) -> int:
    """What ``main`` exits with; raises ``OSError``, of which urllib's errors are."""
    arrays = ("formats", "compressions", "resizes")
    fields = {name: json.dumps(value) for name in arrays if (value := getattr(given, name))}
    fields |= {"jobType": "convert", "saveToStorage": "true"}
    key = os.environ.get("CONVERTD_KEY", "")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    body, content_type = form(fields, given.files)
    once = {"Content-Type": content_type, "Idempotency-Key": str(uuid.uuid4())}
    made = call(f"{given.url}/api/jobs", headers | once, body)
    job = call(f"{given.url}/api/jobs/{made['jobId']}", headers)
    while job["status"] not in ("completed", "failed"):
        time.sleep(POLL_SECONDS)
        job = call(f"{given.url}/api/jobs/{made['jobId']}", headers)
    for failure in job["failures"]:
        print(f"{failure['filename']}: {failure['error']}", file=sys.stderr)
    given.output.mkdir(parents=True, exist_ok=True)
    for result in job["results"] or []:
        target = given.output / result["filename"]
        urllib.request.urlretrieve(result["downloadUrl"], target)
        print(f"{target}: {result['savedPercent']} % smaller")
    return 1 if job["failedFiles"] else 0


if __name__ == "__main__":
    sys.exit(main())
