#!/usr/bin/env python3
"""A program for ToolkitAPI's Convert API that works against convertd: only the base URL is another.

    toolkitapi_convert.py https://example.com/report.docx docx pdf --output results/

convertd fetches the file at the address, and the result is downloaded by its own. The server comes from
--url or CONVERTD_URL, the API key, where one is needed, from CONVERTD_KEY. Needs the service's published
client: pip install toolkitapi==2.0.0b3
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import urllib.request
from pathlib import Path

try:
    import httpx
    from toolkitapi import ToolkitAPIError
    from toolkitapi.convert import Convert
except ModuleNotFoundError as missing:
    print(f"{missing.name} is not installed: pip install toolkitapi==2.0.0b3", file=sys.stderr)
    sys.exit(2)

POLL_SECONDS = 2.0


def main() -> int:
    parser = argparse.ArgumentParser(description="Convert the file at an address.")
    parser.add_argument("address")
    parser.add_argument("source", help="its format")
    parser.add_argument("target", help="the format to make")
    parser.add_argument("--kind", default="document", help="media, document, spreadsheet or presentation")
    parser.add_argument("--output", type=Path, default=Path())
    parser.add_argument("--url", default=os.environ.get("CONVERTD_URL", "http://127.0.0.1:8080"))
    given = parser.parse_args()
    try:
        return run(given)
    except ToolkitAPIError as error:
        print(error, file=sys.stderr)
    except (httpx.HTTPError, OSError) as error:
        print(f"{given.url}: {error}", file=sys.stderr)
    return 2


def run(given: argparse.Namespace) -> int:
    """What ``main`` exits with; raises the client's errors, httpx's and ``OSError``."""
    body = {"url": given.address, "from_format": given.source, "to_format": given.target}
    # The client wants some key, even where the server wants none.
    with Convert(os.environ.get("CONVERTD_KEY") or "none", base_url=given.url) as convert:
        job = getattr(convert, given.kind)(body)
        while job["status"] in ("queued", "running"):
            time.sleep(POLL_SECONDS)
            job = convert.poll_job_convert_jobs__job_id__get(job["job_id"])
    if job["status"] == "failed":
        print(job["error"], file=sys.stderr)
        return 1
    given.output.mkdir(parents=True, exist_ok=True)
    target = given.output / job["file_name"]
    urllib.request.urlretrieve(job["file_url"], target)
    print(f"{target}: {job['file_size_bytes']} bytes of {job['file_type']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
