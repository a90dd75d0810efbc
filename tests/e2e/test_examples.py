"""The examples run as they stand, and do what they promise when things go wrong."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from shutil import which

import pytest
from aiohttp import ClientSession, web
from PIL import Image

from tests.e2e.conftest import Start
from tests.support import samples
from tests.support.api import Api
from tests.support.server import REPOSITORY, ServerProcess, clean_environment, convertd

EXAMPLES = REPOSITORY / "examples"
SAMPLE = EXAMPLES / "sample.png"

needs_curl = pytest.mark.skipif(which("curl") is None, reason="curl is not here")


def run(*command: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=clean_environment(env), capture_output=True, text=True, timeout=120, check=False
    )


async def convert_py(url: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, str(EXAMPLES / "convert.py"), "--url", url, *arguments)
    return await asyncio.to_thread(run, *command, **env)


@needs_curl
def test_the_walkthrough(server: ServerProcess) -> None:
    ended = run(str(EXAMPLES / "walkthrough.sh"), server.url)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.endswith("All went well.\n")


@needs_curl
def test_the_walkthrough_with_a_key(start: Start) -> None:
    server = start()
    key = convertd("keys", "create", "x", "--data-dir", str(server.data_dir)).stdout.splitlines()[-1]
    assert run(str(EXAMPLES / "walkthrough.sh"), CONVERTD_URL=server.url).returncode != 0
    ended = run(str(EXAMPLES / "walkthrough.sh"), CONVERTD_URL=server.url, CONVERTD_KEY=key)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@needs_curl
def test_the_readmes_curl(server: ServerProcess, tmp_path: Path) -> None:
    result = tmp_path / "sample.webp"
    ended = run("curl", "-sS", "-T", str(SAMPLE), f"{server.url}/convert?to=webp", "-o", str(result))
    assert ended.returncode == 0, ended.stderr
    with Image.open(result) as image:
        assert (image.format, image.size) == ("WEBP", (640, 480))


async def test_the_script(server: ServerProcess, tmp_path: Path) -> None:
    options = ("--to", "webp", "--to", "gif", "--option", "width=64", "--output", str(tmp_path / "out"))
    ended = await convert_py(server.url, str(SAMPLE), *options)
    assert ended.returncode == 0, ended.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["sample.gif", "sample.webp"]
    for line in ended.stdout.splitlines():
        with Image.open(line) as image:
            assert image.width == 64


async def test_the_script_twice_is_one_job(start: Start, session: ClientSession, tmp_path: Path) -> None:
    server = start()
    for number in range(2):
        out = str(tmp_path / str(number))
        ended = await convert_py(server.url, str(SAMPLE), "--to", "webp", "--output", out)
        assert ended.returncode == 0, ended.stderr
    assert len((await Api(session, server.url).get("/jobs")).json["jobs"]) == 1


async def test_the_scripts_exit_status(server: ServerProcess, tmp_path: Path) -> None:
    out = ("--output", str(tmp_path))
    refused = await convert_py(server.url, str(SAMPLE), "--to", "webp", "--option", "quality=900", *out)
    assert refused.returncode == 2
    assert "1 to 100" in refused.stderr
    (tmp_path / "cut.png").write_bytes(samples.picture()[:5000])
    failed = await convert_py(server.url, str(tmp_path / "cut.png"), "--to", "webp", *out)
    assert failed.returncode == 1, failed.stderr
    assert (await convert_py(server.url, str(tmp_path / "nowhere.png"))).returncode == 2
    assert (await convert_py(server.url, "--help")).returncode == 0


async def test_the_program_for_changethisfile(server: ServerProcess, tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes(samples.picture()[:5000])
    for source, target, status, told in (
        (SAMPLE, "webp", 0, "sample.webp"),
        (SAMPLE, "nonsense", 2, "unsupported_route"),
        (tmp_path / "cut.png", "webp", 1, "file_invalid"),
    ):
        script = (sys.executable, str(EXAMPLES / "changethisfile.py"), str(source), "--target", target)
        command = (*script, "--url", server.url, "--output", str(tmp_path))
        ended = await asyncio.to_thread(run, *command)
        assert ended.returncode == status, ended.stderr
        assert told in ended.stdout + ended.stderr
    with Image.open(tmp_path / "sample.webp") as image:
        assert (image.format, image.size) == ("WEBP", (640, 480))


Fault = Callable[[web.Request, int], web.StreamResponse | None]


class BadProxy:
    """Stands between the script and the server, and lets things go wrong."""

    def __init__(self, session: ClientSession, url: str) -> None:
        self._session = session
        self._upstream = url
        self.url = ""
        self.seen: list[str] = []
        self.faults: list[str] = []
        """What goes wrong with each POST or download in turn; nothing once it is empty."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(f"{request.method} {request.path} {request.headers.get('Range', '')}".strip())
        body = await request.read()
        counts = request.method == "POST" or request.path.startswith("/download/")
        fault = self.faults.pop(0) if self.faults and counts else ""
        if fault == "hang up":
            return self._hang_up(request)
        if fault == "busy":
            return web.Response(status=503, headers={"Retry-After": "0"}, text="busy")
        headers = {k: v for k, v in request.headers.items() if k not in ("Host", "Transfer-Encoding")}
        async with self._session.request(
            request.method, self._upstream + request.path_qs, data=body or None, headers=headers
        ) as reply:
            data = (await reply.read()).replace(self._upstream.encode(), self.url.encode())
            if fault == "lose the answer":
                return self._hang_up(request)
            passed = ("Content-Range", "ETag", "Retry-After", "Content-Type")
            kept = {k: v for k, v in reply.headers.items() if k in passed}
            if fault != "cut the answer":
                return web.Response(status=reply.status, body=data, headers=kept)
            kept["Content-Length"] = str(len(data))
            response = web.StreamResponse(status=reply.status, headers=kept)
            await response.prepare(request)
            await response.write(data[: len(data) // 2])
            return self._hang_up(request)

    def _hang_up(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.close()
        return web.Response()


@pytest.fixture
async def proxy(start: Start, session: ClientSession) -> AsyncIterator[BadProxy]:
    proxy = BadProxy(session, start().url)
    runner = web.ServerRunner(web.Server(proxy.handle))  # type: ignore[arg-type]
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    proxy.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield proxy
    await runner.cleanup()


async def test_the_script_survives_a_bad_line(
    proxy: BadProxy, session: ClientSession, tmp_path: Path
) -> None:
    proxy.faults = ["hang up", "busy", "lose the answer", "cut the answer", ""]
    proxy.faults += ["cut the answer", "hang up", "cut the answer"]
    ended = await convert_py(proxy.url, str(SAMPLE), "--to", "bmp", "--output", str(tmp_path))
    assert ended.returncode == 0, ended.stderr
    assert proxy.faults == []
    posts = [line for line in proxy.seen if line.startswith("POST")]
    assert len(posts) == 5
    jobs = (await Api(session, proxy.url).get("/jobs")).json["jobs"]
    assert len(jobs) == 1
    downloads = [line for line in proxy.seen if "/download/" in line]
    size = jobs[0]["outputs"][0]["bytes"]
    half = size // 2
    more = half + (size - half) // 2
    ranges = [line.rpartition(" ")[2] for line in downloads[1:]]
    assert ranges == [f"bytes={half}-", f"bytes={half}-", f"bytes={more}-"]
    data = (tmp_path / "sample.bmp").read_bytes()
    assert hashlib.sha256(data).hexdigest() == jobs[0]["outputs"][0]["sha256"]


async def test_the_script_gives_up_on_nobody(tmp_path: Path) -> None:
    script = (EXAMPLES / "convert.py").read_text().replace("ATTEMPTS = 8", "ATTEMPTS = 2")
    (tmp_path / "convert.py").write_text(script)
    command = (sys.executable, str(tmp_path / "convert.py"), "--url", "http://127.0.0.1:1")
    ended = await asyncio.to_thread(run, *command, str(SAMPLE), "--to", "gif")
    assert ended.returncode == 3
    assert "Given up after 2 attempts" in ended.stderr
