#!/usr/bin/env python3
"""Convert a file with a convertd server: submit it, wait, download the results and check them.

Safe to run again at any time: the request carries an Idempotency-Key made of the file and the options, so the
server does the work once however often the request is sent, and a download goes on where it broke off.

    convert.py photo.png --to webp --option quality=80 --output results/

The address comes from --url or CONVERTD_URL, the API key, where one is needed, from CONVERTD_KEY.
Exit status: 0 all files are here, 1 the conversion failed, 2 the request was refused, 3 the server cannot be
reached or stays busy. Needs nothing but Python.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import random
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

ATTEMPTS = 8
TIMEOUT = 60.0
WAIT = 30
"""Seconds that one request waits for the job's next change; more is not granted."""
RETRYABLE = (429, 502, 503)
CHUNK = 256 * 1024


class Refused(Exception):
    """The server does not want this request, and repeating it would not help."""


class Failed(Exception):
    """The job came to no good end."""


class Unreachable(Exception):
    """Nobody answered, or only to say that it is busy."""


def send(request: urllib.request.Request) -> Any:
    """The response; tried again while the server cannot be reached, is busy or is at the same request.

    Only for requests that may be repeated: reading, and creating with an Idempotency-Key.
    """
    reason = ""
    for attempt in range(ATTEMPTS):
        try:
            return urllib.request.urlopen(request, timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            problem = explain(error)
            in_flight = error.code == 409 and problem["code"] == "idempotency_in_flight"
            if error.code not in RETRYABLE and not in_flight:
                raise Refused(f"{problem['detail']} [{error.code} {problem['code']}]") from error
            reason = problem["detail"]
            pause = float(error.headers.get("Retry-After") or 0)
        except (OSError, http.client.HTTPException) as error:
            reason, pause = str(error), 0.0
        if attempt < ATTEMPTS - 1:
            time.sleep(max(pause, min(0.2 * 2**attempt, 10.0)) * random.uniform(1.0, 1.25))
    raise Unreachable(f"Given up after {ATTEMPTS} attempts: {reason}")


def explain(error: urllib.error.HTTPError) -> dict[str, str]:
    """The problem document (RFC 9457), or something like one if a proxy has answered instead."""
    fallback = {"code": "unknown", "detail": str(error)}
    try:
        document = json.loads(error.read())
    except (ValueError, OSError, http.client.HTTPException):
        return fallback
    return fallback | document if isinstance(document, dict) else fallback


class Client:
    """One server as one account sees it."""

    def __init__(self, url: str, key: str | None) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def submit(self, file: Path, fields: list[tuple[str, str]]) -> dict[str, Any]:
        """The job for the file: a new one, or that of the same request before."""
        query = urllib.parse.urlencode([*fields, ("filename", file.name)])
        headers = {
            **self._headers,
            "Content-Type": "application/octet-stream",
            "Content-Length": str(file.stat().st_size),
            "Idempotency-Key": idempotency_key(file, query),
        }
        for _ in range(ATTEMPTS):
            with file.open("rb") as body:
                request = urllib.request.Request(
                    f"{self._url}/jobs?{query}", data=Rewinding(body), headers=headers, method="POST"
                )
                with send(request) as response:
                    try:
                        return json.load(response)
                    except (ValueError, OSError, http.client.HTTPException):
                        continue  # the answer broke off; the key makes asking again harmless
        raise Unreachable("The server's answer breaks off again and again.")

    def ended(self, job: dict[str, Any]) -> dict[str, Any]:
        """The job once it has ended; each poll waits at the server."""
        address = f"{self._url}/jobs/{job['id']}"
        headers = {**self._headers, "Prefer": f"wait={WAIT}"}
        while job["status"] in ("queued", "running"):
            print(f"{job['status']}, {job['progress']:.0f} %", file=sys.stderr)
            with send(urllib.request.Request(address, headers=headers)) as response:
                try:
                    job = json.load(response)
                except (ValueError, OSError, http.client.HTTPException):
                    continue
        return job

    def fresh_link(self, job_id: str, index: int) -> str:
        """Links expire; each look at the job makes new ones."""
        with send(urllib.request.Request(f"{self._url}/jobs/{job_id}", headers=self._headers)) as response:
            url = json.load(response)["outputs"][index]["url"]
        if url is None:
            raise Failed("The file was deleted after its retention; convert it again.")
        return str(url)

    def download(self, job_id: str, index: int, output: dict[str, Any], folder: Path) -> Path:
        """Fetch one output, from where an earlier attempt stopped; whole, it gets its name."""
        target = folder / safe_name(output["name"])
        part = folder / f"{target.name}.{output['sha256'][:16]}.part"
        for _ in range(ATTEMPTS):
            have = part.stat().st_size if part.exists() else 0
            if have < output["bytes"]:
                self._append(self.fresh_link(job_id, index), output, part, have)
            if not part.exists() or part.stat().st_size < output["bytes"]:
                continue
            if sha256_of(part) == output["sha256"]:
                part.replace(target)
                return target
            part.unlink()  # not what the server has: from the start again
        raise Unreachable(f"The download of {target.name} breaks off again and again.")

    def _append(self, link: str, output: dict[str, Any], part: Path, have: int) -> None:
        """Add to ``part`` what is missing, as far as the connection lasts."""
        headers = {"Range": f"bytes={have}-", "If-Range": f'"{output["sha256"]}"'} if have else {}
        request = urllib.request.Request(link, headers=headers)
        with send(request) as response, part.open("ab" if response.status == 206 else "wb") as file:
            try:
                while chunk := response.read(CHUNK):
                    file.write(chunk)
            except (OSError, http.client.HTTPException) as error:
                print(f"broke off ({error}); going on", file=sys.stderr)


class Rewinding:
    """A file as a request's body that starts anew with each attempt."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __iter__(self) -> Any:
        self._file.seek(0)
        while chunk := self._file.read(CHUNK):
            yield chunk


def idempotency_key(file: Path, query: str) -> str:
    """The same for the same content, name and options, and for nothing else."""
    return hashlib.sha256(f"{sha256_of(file)} {query}".encode()).hexdigest()


def sha256_of(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def safe_name(name: str) -> str:
    """The server's word for the file, as a name inside the folder and nothing more."""
    last = Path(name.replace("\\", "/")).name
    return last if last not in ("", ".", "..") else "output"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Convert a file with a convertd server.",
        epilog=(__doc__ or "").partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, help="the file to convert")
    parser.add_argument(
        "--to", action="append", default=[], metavar="FORMAT", help="target format; once or more"
    )
    parser.add_argument("--operation", default="convert", help="convert, compress, thumbnail, trim, ...")
    parser.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="an option of the operation"
    )
    parser.add_argument("--output", type=Path, default=Path(), metavar="FOLDER", help="where the results go")
    parser.add_argument("--url", default=os.environ.get("CONVERTD_URL", "http://127.0.0.1:8080"))
    arguments = parser.parse_args()
    if not arguments.file.is_file():
        parser.error(f"{arguments.file} is not a file")
    if any("=" not in option for option in arguments.option):
        parser.error("an option is NAME=VALUE")
    return arguments


def convert(arguments: argparse.Namespace) -> None:
    fields = [("operation", arguments.operation), *(("to", word) for word in arguments.to)]
    fields += [tuple(option.split("=", 1)) for option in arguments.option]
    client = Client(arguments.url, os.environ.get("CONVERTD_KEY"))
    job = client.ended(client.submit(arguments.file, fields))
    arguments.output.mkdir(parents=True, exist_ok=True)
    for index, output in enumerate(job["outputs"]):
        print(client.download(job["id"], index, output, arguments.output))
    errors = [task["error"]["message"] for task in job["tasks"] if task["error"]]
    if errors or job["status"] != "succeeded":
        raise Failed(" ".join(errors) or f"The job is {job['status']}.")


def main() -> int:
    arguments = parse_arguments()
    try:
        convert(arguments)
    except (Failed, Refused, Unreachable) as error:
        print(f"convert.py: {error}", file=sys.stderr)
        return {Failed: 1, Refused: 2, Unreachable: 3}[type(error)]
    return 0


if __name__ == "__main__":
    sys.exit(main())
