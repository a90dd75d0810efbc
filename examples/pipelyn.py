#!/usr/bin/env python3
"""A program for Pipelyn's API that works against convertd: only the base URL is another.

    pipelyn.py clip.mp4 --preset low-bandwidth --output results/

Submits the file, polls until the job has ended, downloads the result and tells what it saved. The address
comes from --url or CONVERTD_URL, the API key, where one is needed, from CONVERTD_KEY. Needs nothing but
Python.
"""

from __future__ import annotations

import argparse
import json
import mimetypes
import os
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any

POLL_SECONDS = 0.5


def form(path: Path, preset: str) -> tuple[bytes, str]:
    """The multipart body and its content type. The part must say whether it is a picture or a video."""
    boundary = uuid.uuid4().hex
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="preset"\r\n\r\n{preset}\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="media"; filename="{path.name}"\r\n'
        f"Content-Type: {kind}\r\n\r\n"
    )
    return head.encode() + path.read_bytes() + f"\r\n--{boundary}--\r\n".encode(), boundary


def call(url: str, key: str, body: bytes | None = None, content_type: str = "") -> Any:
    headers = {"x-api-key": key} if key else {}
    if content_type:
        headers["Content-Type"] = content_type
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=60) as reply:
        return json.load(reply)


def main() -> int:
    parser = argparse.ArgumentParser(description="Make a picture or video smaller by a preset.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--preset", default="web", choices=("web", "mobile", "low-bandwidth"))
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
    key = os.environ.get("CONVERTD_KEY", "")
    body, boundary = form(given.file, given.preset)
    made = call(f"{given.url}/api/media/jobs", key, body, f"multipart/form-data; boundary={boundary}")
    job = call(f"{given.url}/api/media/jobs/{made['jobId']}", key)
    while job["status"] not in ("done", "failed"):
        time.sleep(POLL_SECONDS)
        job = call(f"{given.url}/api/media/jobs/{made['jobId']}", key)
    if job["status"] == "failed":
        print(job["error"]["message"], file=sys.stderr)
        return 1
    given.output.mkdir(parents=True, exist_ok=True)
    target = given.output / job["result"]["filename"]
    urllib.request.urlretrieve(job["downloadUrl"], target)
    print(f"{target}: {job['result']['savedPercent']} % smaller ({job['result']['strategy']})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
