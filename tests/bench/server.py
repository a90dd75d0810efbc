"""A convertd of its own for a measurement, as a user would start it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import measuring

REPOSITORY = Path(__file__).resolve().parents[2]
_START_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server that answers. ``started`` is how many seconds it took until it said so."""

    process: subprocess.Popen[str]
    host: str
    port: int
    data_dir: Path
    started: float

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def zygote(self) -> int:
        """The process that forks the converting children."""
        return measuring.family(self.pid)[1]

    def cpu(self) -> float:
        """Processor time of the server, its children, and those of them that have ended."""
        return measuring.cpu_seconds(measuring.family(self.pid))

    def get(self, path: str, key: str | None = None) -> Any:
        """A JSON document."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        with urllib.request.urlopen(urllib.request.Request(self.url + path, headers=headers)) as reply:
            return json.load(reply)

    def put(self, path: str, body: bytes, *, wait: int | None = None, key: str | None = None) -> Any:
        """Submit a file; the job document."""
        headers = {"Content-Type": "application/octet-stream"}
        headers |= {"Authorization": f"Bearer {key}"} if key else {}
        headers |= {"Prefer": f"wait={wait}"} if wait else {}
        request = urllib.request.Request(self.url + path, data=body, headers=headers, method="PUT")
        with urllib.request.urlopen(request) as reply:
            return json.load(reply)

    def finish(self, job: Any) -> Any:
        """The job once it has ended; raises when it did not succeed."""
        while job["finished_at"] is None:
            request = urllib.request.Request(f"{self.url}/jobs/{job['id']}", headers={"Prefer": "wait=30"})
            with urllib.request.urlopen(request) as reply:
                job = json.load(reply)
        if job["status"] != "succeeded":
            raise RuntimeError(f"the job {job['status']}: {job['error']}")
        return job


def command(*words: str | Path) -> list[str]:
    """``convertd`` in this interpreter."""
    return [sys.executable, "-m", "convertd", *map(str, words)]


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """This process's, without settings of its own for convertd, and with ours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CONVERTD_")}
    path = os.pathsep.join(filter(None, (str(REPOSITORY), kept.get("PYTHONPATH"))))
    return kept | {"PYTHONPATH": path} | dict(settings)


def make_key(data_dir: Path) -> str:
    """A new API key for the data directory."""
    made = subprocess.run(
        command("keys", "create", "bench", "--data-dir", data_dir),
        env=environment({}), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return made.stdout.splitlines()[-1]


@contextmanager
def serving(data_dir: Path, **settings: str) -> Iterator[Server]:
    """A server on ``data_dir``; ``settings`` are environment variables."""
    began = time.perf_counter()
    log = (data_dir.parent / f"{data_dir.name}.log").open("a+")
    process = subprocess.Popen(
        command("serve", "--port", "0", "--data-dir", data_dir),
        env=environment(
            {
                "CONVERTD_LOG_LEVEL": "error",
                "CONVERTD_JOBS_GRACE": "1s",
                "CONVERTD_LIMITS_RATE": "0",
                **settings,
            }
        ),
        stdout=subprocess.PIPE, stderr=log, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        announced = process.stdout.readline()
        started = time.perf_counter() - began
        match = re.search(r"http://([\d.]+):(\d+)", announced)
        if match is None:
            log.seek(0)
            raise RuntimeError(f"the server did not start: {announced}{log.read()[-2000:]}")
        yield Server(process=process, host=match[1], port=int(match[2]), data_dir=data_dir, started=started)
    finally:
        process.terminate()
        try:
            process.wait(_START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
        log.close()
